//! The shop as a customer's program sees it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};
use tokio::time::Instant;
use uuid::Uuid;

use crate::local::facts::Facts;

pub struct Shop {
    pub client: reqwest::Client,
    pub url: String,
    pub staff: String,
    /// Stands on the orders, so that everybody sees whose they are.
    pub name: &'static str,
}

impl Shop {
    /// The one that `haven up` runs.
    pub fn of(facts: &Facts, name: &'static str) -> anyhow::Result<Shop> {
        Ok(Shop { client: client()?, url: facts.storefront.clone(), staff: facts.staff_token.clone(), name })
    }

    pub async fn menu(&self) -> anyhow::Result<Vec<String>> {
        let menu: Value = self.client.get(format!("{}/api/v1/menu", self.url)).send().await?.json().await?;
        let products = menu["products"].as_array().context("the storefront gave no menu")?;
        Ok(products.iter().filter_map(|product| product["product_id"].as_str().map(str::to_owned)).collect())
    }

    pub async fn fill_shelves(&self, products: &[String], units: u64) -> anyhow::Result<()> {
        let answer = self.client.get(format!("{}/api/v1/admin/inventory", self.url)).bearer_auth(&self.staff);
        let inventory: Value = answer.send().await?.error_for_status()?.json().await?;
        let shelves = inventory["products"].as_array().context("the storefront gave no inventory")?;
        let available: HashMap<&str, i64> = shelves
            .iter()
            .filter_map(|product| Some((product["product_id"].as_str()?, product["available"].as_i64()?)))
            .collect();
        for product in products {
            let Some(there) = available.get(product.as_str()) else { bail!("there is no product {product:?}") };
            let missing = i64::try_from(units)? - there;
            if missing > 0 {
                self.client
                    .post(format!("{}/api/v1/admin/inventory/{product}/restock", self.url))
                    .bearer_auth(&self.staff)
                    .json(&json!({ "quantity": missing, "reason": self.name }))
                    .send()
                    .await?
                    .error_for_status()?;
            }
        }
        Ok(())
    }

    pub async fn order(&self, product: &str) -> Result<(StatusCode, Value), String> {
        let body = json!({
            "customer": { "name": self.name, "phone": "+1 555 010 0199", "email": "load@example.com" },
            "items": [{ "product_id": product, "quantity": 1 }],
            "payment_token": "tok_ok",
        });
        let request = self.client.post(format!("{}/api/v1/orders", self.url));
        let request = request.header("Idempotency-Key", Uuid::now_v7().to_string()).json(&body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        Ok((status, answer.json().await.map_err(|error| error.to_string())?))
    }

    /// When the order was confirmed by its own history: looking does not slow it down. Inside, nothing for an order that
    /// ended otherwise; outside, for one that has not ended by then.
    pub async fn confirmed_at(
        &self,
        path: &str,
        settled_by: Instant,
    ) -> anyhow::Result<Option<Option<OffsetDateTime>>> {
        loop {
            let order: Value = self.client.get(format!("{}{path}", self.url)).send().await?.json().await?;
            let history = order["history"].as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(entry) = history.iter().find(|entry| entry["to_status"] == "confirmed") {
                let at = entry["at"].as_str().context("a history without times")?;
                return Ok(Some(Some(UtcDateTime::parse(at, &Rfc3339).context("a time in the history")?.into())));
            }
            if matches!(order["status"].as_str(), Some("failed" | "cancelled")) {
                return Ok(Some(None));
            }
            if Instant::now() > settled_by {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().context("an HTTP client")
}
