//! The rights of a process, and the addresses of its resources.

use std::collections::HashMap;

use adapter_aws::{ReadTable, WriteTable};
use anyhow::{Context as _, bail};
use contract::address::Address;
use contract::parameter::{Parameter, Secret};
use contract::queue::Queue;
use contract::role::{Access, Role};
use contract::table::Table;
use contract::topic::{Bus, Topic};

/// The rights of a process and the addresses of its resources. Each method returns the address for
/// an adapter, or an error that names the missing right.
#[derive(Debug, Clone)]
pub struct Grants {
    /// `None` for `haven`: AWS decides by the rights of the person who runs it.
    role: Option<&'static Role>,
    /// The addresses by environment variable.
    addresses: HashMap<String, String>,
}

impl Grants {
    /// Creates the grants of a role: the rights that its `Role` lists.
    pub fn of(role: &'static Role, addresses: HashMap<String, String>) -> Grants {
        Grants {
            role: Some(role),
            addresses,
        }
    }

    /// Creates the grants of a person: all rights.
    pub fn of_operator(addresses: HashMap<String, String>) -> Grants {
        Grants {
            role: None,
            addresses,
        }
    }

    /// Returns the URLs of a queue and of its dead-letter queue.
    pub fn consume(&self, queue: &'static Queue) -> anyhow::Result<(String, String)> {
        self.require(format!("consume the queue {}", queue.slug), |role| {
            role.consumes.contains(&queue)
        })?;
        Ok((
            self.address(Address::Queue(queue))?,
            self.address(Address::ParkingQueue(queue))?,
        ))
    }

    /// Returns the URL of a queue.
    pub fn send(&self, queue: &'static Queue) -> anyhow::Result<String> {
        self.require(format!("send to the queue {}", queue.slug), |role| {
            role.sends.contains(&queue)
        })?;
        self.address(Address::Queue(queue))
    }

    /// Returns the ARN of a topic.
    pub fn publish(&self, topic: &'static Topic) -> anyhow::Result<String> {
        self.require(format!("publish to the topic {}", topic.slug), |role| {
            role.publishes.contains(&topic)
        })?;
        self.address(Address::Topic(topic))
    }

    /// Returns the name of a bus.
    pub fn put_events(&self, bus: &'static Bus) -> anyhow::Result<String> {
        self.require(format!("put events on the bus {}", bus.slug), |role| {
            role.puts_events
                .iter()
                .any(|granted| granted.slug == bus.slug)
        })?;
        self.address(Address::Bus(bus))
    }

    /// Returns a table for reading.
    pub fn read(&self, table: &'static Table) -> anyhow::Result<ReadTable> {
        self.require(format!("read the table {}", table.slug), |role| {
            role.tables.iter().any(|(one, _)| *one == table)
        })?;
        self.address(Address::Table(table)).map(ReadTable::named)
    }

    /// Returns a table for reading and writing.
    pub fn write(&self, table: &'static Table) -> anyhow::Result<WriteTable> {
        self.require(format!("write the table {}", table.slug), |role| {
            role.tables.contains(&(table, Access::Write))
        })?;
        self.address(Address::Table(table)).map(WriteTable::named)
    }

    /// Returns the ARN of a table's stream.
    pub fn stream(&self, table: &'static Table) -> anyhow::Result<String> {
        self.require(format!("read the stream of {}", table.slug), |role| {
            role.streams.contains(&table)
        })?;
        self.address(Address::Stream(table))
    }

    /// Checks the right to read a live parameter.
    pub fn parameter(&self, parameter: &'static Parameter) -> anyhow::Result<()> {
        self.require(format!("read the parameter {}", parameter.key), |role| {
            role.parameters.contains(&parameter)
        })
    }

    /// Checks the right to read a secret.
    pub fn secret(&self, secret: &'static Secret) -> anyhow::Result<()> {
        self.require(format!("read the secret {}", secret.slug), |role| {
            role.secrets.contains(&secret)
        })
    }

    /// Checks the right to use the database.
    pub fn database(&self) -> anyhow::Result<()> {
        self.require("use the database".to_owned(), |role| role.database)
    }

    /// Checks the right to use the cache.
    pub fn cache(&self) -> anyhow::Result<()> {
        self.require("use the cache".to_owned(), |role| role.cache)
    }

    /// Checks the right to call the payment gateway.
    pub fn gateway(&self) -> anyhow::Result<()> {
        self.require("call the payment gateway".to_owned(), |role| role.gateway)
    }

    /// Checks the right to send e-mail.
    pub fn mail(&self) -> anyhow::Result<()> {
        self.require("send e-mail".to_owned(), |role| role.mail)
    }

    /// Checks the right to send text messages.
    pub fn text_messages(&self) -> anyhow::Result<()> {
        self.require("send text messages".to_owned(), |role| role.text_messages)
    }

    fn require(&self, act: String, is_granted: impl FnOnce(&Role) -> bool) -> anyhow::Result<()> {
        match self.role {
            Some(role) if !is_granted(role) => {
                bail!(
                    "the role {} may not {act}; add the right to its Role in workers/contract/src/role.rs",
                    role.slug
                )
            }
            Some(_) | None => Ok(()),
        }
    }

    fn address(&self, address: Address) -> anyhow::Result<String> {
        let variable = address.variable();
        self.addresses
            .get(&variable)
            .cloned()
            .with_context(|| format!("{variable} is not set"))
    }
}
