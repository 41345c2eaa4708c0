//! The cart of a session: its prices, and products that are added to it.

use app::ports::carts::{CART_LIFETIME, Cart, CartError, CartStore as _, version_of};
use app::ports::stock::StockedProduct;
use domain::FieldError;
use domain::cart::{Line, Quantity};
use domain::money::Money;

use crate::menu;
use crate::ports::Ports;
use crate::problem::{Kind, Problem};
use crate::random::digest;
use crate::rates::Client;
use crate::session::Session;
use crate::state::App;

/// A cart with the current prices and the conflicts of its lines.
pub struct Priced {
    /// The lines with their prices.
    pub lines: Vec<PricedLine>,
    /// Sum of the lines.
    pub subtotal: Money,
    /// Tax on the subtotal, by the rate of the storefront's own location.
    pub tax: Money,
    /// Subtotal and tax.
    pub total: Money,
    /// Version of the cart, a digest of its lines.
    pub version: i64,
}

/// A line of a cart with its price.
pub struct PricedLine {
    /// Product and quantity.
    pub line: Line,
    /// Name on the menu, or the product's id if it is not on the menu.
    pub name: String,
    /// Picture on the menu; empty if the product is not on the menu.
    pub image_url: String,
    /// Current price of one unit; zero if the product is not on the menu.
    pub unit_price: Money,
    /// The price that the customer saw when the line was added, if it is known.
    pub seen_unit_price: Option<Money>,
    /// Unit price times quantity.
    pub line_total: Money,
    /// Available units, if the product is on the menu.
    pub left: Option<i64>,
    /// The reason why this line cannot be ordered as it is.
    pub conflict: Option<String>,
}

/// Prices the lines of a cart with the current menu. A line that cannot be ordered has a conflict
/// and stays in the cart.
///
/// # Errors
/// Returns 422 when an amount overflows.
pub fn price<P: Ports>(
    app: &App<P>,
    products: &[StockedProduct],
    cart: &Cart,
) -> Result<Priced, Problem> {
    let too_much = |_| Problem::field("items", "have a total that is too large");
    let zero = Money::zero(app.settings.shops.home().currency);
    let (mut priced, mut subtotal) = (Vec::new(), zero);
    for line in &cart.lines {
        let found = menu::find(products, &line.product_id);
        let unit_price = found.map_or(zero, |found| found.product.price);
        let line_total = unit_price.times(line.quantity.get()).map_err(too_much)?;
        subtotal = subtotal.plus(line_total).map_err(too_much)?;
        let seen = cart.seen.get(&line.product_id);
        priced.push(PricedLine {
            line: line.clone(),
            name: found.map_or_else(
                || line.product_id.to_string(),
                |found| found.product.name.clone(),
            ),
            image_url: found
                .map(|found| found.product.image_url.clone())
                .unwrap_or_default(),
            unit_price,
            seen_unit_price: found
                .and(seen)
                .map(|minor| Money::new(*minor, unit_price.currency)),
            line_total,
            left: found.map(|found| found.counters.available.max(0)),
            conflict: conflict(found, line),
        });
    }
    let tax = subtotal
        .tax(app.settings.shops.home().tax)
        .map_err(too_much)?;
    let total = subtotal.plus(tax).map_err(too_much)?;
    Ok(Priced {
        lines: priced,
        subtotal,
        tax,
        total,
        version: version_of(&cart.lines, digest),
    })
}

fn conflict(found: Option<&StockedProduct>, line: &Line) -> Option<String> {
    let Some(found) = found else {
        return Some("is no longer on the menu".to_owned());
    };
    match found.counters.available {
        available if available <= 0 => Some("is sold out".to_owned()),
        available if available < i64::from(line.quantity.get()) => {
            Some(format!("only {available} left"))
        }
        _ => None,
    }
}

/// Adds a line to the cart of the session. The stock and the quantity limit are checked for the sum
/// of the units in the cart and the units to add.
///
/// # Errors
/// Returns 422 for an unknown product or too many units, and 409 when the shop has too few. Returns
/// 429 when the client has begun too many carts, and 503 when the result is unknown.
pub async fn add_to<P: Ports>(
    app: &App<P>,
    client: Client,
    session: &Session,
    line: &Line,
) -> Result<Cart, Problem> {
    let products = app.menu.products(&app.ports).await?;
    let Some(found) = menu::find(&products, &line.product_id) else {
        let name = menu::name_of(&products, &line.product_id);
        let message = format!("there is no product {}", line.product_id);
        return Err(Problem::field("product_id", message)
            .detailed(format!("{name} is no longer on the menu.")));
    };
    let cart = app.carts().get(&session.hash).await?;
    let is_new = cart.lines.is_empty();
    if is_new {
        app.rates.may_begin_cart(client)?;
    }
    let in_cart = cart
        .lines
        .iter()
        .find(|there| there.product_id == line.product_id);
    let in_cart = in_cart.map_or(0, |there| there.quantity.get());
    let sum = in_cart + line.quantity.get();
    let name = &found.product.name;
    let available = found.counters.available.max(0);
    if available < i64::from(sum) {
        let why = match (available, in_cart) {
            (0, _) => format!("{name} is sold out."),
            (left, 0) => format!("Only {left} of {name} left."),
            (left, there) => {
                format!("Only {left} of {name} left. You already have {there} in your cart.")
            }
        };
        let error = FieldError::new("quantity", why.trim_end_matches('.'));
        return Err(Problem::new(Kind::SoldOut, why)
            .naming([error])
            .with(|body| (body.left, body.in_cart) = (Some(available), Some(in_cart))));
    }
    if sum > Quantity::MAX {
        let may = Quantity::MAX - in_cart;
        let message = format!(
            "must be at most {may}: the cart has {in_cart} of {name}, and the limit is {}",
            Quantity::MAX
        );
        let detail = format!(
            "You can order at most {} of {name}. You already have {in_cart} in your cart.",
            Quantity::MAX
        );
        return Err(Problem::field("quantity", message).detailed(detail));
    }
    let added = app
        .carts()
        .add(&session.hash, line, found.product.price.minor)
        .await;
    let cart = added.map_err(|error| match error {
        CartError::Limit(error) => {
            let detail = format!("Your cart is full. Remove another product to add {name}.");
            Problem::fields([error]).detailed(detail)
        }
        // The carts' script may have run although its answer was lost.
        CartError::Unavailable(error) => Problem::uncertain(
            &error,
            format!(
                "We do not know whether {name} was added. Check your cart before you add it again."
            ),
        ),
    })?;
    if is_new
        && let Some(shared) = app.rates.begun_cart(client)
        && app
            .ports
            .count(&shared.key, shared.window)
            .await
            .is_some_and(|count| count > shared.most)
    {
        let changed = app.carts().clear(&session.hash).await;
        changed.map_err(Problem::cart_uncertain)?;
        return Err(Problem::too_many(CART_LIFETIME));
    }
    Ok(cart)
}

/// Moves lines that another tab added meanwhile to the browser's new session.
pub async fn carry_cart<P: Ports>(app: &App<P>, from: &Session, to: &Session) {
    let carts = app.carts();
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
