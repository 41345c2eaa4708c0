//! The texts of the notifications. The templates in `templates/` render each e-mail as text and as
//! HTML; the module `texts` has the text messages.

pub mod samples;
mod texts;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use app::location::Location;
use app::ports::notices::{Mail, Text};
use app::ports::orders::StoredOrder;
use app::use_cases::for_customers::{Charged, why_ended};
use app::use_cases::notify::{Compose, News, StockLevel};
use askama::Template;
use domain::defang::defang;
use domain::gsm;
use domain::hours::Zone;
use domain::ids::{LocationId, TenantId};
use domain::order::{Order, OrderType, Status};
use domain::text::printable;

/// Composes notifications, with the addresses and time zones that they contain.
#[derive(Debug, Clone)]
pub struct Words {
    /// URL of the shop, without a slash at the end.
    pub public_url: String,
    /// Mail address of the staff.
    pub staff_mail: String,
    /// Time zones of the locations.
    pub zones: Zones,
}

/// The time zones of the locations, as of the last reading. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Zones(Arc<RwLock<HashMap<(TenantId, LocationId), Zone>>>);

impl Zones {
    /// Creates the zones of these shops.
    pub fn of(shops: &[Location]) -> Zones {
        let zones = Zones::default();
        zones.set(shops);
        zones
    }

    /// Sets the zones of these shops. A location that is not among them keeps its zone, because its
    /// row may be unreadable for now.
    pub fn set(&self, shops: &[Location]) {
        let of = |shop: &Location| {
            (
                (shop.tenant_id.clone(), shop.location_id.clone()),
                shop.hours.zone.clone(),
            )
        };
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(shops.iter().map(of));
    }

    /// Returns the pickup time of an order in the time zone of its location.
    fn pickup_text(&self, order: &Order) -> Option<String> {
        let at = order.pickup_at?;
        let place = (order.tenant_id.clone(), order.location_id.clone());
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(match known.get(&place) {
            // The text always has the date, because a mail can be read on another day.
            Some(zone) => zone.date_and_clock_text(at),
            None => format!("{} UTC", Zone::utc().date_and_clock_text(at)),
        })
    }
}

struct LineView {
    quantity: u32,
    name: String,
    price: String,
}

#[derive(Template)]
#[template(path = "order.txt", escape = "none")]
struct OrderText<'a> {
    view: &'a OrderView,
}

#[derive(Template)]
#[template(path = "order.html")]
struct OrderHtml<'a> {
    view: &'a OrderView,
}

#[derive(Template)]
#[template(path = "stock.txt", escape = "none")]
struct StockText<'a> {
    view: &'a StockView,
}

#[derive(Template)]
#[template(path = "stock.html")]
struct StockHtml<'a> {
    view: &'a StockView,
}

struct OrderView {
    headline: String,
    body: String,
    /// The line with the pickup time.
    when: Option<String>,
    customer: String,
    number: String,
    lines: Vec<LineView>,
    tax: String,
    total: String,
    link: String,
    link_text: &'static str,
}

struct StockView {
    name: String,
    out: bool,
    available: i64,
    threshold: i64,
    link: String,
}

impl Compose for Words {
    fn mail(&self, news: &News<'_>, dedup_id: String) -> Mail {
        match news {
            News::Order {
                stored,
                status,
                charged,
            } => {
                let (headline, body) = of_status(&stored.order, *status, *charged);
                self.about(stored, headline, body, dedup_id)
            }
            News::Shipped {
                stored,
                tracking_number,
            } => {
                let body = format!("The tracking number is {tracking_number}.");
                self.about(stored, "Your order is on its way", body, dedup_id)
            }
            News::Waiting { stored } => {
                let body =
                    "Please pick it up at the counter. We will keep it for a while.".to_owned();
                self.about(stored, "Your order is waiting for you", body, dedup_id)
            }
            News::Overdue { stored } => {
                let order = &stored.order;
                let headline = format!("Order {} is waiting", order.order_number);
                let body = match order.status {
                    Status::Confirmed => "Nobody has started it yet.",
                    Status::Preparing => "It was started and is not ready yet.",
                    Status::Ready => "It is ready and was not picked up yet.",
                    // An order does not wait in these states.
                    Status::Pending | Status::Completed | Status::Cancelled | Status::Failed => {
                        "Please check this order."
                    }
                };
                let view = OrderView {
                    customer: "team".to_owned(),
                    link: format!("{}/staff", self.public_url),
                    link_text: "Open the staff board",
                    ..self.view(stored, headline.clone(), body.to_owned())
                };
                Mail {
                    to: self.staff_mail.clone(),
                    subject: headline,
                    text: rendered(&OrderText { view: &view }),
                    html: rendered(&OrderHtml { view: &view }),
                    dedup_id,
                }
            }
            News::Stock {
                name,
                level,
                available,
                low_stock_threshold,
            } => {
                // The message can be older than the cleaning of names on input.
                let name = printable(name);
                let view = StockView {
                    name: name.clone(),
                    out: *level == StockLevel::Out,
                    available: *available,
                    threshold: *low_stock_threshold,
                    link: format!("{}/staff/stock", self.public_url),
                };
                let subject = if view.out {
                    format!("Sold out: {name}")
                } else {
                    format!("Running low: {name} ({available} left)")
                };
                Mail {
                    to: self.staff_mail.clone(),
                    subject,
                    text: rendered(&StockText { view: &view }),
                    html: rendered(&StockHtml { view: &view }),
                    dedup_id,
                }
            }
        }
    }

