//! Routes of the menu: `/api/v1/menu` and one product of it.

use app::ports::stock::StockedProduct;
use axum::Json;
use axum::extract::{Path, State};
use contract::route::RouteId;
use domain::ids::ProductId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ports::Ports;
use crate::problem::Problem;
use crate::state::App;
use crate::text::time_text;
use crate::{menu, schema};

/// The menu.
#[derive(Serialize, ToSchema)]
pub struct Menu {
    products: Vec<Product>,
    /// When the availability was read. Only present while it cannot be read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    as_of: Option<String>,
}

/// A product of the menu.
#[derive(Serialize, ToSchema)]
pub struct Product {
    #[schema(value_type = String, example = "flat-white")]
    product_id: ProductId,
    #[schema(example = "Flat white")]
    name: String,
    #[schema(example = "Two shots under a thin layer of milk foam.")]
    description: String,
    #[schema(schema_with = schema::product_type)]
    r#type: &'static str,
    #[schema(example = 420)]
    price_minor: i64,
    #[schema(example = "USD")]
    currency: &'static str,
    #[schema(example = "/static/images/flat-white.svg")]
    image_url: String,
    #[schema(schema_with = schema::availability)]
    availability: &'static str,
    /// For one product: when the availability was read. Only present while it cannot be read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime)]
    as_of: Option<String>,
}

impl Product {
    fn of(stocked: &StockedProduct) -> Product {
        let product = &stocked.product;
        Product {
            product_id: product.product_id.clone(),
            name: product.name.clone(),
            description: product.description.clone(),
            r#type: product.kind.code(),
            price_minor: product.price.minor,
            currency: product.price.currency.code(),
            image_url: product.image_url.clone(),
            availability: stocked.availability().code(),
            as_of: None,
        }
    }
}

/// Lists the products of the menu with their availability.
#[utoipa::path(
    get,
    path = RouteId::ListMenu.path(),
    responses((status = 200, description = "The menu", body = Menu))
)]
pub async fn list<P: Ports>(State(app): State<App<P>>) -> Result<Json<Menu>, Problem> {
    let products = app.menu.products(&app.ports).await?;
    Ok(Json(Menu {
        products: products.iter().map(Product::of).collect(),
        as_of: products.as_of.map(time_text),
    }))
}

/// Returns one product.
#[utoipa::path(
    get,
    path = RouteId::ReadProduct.path(),
    responses((status = 200, description = "The product", body = Product))
)]
pub async fn one<P: Ports>(
    State(app): State<App<P>>,
    Path(id): Path<String>,
) -> Result<Json<Product>, Problem> {
    let id = ProductId::parse(&id).map_err(|_| Problem::not_found())?;
    let products = app.menu.products(&app.ports).await?;
    let found = menu::find(&products, &id).ok_or_else(Problem::not_found)?;
    Ok(Json(Product {
        as_of: products.as_of.map(time_text),
        ..Product::of(found)
    }))
}
