//! Many orders in one transaction: a record each, one update a product for all of them, a line of
//! the ledger each.
//!
//! It is as safe as one order alone: all is written or nothing, and each order's record refuses
//! what was done before. A group that is refused is taken apart, and each order asked by itself, so
//! that none pays for another.

use std::collections::{BTreeMap, BTreeSet};

use app::ports::Unavailable;
use app::ports::ledger::HoldState;
use app::ports::stock::{Confirmed, MoveTo, Moved, OrderMove, Reserved, Stock as _};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::Timestamp;
use domain::cart::Lines;
use domain::ids::{OrderId, ProductId};
use domain::stock::Movement;

use super::DynamoStock;
use crate::transactions::{Failed, Written, write};

/// DynamoDB takes so many actions in one transaction (Developer Guide, `TransactWriteItems`).
const ACTIONS_MAX: usize = 100;

impl DynamoStock {
    pub(super) async fn move_groups(&self, moves: &[OrderMove]) -> Vec<Result<Moved, Unavailable>> {
        let mut answers = Vec::with_capacity(moves.len());
        let mut left = moves;
        while !left.is_empty() {
            let (group, rest) = left.split_at(fitting(left));
            left = rest;
            match self.move_together(group).await {
                Ok(true) => answers.extend(group.iter().map(|one| Ok(as_wanted(one)))),
                Ok(false) => {
                    for one in group {
                        answers.push(self.move_alone(one).await);
                    }
                }
                Err(error) => answers.extend(group.iter().map(|_| Err(error.clone()))),
            }
        }
        answers
    }

    /// False: nothing was done, and at least one of them is the reason.
    async fn move_together(&self, group: &[OrderMove]) -> Result<bool, Unavailable> {
        let [first, _, ..] = group else {
            return Ok(false);
        };
        // A transaction is not about one moment: the latest is as true as any.
        let latest = group
            .iter()
            .fold(first.now, |latest, one| latest.max(one.now));
        let mut actions: Vec<TransactWriteItem> = Vec::with_capacity(ACTIONS_MAX);
        let mut products: BTreeMap<&ProductId, Vec<Movement>> = BTreeMap::new();
        let mut entries = Vec::new();
        for OrderMove {
            order_id,
            lines,
            to,
            now,
        } in group
        {
            actions.push(match to {
                MoveTo::Reserve { expires_at } => self.held(*order_id, lines, *now, *expires_at)?,
                MoveTo::Confirm => {
                    self.settled(*order_id, HoldState::Held, HoldState::Confirmed, *now)?
                }
            });
            for line in lines {
                let movement = movement(*to)(line.quantity.get());
                products.entry(&line.product_id).or_default().push(movement);
                entries.push(self.write_down(&self.entry(
                    *order_id,
                    &line.product_id,
                    movement,
                    *now,
                ))?);
            }
        }
        for (product_id, movements) in products {
            actions.push(self.count(product_id, &movements, latest)?);
        }
        actions.extend(entries);
        match write(&self.client, actions).await {
            Ok(Written::Done) => Ok(true),
            Ok(Written::Refused(_)) | Err(Failed::Unfit(_)) => Ok(false),
            // Asking each by itself would take as many times as long to hear nothing.
            Err(Failed::Unanswered(why)) => Err(why),
        }
    }

    async fn move_alone(&self, one: &OrderMove) -> Result<Moved, Unavailable> {
        let OrderMove {
            order_id,
            lines,
            to,
            now,
        } = one;
        match to {
            MoveTo::Reserve { expires_at } => self
                .reserve(*order_id, lines, *now, *expires_at)
                .await
                .map(Moved::Reserve),
            MoveTo::Confirm => self
                .confirm_lines(*order_id, lines, *now)
                .await
                .map(Moved::Confirm),
        }
    }

    /// Turns the hold into a sale without reading it first: what it holds is known, and its state
    /// is a condition.
    async fn confirm_lines(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
    ) -> Result<Confirmed, Unavailable> {
        let mut actions =
            vec![self.settled(order_id, HoldState::Held, HoldState::Confirmed, now)?];
        actions.extend(self.move_all(order_id, lines, Movement::Confirm, now)?);
        match self.write(actions).await? {
            Written::Done => Ok(Confirmed::Sold),
            // Sold already, given back, or what should be there is not: the record tells.
            Written::Refused(_) => self.confirm(order_id, now).await,
        }
    }
}

/// How many of the next moves go into one transaction: different orders, within its limit. At least
/// one.
fn fitting(moves: &[OrderMove]) -> usize {
    let (mut orders, mut products) = (BTreeSet::new(), BTreeSet::new());
    let mut of_orders = 0;
    for (index, one) in moves.iter().enumerate() {
        of_orders += 1 + one.lines.iter().count();
        products.extend(one.lines.iter().map(|line| &line.product_id));
        if !orders.insert(one.order_id) || of_orders + products.len() > ACTIONS_MAX {
            return index.max(1);
        }
    }
    moves.len()
}

fn movement(to: MoveTo) -> fn(u32) -> Movement {
    match to {
        MoveTo::Reserve { .. } => Movement::Reserve,
        MoveTo::Confirm => Movement::Confirm,
    }
}

fn as_wanted(one: &OrderMove) -> Moved {
    match one.to {
        MoveTo::Reserve { .. } => Moved::Reserve(Reserved::Held),
        MoveTo::Confirm => Moved::Confirm(Confirmed::Sold),
    }
}