    fn text(&self, news: &News<'_>, dedup_id: String) -> Option<Text> {
        let (stored, message) = match news {
            News::Order {
                stored,
                status,
                charged,
            } => {
                let when = self.zones.pickup_text(&stored.order);
                let message = |when| texts::of_status(&stored.order, *status, *charged, when);
                // If the text has no room for both, it has the link, because the page shows the
                // time too.
                let timed = message(when.as_deref());
                let fits = gsm::fits(&format!("{timed} {}", self.link(stored)));
                (stored, if fits { timed } else { message(None) })
            }
            News::Shipped {
                stored,
                tracking_number,
            } => (stored, texts::shipped(&stored.order, tracking_number)),
            News::Waiting { stored } => (stored, texts::waiting(&stored.order)),
            // Staff get mails only.
            News::Overdue { .. } | News::Stock { .. } => return None,
        };
        let to = stored.order.customer.text_number()?;
        Some(Text {
            to,
            body: texts::with_link(message, &self.link(stored)),
            dedup_id,
        })
    }
}

impl Words {
    /// Returns the URL of the order's page, with its tracking token.
    fn link(&self, stored: &StoredOrder) -> String {
        format!(
            "{}/orders/{}#t={}",
            self.public_url, stored.order.order_id, stored.tracking_token
        )
    }

    /// Returns the line with the pickup time, or `None` if the order has ended.
    fn when(&self, order: &Order) -> Option<String> {
        let label = match order.order_type {
            OrderType::Pickup => "Pickup",
            OrderType::DineIn => "Your table",
            OrderType::Delivery => "Delivery",
        };
        match order.status {
            Status::Pending | Status::Confirmed | Status::Preparing | Status::Ready => self
                .zones
                .pickup_text(order)
                .map(|when| format!("{label}: {when}")),
            Status::Completed | Status::Cancelled | Status::Failed => None,
        }
    }

    /// Returns a mail to the customer.
    fn about(&self, stored: &StoredOrder, headline: &str, body: String, dedup_id: String) -> Mail {
        let view = self.view(stored, headline.to_owned(), body);
        Mail {
            to: stored.order.customer.email.clone(),
            subject: format!("{} – order {}", view.headline, view.number),
            text: rendered(&OrderText { view: &view }),
            html: rendered(&OrderHtml { view: &view }),
            dedup_id,
        }
    }

    fn view(&self, stored: &StoredOrder, headline: String, body: String) -> OrderView {
        let order = &stored.order;
        OrderView {
            headline,
            body,
            when: self.when(order),
            // A name must not become a link in the mail.
            customer: defang(&order.customer.name),
            number: order.order_number.clone(),
            lines: order
                .items
                .iter()
                .map(|item| LineView {
                    quantity: item.quantity.get(),
                    name: item.name.clone(),
                    price: item.total().to_string(),
                })
                .collect(),
            tax: order.totals.tax.to_string(),
            total: order.totals.total.to_string(),
            link: self.link(stored),
            link_text: "Follow your order",
        }
    }
}

/// Returns headline and body for the new status of an order.
fn of_status(order: &Order, status: Status, charged: Charged) -> (&'static str, String) {
    let ended = || format!("{} {}", why_ended(order), charged.sentence());
    match status {
        Status::Confirmed => (
            "Your order is confirmed",
            "Thank you! Your payment went through. We will start preparing your order soon."
                .to_owned(),
        ),
        Status::Ready => {
            let body = match order.order_type {
                OrderType::Pickup | OrderType::DineIn => "Please pick it up at the counter.",
                OrderType::Delivery => "The rider will bring it to you soon.",
            };
            ("Your order is ready", body.to_owned())
        }
        Status::Cancelled => ("Your order was cancelled", ended()),
        Status::Failed => (
            "We could not make your order",
            format!("We are sorry. {}", ended()),
        ),
        Status::Pending | Status::Preparing | Status::Completed => {
            ("About your order", String::new())
        }
    }
}

/// Renders a template. Returns an empty text if a formatter fails, because a mail with only a
/// subject is better than no mail.
fn rendered(template: &impl Template) -> String {
    template.render().unwrap_or_default()
}
