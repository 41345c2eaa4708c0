//! `OrderStore` on PostgreSQL.
//!
//! Groups of orders and groups of changes are one statement each ([`PLACE`], [`APPLY`]), because a
//! round trip and a commit cost more than the rows. If a group fails, each member runs alone.

use std::collections::HashMap;
use std::time::Duration;

use app::ports::orders::{
    Applied, Change, Due, KeyUse, NewOrder, OUTBOX_CLAIM, OrderFilter, OrderStore, OutboxRow,
    Outgoing, Payment, PaymentKind, PaymentState, Placement, StoredOrder, address_text,
};
use app::ports::scope::Scope;
use app::ports::{Backend, Unavailable};
use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::{LocationId, OrderId, OrderNumber, TenantId};
use domain::order::{HistoryEntry, Status};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::postgres::PgListener;
use time::Date;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::rows::{HistoryRow, ItemRow, OrderRow, PaymentRow, state};
use crate::{PostgresStore, unavailable};

/// Maximum number of orders in one list.
const LIST_MAX: u32 = 200;
/// Number of order numbers that one write reserves, so that not every order needs a write for its
/// number. A restart loses the unused ones.
pub const NUMBERS: u64 = 10;
/// Channel on which writers notify outbox relays of new rows.
const CHANNEL: &str = "outbox";

/// Order numbers that are reserved and not used yet, by location and day.
pub type Numbers = HashMap<(TenantId, LocationId, Date), std::ops::Range<u64>>;

const ORDER_COLUMNS: &str = "order_id, tenant_id, location_id, order_number, order_type, customer_name, customer_phone, \
    customer_phone_extension, customer_email, notify_email, notify_sms, special_instructions, delivery_address, pickup_at, subtotal_minor, tax_basis_points, \
    tax_rate_millionths, tax_minor, total_minor, currency, state, status, version, reason, session_hash, tracking_token, created_at, updated_at";

/// Applies a group of changes: inbox, orders, payments, history, outbox and audit log in one
/// statement. $1 is the changes, $2 the history entries, $3 the messages, $4 the audit entries.
/// Returns the number of new inbox rows, of changed orders and of changed payments.
///
/// The statement does not stop at a row that conflicts; the caller compares the three numbers with
/// the group. Fewer inbox rows mean a duplicate; fewer orders or payments mean that another process
/// changed a row first. Either way [`apply_all`] reports it and the caller rolls back everything.
/// All parts of one statement read the same snapshot, so no part sees the writes of another part.
const APPLY: &str = "
WITH input AS (
    SELECT * FROM jsonb_to_recordset($1) AS i (consumer text, event_id uuid, at timestamptz, delivery int,
        order_id uuid, expected_version bigint, version bigint, state text, status text, step text, reason text,
        next_action_at timestamptz, pay_order_id uuid, pay_kind text, pay_expected text, pay_amount bigint,
        pay_currency text, pay_state text, pay_token text, pay_charge_id text, pay_reason text)
), taken_in AS (
    INSERT INTO inbox (consumer, event_id, at, delivery) SELECT consumer, event_id, at, delivery FROM input
    ON CONFLICT DO NOTHING RETURNING 1
), moved AS (
    UPDATE orders SET state = i.state, status = i.status, step = i.step, reason = coalesce(i.reason, orders.reason),
        next_action_at = i.next_action_at, version = i.version, updated_at = i.at
    FROM input AS i WHERE orders.order_id = i.order_id AND orders.version = i.expected_version
    RETURNING orders.order_id, orders.status
), given_back AS (
    -- `before` is the order as it was: nothing here sees what this statement writes.
    UPDATE pickup_slots AS slot SET taken = slot.taken - ended.orders
    FROM (SELECT before.tenant_id, before.location_id, before.slot_at, count(*)::int AS orders
        FROM moved JOIN orders AS before USING (order_id)
        WHERE moved.status IN ('cancelled', 'failed') AND before.status NOT IN ('cancelled', 'failed')
          AND before.slot_at IS NOT NULL
        GROUP BY before.tenant_id, before.location_id, before.slot_at) AS ended
    WHERE slot.tenant_id = ended.tenant_id AND slot.location_id = ended.location_id AND slot.starts_at = ended.slot_at
), payments_moved AS (
    UPDATE payments SET state = i.pay_state, charge_id = i.pay_charge_id, reason = i.pay_reason, at = i.at
    FROM input AS i
    WHERE payments.order_id = i.pay_order_id AND payments.kind = i.pay_kind AND payments.state = i.pay_expected RETURNING 1
), payments_added AS (
    INSERT INTO payments (order_id, kind, amount_minor, currency, state, token, charge_id, reason, at)
    SELECT pay_order_id, pay_kind, pay_amount, pay_currency, pay_state, pay_token, pay_charge_id, pay_reason, at
    FROM input WHERE pay_order_id IS NOT NULL AND pay_expected IS NULL
    ON CONFLICT DO NOTHING RETURNING 1
), told AS (
    INSERT INTO order_history (order_id, seq, from_status, to_status, step, actor, note, at)
    SELECT * FROM jsonb_to_recordset($2) AS h (order_id uuid, seq bigint, from_status text, to_status text, step text,
        actor text, note text, at timestamptz)
    ON CONFLICT DO NOTHING
), owed AS (
    INSERT INTO outbox (kind, order_id, route, envelope, created_at)
    SELECT kind, order_id, route, envelope, created_at
    FROM jsonb_to_recordset($3) AS m (n int, kind text, order_id uuid, route text, envelope text,
        created_at timestamptz) ORDER BY n
    RETURNING 1
), recorded AS (
    INSERT INTO audit (at, actor, action, subject, before, after, act_id)
    SELECT * FROM jsonb_to_recordset($4) AS a (at timestamptz, actor text, action text, subject text, before text,
        after text, act_id text)
)
SELECT (SELECT count(*) FROM taken_in), (SELECT count(*) FROM moved),
    (SELECT count(*) FROM payments_moved) + (SELECT count(*) FROM payments_added),
    (SELECT count(pg_notify('outbox', '')::text) FROM (SELECT 1 FROM owed LIMIT 1) AS any_owed)";

