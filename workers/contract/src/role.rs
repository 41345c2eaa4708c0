//! The long-running services of the platform, with everything that each may use.

use std::time::Duration;

use crate::address::Address;
use crate::parameter::{
    COLLECTION_TIMEOUT, EMAIL_ENABLED, MAX_QUEUE_SIZE, PAYMENT_API, PAYMENT_WEBHOOK,
    PREPARATION_TIMEOUT, PROCESSING_TIMEOUT, Parameter, SIGNING_KEY, SMS_ENABLED, Secret,
    UNCOLLECTED_TIMEOUT,
};
use crate::queue::{FULFILMENT, LONG_POLL, NOTIFICATIONS, ORDERS, PAYMENTS, PROJECTIONS, Queue};
use crate::table::{LEASES, MOVEMENTS, ORDER_VIEWS, PRODUCTS, RESERVATIONS, Table};
use crate::topic::{BUS, Bus, INVENTORY_ALERTS, ORDER_CREATED, ORDER_STATUS_CHANGED, Topic};

/// Maximum time between SIGTERM and SIGKILL on Fargate (`stopTimeout` in the ECS task definition
/// parameters).
pub const STOP_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Time between the end of the drain and SIGKILL, in which the process exits.
pub const STOP_MARGIN: Duration = Duration::from_secs(5);

/// The access of a role to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The role reads the table.
    Read,
    /// The role reads and writes the table.
    Write,
}

/// One long-running ECS service, with everything that it may use.
#[derive(Debug)]
pub struct Role {
    /// The identity of the role.
    pub id: RoleId,
    /// The name of the role, the ECS service and the task role.
    pub slug: &'static str,
    /// The purpose of the role, as a sentence without a subject.
    pub about: &'static str,
    /// Queues whose messages the role receives.
    pub consumes: &'static [&'static Queue],
    /// Queues that the role sends messages to.
    pub sends: &'static [&'static Queue],
    /// Topics that the role publishes to.
    pub publishes: &'static [&'static Topic],
    /// Event buses that the role sends events to.
    pub puts_events: &'static [&'static Bus],
    /// Tables that the role uses.
    pub tables: &'static [(&'static Table, Access)],
    /// Tables whose streams the role reads.
    pub streams: &'static [&'static Table],
    /// Live parameters that the role reads.
    pub parameters: &'static [&'static Parameter],
    /// Secrets that the role receives.
    pub secrets: &'static [&'static Secret],
    /// Whether the role uses the database.
    pub database: bool,
    /// Whether the role uses the Redis cache.
    pub cache: bool,
    /// Whether the role calls the payment gateway.
    pub gateway: bool,
    /// Whether the role sends e-mails.
    pub mail: bool,
    /// Whether the role sends text messages to phones.
    pub text_messages: bool,
    /// Whether the role is reachable through the load balancer.
    pub public: bool,
    /// Maximum number of messages or requests in flight.
    pub concurrency: usize,
    /// Time that the role needs between SIGTERM and exit.
    pub drain: Duration,
    /// CPU of a task, in CPU units; 1,024 are one vCPU.
    pub cpu: u32,
    /// Memory of a task, in MiB.
    pub memory_mib: u32,
}

/// A role without any permission, as a base for the others.
const NOTHING: Role = Role {
    // A placeholder: every role has its own id.
    id: RoleId::Storefront,
    slug: "",
    about: "",
    consumes: &[],
    sends: &[],
    publishes: &[],
    puts_events: &[],
    tables: &[],
    streams: &[],
    parameters: &[],
    secrets: &[],
    database: false,
    cache: false,
    gateway: false,
    mail: false,
    text_messages: false,
    public: false,
    concurrency: 1,
    drain: Duration::from_secs(25),
    cpu: 256,
    memory_mib: 512,
};

/// Declares the roles, their identities, and the list of them.
macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident $id:ident { $($field:ident: $value:expr,)* })*) => {
        /// The identity of a [`Role`]. Code that treats roles differently matches on it
        /// exhaustively and does not compile when a new role is not handled.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RoleId {
            $($id,)*
        }

        $($(#[$doc])*
        pub const $name: Role = Role {
            id: RoleId::$id,
            $($field: $value,)*
            ..NOTHING
        };)*

        /// Every role, in the order of [`RoleId`].
        pub const ROLES: &[&Role] = &[$(&$name),*];
    };
}

