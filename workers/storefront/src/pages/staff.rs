//! The bar's board, the stock room, the sign-in.

use std::collections::HashMap;

use app::ports::Source as _;
use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::stock::{AdjustmentKind, Stock as _, StockedProduct};
use app::use_cases::change_order::{ChangeRefusal, Move, move_by_staff};
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::Timestamp;
use domain::order::{Order, OrderType, Status};

use super::customer::badge;
use super::page;
use super::views::{
    BoardAction, BoardCard, BoardColumn, BoardFragment, BoardPage, Shell, SignInPage, StockChange, StockPage, StockRow,
};
use crate::problem::Problem;
use crate::staff::{COOKIE, Staff, verify};
use crate::{App, Ports, api, random_token};

/// An order that waits longer is marked.
const LATE: time::Duration = time::Duration::minutes(10);

fn signed<P: Ports>(app: &App<P>, headers: &HeaderMap) -> Option<Staff> {
    api::staff_of(app, headers)
}

/// Where whoever is not signed in is sent.
fn to_sign_in() -> Result<Response, Problem> {
    Ok(Redirect::to("/staff/sign-in").into_response())
}

pub async fn board<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if signed(&app, &headers).is_none() {
        return to_sign_in();
    }
    let notice = query.contains_key("late").then_some("Somebody was faster: that order had changed already.");
    page(&BoardPage { shell: Shell { notice, ..Shell::default() }, columns: columns(&app).await? })
}

pub async fn board_fragment<P: Ports>(State(app): State<App<P>>, headers: HeaderMap) -> Result<Response, Problem> {
    if signed(&app, &headers).is_none() {
        return to_sign_in();
    }
    page(&BoardFragment { columns: columns(&app).await? })
}

