//! The flows: what customers, staff and time do, up to where the kills begin, and from there to the
//! end.

use std::time::{Duration, Instant};

use anyhow::bail;
use app::ports::stock::Stock as _;
use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::{OrderId, ProductId};
use faults::{Dependency, Fault, Rule};

use crate::customer::{self, Placed, must_order};
use crate::invariants::{Known, mails};
use crate::shop::Shop;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Flow {
    /// Ordered, paid, confirmed
    Confirm,
    /// The card is declined: the stock goes back
    Decline,
    /// Two want the last one
    SoldOut,
    /// Confirmed, then called off by the customer: the money goes back
    CustomerCancel,
    /// Being made, then called off by staff: the money goes back
    StaffCancel,
    /// A hold that nobody will ever pay for ends
    HoldExpiry,
    /// An order takes a product to its threshold: staff are told once
    LowStock,
    /// The mail service says no at first
    NotificationRetry,
}

/// Sold often, and never so few that staff are told.
const PLENTY: &str = "espresso";
const FEW: &str = "mocha";
/// Of the menu, where staff are told.
const THRESHOLD: i64 = 20;
/// The sweeper looks for holds once a minute.
const SWEPT_WITHIN: Duration = Duration::from_secs(150);
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// A flow that has come to where the kills begin.
pub struct Begun {
    placed: Vec<Placed>,
    hold: Option<OrderId>,
    alerts: usize,
}

impl Flow {
    pub const ALL: [Flow; 8] = [
        Flow::Confirm,
        Flow::Decline,
        Flow::SoldOut,
        Flow::CustomerCancel,
        Flow::StaffCancel,
        Flow::HoldExpiry,
        Flow::LowStock,
        Flow::NotificationRetry,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Flow::Confirm => "confirm",
            Flow::Decline => "decline",
            Flow::SoldOut => "sold-out",
            Flow::CustomerCancel => "customer-cancel",
            Flow::StaffCancel => "staff-cancel",
            Flow::HoldExpiry => "hold-expiry",
            Flow::LowStock => "low-stock",
            Flow::NotificationRetry => "notification-retry",
        }
    }

    /// What comes before the kills.
    pub async fn begin(self, shop: &Shop) -> anyhow::Result<Begun> {
        let mut begun = Begun {
            placed: Vec::new(),
            hold: None,
            alerts: 0,
        };
        match self {
            Flow::Confirm | Flow::Decline | Flow::NotificationRetry | Flow::HoldExpiry => {
                customer::shelve(shop, PLENTY, 200).await?;
            }
            Flow::SoldOut => customer::shelve(shop, FEW, 1).await?,
            Flow::CustomerCancel | Flow::StaffCancel => {
                customer::shelve(shop, PLENTY, 200).await?;
                let placed = must_order(shop, PLENTY, 2, "tok_ok").await?;
                customer::until(shop, &placed, &["confirmed"]).await?;
                if self == Flow::StaffCancel {
                    customer::staff_sets(shop, &placed, "preparing").await?;
                }
                begun.placed.push(placed);
            }
            Flow::LowStock => {
                customer::shelve(shop, FEW, THRESHOLD + 1).await?;
                begun.alerts = alerts(shop).await?;
            }
        }
        Ok(begun)
    }

    /// What happens while one is killed, up to the flow's own end.
    pub async fn finish(self, shop: &Shop, mut begun: Begun) -> anyhow::Result<Vec<Known>> {
        match self {
            Flow::Confirm => {
                begun
                    .placed
                    .push(must_order(shop, PLENTY, 2, "tok_ok").await?);
                customer::until(shop, &begun.placed[0], &["confirmed"]).await?;
            }
            Flow::Decline => {
                begun
                    .placed
                    .push(must_order(shop, PLENTY, 2, "tok_declined").await?);
                customer::until(shop, &begun.placed[0], &["failed"]).await?;
            }
            Flow::SoldOut => {
                let (one, other) = tokio::join!(buy_last(shop), buy_last(shop));
                begun.placed.extend(one?.into_iter().chain(other?));
                let mut confirmed = 0;
                for placed in &begun.placed {
                    customer::until(shop, placed, &["confirmed", "failed"]).await?;
                    confirmed += usize::from(
                        customer::status(shop, placed).await.as_deref() == Some("confirmed"),
                    );
                }
                if confirmed != 1 {
                    bail!("I2 I3 one was there, and {confirmed} were sold");
                }
            }
            Flow::CustomerCancel => {
                customer::cancel(shop, &begun.placed[0]).await?;
                customer::until(shop, &begun.placed[0], &["cancelled"]).await?;
            }
            Flow::StaffCancel => {
                customer::staff_sets(shop, &begun.placed[0], "cancelled").await?;
                customer::until(shop, &begun.placed[0], &["cancelled"]).await?;
            }
            Flow::HoldExpiry => {
                let order_id = OrderId(uuid::Uuid::now_v7());
                begun.hold = Some(order_id);
                hold_that_has_ended(shop, order_id).await?;
                until_released(shop).await?;
            }
            Flow::LowStock => {
                begun.placed.push(must_order(shop, FEW, 1, "tok_ok").await?);
                customer::until(shop, &begun.placed[0], &["confirmed"]).await?;
                until_told(shop, begun.alerts).await?;
            }
            Flow::NotificationRetry => {
                let no = Fault::Fail {
                    status: 500,
                    code: "InternalServiceErrorException",
                };
                let hits = shop
                    .faults
                    .add(Rule::on(Dependency::Aws, "ses.SendEmail", no).times(2));
                begun
                    .placed
                    .push(must_order(shop, PLENTY, 1, "tok_ok").await?);
                customer::until(shop, &begun.placed[0], &["confirmed"]).await?;
                let since = Instant::now();
                while hits.count() < 2 {
                    if since.elapsed() > TOLD_WITHIN {
                        bail!("the mail service was never asked");
                    }
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
            }
        }
        Ok(begun
            .placed
            .into_iter()
            .map(|placed| Known {
                order_id: placed.order_id,
                email: placed.email,
            })
            .collect())
    }

    /// What the flow owes beyond the invariants, when all is quiet.
    /// `twice`: how many mails may have come twice.
    pub async fn owes(
        self,
        shop: &Shop,
        alerts_before: usize,
        twice: usize,
    ) -> anyhow::Result<Vec<String>> {
        if self != Flow::LowStock {
            return Ok(Vec::new());
        }
        let told = alerts(shop).await? - alerts_before;
        let may = 1..=1 + twice.min(1);
        Ok(if may.contains(&told) {
            Vec::new()
        } else {
            vec![format!("I8 staff were told {told} times of one crossing")]
        })
    }

    pub fn alerts_before(begun: &Begun) -> usize {
        begun.alerts
    }
}

