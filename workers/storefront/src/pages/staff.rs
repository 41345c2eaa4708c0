//! Pages for staff: the staff board, the order timeline and the sign-in.

use std::collections::HashMap;

use app::ports::access::{StaffToken, StaffTokens as _};
use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::{Source as _, StoreError};
use app::use_cases::change_order::{ChangeRefusal, Move};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use contract::route::RouteId;
use domain::Timestamp;
use domain::access::{Action, Actor, Resource, may};
use domain::ids::{OrderId, OrderNumber};
use domain::order::{Order, OrderType, Status};
use serde_json::json;

use super::clock::Clock;
use super::shell::{Shell, page};
use super::views::{
    Board, BoardAction, BoardCard, BoardColumn, BoardFragment, BoardPage, JourneyPage, SignInPage,
};
use crate::cookies::{self, SameSite};
use crate::desk::cart::carry_cart;
use crate::desk::orders::{may_set, move_order, newest_with_number, tickets_of};
use crate::desk::timeline;
use crate::ports::{Ports, SecurityEvent};
use crate::problem::Problem;
use crate::staff::{Staff, accepted, cookie_name};
use crate::state::App;
use crate::{audit, session, sign_in_link};

/// Preparation time of an order without a pickup time.
const USUAL: time::Duration = time::Duration::minutes(10);

/// Shows the staff board.
pub async fn board<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    _staff: Extension<Staff>,
) -> Result<Response, Problem> {
    let faster = match query.get("late") {
        Some(id) => Some(changed_meanwhile(&app, id).await?),
        None => None,
    };
    let is_foreign = faster == Some(None);
    let notice = faster
        .map(|who| who.unwrap_or_else(|| "Somebody else already changed this order.".to_owned()));
    let board = page(&BoardPage {
        shell: Shell {
            notice,
            ..Shell::of(&app)
        },
        board: open_orders(&app).await?,
    })?;
    let event = is_foreign.then_some(Extension(SecurityEvent::ForeignLookup));
    Ok((event, board).into_response())
}

/// Shows the columns of the staff board, for its script.
pub async fn board_fragment<P: Ports>(
    State(app): State<App<P>>,
    _staff: Extension<Staff>,
) -> Result<Response, Problem> {
    page(&BoardFragment {
        board: open_orders(&app).await?,
    })
}

/// Returns a sentence with who changed an order last and its status now, or `None` for an order of
/// another location.
async fn changed_meanwhile<P: Ports>(app: &App<P>, id: &str) -> Result<Option<String>, Problem> {
    let Ok(order_id) = id.parse() else {
        return Ok(None);
    };
    let Some(stored) = app
        .ports
        .orders()
        .load_in(&app.staff_scope(), order_id)
        .await?
    else {
        return Ok(None);
    };
    let order = stored.order;
    let last = app
        .ports
        .orders()
        .history(&app.staff_scope(), order_id, order.version - 1)
        .await?
        .pop();
    let by = last.map_or("Somebody else".to_owned(), |line| line.actor);
    let now = match order.status {
        Status::Pending => "not confirmed yet",
        Status::Confirmed => "confirmed",
        Status::Preparing => "being prepared",
        Status::Ready => "ready for pickup",
        Status::Completed => "completed",
        Status::Cancelled => "cancelled",
        Status::Failed => "failed",
    };
    Ok(Some(format!(
        "{by} already changed order {}. Its status is now: {now}.",
        order.order_number
    )))
}

