//! `GET /api/v1/menu`.

use app::ports::stock::StockedProduct;
use axum::Json;
use axum::extract::{Path, State};
use domain::ids::ProductId;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::{App, Ports, menu};

pub async fn list<P: Ports>(State(app): State<App<P>>) -> Result<Json<Value>, Problem> {
    let products = app.menu.products(app.ports.stock()).await?;
    Ok(Json(json!({ "products": products.iter().map(product).collect::<Vec<_>>() })))
}

pub async fn one<P: Ports>(State(app): State<App<P>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id = ProductId::parse(&id).map_err(|_| Problem::not_found())?;
    let products = app.menu.products(app.ports.stock()).await?;
    menu::find(&products, &id).map(|found| Json(product(found))).ok_or_else(Problem::not_found)
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
