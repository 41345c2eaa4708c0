//! `OrderStore` on SQLite.
//!
//! Each group of orders or changes is one transaction with a savepoint for each member. A member
//! that does not apply is rolled back alone; if the whole transaction fails, each member gets its
//! own.

use std::collections::HashMap;
use std::time::Duration;

use app::ports::orders::{
    Applied, Change, Due, KeyUse, NewOrder, OUTBOX_CLAIM, OrderChange, OrderFilter, OrderStore,
    OutboxRow, Outgoing, Payment, PaymentChange, PaymentKind, PaymentState, Placement, StoredOrder,
    address_text,
};
use app::ports::scope::Scope;
use app::ports::{Backend, Unavailable};
use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::{LocationId, OrderId, OrderNumber, TenantId};
use domain::order::{HistoryEntry, Status};
use sqlx::{Acquire as _, Sqlite, SqliteConnection, Transaction};
use time::Date;

use crate::access::append;
use crate::locations::{give_back_place, take_place};
use crate::rows::{
    HistoryRow, ItemRow, OrderRow, PaymentRow, optional_time, order_id, state, text_of, time_of,
};
use crate::{SqliteStore, unavailable};

/// Interval between two checks for commits of other processes. One check takes some microseconds.
const WATCH_EVERY: Duration = Duration::from_millis(15);
/// Number of order numbers that one write reserves, so that not every order needs a write for its
/// number. A restart loses the unused ones.
const NUMBERS: u64 = 10;
/// Maximum number of orders in one list.
const LIST_MAX: u32 = 200;

/// Order numbers that are reserved and not used yet, by location and day.
pub type Numbers = HashMap<(TenantId, LocationId, Date), std::ops::Range<u64>>;

/// [`IN_SCOPE`] for a scope with locations: without the `OR`, SQLite can use an index.
const IN_SHOPS: &str = "tenant_id = ?1 AND location_id IN (SELECT value FROM json_each(?2))";
/// SQL condition that an order is in a scope. `?1` is the tenant, or NULL for every order; `?2` is
/// the locations as a JSON list.
pub const IN_SCOPE: &str =
    "(?1 IS NULL OR (tenant_id = ?1 AND location_id IN (SELECT value FROM json_each(?2))))";

const ORDER_COLUMNS: &str = "order_id, tenant_id, location_id, order_number, order_type, customer_name, customer_phone, \
    customer_phone_extension, customer_email, notify_email, notify_sms, special_instructions, delivery_address, pickup_at, subtotal_minor, tax_basis_points, \
    tax_rate_millionths, tax_minor, total_minor, currency, state, status, version, reason, session_hash, tracking_token, created_at, updated_at";

/// Order id, state, version, time of creation, time of the last change, and pickup time.
type DueRow = (String, String, i64, String, String, Option<String>);

impl SqliteStore {
    /// Begins a transaction that holds the file's write lock from its start.
    pub(crate) async fn write(&self) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Commits a transaction and wakes the tasks of this process that wait for outbox rows.
    pub(crate) async fn committed(
        &self,
        transaction: Transaction<'_, Sqlite>,
    ) -> Result<(), sqlx::Error> {
        transaction.commit().await?;
        self.written.notify_waiters();
        Ok(())
    }

    async fn place_all(&self, orders: &[NewOrder]) -> Result<Vec<Placement>, sqlx::Error> {
        let mut transaction = self.write().await?;
        let mut placed = Vec::with_capacity(orders.len());
        for new in orders {
            // A savepoint: an order whose slot is full or whose key is used leaves no rows, and the
            // other orders of the transaction are kept.
            let mut point = transaction.begin().await?;
            let mut outcome = place_one(&mut point, new).await?;
            if outcome == Placement::Placed && !take_place(&mut point, new).await? {
                outcome = Placement::SlotFull;
            }
            match outcome {
                Placement::Placed => point.commit().await?,
                Placement::KeyUsed(_) | Placement::SlotFull => point.rollback().await?,
            }
            placed.push(outcome);
        }
        self.committed(transaction).await?;
        Ok(placed)
    }

