//! Places orders: the order, its items, payment, first history entry and messages, and the place in
//! a pickup slot.

use std::sync::LazyLock;

use app::ports::orders::{NewOrder, OrderStore as _, Placement, address_text};
use app::ports::scope::Scope;
use app::ports::{Backend, StoreError};
use serde_json::{Value, json};

use crate::apply::{ADD_MESSAGES, add_messages, messages};
use crate::query::Transaction;
use crate::sqlite::translate;
use crate::values::{At, Id, Records, text_of};
use crate::{Database, Store};

// The parameters of all statements: $1 is the messages, $2 the orders, $3 their items.

const INPUT: &str = "input AS (
    SELECT * FROM jsonb_to_recordset($2) AS i (order_id uuid, tenant_id text, location_id text, order_number text, number_day date,
        order_type text, customer_name text, customer_phone text, customer_phone_extension text, customer_email text, notify_email boolean,
        notify_sms boolean, special_instructions text, delivery_address text, pickup_at timestamptz, slot_at timestamptz, subtotal_minor bigint,
        tax_basis_points int, tax_rate_millionths int, tax_minor bigint, total_minor bigint, currency text, state text, status text, step text,
        version bigint, session_hash text, tracking_token text, idempotency_key_hash text, request_hash text,
        next_action_at timestamptz, created_at timestamptz, actor text, payment_token text)
)";

/// Returns the ids of the orders that were inserted; the idempotency key of any other order was
/// used before.
const ADD_ORDERS: &str = "
    INSERT INTO orders (order_id, tenant_id, location_id, order_number, number_day, order_type, customer_name, customer_phone,
        customer_phone_extension, customer_email, notify_email, notify_sms, special_instructions, delivery_address, pickup_at, slot_at, subtotal_minor,
        tax_basis_points, tax_rate_millionths, tax_minor, total_minor, currency, state, status, step, version,
        session_hash, tracking_token, idempotency_key_hash, request_hash, next_action_at, created_at, updated_at)
    SELECT order_id, tenant_id, location_id, order_number, number_day, order_type, customer_name, customer_phone,
        customer_phone_extension, customer_email, notify_email, notify_sms, special_instructions, delivery_address, pickup_at, slot_at, subtotal_minor, tax_basis_points,
        tax_rate_millionths, tax_minor, total_minor, currency, state, status, step, version, session_hash, tracking_token, idempotency_key_hash,
        request_hash, next_action_at, created_at, created_at
    FROM input WHERE true ON CONFLICT (idempotency_key_hash) DO NOTHING RETURNING order_id";

const ADD_ITEMS: &str = "
    INSERT INTO order_items (order_id, position, product_id, name, quantity, unit_price_minor)
    SELECT order_id, position, product_id, name, quantity, unit_price_minor
    FROM jsonb_to_recordset($3) AS l (order_id uuid, position int, product_id text, name text, quantity int,
        unit_price_minor bigint) JOIN placed USING (order_id)";

const ADD_HISTORY: &str = "
    INSERT INTO order_history (order_id, seq, from_status, to_status, step, actor, note, at)
    SELECT order_id, 1, NULL, status, step, actor, NULL, created_at FROM input JOIN placed USING (order_id)";

const ADD_CHARGES: &str = "
    INSERT INTO payments (order_id, kind, amount_minor, currency, state, token, at)
    SELECT order_id, 'charge', total_minor, currency, 'requested', payment_token, created_at
    FROM input JOIN placed USING (order_id)";

/// PostgreSQL places a group of orders with one statement. Returns the ids of the inserted orders.
static PLACE: LazyLock<String> = LazyLock::new(|| {
    let messages = format!("{ADD_MESSAGES} JOIN placed USING (order_id) ORDER BY n");
    format!(
        "WITH {INPUT}, placed AS ({ADD_ORDERS}), items AS ({ADD_ITEMS}), told AS ({ADD_HISTORY}),
            charges AS ({ADD_CHARGES}), owed AS ({messages})
        SELECT order_id, pg_notify('outbox', '')::text FROM placed"
    )
});

/// SQLite has no statements that write within others, so it places one order with a statement for
/// each table. The first one inserts the order.
static PLACE_ONE: LazyLock<[String; 4]> = LazyLock::new(|| {
    // `placed` does not read from `input`, because SQLite would then materialize all its columns.
    let placed = "placed AS (SELECT order_id FROM jsonb_to_recordset($2) AS p (order_id uuid))";
    let after = format!("WITH {INPUT}, {placed}");
    [
        format!("WITH {INPUT} {ADD_ORDERS}"),
        format!("{after} {ADD_ITEMS}"),
        format!("{after} {ADD_HISTORY}"),
        format!("{after} {ADD_CHARGES}"),
    ]
    .map(|sql| translate(sql.into()).into_owned())
});

impl Store {
    /// Places a group together. If that fails, each order is placed alone, so that the others
    /// succeed.
    pub(crate) async fn place_orders(
        &self,
        orders: &[NewOrder],
    ) -> Vec<Result<Placement, StoreError>> {
        let together = match &self.database {
            // The transaction of an order with a slot locks the row of the slot until its end.
            Database::Postgres(_) => orders.iter().all(|new| new.slot.is_none()),
            Database::Sqlite(_) => true,
        };
        let mut placements = Vec::with_capacity(orders.len());
        if together
            && orders.len() > 1
            && let Ok(group) = self.place_group(orders).await
        {
            for (new, placement) in orders.iter().zip(group) {
                placements.push(self.placement(new, placement).await);
            }
            return placements;
        }
        for new in orders {
            let alone = self.place_group(std::slice::from_ref(new)).await;
            placements.push(match alone {
                Ok(mut alone) => self.placement(new, alone.pop().flatten()).await,
                Err(error) => Err(error),
            });
        }
        placements
    }

