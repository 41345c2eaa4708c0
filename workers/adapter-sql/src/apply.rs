//! Applies changes of orders: inbox, order, pickup slot, payment, history, messages and audit log.

use std::sync::LazyLock;

use app::ports::StoreError;
use app::ports::orders::{Applied, Change, PaymentState};
use contract::messages::Envelope;
use domain::Timestamp;
use domain::order::{HistoryEntry, Status};
use serde_json::{Value, json};

use crate::query::Transaction;
use crate::sqlite::translate;
use crate::values::{Id, Records, text_of};
use crate::{Database, Store};

// The parameters of all statements: $1 is the messages, $2 the changes, $3 the history entries, $4
// the audit entries.

/// Adds messages to the outbox. Callers add the condition, and the order, which is `n`.
pub const ADD_MESSAGES: &str = "
    INSERT INTO outbox (kind, order_id, route, envelope, created_at)
    SELECT kind, order_id, route, envelope, created_at
    FROM jsonb_to_recordset($1) AS m (n int, kind text, order_id uuid, route text, envelope text,
        created_at timestamptz)";

const INPUT: &str = "input AS (
    SELECT * FROM jsonb_to_recordset($2) AS i (consumer text, event_id uuid, at timestamptz, delivery int,
        order_id uuid, expected_version bigint, version bigint, state text, status text, step text, reason text,
        next_action_at timestamptz, pay_order_id uuid, pay_kind text, pay_expected text, pay_amount bigint,
        pay_currency text, pay_state text, pay_token text, pay_charge_id text, pay_reason text)
)";

const TAKE_IN: &str = "
    INSERT INTO inbox (consumer, event_id, at, delivery) SELECT consumer, event_id, at, delivery FROM input
    WHERE true ON CONFLICT DO NOTHING RETURNING 1";

const MOVE_ORDERS: &str = "
    UPDATE orders SET state = i.state, status = i.status, step = i.step, reason = coalesce(i.reason, orders.reason),
        next_action_at = i.next_action_at, version = i.version, updated_at = i.at
    FROM input AS i WHERE orders.order_id = i.order_id AND orders.version = i.expected_version
    RETURNING orders.order_id, orders.status";

/// Frees the places of orders that end as cancelled or failed, in PostgreSQL.
const FREE_PLACES: &str = "
    -- `before` is the order as it was: nothing here sees what this statement writes.
    UPDATE pickup_slots AS slot SET taken = slot.taken - ended.orders
    FROM (SELECT before.tenant_id, before.location_id, before.slot_at, count(*)::int AS orders
        FROM moved JOIN orders AS before USING (order_id)
        WHERE moved.status IN ('cancelled', 'failed') AND before.status NOT IN ('cancelled', 'failed')
          AND before.slot_at IS NOT NULL
        GROUP BY before.tenant_id, before.location_id, before.slot_at) AS ended
    WHERE slot.tenant_id = ended.tenant_id AND slot.location_id = ended.location_id AND slot.starts_at = ended.slot_at";

/// Frees the place of the order $1 in SQLite, before the order changes: an order that has one of
/// the two statuses keeps no place.
const FREE_PLACE: &str = "UPDATE pickup_slots SET taken = taken - 1
    WHERE (tenant_id, location_id, starts_at) IN (
        SELECT tenant_id, location_id, slot_at FROM orders
        WHERE order_id = $1 AND slot_at IS NOT NULL AND status NOT IN ('cancelled', 'failed'))";

const MOVE_PAYMENTS: &str = "
    UPDATE payments SET state = i.pay_state, charge_id = i.pay_charge_id, reason = i.pay_reason, at = i.at
    FROM input AS i
    WHERE payments.order_id = i.pay_order_id AND payments.kind = i.pay_kind AND payments.state = i.pay_expected RETURNING 1";

const ADD_PAYMENTS: &str = "
    INSERT INTO payments (order_id, kind, amount_minor, currency, state, token, charge_id, reason, at)
    SELECT pay_order_id, pay_kind, pay_amount, pay_currency, pay_state, pay_token, pay_charge_id, pay_reason, at
    FROM input WHERE pay_order_id IS NOT NULL AND pay_expected IS NULL
    ON CONFLICT DO NOTHING RETURNING 1";

const ADD_HISTORY: &str = "
    INSERT INTO order_history (order_id, seq, from_status, to_status, step, actor, note, at)
    SELECT * FROM jsonb_to_recordset($3) AS h (order_id uuid, seq bigint, from_status text, to_status text, step text,
        actor text, note text, at timestamptz)
    WHERE true ON CONFLICT DO NOTHING";

