//! The text of a request for the request hash.

use domain::Timestamp;
use domain::address::DeliveryAddress;
use domain::channel::Preferences;

use super::{Checked, Request};

/// Returns the request as an unambiguous text, so that the request hash does not depend on the
/// spelling of the JSON. Free text comes last, each with its length.
pub(super) fn canonical(request: &Request, checked: &Checked) -> String {
    let mut text = format!(
        "v1\n{}\n{}\n",
        checked.order_type.code(),
        request.payment_token
    );
    // The prefix is unambiguous, because no product id starts with `@`.
    if let Some(location_id) = &request.location_id {
        text.push_str(&format!("@{location_id}\n"));
    }
    if request.from_cart {
        text.push_str("cart\n");
    } else {
        for line in &request.lines {
            text.push_str(&format!("{} {}\n", line.product_id, line.quantity.get()));
        }
    }
    text.push_str(&format!(
        "{:?}\n",
        request.pickup_at.map(Timestamp::unix_timestamp)
    ));
    let notify = checked.customer.notify;
    // The default is left out. A request from before customers could choose channels then keeps its
    // hash.
    if notify != Preferences::default() {
        text.push_str(&format!("notify {} {}\n", notify.email, notify.sms));
    }
    if let Some(DeliveryAddress {
        line1,
        line2,
        city,
        postal_code,
        note,
    }) = &request.delivery_address
    {
        let (line2, note) = (
            line2.as_deref().unwrap_or_default(),
            note.as_deref().unwrap_or_default(),
        );
        text.push_str("to\n");
        for free in [line1.as_str(), line2, city, postal_code, note] {
            text.push_str(&format!("{}:{free}\n", free.len()));
        }
    }
    // The fields are used as they were typed. A request from before texts were normalized then
    // keeps its hash.
    let Request {
        customer_name,
        customer_phone,
        customer_email,
        special_instructions,
        ..
    } = request;
    for free in [
        customer_name,
        customer_phone,
        customer_email,
        special_instructions,
    ]
    .map(|free| free.trim())
    {
        text.push_str(&format!("{}:{free}\n", free.len()));
    }
    text
}