async fn open_orders<P: Ports>(app: &App<P>) -> Result<Board, Problem> {
    /// Maximum of orders that browsers show well; far more than a shop handles at once.
    const SHOWN_MAX: usize = 1_000;
    const PAGE: u32 = 200;
    /// More than a week of pickup slots with 20 places per quarter of an hour. The limit protects
    /// the database.
    const READ_MAX: usize = 15_000;
    let now = app.ports.source().now();
    let statuses = vec![Status::Confirmed, Status::Preparing, Status::Ready];
    let mut filter = OrderFilter {
        statuses,
        limit: PAGE,
        ..OrderFilter::default()
    };
    let mut orders = Vec::new();
    // Reads all pages. The list is sorted by order time, and an order that is due first may be a
    // week old.
    loop {
        let older = app.ports.orders().list(&app.staff_scope(), &filter).await?;
        let is_last = older.len() < PAGE as usize;
        filter.before = older.last().map(|order: &Order| order.order_id);
        orders.extend(older);
        if is_last || orders.len() >= READ_MAX {
            break;
        }
    }
    // The order that is due first is made first; the older one of two with the same time.
    orders.sort_by_key(|order| (due_at(order), order.created_at));
    let is_cut = orders.len() > SHOWN_MAX;
    orders.truncate(SHOWN_MAX);
    let tickets = tickets_of(app, &orders).await?;
    let place = |order: &Order| {
        tickets
            .get(&order.order_id)
            .map(|ticket| format!("No. {}", ticket.position))
    };
    let column = |title, status, next: &[(&'static str, Status)]| BoardColumn {
        title,
        cards: orders
            .iter()
            .filter(|order| order.status == status)
            .map(|order| card(order, &Clock::of(app, order), now, next, place(order)))
            .collect(),
    };
    let columns = vec![
        column(
            "New orders",
            Status::Confirmed,
            &[("Start", Status::Preparing), ("Cancel", Status::Cancelled)],
        ),
        column("Preparing", Status::Preparing, &[("Ready", Status::Ready)]),
        column(
            "Ready for pickup",
            Status::Ready,
            &[("Picked up", Status::Completed)],
        ),
    ];
    Ok(Board { columns, is_cut })
}

/// Returns when an order must be ready.
fn due_at(order: &Order) -> Timestamp {
    order.pickup_at.unwrap_or(order.created_at + USUAL)
}

/// Returns the time until an order is due, or how late it is.
fn left_text(left: time::Duration) -> String {
    match (length_text(left), left.is_negative()) {
        (None, true) => "due now".to_owned(),
        (None, false) => "due in less than a minute".to_owned(),
        (Some(length), true) => format!("{length} late"),
        (Some(length), false) => format!("due in {length}"),
    }
}

/// Returns how long an order has been ready.
fn ready_text(since: time::Duration) -> String {
    length_text(since).map_or_else(
        || "ready just now".to_owned(),
        |length| format!("ready for {length}"),
    )
}

/// Returns a duration in words, or `None` for less than a minute.
fn length_text(length: time::Duration) -> Option<String> {
    match length.whole_minutes().unsigned_abs() {
        0 => None,
        minutes if minutes < 60 => Some(format!("{minutes} min")),
        minutes if minutes < 24 * 60 => Some(format!("{} h {} min", minutes / 60, minutes % 60)),
        minutes => Some(format!("{} d {} h", minutes / (24 * 60), minutes / 60 % 24)),
    }
}

fn card(
    order: &Order,
    clock: &Clock,
    now: Timestamp,
    next: &[(&'static str, Status)],
    ticket: Option<String>,
) -> BoardCard {
    let due_at = due_at(order);
    let for_rider = order.order_type == OrderType::Delivery;
    BoardCard {
        order_id: order.order_id.to_string(),
        number: order.order_number.clone(),
        ticket,
        version: order.version,
        customer_name: order.customer.name.clone(),
        order_type: match order.order_type {
            OrderType::Pickup => "Pickup",
            OrderType::DineIn => "Eat in",
            OrderType::Delivery => "Delivery",
        },
        due: match order.pickup_at {
            Some(at) => clock.text(at),
            None => format!(
                "as soon as possible, ordered {}",
                clock.text(order.created_at)
            ),
        },
        left: match order.status {
            // A ready order waits for its customer, so it is not late.
            Status::Ready => ready_text(now - order.updated_at),
            Status::Pending
            | Status::Confirmed
            | Status::Preparing
            | Status::Completed
            | Status::Cancelled
            | Status::Failed => left_text(due_at - now),
        },
        late: now > due_at && order.status != Status::Ready,
        address: order.delivery_address.as_ref().map(|to| match &to.note {
            Some(note) => format!("{} ({note})", to.one_line()),
            None => to.one_line(),
        }),
        lines: order
            .items
            .iter()
            .map(|item| format!("{} × {}", item.quantity.get(), item.name))
            .collect(),
        note: Some(order.special_instructions.clone()).filter(|note| !note.is_empty()),
        actions: next
            .iter()
            .map(|(label, status)| BoardAction {
                label: if for_rider && *status == Status::Completed {
                    "Out for delivery"
                } else {
                    label
                },
                status: status.code(),
            })
            .collect(),
    }
}

/// Changes the status of an order from the staff board.
pub async fn set_status<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Extension(staff): Extension<Staff>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let order_id: OrderId = id.parse().map_err(|_| Problem::no_such_order())?;
    let to = form
        .get("status")
        .and_then(|status| Status::from_code(status));
    let version = form.get("version").and_then(|version| version.parse().ok());
    let (Some(to), Some(expected_version)) = (to, version) else {
        return Err(Problem::field("status", "and version must be given")
            .detailed("The form cannot be read. Reload the staff board."));
    };
    may_set(&staff, to)?;
    let asked = Move {
        scope: app.staff_scope(),
        order_id,
        expected_version,
        to,
        actor: staff.name,
        note: None,
    };
    match move_order(&app, asked).await {
        Ok(_) => Ok(Redirect::to("/staff").into_response()),
        Err(ChangeRefusal::Stale(_) | ChangeRefusal::Illegal { .. }) => {
            Ok(Redirect::to(&format!("/staff?late={order_id}")).into_response())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Redirects to the newest order with the order number of the query.
pub async fn search<P: Ports>(
    State(app): State<App<P>>,
    Query(query): Query<HashMap<String, String>>,
    _staff: Extension<Staff>,
) -> Result<Response, Problem> {
    let number = query.get("number").map(String::as_str).unwrap_or_default();
    let Some(number) = OrderNumber::parse(number) else {
        return Err(
            Problem::field("number", "must be an order number, such as A-047")
                .detailed("Enter an order number, such as A-047."),
        );
    };
    match newest_with_number(&app, number).await? {
        Some(order) => {
            Ok(Redirect::to(&format!("/staff/orders/{}", order.order_id)).into_response())
        }
        None => Err(Problem::not_found()),
    }
}

/// Shows the timeline of an order.
pub async fn journey<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    _staff: Extension<Staff>,
) -> Result<Response, Problem> {
    let journey = timeline::of(&app, &id).await?;
    page(&JourneyPage::of(
        journey,
        Shell::of(&app),
        &app.settings.shops.home().hours.zone,
    ))
}

/// Shows the sign-in form.
pub async fn sign_in<P: Ports>(State(app): State<App<P>>) -> Result<Response, Problem> {
    page(&SignInPage {
        shell: Shell::of(&app),
        error: None,
    })
}

/// Signs in with the token of the form, or with the one that a sign-in link is exchanged for.
pub async fn signed_in<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let field = |name: &str| form.get(name).map(|text| text.trim()).unwrap_or_default();
    let (mut token, mut link) = (field("token").to_owned(), None);
    if sign_in_link::is_link(&token) {
        match sign_in_link::redeem(&app, &token).await? {
            Ok(redeemed) => (token, link) = (redeemed.token, Some(redeemed.link)),
            Err(refusal) => return not_signed_in(&app, refusal.detail()),
        }
    }
    let now = app.ports.source().now();
    let staff = match accepted(&token, &app.settings, now) {
        Ok(staff) => staff,
        Err(refusal) => return not_signed_in(&app, refusal.detail()),
    };
    let age = (staff.expires_at - now.unix_timestamp()).max(0);
    // Roles without the staff board, such as support, start on the page that finds orders.
    let board = may(Actor::Staff(staff.role), Action::ReadBoard, Resource::Shop);
    let first = if field("page") == sign_in_link::MAILBOX {
        RouteId::MailboxPage.path()
    } else {
        board.map_or("/orders", |()| "/staff")
    };
    audit::append(
        &app,
        staff.name,
        Action::SignIn,
        audit::token(staff.token_id),
        link.map(|link| json!({ "link": audit::token(link) })),
        None,
    )
    .await;
    let mut response = Redirect::to(first).into_response();
    set_cookie(&app, &mut response, &token, age);
    // The session changes, so a person who knew the old one cannot use the new one.
    let Some(before) = session::of(&headers, &app.settings) else {
        // A cookie that we did not issue is replaced.
        return Ok(session::of_or_new(&headers, &app.settings).onto(response));
    };
    let after = before.after_sign_in(&app.settings);
    carry_cart(&app, &before, &after).await;
    Ok(after.onto(response))
}

/// Shows the sign-in form with the reason of a refusal.
fn not_signed_in<P: Ports>(app: &App<P>, reason: &'static str) -> Result<Response, Problem> {
    let page = page(&SignInPage {
        shell: Shell::of(app),
        error: Some(reason),
    })?;
    let event = Extension(SecurityEvent::SignInFailed);
    Ok((StatusCode::UNPROCESSABLE_ENTITY, event, page).into_response())
}

/// Revokes the token, so that copies of it are refused too, and removes the cookie.
pub async fn sign_out<P: Ports>(
    State(app): State<App<P>>,
    Extension(staff): Extension<Staff>,
) -> Result<Response, Problem> {
    let (orders, now) = (app.ports.orders(), app.ports.source().now());
    let unsure = |error: StoreError| {
        Problem::uncertain(
            &error,
            "We do not know whether you are signed out. Please sign out again.",
        )
    };
    if orders
        .revoke_token(staff.token_id, now)
        .await
        .map_err(unsure)?
        .is_none()
    {
        // The record of the token is missing, for example after the database was restored from a
        // backup.
        let expires_at = Timestamp::from_unix_timestamp(staff.expires_at).unwrap_or(now);
        let Staff {
            token_id: id,
            ref name,
            role,
            ..
        } = staff;
        let lost = StaffToken {
            id,
            name: name.clone(),
            role,
            issued_at: now,
            expires_at,
            revoked_at: Some(now),
        };
        orders.record_token(&lost).await.map_err(unsure)?;
    }
    app.settings.revoked.add(staff.token_id);
    audit::append(
        &app,
        staff.name,
        Action::SignOut,
        audit::token(staff.token_id),
        None,
        None,
    )
    .await;
    let mut response = Redirect::to("/staff/sign-in").into_response();
    set_cookie(&app, &mut response, "", 0);
    Ok(response)
}

fn set_cookie<P: Ports>(app: &App<P>, response: &mut Response, token: &str, age_s: i64) {
    let (name, age) = (cookie_name(&app.settings), time::Duration::seconds(age_s));
    // A verified token contains only characters that a header value accepts.
    if let Some(cookie) = cookies::set(name, token, SameSite::Strict, age, &app.settings) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
