//! How people name an order: by its number, its id, or the beginning of its id.

use app::ports::orders::{OrderFilter, OrderStore};
use app::ports::scope::Scope;
use domain::Timestamp;
use domain::ids::{OrderId, OrderNumber};
use domain::order::{Order, Status};
use haven_console::error::Failure;
use haven_console::prompt;
use haven_console::time::absolute;
use uuid::Uuid;

use crate::arguments::InvalidValue;

/// The shortest beginning of an id that names an order. Ids of one minute begin alike.
const SHORTEST: usize = 8;
/// At most this many candidates are shown.
const SHOWN: u32 = 10;

/// The name of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderName {
    Id(OrderId),
    Number(OrderNumber),
    /// The ids between these two, with this many characters in common.
    Prefix(Uuid, Uuid, usize),
}

/// An order that may be meant.
struct Candidate {
    order_id: OrderId,
    order_number: String,
    status: Status,
    created_at: Timestamp,
}

impl Candidate {
    fn of(order: Order) -> Candidate {
        Candidate {
            order_id: order.order_id,
            order_number: order.order_number,
            status: order.status,
            created_at: order.created_at,
        }
    }
}

/// Parses an order number, an order id, or the beginning of one. For clap.
///
/// # Errors
/// When the text is none of them.
pub fn order_name(text: &str) -> Result<OrderName, InvalidValue> {
    let number = || OrderNumber::parse(text).map(OrderName::Number);
    let id = || text.parse().ok().map(OrderName::Id);
    number().or_else(id).or_else(|| prefix(text)).ok_or_else(|| {
        InvalidValue::new(
            "must be an order number, such as A-047, an order id, or at least its first 8 characters",
        )
    })
}

fn prefix(text: &str) -> Option<OrderName> {
    const FIRST: &str = "00000000-0000-0000-0000-000000000000";
    const LAST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let padded = |rest: &str| {
        let rest = rest.get(text.len()..)?;
        Uuid::parse_str(&format!("{text}{rest}")).ok()
    };
    if text.len() < SHORTEST {
        return None;
    }
    Some(OrderName::Prefix(padded(FIRST)?, padded(LAST)?, text.len()))
}

impl OrderName {
    /// Returns the id of the order that is meant. Asks if the name fits several.
    ///
    /// # Errors
    /// A failure that exits with 2 when no order has the name, a usage failure with the candidates
    /// when several have it and no question can be asked, or an error of the store.
    pub async fn find(self, orders: &impl OrderStore) -> anyhow::Result<OrderId> {
        let (what, found) = match self {
            OrderName::Id(order_id) => return Ok(order_id),
            OrderName::Number(number) => {
                let scope = Scope::Everything;
                let ids = orders.with_number(&scope, number, SHOWN).await?;
                if let [order_id] = ids[..] {
                    return Ok(order_id);
                }
                let mut found = Vec::new();
                for order_id in ids {
                    let stored = orders.load_in(&scope, order_id).await?;
                    found.extend(stored.map(|stored| Candidate::of(stored.order)));
                }
                (format!("the number {number}"), found)
            }
            OrderName::Prefix(first, last, length) => {
                let text = first.hyphenated().to_string();
                let begin = text.get(..length).unwrap_or(&text);
                (
                    format!("an id that begins with `{begin}`"),
                    between(orders, first, last).await?,
                )
            }
        };
        Ok(one_of(&what, &found)?)
    }
}

/// Returns the orders with ids from `first` to `last`, newest first, up to the number that is shown.
async fn between(
    orders: &impl OrderStore,
    first: Uuid,
    last: Uuid,
) -> anyhow::Result<Vec<Candidate>> {
    let after_last = last.as_u128().checked_add(1).map(Uuid::from_u128);
    let filter = OrderFilter {
        before: after_last.map(OrderId),
        limit: SHOWN,
        ..OrderFilter::default()
    };
    let found = orders.list(&Scope::Everything, &filter).await?.into_iter();
    let found = found.filter(|order| order.order_id >= OrderId(first));
    Ok(found.map(Candidate::of).collect())
}