const ADD_AUDIT: &str = r#"
    INSERT INTO audit (at, actor, action, subject, "before", "after", act_id)
    SELECT * FROM jsonb_to_recordset($4) AS a (at timestamptz, actor text, action text, subject text, before text,
        after text, act_id text)
    WHERE true ON CONFLICT (act_id) DO NOTHING"#;

/// PostgreSQL applies a group of changes with one statement. Returns the number of new inbox rows,
/// of changed orders and of changed payments.
///
/// The statement does not stop at a row that conflicts; [`apply`] compares the three numbers with
/// the group. Fewer inbox rows mean a duplicate; fewer orders or payments mean that another process
/// changed a row first. Either way the caller rolls back everything. All parts of one statement read
/// the same snapshot, so no part sees the writes of another part.
static APPLY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {INPUT}, taken_in AS ({TAKE_IN}), moved AS ({MOVE_ORDERS}), given_back AS ({FREE_PLACES}),
            payments_moved AS ({MOVE_PAYMENTS}), payments_added AS ({ADD_PAYMENTS}), told AS ({ADD_HISTORY}),
            owed AS ({ADD_MESSAGES} ORDER BY n RETURNING 1), recorded AS ({ADD_AUDIT})
        SELECT (SELECT count(*) FROM taken_in), (SELECT count(*) FROM moved),
            (SELECT count(*) FROM payments_moved) + (SELECT count(*) FROM payments_added),
            (SELECT count(pg_notify('outbox', '')::text) FROM (SELECT 1 FROM owed LIMIT 1) AS any_owed)"
    )
});

/// The statements with which SQLite applies one change, which has no statements that write within
/// others.
struct ApplyOne {
    take_in: String,
    move_order: String,
    move_payment: String,
    add_payment: String,
    add_history: String,
    add_audit: String,
    add_messages: String,
}

static APPLY_ONE: LazyLock<ApplyOne> = LazyLock::new(|| {
    let with_input = |sql: &str| translate(format!("WITH {INPUT} {sql}").into()).into_owned();
    ApplyOne {
        take_in: with_input(TAKE_IN),
        move_order: with_input(MOVE_ORDERS),
        move_payment: with_input(MOVE_PAYMENTS),
        add_payment: with_input(ADD_PAYMENTS),
        add_history: translate(ADD_HISTORY.into()).into_owned(),
        add_audit: translate(ADD_AUDIT.into()).into_owned(),
        add_messages: translate(format!("{ADD_MESSAGES} ORDER BY n").into()).into_owned(),
    }
});

impl Store {
    /// Applies a group together. If that fails, each change is applied alone, so that the others
    /// succeed.
    pub(crate) async fn apply_changes(
        &self,
        changes: &[Change],
    ) -> Vec<Result<Applied, StoreError>> {
        if changes.len() > 1
            && let Ok(Some(applied)) = self.apply_group(changes).await
        {
            return applied.into_iter().map(Ok).collect();
        }
        let mut each = Vec::with_capacity(changes.len());
        for change in changes {
            each.push(self.apply_alone(change).await);
        }
        each
    }

    /// Applies a group in one transaction. Returns `None` if it must be applied one by one.
    async fn apply_group(&self, changes: &[Change]) -> Result<Option<Vec<Applied>>, StoreError> {
        let mut transaction = self.begin().await?;
        if matches!(self.database, Database::Postgres(_)) {
            let applied = apply(&mut transaction, changes).await? == Applied::Applied;
            transaction.end(applied).await?;
            return Ok(applied.then(|| vec![Applied::Applied; changes.len()]));
        }
        let mut each = Vec::with_capacity(changes.len());
        for change in changes {
            // A savepoint: a duplicate or a conflict leaves no rows, and the other changes of the
            // transaction are kept.
            let mut point = transaction.savepoint().await?;
            let applied = apply(&mut point, std::slice::from_ref(change)).await?;
            point.end(applied == Applied::Applied).await?;
            each.push(applied);
        }
        transaction.commit().await?;
        Ok(Some(each))
    }

    async fn apply_alone(&self, change: &Change) -> Result<Applied, StoreError> {
        let mut transaction = self.begin().await?;
        let applied = apply(&mut transaction, std::slice::from_ref(change)).await?;
        transaction.end(applied == Applied::Applied).await?;
        Ok(applied)
    }
}