/// Places a group of orders. $1 is the orders, $2 their items, $3 their messages. Returns the ids
/// of the orders that were inserted; the idempotency key of any other order was used before.
const PLACE: &str = "
WITH input AS (
    SELECT * FROM jsonb_to_recordset($1) AS i (order_id uuid, tenant_id text, location_id text, order_number text, number_day date,
        order_type text, customer_name text, customer_phone text, customer_phone_extension text, customer_email text, notify_email boolean,
        notify_sms boolean, special_instructions text, delivery_address text, pickup_at timestamptz, slot_at timestamptz, subtotal_minor bigint,
        tax_basis_points int, tax_rate_millionths int, tax_minor bigint, total_minor bigint, currency text, state text, status text, step text,
        version bigint, session_hash text, tracking_token text, idempotency_key_hash text, request_hash text,
        next_action_at timestamptz, created_at timestamptz, actor text, payment_token text)
), placed AS (
    INSERT INTO orders (order_id, tenant_id, location_id, order_number, number_day, order_type, customer_name, customer_phone,
        customer_phone_extension, customer_email, notify_email, notify_sms, special_instructions, delivery_address, pickup_at, slot_at, subtotal_minor,
        tax_basis_points, tax_rate_millionths, tax_minor, total_minor, currency, state, status, step, version,
        session_hash, tracking_token, idempotency_key_hash, request_hash, next_action_at, created_at, updated_at)
    SELECT order_id, tenant_id, location_id, order_number, number_day, order_type, customer_name, customer_phone,
        customer_phone_extension, customer_email, notify_email, notify_sms, special_instructions, delivery_address, pickup_at, slot_at, subtotal_minor, tax_basis_points,
        tax_rate_millionths, tax_minor, total_minor, currency, state, status, step, version, session_hash, tracking_token, idempotency_key_hash,
        request_hash, next_action_at, created_at, created_at
    FROM input ON CONFLICT (idempotency_key_hash) DO NOTHING RETURNING order_id
), items AS (
    INSERT INTO order_items (order_id, position, product_id, name, quantity, unit_price_minor)
    SELECT l.* FROM jsonb_to_recordset($2) AS l (order_id uuid, position int, product_id text, name text, quantity int,
        unit_price_minor bigint) JOIN placed USING (order_id)
), told AS (
    INSERT INTO order_history (order_id, seq, from_status, to_status, step, actor, note, at)
    SELECT order_id, 1, NULL, status, step, actor, NULL, created_at FROM input JOIN placed USING (order_id)
), charges AS (
    INSERT INTO payments (order_id, kind, amount_minor, currency, state, token, at)
    SELECT order_id, 'charge', total_minor, currency, 'requested', payment_token, created_at
    FROM input JOIN placed USING (order_id)
), owed AS (
    INSERT INTO outbox (kind, order_id, route, envelope, created_at)
    SELECT m.kind, m.order_id, m.route, m.envelope, m.created_at
    FROM jsonb_to_recordset($3) AS m (n int, kind text, order_id uuid, route text, envelope text,
        created_at timestamptz) JOIN placed USING (order_id) ORDER BY m.n
)
SELECT order_id, pg_notify('outbox', '')::text FROM placed";