/// Returns the one order, or the one that the user chooses.
fn one_of(what: &str, found: &[Candidate]) -> Result<OrderId, Failure> {
    match found {
        [] => Err(Failure::not_found(format!("no order has {what}"))),
        [order] => Ok(order.order_id),
        several => {
            let lines: Vec<String> = several.iter().map(line).collect();
            let chosen = prompt::choose(
                &format!("{}:", several_have(what, several.len())),
                &lines,
                ambiguous(what, several),
            )?;
            let order = chosen.and_then(|index| several.get(index));
            let order = order.ok_or_else(|| Failure::usage("no order was chosen"))?;
            Ok(order.order_id)
        }
    }
}

/// Returns the failure that lists the candidates.
fn ambiguous(what: &str, several: &[Candidate]) -> Failure {
    let candidates: Vec<String> = several
        .iter()
        .map(|order| format!("{} ({})", order.order_id, absolute(order.created_at)))
        .collect();
    Failure::usage(several_have(what, several.len()))
        .code("ambiguous")
        .tip(format!("give the id of one: {}", candidates.join(", ")))
}

fn several_have(what: &str, count: usize) -> String {
    match count {
        count if count < SHOWN as usize => format!("{count} orders have {what}"),
        count => format!("at least {count} orders have {what}"),
    }
}

fn line(order: &Candidate) -> String {
    format!(
        "{}  {}  {}  {}",
        absolute(order.created_at),
        order.order_number,
        order.order_id,
        order.status.code()
    )
}

#[cfg(test)]
mod tests {
    use haven_console::exit::Exit;
    use time::macros::datetime;

    use super::*;

    const ID: &str = "01954f0c-6b00-7000-8000-000000000047";

    #[test]
    fn an_order_has_three_names() {
        let id = OrderName::Id(ID.parse().expect("an id"));
        assert_eq!(order_name(ID), Ok(id));
        let number = OrderName::Number(OrderNumber::of(47));
        for text in ["A-047", "a47"] {
            assert_eq!(order_name(text), Ok(number), "{text}");
        }
        for length in SHORTEST..ID.len() {
            let text = &ID[..length];
            let Ok(OrderName::Prefix(first, last, common)) = order_name(text) else {
                panic!("{text}");
            };
            let whole = Uuid::parse_str(ID).expect("an id");
            assert!(
                first <= whole && whole <= last && common == length,
                "{text}"
            );
            for end in [first, last] {
                assert!(
                    end.hyphenated().to_string().starts_with(text),
                    "{text}: {end}"
                );
            }
        }
        for wrong in [
            "",
            "01954f0",
            "01954f0c6",
            "01954f0g",
            "the-last-one",
            &format!("{ID}0"),
        ] {
            let refused = order_name(wrong).expect_err("no order").to_string();
            assert!(refused.contains("such as A-047"), "{wrong}: {refused}");
        }
    }

    #[test]
    fn one_order_is_found_and_of_several_each_is_named() {
        let candidate = |random: u128, created_at| Candidate {
            order_id: OrderId(Uuid::from_u128(
                0x0195_4f0c_6b00_7000_8000_0000_0000_0000 + random,
            )),
            order_number: "A-047".to_owned(),
            status: Status::Completed,
            created_at,
        };
        let (new, old) = (
            candidate(2, datetime!(2026-11-29 08:03 UTC)),
            candidate(1, datetime!(2026-11-28 09:30 UTC)),
        );
        let missing = one_of("the number A-047", &[]).expect_err("none");
        assert_eq!(
            (missing.exit, missing.to_string().as_str()),
            (Exit::No, "no order has the number A-047")
        );
        let ambiguous = ambiguous("the number A-047", &[new, old]);
        assert_eq!((ambiguous.exit, ambiguous.code), (Exit::Usage, "ambiguous"));
        assert_eq!(ambiguous.to_string(), "2 orders have the number A-047");
        let tip = "give the id of one: \
            01954f0c-6b00-7000-8000-000000000002 (2026-11-29 08:03 UTC), \
            01954f0c-6b00-7000-8000-000000000001 (2026-11-28 09:30 UTC)";
        assert_eq!(ambiguous.tip.as_deref(), Some(tip));
        let one = candidate(3, datetime!(2026-11-29 08:03 UTC));
        assert_eq!(
            one_of("the number A-047", &[one]).expect("one").0.as_u128() & 0xff,
            3
        );
        let shown = line(&candidate(3, datetime!(2026-11-29 08:03 UTC)));
        assert_eq!(
            shown,
            "2026-11-29 08:03 UTC  A-047  01954f0c-6b00-7000-8000-000000000003  completed"
        );
    }
}
