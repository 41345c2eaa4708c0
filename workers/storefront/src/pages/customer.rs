//! Menu, cart, checkout, the order's page.

use std::collections::HashMap;

use app::ports::carts::CartStore as _;
use app::ports::orders::{OrderStore as _, StoredOrder};
use app::ports::stock::StockedProduct;
use app::use_cases::change_order::ChangeRefusal;
use app::use_cases::place_order::{Refusal, Request};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use domain::FieldError;
use domain::access::Action;
use domain::cart::{Line, Lines, Quantity};
use domain::channel::Preferences;
use domain::ids::ProductId;
use domain::menu::ProductType;
use domain::order::{HistoryEntry, OrderType, Status, Step};
use domain::stock::Availability;
use time::macros::format_description;

use super::lookup::{follow, not_found};
use super::page;
use super::slots::{times, wanted_time};
use super::views::{
    CartPage, CheckoutForm, CheckoutPage, ErrorView, HistoryView, LineView, MenuPage, MenuSection, OrderFragment,
    OrderLineView, OrderPage, OrderView, ProductCard, Shell, StepView,
};
use crate::api::orders::{accept, cancel_visible, visible};
use crate::problem::Problem;
use crate::rates::Client;
use crate::security::wants_page;
use crate::session::Session;
use crate::{App, Ports, api, random_token, session, tracking};

pub async fn menu<P: Ports>(State(app): State<App<P>>, headers: HeaderMap) -> Result<Response, Problem> {
    let products = app.menu.products(app.ports.stock()).await?;
    let section = |kind: ProductType| MenuSection {
        title: match kind {
            ProductType::Coffee => "Coffee",
            ProductType::Tea => "Tea",
            ProductType::Pastry => "Pastry",
            ProductType::Sandwich => "Sandwiches",
        },
        products: products.iter().filter(|product| product.product.kind == kind).map(card).collect(),
    };
    let sections = ProductType::ALL.map(section).into_iter().filter(|section| !section.products.is_empty()).collect();
    let session = session::of_or_new(&headers, &app.settings);
    let page = page(&MenuPage { shell: shell(&app, &session).await, sections })?;
    Ok(session.onto(page))
}

fn card(stocked: &StockedProduct) -> ProductCard {
    let product = &stocked.product;
    ProductCard {
        product_id: product.product_id.to_string(),
        name: product.name.clone(),
        description: product.description.clone(),
        price: product.price.to_string(),
        image_url: product.image_url.clone(),
        availability: stocked.availability().code(),
        badge: badge(stocked),
        out: stocked.availability() == Availability::Out,
    }
}

pub fn badge(stocked: &StockedProduct) -> String {
    match stocked.availability() {
        Availability::InStock => "In stock".to_owned(),
        Availability::Low => format!("Only {} left", stocked.counters.available),
        Availability::Out => "Sold out".to_owned(),
    }
}

/// The count in the header is a convenience: without the carts it is zero, and the page stands.
pub async fn shell<P: Ports>(app: &App<P>, session: &Session) -> Shell {
    let lines = app.ports.carts().get(&session.hash).await.unwrap_or_default();
    Shell { cart_count: Some(lines.units()), notice: None }
}

pub async fn cart<P: Ports>(State(app): State<App<P>>, headers: HeaderMap) -> Result<Response, Problem> {
    let session = session::of_or_new(&headers, &app.settings);
    let lines = app.ports.carts().get(&session.hash).await?;
    let (views, [subtotal, tax, total]) = priced(&app, &lines).await?;
    let blocked = views.iter().any(|line| line.conflict.is_some());
    let shell = Shell { cart_count: Some(lines.units()), notice: None };
    Ok(session.onto(page(&CartPage { shell, lines: views, subtotal, tax, total, blocked })?))
}

async fn priced<P: Ports>(app: &App<P>, lines: &Lines) -> Result<(Vec<LineView>, [String; 3]), Problem> {
    let products = app.menu.products(app.ports.stock()).await?;
    let priced = api::cart_price(app, &products, lines)?;
    let totals = [priced.subtotal, priced.tax, priced.total].map(|money| money.to_string());
    let views = priced.lines.into_iter().map(|line| LineView {
        product_id: line.line.product_id.to_string(),
        name: line.name,
        image_url: line.image_url,
        quantity: line.line.quantity.get(),
        unit_price: line.unit_price.to_string(),
        line_total: line.line_total.to_string(),
        conflict: line.conflict.map(|conflict| sentence(conflict.strip_prefix("is ").unwrap_or(&conflict))),
    });
    Ok((views.collect(), totals))
}

