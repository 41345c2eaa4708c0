//! The words of each text message. What customers and staff wrote is in none: it may have letters that phones have not.

use domain::gsm;
use domain::order::{Order, OrderType, Status};

/// One message's worth. The order's number stands at the beginning; the link is left out where it does not fit.
pub fn body(order: &Order, status: Status, link: &str) -> String {
    let number = &order.order_number;
    let said = match status {
        Status::Confirmed => format!("Brew Haven: order {number} is confirmed."),
        Status::Ready => match order.order_type {
            OrderType::Pickup | OrderType::DineIn => format!("Brew Haven: order {number} is ready at the counter."),
            OrderType::Delivery => format!("Brew Haven: order {number} is ready and about to be brought to you."),
        },
        Status::Cancelled => {
            format!("Brew Haven: order {number} was cancelled. What was charged has been refunded.")
        }
        Status::Failed => format!("Brew Haven: order {number} could not be made, sorry. Nothing stays charged."),
        Status::Pending | Status::Preparing | Status::Completed => format!("Brew Haven: about order {number}."),
    };
    let whole = format!("{said} {link}");
    if gsm::fits(&whole) { whole } else { said }
}
