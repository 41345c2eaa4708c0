//! Routes of the menu: `/api/v1/menu` and one product of it.

use app::ports::stock::StockedProduct;
use axum::Json;
use axum::extract::{Path, State};
use domain::ids::ProductId;
use serde_json::{Value, json};

use super::orders::time_text;
use crate::problem::Problem;
use crate::{App, Ports, menu};

/// Lists the products of the menu.
pub async fn list<P: Ports>(State(app): State<App<P>>) -> Result<Json<Value>, Problem> {
    let products = app.menu.products(&app.ports).await?;
    let mut menu = json!({ "products": products.iter().map(product).collect::<Vec<_>>() });
    mark(&mut menu, &products);
    Ok(Json(menu))
}

/// Shows one product.
pub async fn one<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = ProductId::parse(&id).map_err(|_| Problem::not_found())?;
    let products = app.menu.products(&app.ports).await?;
    let found = menu::find(&products, &id).ok_or_else(Problem::not_found)?;
    let mut product = product(found);
    mark(&mut product, &products);
    Ok(Json(product))
}

/// Adds `as_of` to a cached copy while the stock cannot be read.
fn mark(shown: &mut Value, products: &menu::Products) {
    if let Some(as_of) = products.as_of {
        shown["as_of"] = json!(time_text(as_of));
    }
}

fn product(stocked: &StockedProduct) -> Value {
    let product = &stocked.product;
    json!({
        "product_id": product.product_id,
        "name": product.name,
        "description": product.description,
        "type": product.kind.code(),
        "price_minor": product.price.minor,
        "currency": product.price.currency.code(),
        "image_url": product.image_url,
        "availability": stocked.availability().code(),
    })
}