/// Records the events in the inbox and applies the changes. For any result but `Applied`, the
/// caller must roll back.
pub async fn apply(
    transaction: &mut Transaction<'_>,
    changes: &[Change],
) -> Result<Applied, StoreError> {
    if !transaction.is_postgres() {
        for change in changes {
            let applied = apply_one(transaction, change).await?;
            if applied != Applied::Applied {
                return Ok(applied);
            }
        }
        return Ok(Applied::Applied);
    }
    let orders = changes.iter().filter(|change| change.order.is_some());
    let payments = changes.iter().filter(|change| change.payment.is_some());
    let query = transaction.query(APPLY.as_str()).bind_all(&rows(changes));
    let (taken_in, moved, paid, _): (i64, i64, i64, i64) = query.fetch_one().await?;
    if taken_in < changes.len() as i64 {
        return Ok(Applied::Duplicate);
    }
    if moved < orders.count() as i64 || paid < payments.count() as i64 {
        return Ok(Applied::Conflict);
    }
    Ok(Applied::Applied)
}

/// Applies one change in SQLite.
async fn apply_one(
    transaction: &mut Transaction<'_>,
    change: &Change,
) -> Result<Applied, StoreError> {
    let (parts, rows) = (&*APPLY_ONE, rows(std::slice::from_ref(change)));
    if run(transaction, &parts.take_in, &rows).await? == 0 {
        return Ok(Applied::Duplicate);
    }
    if let Some(order) = &change.order {
        // This must run first, because it reads whether the order had ended before. A version
        // conflict rolls it back.
        if matches!(order.status, Status::Cancelled | Status::Failed) {
            let free = transaction.query(FREE_PLACE).bind(Id(order.order_id.0));
            free.execute().await?;
        }
        if run(transaction, &parts.move_order, &rows).await? == 0 {
            return Ok(Applied::Conflict);
        }
        run(transaction, &parts.add_history, &rows).await?;
        if order.audit.is_some() {
            run(transaction, &parts.add_audit, &rows).await?;
        }
    }
    if let Some(payment) = &change.payment {
        let sql = match payment.expected {
            None => &parts.add_payment,
            Some(_) => &parts.move_payment,
        };
        if run(transaction, sql, &rows).await? == 0 {
            return Ok(Applied::Conflict);
        }
    }
    if !change.outbox.is_empty() {
        add_messages(transaction, &rows[0]).await?;
    }
    Ok(Applied::Applied)
}

async fn run(
    transaction: &mut Transaction<'_>,
    sql: &'static str,
    rows: &[Records],
) -> Result<u64, StoreError> {
    transaction.query(sql).bind_all(rows).execute().await
}

/// Adds messages to the outbox in SQLite.
pub async fn add_messages(
    transaction: &mut Transaction<'_>,
    messages: &Records,
) -> Result<(), StoreError> {
    let query = transaction.query(APPLY_ONE.add_messages.as_str());
    query.bind(messages).execute().await.map(drop)
}

/// Returns the values of $1 to $4.
fn rows(changes: &[Change]) -> [Records; 4] {
    let owed = changes.iter().flat_map(|change| {
        let at = change.at;
        change.outbox.iter().map(move |message| (message, at))
    });
    [
        messages(owed),
        changes.iter().map(change_json).collect(),
        changes.iter().flat_map(history_json).collect(),
        changes.iter().filter_map(audit_json).collect(),
    ]
}

fn change_json(change: &Change) -> Value {
    let mut row = json!({
        "consumer": change.consumer,
        "event_id": change.event_id,
        "at": text_of(change.at),
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
        row["next_action_at"] = json!(order.next_action_at.map(text_of));
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
            "at": text_of(entry.at),
        })
    };
    order.history.iter().map(line).collect()
}

fn audit_json(change: &Change) -> Option<Value> {
    let entry = change.order.as_ref()?.audit.as_ref()?;
    Some(json!({
        "at": text_of(entry.at), "actor": entry.actor, "action": entry.action, "subject": entry.subject,
        "before": entry.before, "after": entry.after, "act_id": entry.act_id,
    }))
}

/// Returns the records for [`ADD_MESSAGES`]: one for each message and each of its routes, numbered
/// in order.
pub fn messages<'a>(messages: impl Iterator<Item = (&'a Envelope, Timestamp)>) -> Records {
    let each_route = messages.flat_map(|(envelope, at)| {
        let routes = envelope.message.kind().routes().iter();
        routes.map(move |route| (envelope, route, at))
    });
    let rows = each_route.enumerate().map(|(n, (envelope, route, at))| {
        json!({
            "n": n, "kind": envelope.message.kind().name(), "order_id": envelope.order_id, "route": route.code(),
            "envelope": envelope.encode(), "created_at": text_of(at),
        })
    });
    rows.collect()
}
