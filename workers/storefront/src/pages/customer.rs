//! Pages for customers: menu, cart, checkout and order.

use std::collections::HashMap;

use app::ports::Source as _;
use app::ports::carts::{Cart, CartStore as _};
use app::ports::orders::{OrderStore as _, StoredOrder};
use app::ports::stock::StockedProduct;
use app::use_cases::change_order::ChangeRefusal;
use app::use_cases::for_customers::{charged, was_not_collected, why_ended};
use app::use_cases::idempotency::key_use;
use app::use_cases::place_order::{Expected, Refusal, Request};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use domain::access::Action;
use domain::cart::{Line, Lines, Quantity};
use domain::channel::Preferences;
use domain::hours::{Hours, Zone};
use domain::ids::ProductId;
use domain::menu::ProductType;
use domain::order::{HistoryEntry, Order, OrderType, Status, Step};
use domain::stock::Availability;
use domain::{FieldError, Timestamp};

use super::lookup::{follow, not_found};
use super::slots::{choice, wanted_time};
use super::views::{
    CartPage, CheckoutForm, CheckoutPage, ErrorView, HistoryView, LineView, MenuPage, MenuSection,
    OrderFragment, OrderLineView, OrderPage, OrderView, ProductCard, Shell, ShownOrder, StepView,
};
use super::{kept_form, page};
use crate::api::PricedLine;
use crate::api::orders::{accept, cancel_visible, visible};
use crate::problem::{Problem, what_changed};
use crate::rates::Client;
use crate::security::wants_page;
use crate::session::Session;
use crate::{App, Ports, api, menu, random_token, session, tracking};

/// Shows the menu.
pub async fn show_menu<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let products = app.menu.products(&app.ports).await?;
    let session = session::of_or_new(&headers, &app.settings);
    // The cart only supplies the count in the header. Without it the count is zero and the page
    // still works.
    let cart = app
        .ports
        .carts()
        .get(&session.hash)
        .await
        .unwrap_or_default();
    let section = |kind: ProductType| MenuSection {
        title: match kind {
            ProductType::Coffee => "Coffee",
            ProductType::Tea => "Tea",
            ProductType::Pastry => "Pastry",
            ProductType::Sandwich => "Sandwiches",
        },
        products: products
            .iter()
            .filter(|product| product.product.kind == kind)
            .map(|product| card(product, &cart))
            .collect(),
    };
    let sections = ProductType::ALL
        .map(section)
        .into_iter()
        .filter(|section| !section.products.is_empty())
        .collect();
    let shell = Shell {
        cart_count: Some(cart.lines.units()),
        ..Shell::of(&app)
    };
    let as_of = products.as_of.map(|at| time_of(&app, at));
    let page = page(&MenuPage {
        shell,
        sections,
        as_of,
    })?;
    Ok(session.onto(page))
}

fn card(stocked: &StockedProduct, cart: &Cart) -> ProductCard {
    let product = &stocked.product;
    let in_cart = cart
        .lines
        .iter()
        .find(|line| line.product_id == product.product_id);
    let in_cart = in_cart.map_or(0, |line| line.quantity.get());
    let may = stocked
        .counters
        .available
        .clamp(0, i64::from(Quantity::MAX))
        - i64::from(in_cart);
    ProductCard {
        product_id: product.product_id.to_string(),
        name: product.name.clone(),
        description: product.description.clone(),
        price: product.price.to_string(),
        image_url: product.image_url.clone(),
        availability: stocked.availability().code(),
        badge: badge(stocked),
        out: stocked.availability() == Availability::Out,
        may: may.max(0),
        in_cart,
    }
}

/// Returns the availability in words.
pub fn badge(stocked: &StockedProduct) -> String {
    match stocked.availability() {
        Availability::InStock => "In stock".to_owned(),
        Availability::Low => format!("Only {} left", stocked.counters.available),
        Availability::Out => "Sold out".to_owned(),
    }
}

/// Returns the shell with the number of units in the cart, or zero when the cart cannot be read.
pub async fn shell<P: Ports>(app: &App<P>, session: &Session) -> Shell {
    let cart = app
        .ports
        .carts()
        .get(&session.hash)
        .await
        .unwrap_or_default();
    Shell {
        cart_count: Some(cart.lines.units()),
        ..Shell::of(app)
    }
}

