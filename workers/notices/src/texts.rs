//! The text messages. They contain no input of customers or staff, because phones may not show its
//! characters. Each one has the order number.

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
            OrderType::Pickup => format!("Brew Haven: order {number} is ready for pickup."),
            OrderType::DineIn => format!("Brew Haven: order {number} is ready at the counter."),
            OrderType::Delivery => {
                format!("Brew Haven: order {number} is ready. The rider will bring it to you soon.")
            }
        },
        Status::Cancelled => {
            format!(
                "Brew Haven: order {number} was cancelled. {}",
                charged.sentence()
            )
        }
        Status::Failed => format!(
            "Brew Haven: sorry, we could not make order {number}. {}",
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
        "Brew Haven: order {} is on its way. Tracking number: {tracking_number}",
        order.order_number
    )
}

/// Returns the text for an order that waits for pickup.
pub fn waiting(order: &Order) -> String {
    format!(
        "Brew Haven: order {} is waiting for you at the counter. We will keep it for a while.",
        order.order_number
    )
}

/// Appends the link if the result fits into one text message.
pub fn with_link(message: String, link: &str) -> String {
    let whole = format!("{message} {link}");
    if gsm::fits(&whole) { whole } else { message }
}