    /// Returns the placement, or else the earlier use of the order's idempotency key.
    async fn placement(
        &self,
        new: &NewOrder,
        placement: Option<Placement>,
    ) -> Result<Placement, StoreError> {
        if let Some(placement) = placement {
            return Ok(placement);
        }
        let used = self.key_use(&Scope::Everything, &new.key_hash).await?;
        used.map(Placement::KeyUsed)
            .ok_or_else(|| StoreError::new(Backend::Orders, "a key was used, and then was not"))
    }

    /// Places a group of orders in one transaction. Returns `None` for an order whose idempotency
    /// key was used before.
    async fn place_group(&self, orders: &[NewOrder]) -> Result<Vec<Option<Placement>>, StoreError> {
        if matches!(self.database, Database::Postgres(_))
            && orders.iter().all(|new| new.slot.is_none())
        {
            let query = self.write(PLACE.as_str()).bind_all(&rows(orders));
            let placed: Vec<(Id, String)> = query.fetch_all().await?;
            let is_placed =
                |new: &NewOrder| placed.iter().any(|(id, _)| id.0 == new.order.order_id.0);
            return Ok(orders
                .iter()
                .map(|new| is_placed(new).then_some(Placement::Placed))
                .collect());
        }
        let mut transaction = self.begin().await?;
        if let [new] = orders {
            let placement = place_one(&mut transaction, new).await?;
            transaction
                .end(placement == Some(Placement::Placed))
                .await?;
            return Ok(vec![placement]);
        }
        let mut placements = Vec::with_capacity(orders.len());
        for new in orders {
            // A savepoint: an order whose slot is full or whose key is used leaves no rows, and the
            // other orders of the transaction are kept.
            let mut point = transaction.savepoint().await?;
            let placement = place_one(&mut point, new).await?;
            point.end(placement == Some(Placement::Placed)).await?;
            placements.push(placement);
        }
        transaction.commit().await?;
        Ok(placements)
    }
}

/// Places an order and counts it in its pickup slot. The slot comes last, so that its row is locked
/// only until the commit. For any result but `Placed`, the caller must roll back.
async fn place_one(
    transaction: &mut Transaction<'_>,
    new: &NewOrder,
) -> Result<Option<Placement>, StoreError> {
    let rows = rows(std::slice::from_ref(new));
    if transaction.is_postgres() {
        let query = transaction.query(PLACE.as_str()).bind_all(&rows);
        let placed: Option<(Id, String)> = query.fetch_optional().await?;
        if placed.is_none() {
            return Ok(None);
        }
    } else {
        let [add_order, others @ ..] = &*PLACE_ONE;
        let query = transaction.query(add_order.as_str()).bind_all(&rows);
        if query.execute().await? == 0 {
            return Ok(None);
        }
        for add in others {
            let query = transaction.query(add.as_str()).bind_all(&rows);
            query.execute().await?;
        }
        add_messages(transaction, &rows[0]).await?;
    }
    Ok(Some(if take_place(transaction, new).await? {
        Placement::Placed
    } else {
        Placement::SlotFull
    }))
}

/// Counts an order in its pickup slot. Returns false if the slot is full. An order without a slot
/// needs no place.
async fn take_place(transaction: &mut Transaction<'_>, new: &NewOrder) -> Result<bool, StoreError> {
    const TAKE: &str = "INSERT INTO pickup_slots AS slot (tenant_id, location_id, starts_at, taken)
        SELECT $1, $2, $3, 1 WHERE $4 > 0
        ON CONFLICT (tenant_id, location_id, starts_at) DO UPDATE SET taken = slot.taken + 1 WHERE slot.taken < $4";
    let Some(slot) = new.slot else {
        return Ok(true);
    };
    let query = transaction
        .query(TAKE)
        .bind(new.order.tenant_id.as_str())
        .bind(new.order.location_id.as_str())
        .bind(At(slot.starts_at))
        .bind(i64::from(slot.capacity));
    Ok(query.execute().await? == 1)
}

/// Returns the values of $1, $2 and $3.
fn rows(orders: &[NewOrder]) -> [Records; 3] {
    let owed = orders.iter().flat_map(|new| {
        let at = new.order.created_at;
        new.outbox.iter().map(move |message| (message, at))
    });
    [
        messages(owed),
        orders.iter().map(order_json).collect(),
        orders.iter().flat_map(items_json).collect(),
    ]
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
        "pickup_at": order.pickup_at.map(text_of), "slot_at": new.slot.map(|slot| text_of(slot.starts_at)),
        "tax_basis_points": order.totals.rate.basis_points(),
        "tax_rate_millionths": order.totals.rate.millionths(),
        "subtotal_minor": order.totals.subtotal.minor, "tax_minor": order.totals.tax.minor,
        "total_minor": order.totals.total.minor, "currency": order.totals.total.currency.code(),
        "state": order.state.code(), "status": order.status.code(), "step": order.state.step().code(),
        "version": order.version, "session_hash": new.session_hash, "tracking_token": new.tracking_token,
        "idempotency_key_hash": new.key_hash, "request_hash": new.request_hash,
        "next_action_at": text_of(new.next_action_at), "created_at": text_of(order.created_at),
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