roles! {
    /// The web server of customers and staff.
    STOREFRONT Storefront {
        slug: "storefront",
        about: "Serves the API and the pages: menu, carts, orders and the staff pages",
        tables: &[
            (&PRODUCTS, Access::Write),
            (&MOVEMENTS, Access::Write),
            // The timeline of an order shows its stock hold.
            (&RESERVATIONS, Access::Read),
            (&ORDER_VIEWS, Access::Read),
        ],
        parameters: &[&MAX_QUEUE_SIZE],
        secrets: &[&PAYMENT_WEBHOOK, &SIGNING_KEY],
        database: true,
        cache: true,
        public: true,
        concurrency: 256,
    }

    /// The sender of the outbox.
    OUTBOX_RELAY OutboxRelay {
        slug: "outbox-relay",
        about: "Sends the messages in the outbox to queues, topics and the event bus",
        sends: &[&ORDERS, &PAYMENTS],
        publishes: &[&ORDER_CREATED, &ORDER_STATUS_CHANGED, &INVENTORY_ALERTS],
        puts_events: &[&BUS],
        database: true,
    }

    /// The consumer of the orders queue.
    ORDER_WORKER OrderWorker {
        slug: "order-worker",
        about: "Runs the saga of each order: reserve, confirm, release",
        consumes: &[&ORDERS],
        tables: &[
            (&PRODUCTS, Access::Write),
            (&RESERVATIONS, Access::Write),
            (&MOVEMENTS, Access::Write),
        ],
        database: true,
        concurrency: 20,
    }

    /// The consumer of the payments queue.
    PAYMENT_WORKER PaymentWorker {
        slug: "payment-worker",
        about: "Charges and refunds through the payment gateway, each exactly once",
        consumes: &[&PAYMENTS],
        secrets: &[&PAYMENT_API],
        database: true,
        gateway: true,
        concurrency: 20,
    }

    /// The reader of the stream of the products table.
    INVENTORY_WORKER InventoryWorker {
        slug: "inventory-worker",
        about: "Reads changes of stock and notifies staff when a product runs low or is sold out",
        tables: &[(&PRODUCTS, Access::Read), (&LEASES, Access::Write)],
        streams: &[&PRODUCTS],
        database: true,
    }

    /// The consumer of the fulfilment queue.
    FULFILMENT_WORKER FulfilmentWorker {
        slug: "fulfilment-worker",
        about: "Creates the ticket or the parcel of each confirmed order, exactly once",
        consumes: &[&FULFILMENT],
        database: true,
        concurrency: 10,
    }

    /// The consumer of the notifications queue.
    NOTIFICATION_WORKER NotificationWorker {
        slug: "notification-worker",
        about: "Notifies customers and staff, once for each event",
        consumes: &[&NOTIFICATIONS],
        parameters: &[&EMAIL_ENABLED, &SMS_ENABLED],
        database: true,
        mail: true,
        text_messages: true,
        concurrency: 10,
    }

    /// The consumer of the projections queue.
    PROJECTION_WORKER ProjectionWorker {
        slug: "projection-worker",
        about: "Writes the order view, from which customers' lists are read",
        consumes: &[&PROJECTIONS],
        tables: &[(&ORDER_VIEWS, Access::Write)],
        database: true,
        concurrency: 20,
    }

    /// The periodic checks of orders and stock holds.
    SWEEPER Sweeper {
        slug: "sweeper",
        about: "Requests overdue results again, notifies people who keep an order waiting, and releases stock holds of ended \
            orders",
        tables: &[
            (&PRODUCTS, Access::Write),
            (&RESERVATIONS, Access::Write),
            (&MOVEMENTS, Access::Write),
        ],
        parameters: &[
            &PROCESSING_TIMEOUT,
            &PREPARATION_TIMEOUT,
            &COLLECTION_TIMEOUT,
            &UNCOLLECTED_TIMEOUT,
        ],
        database: true,
    }
}

