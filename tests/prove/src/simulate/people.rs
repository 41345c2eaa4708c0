//! Customers who order, repeat requests and cancel, and staff who prepare and cancel orders and
//! adjust stock.

use std::sync::Arc;

use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::scope::Scope;
use app::ports::stock::{Adjustment, AdjustmentKind, Stock as _};
use app::use_cases::Maker;
use app::use_cases::change_order::{
    CUSTOMER, ChangeRefusal, Move, cancel_by_customer, move_by_staff,
};
use app::use_cases::place_order::{PlaceOrderDeps, Refusal, place_order};
use contract::role;
use domain::ids::OrderId;
use domain::order::Status;

use super::customer::{Customer, HOT, product_id};
use super::engine::SimSource;
use super::hits::Hit;
use super::orders::SimOrders;
use super::shop::SimulatedShop;
use super::stock::SimStock;
use super::task::Who;
use super::trace::fnv;

/// Maximum number of attempts before a customer gives up.
const TRIES_MAX: u32 = 8;

/// Runs one tab of a customer. After a crash, the customer repeats the request.
pub async fn order(shop: Arc<SimulatedShop>, customer: Arc<Customer>, tab: usize, who: Who) {
    let engine = &*shop.engine;
    let desk = Desk::open(&shop, who);
    engine
        .sleep(customer.start_ms.saturating_sub(engine.now_ms()))
        .await;
    let mut placed = None;
    while placed.is_none() {
        {
            let mut book = customer.book();
            book.unknown |= book.open[tab];
            if book.tries[tab] >= TRIES_MAX {
                book.done[tab] = true;
                return;
            }
            book.tries[tab] += 1;
            book.open[tab] = true;
        }
        placed = match desk.place(&customer).await {
            Ok(order_id) => Some(order_id),
            Err(Refusal::Unavailable(_) | Refusal::Uncertain(_) | Refusal::ShopFull { .. }) => {
                customer.book().unknown = true;
                engine
                    .sleep(engine.dice(|dice| dice.between(300, 4_000)))
                    .await;
                engine.hit(Hit::RepeatedKey);
                None
            }
            Err(Refusal::SoldOut(_)) => {
                engine.hit(Hit::SoldOut);
                let mut book = customer.book();
                (book.refused, book.open[tab], book.done[tab]) = (true, false, true);
                return;
            }
            Err(
                wrong @ (Refusal::KeyReused
                | Refusal::SlotFull(_)
                | Refusal::Fields(_)
                | Refusal::Key(_)
                | Refusal::Pickup(_)
                | Refusal::NotOnMenu(_)
                | Refusal::Changed(_)),
            ) => {
                engine.violate("I6", format!("a good request was refused: {wrong:?}"), None);
                customer.book().done[tab] = true;
                return;
            }
        };
        customer.book().open[tab] = false;
    }
    if customer.repeats && engine.storms() {
        engine.hit(Hit::RepeatedKey);
        // Any result is fine here; `invariants` compares the orders of one key.
        let _ = desk.place(&customer).await;
    }
    if let (Some(order_id), Some(after)) = (placed, customer.cancels_after_ms) {
        engine.sleep(after).await;
        for _ in 0..3 {
            match cancel_by_customer(
                &desk.orders,
                &desk.source,
                &desk.maker,
                &Scope::of(&desk.shop.settings),
                order_id,
                CUSTOMER,
            )
            .await
            {
                Ok(_) => engine.hit(Hit::CustomerCancel),
                Err(ChangeRefusal::Unavailable(_)) => continue,
                Err(_) => {}
            }
            break;
        }
    }
    customer.book().done[tab] = true;
}

/// The storefront's part of a person's requests.
struct Desk<'a> {
    shop: &'a SimulatedShop,
    orders: SimOrders,
    stock: SimStock,
    source: SimSource,
    maker: Maker,
}

impl Desk<'_> {
    fn open(shop: &SimulatedShop, who: Who) -> Desk<'_> {
        let engine = &shop.engine;
        Desk {
            orders: SimOrders::connect(engine, &shop.database, who),
            stock: SimStock {
                engine: Arc::clone(engine),
                table: Arc::clone(&shop.table),
                who,
            },
            source: SimSource {
                engine: Arc::clone(engine),
                who,
            },
            maker: Maker {
                role: role::STOREFRONT.slug,
                version: "simulated",
                traceparent: None,
            },
            shop,
        }
    }

    async fn place(&self, customer: &Customer) -> Result<OrderId, Refusal> {
        let means = PlaceOrderDeps {
            source: &self.source,
            maker: &self.maker,
            digest: |bytes| format!("{:016x}", fnv(None, bytes)),
            tracking_token: self.shop.engine.uuid().to_string(),
            pending_max: 1_000,
        };
        let settings = &self.shop.settings;
        let accepted = place_order(
            &self.orders,
            &self.stock,
            settings,
            means,
            customer.request(),
        )
        .await?;
        let order_id = accepted.order.order_id;
        customer.book().ok.push(order_id);
        Ok(order_id)
    }
}

/// Runs a member of staff until the faults end.
pub async fn serve(shop: Arc<SimulatedShop>, who: Who) {
    let engine = &*shop.engine;
    let desk = Desk::open(&shop, who);
    while engine.storms() {
        engine
            .sleep(engine.dice(|dice| dice.between(500, 5_000)))
            .await;
        if engine.dice(|dice| dice.permille(80)) {
            restock(&desk).await;
        }
        let filter = OrderFilter {
            limit: 50,
            ..OrderFilter::default()
        };
        let Ok(orders) = desk.orders.list(&Scope::of(&shop.settings), &filter).await else {
            continue;
        };
        if orders.is_empty() {
            continue;
        }
        let order = &orders[engine.dice(|dice| dice.below(orders.len() as u64)) as usize];
        let calls_off = engine.dice(|dice| dice.permille(150));
        let to = match order.status {
            Status::Confirmed | Status::Preparing if calls_off => Status::Cancelled,
            Status::Confirmed => Status::Preparing,
            Status::Preparing => Status::Ready,
            Status::Ready => Status::Completed,
            Status::Pending | Status::Completed | Status::Cancelled | Status::Failed => continue,
        };
        // Sometimes staff use a page that is out of date.
        let age = i64::from(engine.dice(|dice| dice.permille(100)));
        let asked = Move {
            scope: Scope::of(&shop.settings),
            order_id: order.order_id,
            expected_version: order.version - age,
            to,
            actor: "barista".to_owned(),
            note: None,
        };
        match move_by_staff(&desk.orders, &desk.source, &desk.maker, asked).await {
            Ok(_) if to == Status::Cancelled => engine.hit(Hit::StaffCancel),
            Err(ChangeRefusal::Stale { .. }) => engine.hit(Hit::StaleEdit),
            Ok(_) | Err(_) => {}
        }
    }
}

async fn restock(desk: &Desk<'_>) {
    let engine = &desk.shop.engine;
    let change = if engine.dice(|dice| dice.permille(700)) {
        AdjustmentKind::Restock(engine.dice(|dice| dice.between(1, 4)) as u32)
    } else {
        AdjustmentKind::Correct(-1)
    };
    let adjustment = Adjustment {
        movement_id: engine.uuid().to_string(),
        product_id: product_id(HOT),
        change,
        actor: "barista".to_owned(),
        reason: "counted".to_owned(),
        at: engine.now(),
    };
    if desk.stock.adjust(&adjustment).await.is_ok() {
        engine.hit(Hit::Restock);
    }
}