/// Shows the cart.
pub async fn cart<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = session::of_or_new(&headers, &app.settings);
    let cart = app.ports.carts().get(&session.hash).await?;
    let receipt = receipt_of(&app, &cart).await?;
    let blocked = receipt.lines.iter().any(|line| line.conflict.is_some());
    let shell = Shell {
        cart_count: Some(cart.lines.units()),
        ..Shell::of(&app)
    };
    let Receipt {
        lines,
        totals: [subtotal, tax, total],
        ..
    } = receipt;
    Ok(session.onto(page(&CartPage {
        shell,
        lines,
        subtotal,
        tax,
        total,
        blocked,
    })?))
}

/// A cart with its prices as text, and the values that the form sends back.
pub struct Receipt {
    /// Number of units.
    pub units: u32,
    /// Lines of the cart.
    pub lines: Vec<LineView>,
    /// Subtotal, tax and total.
    pub totals: [String; 3],
    /// The amounts that the form sends back.
    pub shown: ShownOrder,
}

async fn receipt_of<P: Ports>(app: &App<P>, cart: &Cart) -> Result<Receipt, Problem> {
    let products = app.menu.products(&app.ports).await?;
    let priced = api::cart_price(app, &products, cart)?;
    let shown = ShownOrder::of(&priced);
    let totals = [priced.subtotal, priced.tax, priced.total].map(|money| money.to_string());
    let lines = priced.lines.into_iter().map(line_view).collect();
    Ok(Receipt {
        units: cart.lines.units(),
        lines,
        totals,
        shown,
    })
}

fn line_view(line: PricedLine) -> LineView {
    let changed = line.seen_unit_price.filter(|seen| *seen != line.unit_price);
    LineView {
        product_id: line.line.product_id.to_string(),
        quantity: line.line.quantity.get(),
        max: line
            .left
            .unwrap_or_default()
            .clamp(1, i64::from(Quantity::MAX)),
        left: line
            .left
            .filter(|left| *left > 0 && *left < i64::from(Quantity::MAX)),
        unit_price: line.unit_price.to_string(),
        line_total: line.line_total.to_string(),
        price_change: changed.map(|seen| {
            format!(
                "The price of {} changed from {seen} to {} since you added it.",
                line.name, line.unit_price
            )
        }),
        conflict: line
            .conflict
            .map(|conflict| sentence(conflict.strip_prefix("is ").unwrap_or(&conflict))),
        name: line.name,
        image_url: line.image_url,
    }
}

/// Adds a product to the cart.
pub async fn add<P: Ports>(
    State(app): State<App<P>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let line = Line {
        product_id: product_id(form.get("product_id"))?,
        quantity: quantity(&form)?,
    };
    let session = session::of_or_new(&headers, &app.settings);
    let cart = api::add_to_cart(&app, client, &session, &line).await?;
    // A script needs the new count; a browser needs a page to go to.
    let mut response = if headers.contains_key("x-requested-with") {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Redirect::to("/cart").into_response()
    };
    response
        .headers_mut()
        .insert("x-cart-count", HeaderValue::from(cart.lines.units()));
    Ok(session.onto(response))
}

/// Sets the quantity of a product in the cart.
pub async fn set<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let (id, quantity) = (product_id(Some(&id))?, quantity(&form)?);
    if let Some(session) = session::of(&headers, &app.settings) {
        app.ports
            .carts()
            .set(&session.hash, &id, quantity)
            .await
            .map_err(|error| Problem::cart_uncertain(&error))?;
    }
    Ok(Redirect::to("/cart").into_response())
}

/// Removes a product from the cart.
pub async fn remove<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = product_id(Some(&id))?;
    if let Some(session) = session::of(&headers, &app.settings) {
        app.ports
            .carts()
            .remove(&session.hash, &id)
            .await
            .map_err(|error| Problem::cart_uncertain(&error))?;
    }
    Ok(Redirect::to("/cart").into_response())
}

/// Removes all products from the cart.
pub async fn clear<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(session) = session::of(&headers, &app.settings) {
        app.ports
            .carts()
            .clear(&session.hash)
            .await
            .map_err(|error| Problem::cart_uncertain(&error))?;
    }
    Ok(Redirect::to("/cart").into_response())
}

fn product_id(text: Option<&String>) -> Result<ProductId, Problem> {
    let text = text.map(String::as_str).unwrap_or_default();
    let unknown = |error| Problem {
        detail: "There is no such product.".to_owned(),
        ..Problem::fields(vec![error])
    };
    ProductId::parse(text).map_err(unknown)
}

