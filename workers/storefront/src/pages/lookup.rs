//! Finding an order without its session: by the link in a mail, or by order number and e-mail
//! address.

use std::collections::HashMap;

use app::ports::orders::{OrderStore as _, StoredOrder};
use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use domain::email;
use domain::ids::{OrderId, OrderNumber};

use super::shell::{Shell, page};
use crate::ports::{Ports, SecurityEvent};
use crate::problem::Problem;
use crate::session::Session;
use crate::state::App;
use crate::{session, tracking};

/// The form that finds an order.
#[derive(Template)]
#[template(path = "lookup.html")]
pub struct LookupPage {
    pub shell: Shell,
    pub order_number: String,
    pub email: String,
    pub error: Option<&'static str>,
}

/// Shows the form that asks for order number and e-mail address.
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = session::of_or_new(&headers, &app.settings);
    let page = page(&lookup_page(&app, &session, &HashMap::new(), None).await)?;
    Ok(session.onto(page))
}

async fn lookup_page<P: Ports>(
    app: &App<P>,
    session: &Session,
    form: &HashMap<String, String>,
    error: Option<&'static str>,
) -> LookupPage {
    let input = |name| {
        form.get(name)
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    LookupPage {
        shell: Shell::with_cart(app, session).await,
        order_number: input("order_number"),
        email: input("email"),
        error,
    }
}

/// Finds an order by its number and the customer's e-mail address. Sends exactly one query for any
/// input, so that neither the response nor its time reveals whether a number exists.
pub async fn find<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let input = |name| form.get(name).map(|text| text.trim()).unwrap_or_default();
    // PostgreSQL text cannot contain a zero character.
    let number = input("order_number")
        .trim_start_matches('#')
        .to_uppercase()
        .replace('\0', "");
    let number = OrderNumber::parse(&number).map_or(number, |number| number.to_string());
    // Normalizes the address in the same way as for a new order. An invalid address belongs to no
    // order and is queried anyway.
    let email = input("email").replace('\0', "");
    let email = email::parse("email", &email).unwrap_or(email);
    match app
        .orders()
        .find_order(&app.customer_scope(), &number, &email)
        .await?
    {
        Some(stored) => {
            let order_id = stored.order.order_id;
            let mut response = Redirect::to(&order_url(&order_id.to_string(), "")).into_response();
            follow(&app, &mut response, &stored, &headers);
            Ok(response)
        }
        None => {
            let error = Some(
                "We found no order with this number and e-mail address. Check both and try again.",
            );
            not_found(
                &app,
                &headers,
                &form,
                error,
                Some(SecurityEvent::ForeignLookup),
            )
            .await
        }
    }
}

/// Sets the tracking cookie if the form has the order's token.
pub async fn open<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let order_id: OrderId = id.parse().map_err(|_| Problem::no_such_order())?;
    let token = form.get("t").map(String::as_str).unwrap_or_default();
    let stored = app
        .orders()
        .load_in(&app.customer_scope(), order_id)
        .await?;
    let stored = stored.filter(|stored| tracking::is_same(token, &stored.tracking_token));
    let stored = stored.ok_or_else(Problem::no_such_order)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    follow(&app, &mut response, &stored, &headers);
    Ok(response)
}

/// Returns 404 with the form that asks for order number and e-mail address.
///
/// # Errors
/// Returns 503 when the template cannot be rendered.
pub async fn not_found<P: Ports>(
    app: &App<P>,
    headers: &HeaderMap,
    form: &HashMap<String, String>,
    error: Option<&'static str>,
    event: Option<SecurityEvent>,
) -> Result<Response, Problem> {
    let session = session::of_or_new(headers, &app.settings);
    let page = page(&lookup_page(app, &session, form, error).await)?;
    let response = (StatusCode::NOT_FOUND, event.map(Extension), page).into_response();
    Ok(session.onto(response))
}

/// Adds the order to the browser's tracking cookie.
pub fn follow<P: Ports>(
    app: &App<P>,
    response: &mut Response,
    stored: &StoredOrder,
    headers: &HeaderMap,
) {
    let (order_id, token) = (stored.order.order_id, &stored.tracking_token);
    if let Some(cookie) = tracking::cookie_with(order_id, token, headers, &app.settings) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// Returns the path of an order's page, followed by `below`.
pub fn order_url(id: &str, below: &str) -> String {
    format!("/orders/{id}{below}")
}