    async fn apply_all(&self, changes: &[Change]) -> Result<Vec<Applied>, sqlx::Error> {
        let mut transaction = self.write().await?;
        let mut applied = Vec::with_capacity(changes.len());
        for change in changes {
            // A savepoint: a duplicate or a conflict leaves no rows, and the other changes of the
            // transaction are kept.
            let mut point = transaction.begin().await?;
            let outcome = apply_one(&mut point, change).await?;
            match outcome {
                Applied::Applied => point.commit().await?,
                Applied::Duplicate | Applied::Conflict => point.rollback().await?,
            }
            applied.push(outcome);
        }
        self.committed(transaction).await?;
        Ok(applied)
    }

    async fn with_items(&self, rows: Vec<OrderRow>) -> Result<Vec<StoredOrder>, Unavailable> {
        const ITEMS: &str =
            "SELECT order_id, product_id, name, quantity, unit_price_minor FROM order_items
            WHERE order_id IN (SELECT value FROM json_each(?)) ORDER BY order_id, position";
        let ids: Vec<_> = rows.iter().map(|row| row.order_id.as_str()).collect();
        let ids = serde_json::to_string(&ids)
            .map_err(|error| Unavailable::new(Backend::Orders, error))?;
        let items: Vec<ItemRow> = sqlx::query_as(ITEMS)
            .bind(ids)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let mut by_order: HashMap<&str, Vec<&ItemRow>> = HashMap::new();
        for item in &items {
            by_order.entry(&item.order_id).or_default().push(item);
        }
        rows.into_iter()
            .map(|row| {
                let items = by_order.remove(row.order_id.as_str()).unwrap_or_default();
                row.with_items(items.into_iter())
            })
            .collect()
    }
}

impl OrderStore for SqliteStore {
    async fn next_number(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        day: Date,
    ) -> Result<u64, Unavailable> {
        // Committed on its own, so that no request waits for another order's transaction.
        const TAKE: &str = "INSERT INTO order_number_days (tenant_id, location_id, day, next) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (tenant_id, location_id, day) DO UPDATE SET next = next + ?4
            RETURNING next";
        let mut blocks = self.numbers.lock().await;
        let place = (tenant.clone(), location.clone(), day);
        if let Some(number) = blocks.get_mut(&place).and_then(Iterator::next) {
            return Ok(number);
        }
        let (end,): (i64,) = sqlx::query_as(TAKE)
            .bind(tenant.as_str())
            .bind(location.as_str())
            .bind(day.to_string())
            .bind(NUMBERS as i64)
            .fetch_one(&self.writer)
            .await
            .map_err(unavailable)?;
        // Only today's and yesterday's numbers are asked for: two locations can be on different
        // days.
        blocks.retain(|(_, _, of), _| *of + time::Duration::DAY >= day);
        let end = u64::try_from(end).unwrap_or_default();
        let mut taken = end.saturating_sub(NUMBERS)..end;
        let number = taken
            .next()
            .ok_or_else(|| Unavailable::new(Backend::Orders, "no number was taken"))?;
        blocks.insert(place, taken);
        Ok(number)
    }

    async fn place(&self, orders: &[NewOrder]) -> Vec<Result<Placement, Unavailable>> {
        match (self.place_all(orders).await, orders) {
            (Ok(placed), _) => placed.into_iter().map(Ok).collect(),
            (Err(error), [_]) => vec![Err(unavailable(error))],
            // An order made the transaction fail. Each order gets its own transaction, so that the
            // others succeed.
            (Err(_), _) => {
                let mut each = Vec::with_capacity(orders.len());
                for new in orders {
                    let placed = self.place_all(std::slice::from_ref(new)).await;
                    each.push(placed.map_err(unavailable).and_then(only));
                }
                each
            }
        }
    }

    async fn key_use(&self, scope: &Scope, key_hash: &str) -> Result<Option<KeyUse>, Unavailable> {
        let select = format!(
            "SELECT order_id, request_hash, session_hash FROM orders WHERE {IN_SCOPE} AND idempotency_key_hash = ?3"
        );
        let row: Option<KeyRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(key_hash)
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(into_key_use).transpose()
    }

