//! `OrderStore`: reads of orders, the outbox, and the orders that are due. [`crate::place`] and
//! [`crate::apply`] write orders.

use std::collections::HashMap;
use std::time::Duration;

use app::ports::orders::{
    Applied, Change, Due, KeyUse, NewOrder, OUTBOX_CLAIM, OrderFilter, OrderStore, OutboxRow,
    Outgoing, Payment, PaymentKind, Placement, StoredOrder,
};
use app::ports::scope::Scope;
use app::ports::{Backend, StoreError};
use contract::cause::chain;
use domain::Timestamp;
use domain::ids::{LocationId, OrderId, OrderNumber, TenantId};
use domain::order::{HistoryEntry, Status};
use serde_json::json;
use time::{Date, UtcOffset};

use crate::query::{IN_SCOPE, Query, in_scope};
use crate::rows::{HistoryRow, ItemRow, ORDER_COLUMNS, OrderRow, PaymentRow, state};
use crate::values::{At, Id, List, Records, text_of};
use crate::{Database, Store, postgres, sqlite};

/// Number of order numbers that one write reserves, so that not every order needs a write for its
/// number. A restart loses the unused ones.
pub const NUMBERS: u64 = 10;

/// Order numbers that are reserved and not used yet, by location and day.
pub type Numbers = HashMap<(TenantId, LocationId, Date), std::ops::Range<u64>>;

row! {
    /// A row of [`OrderStore::take_due`].
    struct DueRow {
        order_id: Id,
        state: String,
        version: i64,
        created_at: Timestamp,
        updated_at: Timestamp,
        pickup_at: Option<Timestamp>,
    }
}

impl DueRow {
    fn into_due(self) -> Result<Due, StoreError> {
        Ok(Due {
            order_id: OrderId(self.order_id.0),
            state: state(&self.state)?,
            version: self.version,
            created_at: self.created_at,
            since: self.updated_at,
            pickup_at: self.pickup_at,
        })
    }
}

impl Store {
    async fn with_items(&self, rows: Vec<OrderRow>) -> Result<Vec<StoredOrder>, StoreError> {
        const ITEMS: &str =
            "SELECT order_id, product_id, name, quantity, unit_price_minor FROM order_items
            WHERE order_id = ANY($1) ORDER BY order_id, position";
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids = rows.iter().map(|row| row.order_id.0).collect();
        let items: Vec<ItemRow> = self.read(ITEMS).bind(List(ids)).fetch_all().await?;
        let mut by_order: HashMap<Id, Vec<&ItemRow>> = HashMap::new();
        for item in &items {
            by_order.entry(item.order_id).or_default().push(item);
        }
        rows.into_iter()
            .map(|row| {
                let items = by_order.remove(&row.order_id).unwrap_or_default();
                row.with_items(items.into_iter())
            })
            .collect()
    }

    async fn with_items_of(
        &self,
        row: Option<OrderRow>,
    ) -> Result<Option<StoredOrder>, StoreError> {
        Ok(self.with_items(row.into_iter().collect()).await?.pop())
    }

    /// Returns whether a query finds a row that a write would change, so that an empty outbox costs
    /// no write lock. PostgreSQL has no lock of the whole database to save.
    async fn is_worth_a_write(&self, exists: Query<'_>) -> Result<bool, StoreError> {
        match &self.database {
            Database::Postgres(_) => Ok(true),
            Database::Sqlite(_) => {
                let (exists,): (bool,) = exists.first_of_call().fetch_one().await?;
                // Without a write, the call ends here.
                self.answered(Ok(exists), !exists)
            }
        }
    }
}