pub async fn add<P: Ports>(
    State(app): State<App<P>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let line = Line { product_id: product_id(form.get("product_id"))?, quantity: quantity(&form)? };
    api::cart_check_add(&app, &line).await?;
    let session = session::of_or_new(&headers, &app.settings);
    let lines = api::cart_add_line(&app, client, &session, &line).await?;
    // A script wants the new count, a browser the page it came from.
    let mut response = if headers.contains_key("x-requested-with") {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Redirect::to("/cart").into_response()
    };
    response.headers_mut().insert("x-cart-count", HeaderValue::from(lines.units()));
    Ok(session.onto(response))
}

pub async fn set<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let (id, quantity) = (product_id(Some(&id))?, quantity(&form)?);
    if let Some(session) = session::of(&headers, &app.settings) {
        app.ports.carts().set(&session.hash, &id, quantity).await?;
    }
    Ok(Redirect::to("/cart").into_response())
}

pub async fn remove<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(session) = session::of(&headers, &app.settings) {
        app.ports.carts().remove(&session.hash, &product_id(Some(&id))?).await?;
    }
    Ok(Redirect::to("/cart").into_response())
}

pub async fn clear<P: Ports>(State(app): State<App<P>>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(session) = session::of(&headers, &app.settings) {
        app.ports.carts().clear(&session.hash).await?;
    }
    Ok(Redirect::to("/cart").into_response())
}

fn product_id(text: Option<&String>) -> Result<ProductId, Problem> {
    let text = text.map(String::as_str).unwrap_or_default();
    ProductId::parse(text).map_err(|error| Problem::fields(vec![error]))
}

fn quantity(form: &HashMap<String, String>) -> Result<Quantity, Problem> {
    let quantity = form.get("quantity").and_then(|text| text.trim().parse().ok()).and_then(Quantity::new);
    quantity.ok_or_else(|| Problem::field("quantity", "must be a whole number from 1 to 99"))
}

pub async fn checkout<P: Ports>(State(app): State<App<P>>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(session) = session::of(&headers, &app.settings) else { return Ok(Redirect::to("/cart").into_response()) };
    let form = CheckoutForm {
        order_type: "pickup".to_owned(),
        payment_token: "tok_ok".to_owned(),
        // One key a rendered form: sent twice, it places one order.
        idempotency_key: random_token(),
        ..CheckoutForm::default()
    };
    checkout_page(&app, &session, form, Vec::new()).await
}

async fn checkout_page<P: Ports>(
    app: &App<P>,
    session: &Session,
    form: CheckoutForm,
    errors: Vec<ErrorView>,
) -> Result<Response, Problem> {
    let lines = app.ports.carts().get(&session.hash).await?;
    if lines.is_empty() && errors.is_empty() {
        return Ok(Redirect::to("/cart").into_response());
    }
    let (views, [subtotal, tax, total]) = priced(app, &lines).await?;
    let shell = Shell { cart_count: Some(lines.units()), notice: None };
    let times = times(app).await?;
    page(&CheckoutPage { shell, form, errors, times, lines: views, subtotal, tax, total })
}

