//! The page of an order.

use std::collections::HashMap;

use app::ports::orders::{OrderStore as _, StoredOrder};
use app::use_cases::change_order::ChangeRefusal;
use app::use_cases::for_customers::{charged, was_not_collected, why_ended};
use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::access::Action;
use domain::order::{HistoryEntry, Order, OrderType, Status, Step};

use super::clock::Clock;
use super::lookup::{follow, not_found, order_url};
use super::shell::{Shell, page};
use crate::desk::orders::{cancel_visible, visible};
use crate::ports::Ports;
use crate::problem::{Kind, Problem, wants_page};
use crate::state::App;
use crate::{session, tracking};

/// The page of an order.
#[derive(Template)]
#[template(path = "order.html")]
pub struct OrderPage {
    pub shell: Shell,
    pub order: OrderView,
}

/// The part of the order's page that its script refreshes.
#[derive(Template)]
#[template(path = "order_fragment.html")]
pub struct OrderFragment {
    pub order: OrderView,
}

/// An order as its page shows it.
pub struct OrderView {
    pub number: String,
    pub status_label: &'static str,
    pub steps: Vec<StepView>,
    /// Why the order ended early, with the state of the charge, or that it was not picked up.
    pub ended: Option<String>,
    pub lines: Vec<OrderLineView>,
    pub subtotal: String,
    pub tax: String,
    pub total: String,
    pub customer_name: String,
    pub placed_at: String,
    /// When and where the order is handed over.
    pub handover: String,
    pub can_cancel: bool,
    pub cancel_url: String,
    pub events_url: String,
    pub fragment_url: String,
    pub history: Vec<HistoryView>,
}

/// A step of the order.
pub struct StepView {
    pub label: &'static str,
    /// `done`, `current` or `todo`.
    pub state: &'static str,
}

/// A line of the order.
pub struct OrderLineView {
    pub quantity: u32,
    pub name: String,
    pub line_total: String,
}

/// A status change of the order.
pub struct HistoryView {
    pub at: String,
    pub text: &'static str,
}

/// Path of the pages about orders.
const ORDER_PAGES: &str = "/orders";

/// Shows an order. A browser that may not see it gets the page that asks for number and e-mail
/// address. That page is the same whether or not the order exists. Its script opens the order when
/// the link contains the token.
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = match visible(&app, Action::ReadOrder, &id, &query, &headers).await {
        Err(problem) if problem.kind == Kind::NotFound && wants_page(&headers, ORDER_PAGES) => {
            return not_found(&app, &headers, &HashMap::new(), None, problem.security).await;
        }
        visible => visible?,
    };
    let session = session::of_or_new(&headers, &app.settings);
    let notice = query
        .contains_key("late")
        .then(|| "It is too late to cancel this order.".to_owned());
    let shell = Shell {
        notice,
        ..Shell::with_cart(&app, &session).await
    };
    let order = order_view(&app, &stored).await?;
    let mut response = session.onto(page(&OrderPage { shell, order })?);
    if query
        .get("token")
        .is_some_and(|token| tracking::is_same(token, &stored.tracking_token))
    {
        // A link of an older release: the cookie lets the page work without a token in its URLs.
        follow(&app, &mut response, &stored, &headers);
    }
    Ok(response)
}

/// Shows the order's part of the page, for its script.
pub async fn fragment<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::ReadOrder, &id, &query, &headers).await?;
    page(&OrderFragment {
        order: order_view(&app, &stored).await?,
    })
}

/// Cancels an order from its page.
pub async fn cancel<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::CancelOrder, &id, &query, &headers).await?;
    let to = order_url(&stored.order.order_id.to_string(), "");
    let mut response = match cancel_visible(&app, &headers, &stored).await {
        Ok(_) => Redirect::to(&to).into_response(),
        // Staff started the order before the customer sent the form. The order's page shows the
        // current status.
        Err(ChangeRefusal::Illegal { .. }) => Redirect::to(&format!("{to}?late")).into_response(),
        Err(refusal) => return Err(refusal.into()),
    };
    if query.contains_key("token") {
        follow(&app, &mut response, &stored, &headers);
    }
    Ok(response)
}

/// Returns the order as its page shows it.
async fn order_view<P: Ports>(app: &App<P>, stored: &StoredOrder) -> Result<OrderView, Problem> {
    let history = app
        .orders()
        .history(&app.customer_scope(), stored.order.order_id, 0)
        .await?;
    let order = &stored.order;
    let ended = match order.status {
        Status::Cancelled | Status::Failed => {
            let charged = charged(app.orders(), &app.customer_scope(), order.order_id).await?;
            Some(format!("{} {}", why_ended(order), charged.sentence()))
        }
        Status::Pending
        | Status::Confirmed
        | Status::Preparing
        | Status::Ready
        | Status::Completed => was_not_collected(order).then(|| {
            "This order was not picked up, so we closed it. Please ask us if that is a mistake."
                .to_owned()
        }),
    };
    Ok(view(stored, &history, ended, &Clock::of(app, order)))
}