impl OrderStore for Store {
    async fn next_number(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        day: Date,
    ) -> Result<u64, StoreError> {
        // Committed on its own, so that no request waits for another order's transaction.
        const TAKE: &str =
            "INSERT INTO order_number_days AS days (tenant_id, location_id, day, next)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (tenant_id, location_id, day) DO UPDATE SET next = days.next + $4
            RETURNING next";
        let mut blocks = self.numbers.lock().await;
        let place = (tenant.clone(), location.clone(), day);
        if let Some(number) = blocks.get_mut(&place).and_then(Iterator::next) {
            return Ok(number);
        }
        let query = self
            .write(TAKE)
            .bind(tenant.as_str())
            .bind(location.as_str())
            .bind(day)
            .bind(NUMBERS as i64);
        let (end,): (i64,) = query.fetch_one().await?;
        // Only today's and yesterday's numbers are asked for: two locations can be on different
        // days.
        blocks.retain(|(_, _, of), _| *of + time::Duration::DAY >= day);
        let end = u64::try_from(end).unwrap_or_default();
        let mut taken = end.saturating_sub(NUMBERS)..end;
        let number = taken
            .next()
            .ok_or_else(|| StoreError::new(Backend::Orders, "no number was taken"))?;
        blocks.insert(place, taken);
        Ok(number)
    }

    async fn place(&self, orders: &[NewOrder]) -> Vec<Result<Placement, StoreError>> {
        if let [_] = orders {
            return self.place_orders(orders).await;
        }
        let silent = self.clone().reporting_to(None);
        let placements = silent.place_orders(orders).await;
        self.report_batch(&placements);
        placements
    }

    async fn key_use(&self, scope: &Scope, key_hash: &str) -> Result<Option<KeyUse>, StoreError> {
        let select = format!(
            "SELECT order_id, request_hash, session_hash FROM orders
             WHERE idempotency_key_hash = $3 AND {IN_SCOPE}"
        );
        let query = self.read(select).scope(scope).bind(key_hash);
        let row: Option<(Id, String, Option<String>)> = query.fetch_optional().await?;
        Ok(row.map(|(id, request_hash, session_hash)| KeyUse {
            order_id: OrderId(id.0),
            request_hash,
            session_hash,
        }))
    }

    async fn load(&self, order_id: OrderId) -> Result<Option<StoredOrder>, StoreError> {
        let select = format!("SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = $1");
        let row = self.read(select).bind(Id(order_id.0)).fetch_optional();
        self.with_items_of(row.await?).await
    }

    async fn load_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<StoredOrder>, StoreError> {
        let select =
            format!("SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = $3 AND {IN_SCOPE}");
        let query = self.read(select).scope(scope).bind(Id(order_id.0));
        self.with_items_of(query.fetch_optional().await?).await
    }