impl Role {
    /// Returns the role with this slug.
    pub fn by_slug(slug: &str) -> Option<&'static Role> {
        ROLES.iter().find(|role| role.slug == slug).copied()
    }

    /// Returns the addresses that the process of the role needs. Its configuration requires exactly
    /// these environment variables.
    pub fn addresses(&self) -> Vec<Address> {
        let mut addresses = Vec::new();
        for queue in self.consumes {
            addresses.extend([Address::Queue(queue), Address::ParkingQueue(queue)]);
        }
        addresses.extend(self.sends.iter().map(|queue| Address::Queue(queue)));
        addresses.extend(self.publishes.iter().map(|topic| Address::Topic(topic)));
        addresses.extend(self.puts_events.iter().map(|bus| Address::Bus(bus)));
        addresses.extend(self.tables.iter().map(|(table, _)| Address::Table(table)));
        addresses.extend(self.streams.iter().map(|table| Address::Stream(table)));
        addresses
    }

    /// Returns the `stopTimeout` of the role's container.
    pub const fn stop_timeout(&self) -> Duration {
        Duration::from_secs(self.drain.as_secs() + STOP_MARGIN.as_secs())
    }
}

// A role that violates one of these limits does not compile.
const _: () = {
    let mut i = 0;
    while i < ROLES.len() {
        let role = ROLES[i];
        assert!(
            role.stop_timeout().as_secs() <= STOP_TIMEOUT_MAX.as_secs(),
            "a drain outlives its container"
        );
        assert!(
            role.drain.as_secs() > LONG_POLL.as_secs(),
            "a poll outlives the drain"
        );
        // The IAM statement for text messages allows `sns:Publish` to everything except topics.
        assert!(
            !role.text_messages || role.publishes.is_empty(),
            "a role both texts and publishes to topics"
        );
        let mut j = 0;
        while j < role.consumes.len() {
            assert!(
                role.drain.as_secs() > role.consumes[j].handler_timeout.as_secs(),
                "a handler outlives the drain"
            );
            j += 1;
        }
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::alarm::{ALARMS, Signal};
    use crate::event::{EventKind, Route};
    use crate::queue::QUEUES;
    use crate::topic::{RULES, SUBSCRIPTIONS};

    #[test]
    fn slugs_are_unique() {
        let slugs: HashSet<_> = ROLES.iter().map(|role| role.slug).collect();
        assert_eq!(slugs.len(), ROLES.len());
    }

    #[test]
    fn a_role_has_the_credential_of_the_gateway_only_if_it_calls_it() {
        for role in ROLES {
            assert_eq!(
                role.secrets.contains(&&PAYMENT_API),
                role.gateway,
                "{}",
                role.slug
            );
        }
    }

    #[test]
    fn every_queue_has_one_consumer_and_every_route_a_sender() {
        for queue in QUEUES {
            let consumers = ROLES
                .iter()
                .filter(|role| role.consumes.contains(queue))
                .count();
            assert_eq!(consumers, 1, "{}", queue.slug);
        }
        for kind in EventKind::ALL {
            for route in kind.routes() {
                let sent = match route {
                    Route::Queue(queue) => OUTBOX_RELAY.sends.contains(queue),
                    Route::Topic(topic) => OUTBOX_RELAY.publishes.contains(topic),
                    Route::Bus => !OUTBOX_RELAY.puts_events.is_empty(),
                };
                assert!(sent, "nobody may send {kind:?} to {route:?}");
            }
        }
    }

    #[test]
    fn subscriptions_and_rules_select_messages_that_are_sent() {
        for subscription in SUBSCRIPTIONS {
            let carries = |kind: EventKind| {
                kind.routes().iter().any(
                    |route| matches!(route, Route::Topic(topic) if *topic == subscription.topic),
                )
            };
            assert!(
                EventKind::ALL.into_iter().any(carries),
                "nothing is published to {}",
                subscription.topic.slug
            );
        }
        for rule in RULES {
            assert!(
                rule.kind
                    .routes()
                    .iter()
                    .any(|route| matches!(route, Route::Bus)),
                "{}",
                rule.slug
            );
        }
    }

    #[test]
    fn alarms_are_unique_and_watch_services_that_exist() {
        let slugs: HashSet<_> = ALARMS.iter().map(|alarm| alarm.slug).collect();
        assert_eq!(slugs.len(), ALARMS.len());
        for alarm in ALARMS {
            if let Signal::Ours { service, .. } = alarm.signal {
                assert!(
                    Role::by_slug(service).is_some(),
                    "{} watches {service}",
                    alarm.slug
                );
            }
            assert!(
                alarm.datapoints <= alarm.evaluation_periods,
                "{}",
                alarm.slug
            );
        }
    }
}
