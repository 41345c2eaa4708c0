//! Group commit of stock changes: one DynamoDB transaction for many orders.
//!
//! A transaction has one reservation record and the ledger entries of each order, and one counter
//! update per product for all orders together. Without groups, orders of a popular product conflict
//! on its counters and have to retry.
//!
//! The transaction is as safe as one for a single order. DynamoDB executes all actions or none, and
//! the record of each order refuses what was done before. When a group is refused, `move_groups`
//! moves each of its orders separately. One order without stock therefore does not fail the others,
//! and each order gets its own result. When there is no answer, all orders of the group get the
//! error and their messages are retried, because separate calls would only time out one by one.

use std::collections::{BTreeMap, BTreeSet};

use app::ports::StoreError;
use app::ports::ledger::HoldState;
use app::ports::stock::{Confirmed, MoveTo, Moved, OrderMove, Reserved, Stock as _};
use aws_sdk_dynamodb::types::TransactWriteItem;
use domain::Timestamp;
use domain::cart::Lines;
use domain::ids::{OrderId, ProductId};
use domain::stock::Movement;

use super::DynamoStock;
use crate::transactions::{Failed, Written, write};

/// Maximum actions of a transaction (DynamoDB Developer Guide, `TransactWriteItems`).
const ACTIONS_MAX: usize = 100;

impl DynamoStock {
    pub(super) async fn move_groups(&self, moves: &[OrderMove]) -> Vec<Result<Moved, StoreError>> {
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

    /// Moves all orders of a group in one transaction. Returns false if nothing was executed
    /// because at least one order was refused, or if the group has only one order.
    async fn move_together(&self, group: &[OrderMove]) -> Result<bool, StoreError> {
        let [first, _, ..] = group else {
            return Ok(false);
        };
        // The counters get the latest time of the group.
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
            // Separate calls would only time out one by one.
            Err(Failed::Unanswered(why)) => Err(why),
        }
    }

    async fn move_alone(&self, one: &OrderMove) -> Result<Moved, StoreError> {
        match one.to {
            MoveTo::Reserve { expires_at } => self
                .reserve(one.order_id, &one.lines, one.now, expires_at)
                .await
                .map(Moved::Reserve),
            MoveTo::Confirm => self
                .confirm_lines(one.order_id, &one.lines, one.now)
                .await
                .map(Moved::Confirm),
        }
    }

    /// Sells a reservation without reading it first, because its lines are known and its state is a
    /// condition.
    async fn confirm_lines(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
    ) -> Result<Confirmed, StoreError> {
        let mut actions =
            vec![self.settled(order_id, HoldState::Held, HoldState::Confirmed, now)?];
        actions.extend(self.move_all(order_id, lines, Movement::Confirm, now)?);
        match self.write(actions).await? {
            Written::Done => Ok(Confirmed::Sold),
            // The reservation was sold or released before, or is missing: `confirm` reads the
            // record.
            Written::Refused(_) => self.confirm(order_id, now).await,
        }
    }
}

/// Returns the number of moves that fit into one transaction: different orders within the limit of
/// actions, at least one.
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