    async fn with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
        limit: u32,
    ) -> Result<Vec<OrderId>, StoreError> {
        let query = self
            .read(with_number(scope, &self.database))
            .scope(scope)
            .bind(number.to_string())
            .bind(i64::from(limit));
        let rows: Vec<(Id,)> = query.fetch_all().await?;
        Ok(rows.into_iter().map(|(id,)| OrderId(id.0)).collect())
    }

    async fn history(
        &self,
        scope: &Scope,
        order_id: OrderId,
        after_seq: i64,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let select = format!(
            "SELECT seq, from_status, to_status, step, actor, note, at FROM order_history
             WHERE order_id = $3 AND seq > $4 AND EXISTS (SELECT 1 FROM orders WHERE order_id = $3 AND {IN_SCOPE})
             ORDER BY seq"
        );
        let query = self
            .read(select)
            .scope(scope)
            .bind(Id(order_id.0))
            .bind(after_seq);
        let rows: Vec<HistoryRow> = query.fetch_all().await?;
        rows.into_iter().map(HistoryRow::into_entry).collect()
    }

    async fn list_stored(
        &self,
        scope: &Scope,
        filter: &OrderFilter,
    ) -> Result<Vec<StoredOrder>, StoreError> {
        let list = match &self.database {
            Database::Postgres(_) => postgres::list(scope, filter),
            Database::Sqlite(_) => sqlite::list(scope, filter),
        };
        let statuses = if filter.statuses.is_empty() {
            &Status::ALL[..]
        } else {
            &filter.statuses
        };
        let query = self
            .read(list)
            .bind(filter.before.map(|id| Id(id.0)))
            .bind(List(statuses.iter().map(|status| status.code()).collect()))
            .scope(scope)
            .bind(List(filter.session_hashes.clone()));
        self.with_items(query.fetch_all().await?).await
    }

    async fn find_order(
        &self,
        scope: &Scope,
        order_number: &str,
        email: &str,
    ) -> Result<Option<StoredOrder>, StoreError> {
        let select = format!(
            "SELECT {ORDER_COLUMNS} FROM orders
             WHERE {} AND order_number = $3 AND lower(customer_email) = lower($4)
             ORDER BY order_id DESC LIMIT 1",
            in_scope(scope)
        );
        let query = self
            .read(select)
            .scope(scope)
            .bind(order_number)
            .bind(email);
        self.with_items_of(query.fetch_optional().await?).await
    }

    async fn pending_orders(&self, scope: &Scope) -> Result<u64, StoreError> {
        let count = format!("SELECT count(*) FROM orders WHERE status = 'pending' AND {IN_SCOPE}");
        let (count,): (i64,) = self.read(count).scope(scope).fetch_one().await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn payment(
        &self,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, StoreError> {
        const SELECT: &str =
            "SELECT amount_minor, currency, state, token, charge_id, reason FROM payments
            WHERE order_id = $1 AND kind = $2";
        let query = self.read(SELECT).bind(Id(order_id.0)).bind(kind.code());
        let row: Option<PaymentRow> = query.fetch_optional().await?;
        row.map(|row| row.into_payment(order_id, kind)).transpose()
    }

    async fn payment_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, StoreError> {
        let select = format!(
            "SELECT amount_minor, payments.currency, payments.state, token, charge_id, payments.reason
             FROM payments JOIN orders USING (order_id) WHERE order_id = $3 AND kind = $4 AND {IN_SCOPE}"
        );
        let query = self
            .read(select)
            .scope(scope)
            .bind(Id(order_id.0))
            .bind(kind.code());
        let row: Option<PaymentRow> = query.fetch_optional().await?;
        row.map(|row| row.into_payment(order_id, kind)).transpose()
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<Applied, StoreError>> {
        if let [_] = changes {
            return self.apply_changes(changes).await;
        }
        let silent = self.clone().reporting_to(None);
        let applied = silent.apply_changes(changes).await;
        self.report_batch(&applied);
        applied
    }

    async fn take_outbox(
        &self,
        which: Outgoing,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        const ANY: &str =
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE published_at IS NULL AND retry_at <= $1
                AND ($2 IS NULL OR coalesce(route LIKE 'queue/%', false) = $2))";
        // Claims outbox rows for this store until `OUTBOX_CLAIM` has passed.
        //
        // A row is waiting (no `published_at`, no claim), claimed, put off (`retry_at` in the
        // future) or published. `mark_published` and `put_off` end the claim. If the relay dies,
        // the claim expires and another relay takes the row; the message may then be sent a second
        // time.
        //
        // The messages of one order must reach each route in the order in which they were written.
        // Only a head can be claimed: a row that no unpublished row of its order and route
        // precedes. A row that is claimed or put off still blocks the rows behind it. A row without
        // a route is sent to every destination of its kind. Therefore it waits for all earlier rows
        // of its order, and all later rows of the order wait for it.
        //
        // Several relays run this statement at the same time. An order's rows are written one after
        // the other, so no earlier row can appear later: a head stays a head until it is published,
        // even if the snapshot is old. If two relays select the same head, `FOR UPDATE SKIP LOCKED`
        // lets one lock it. The other skips the row or, after the commit, checks it again and finds
        // the claim. Without the lock, both would send the message. SQLite has one
        // writer instead. `MATERIALIZED` makes PostgreSQL
        // evaluate the selection once, so that `LIMIT` bounds the number of claimed rows.
        const TAKE: &str = "WITH heads AS MATERIALIZED (
                SELECT id FROM outbox AS mine
                WHERE published_at IS NULL AND retry_at <= $3 AND ($5 IS NULL OR coalesce(route LIKE 'queue/%', false) = $5)
                  AND (claimed_by IS NULL OR claimed_by = $1 OR claimed_until <= $3)
                  AND NOT EXISTS (SELECT 1 FROM outbox AS earlier
                      WHERE earlier.published_at IS NULL AND earlier.order_id = mine.order_id AND earlier.id < mine.id
                        AND (earlier.route = mine.route OR earlier.route IS NULL OR mine.route IS NULL))
                ORDER BY retry_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
            UPDATE outbox SET claimed_by = $1, claimed_until = $2 FROM heads WHERE outbox.id = heads.id
            RETURNING outbox.id, attempts, route, envelope";
        let any = self.read(ANY).bind(At(now)).bind(which.to_queues());
        if !self.is_worth_a_write(any).await? {
            return Ok(Vec::new());
        }
        let query = self
            .write(TAKE)
            .bind(Id(self.claimant))
            .bind(At(now + OUTBOX_CLAIM))
            .bind(At(now))
            .bind(i64::from(limit))
            .bind(which.to_queues());
        let mut rows: Vec<(i64, i32, Option<String>, String)> = query.fetch_all().await?;
        rows.sort_by_key(|(id, ..)| *id);
        let read = |(id, attempts, route, envelope): (i64, i32, Option<String>, String)| {
            OutboxRow::read(id, attempts, route.as_deref(), &envelope)
        };
        Ok(rows.into_iter().map(read).collect())
    }

    async fn mark_published(&self, ids: &[i64], at: Timestamp) -> Result<(), StoreError> {
        const MARK: &str = "UPDATE outbox SET published_at = $1, claimed_by = NULL, claimed_until = NULL WHERE id = ANY($2)";
        let query = self.write(MARK).bind(At(at)).bind(List(ids.to_vec()));
        query.execute().await.map(drop)
    }

    async fn put_off(&self, rows: &[(i64, Timestamp)]) -> Result<(), StoreError> {
        const PUT_OFF: &str = "UPDATE outbox SET attempts = attempts + 1, retry_at = late.retry_at, claimed_by = NULL,
                claimed_until = NULL
            FROM jsonb_to_recordset($1) AS late (id bigint, retry_at timestamptz)
            WHERE outbox.id = late.id AND claimed_by = $2 AND published_at IS NULL";
        let late = rows
            .iter()
            .map(|(id, retry_at)| json!({ "id": id, "retry_at": text_of(*retry_at) }));
        let query = self
            .write(PUT_OFF)
            .bind(late.collect::<Records>())
            .bind(Id(self.claimant));
        query.execute().await.map(drop)
    }

    async fn oldest_unpublished(&self) -> Result<Option<Timestamp>, StoreError> {
        const OLDEST: &str =
            "SELECT created_at FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1";
        let row: Option<(Timestamp,)> = self.read(OLDEST).fetch_optional().await?;
        Ok(row.map(|(created_at,)| created_at))
    }

    async fn outbox_changed(&self, at_most: Duration) {
        let changed = async {
            match &self.database {
                Database::Postgres(server) => server.outbox_changed().await,
                Database::Sqlite(file) => file.outbox_changed().await,
            }
        };
        let _ = tokio::time::timeout(at_most, changed).await;
    }

    async fn take_due(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<Due>, StoreError> {
        const ANY: &str = "SELECT EXISTS (SELECT 1 FROM orders WHERE next_action_at <= $1)";
        const TAKE: &str = "UPDATE orders SET next_action_at = $1 WHERE order_id IN (
                SELECT order_id FROM orders WHERE next_action_at <= $2
                ORDER BY next_action_at LIMIT $3 FOR UPDATE SKIP LOCKED)
            RETURNING order_id, state, version, created_at, updated_at, pickup_at";
        let any = self.read(ANY).bind(At(now));
        if !self.is_worth_a_write(any).await? {
            return Ok(Vec::new());
        }
        let query = self
            .write(TAKE)
            .bind(At(again_at))
            .bind(At(now))
            .bind(i64::from(limit));
        let due = |row: Result<DueRow, StoreError>| {
            let id = row.as_ref().ok().map(|row| row.order_id.0.to_string());
            row.and_then(DueRow::into_due)
                .inspect_err(
                    |error| tracing::error!(order.id = id, error = %chain(error), "A due order cannot be read"),
                )
                .ok()
        };
        let rows = query.fetch_each().await?;
        Ok(rows.into_iter().filter_map(due).collect())
    }

    async fn look_again(
        &self,
        orders: &[(OrderId, i64, Option<Timestamp>)],
    ) -> Result<(), StoreError> {
        const LOOK: &str = "UPDATE orders SET next_action_at = look.at
            FROM jsonb_to_recordset($1) AS look (order_id uuid, version bigint, at timestamptz)
            WHERE orders.order_id = look.order_id AND orders.version = look.version";
        let look = orders.iter().map(|(order_id, version, at)| {
            json!({ "order_id": order_id, "version": version, "at": at.map(text_of) })
        });
        let query = self.write(LOOK).bind(look.collect::<Records>());
        query.execute().await.map(drop)
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        const OUTBOX: &str = "DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE published_at < $1 ORDER BY published_at LIMIT $2)";
        const INBOX: &str = "DELETE FROM inbox WHERE (consumer, event_id) IN (
            SELECT consumer, event_id FROM inbox WHERE at < $1 ORDER BY at LIMIT $2)";
        const COUNTS: &str = "DELETE FROM notice_counts WHERE (recipient, day) IN (
            SELECT recipient, day FROM notice_counts WHERE day < $1 ORDER BY day LIMIT $2)";
        let limit = i64::from(limit);
        let day = before.to_offset(UtcOffset::UTC).date();
        let outbox = self.write(OUTBOX).bind(At(before)).bind(limit).execute();
        let mut deleted = outbox.await?;
        let inbox = self.write(INBOX).bind(At(before)).bind(limit).execute();
        deleted += inbox.await?;
        let counts = self.write(COUNTS).bind(day).bind(limit).execute();
        deleted += counts.await?;
        Ok(deleted)
    }
}