fn quantity(form: &HashMap<String, String>) -> Result<Quantity, Problem> {
    let quantity = form
        .get("quantity")
        .and_then(|text| text.trim().parse().ok())
        .and_then(Quantity::new);
    quantity.ok_or_else(|| {
        let wrong = Problem::field("quantity", "must be a whole number from 1 to 99");
        Problem {
            detail: "Choose a whole number from 1 to 99.".to_owned(),
            ..wrong
        }
    })
}

/// Shows the checkout form, or redirects to the cart when it is empty.
pub async fn checkout<P: Ports>(
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
    let receipt = receipt_of(&app, &app.ports.carts().get(&session.hash).await?).await?;
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
    let receipt = match app.ports.carts().get(&session.hash).await {
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
    Form(form): Form<CheckoutForm>,
) -> Result<Response, Problem> {
    // An expired session has no cart. The form with its errors is returned under a new session, so
    // no input is lost.
    let session = session::of_or_new(&headers, &app.settings);
    let cart = app.ports.carts().get(&session.hash).await?;
    let ordered = cart.lines.clone();
    let again = async |status, form, errors| again(&app, &session, status, form, errors).await;
    let wrong = |field: &str, message: &str| vec![ErrorView::of(&FieldError::new(field, message))];
    let Ok(pickup_at) = wanted_time(&form.pickup_at) else {
        let errors = wrong("pickup_at", "must be one of the list");
        return again(StatusCode::UNPROCESSABLE_ENTITY, form, errors).await;
    };
    let delivery_address = match form.address() {
        Ok(address) => address,
        Err(errors) => {
            let errors = errors.iter().map(ErrorView::of).collect();
            return again(StatusCode::UNPROCESSABLE_ENTITY, form, errors).await;
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
    match accept(&app, request).await {
        Ok(accepted) => {
            // Lines that another tab added meanwhile stay in the cart. A repeated request removes
            // nothing.
            if !accepted.replayed {
                let _ = app.ports.carts().take_out(&session.hash, &ordered).await;
            }
            carry_cart(&app, &session, &after).await;
            Ok(after.onto(
                Redirect::to(&order_url(&accepted.order.order_id.to_string(), "")).into_response(),
            ))
        }
        // The same key with changed fields, such as another name: the placed order stays as it is.
        Err(Refusal::KeyReused) => {
            let (scope, home) = (app.customer_scope(), app.settings.shops.home());
            let (orders, key) = (app.ports.orders(), &form.idempotency_key);
            match key_use(orders, &scope, &home.tenant_id, key, crate::digest).await? {
                Some(used)
                    if used
                        .session_hash
                        .as_deref()
                        .is_some_and(|owner| after.owns(owner)) =>
                {
                    let to = order_url(&used.order_id.to_string(), "");
                    // The answer that began the order's session may be lost, so it is sent again.
                    let session = if used.session_hash.as_deref() == Some(&after.hash) {
                        after
                    } else {
                        session
                    };
                    Ok(session.onto(Redirect::to(&to).into_response()))
                }
                // The order belongs to another session, for example to one that has expired.
                Some(_) | None => {
                    let message = "This form was sent before, and may have placed an order: look it up under Track before \
                                   you order again.";
                    let form = CheckoutForm {
                        idempotency_key: random_token(),
                        ..form
                    };
                    again(
                        StatusCode::CONFLICT,
                        form,
                        vec![ErrorView::general(message)],
                    )
                    .await
                }
            }
        }
        Err(Refusal::Fields(errors)) => {
            let shop = app.settings.shops.home();
            let now = app.ports.source().now();
            let known = app.menu.last();
            let view = |error: &FieldError| match error.field.as_str() {
                "pickup_at" => ErrorView::about(error, time_error(&shop.hours, now, error)),
                field => match line_of(field, &ordered) {
                    Some(line) => {
                        let name = menu::name_of(&known, &line.product_id);
                        ErrorView::general(format!(
                            "{name} is no longer on the menu. Change your cart."
                        ))
                    }
                    None => ErrorView::of(error),
                },
            };
            let views = errors.iter().map(view).collect();
            // An invalid key is replaced by a new one.
            let key = match errors.iter().any(|error| error.field == "Idempotency-Key") {
                true => random_token(),
                false => form.idempotency_key.clone(),
            };
            again(
                StatusCode::UNPROCESSABLE_ENTITY,
                CheckoutForm {
                    idempotency_key: key,
                    ..form
                },
                views,
            )
            .await
        }
        // The page shows the current price, and its button places the order for that price.
        Err(Refusal::Changed(mut changed)) => {
            let known = app.menu.last();
            for (product_id, name) in changed
                .differences
                .iter_mut()
                .filter_map(|one| one.product.as_mut())
            {
                *name = menu::name_of(&known, product_id);
            }
            let errors = match shown {
                Some(_) => what_changed(&changed)
                    .into_iter()
                    .map(ErrorView::general)
                    .collect(),
                None => vec![ErrorView::general(
                    "Please check the total below, and place the order again.",
                )],
            };
            again(StatusCode::CONFLICT, form, errors).await
        }
        Err(refusal @ Refusal::SlotFull(_)) => {
            let problem = Problem::from(refusal);
            let errors = problem.errors.iter().map(ErrorView::of).collect();
            again(
                problem.status,
                CheckoutForm {
                    pickup_at: String::new(),
                    ..form
                },
                errors,
            )
            .await
        }
        Err(Refusal::SoldOut(products)) => {
            let known = app.menu.last();
            let left = |id| {
                let name = menu::name_of(&known, id);
                ErrorView::general(format!(
                    "{name} is sold out, or has fewer left. Change your cart."
                ))
            };
            again(
                StatusCode::CONFLICT,
                form,
                products.iter().map(left).collect(),
            )
            .await
        }
        // Temporary failures: the layer `kept_form` returns the form.
        Err(
            refusal @ (Refusal::Uncertain(_) | Refusal::ShopFull { .. } | Refusal::Unavailable(_)),
        ) => Err(refusal.into()),
    }
}

/// Returns the line that an API error names by index, such as `items[0].product_id`.
fn line_of<'a>(field: &str, lines: &'a Lines) -> Option<&'a Line> {
    let (place, _) = field.strip_prefix("items[")?.split_once(']')?;
    lines.iter().nth(place.parse().ok()?)
}

/// Shows the form with the times of another day, for browsers without scripts. Places no order.
pub async fn other_day<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    Form(form): Form<CheckoutForm>,
) -> Result<Response, Problem> {
    let session = session::of_or_new(&headers, &app.settings);
    let receipt = receipt_of(&app, &app.ports.carts().get(&session.hash).await?).await?;
    let zone = &app.settings.shops.home().hours.zone;
    let chosen = wanted_time(&form.pickup_at)
        .ok()
        .flatten()
        .filter(|at| zone.date_of(*at).to_string() == form.pickup_day);
    let pickup_at = if chosen.is_some() {
        form.pickup_at.clone()
    } else {
        String::new()
    };
    let page = form_page(
        &app,
        CheckoutForm { pickup_at, ..form },
        Vec::new(),
        receipt,
    )
    .await?;
    Ok(session.onto(page))
}