pub async fn place<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    Form(form): Form<CheckoutForm>,
) -> Result<Response, Problem> {
    let Some(session) = session::of(&headers, &app.settings) else { return Ok(Redirect::to("/cart").into_response()) };
    let lines = app.ports.carts().get(&session.hash).await?;
    let Ok(pickup_at) = wanted_time(&form.pickup_at) else {
        let error = ErrorView::of(&FieldError::new("pickup_at", "must be one of the list"));
        let page = checkout_page(&app, &session, form, vec![error]).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    };
    let Some(notify) = wishes(&form.notify) else {
        let error = FieldError::new("notify", "must be email, sms or none");
        let page = checkout_page(&app, &session, form, vec![ErrorView::of(&error)]).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    };
    // The order belongs to the session that begins with it.
    let after = session.after_checkout(&form.idempotency_key, &app.settings);
    let request = Request {
        customer_name: form.name.clone(),
        customer_phone: form.phone.clone(),
        customer_email: form.email.clone(),
        notify,
        order_type: form.order_type.clone(),
        location_id: None,
        pickup_at,
        special_instructions: form.special_instructions.clone(),
        payment_token: form.payment_token.clone(),
        lines,
        from_cart: true,
        idempotency_key: form.idempotency_key.clone(),
        session_hash: Some(after.hash.clone()),
        traceparent: chassis::trace::current(),
    };
    match accept(&app, request).await {
        Ok(accepted) => {
            // A second click must not empty what was put in since.
            if !accepted.replayed {
                let _ = app.ports.carts().clear(&session.hash).await;
            }
            carry_cart(&app, &session, &after).await;
            Ok(after.onto(Redirect::to(&order_url(&accepted.order.order_id.to_string(), "")).into_response()))
        }
        Err(Refusal::Fields(errors)) if errors.iter().all(|error| error.field == "items") => {
            Ok(Redirect::to("/cart").into_response())
        }
        // Sent again with another name, say: the order stands as it was placed.
        Err(Refusal::KeyReused) => {
            match app.ports.orders().key_use(&crate::digest(form.idempotency_key.as_bytes())).await? {
                Some(used) if used.session_hash.as_deref().is_some_and(|owner| after.owns(owner)) => {
                    let to = order_url(&used.order_id.to_string(), "");
                    // The answer that would have begun the order's session may be lost.
                    let session = if used.session_hash.as_deref() == Some(&after.hash) { after } else { session };
                    Ok(session.onto(Redirect::to(&to).into_response()))
                }
                _ => Err(Refusal::KeyReused.into()),
            }
        }
        Err(Refusal::Fields(errors)) => {
            let page = checkout_page(&app, &session, form, errors.iter().map(ErrorView::of).collect()).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(refusal @ Refusal::SlotFull(_)) => {
            let problem = Problem::from(refusal);
            let errors = problem.errors.iter().map(ErrorView::of).collect();
            let form = CheckoutForm { pickup_at: String::new(), ..form };
            Ok((problem.status, checkout_page(&app, &session, form, errors).await?).into_response())
        }
        Err(Refusal::SoldOut(_)) => Ok(Redirect::to("/cart").into_response()),
        Err(refusal) => match Problem::from(refusal) {
            // It may go well in a moment: the customer does not write it all again.
            problem if problem.retry_after_s.is_some() => {
                let error = ErrorView { field: String::new(), message: problem.detail };
                let page = checkout_page(&app, &session, form, vec![error]).await?;
                Ok((problem.status, page).into_response())
            }
            problem => Err(problem),
        },
    }
}

/// What the form's choice means. A form from before there was one says nothing.
fn wishes(choice: &str) -> Option<Preferences> {
    match choice {
        "" | "email" => Some(Preferences::default()),
        "sms" => Some(Preferences { email: true, sms: true }),
        "none" => Some(Preferences { email: false, sms: false }),
        _ => None,
    }
}

/// What was put into the cart meanwhile, in another tab, follows the browser to its new session.
pub async fn carry_cart<P: Ports>(app: &App<P>, from: &Session, to: &Session) {
    let carts = app.ports.carts();
    let Ok(lines) = carts.get(&from.hash).await else { return };
    for line in &lines {
        if carts.add(&to.hash, line).await.is_err() {
            // A cart is a convenience: what cannot be carried now stays where it is until it is forgotten.
            return;
        }
    }
    if !lines.is_empty() {
        let _ = carts.clear(&from.hash).await;
    }
}

/// Where the pages about orders are.
const ORDER_PAGES: &str = "/orders";

/// The order's page. A browser that may not see the order gets the page that asks for number and e-mail address, the same for
/// every order and for none; its script opens the order where the link carries the token.
pub async fn order<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = match visible(&app, Action::ReadOrder, &id, &query, &headers).await {
        Err(problem) if problem.status == StatusCode::NOT_FOUND && wants_page(&headers, ORDER_PAGES) => {
            return not_found(&app, &headers, &HashMap::new(), None, problem.security).await;
        }
        visible => visible?,
    };
    let history = app.ports.orders().history(&app.customer_scope(), stored.order.order_id, 0).await?;
    let session = session::of_or_new(&headers, &app.settings);
    let notice = query.contains_key("late").then(|| "It is too late to cancel.".to_owned());
    let shell = Shell { notice, ..shell(&app, &session).await };
    let mut response = session.onto(page(&OrderPage { shell, order: view(&stored, &history) })?);
    if query.get("token").is_some_and(|token| tracking::is_same(token, &stored.tracking_token)) {
        // An older link: what the page does next needs no token in an address.
        follow(&app, &mut response, &stored, &headers);
    }
    Ok(response)
}

