//! The menu page.

use app::ports::carts::{Cart, CartStore as _};
use app::ports::stock::StockedProduct;
use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::cart::Quantity;
use domain::menu::ProductType;
use domain::stock::Availability;

use super::clock::time_of;
use super::shell::{Shell, page};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::session;
use crate::state::App;

/// The menu.
#[derive(Template)]
#[template(path = "menu.html")]
pub struct MenuPage {
    pub shell: Shell,
    pub sections: Vec<MenuSection>,
    /// When the availability was read, if it cannot be read now.
    pub as_of: Option<String>,
}

/// The products of one type on the menu.
pub struct MenuSection {
    pub title: &'static str,
    pub products: Vec<ProductCard>,
}

/// A product on the menu.
pub struct ProductCard {
    pub product_id: String,
    pub name: String,
    pub description: String,
    pub price: String,
    pub image_url: String,
    pub availability: &'static str,
    pub badge: String,
    pub out: bool,
    /// Number of units that can still be added to the cart.
    pub may: i64,
    pub in_cart: u32,
}

/// Shows the menu.
pub async fn show<P: Ports>(
    State(app): State<App<P>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let products = app.menu.products(&app.ports).await?;
    let session = session::of_or_new(&headers, &app.settings);
    // The cart only supplies the count in the header. Without it the count is zero and the page
    // still works.
    let cart = app.carts().get(&session.hash).await.unwrap_or_default();
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
    let as_of = products.as_of.map(|at| time_of(&app, at));
    let page = page(&MenuPage {
        shell: Shell::counting(&app, cart.lines.units()),
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