/// Returns what is wrong with the chosen time, in the shop's local time. The API's messages use
/// UTC.
fn time_error(hours: &Hours, now: Timestamp, error: &FieldError) -> String {
    match hours.closed_notice(now) {
        Some(closed) if error.message.starts_with("is required") => {
            format!("{closed} Choose a time.")
        }
        _ => format!(
            "The time {}.",
            error.message.split(';').next().unwrap_or_default()
        ),
    }
}

/// Returns the notification preferences of the form's choice. Forms of an older release have an
/// empty value.
fn wishes(choice: &str) -> Option<Preferences> {
    match choice {
        "" | "email" => Some(Preferences::default()),
        "sms" => Some(Preferences {
            email: true,
            sms: true,
        }),
        "none" => Some(Preferences {
            email: false,
            sms: false,
        }),
        _ => None,
    }
}

/// Moves lines that another tab added meanwhile to the browser's new session.
pub async fn carry_cart<P: Ports>(app: &App<P>, from: &Session, to: &Session) {
    let carts = app.ports.carts();
    let Ok(cart) = carts.get(&from.hash).await else {
        return;
    };
    let products = app.menu.products(&app.ports).await.ok();
    for line in &cart.lines {
        // Carts of an older release have no prices; their lines get the current price.
        let today = || {
            menu::find(products.as_deref()?, &line.product_id)
                .map(|found| found.product.price.minor)
        };
        let Some(seen) = cart.seen.get(&line.product_id).copied().or_else(today) else {
            continue;
        };
        if carts.add(&to.hash, line, seen).await.is_err() {
            // The cart is a convenience: lines that cannot be moved stay in the old session until
            // it expires.
            return;
        }
    }
    if !cart.lines.is_empty() {
        let _ = carts.clear(&from.hash).await;
    }
}

