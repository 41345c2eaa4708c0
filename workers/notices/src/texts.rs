//! The text messages. They contain nothing that customers or staff wrote, because phones may lack
//! its letters. Each begins with the order number.

use app::use_cases::for_customers::Charged;
use domain::gsm;
use domain::order::{Order, OrderType, Status};

/// Returns the text for the new status of an order.
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

/// Returns the text for a shipped order.
pub fn shipped(order: &Order, tracking_number: &str) -> String {
    format!(
        "Brew Haven: order {} is on its way, tracking number {tracking_number}.",
        order.order_number
    )
}

/// Returns the text for an order that waits for pickup.
pub fn waiting(order: &Order) -> String {
    format!(
        "Brew Haven: order {} waits for you at the counter. We keep it for a while.",
        order.order_number
    )
}

/// Appends the link if the result fits into one text message.
pub fn with_link(said: String, link: &str) -> String {
    let whole = format!("{said} {link}");
    if gsm::fits(&whole) { whole } else { said }
}