/// Refused at the door when the other was very fast, which is as good.
async fn buy_last(shop: &Shop) -> anyhow::Result<Option<Placed>> {
    match customer::order(shop, FEW, 1, "tok_ok", Duration::from_secs(60)).await {
        customer::Answer::Ok(placed) => Ok(Some(placed)),
        customer::Answer::Refused(status) if status.as_u16() == 409 => Ok(None),
        other => bail!("a customer of the last one got {other:?}"),
    }
}

async fn alerts(shop: &Shop) -> anyhow::Result<usize> {
    Ok(mails(shop)
        .await?
        .iter()
        .filter(|(to, subject)| to.starts_with("staff@") && subject.contains("Mocha"))
        .count())
}

async fn until_told(shop: &Shop, before: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    while alerts(shop).await? <= before {
        if begun.elapsed() > TOLD_WITHIN {
            bail!("I8 staff were not told within {} s", TOLD_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// As a worker leaves it that died between the hold and everything else, a quarter of an hour ago.
async fn hold_that_has_ended(shop: &Shop, order_id: OrderId) -> anyhow::Result<()> {
    let product_id = ProductId::parse(PLENTY)?;
    let quantity = Quantity::new(2).ok_or_else(|| anyhow::anyhow!("a quantity"))?;
    let now = Timestamp::now_utc();
    let (then, ended) = (now - Duration::from_secs(900), now - Duration::from_secs(1));
    shop.stock
        .reserve(
            order_id,
            &Lines::merge([Line {
                product_id,
                quantity,
            }])?,
            then,
            ended,
        )
        .await?;
    Ok(())
}

async fn until_released(shop: &Shop) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !shop
        .stock
        .expired_holds(Timestamp::now_utc(), 10)
        .await?
        .is_empty()
    {
        if begun.elapsed() > SWEPT_WITHIN {
            bail!(
                "I3 the hold was not given back within {} s",
                SWEPT_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