/// Order id, state, version, time of creation, time of the last change, and pickup time.
type DueRow = (Uuid, String, i64, Timestamp, Timestamp, Option<Timestamp>);

impl PostgresStore {
    async fn apply_all(&self, changes: &[Change]) -> Result<Applied, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let applied = apply_all(&mut transaction, changes).await?;
        match applied {
            Applied::Applied => transaction.commit().await?,
            Applied::Duplicate | Applied::Conflict => transaction.rollback().await?,
        }
        Ok(applied)
    }

    async fn place_all(&self, orders: &[NewOrder]) -> Result<Vec<Uuid>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        place_all(&mut connection, orders).await
    }

    async fn place_one(&self, new: &NewOrder) -> Result<Placement, Unavailable> {
        if new.slot.is_some() {
            return self.place_in_slot(new).await;
        }
        let placed = self
            .place_all(std::slice::from_ref(new))
            .await
            .map_err(unavailable)?;
        self.placement(new, &placed).await
    }

    /// Returns `Placed` if the order is among the inserted ids, and otherwise the earlier use of
    /// its idempotency key.
    pub(crate) async fn placement(
        &self,
        new: &NewOrder,
        placed: &[Uuid],
    ) -> Result<Placement, Unavailable> {
        if placed.contains(&new.order.order_id.0) {
            return Ok(Placement::Placed);
        }
        let used = self.key_use(&Scope::Everything, &new.key_hash).await?;
        used.map(Placement::KeyUsed)
            .ok_or_else(|| Unavailable::new(Backend::Orders, "a key was used, and then was not"))
    }

    async fn with_items(&self, rows: Vec<OrderRow>) -> Result<Vec<StoredOrder>, Unavailable> {
        const ITEMS: &str =
            "SELECT order_id, product_id, name, quantity, unit_price_minor FROM order_items
            WHERE order_id = ANY($1) ORDER BY order_id, position";
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
        let items: Vec<ItemRow> = sqlx::query_as(ITEMS)
            .bind(ids)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        let mut by_order: HashMap<Uuid, Vec<&ItemRow>> = HashMap::new();
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
}

impl OrderStore for PostgresStore {
    async fn next_number(
        &self,
        tenant: &TenantId,
        location: &LocationId,
        day: Date,
    ) -> Result<u64, Unavailable> {
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
        let (end,): (i64,) = sqlx::query_as(TAKE)
            .bind(tenant.as_str())
            .bind(location.as_str())
            .bind(day)
            .bind(NUMBERS as i64)
            .fetch_one(&self.pool)
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
        let mut answers = Vec::with_capacity(orders.len());
        if let ([_, _, ..], true) = (orders, orders.iter().all(|new| new.slot.is_none()))
            && let Ok(placed) = self.place_all(orders).await
        {
            for new in orders {
                answers.push(self.placement(new, &placed).await);
            }
            return answers;
        }
        // One order made the group fail, or needs a place in a pickup slot. Each order gets its own
        // transaction, so that the others succeed.
        for new in orders {
            answers.push(self.place_one(new).await);
        }
        answers
    }

    async fn key_use(&self, scope: &Scope, key_hash: &str) -> Result<Option<KeyUse>, Unavailable> {
        const SELECT: &str = "SELECT order_id, request_hash, session_hash FROM orders
            WHERE idempotency_key_hash = $1 AND ($2::text IS NULL OR (tenant_id = $2 AND location_id = ANY($3)))";
        let query = sqlx::query_as(SELECT)
            .bind(key_hash)
            .bind(scope.tenant())
            .bind(scope.locations());
        let row: Option<(Uuid, String, Option<String>)> = query
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(row.map(|(id, request_hash, session_hash)| KeyUse {
            order_id: OrderId(id),
            request_hash,
            session_hash,
        }))
    }

