//! News that never happened, to show how each notice reads.

use app::ports::orders::StoredOrder;
use app::use_cases::Shop;
use app::use_cases::for_customers::Charged;
use app::use_cases::notify::News;
use domain::cart::Quantity;
use domain::channel::Preferences;
use domain::customer::Customer;
use domain::ids::{OrderId, ProductId};
use domain::money::Money;
use domain::order::{Item, Order, OrderType, Status, Totals};
use domain::saga::State;
use time::macros::datetime;
use uuid::Uuid;

/// Every kind of notice.
pub const KINDS: [&str; 9] = [
    "order_confirmed",
    "order_ready",
    "order_shipped",
    "order_waiting",
    "order_overdue",
    "order_cancelled",
    "order_failed",
    "stock_low",
    "stock_out",
];

/// An order as it may be when its customer is told of it, or a product of which staff are told.
#[derive(Debug, Clone)]
pub struct Sample {
    kind: &'static str,
    pub(super) stored: StoredOrder,
}

impl Sample {
    /// `None` when there is no such kind of notice.
    pub fn of(kind: &str) -> Option<Sample> {
        let kind = KINDS.into_iter().find(|known| *known == kind)?;
        let mut stored = order();
        stored.order.reason = match kind {
            "order_cancelled" => Some("cancelled by the customer".to_owned()),
            "order_failed" => Some("payment declined: insufficient_funds".to_owned()),
            _ => None,
        };
        stored.order.status = match kind {
            "order_cancelled" => Status::Cancelled,
            "order_failed" => Status::Failed,
            "order_ready" | "order_waiting" => Status::Ready,
            "order_shipped" => Status::Completed,
            _ => Status::Confirmed,
        };
        Some(Sample { kind, stored })
    }

    pub fn news(&self) -> News<'_> {
        let total = self.stored.order.totals.total;
        let charged = if self.kind == "order_cancelled" { Charged::Refunded(total) } else { Charged::Nothing };
        let of_order = |status| News::Order { stored: &self.stored, status, charged };
        let of_stock = |level, available| News::Stock { name: "Almond tart", level, available, low_stock_threshold: 5 };
        match self.kind {
            "order_confirmed" => of_order(Status::Confirmed),
            "order_ready" => of_order(Status::Ready),
            "order_shipped" => News::Shipped { stored: &self.stored, tracking_number: "BH8000000000000047" },
            "order_waiting" => News::Waiting { stored: &self.stored },
            "order_overdue" => News::Overdue { stored: &self.stored },
            "order_cancelled" => of_order(Status::Cancelled),
            "order_failed" => of_order(Status::Failed),
            "stock_low" => of_stock("low", 4),
            _ => of_stock("out", 0),
        }
    }
}

fn order() -> StoredOrder {
    let shop = Shop::default_shop();
    let item = |product_id: &str, name: &str, quantity, minor| {
        Some(Item {
            product_id: ProductId::parse(product_id).ok()?,
            name: name.to_owned(),
            quantity: Quantity::new(quantity)?,
            unit_price: Money::new(minor, shop.currency),
        })
    };
    let items = [item("flat-white", "Flat white", 2, 420), item("almond-tart", "Almond tart", 1, 390)];
    let items: Vec<Item> = items.into_iter().flatten().collect();
    let nothing = Money::zero(shop.currency);
    let totals = Totals::of(&items, shop.tax);
    let placed_at = datetime!(2026-03-01 08:30 UTC);
    StoredOrder {
        order: Order {
            order_id: OrderId(Uuid::from_u128(0x0195_4f0c_6b00_7000_8000_0000_0000_0047)),
            tenant_id: shop.tenant_id,
            location_id: shop.location_id,
            order_number: "A-047".to_owned(),
            order_type: OrderType::Pickup,
            customer: Customer {
                name: "Ana".to_owned(),
                phone: "+15550100123".to_owned(),
                phone_extension: None,
                email: "ana@example.com".to_owned(),
                notify: Preferences { email: true, sms: true },
            },
            special_instructions: "Oat milk, please".to_owned(),
            delivery_address: None,
            // Half an hour after it was placed, in New York.
            pickup_at: Some(placed_at + time::Duration::minutes(30)),
            items,
            totals: totals.unwrap_or(Totals { subtotal: nothing, rate: shop.tax, tax: nothing, total: nothing }),
            state: State::Confirmed,
            status: Status::Confirmed,
            version: 2,
            reason: None,
            created_at: placed_at,
            updated_at: placed_at,
        },
        // As long as a real one.
        tracking_token: "sample-token-opens-not".to_owned(),
        session_hash: None,
    }
}
