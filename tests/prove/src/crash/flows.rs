//! The flows of `prove crash`: the actions of customers, of staff and of timers. `begin` runs them
//! up to the first kill, `finish` from there to the end.

use std::time::{Duration, Instant};

use anyhow::bail;
use app::ports::stock::Stock as _;
use domain::Timestamp;
use domain::cart::{Line, Lines, Quantity};
use domain::ids::{OrderId, ProductId};
use faults::{Dependency, Fault, Rule};
use strum::IntoStaticStr;

use crate::customer::{self, Placed, must_order};
use crate::invariants::{Known, mails};
use crate::shop::Shop;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Flow {
    /// An order is paid and confirmed
    Confirm,
    /// The card is declined, and the stock hold is released
    Decline,
    /// Two customers order the last unit
    SoldOut,
    /// A confirmed order is canceled by the customer and refunded
    CustomerCancel,
    /// An order in preparation is canceled by staff and refunded
    StaffCancel,
    /// A stock hold without a payment expires
    HoldExpiry,
    /// An order makes a product run low, and staff are notified once
    LowStock,
    /// The mail service refuses the first mails
    NotificationRetry,
}

/// A product with so much stock that no low-stock alert is sent.
const PLENTY: &str = "espresso";
/// A product with little stock.
const FEW: &str = "mocha";
/// The low-stock threshold of [`FEW`] in the menu.
const THRESHOLD: i64 = 20;
/// How long to wait for the release of a stock hold. The sweeper checks once a minute.
const SWEPT_WITHIN: Duration = Duration::from_secs(150);
/// How long to wait for a notification.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// A flow that has reached the point from which processes are killed.
pub struct Begun {
    placed: Vec<Placed>,
    hold: Option<OrderId>,
    alerts: usize,
}

impl Flow {
    /// Returns the flow's name on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Runs the part of the flow before the kills.
    ///
    /// # Errors
    /// Returns an error if the part does not complete.
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

    /// Runs the rest of the flow, while a process may be killed. Returns the orders that must
    /// exist.
    ///
    /// # Errors
    /// Returns an error if the flow does not reach its end within its time limits.
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

    /// Checks what the flow requires beyond the invariants, once the shop is quiet. `twice` is the
    /// number of mails that may have been sent twice. Returns the violations.
    ///
    /// # Errors
    /// Returns an error if the mails cannot be read.
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
            vec![format!("I8 staff got {told} alerts of one crossing")]
        })
    }

    /// Returns the number of low-stock alerts that were sent before the flow began.
    pub fn alerts_before(begun: &Begun) -> usize {
        begun.alerts
    }
}

/// Orders the last unit. A 409 counts as success without an order: the other customer was faster.
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
            bail!("I8 staff got no alert within {} s", TOLD_WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Creates a stock hold that has expired, as a worker leaves it that died 15 minutes ago between
/// the hold and the next step.
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
