//! The words of each text message. What customers and staff wrote is in none: it may have letters
//! that phones have not. The order's number stands at the beginning of each.

use app::use_cases::for_customers::Charged;
use domain::gsm;
use domain::order::{Order, OrderType, Status};

/// That an order came to a status.
pub fn of_status(order: &Order, status: Status, charged: Charged, when: Option<&str>) -> String {
    let number = &order.order_number;
    match status {
        Status::Confirmed => match when {
            Some(when) => format!("Brew Haven: order {number} is confirmed for {when}."),
            None => format!("Brew Haven: order {number} is confirmed."),
        },
        Status::Ready => match order.order_type {
            OrderType::Pickup | OrderType::DineIn => {
                format!("Brew Haven: order {number} is ready at the counter.")
            }
            OrderType::Delivery => {
                format!("Brew Haven: order {number} is ready and about to be brought to you.")
            }
        },
        Status::Cancelled => {
            format!(
                "Brew Haven: order {number} was cancelled. {}",
                charged.sentence()
            )
        }
        Status::Failed => format!(
            "Brew Haven: order {number} could not be made, sorry. {}",
            charged.sentence()
        ),
        Status::Pending | Status::Preparing | Status::Completed => {
            format!("Brew Haven: about order {number}.")
        }
    }
}

pub fn shipped(order: &Order, tracking_number: &str) -> String {
    format!(
        "Brew Haven: order {} is on its way, tracking number {tracking_number}.",
        order.order_number
    )
}

pub fn waiting(order: &Order) -> String {
    format!(
        "Brew Haven: order {} waits for you at the counter. We keep it for a while.",
        order.order_number
    )
}

/// One message's worth: the link is left out where it does not fit.
pub fn with_link(said: String, link: &str) -> String {
    let whole = format!("{said} {link}");
    if gsm::fits(&whole) { whole } else { said }
}
