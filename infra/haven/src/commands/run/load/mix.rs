//! The kinds of customers of a load and their shares, from a file.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// One kind of customer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    /// The share in any unit, relative to the sum of all shares.
    pub share: f64,
    /// The number of different products in an order.
    #[serde(default = "one")]
    pub products: usize,
    /// The units of each product.
    #[serde(default = "one")]
    pub quantity: u32,
    #[serde(default = "good_card")]
    pub payment_token: String,
    /// Whether the customer cancels the order as soon as it is accepted.
    #[serde(default)]
    pub cancels: bool,
}

fn one<T: From<u8>>() -> T {
    T::from(1_u8)
}

fn good_card() -> String {
    "tok_ok".to_owned()
}

impl Customer {
    /// Returns whether the payment succeeds in the end. With `tok_timeout` and similar tokens it
    /// takes longer.
    pub fn pays(&self) -> bool {
        !matches!(
            self.payment_token.as_str(),
            "tok_declined" | "tok_insufficient_funds"
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    customer: Vec<Customer>,
}

/// The kinds of customers of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix(Vec<Customer>);

impl Mix {
    /// Returns the default mix: every customer buys one unit of one product and pays.
    pub fn plain() -> Mix {
        Mix(vec![Customer {
            share: 1.0,
            products: one(),
            quantity: one(),
            payment_token: good_card(),
            cancels: false,
        }])
    }

    /// Reads a mix from a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read, or a value is out of range. The message names the value.
    pub fn read(path: &Path) -> anyhow::Result<Mix> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--mix: read {}", path.display()))?;
        Mix::parse(&text).with_context(|| format!("--mix: {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Mix> {
        let customers = toml::from_str::<File>(text)?.customer;
        for (index, customer) in customers.iter().enumerate() {
            let number = index + 1;
            let (share, products, quantity) =
                (customer.share, customer.products, customer.quantity);
            if !(share > 0.0 && share.is_finite()) {
                bail!("share of customer {number} must be above 0, not {share}");
            }
            if !(1..=20).contains(&products) {
                bail!("products of customer {number} must be 1 to 20, not {products}");
            }
            if !(1..=99).contains(&quantity) {
                bail!("quantity of customer {number} must be 1 to 99, not {quantity}");
            }
        }
        if customers.is_empty() {
            bail!("no [[customer]] in it");
        }
        Ok(Mix(customers))
    }

    /// Returns the kinds of `count` customers in the order in which they come. The order is
    /// deterministic and even: the next customer is of the kind that is furthest behind its share.
    pub fn order_of(&self, count: usize) -> Vec<&Customer> {
        let total: f64 = self.0.iter().map(|customer| customer.share).sum();
        let mut come = vec![0.0; self.0.len()];
        let mut line = Vec::with_capacity(count);
        for index in 0..count {
            let owed = |(kind, customer): (usize, &Customer)| {
                (
                    kind,
                    customer.share / total * (index + 1) as f64 - come[kind],
                )
            };
            let next = self
                .0
                .iter()
                .enumerate()
                .map(owed)
                .max_by(|a, b| a.1.total_cmp(&b.1));
            let kind = next.map_or(0, |(kind, _)| kind);
            come[kind] += 1.0;
            line.push(&self.0[kind]);
        }
        line
    }

    /// Returns the largest number of units of a product in one order.
    pub fn quantity_max(&self) -> u32 {
        self.0
            .iter()
            .map(|customer| customer.quantity)
            .max()
            .unwrap_or(1)
    }

    /// Returns the largest number of products in one order.
    pub fn products_max(&self) -> usize {
        self.0
            .iter()
            .map(|customer| customer.products)
            .max()
            .unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: &str = "
        [[customer]]
        share = 8
        products = 2
        [[customer]]
        share = 1
        payment_token = 'tok_declined'
        [[customer]]
        share = 1
        cancels = true
    ";

    #[test]
    fn customers_are_distributed_evenly_by_their_shares() {
        let mix = Mix::parse(MIX).expect("a mix");
        let line = mix.order_of(100);
        for ten in line.chunks(10) {
            let kinds =
                |kind: fn(&Customer) -> bool| ten.iter().filter(|customer| kind(customer)).count();
            assert_eq!(kinds(|customer| customer.products == 2), 8);
            assert_eq!(kinds(|customer| !customer.pays()), 1);
            assert_eq!(kinds(|customer| customer.cancels), 1);
        }
    }

    #[test]
    fn a_mistake_in_the_mix_is_named() {
        for (text, named) in [
            ("[[customer]]\nshare = 0", "share of customer 1"),
            (
                "[[customer]]\nshare = 1\nquantity = 100",
                "quantity of customer 1",
            ),
            ("[[customer]]\nshare = 1\nproduct = 1", "product"),
            ("customer = []", "no [[customer]]"),
        ] {
            let told = format!("{:#}", Mix::parse(text).expect_err(text));
            assert!(told.contains(named), "{told}");
        }
    }
}