/// Returns the statement that finds the newest $4 orders with the number $3.
fn with_number(scope: &Scope, database: &Database) -> String {
    let order = match database {
        Database::Postgres(_) => "order_id",
        // The plus stops SQLite from reading all orders in the order of their ids to avoid sorting
        // the few that match.
        Database::Sqlite(_) => "+order_id",
    };
    let in_scope = in_scope(scope);
    format!(
        "SELECT order_id FROM orders WHERE {in_scope} AND order_number = $3 ORDER BY {order} DESC LIMIT $4"
    )
}

#[cfg(test)]
mod tests {
    use app::location::Location;
    use uuid::Uuid;

    use super::*;
    use crate::Login;

    #[tokio::test]
    async fn a_number_is_found_by_its_index() {
        let file = std::env::temp_dir().join(format!("haven-plan-{}.db", Uuid::now_v7()));
        let url = format!("sqlite://{}", file.display());
        migrations::migrate(&url).await.expect("migrated");
        let store = Store::connect(&url, &Login::default())
            .await
            .expect("it opens");
        let scope = Scope::of(&Location::initial());
        let explain = with_number(&scope, &store.database);
        let query = store.read(format!("EXPLAIN QUERY PLAN {explain}"));
        let plan: Vec<(i64, i64, i64, String)> = query
            .scope(&scope)
            .bind("A-1")
            .bind(1_i64)
            .fetch_all()
            .await
            .expect("explained");
        let plan: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
        let search = "INDEX orders_by_number (tenant_id=? AND location_id=? AND order_number=?)";
        assert!(
            plan.iter()
                .any(|step| step.starts_with("SEARCH orders") && step.ends_with(search)),
            "{plan:?}"
        );
        drop(store);
        std::fs::remove_file(file).expect("removed");
    }
}
