//! The cost of counted calls, by the price table.

use std::collections::BTreeMap;

use contract::billed::Billed;
use serde::Serialize;

use crate::prices::Prices;

/// The cost of one kind of call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallCost {
    /// The item that is charged.
    pub what: String,
    /// Number of requests, events or units.
    pub units: f64,
    /// Cost in USD.
    pub usd: f64,
    /// True if a person has compared the price with the source's page.
    pub confirmed: bool,
}

/// Returns the name of the price in the table, and the number of calls that the price covers.
const fn price(billed: Billed) -> (&'static str, f64) {
    match billed {
        Billed::QueueRequest => ("queue_million", 1e6),
        Billed::FifoQueueRequest => ("queue_fifo_million", 1e6),
        Billed::TopicRequest => ("topic_million", 1e6),
        Billed::Event => ("event_million", 1e6),
        Billed::TableWrite => ("table_write_million", 1e6),
        Billed::TableRead => ("table_read_million", 1e6),
        Billed::StreamRead => ("table_stream_million", 1e6),
        Billed::Mail => ("mail_thousand", 1e3),
    }
}

/// Returns the cost of each kind of call, most expensive first.
pub fn of_calls(prices: &Prices, units: &BTreeMap<Billed, f64>) -> Vec<CallCost> {
    let cost = |(billed, units): (&Billed, &f64)| {
        let (name, of) = price(*billed);
        let known = prices.price.get(name)?;
        let usd = units / of * known.of("")?;
        Some(CallCost {
            what: known.what.clone(),
            units: *units,
            usd,
            confirmed: known.confirmed,
        })
    };
    let mut costs: Vec<_> = units.iter().filter_map(cost).collect();
    costs.sort_by(|a, b| b.usd.total_cmp(&a.usd));
    costs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prices::REGIONS;

    #[test]
    fn everything_that_is_counted_has_a_price_in_every_region() {
        let one_each = Billed::ALL
            .into_iter()
            .map(|billed| (billed, 1.0))
            .collect();
        for region in REGIONS {
            let prices = Prices::of(region).expect("a table");
            assert_eq!(
                of_calls(&prices, &one_each).len(),
                Billed::ALL.len(),
                "{region}"
            );
        }
    }

    #[test]
    fn calls_are_priced_by_the_table() {
        let prices = Prices::of("us-east-1").expect("a table");
        let costs = of_calls(
            &prices,
            &BTreeMap::from([(Billed::Event, 1e6), (Billed::Mail, 1e6)]),
        );
        let usd: Vec<_> = costs.iter().map(|cost| cost.usd).collect();
        let table = |name: &str| prices.price[name].usd.expect("one price");
        assert_eq!(usd, [table("mail_thousand") * 1e3, table("event_million")]);
    }
}
