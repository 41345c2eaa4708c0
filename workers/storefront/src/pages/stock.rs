//! Pages for staff about stock: counters, reorder suggestions, ledgers, and changes of the stock.

use std::collections::HashMap;

use app::ports::ledger::Entry;
use app::ports::stock::AdjustmentKind;
use app::use_cases::suggest_reorders::{DAYS, Reorder, suggest_reorders};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use domain::access::{Action, Actor, Resource, may};
use domain::hours::Zone;
use domain::stock::Movement;
use domain::text::line;

use super::menu::badge;
use super::shell::{Shell, page};
use super::views::{LedgerPage, LedgerRow, StockForm, StockPage, StockRow, UnsurePage};
use crate::desk::stock::{
    LEDGER_PAGE, StockChange, adjust as adjust_stock, corrected, delivered, ledger_cursor,
    ledger_page, movement_id, written_off,
};
use crate::ports::Ports;
use crate::problem::{Kind, Problem};
use crate::random::random_token;
use crate::request::NOTE_MAX;
use crate::staff::Staff;
use crate::state::App;

/// Shows the stock of every product.
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    Extension(staff): Extension<Staff>,
) -> Result<Response, Problem> {
    stock_page(&app, &staff, None).await
}

/// Renders the stock page. `refused` is the input and the error for the row of one product.
async fn stock_page<P: Ports>(
    app: &App<P>,
    staff: &Staff,
    refused: Option<(&str, StockForm)>,
) -> Result<Response, Problem> {
    let suggests = may(
        Actor::Staff(staff.role),
        Action::ReadSuggestions,
        Resource::Shop,
    )
    .is_ok();
    let hours = &app.settings.shops.home().hours;
    let mut reorders = suggest_reorders(app.stock(), app.ports.source(), hours, DAYS).await?;
    // Sorted as on the menu, so that each product has a fixed place.
    reorders.sort_by(|a, b| {
        let (a, b) = (&a.product.product, &b.product.product);
        (a.kind, &a.name).cmp(&(b.kind, &b.name))
    });
    let mut rows: Vec<_> = reorders.iter().map(row).collect();
    if let Some((id, change)) = refused
        && let Some(row) = rows.iter_mut().find(|row| row.product_id == id)
    {
        row.change = change;
    }
    page(&StockPage {
        shell: Shell::of(app),
        days: DAYS,
        suggests,
        rows,
    })
}

fn row(reorder: &Reorder) -> StockRow {
    let Reorder {
        product,
        suggestion,
        ..
    } = reorder;
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
        sold_per_day: format!("{:.1}", suggestion.sold_per_day),
        days_left: suggestion
            .days_left
            .map_or_else(|| "–".to_owned(), |days| format!("{days:.1}")),
        order: if suggestion.quantity > 0 {
            suggestion.quantity.to_string()
        } else {
            "–".to_owned()
        },
        change: StockForm::default(),
        movement_id: random_token(),
    }
}

/// Adds units that a supplier delivered.
pub async fn restock<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Extension(staff): Extension<Staff>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    change(&app, &id, &staff, &form, "restock", delivered).await
}

/// Corrects the stock after a count.
pub async fn adjust<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Extension(staff): Extension<Staff>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    change(&app, &id, &staff, &form, "adjust", corrected).await
}

/// Removes units that were spilled, broken or too old.
pub async fn write_off<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Extension(staff): Extension<Staff>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Problem> {
    change(&app, &id, &staff, &form, "write-off", written_off).await
}

/// Shows the ledger of a product.
pub async fn ledger<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    _staff: Extension<Staff>,
) -> Result<Response, Problem> {
    // An invalid cursor shows the newest page.
    let before = query.get("before").and_then(|before| ledger_cursor(before));
    let (product, entries) = ledger_page(&app, &id, before, LEDGER_PAGE).await?;
    let full = entries.len() == LEDGER_PAGE as usize;
    let shop = app.settings.shops.home();
    let zone = &shop.hours.zone;
    page(&LedgerPage {
        shell: Shell::of(&app),
        product_id: product.product.product_id.to_string(),
        name: product.product.name,
        available: product.counters.available,
        older: full
            .then(|| entries.last().map(|entry| entry.entry_id.clone()))
            .flatten(),
        zone: zone.name().to_owned(),
        entries: entries
            .into_iter()
            .map(|entry| ledger_row(entry, zone))
            .collect(),
    })
}

