//! Stock in DynamoDB: five counters per product, one record per reservation, and one ledger entry
//! per change.
//!
//! The record of a reservation is written in the transaction of the counters, on the condition that
//! it does not exist. This condition makes a repeat harmless, even if the first call was executed
//! and its reply was lost. A client token would not be enough: DynamoDB forgets tokens after ten
//! minutes, and a message can be delivered again after days. The SDK still adds a token of its own
//! to each call for its retries.
//!
//! Each change of a product's counters writes its ledger entry in the same transaction, so the
//! ledger always adds up to the counters (`stock/ledger.rs`).

use app::ports::ledger::{Entry, HOLDS_KEPT, HoldState};
use app::ports::stock::{
    Adjusted, Adjustment, AdjustmentKind, Adjustments, Catalogue, Confirmed, ExpiredHold, Moved,
    OPENING, OrderMove, Reservation, Reservations, Reserved, Stock, StockedProduct,
};
use app::ports::{Backend, StoreError};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    CancellationReason, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use contract::table::{HELD_BY_EXPIRY, HELD_SHARDS};
use domain::Timestamp;
use domain::cart::{Line, Lines};
use domain::ids::{OrderId, ProductId};
use domain::menu::Product;
use domain::stock::{Counters, Movement};

use crate::Clients;
use crate::items::{
    Item, corrupt, get_lines, get_text, get_time, item_of, lines_value, number, product_item, text,
    time_text, time_value,
};
use crate::tables::{ReadTable, Readable, WriteTable};
use crate::transactions::{Written, refused, write};

mod groups;
mod ledger;
mod products;

use ledger::{entry_item, marker_key};

pub use products::DynamoProducts;

/// Maximum reads of a reservation that another process changes at the same time. Afterwards the
/// message goes back to its queue.
const LOOKS: u32 = 12;
const KEEPS_CHANGING: &str = "a reservation keeps changing";
/// Number of expired holds in one page of a query. The stock laws create more holds than fit into
/// one page for each partition of the index.
const HOLDS_A_PAGE: i32 = 25;

/// The tables of stock. `R` is the right to the reservations.
#[derive(Debug, Clone)]
pub struct StockTables<R = WriteTable> {
    /// The products with their counters.
    pub products: WriteTable,
    /// The reservations by order.
    pub reservations: R,
    /// The ledger.
    pub movements: WriteTable,
}

/// Stock in DynamoDB. With read-only reservations it is [`DynamoShopStock`].
#[derive(Clone)]
pub struct DynamoStock<R = WriteTable> {
    client: Client,
    tables: StockTables<R>,
    /// The actor of stock changes for orders, for the ledger.
    actor: String,
}

/// Stock for the storefront: staff adjust the units of products, and everything can be read. This
/// type cannot reserve, sell or release the units of an order.
pub type DynamoShopStock = DynamoStock<ReadTable>;

/// A reservation as it is stored.
struct Record {
    state: HoldState,
    lines: Vec<Line>,
}

impl<R: Readable> DynamoStock<R> {
    /// Creates the stock. `actor` is the actor in ledger entries of orders: the slug of a role, or
    /// a command.
    pub fn new(
        clients: &Clients,
        tables: StockTables<R>,
        actor: impl Into<String>,
    ) -> DynamoStock<R> {
        DynamoStock {
            client: clients.dynamodb(),
            tables,
            actor: actor.into(),
        }
    }

    fn catalogue(&self) -> DynamoProducts {
        DynamoProducts {
            client: self.client.clone(),
            table: self.tables.products.as_read().clone(),
        }
    }

    async fn write(&self, actions: Vec<TransactWriteItem>) -> Result<Written, StoreError> {
        Ok(write(&self.client, actions).await?)
    }

    async fn record(&self, order_id: OrderId) -> Result<Option<Record>, StoreError> {
        self.record_item(order_id)
            .await?
            .as_ref()
            .map(record_of)
            .transpose()
    }

