//! Sample events, for previews of each notification.

use app::location::Location;
use app::ports::notices::NoticeKind;
use app::ports::orders::StoredOrder;
use app::use_cases::for_customers::Charged;
use app::use_cases::notify::{News, StockLevel};
use domain::cart::Quantity;
use domain::channel::Preferences;
use domain::customer::Customer;
use domain::ids::{OrderId, ProductId};
use domain::money::Money;
use domain::order::{Item, Order, OrderType, Status, Totals};
use domain::saga::State;
use time::macros::datetime;
use uuid::Uuid;

/// The order of a sample notification.
#[derive(Debug, Clone)]
pub struct Sample {
    kind: NoticeKind,
    pub(super) stored: StoredOrder,
}

impl Sample {
    /// Creates the sample of a kind of notification.
    pub fn of(kind: NoticeKind) -> Sample {
        let (status, reason) = match kind {
            NoticeKind::OrderCancelled => (Status::Cancelled, Some("cancelled by the customer")),
            NoticeKind::OrderFailed => {
                (Status::Failed, Some("payment declined: insufficient_funds"))
            }
            NoticeKind::OrderReady | NoticeKind::OrderWaiting => (Status::Ready, None),
            NoticeKind::OrderShipped => (Status::Completed, None),
            NoticeKind::OrderConfirmed
            | NoticeKind::OrderOverdue
            | NoticeKind::StockLow
            | NoticeKind::StockOut => (Status::Confirmed, None),
        };
        let mut stored = order();
        stored.order.status = status;
        stored.order.reason = reason.map(str::to_owned);
        Sample { kind, stored }
    }

    /// Returns the event of the sample.
    pub fn news(&self) -> News<'_> {
        let total = self.stored.order.totals.total;
        let of_order = |status, charged| News::Order {
            stored: &self.stored,
            status,
            charged,
        };
        let of_stock = |level, available| News::Stock {
            name: "Almond tart",
            level,
            available,
            low_stock_threshold: 5,
        };
        match self.kind {
            NoticeKind::OrderConfirmed => of_order(Status::Confirmed, Charged::Nothing),
            NoticeKind::OrderReady => of_order(Status::Ready, Charged::Nothing),
            NoticeKind::OrderShipped => News::Shipped {
                stored: &self.stored,
                tracking_number: "BH8000000000000047",
            },
            NoticeKind::OrderWaiting => News::Waiting {
                stored: &self.stored,
            },
            NoticeKind::OrderOverdue => News::Overdue {
                stored: &self.stored,
            },
            NoticeKind::OrderCancelled => of_order(Status::Cancelled, Charged::Refunded(total)),
            NoticeKind::OrderFailed => of_order(Status::Failed, Charged::Nothing),
            NoticeKind::StockLow => of_stock(StockLevel::Low, 4),
            NoticeKind::StockOut => of_stock(StockLevel::Out, 0),
        }
    }
}

fn order() -> StoredOrder {
    let shop = Location::initial();
    let item = |product_id: &str, name: &str, quantity, minor| {
        Some(Item {
            product_id: ProductId::parse(product_id).ok()?,
            name: name.to_owned(),
            quantity: Quantity::new(quantity)?,
            unit_price: Money::new(minor, shop.currency),
        })
    };
    let items = [
        item("flat-white", "Flat white", 2, 420),
        item("almond-tart", "Almond tart", 1, 390),
    ];
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
                notify: Preferences {
                    email: true,
                    sms: true,
                },
            },
            special_instructions: "Oat milk, please".to_owned(),
            delivery_address: None,
            // Half an hour after it was placed, in New York.
            pickup_at: Some(placed_at + time::Duration::minutes(30)),
            items,
            totals: totals.unwrap_or(Totals {
                subtotal: nothing,
                rate: shop.tax,
                tax: nothing,
                total: nothing,
            }),
            state: State::Confirmed,
            status: Status::Confirmed,
            version: 2,
            reason: None,
            created_at: placed_at,
            updated_at: placed_at,
        },
        // The length of a real token.
        tracking_token: "sample-token-opens-not".to_owned(),
        session_hash: None,
    }
}