    async fn load(&self, order_id: OrderId) -> Result<Option<StoredOrder>, Unavailable> {
        let select = format!("SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ?");
        let row: Option<OrderRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(order_id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        Ok(self.with_items(row.into_iter().collect()).await?.pop())
    }

    async fn load_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<StoredOrder>, Unavailable> {
        let select =
            format!("SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ?3 AND {IN_SCOPE}");
        let row: Option<OrderRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(order_id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        Ok(self.with_items(row.into_iter().collect()).await?.pop())
    }

    async fn newest_with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
    ) -> Result<Option<OrderId>, Unavailable> {
        let row: Option<(String,)> =
            sqlx::query_as(sqlx::AssertSqlSafe(newest_with_number_sql(scope)))
                .bind(scope.tenant())
                .bind(locations(scope)?)
                .bind(number.to_string())
                .fetch_optional(&self.readers)
                .await
                .map_err(unavailable)?;
        row.map(|(id,)| order_id(&id)).transpose()
    }

    async fn history(
        &self,
        scope: &Scope,
        order_id: OrderId,
        after_seq: i64,
    ) -> Result<Vec<HistoryEntry>, Unavailable> {
        let select = format!(
            "SELECT seq, from_status, to_status, step, actor, note, at FROM order_history
             WHERE order_id = ?3 AND seq > ?4 AND EXISTS (SELECT 1 FROM orders WHERE order_id = ?3 AND {IN_SCOPE})
             ORDER BY seq"
        );
        let rows: Vec<HistoryRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(order_id.to_string())
            .bind(after_seq)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(HistoryRow::into_entry).collect()
    }

    async fn list_stored(
        &self,
        scope: &Scope,
        filter: &OrderFilter,
    ) -> Result<Vec<StoredOrder>, Unavailable> {
        // Without the hint, SQLite reads ids from the newest on and skips every closed order until
        // it has found the few open ones.
        let is_open = |status: &Status| {
            !matches!(
                status,
                Status::Completed | Status::Cancelled | Status::Failed
            )
        };
        let few = !filter.statuses.is_empty()
            && filter.statuses.iter().all(is_open)
            && filter.session_hashes.is_empty();
        let in_statuses = if filter.statuses.is_empty() {
            "?4 = '[]'"
        } else {
            "status IN (SELECT value FROM json_each(?4))"
        };
        let in_sessions = if filter.session_hashes.is_empty() {
            "?5 = '[]'"
        } else {
            "session_hash IN (SELECT value FROM json_each(?5))"
        };
        let (hint, in_scope) = match scope {
            Scope::Shops { .. } if few => (" INDEXED BY orders_by_status", IN_SHOPS),
            Scope::Shops { .. } | Scope::Everything => ("", IN_SCOPE),
        };
        // Ids are UUIDv7, so the newest order has the greatest id.
        let select = format!(
            "SELECT {ORDER_COLUMNS} FROM orders{hint}
             WHERE {in_scope} AND (?3 IS NULL OR order_id < ?3)
               AND {in_statuses}
               AND {in_sessions}
             ORDER BY order_id DESC LIMIT ?6"
        );
        let sessions = serde_json::to_string(&filter.session_hashes)
            .map_err(|error| Unavailable::new(Backend::Orders, error))?;
        let statuses: Vec<_> = filter.statuses.iter().map(|status| status.code()).collect();
        let statuses = serde_json::to_string(&statuses)
            .map_err(|error| Unavailable::new(Backend::Orders, error))?;
        let rows: Vec<OrderRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(filter.before.map(|before| before.to_string()))
            .bind(statuses)
            .bind(sessions)
            .bind(i64::from(filter.limit.clamp(1, LIST_MAX)))
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        self.with_items(rows).await
    }

    async fn find_order(
        &self,
        scope: &Scope,
        order_number: &str,
        email: &str,
    ) -> Result<Option<StoredOrder>, Unavailable> {
        let in_scope = if *scope == Scope::Everything {
            IN_SCOPE
        } else {
            IN_SHOPS
        };
        let select = format!(
            "SELECT {ORDER_COLUMNS} FROM orders
             WHERE {in_scope} AND order_number = ?3 AND lower(customer_email) = lower(?4)
             ORDER BY order_id DESC LIMIT 1"
        );
        let row: Option<OrderRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(order_number)
            .bind(email)
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        Ok(self.with_items(row.into_iter().collect()).await?.pop())
    }

    async fn pending_orders(&self, scope: &Scope) -> Result<u64, Unavailable> {
        let count = format!("SELECT count(*) FROM orders WHERE status = 'pending' AND {IN_SCOPE}");
        let (count,): (i64,) = sqlx::query_as(sqlx::AssertSqlSafe(count))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .fetch_one(&self.readers)
            .await
            .map_err(unavailable)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn payment(
        &self,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, Unavailable> {
        const SELECT: &str =
            "SELECT amount_minor, currency, state, token, charge_id, reason FROM payments
            WHERE order_id = ? AND kind = ?";
        let row: Option<PaymentRow> = sqlx::query_as(SELECT)
            .bind(order_id.to_string())
            .bind(kind.code())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(|row| row.into_payment(order_id, kind)).transpose()
    }

    async fn payment_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, Unavailable> {
        let select = format!(
            "SELECT amount_minor, currency, state, token, charge_id, reason FROM payments
             WHERE order_id = ?3 AND kind = ?4 AND EXISTS (SELECT 1 FROM orders WHERE order_id = ?3 AND {IN_SCOPE})"
        );
        let row: Option<PaymentRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(locations(scope)?)
            .bind(order_id.to_string())
            .bind(kind.code())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(|row| row.into_payment(order_id, kind)).transpose()
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<Applied, Unavailable>> {
        match (self.apply_all(changes).await, changes) {
            (Ok(applied), _) => applied.into_iter().map(Ok).collect(),
            (Err(error), [_]) => vec![Err(unavailable(error))],
            (Err(_), _) => {
                let mut each = Vec::with_capacity(changes.len());
                for change in changes {
                    let applied = self.apply_all(std::slice::from_ref(change)).await;
                    each.push(applied.map_err(unavailable).and_then(only));
                }
                each
            }
        }
    }

    async fn take_outbox(
        &self,
        which: Outgoing,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, Unavailable> {
        // Checked before the claim, so that an empty outbox costs no write.
        const ANY: &str =
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE published_at IS NULL AND retry_at <= ?1
            AND (?2 IS NULL OR coalesce(route LIKE 'queue/%', 0) = ?2))";
        // Claims the rows that may be sent next; `adapter_postgres` explains the rule. A row is
        // claimed only if no unpublished row of its order and route precedes it, whoever has
        // claimed that one. A row without a route is sent to every destination of its kind.
        // Therefore it waits for all earlier rows of its order, and all later rows wait for it.
        // SQLite has one writer, so two relays cannot claim the same row.
        const TAKE: &str = "UPDATE outbox SET claimed_by = ?1, claimed_until = ?2 WHERE id IN (
                SELECT id FROM outbox AS mine
                WHERE published_at IS NULL AND retry_at <= ?3 AND (?5 IS NULL OR coalesce(route LIKE 'queue/%', 0) = ?5)
                  AND (claimed_by IS NULL OR claimed_by = ?1 OR claimed_until <= ?3)
                  AND NOT EXISTS (SELECT 1 FROM outbox AS earlier
                      WHERE earlier.published_at IS NULL AND earlier.order_id = mine.order_id AND earlier.id < mine.id
                        AND (earlier.route = mine.route OR earlier.route IS NULL OR mine.route IS NULL))
                ORDER BY retry_at, id LIMIT ?4)
            RETURNING id, attempts, route, envelope";
        let to_queues = which.to_queues();
        let (any,): (bool,) = sqlx::query_as(ANY)
            .bind(text_of(now))
            .bind(to_queues)
            .fetch_one(&self.readers)
            .await
            .map_err(unavailable)?;
        if !any {
            return Ok(Vec::new());
        }
        let mut rows: Vec<(i64, i32, Option<String>, String)> = sqlx::query_as(TAKE)
            .bind(self.claimant.to_string())
            .bind(text_of(now + OUTBOX_CLAIM))
            .bind(text_of(now))
            .bind(i64::from(limit))
            .bind(to_queues)
            .fetch_all(&self.writer)
            .await
            .map_err(unavailable)?;
        rows.sort_by_key(|(id, ..)| *id);
        let read = |(id, attempts, route, envelope): (i64, i32, Option<String>, String)| {
            OutboxRow::read(id, attempts, route.as_deref(), &envelope)
        };
        Ok(rows.into_iter().map(read).collect())
    }

    async fn mark_published(&self, ids: &[i64], at: Timestamp) -> Result<(), Unavailable> {
        const MARK: &str =
            "UPDATE outbox SET published_at = ?, claimed_by = NULL, claimed_until = NULL
            WHERE id IN (SELECT value FROM json_each(?))";
        let ids =
            serde_json::to_string(ids).map_err(|error| Unavailable::new(Backend::Orders, error))?;
        sqlx::query(MARK)
            .bind(text_of(at))
            .bind(ids)
            .execute(&self.writer)
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn put_off(&self, rows: &[(i64, Timestamp)]) -> Result<(), Unavailable> {
        const PUT_OFF: &str = "UPDATE outbox SET attempts = attempts + 1, retry_at = late.value ->> 1,
                claimed_by = NULL, claimed_until = NULL
            FROM json_each(?) AS late WHERE outbox.id = late.value ->> 0 AND claimed_by = ? AND published_at IS NULL";
        let rows: Vec<(i64, String)> = rows
            .iter()
            .map(|(id, retry_at)| (*id, text_of(*retry_at)))
            .collect();
        let rows = serde_json::to_string(&rows)
            .map_err(|error| Unavailable::new(Backend::Orders, error))?;
        let query = sqlx::query(PUT_OFF)
            .bind(rows)
            .bind(self.claimant.to_string());
        query.execute(&self.writer).await.map_err(unavailable)?;
        Ok(())
    }

    async fn oldest_unpublished(&self) -> Result<Option<Timestamp>, Unavailable> {
        const OLDEST: &str =
            "SELECT created_at FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1";
        let row: Option<(String,)> = sqlx::query_as(OLDEST)
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(|(created_at,)| time_of(&created_at)).transpose()
    }

    async fn outbox_changed(&self, at_most: Duration) {
        let written = self.written.notified();
        let mut watcher = self.watcher.lock().await;
        let by_others = async {
            let before = data_version(&mut watcher).await;
            // A failed read ends the wait: the file may have changed.
            while before.is_some() && data_version(&mut watcher).await == before {
                tokio::time::sleep(WATCH_EVERY).await;
            }
        };
        tokio::select! {
            () = written => {}
            () = by_others => {}
            () = tokio::time::sleep(at_most) => {}
        }
    }

    async fn take_due(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<Due>, Unavailable> {
        const ANY: &str = "SELECT EXISTS (SELECT 1 FROM orders WHERE next_action_at <= ?)";
        const TAKE: &str = "UPDATE orders SET next_action_at = ?1 WHERE order_id IN (
                SELECT order_id FROM orders WHERE next_action_at <= ?2 ORDER BY next_action_at LIMIT ?3)
            RETURNING order_id, state, version, created_at, updated_at, pickup_at";
        let (any,): (bool,) = sqlx::query_as(ANY)
            .bind(text_of(now))
            .fetch_one(&self.readers)
            .await
            .map_err(unavailable)?;
        if !any {
            return Ok(Vec::new());
        }
        let rows: Vec<DueRow> = sqlx::query_as(TAKE)
            .bind(text_of(again_at))
            .bind(text_of(now))
            .bind(i64::from(limit))
            .fetch_all(&self.writer)
            .await
            .map_err(unavailable)?;
        let due = |(id, code, version, created_at, since, pickup_at): DueRow| {
            let read = || {
                let (created_at, since) = (time_of(&created_at)?, time_of(&since)?);
                let (order_id, state) = (order_id(&id)?, state(&code)?);
                let pickup_at = optional_time(pickup_at.as_deref())?;
                Ok(Due {
                    order_id,
                    state,
                    version,
                    created_at,
                    since,
                    pickup_at,
                })
            };
            let read: Result<Due, Unavailable> = read();
            read.inspect_err(
                |error| tracing::error!(order.id = %id, %error, "A due order cannot be read"),
            )
            .ok()
        };
        Ok(rows.into_iter().filter_map(due).collect())
    }

    async fn look_again(
        &self,
        orders: &[(OrderId, i64, Option<Timestamp>)],
    ) -> Result<(), Unavailable> {
        const LOOK: &str =
            "UPDATE orders SET next_action_at = look.value ->> 2 FROM json_each(?) AS look
            WHERE orders.order_id = look.value ->> 0 AND orders.version = look.value ->> 1";
        let orders: Vec<_> = orders
            .iter()
            .map(|(order_id, version, at)| (order_id.to_string(), *version, at.map(text_of)))
            .collect();
        let orders = serde_json::to_string(&orders)
            .map_err(|error| Unavailable::new(Backend::Orders, error))?;
        sqlx::query(LOOK)
            .bind(orders)
            .execute(&self.writer)
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, Unavailable> {
        const OUTBOX: &str = "DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE published_at < ? ORDER BY published_at LIMIT ?)";
        const INBOX: &str = "DELETE FROM inbox WHERE (consumer, event_id) IN (
            SELECT consumer, event_id FROM inbox WHERE at < ? ORDER BY at LIMIT ?)";
        let mut deleted = 0;
        const COUNTS: &str = "DELETE FROM notice_counts WHERE (recipient, day) IN (
            SELECT recipient, day FROM notice_counts WHERE day < substr(?, 1, 10) ORDER BY day LIMIT ?)";
        for delete in [OUTBOX, INBOX, COUNTS] {
            let query = sqlx::query(delete)
                .bind(text_of(before))
                .bind(i64::from(limit));
            deleted += query
                .execute(&self.writer)
                .await
                .map_err(unavailable)?
                .rows_affected();
        }
        Ok(deleted)
    }
}

/// Returns the query for the newest order with a number. A scope with locations uses `IN_SHOPS`,
/// because SQLite cannot use the index of numbers for the `OR` in `IN_SCOPE`.
fn newest_with_number_sql(scope: &Scope) -> String {
    let in_scope = if *scope == Scope::Everything {
        IN_SCOPE
    } else {
        IN_SHOPS
    };
    // The plus stops SQLite from reading all orders in the order of their ids to avoid sorting the
    // few that match.
    format!(
        "SELECT order_id FROM orders WHERE {in_scope} AND order_number = ?3 ORDER BY +order_id DESC LIMIT 1"
    )
}

/// Returns the locations of a scope as the JSON list that `IN_SCOPE` reads.
///
/// # Errors
/// Returns an error if the list cannot be encoded.
pub fn locations(scope: &Scope) -> Result<String, Unavailable> {
    serde_json::to_string(&scope.locations())
        .map_err(|error| Unavailable::new(Backend::Orders, error))
}

fn only<T>(mut answers: Vec<T>) -> Result<T, Unavailable> {
    answers
        .pop()
        .ok_or_else(|| Unavailable::new(Backend::Orders, "no answer"))
}

async fn data_version(watcher: &mut SqliteConnection) -> Option<i64> {
    sqlx::query_as("PRAGMA data_version")
        .fetch_one(watcher)
        .await
        .ok()
        .map(|(version,): (i64,)| version)
}

type KeyRow = (String, String, Option<String>);

async fn key_use(
    connection: &mut SqliteConnection,
    key_hash: &str,
) -> Result<Option<KeyRow>, sqlx::Error> {
    const SELECT: &str =
        "SELECT order_id, request_hash, session_hash FROM orders WHERE idempotency_key_hash = ?";
    sqlx::query_as(SELECT)
        .bind(key_hash)
        .fetch_optional(connection)
        .await
}

fn into_key_use((id, request_hash, session_hash): KeyRow) -> Result<KeyUse, Unavailable> {
    Ok(KeyUse {
        order_id: order_id(&id)?,
        request_hash,
        session_hash,
    })
}

async fn place_one(
    connection: &mut SqliteConnection,
    new: &NewOrder,
) -> Result<Placement, sqlx::Error> {
    const ORDER: &str = "INSERT INTO orders (order_id, tenant_id, location_id, order_number, number_day, order_type, customer_name,
            customer_phone, customer_phone_extension, customer_email, notify_email, notify_sms, special_instructions, delivery_address, pickup_at, slot_at,
            subtotal_minor, tax_basis_points, tax_rate_millionths, tax_minor, total_minor, currency, state, status, step, version, reason,
            session_hash, tracking_token, idempotency_key_hash, request_hash, next_action_at, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (idempotency_key_hash) DO NOTHING";
    const ITEM: &str =
        "INSERT INTO order_items (order_id, position, product_id, name, quantity, unit_price_minor)
        VALUES (?, ?, ?, ?, ?, ?)";
    const CHARGE: &str =
        "INSERT INTO payments (order_id, kind, amount_minor, currency, state, token, at)
        VALUES (?, 'charge', ?, ?, ?, ?, ?)";
    let order = &new.order;
    let id = order.order_id.to_string();
    let inserted = sqlx::query(ORDER)
        .bind(&id)
        .bind(order.tenant_id.as_str())
        .bind(order.location_id.as_str())
        .bind(&order.order_number)
        .bind(new.day.to_string())
        .bind(order.order_type.code())
        .bind(&order.customer.name)
        .bind(&order.customer.phone)
        .bind(&order.customer.phone_extension)
        .bind(&order.customer.email)
        .bind(order.customer.notify.email)
        .bind(order.customer.notify.sms)
        .bind(&order.special_instructions)
        .bind(address_text(order.delivery_address.as_ref()))
        .bind(order.pickup_at.map(text_of))
        .bind(new.slot.map(|slot| text_of(slot.starts_at)))
        .bind(order.totals.subtotal.minor)
        .bind(i64::from(order.totals.rate.basis_points()))
        .bind(i64::from(order.totals.rate.millionths()))
        .bind(order.totals.tax.minor)
        .bind(order.totals.total.minor)
        .bind(order.totals.total.currency.code())
        .bind(order.state.code())
        .bind(order.status.code())
        .bind(order.state.step().code())
        .bind(order.version)
        .bind(&order.reason)
        .bind(&new.session_hash)
        .bind(&new.tracking_token)
        .bind(&new.key_hash)
        .bind(&new.request_hash)
        .bind(text_of(new.next_action_at))
        .bind(text_of(order.created_at))
        .bind(text_of(order.updated_at))
        .execute(&mut *connection)
        .await?;
    if inserted.rows_affected() == 0 {
        let used = key_use(connection, &new.key_hash)
            .await?
            .ok_or(sqlx::Error::RowNotFound)?;
        return into_key_use(used)
            .map(Placement::KeyUsed)
            .map_err(|error| sqlx::Error::Protocol(error.to_string()));
    }
    for (position, item) in order.items.iter().enumerate() {
        sqlx::query(ITEM)
            .bind(&id)
            .bind(position as i64)
            .bind(item.product_id.as_str())
            .bind(&item.name)
            .bind(i64::from(item.quantity.get()))
            .bind(item.unit_price.minor)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(CHARGE)
        .bind(&id)
        .bind(order.totals.total.minor)
        .bind(order.totals.total.currency.code())
        .bind(PaymentState::Requested.code())
        .bind(&new.payment_token)
        .bind(text_of(order.created_at))
        .execute(&mut *connection)
        .await?;
    add_history(
        connection,
        order.order_id,
        std::slice::from_ref(&new.history),
    )
    .await?;
    add_outbox(connection, &new.outbox, order.created_at).await?;
    Ok(Placement::Placed)
}

/// Records the event in the inbox and applies the change. For any result but `Applied`, the caller
/// must roll back.
pub(crate) async fn apply_one(
    connection: &mut SqliteConnection,
    change: &Change,
) -> Result<Applied, sqlx::Error> {
    const INBOX: &str = "INSERT INTO inbox (consumer, event_id, at, delivery) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    let taken_in = sqlx::query(INBOX)
        .bind(change.consumer)
        .bind(change.event_id.to_string())
        .bind(text_of(change.at))
        .bind(change.delivery)
        .execute(&mut *connection)
        .await?;
    if taken_in.rows_affected() == 0 {
        return Ok(Applied::Duplicate);
    }
    if let Some(order) = &change.order
        && !move_order(connection, order, change.at).await?
    {
        return Ok(Applied::Conflict);
    }
    if let Some(payment) = &change.payment
        && !change_payment(connection, payment, change.at).await?
    {
        return Ok(Applied::Conflict);
    }
    add_outbox(connection, &change.outbox, change.at).await?;
    Ok(Applied::Applied)
}

/// Changes an order's row. Returns false if its version is not the expected one.
async fn move_order(
    connection: &mut SqliteConnection,
    change: &OrderChange,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    const MOVE: &str =
        "UPDATE orders SET state = ?, status = ?, step = ?, reason = coalesce(?, reason),
            next_action_at = ?, version = ?, updated_at = ?
        WHERE order_id = ? AND version = ?";
    let version = change.expected_version + change.history.len() as i64;
    // This must run first, because it reads whether the order had ended before. A version conflict
    // rolls it back.
    if matches!(change.status, Status::Cancelled | Status::Failed) {
        give_back_place(connection, change.order_id).await?;
    }
    let moved = sqlx::query(MOVE)
        .bind(change.state.code())
        .bind(change.status.code())
        .bind(change.state.step().code())
        .bind(&change.reason)
        .bind(change.next_action_at.map(text_of))
        .bind(version)
        .bind(text_of(at))
        .bind(change.order_id.to_string())
        .bind(change.expected_version)
        .execute(&mut *connection)
        .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    add_history(connection, change.order_id, &change.history).await?;
    if let Some(entry) = &change.audit {
        append(connection, entry).await?;
    }
    Ok(true)
}

/// Adds or changes a payment. Returns false if its state is not the expected one.
async fn change_payment(
    connection: &mut SqliteConnection,
    change: &PaymentChange,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    const ADD: &str =
        "INSERT INTO payments (order_id, kind, amount_minor, currency, state, token, charge_id, reason, at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    const MOVE: &str = "UPDATE payments SET state = ?, charge_id = ?, reason = ?, at = ?
        WHERE order_id = ? AND kind = ? AND state = ?";
    let payment = &change.payment;
    let query = match change.expected {
        None => sqlx::query(ADD)
            .bind(payment.order_id.to_string())
            .bind(payment.kind.code())
            .bind(payment.amount.minor)
            .bind(payment.amount.currency.code())
            .bind(payment.state.code())
            .bind(&payment.token)
            .bind(&payment.charge_id)
            .bind(&payment.reason)
            .bind(text_of(at)),
        Some(expected) => sqlx::query(MOVE)
            .bind(payment.state.code())
            .bind(&payment.charge_id)
            .bind(&payment.reason)
            .bind(text_of(at))
            .bind(payment.order_id.to_string())
            .bind(payment.kind.code())
            .bind(expected.code()),
    };
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

async fn add_history(
    connection: &mut SqliteConnection,
    order_id: OrderId,
    entries: &[HistoryEntry],
) -> Result<(), sqlx::Error> {
    const ADD: &str =
        "INSERT INTO order_history (order_id, seq, from_status, to_status, step, actor, note, at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    for entry in entries {
        sqlx::query(ADD)
            .bind(order_id.to_string())
            .bind(entry.seq)
            .bind(entry.from.map(|status| status.code()))
            .bind(entry.to.code())
            .bind(entry.step.code())
            .bind(&entry.actor)
            .bind(&entry.note)
            .bind(text_of(entry.at))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Adds one outbox row for each message and each of its routes.
pub async fn add_outbox(
    connection: &mut SqliteConnection,
    messages: &[Envelope],
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    const ADD: &str =
        "INSERT INTO outbox (kind, order_id, route, envelope, created_at) VALUES (?, ?, ?, ?, ?)";
    for envelope in messages {
        for route in envelope.message.kind().routes() {
            sqlx::query(ADD)
                .bind(envelope.message.kind().name())
                .bind(envelope.order_id.map(|id| id.to_string()))
                .bind(route.code())
                .bind(envelope.encode())
                .bind(text_of(at))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use app::location::Location;

    use super::*;

    #[tokio::test]
    async fn a_number_is_found_by_its_index() {
        let file = std::env::temp_dir().join(format!("haven-plan-{}.db", uuid::Uuid::now_v7()));
        let url = format!("sqlite://{}", file.display());
        migrations::migrate(&url).await.expect("migrated");
        let pool = sqlx::SqlitePool::connect(&url).await.expect("it opens");
        let scope = Scope::of(&Location::initial());
        let explain = format!("EXPLAIN QUERY PLAN {}", newest_with_number_sql(&scope));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(explain))
            .bind(scope.tenant())
            .bind(locations(&scope).expect("JSON"))
            .bind("A-1")
            .fetch_all(&pool)
            .await
            .expect("explained");
        let plan: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
        let search = "INDEX orders_by_number (tenant_id=? AND location_id=? AND order_number=?)";
        assert!(
            plan.iter()
                .any(|step| step.starts_with("SEARCH orders") && step.ends_with(search)),
            "{plan:?}"
        );
        pool.close().await;
        std::fs::remove_file(file).expect("removed");
    }
}