    async fn record_item(&self, order_id: OrderId) -> Result<Option<Item>, StoreError> {
        let got = self
            .tables
            .reservations
            .as_read()
            .get_item(&self.client)
            .key("reservation_id", text(order_id.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::new(Backend::Stock, crate::cause(error)))?;
        Ok(got.item)
    }
}

impl DynamoStock {
    /// Returns the write of a new reservation, refused if there is one.
    fn held(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let record = item_of([
            ("reservation_id", text(order_id.to_string())),
            ("state", text(HoldState::Held.code())),
            ("lines", lines_value(lines)),
            ("expires_at", time_value(expires_at)),
            ("created_at", time_value(now)),
            ("held_shard", number(i64::from(shard_of(order_id)))),
        ]);
        self.put_new(&self.tables.reservations, record, "reservation_id")
    }

    /// Returns the change of a reservation to another state, refused if it is not in `from`.
    fn settled(
        &self,
        order_id: OrderId,
        from: HoldState,
        to: HoldState,
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        let update = self
            .tables
            .reservations
            .update()
            .key("reservation_id", text(order_id.to_string()))
            // Removes the record from the index of open reservations, and sets its expiry.
            .update_expression(
                "SET #state = :to, updated_at = :now, forget_at = :forget REMOVE held_shard",
            )
            .condition_expression("#state = :from")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":from", text(from.code()))
            .expression_attribute_values(":to", text(to.code()))
            .expression_attribute_values(":now", time_value(now))
            .expression_attribute_values(":forget", number((now + HOLDS_KEPT).unix_timestamp()))
            .build();
        Ok(TransactWriteItem::builder()
            .update(update.map_err(|error| StoreError::new(Backend::Stock, error))?)
            .build())
    }

    /// Moves a reservation to another state and changes the counters of its products.
    async fn settle(
        &self,
        order_id: OrderId,
        record: &Record,
        to: HoldState,
        movement: fn(u32) -> Movement,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        let mut actions = vec![self.settled(order_id, record.state, to, now)?];
        actions.extend(self.move_all(order_id, &record.lines, movement, now)?);
        let written = self.write(actions).await?;
        // The record is unchanged, but the counters of a product are lower than the reservation:
        // see the runbook `stock-drift`. A retry would not help.
        if let Written::Refused(reasons) = &written
            && !reasons.first().is_some_and(refused)
            && self
                .record(order_id)
                .await?
                .is_some_and(|now| now.state == record.state)
        {
            let lacking = of_counters(&record.lines, reasons).filter(|(_, reason)| refused(reason));
            let lacking: Vec<&str> = lacking.map(|(line, _)| line.product_id.as_str()).collect();
            let why = format!("the counters of {lacking:?} do not hold what {order_id} holds");
            return Err(StoreError::new(Backend::Stock, why));
        }
        Ok(written)
    }

    /// Returns the changes of an order: for each line the update of the counters, followed by its
    /// ledger entry.
    fn move_all<'a>(
        &self,
        order_id: OrderId,
        lines: impl IntoIterator<Item = &'a Line>,
        movement: fn(u32) -> Movement,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mut actions = Vec::new();
        for line in lines {
            let movement = movement(line.quantity.get());
            actions.push(self.count(&line.product_id, &[movement], now)?);
            actions.push(self.write_down(&self.entry(
                order_id,
                &line.product_id,
                movement,
                now,
            ))?);
        }
        Ok(actions)
    }

    /// Returns the ledger entry of a stock change for an order.
    fn entry(
        &self,
        order_id: OrderId,
        product_id: &ProductId,
        movement: Movement,
        now: Timestamp,
    ) -> Entry {
        let reference = order_id.to_string();
        Entry {
            entry_id: Entry::id_of(now, movement, &reference),
            product_id: product_id.clone(),
            movement,
            reference,
            actor: self.actor.clone(),
            note: None,
            at: now,
        }
    }
}

impl<R: Readable> DynamoStock<R> {
    fn write_down(&self, entry: &Entry) -> Result<TransactWriteItem, StoreError> {
        self.put_new(&self.tables.movements, entry_item(entry), "movement_id")
    }