fn view(
    stored: &StoredOrder,
    history: &[HistoryEntry],
    ended: Option<String>,
    clock: &Clock,
) -> OrderView {
    const WAY: [Status; 5] = [
        Status::Pending,
        Status::Confirmed,
        Status::Preparing,
        Status::Ready,
        Status::Completed,
    ];
    let order = &stored.order;
    let id = order.order_id.to_string();
    let reached = WAY
        .iter()
        .position(|status| *status == order.status)
        .unwrap_or_default();
    let steps = WAY.iter().enumerate().map(|(index, status)| StepView {
        label: step_label(*status, order.order_type),
        state: match index.cmp(&reached) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal if order.status == Status::Completed => "done",
            std::cmp::Ordering::Equal => "current",
            std::cmp::Ordering::Greater => "todo",
        },
    });
    OrderView {
        number: order.order_number.clone(),
        status_label: status_label(order),
        steps: steps.collect(),
        ended,
        lines: order
            .items
            .iter()
            .map(|item| OrderLineView {
                quantity: item.quantity.get(),
                name: item.name.clone(),
                line_total: item.total().to_string(),
            })
            .collect(),
        subtotal: order.totals.subtotal.to_string(),
        tax: order.totals.tax.to_string(),
        total: order.totals.total.to_string(),
        customer_name: order.customer.name.clone(),
        placed_at: clock.text(order.created_at),
        handover: handover(order, clock),
        can_cancel: matches!(order.status, Status::Pending | Status::Confirmed)
            && order.state.step() != Step::Compensating,
        cancel_url: order_url(&id, "/cancel"),
        events_url: format!("/api/v1{}", order_url(&id, "/events")),
        fragment_url: order_url(&id, "/fragment"),
        history: history
            .iter()
            // One entry per status. Internal steps, notes and names are for the timeline of staff.
            .filter(|entry| entry.from != Some(entry.to))
            .map(|entry| HistoryView {
                at: clock.text(entry.at),
                text: match entry.to {
                    Status::Cancelled => "Cancelled",
                    Status::Failed => "Could not be made",
                    Status::Completed if was_not_collected(order) => "Not picked up",
                    status => step_label(status, order.order_type),
                },
            })
            .collect(),
    }
}

/// Returns the name of a status as a step of the order.
fn step_label(status: Status, order_type: OrderType) -> &'static str {
    match (status, order_type) {
        (Status::Pending, _) => "Order received",
        (Status::Confirmed, _) => "Confirmed",
        (Status::Preparing, _) => "Preparing",
        (Status::Ready, OrderType::Delivery) => "Ready for the rider",
        (Status::Ready, OrderType::Pickup) => "Ready for pickup",
        (Status::Ready, OrderType::DineIn) => "Ready",
        (Status::Completed, OrderType::Delivery) => "On its way",
        (Status::Completed, OrderType::Pickup) => "Picked up",
        (Status::Completed, OrderType::DineIn) => "Served",
        (Status::Cancelled | Status::Failed, _) => "Ended",
    }
}

/// Returns when and where the order is handed over.
fn handover(order: &Order, clock: &Clock) -> String {
    let when = order.pickup_at.map(|at| clock.text(at));
    match (order.order_type, when) {
        (OrderType::Pickup, Some(when)) => format!("Pickup: {when}."),
        (OrderType::Pickup, None) => "Pickup: as soon as it is ready.".to_owned(),
        (OrderType::DineIn, Some(when)) => format!("Eat in: {when}."),
        (OrderType::DineIn, None) => "Eat in: as soon as it is ready.".to_owned(),
        (OrderType::Delivery, when) => {
            let to = order
                .delivery_address
                .as_ref()
                .map(|to| format!(" to {}", to.one_line()))
                .unwrap_or_default();
            let when = when.unwrap_or_else(|| "as soon as it is ready".to_owned());
            format!("Delivery{to}: {when}.")
        }
    }
}

fn status_label(order: &Order) -> &'static str {
    match (order.status, order.state.step()) {
        (Status::Cancelled, _) => "Your order was cancelled.",
        (Status::Failed, _) => "We could not make your order.",
        (_, Step::Compensating) => {
            "Your order is being cancelled. If your card was charged, your refund is on its way."
        }
        (Status::Pending, _) => "Order received. We are confirming it.",
        (Status::Confirmed, _) => "Order confirmed. We will start preparing it soon.",
        (Status::Preparing, _) => "We are preparing your order.",
        (Status::Ready, _) => match order.order_type {
            OrderType::Pickup => "Ready for pickup at the counter.",
            OrderType::DineIn => "Your order is ready at the counter.",
            OrderType::Delivery => "Ready. The rider will collect it soon.",
        },
        (Status::Completed, _) if was_not_collected(order) => "Your order was not picked up.",
        (Status::Completed, _) => match order.order_type {
            OrderType::Pickup | OrderType::DineIn => "Enjoy!",
            OrderType::Delivery => "Your order is on its way to you.",
        },
    }
}
