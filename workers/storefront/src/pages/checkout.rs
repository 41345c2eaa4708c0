//! The checkout page: the form, and the order that it places.

use app::ports::carts::CartStore as _;
use app::use_cases::idempotency::key_use;
use app::use_cases::place_order::{Expected, PickupRefusal, Refusal, Request, UnknownLine};
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::channel::Preferences;
use domain::hours::Hours;
use domain::{FieldError, Timestamp};

use super::checkout_form::{CheckoutForm, CheckoutPage, ErrorView, Receipt, receipt_of};
use super::kept_form;
use super::lookup::order_url;
use super::shell::page;
use super::slots::{choice, wanted_time};
use crate::desk::cart::carry_cart;
use crate::desk::orders::accept;
use crate::menu;
use crate::ports::Ports;
use crate::problem::Problem;
use crate::problem::refusals::what_changed;
use crate::random::{digest, random_token};
use crate::session::{self, Session};
use crate::state::App;

/// Shows the checkout form, or redirects to the cart when it is empty.
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(session) = session::of(&headers, &app.settings) else {
        return Ok(Redirect::to("/cart").into_response());
    };
    let form = CheckoutForm {
        order_type: "pickup".to_owned(),
        payment_token: "tok_ok".to_owned(),
        // One key per rendered form: a form that is sent twice places one order.
        idempotency_key: random_token(),
        ..CheckoutForm::default()
    };
    let receipt = receipt_of(&app, &app.carts().get(&session.hash).await?).await?;
    if receipt.lines.is_empty() {
        return Ok(Redirect::to("/cart").into_response());
    }
    form_page(&app, form, Vec::new(), receipt).await
}

async fn form_page<P: Ports>(
    app: &App<P>,
    form: CheckoutForm,
    errors: Vec<ErrorView>,
    receipt: Receipt,
) -> Result<Response, Problem> {
    let choice = choice(app, &form).await;
    page(&CheckoutPage::of(app, form, errors, false, choice, receipt))
}

/// Renders the form again with everything that the customer entered.
async fn again<P: Ports>(
    app: &App<P>,
    session: &Session,
    status: StatusCode,
    form: CheckoutForm,
    errors: Vec<ErrorView>,
) -> Result<Response, Problem> {
    let receipt = match app.carts().get(&session.hash).await {
        Ok(cart) => receipt_of(app, &cart).await,
        Err(error) => Err(error.into()),
    };
    let page = match receipt {
        Ok(receipt) => form_page(app, form, errors, receipt).await?,
        // The customer's input matters more than the current price. The price is compared when the
        // order is placed.
        Err(_) => kept_form::render(app, form, errors, false)?,
    };
    // A request without a session gets a new one.
    Ok(session.clone().onto((status, page).into_response()))
}