async fn columns<P: Ports>(app: &App<P>) -> Result<Vec<BoardColumn>, Problem> {
    /// More than a bar can look at.
    const SHOWN: u32 = 200;
    let now = app.ports.source().now();
    let statuses = vec![Status::Confirmed, Status::Preparing, Status::Ready];
    let mut orders = app.ports.orders().list(&OrderFilter { statuses, limit: SHOWN, before: None }).await?;
    // Oldest first: whoever waited longest is next.
    orders.reverse();
    let column = |title, status, next: &[(&'static str, Status)]| BoardColumn {
        title,
        cards: orders.iter().filter(|order| order.status == status).map(|order| card(order, now, next)).collect(),
    };
    Ok(vec![
        column("To make", Status::Confirmed, &[("Start", Status::Preparing), ("Cancel", Status::Cancelled)]),
        column("Being made", Status::Preparing, &[("Ready", Status::Ready)]),
        column("Ready", Status::Ready, &[("Handed over", Status::Completed)]),
    ])
}

fn card(order: &Order, now: Timestamp, next: &[(&'static str, Status)]) -> BoardCard {
    let age = now - order.created_at;
    BoardCard {
        order_id: order.order_id.to_string(),
        number: order.order_number.clone(),
        version: order.version,
        customer_name: order.customer.name.clone(),
        order_type: match order.order_type {
            OrderType::Pickup => "picks up",
            OrderType::DineIn => "drinks it here",
            OrderType::Delivery => "has it brought",
        },
        age: format!("{} min", age.whole_minutes().max(0)),
        late: age > LATE && order.status != Status::Ready,
        lines: order.items.iter().map(|item| format!("{} × {}", item.quantity.get(), item.name)).collect(),
        note: Some(order.special_instructions.clone()).filter(|note| !note.is_empty()),
        actions: next.iter().map(|(label, status)| BoardAction { label, status: status.code() }).collect(),
    }
}

pub async fn set_status<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let Some(staff) = signed(&app, &headers) else { return to_sign_in() };
    let order_id = id.parse().map_err(|_| Problem::not_found())?;
    let to = form.get("status").and_then(|status| Status::from_code(status));
    let version = form.get("version").and_then(|version| version.parse().ok());
    let (Some(to), Some(expected_version)) = (to, version) else {
        return Err(Problem::field("status", "and version must be given"));
    };
    let asked = Move { order_id, expected_version, to, actor: staff.name, note: None };
    match move_by_staff(app.ports.orders(), app.ports.source(), &app.maker(), asked).await {
        Ok(_) => Ok(Redirect::to("/staff").into_response()),
        Err(ChangeRefusal::Stale { .. } | ChangeRefusal::Illegal { .. }) => {
            Ok(Redirect::to("/staff?late").into_response())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

pub async fn stock<P: Ports>(State(app): State<App<P>>, headers: HeaderMap) -> Result<Response, Problem> {
    if signed(&app, &headers).is_none() {
        return to_sign_in();
    }
    stock_page(&app, None).await
}

/// The stock room, with what was refused of one product in its row.
async fn stock_page<P: Ports>(app: &App<P>, refused: Option<(&str, StockChange)>) -> Result<Response, Problem> {
    let products = app.ports.stock().products().await?;
    let mut rows: Vec<_> = products.iter().map(row).collect();
    if let Some((id, change)) = refused
        && let Some(row) = rows.iter_mut().find(|row| row.product_id == id)
    {
        row.change = change;
    }
    page(&StockPage { shell: Shell::default(), rows })
}

fn row(product: &StockedProduct) -> StockRow {
    StockRow {
        product_id: product.product.product_id.to_string(),
        name: product.product.name.clone(),
        availability: product.availability().code(),
        badge: badge(product),
        available: product.counters.available,
        reserved: product.counters.reserved,
        sold: product.counters.sold,
        written_off: product.counters.written_off,
        received: product.counters.received,
        change: StockChange::default(),
        movement_id: random_token(),
    }
}

pub async fn restock<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let legal = |units: i64| u32::try_from(units).ok().filter(|units| *units > 0).map(AdjustmentKind::Restock);
    change(&app, &id, &headers, &form, legal).await
}

pub async fn adjust<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    change(&app, &id, &headers, &form, |units| (units != 0).then_some(AdjustmentKind::Correct(units))).await
}

async fn change<P: Ports>(
    app: &App<P>,
    id: &str,
    headers: &HeaderMap,
    form: &HashMap<String, String>,
    legal: impl Fn(i64) -> Option<AdjustmentKind>,
) -> Result<Response, Problem> {
    let Some(staff) = signed(app, headers) else { return to_sign_in() };
    let said = |name| form.get(name).map(|text| text.trim()).unwrap_or_default();
    let units: Option<i64> = said("units").parse().ok().filter(|units: &i64| units.unsigned_abs() <= 100_000);
    let asked = match units.and_then(legal) {
        Some(kind) => {
            let movement_id = form.get("movement_id").cloned();
            api::check_adjustment(units.unwrap_or_default(), said("reason"), movement_id, Vec::new())
                .map(|asked| (kind, asked))
        }
        None => Err(Problem::field("units", "must be a whole number, above 0 to restock, not 0 to correct")),
    };
    let changed = match asked {
        Ok((kind, asked)) => api::adjust_stock(app, id, kind, asked, staff.name).await,
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(product) => Ok(Redirect::to(&format!("/staff/stock#{}", product.product.product_id)).into_response()),
        Err(problem) if !problem.errors.is_empty() => {
            let told = problem.errors.iter().map(|error| format!("The {} {}.", error.field, error.message));
            let error = Some(told.collect::<Vec<_>>().join(" "));
            let change = StockChange { units: said("units").to_owned(), reason: said("reason").to_owned(), error };
            Ok((problem.status, stock_page(app, Some((id, change))).await?).into_response())
        }
        Err(problem) => Err(problem),
    }
}

pub async fn sign_in<P: Ports>(State(_): State<App<P>>) -> Result<Response, Problem> {
    page(&SignInPage { shell: Shell::default(), error: None })
}

pub async fn signed_in<P: Ports>(
    State(app): State<App<P>>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let token = form.get("token").map(|token| token.trim().to_owned()).unwrap_or_default();
    let now = app.ports.source().now();
    let Some(staff) = app.settings.signing_key.find(|key| verify(key, &token, now)) else {
        let error = Some("This token is not one of ours, or its time is over.");
        let page = page(&SignInPage { shell: Shell::default(), error })?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    };
    let age = (staff.exp - now.unix_timestamp()).max(0);
    let secure = if app.settings.secure_cookies { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
    let mut response = Redirect::to("/staff").into_response();
    // The token was verified: it has only characters that a header takes.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