pub async fn order_fragment<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = visible(&app, Action::ReadOrder, &id, &query, &headers).await?;
    let history = app.ports.orders().history(&app.customer_scope(), stored.order.order_id, 0).await?;
    page(&OrderFragment { order: view(&stored, &history) })
}

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
        // The bar was faster than the page: the order's page says how far it is.
        Err(ChangeRefusal::Illegal { .. }) => Redirect::to(&format!("{to}?late")).into_response(),
        Err(refusal) => return Err(refusal.into()),
    };
    if query.contains_key("token") {
        follow(&app, &mut response, &stored, &headers);
    }
    Ok(response)
}

pub fn order_url(id: &str, below: &str) -> String {
    format!("/orders/{id}{below}")
}

fn view(stored: &StoredOrder, history: &[HistoryEntry]) -> OrderView {
    const WAY: [(Status, &str); 5] = [
        (Status::Pending, "Received"),
        (Status::Confirmed, "Confirmed"),
        (Status::Preparing, "Being made"),
        (Status::Ready, "Ready"),
        (Status::Completed, "Handed over"),
    ];
    let order = &stored.order;
    let id = order.order_id.to_string();
    let reached = WAY.iter().position(|(status, _)| *status == order.status).unwrap_or_default();
    let steps = WAY.iter().enumerate().map(|(index, (_, label))| StepView {
        label,
        state: match index.cmp(&reached) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal if order.status == Status::Completed => "done",
            std::cmp::Ordering::Equal => "current",
            std::cmp::Ordering::Greater => "todo",
        },
    });
    let ended = matches!(order.status, Status::Cancelled | Status::Failed)
        .then(|| why(order.reason.as_deref().unwrap_or("it has ended")));
    OrderView {
        number: order.order_number.clone(),
        status_label: status_label(order.status, order.state.step(), order.order_type),
        steps: steps.collect(),
        ended,
        lines: order
            .items
            .iter()
            .map(|item| OrderLineView {
                quantity: item.quantity.get(),
                name: item.name.clone(),
                line_total: item.unit_price.times(item.quantity.get()).unwrap_or(item.unit_price).to_string(),
            })
            .collect(),
        subtotal: order.totals.subtotal.to_string(),
        tax: order.totals.tax.to_string(),
        total: order.totals.total.to_string(),
        customer_name: order.customer.name.clone(),
        placed_at: clock(order.created_at),
        can_cancel: matches!(order.status, Status::Pending | Status::Confirmed)
            && order.state.step() != Step::Compensating,
        cancel_url: order_url(&id, "/cancel"),
        events_url: format!("/api/v1{}", order_url(&id, "/events")),
        fragment_url: order_url(&id, "/fragment"),
        history: history
            .iter()
            .map(|entry| HistoryView {
                at: clock(entry.at),
                text: format!(
                    "{} · {}{}",
                    entry.to.code(),
                    entry.step.code().replace('_', " "),
                    entry.note.as_ref().map(|note| format!(" – {note}")).unwrap_or_default()
                ),
                actor: entry.actor.clone(),
            })
            .collect(),
    }
}

/// Why it ended, as a sentence to the customer. The journey below keeps the words of the system.
fn why(reason: &str) -> String {
    let why = match reason {
        "cancelled by the customer" => "You cancelled it.".to_owned(),
        _ if reason.starts_with("payment declined") => "The card was declined.".to_owned(),
        _ => sentence(reason),
    };
    // An order only ends once its money is back.
    format!("{why} Nothing stays charged.")
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).chain(['.']).collect()).unwrap_or_default()
}

fn status_label(status: Status, step: Step, order_type: OrderType) -> &'static str {
    match (status, step) {
        (Status::Cancelled, _) => "Your order was cancelled.",
        (Status::Failed, _) => "We could not make your order.",
        (_, Step::Compensating) => "Your order is being called off; your money and our stock are on their way back.",
        (Status::Pending, _) => "We have your order and are confirming it.",
        (Status::Confirmed, _) => "Confirmed. The bar has your order.",
        (Status::Preparing, _) => "Your order is being made.",
        (Status::Ready, _) => match order_type {
            OrderType::Pickup | OrderType::DineIn => "Ready. It waits for you at the counter.",
            OrderType::Delivery => "Ready. It is about to be brought to you.",
        },
        (Status::Completed, _) => "Enjoy!",
    }
}

pub fn clock(at: domain::Timestamp) -> String {
    at.format(format_description!("[hour]:[minute]:[second]")).unwrap_or_default()
}