/// Places the order of the form, or shows the form again with the errors.
pub async fn place<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    Form(mut form): Form<CheckoutForm>,
) -> Result<Response, Problem> {
    // An expired session has no cart. The form with its errors is returned under a new session, so
    // no input is lost.
    let session = session::of_or_new(&headers, &app.settings);
    let cart = app.carts().get(&session.hash).await?;
    let ordered = cart.lines.clone();
    let again = async |status, form, errors| again(&app, &session, status, form, errors).await;
    let views = |errors: &[FieldError]| errors.iter().map(ErrorView::of).collect::<Vec<_>>();
    let wrong = |field: &str, message: &str| views(&[FieldError::new(field, message)]);
    let Ok(pickup_at) = wanted_time(&form.pickup_at) else {
        let errors = wrong("pickup_at", "must be a time from the list");
        return again(StatusCode::UNPROCESSABLE_ENTITY, form, errors).await;
    };
    let delivery_address = match form.address() {
        Ok(address) => address,
        Err(errors) => {
            return again(StatusCode::UNPROCESSABLE_ENTITY, form, views(&errors)).await;
        }
    };
    let Some(notify) = wishes(&form.notify) else {
        let errors = wrong("notify", "must be email, sms or none");
        return again(StatusCode::UNPROCESSABLE_ENTITY, form, errors).await;
    };
    // A form without the amounts that it showed cannot place an order. A repeat of a placed order
    // still gets its answer.
    let shown = form.shown();
    let nothing_shown = || Expected {
        total_minor: Some(i64::MIN),
        ..Expected::default()
    };
    let expected = shown.clone().unwrap_or_else(nothing_shown);
    // The order belongs to the new session that begins with it.
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
        delivery_address,
        address_required: true,
        payment_token: form.payment_token.clone(),
        lines: cart.lines,
        from_cart: true,
        idempotency_key: form.idempotency_key.clone(),
        session_hash: Some(after.hash.clone()),
        other_sessions: Vec::new(),
        traceparent: chassis::trace::current(),
        expected,
    };
    let refusal = match accept(&app, request).await {
        Ok(accepted) => {
            // Lines that another tab added meanwhile stay in the cart. A repeated request removes
            // nothing.
            if !accepted.replayed {
                let _ = app.carts().take_out(&session.hash, &ordered).await;
            }
            carry_cart(&app, &session, &after).await;
            let to = order_url(&accepted.order.order_id.to_string(), "");
            return Ok(after.onto(Redirect::to(&to).into_response()));
        }
        Err(refusal) => refusal,
    };
    let known = app.menu.last();
    let (status, errors) = match refusal {
        // The same key with changed fields, such as another name: the placed order stays as it is.
        Refusal::KeyReused => {
            let (scope, home) = (app.customer_scope(), app.settings.shops.home());
            let (orders, key) = (app.orders(), &form.idempotency_key);
            let used = key_use(orders, &scope, &home.tenant_id, key, digest).await?;
            let owns = |owner: &String| after.owns(owner);
            if let Some(used) = &used
                && used.session_hash.as_ref().is_some_and(owns)
            {
                let to = order_url(&used.order_id.to_string(), "");
                // The answer that began the order's session may be lost, so it is sent again.
                let session = if used.session_hash.as_deref() == Some(&after.hash) {
                    after
                } else {
                    session
                };
                return Ok(session.onto(Redirect::to(&to).into_response()));
            }
            // The order belongs to another session, for example to one that has expired.
            let message = "This form was already sent and may have placed an order. Look it up under Track order \
                           before you order again.";
            form.idempotency_key = random_token();
            (StatusCode::CONFLICT, vec![ErrorView::general(message)])
        }
        Refusal::Fields(errors) => (StatusCode::UNPROCESSABLE_ENTITY, views(&errors)),
        // An invalid key is replaced by a new one.
        Refusal::Key(errors) => {
            form.idempotency_key = random_token();
            (StatusCode::UNPROCESSABLE_ENTITY, views(&errors))
        }
        Refusal::Pickup(refusal) => {
            let shop = app.settings.shops.home();
            let message = time_error(&shop.hours, app.now(), refusal);
            let view = ErrorView::about(&refusal.field_error(), message);
            (StatusCode::UNPROCESSABLE_ENTITY, vec![view])
        }
        Refusal::NotOnMenu(lines) => {
            let gone = |line: &UnknownLine| {
                let name = menu::name_of(&known, &line.product_id);
                ErrorView::general(format!(
                    "{name} is no longer on the menu. Please remove it from your cart."
                ))
            };
            let views = lines.iter().map(gone).collect();
            (StatusCode::UNPROCESSABLE_ENTITY, views)
        }
        // The page shows the current price, and its button places the order for that price.
        Refusal::Changed(mut changed) => {
            for (product_id, name) in changed
                .differences
                .iter_mut()
                .filter_map(|one| one.product.as_mut())
            {
                *name = menu::name_of(&known, product_id);
            }
            let messages = match shown {
                Some(_) => what_changed(&changed),
                None => vec!["Please check the total below and place your order again.".to_owned()],
            };
            let views = messages.into_iter().map(ErrorView::general).collect();
            (StatusCode::CONFLICT, views)
        }
        Refusal::SlotFull(_) => {
            form.pickup_at.clear();
            let errors = wrong("pickup_at", "is fully booked: choose another time");
            (StatusCode::CONFLICT, errors)
        }
        Refusal::SoldOut(products) => {
            let left = |id| {
                let name = menu::name_of(&known, id);
                ErrorView::general(format!(
                    "{name} is sold out or has too few left. Please change your cart."
                ))
            };
            (StatusCode::CONFLICT, products.iter().map(left).collect())
        }
        // Temporary failures: the layer `kept_form` returns the form.
        refusal @ (Refusal::Uncertain(_) | Refusal::ShopFull { .. } | Refusal::Unavailable(_)) => {
            return Err(refusal.into());
        }
    };
    again(status, form, errors).await
}

/// Shows the form with the times of another day, for browsers without scripts. Places no order.
pub async fn other_day<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    Form(mut form): Form<CheckoutForm>,
) -> Result<Response, Problem> {
    let session = session::of_or_new(&headers, &app.settings);
    let receipt = receipt_of(&app, &app.carts().get(&session.hash).await?).await?;
    let zone = &app.settings.shops.home().hours.zone;
    let chosen = wanted_time(&form.pickup_at)
        .ok()
        .flatten()
        .filter(|at| zone.date_of(*at).to_string() == form.pickup_day);
    if chosen.is_none() {
        form.pickup_at.clear();
    }
    let page = form_page(&app, form, Vec::new(), receipt).await?;
    Ok(session.onto(page))
}

/// Returns what is wrong with the chosen time, in the shop's local time. The API's messages use
/// UTC.
fn time_error(hours: &Hours, now: Timestamp, refusal: PickupRefusal) -> String {
    let closed = match refusal {
        PickupRefusal::Required { .. } => hours.closed_notice(now),
        PickupRefusal::Past | PickupRefusal::TooFarAhead | PickupRefusal::Closed { .. } => None,
    };
    match closed {
        Some(closed) => format!("{closed} Choose a time."),
        None => format!("The time {}.", refusal.reason()),
    }
}

/// Returns the notification preferences of the form's choice. Forms of an older release have an
/// empty value.
fn wishes(choice: &str) -> Option<Preferences> {
    let (email, sms) = match choice {
        "" | "email" => return Some(Preferences::default()),
        "sms" => (true, true),
        "none" => (false, false),
        _ => return None,
    };
    Some(Preferences { email, sms })
}