    /// Returns one update of a product's counters for several changes. The update is refused if a
    /// counter is lower than the units to take from it. Units added by the same update do not
    /// count.
    fn count(
        &self,
        product_id: &ProductId,
        movements: &[Movement],
        now: Timestamp,
    ) -> Result<TransactWriteItem, StoreError> {
        type OfCounters = fn(&Counters) -> i64;
        const COUNTERS: [(&str, OfCounters); 5] = [
            ("available", |counters| counters.available),
            ("reserved", |counters| counters.reserved),
            ("sold", |counters| counters.sold),
            ("written_off", |counters| counters.written_off),
            ("received", |counters| counters.received),
        ];
        let deltas: Vec<Counters> = movements.iter().map(|movement| movement.delta()).collect();
        let mut update = self
            .tables
            .products
            .update()
            .key("product_id", text(product_id.as_str()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":now", time_value(now));
        let mut expression = "SET version = version + :one, updated_at = :now".to_owned();
        let mut condition = "attribute_exists(product_id)".to_owned();
        for (counter, of) in COUNTERS {
            let change: i64 = deltas.iter().map(of).sum();
            let taken: i64 = deltas.iter().map(of).filter(|delta| *delta < 0).sum();
            if change != 0 {
                expression.push_str(&format!(", {counter} = {counter} + :{counter}"));
                update = update.expression_attribute_values(format!(":{counter}"), number(change));
            }
            if taken != 0 {
                condition.push_str(&format!(" AND {counter} >= :{counter}_taken"));
                update =
                    update.expression_attribute_values(format!(":{counter}_taken"), number(-taken));
            }
        }
        if movements
            .iter()
            .any(|movement| matches!(movement, Movement::Restock(_)))
        {
            expression.push_str(", last_restocked = :now");
        }
        let update = update
            .update_expression(expression)
            .condition_expression(condition)
            .build();
        Ok(TransactWriteItem::builder()
            .update(update.map_err(|error| StoreError::new(Backend::Stock, error))?)
            .build())
    }

    /// Returns the marker of an adjustment, if it was made before.
    async fn marker(&self, adjustment: &Adjustment) -> Result<Option<Item>, StoreError> {
        let got = self
            .tables
            .movements
            .as_read()
            .get_item(&self.client)
            .key("product_id", text(adjustment.product_id.as_str()))
            .key("movement_id", text(marker_key(&adjustment.movement_id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::new(Backend::Stock, crate::cause(error)))?;
        Ok(got.item)
    }

    fn put_new(
        &self,
        table: &WriteTable,
        item: Item,
        key: &str,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = table
            .put()
            .set_item(Some(item))
            .condition_expression(format!("attribute_not_exists({key})"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build();
        Ok(TransactWriteItem::builder()
            .put(put.map_err(|error| StoreError::new(Backend::Stock, error))?)
            .build())
    }

    async fn adjust_units(&self, adjustment: &Adjustment) -> Result<Adjusted, StoreError> {
        let movement = adjustment.change.movement();
        let (kind, change) = match adjustment.change {
            AdjustmentKind::Restock(units) => ("restock", i64::from(units)),
            AdjustmentKind::Correct(change) => ("adjustment", change),
        };
        // The entry's key contains the time, which differs in a repeat. The marker has the same key
        // and is written once.
        let marker = item_of([
            ("product_id", text(adjustment.product_id.as_str())),
            ("movement_id", text(marker_key(&adjustment.movement_id))),
            ("kind", text(kind)),
            ("change", number(change)),
            ("at", time_value(adjustment.at)),
        ]);
        let entry = Entry {
            entry_id: Entry::id_of(adjustment.at, movement, &adjustment.movement_id),
            product_id: adjustment.product_id.clone(),
            movement,
            reference: adjustment.movement_id.clone(),
            actor: adjustment.actor.clone(),
            note: Some(adjustment.reason.clone()),
            at: adjustment.at,
        };
        let actions = vec![
            self.put_new(&self.tables.movements, marker, "movement_id")?,
            self.count(&adjustment.product_id, &[movement], adjustment.at)?,
            self.write_down(&entry)?,
        ];
        let written = self.write(actions).await?;
        let Some(product) = self.catalogue().product(&adjustment.product_id).await? else {
            return Ok(Adjusted::NoSuchProduct);
        };
        Ok(match written {
            Written::Done => Adjusted::Now(product),
            Written::Refused(_) => match self.marker(adjustment).await? {
                // The same adjustment was made before: return the current counters.
                Some(made)
                    if get_text(&made, "kind").as_deref() == Some(kind)
                        && made.get("change") == Some(&number(change)) =>
                {
                    Adjusted::Now(product)
                }
                Some(_) => Adjusted::IdReused,
                None => Adjusted::TooFew,
            },
        })
    }
}

impl Catalogue for DynamoShopStock {
    async fn products(&self) -> Result<Vec<StockedProduct>, StoreError> {
        self.catalogue().products().await
    }

    async fn product(&self, id: &ProductId) -> Result<Option<StockedProduct>, StoreError> {
        self.catalogue().product(id).await
    }
}

impl Adjustments for DynamoShopStock {
    async fn adjust(&self, adjustment: &Adjustment) -> Result<Adjusted, StoreError> {
        self.adjust_units(adjustment).await
    }
}

impl Stock for DynamoStock {
    async fn products(&self) -> Result<Vec<StockedProduct>, StoreError> {
        self.catalogue().products().await
    }

    async fn product(&self, id: &ProductId) -> Result<Option<StockedProduct>, StoreError> {
        self.catalogue().product(id).await
    }

    async fn reserve(
        &self,
        order_id: OrderId,
        lines: &Lines,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Reserved, StoreError> {
        let mut sorted: Vec<&Line> = lines.iter().collect();
        sorted.sort_by(|a, b| a.product_id.cmp(&b.product_id));
        let mut actions = vec![self.held(order_id, lines, now, expires_at)?];
        actions.extend(self.move_all(order_id, sorted.iter().copied(), Movement::Reserve, now)?);
        let Written::Refused(reasons) = self.write(actions).await? else {
            return Ok(Reserved::Held);
        };
        // The record decides. If it exists, the counters were refused only because this order was
        // counted before. The record is read before `TooFew` is returned, because DynamoDB does not
        // promise to report every failed condition.
        let there = match reasons.first() {
            Some(CancellationReason {
                item: Some(item), ..
            }) => Some(record_of(item)?),
            _ => self.record(order_id).await?,
        };
        if let Some(record) = there {
            return Ok(match record.state {
                HoldState::Held => Reserved::Held,
                HoldState::Confirmed => Reserved::Confirmed,
                HoldState::Released => Reserved::Released,
            });
        }
        let short = of_counters(&sorted, &reasons).filter(|(_, reason)| refused(reason));
        let short: Vec<ProductId> = short.map(|(line, _)| line.product_id.clone()).collect();
        if short.is_empty() {
            return Err(StoreError::new(
                Backend::Stock,
                "a reservation was there, and then was not",
            ));
        }
        Ok(Reserved::TooFew(short))
    }

    async fn confirm(&self, order_id: OrderId, now: Timestamp) -> Result<Confirmed, StoreError> {
        for _ in 0..LOOKS {
            let Some(record) = self.record(order_id).await? else {
                return Ok(Confirmed::NoHold);
            };
            match record.state {
                HoldState::Confirmed => return Ok(Confirmed::Sold),
                HoldState::Released => return Ok(Confirmed::NoHold),
                HoldState::Held => {
                    let (to, movement) = (HoldState::Confirmed, Movement::Confirm);
                    let written = self.settle(order_id, &record, to, movement, now).await?;
                    if let Written::Done = written {
                        return Ok(Confirmed::Sold);
                    }
                    // Another process changed the reservation, or this call did and its reply was
                    // lost: read again.
                }
            }
        }
        Err(StoreError::new(Backend::Stock, KEEPS_CHANGING))
    }

    async fn move_orders(&self, moves: &[OrderMove]) -> Vec<Result<Moved, StoreError>> {
        self.move_groups(moves).await
    }

    async fn release(&self, order_id: OrderId, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..LOOKS {
            let written = match self.record(order_id).await? {
                Some(record) => {
                    let movement: fn(u32) -> Movement = match record.state {
                        HoldState::Released => return Ok(()),
                        HoldState::Held => Movement::Release,
                        HoldState::Confirmed => Movement::Return,
                    };
                    let to = HoldState::Released;
                    self.settle(order_id, &record, to, movement, now).await?
                }
                None => {
                    let mark = item_of([
                        ("reservation_id", text(order_id.to_string())),
                        ("state", text(HoldState::Released.code())),
                        ("created_at", time_value(now)),
                        ("forget_at", number((now + HOLDS_KEPT).unix_timestamp())),
                    ]);
                    let reservations = &self.tables.reservations;
                    let mark = self.put_new(reservations, mark, "reservation_id")?;
                    self.write(vec![mark]).await?
                }
            };
            if let Written::Done = written {
                return Ok(());
            }
        }
        Err(StoreError::new(Backend::Stock, KEEPS_CHANGING))
    }

    async fn expired_holds(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredHold>, StoreError> {
        let mut holds = Vec::new();
        for shard in 0..HELD_SHARDS {
            let mut items = self
                .tables
                .reservations
                .as_read()
                .query(&self.client)
                .index_name(HELD_BY_EXPIRY.name)
                .key_condition_expression("held_shard = :shard AND expires_at < :now")
                .expression_attribute_values(":shard", number(i64::from(shard)))
                .expression_attribute_values(":now", text(time_text(now)))
                .limit(HOLDS_A_PAGE)
                .into_paginator()
                .items()
                .send();
            while let Some(item) = items.next().await {
                if holds.len() >= limit as usize {
                    return Ok(holds);
                }
                let item =
                    item.map_err(|error| StoreError::new(Backend::Stock, crate::cause(error)))?;
                let order_id = get_text(&item, "reservation_id").and_then(|id| id.parse().ok());
                let (Some(order_id), Some(expires_at)) = (order_id, get_time(&item, "expires_at"))
                else {
                    tracing::error!(item = ?item.get("reservation_id"), "A reservation cannot be read");
                    continue;
                };
                holds.push(ExpiredHold {
                    order_id,
                    expires_at,
                });
            }
        }
        Ok(holds)
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Adjusted, StoreError> {
        self.adjust_units(adjustment).await
    }

    async fn add_product(
        &self,
        product: &Product,
        received: u32,
        low_stock_threshold: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let item = product_item(product, received, low_stock_threshold, now);
        let mut actions = vec![self.put_new(&self.tables.products, item, "product_id")?];
        if received > 0 {
            let movement = Movement::Restock(received);
            actions.push(self.write_down(&Entry {
                entry_id: Entry::id_of(now, movement, OPENING),
                product_id: product.product_id.clone(),
                movement,
                reference: OPENING.to_owned(),
                actor: self.actor.clone(),
                note: Some(OPENING.to_owned()),
                at: now,
            })?);
        }
        Ok(matches!(self.write(actions).await?, Written::Done))
    }
}

impl<R: Readable> Reservations for DynamoStock<R> {
    async fn reservation(&self, order_id: OrderId) -> Result<Option<Reservation>, StoreError> {
        let Some(item) = self.record_item(order_id).await? else {
            return Ok(None);
        };
        let record = record_of(&item)?;
        Ok(Some(Reservation {
            state: record.state,
            lines: record.lines,
            created_at: get_time(&item, "created_at"),
            expires_at: get_time(&item, "expires_at"),
            settled_at: get_time(&item, "updated_at"),
        }))
    }
}

/// Returns the lines with the reasons of their counters. A transaction has one record, followed by
/// counters and ledger entry in turn.
fn of_counters<'a, L>(
    lines: &'a [L],
    reasons: &'a [CancellationReason],
) -> impl Iterator<Item = (&'a L, &'a CancellationReason)> {
    lines.iter().zip(reasons.iter().skip(1).step_by(2))
}

/// Reads a reservation.
///
/// # Errors
/// Returns `StoreError` when an attribute is missing or invalid.
fn record_of(item: &Item) -> Result<Record, StoreError> {
    let state = get_text(item, "state").and_then(|code| HoldState::from_code(&code));
    Ok(Record {
        state: state.ok_or_else(|| corrupt("state"))?,
        lines: get_lines(item)?,
    })
}

/// Returns the shard of a reservation in the index. The last bits of an order id are random, so the
/// index's partitions get equal shares.
fn shard_of(order_id: OrderId) -> u32 {
    (order_id.0.as_u128() % u128::from(HELD_SHARDS)) as u32
}