    async fn load(&self, order_id: OrderId) -> Result<Option<StoredOrder>, Unavailable> {
        let select = format!("SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = $1");
        let row: Option<OrderRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(order_id.0)
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(self.with_items(row.into_iter().collect()).await?.pop())
    }

    async fn load_in(
        &self,
        scope: &Scope,
        order_id: OrderId,
    ) -> Result<Option<StoredOrder>, Unavailable> {
        let select = format!(
            "SELECT {ORDER_COLUMNS} FROM orders
             WHERE order_id = $1 AND ($2::text IS NULL OR (tenant_id = $2 AND location_id = ANY($3)))"
        );
        let row: Option<OrderRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(order_id.0)
            .bind(scope.tenant())
            .bind(scope.locations())
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(self.with_items(row.into_iter().collect()).await?.pop())
    }

    async fn newest_with_number(
        &self,
        scope: &Scope,
        number: OrderNumber,
    ) -> Result<Option<OrderId>, Unavailable> {
        const SELECT: &str = "SELECT order_id FROM orders
            WHERE ($1::text IS NULL OR (tenant_id = $1 AND location_id = ANY($2))) AND order_number = $3
            ORDER BY order_id DESC LIMIT 1";
        // Without the `OR`, PostgreSQL plans a search of `orders_by_number`.
        let (all, some) = (SELECT, SELECT.replace("$1::text IS NULL OR ", ""));
        let select = if *scope == Scope::Everything {
            all.to_owned()
        } else {
            some
        };
        let row: Option<(Uuid,)> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(scope.locations())
            .bind(number.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(row.map(|(id,)| OrderId(id)))
    }

    async fn history(
        &self,
        scope: &Scope,
        order_id: OrderId,
        after_seq: i64,
    ) -> Result<Vec<HistoryEntry>, Unavailable> {
        const SELECT: &str = "SELECT seq, from_status, to_status, step, actor, note, at FROM order_history
            WHERE order_id = $1 AND seq > $2 AND EXISTS (SELECT 1 FROM orders
                WHERE order_id = $1 AND ($3::text IS NULL OR (tenant_id = $3 AND location_id = ANY($4))))
            ORDER BY seq";
        let rows: Vec<HistoryRow> = sqlx::query_as(SELECT)
            .bind(order_id.0)
            .bind(after_seq)
            .bind(scope.tenant())
            .bind(scope.locations())
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.into_iter().map(HistoryRow::into_entry).collect()
    }

    async fn list_stored(
        &self,
        scope: &Scope,
        filter: &OrderFilter,
    ) -> Result<Vec<StoredOrder>, Unavailable> {
        let limit = filter.limit.clamp(1, LIST_MAX);
        let wanted = if filter.statuses.is_empty() {
            &Status::ALL[..]
        } else {
            &filter.statuses
        };
        let statuses: Vec<&str> = wanted.iter().map(|status| status.code()).collect();
        let of_sessions = !filter.session_hashes.is_empty();
        let statement = match scope {
            Scope::Shops { .. } | Scope::Everything if of_sessions => list_of_sessions(limit),
            Scope::Shops { .. } => list_of_shops(limit),
            Scope::Everything => list_of_everything(limit),
        };
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(filter.before.map(|id| id.0))
            .bind(statuses);
        if of_sessions || *scope != Scope::Everything {
            query = query.bind(scope.tenant()).bind(scope.locations());
        }
        if of_sessions {
            query = query.bind(&filter.session_hashes);
        }
        let rows: Vec<OrderRow> = query.fetch_all(&self.pool).await.map_err(unavailable)?;
        self.with_items(rows).await
    }

    async fn find_order(
        &self,
        scope: &Scope,
        order_number: &str,
        email: &str,
    ) -> Result<Option<StoredOrder>, Unavailable> {
        let select = format!(
            "SELECT {ORDER_COLUMNS} FROM orders
             WHERE ($1::text IS NULL OR (tenant_id = $1 AND location_id = ANY($2)))
                 AND order_number = $3 AND lower(customer_email) = lower($4)
             ORDER BY order_id DESC LIMIT 1"
        );
        // Without the `OR`, PostgreSQL can use `orders_by_number`.
        let select = match scope {
            Scope::Everything => select,
            Scope::Shops { .. } => select.replace("$1::text IS NULL OR ", ""),
        };
        let row: Option<OrderRow> = sqlx::query_as(sqlx::AssertSqlSafe(select))
            .bind(scope.tenant())
            .bind(scope.locations())
            .bind(order_number)
            .bind(email)
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(self.with_items(row.into_iter().collect()).await?.pop())
    }

    async fn pending_orders(&self, scope: &Scope) -> Result<u64, Unavailable> {
        const COUNT: &str = "SELECT count(*) FROM orders
            WHERE status = 'pending' AND ($1::text IS NULL OR (tenant_id = $1 AND location_id = ANY($2)))";
        let query = sqlx::query_as(COUNT)
            .bind(scope.tenant())
            .bind(scope.locations());
        let (count,): (i64,) = query.fetch_one(&self.pool).await.map_err(unavailable)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn payment(
        &self,
        order_id: OrderId,
        kind: PaymentKind,
    ) -> Result<Option<Payment>, Unavailable> {
        const SELECT: &str =
            "SELECT amount_minor, currency, state, token, charge_id, reason FROM payments
            WHERE order_id = $1 AND kind = $2";
        let row: Option<PaymentRow> = sqlx::query_as(SELECT)
            .bind(order_id.0)
            .bind(kind.code())
            .fetch_optional(&self.pool)
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
        const SELECT: &str = "SELECT amount_minor, payments.currency, payments.state, token, charge_id, payments.reason
            FROM payments JOIN orders USING (order_id)
            WHERE order_id = $1 AND kind = $2 AND ($3::text IS NULL OR (tenant_id = $3 AND location_id = ANY($4)))";
        let row: Option<PaymentRow> = sqlx::query_as(SELECT)
            .bind(order_id.0)
            .bind(kind.code())
            .bind(scope.tenant())
            .bind(scope.locations())
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        row.map(|row| row.into_payment(order_id, kind)).transpose()
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<Applied, Unavailable>> {
        match (self.apply_all(changes).await, changes) {
            (Ok(Applied::Applied), _) => vec![Ok(Applied::Applied); changes.len()],
            (outcome, [_]) => vec![outcome.map_err(unavailable)],
            // One change did not apply. Each change gets its own transaction, so that the others
            // succeed.
            (_, _) => {
                let mut each = Vec::with_capacity(changes.len());
                for change in changes {
                    each.push(
                        self.apply_all(std::slice::from_ref(change))
                            .await
                            .map_err(unavailable),
                    );
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
        // the claim. Without the lock, both would send the message. `MATERIALIZED` makes PostgreSQL
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
        let mut rows: Vec<(i64, i32, Option<String>, String)> = sqlx::query_as(TAKE)
            .bind(self.claimant)
            .bind(now + OUTBOX_CLAIM)
            .bind(now)
            .bind(i64::from(limit))
            .bind(which.to_queues())
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.sort_by_key(|(id, ..)| *id);
        let read = |(id, attempts, route, envelope): (i64, i32, Option<String>, String)| {
            OutboxRow::read(id, attempts, route.as_deref(), &envelope)
        };
        Ok(rows.into_iter().map(read).collect())
    }

    async fn mark_published(&self, ids: &[i64], at: Timestamp) -> Result<(), Unavailable> {
        const MARK: &str = "UPDATE outbox SET published_at = $1, claimed_by = NULL, claimed_until = NULL WHERE id = ANY($2)";
        sqlx::query(MARK)
            .bind(at)
            .bind(ids)
            .execute(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn put_off(&self, rows: &[(i64, Timestamp)]) -> Result<(), Unavailable> {
        const PUT_OFF: &str = "UPDATE outbox SET attempts = attempts + 1, retry_at = late.retry_at, claimed_by = NULL,
                claimed_until = NULL
            FROM unnest($1::bigint[], $2::timestamptz[]) AS late (id, retry_at)
            WHERE outbox.id = late.id AND claimed_by = $3 AND published_at IS NULL";
        let (ids, times): (Vec<i64>, Vec<Timestamp>) = rows.iter().copied().unzip();
        let query = sqlx::query(PUT_OFF)
            .bind(ids)
            .bind(times)
            .bind(self.claimant);
        query.execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    async fn oldest_unpublished(&self) -> Result<Option<Timestamp>, Unavailable> {
        const OLDEST: &str =
            "SELECT created_at FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1";
        let row: Option<(Timestamp,)> = sqlx::query_as(OLDEST)
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(row.map(|(created_at,)| created_at))
    }

    async fn outbox_changed(&self, at_most: Duration) {
        let mut listener = self.listener.lock().await;
        if listener.is_none()
            && let Ok(mut fresh) = PgListener::connect_with(&self.pool).await
            && fresh.listen(CHANNEL).await.is_ok()
        {
            *listener = Some(fresh);
        }
        let heard = async {
            match listener.as_mut() {
                Some(listener) => match listener.recv().await {
                    // One read of the outbox serves all notifications that have arrived.
                    Ok(_) => while listener.next_buffered().is_some() {},
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(at_most, heard).await;
    }

    async fn take_due(
        &self,
        now: Timestamp,
        again_at: Timestamp,
        limit: u32,
    ) -> Result<Vec<Due>, Unavailable> {
        const TAKE: &str = "UPDATE orders SET next_action_at = $1 WHERE order_id IN (
                SELECT order_id FROM orders WHERE next_action_at <= $2
                ORDER BY next_action_at LIMIT $3 FOR UPDATE SKIP LOCKED)
            RETURNING order_id, state, version, created_at, updated_at, pickup_at";
        let rows: Vec<DueRow> = sqlx::query_as(TAKE)
            .bind(again_at)
            .bind(now)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        let due = |(id, code, version, created_at, since, pickup_at): DueRow| {
            let order_id = OrderId(id);
            let read = state(&code).map(|state| Due {
                order_id,
                state,
                version,
                created_at,
                since,
                pickup_at,
            });
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
        const LOOK: &str = "UPDATE orders SET next_action_at = look.at
            FROM jsonb_to_recordset($1) AS look (order_id uuid, version bigint, at timestamptz)
            WHERE orders.order_id = look.order_id AND orders.version = look.version";
        let look = |(order_id, version, at): &(OrderId, i64, Option<Timestamp>)| json!({ "order_id": order_id, "version": version, "at": at.map_or(Value::Null, time_json) });
        let orders = Value::Array(orders.iter().map(look).collect());
        sqlx::query(LOOK)
            .bind(orders)
            .execute(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, Unavailable> {
        const OUTBOX: &str = "DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE published_at < $1 ORDER BY published_at LIMIT $2)";
        const INBOX: &str = "DELETE FROM inbox WHERE (consumer, event_id) IN (
            SELECT consumer, event_id FROM inbox WHERE at < $1 ORDER BY at LIMIT $2)";
        let mut deleted = 0;
        const COUNTS: &str = "DELETE FROM notice_counts WHERE (recipient, day) IN (
            SELECT recipient, day FROM notice_counts WHERE day < ($1 AT TIME ZONE 'UTC')::date ORDER BY day LIMIT $2)";
        for delete in [OUTBOX, INBOX, COUNTS] {
            let query = sqlx::query(delete).bind(before).bind(i64::from(limit));
            deleted += query
                .execute(&self.pool)
                .await
                .map_err(unavailable)?
                .rows_affected();
        }
        Ok(deleted)
    }
}

/// Runs [`APPLY`]. For any result but `Applied`, the caller must roll back the transaction.
pub(crate) async fn apply_all(
    connection: &mut PgConnection,
    changes: &[Change],
) -> Result<Applied, sqlx::Error> {
    let (orders, payments) = (
        changes
            .iter()
            .filter(|change| change.order.is_some())
            .count() as i64,
        changes
            .iter()
            .filter(|change| change.payment.is_some())
            .count() as i64,
    );
    let (taken_in, moved, paid, _): (i64, i64, i64, i64) = sqlx::query_as(APPLY)
        .bind(Value::Array(changes.iter().map(change_json).collect()))
        .bind(Value::Array(
            changes.iter().flat_map(history_json).collect(),
        ))
        .bind(outbox_json(changes.iter().flat_map(|change| {
            change.outbox.iter().map(|message| (message, change.at))
        })))
        .bind(Value::Array(
            changes.iter().filter_map(audit_json).collect(),
        ))
        .fetch_one(connection)
        .await?;
    if taken_in < changes.len() as i64 {
        return Ok(Applied::Duplicate);
    }
    if moved < orders || paid < payments {
        return Ok(Applied::Conflict);
    }
    Ok(Applied::Applied)
}

/// Runs [`PLACE`] and returns the ids of the orders that were inserted.
pub(crate) async fn place_all(
    connection: &mut PgConnection,
    orders: &[NewOrder],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let placed: Vec<(Uuid, String)> = sqlx::query_as(PLACE)
        .bind(Value::Array(orders.iter().map(order_json).collect()))
        .bind(Value::Array(orders.iter().flat_map(items_json).collect()))
        .bind(outbox_json(orders.iter().flat_map(|new| {
            new.outbox
                .iter()
                .map(|message| (message, new.order.created_at))
        })))
        .fetch_all(connection)
        .await?;
    Ok(placed.into_iter().map(|(id, _)| id).collect())
}

/// The id before which a list ends: $1, or an id above all others. Ids are UUIDv7, so the newest
/// order has the greatest id.
const BEFORE_ID: &str = "coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)";

/// Returns the statement that lists orders of a scope's locations, newest first. $2 is the
/// statuses, $3 the tenant, $4 the locations.
///
/// After a year, the table has half a million closed orders and ten open ones. For a list of
/// statuses with `ORDER BY order_id`, PostgreSQL chooses between two bad plans. One reads the index
/// of the ids from its end and discards closed orders; the other reads and sorts all orders of a
/// status. Therefore the statement selects each location and status on its own, in the order of
/// `orders_by_status`, and merges the results. At most `limit` rows of each are read, in a generic
/// plan too.
///
/// The status is a range of one value and part of the sort order. With an equality, PostgreSQL
/// would remove the status from the sort order. The planner assumes that each status has a fifth of
/// all orders. It would therefore expect 200 of them near the end of the primary key. The row
/// comparison starts the scan at the order before which the page ends. The limit is part of the
/// text, because a plan for an unknown limit assumes a tenth of the rows.
pub fn list_of_shops(limit: u32) -> String {
    format!(
        "SELECT newest.* FROM unnest($4::text[]) AS place (at) CROSS JOIN unnest($2::text[]) AS wanted (code)
         CROSS JOIN LATERAL (SELECT {ORDER_COLUMNS} FROM orders
             WHERE tenant_id = $3 AND location_id = place.at AND status >= wanted.code
                 AND (status, order_id) < (wanted.code, {BEFORE_ID})
             ORDER BY status DESC, order_id DESC LIMIT {limit}) AS newest
         ORDER BY order_id DESC LIMIT {limit}"
    )
}

/// Returns the statement that lists the orders of a browser's sessions ($5), newest first. Each
/// session is selected on its own with the index `orders_of_session`.
fn list_of_sessions(limit: u32) -> String {
    format!(
        "SELECT newest.* FROM unnest($5::text[]) AS own (hash) CROSS JOIN LATERAL (SELECT {ORDER_COLUMNS} FROM orders
             WHERE session_hash = own.hash AND order_id < {BEFORE_ID} AND status = ANY($2)
                 AND ($3::text IS NULL OR (tenant_id = $3 AND location_id = ANY($4::text[])))
             ORDER BY order_id DESC LIMIT {limit}) AS newest
         ORDER BY order_id DESC LIMIT {limit}"
    )
}

/// Returns the statement that lists orders of all locations, newest first.
fn list_of_everything(limit: u32) -> String {
    format!(
        "SELECT {ORDER_COLUMNS} FROM orders
         WHERE order_id < {BEFORE_ID} AND status = ANY($2) ORDER BY order_id DESC LIMIT {limit}"
    )
}

fn time_json(at: Timestamp) -> Value {
    json!(at.format(&Rfc3339).unwrap_or_default())
}

fn change_json(change: &Change) -> Value {
    let mut row = json!({
        "consumer": change.consumer,
        "event_id": change.event_id,
        "at": time_json(change.at),
        "delivery": change.delivery,
    });
    if let Some(order) = &change.order {
        row["order_id"] = json!(order.order_id);
        row["expected_version"] = json!(order.expected_version);
        row["version"] = json!(order.expected_version + order.history.len() as i64);
        row["state"] = json!(order.state.code());
        row["status"] = json!(order.status.code());
        row["step"] = json!(order.state.step().code());
        row["reason"] = json!(order.reason);
        row["next_action_at"] = order.next_action_at.map_or(Value::Null, time_json);
    }
    if let Some(change) = &change.payment {
        let payment = &change.payment;
        row["pay_order_id"] = json!(payment.order_id);
        row["pay_kind"] = json!(payment.kind.code());
        row["pay_expected"] = json!(change.expected.map(PaymentState::code));
        row["pay_amount"] = json!(payment.amount.minor);
        row["pay_currency"] = json!(payment.amount.currency.code());
        row["pay_state"] = json!(payment.state.code());
        row["pay_token"] = json!(payment.token);
        row["pay_charge_id"] = json!(payment.charge_id);
        row["pay_reason"] = json!(payment.reason);
    }
    row
}

fn history_json(change: &Change) -> Vec<Value> {
    let Some(order) = &change.order else {
        return Vec::new();
    };
    let line = |entry: &HistoryEntry| {
        json!({
            "order_id": order.order_id, "seq": entry.seq, "from_status": entry.from.map(|status| status.code()),
            "to_status": entry.to.code(), "step": entry.step.code(), "actor": entry.actor, "note": entry.note,
            "at": time_json(entry.at),
        })
    };
    order.history.iter().map(line).collect()
}

fn audit_json(change: &Change) -> Option<Value> {
    let entry = change.order.as_ref()?.audit.as_ref()?;
    Some(json!({
        "at": time_json(entry.at), "actor": entry.actor, "action": entry.action, "subject": entry.subject,
        "before": entry.before, "after": entry.after, "act_id": entry.act_id,
    }))
}

/// Returns the rows of [`APPLY`]'s and [`PLACE`]'s messages: one for each message and each of its
/// routes, numbered in order.
pub fn outbox_json<'a>(messages: impl Iterator<Item = (&'a Envelope, Timestamp)>) -> Value {
    let each_route = messages.flat_map(|(envelope, at)| {
        envelope
            .message
            .kind()
            .routes()
            .iter()
            .map(move |route| (envelope, route, at))
    });
    let rows = each_route.enumerate().map(|(n, (envelope, route, at))| {
        json!({
            "n": n, "kind": envelope.message.kind().name(), "order_id": envelope.order_id, "route": route.code(),
            "envelope": envelope.encode(), "created_at": time_json(at),
        })
    });
    Value::Array(rows.collect())
}

fn order_json(new: &NewOrder) -> Value {
    let order = &new.order;
    json!({
        "order_id": order.order_id, "tenant_id": order.tenant_id, "location_id": order.location_id,
        "order_number": order.order_number, "number_day": new.day.to_string(), "order_type": order.order_type.code(),
        "customer_name": order.customer.name, "customer_phone": order.customer.phone,
        "customer_phone_extension": order.customer.phone_extension,
        "customer_email": order.customer.email, "notify_email": order.customer.notify.email,
        "notify_sms": order.customer.notify.sms, "special_instructions": order.special_instructions,
        "delivery_address": address_text(order.delivery_address.as_ref()),
        "pickup_at": order.pickup_at.map_or(Value::Null, time_json),
        "slot_at": new.slot.map_or(Value::Null, |slot| time_json(slot.starts_at)),
        "tax_basis_points": order.totals.rate.basis_points(),
        "tax_rate_millionths": order.totals.rate.millionths(),
        "subtotal_minor": order.totals.subtotal.minor, "tax_minor": order.totals.tax.minor,
        "total_minor": order.totals.total.minor, "currency": order.totals.total.currency.code(),
        "state": order.state.code(), "status": order.status.code(), "step": order.state.step().code(),
        "version": order.version, "session_hash": new.session_hash, "tracking_token": new.tracking_token,
        "idempotency_key_hash": new.key_hash, "request_hash": new.request_hash,
        "next_action_at": time_json(new.next_action_at), "created_at": time_json(order.created_at),
        "actor": new.history.actor, "payment_token": new.payment_token,
    })
}

fn items_json(new: &NewOrder) -> Vec<Value> {
    let item = |(position, item): (usize, &domain::order::Item)| {
        json!({
            "order_id": new.order.order_id, "position": position, "product_id": item.product_id, "name": item.name,
            "quantity": item.quantity.get(), "unit_price_minor": item.unit_price.minor,
        })
    };
    new.order.items.iter().enumerate().map(item).collect()
}
