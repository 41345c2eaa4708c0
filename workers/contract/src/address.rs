//! The environment variables and parameters through which a process learns the physical address of
//! a resource. The template writes each address to one environment variable of a role and to
//! Parameter Store.

use crate::queue::{QUEUES, Queue};
use crate::table::{TABLES, Table};
use crate::topic::{BUS, Bus, TOPICS, Topic};

/// A resource that CloudFormation names and a process must find.
#[derive(Debug, Clone, Copy)]
pub enum Address {
    /// The URL of a work queue.
    Queue(&'static Queue),
    /// The URL of the dead-letter queue of a work queue.
    ParkingQueue(&'static Queue),
    /// The ARN of a topic.
    Topic(&'static Topic),
    /// The name of the event bus.
    Bus(&'static Bus),
    /// The name of a table.
    Table(&'static Table),
    /// The ARN of a table's stream.
    Stream(&'static Table),
}

impl Address {
    /// Returns every address of the platform.
    pub fn all() -> impl Iterator<Item = Address> {
        let queues = QUEUES
            .iter()
            .flat_map(|queue| [Address::Queue(queue), Address::ParkingQueue(queue)]);
        let topics = TOPICS.iter().map(|topic| Address::Topic(topic));
        let tables = TABLES.iter().map(|table| Address::Table(table));
        let streams = TABLES
            .iter()
            .filter(|table| table.stream)
            .map(|table| Address::Stream(table));
        queues
            .chain(topics)
            .chain([Address::Bus(&BUS)])
            .chain(tables)
            .chain(streams)
    }

    /// Returns the name of the environment variable, such as `HAVEN_QUEUE_ORDERS_URL`.
    pub fn variable(self) -> String {
        let [kind, slug, form] = self.words();
        format!("HAVEN_{kind}_{slug}_{form}")
            .replace('-', "_")
            .to_uppercase()
    }

    /// Returns the key below the environment's parameter root, such as `queue/orders/url`.
    pub fn parameter(self) -> String {
        let [kind, slug, form] = self.words();
        format!("{kind}/{slug}/{form}")
    }

    /// Returns the kind of the resource, its slug and the form of the address.
    fn words(self) -> [String; 3] {
        let words = |kind: &str, slug: &str, form: &str| {
            [kind.to_owned(), slug.to_owned(), form.to_owned()]
        };
        match self {
            Address::Queue(queue) => words("queue", queue.slug, "url"),
            Address::ParkingQueue(queue) => words("queue", &queue.parking_slug(), "url"),
            Address::Topic(topic) => words("topic", topic.slug, "arn"),
            Address::Bus(bus) => words("bus", bus.slug, "name"),
            Address::Table(table) => words("table", table.slug, "name"),
            Address::Stream(table) => words("stream", table.slug, "arn"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_variable_and_parameter_is_well_formed_and_unique() {
        let mut seen = HashSet::new();
        for address in Address::all() {
            let (variable, parameter) = (address.variable(), address.parameter());
            assert!(
                variable
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
                "{variable}"
            );
            assert!(
                seen.insert(variable) && seen.insert(parameter),
                "{address:?} is not unique"
            );
        }
    }

    #[test]
    fn names_read_as_documented() {
        assert_eq!(
            Address::Queue(&crate::queue::ORDERS).variable(),
            "HAVEN_QUEUE_ORDERS_URL"
        );
        assert_eq!(
            Address::ParkingQueue(&crate::queue::ORDERS).parameter(),
            "queue/orders-parking/url"
        );
        assert_eq!(
            Address::Topic(&crate::topic::STAFF_ALERTS).variable(),
            "HAVEN_TOPIC_STAFF_ALERTS_ARN"
        );
    }
}
