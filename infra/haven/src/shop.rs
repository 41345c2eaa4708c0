//! A client of the shop's HTTP API, as a customer's program uses it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use platform::facts::Facts;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};
use tokio::time::Instant;
use uuid::Uuid;

/// A client of one storefront.
pub struct Shop {
    pub client: reqwest::Client,
    pub url: String,
    pub staff: String,
    /// The customer's name on its orders, so that people see where these come from.
    pub name: &'static str,
}

impl Shop {
    /// Makes a client for the platform that `haven up` runs.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn of(facts: &Facts, name: &'static str) -> anyhow::Result<Shop> {
        Ok(Shop {
            client: client()?,
            url: facts.storefront.clone(),
            staff: facts.staff_token.clone(),
            name,
        })
    }

    /// Returns the product ids on the menu.
    ///
    /// # Errors
    /// When the storefront does not answer with a menu.
    pub async fn menu(&self) -> anyhow::Result<Vec<String>> {
        let answer = self.client.get(format!("{}/api/v1/menu", self.url)).send();
        let menu: Value = answer.await?.json().await?;
        let products = menu["products"]
            .as_array()
            .context("the storefront returned no menu")?;
        let ids = products.iter().filter_map(|it| it["product_id"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }

    /// Reads a document of the staff API.
    async fn read_as_staff(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}/api/v1/admin/{path}", self.url));
        let answer = request.bearer_auth(&self.staff).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Restocks the products until each has `units` available.
    ///
    /// # Errors
    /// When a product does not exist, or the storefront refuses.
    pub async fn fill_shelves(&self, products: &[String], units: u64) -> anyhow::Result<()> {
        let inventory = self.read_as_staff("inventory").await?;
        let shelves = inventory["products"]
            .as_array()
            .context("the storefront returned no inventory")?;
        let available: HashMap<&str, i64> = shelves
            .iter()
            .filter_map(|product| {
                Some((
                    product["product_id"].as_str()?,
                    product["available"].as_i64()?,
                ))
            })
            .collect();
        for product in products {
            let Some(there) = available.get(product.as_str()) else {
                bail!("there is no product {product:?}")
            };
            let missing = i64::try_from(units)? - there;
            if missing > 0 {
                let url = format!("{}/api/v1/admin/inventory/{product}/restock", self.url);
                let body = json!({ "quantity": missing, "reason": self.name });
                let request = self.client.post(url).bearer_auth(&self.staff).json(&body);
                request.send().await?.error_for_status()?;
            }
        }
        Ok(())
    }

    /// Orders one unit of a product, paid with a valid test card.
    ///
    /// # Errors
    /// As [`Shop::order_of`].
    pub async fn order(&self, product: &str) -> reqwest::Result<(StatusCode, Value)> {
        self.order_of(&[product], 1, "tok_ok").await
    }

    /// Orders `quantity` units of each product. Returns the status and the body of the response.
    ///
    /// # Errors
    /// When no valid response arrives. The error does not name the address.
    pub async fn order_of(
        &self,
        products: &[&str],
        quantity: u32,
        payment_token: &str,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let item = |product: &&str| json!({ "product_id": product, "quantity": quantity });
        // A recipient gets at most 40 messages a day, so each order has its own address.
        let key = Uuid::now_v7();
        let body = json!({
            "customer": { "name": self.name, "phone": "+1 555 010 0199", "email": format!("load-{key}@example.com") },
            "items": products.iter().map(item).collect::<Vec<_>>(),
            "payment_token": payment_token,
        });
        let request = self.client.post(format!("{}/api/v1/orders", self.url));
        let request = request
            .header("Idempotency-Key", key.to_string())
            .json(&body);
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        Ok((
            status,
            answer.json().await.map_err(reqwest::Error::without_url)?,
        ))
    }

    /// Asks the shop to cancel an order. Returns the status of the response; the shop decides
    /// whether it is too late.
    ///
    /// # Errors
    /// When no response arrives. The error does not name the address.
    pub async fn cancel(&self, receipt: &Receipt) -> reqwest::Result<StatusCode> {
        let answer = self.request(receipt, Method::POST, "/cancel").send().await;
        Ok(answer.map_err(reqwest::Error::without_url)?.status())
    }

    /// Builds a request about one order of the customer. The tracking token goes in a header,
    /// because URLs are logged.
    fn request(&self, receipt: &Receipt, method: Method, below: &str) -> RequestBuilder {
        let url = format!("{}/api/v1/orders/{}{below}", self.url, receipt.order_id);
        self.client
            .request(method, url)
            .header("Tracking-Token", &receipt.tracking_token)
    }

    /// Returns the number of orders that are neither confirmed nor ended, up to 200.
    ///
    /// # Errors
    /// When the storefront does not answer with orders.
    pub async fn pending(&self) -> anyhow::Result<usize> {
        let path = "orders?status=pending&limit=200";
        let answer = self.read_as_staff(path).await?;
        let orders = answer["orders"].as_array();
        Ok(orders.context("the storefront returned no orders")?.len())
    }

    /// Waits until an order is confirmed or ended, or until `settled_by`, and returns its state.
    /// The time of confirmation comes from the order's history, so a late look does not distort it.
    ///
    /// # Errors
    /// When the storefront does not answer, or a time in the history is not valid.
    pub async fn standing(
        &self,
        receipt: &Receipt,
        settled_by: Instant,
    ) -> anyhow::Result<Standing> {
        loop {
            let answer = self.request(receipt, Method::GET, "").send().await?;
            let order: Value = answer.json().await?;
            let mut history = order["history"].as_array().into_iter().flatten();
            let confirmed = history.find(|entry| entry["to_status"] == "confirmed");
            let confirmed_at = confirmed.map(|entry| {
                let at = entry["at"].as_str().context("a history without times")?;
                let at = UtcDateTime::parse(at, &Rfc3339).context("a time in the history")?;
                anyhow::Ok(at.into())
            });
            let standing = Standing {
                status: order["status"].as_str().unwrap_or_default().to_owned(),
                confirmed_at: confirmed_at.transpose()?,
            };
            if standing.settled() || Instant::now() > settled_by {
                return Ok(standing);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The id and the tracking token with which a customer asks about an order.
pub struct Receipt {
    pub order_id: String,
    tracking_token: String,
}

impl Receipt {
    /// Reads the response to an accepted order.
    ///
    /// # Errors
    /// When a field is missing.
    pub fn of(answer: &Value) -> anyhow::Result<Receipt> {
        let text = |field: &str| {
            let text = answer[field].as_str().map(str::to_owned);
            text.with_context(|| format!("the shop's receipt has no {field}"))
        };
        Ok(Receipt {
            order_id: text("order_id")?,
            tracking_token: text("tracking_token")?,
        })
    }
}

/// The state of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub status: String,
    /// The time of confirmation, also of an order that was cancelled afterwards.
    pub confirmed_at: Option<OffsetDateTime>,
}

impl Standing {
    /// Returns whether the order was confirmed, has failed or was cancelled.
    pub fn settled(&self) -> bool {
        self.confirmed_at.is_some() || matches!(self.status.as_str(), "failed" | "cancelled")
    }
}

/// Makes an HTTP client without a proxy, with a timeout of 30 s per request.
///
/// # Errors
/// When the client cannot be made.
pub fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .context("an HTTP client")
}