/// Path of the pages about orders.
const ORDER_PAGES: &str = "/orders";

/// Shows an order. A browser that may not see it gets the page that asks for number and e-mail
/// address. That page is the same whether or not the order exists. Its script opens the order when
/// the link contains the token.
pub async fn order<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let stored = match visible(&app, Action::ReadOrder, &id, &query, &headers).await {
        Err(problem)
            if problem.status == StatusCode::NOT_FOUND && wants_page(&headers, ORDER_PAGES) =>
        {
            return not_found(&app, &headers, &HashMap::new(), None, problem.security).await;
        }
        visible => visible?,
    };
    let session = session::of_or_new(&headers, &app.settings);
    let notice = query
        .contains_key("late")
        .then(|| "It is too late to cancel.".to_owned());
    let shell = Shell {
        notice,
        ..shell(&app, &session).await
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
pub async fn order_fragment<P: Ports>(
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
        // The bar started the order before the page was sent: the order's page shows the current
        // status.
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
        .ports
        .orders()
        .history(&app.customer_scope(), stored.order.order_id, 0)
        .await?;
    let order = &stored.order;
    let ended = match order.status {
        Status::Cancelled | Status::Failed => {
            let charged =
                charged(app.ports.orders(), &app.customer_scope(), order.order_id).await?;
            Some(format!("{} {}", why_ended(order), charged.sentence()))
        }
        _ if was_not_collected(order) => Some(
            "Nobody collected this order, so we closed it. Ask us if that is a mistake.".to_owned(),
        ),
        Status::Pending
        | Status::Confirmed
        | Status::Preparing
        | Status::Ready
        | Status::Completed => None,
    };
    Ok(view(stored, &history, ended, &Clock::of(app, order)))
}

/// The clock and the calendar of a location at one moment.
pub struct Clock {
    zone: Zone,
    now: Timestamp,
}

impl Clock {
    /// Returns the clock of an order's location.
    pub fn of<P: Ports>(app: &App<P>, order: &Order) -> Clock {
        let shops = &app.settings.shops;
        // An order of a location that was removed uses the storefront's own clock.
        let shop = shops
            .named(Some(&order.location_id))
            .unwrap_or_else(|_| shops.home());
        Clock {
            zone: shop.hours.zone.clone(),
            now: app.ports.source().now(),
        }
    }

    /// Returns a time as text, with its date if that is not today.
    pub fn text(&self, at: Timestamp) -> String {
        self.zone.time_text(at, self.now)
    }
}

/// Returns a time as text on the clock of the storefront's own location.
pub fn time_of<P: Ports>(app: &App<P>, at: Timestamp) -> String {
    app.settings
        .shops
        .home()
        .hours
        .zone
        .time_text(at, app.ports.source().now())
}

/// Returns the path of an order's page, followed by `below`.
pub fn order_url(id: &str, below: &str) -> String {
    format!("/orders/{id}{below}")
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
                line_total: item
                    .unit_price
                    .times(item.quantity.get())
                    .unwrap_or(item.unit_price)
                    .to_string(),
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
                    Status::Completed if was_not_collected(order) => "Not collected",
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
        (OrderType::DineIn, Some(when)) => format!("Served here: {when}."),
        (OrderType::DineIn, None) => "Served here as soon as it is ready.".to_owned(),
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

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).chain(['.']).collect())
        .unwrap_or_default()
}

fn status_label(order: &Order) -> &'static str {
    match (order.status, order.state.step()) {
        (Status::Cancelled, _) => "Your order was cancelled.",
        (Status::Failed, _) => "We could not make your order.",
        (_, Step::Compensating) => {
            "Your order is being cancelled. If your card was charged, your refund is on its way."
        }
        (Status::Pending, _) => "We have your order and are confirming it.",
        (Status::Confirmed, _) => "Confirmed. The bar has your order.",
        (Status::Preparing, _) => "Your order is being made.",
        (Status::Ready, _) => match order.order_type {
            OrderType::Pickup | OrderType::DineIn => "Ready. It waits for you at the counter.",
            OrderType::Delivery => "Ready. The rider takes it in a moment.",
        },
        (Status::Completed, _) if was_not_collected(order) => "Your order was not collected.",
        (Status::Completed, _) => match order.order_type {
            OrderType::Pickup | OrderType::DineIn => "Enjoy!",
            OrderType::Delivery => "Your order is on its way to you.",
        },
    }
}