fn ledger_row(entry: Entry, zone: &Zone) -> LedgerRow {
    let at = zone
        .local(entry.at)
        .format(time::macros::format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second]"
        ));
    LedgerRow {
        // Formatting fails only when the time lacks a component, and it has all of these.
        at: at.unwrap_or_default(),
        kind: match entry.movement {
            Movement::Reserve(_) => "reserved",
            Movement::Confirm(_) => "sold",
            Movement::Release(_) => "released",
            Movement::Return(_) => "returned",
            Movement::Restock(_) => "restocked",
            Movement::WriteOff(_) => "written off",
            Movement::WriteOn(_) => "added after a count",
        },
        units: entry.movement.units(),
        reference: entry.reference,
        actor: entry.actor,
        note: entry.note.unwrap_or_default(),
    }
}

/// Reads the form of a stock change. `legal` turns its units into a change.
///
/// # Errors
/// Returns 422 with the invalid inputs.
fn read(
    form: &HashMap<String, String>,
    legal: fn(i64) -> Option<AdjustmentKind>,
) -> Result<StockChange, Problem> {
    let units = input(form, "units").parse().ok().and_then(legal);
    let Some(kind) = units else {
        return Err(Problem::field(
            "units",
            "must be a whole number: above 0 to restock or write off, not 0 to correct",
        ));
    };
    let reason = line("reason", input(form, "reason"), NOTE_MAX);
    let movement_id = form
        .get("movement_id")
        .map(|id| movement_id(id))
        .transpose();
    match (reason, movement_id) {
        (Ok(reason), Ok(movement_id)) => Ok(StockChange {
            kind,
            reason,
            movement_id,
        }),
        (reason, movement_id) => Err(Problem::fields(
            reason.err().into_iter().chain(movement_id.err()),
        )),
    }
}

/// Returns an input of the form without the spaces around it.
fn input<'a>(form: &'a HashMap<String, String>, name: &str) -> &'a str {
    form.get(name).map(|text| text.trim()).unwrap_or_default()
}

async fn change<P: Ports>(
    app: &App<P>,
    id: &str,
    staff: &Staff,
    form: &HashMap<String, String>,
    action: &str,
    legal: fn(i64) -> Option<AdjustmentKind>,
) -> Result<Response, Problem> {
    let changed = match read(form, legal) {
        Ok(change) => adjust_stock(app, id, change, staff.name.clone()).await,
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(product) => Ok(
            Redirect::to(&format!("/staff/stock#{}", product.product.product_id)).into_response(),
        ),
        Err(problem) if !problem.body.errors.is_empty() => {
            let messages = problem
                .body
                .errors
                .iter()
                .map(|error| format!("The {} {}.", error.field, error.message));
            let error = Some(messages.collect::<Vec<_>>().join(" "));
            // The row gets a new movement id, because a corrected change is a different change.
            let change = StockForm {
                units: input(form, "units").to_owned(),
                reason: input(form, "reason").to_owned(),
                error,
            };
            Ok((
                problem.status,
                stock_page(app, staff, Some((id, change))).await?,
            )
                .into_response())
        }
        Err(problem) if problem.kind == Kind::Uncertain => {
            let sent = || form.get("movement_id").cloned();
            let unsure = UnsurePage {
                shell: Shell::of(app),
                product_id: id.to_owned(),
                action: action.to_owned(),
                units: input(form, "units").to_owned(),
                reason: input(form, "reason").to_owned(),
                movement_id: problem.body.movement_id.or_else(sent).unwrap_or_default(),
            };
            Ok((problem.status, page(&unsure)?).into_response())
        }
        Err(problem) => Err(problem),
    }
}
