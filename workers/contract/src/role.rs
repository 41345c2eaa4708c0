//! The long-running services: what each may touch, and how it starts and stops.

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

/// The longest that Fargate waits between SIGTERM and SIGKILL (ECS task definition parameters,
/// `stopTimeout`).
pub const STOP_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// What is kept between the end of a drain and SIGKILL, for the process to leave.
pub const STOP_MARGIN: Duration = Duration::from_secs(5);

/// What a role does to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    /// Reads too.
    Write,
}

/// Which service a [`Role`] is: code that does something for each of them matches on it, and does
/// not compile when one is added and forgotten there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleId {
    Storefront,
    OutboxRelay,
    OrderWorker,
    PaymentWorker,
    InventoryWorker,
    FulfilmentWorker,
    NotificationWorker,
    ProjectionWorker,
    Sweeper,
}

/// One long-running ECS service: what it is called and all it may touch.
#[derive(Debug)]
pub struct Role {
    pub id: RoleId,
    /// The worker binary, the ECS service and the task role.
    pub slug: &'static str,
    pub about: &'static str,
    pub consumes: &'static [&'static Queue],
    pub sends: &'static [&'static Queue],
    pub publishes: &'static [&'static Topic],
    pub puts_events: &'static [&'static Bus],
    pub tables: &'static [(&'static Table, Access)],
    /// Tables whose streams it reads.
    pub streams: &'static [&'static Table],
    pub parameters: &'static [&'static Parameter],
    pub secrets: &'static [&'static Secret],
    pub database: bool,
    pub cache: bool,
    pub gateway: bool,
    pub mail: bool,
    /// Whether it sends text messages, to any phone.
    pub text_messages: bool,
    /// Whether people reach it through the load balancer.
    pub public: bool,
    /// Messages in hand at once.
    pub concurrency: usize,
    /// How long it needs between SIGTERM and the end.
    pub drain: Duration,
    /// CPU units (1,024 are one vCPU) and MiB of memory of its task.
    pub cpu: u32,
    pub memory_mib: u32,
}

/// A role that touches nothing.
const NOTHING: Role = Role {
    // Every role has its own: an assertion below compares them with their places in ROLES.
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

pub const STOREFRONT: Role = Role {
    id: RoleId::Storefront,
    slug: "storefront",
    about: "Shows the menu, keeps carts, takes orders, and lets staff work on them",
    tables: &[
        (&PRODUCTS, Access::Write),
        (&MOVEMENTS, Access::Write),
        // The timeline of an order shows its hold.
        (&RESERVATIONS, Access::Read),
        (&ORDER_VIEWS, Access::Read),
    ],
    parameters: &[&MAX_QUEUE_SIZE],
    secrets: &[&PAYMENT_WEBHOOK, &SIGNING_KEY],
    database: true,
    cache: true,
    public: true,
    concurrency: 256,
    ..NOTHING
};

pub const OUTBOX_RELAY: Role = Role {
    id: RoleId::OutboxRelay,
    slug: "outbox-relay",
    about: "Moves messages from the database to queues, topics and the bus",
    sends: &[&ORDERS, &PAYMENTS],
    publishes: &[&ORDER_CREATED, &ORDER_STATUS_CHANGED, &INVENTORY_ALERTS],
    puts_events: &[&BUS],
    database: true,
    ..NOTHING
};

pub const ORDER_WORKER: Role = Role {
    id: RoleId::OrderWorker,
    slug: "order-worker",
    about: "Runs the saga of each order: reserve, confirm, release",
    consumes: &[&ORDERS],
    sends: &[],
    tables: &[
        (&PRODUCTS, Access::Write),
        (&RESERVATIONS, Access::Write),
        (&MOVEMENTS, Access::Write),
    ],
    database: true,
    concurrency: 20,
    ..NOTHING
};

pub const PAYMENT_WORKER: Role = Role {
    id: RoleId::PaymentWorker,
    slug: "payment-worker",
    about: "Charges and refunds through the payment gateway, each exactly once",
    consumes: &[&PAYMENTS],
    secrets: &[&PAYMENT_API],
    database: true,
    gateway: true,
    concurrency: 20,
    ..NOTHING
};

pub const INVENTORY_WORKER: Role = Role {
    id: RoleId::InventoryWorker,
    slug: "inventory-worker",
    about: "Follows the stock of every product and tells staff when one runs low or out",
    tables: &[(&PRODUCTS, Access::Read), (&LEASES, Access::Write)],
    streams: &[&PRODUCTS],
    database: true,
    ..NOTHING
};

pub const NOTIFICATION_WORKER: Role = Role {
    id: RoleId::NotificationWorker,
    slug: "notification-worker",
    about: "Tells customers and staff what happened, each once",
    consumes: &[&NOTIFICATIONS],
    parameters: &[&EMAIL_ENABLED, &SMS_ENABLED],
    database: true,
    mail: true,
    text_messages: true,
    concurrency: 10,
    ..NOTHING
};

pub const FULFILMENT_WORKER: Role = Role {
    id: RoleId::FulfilmentWorker,
    slug: "fulfilment-worker",
    about: "Makes the ticket of each confirmed order, or sends its parcel, exactly once",
    consumes: &[&FULFILMENT],
    database: true,
    concurrency: 10,
    ..NOTHING
};

pub const PROJECTION_WORKER: Role = Role {
    id: RoleId::ProjectionWorker,
    slug: "projection-worker",
    about: "Keeps the order view that customers' lists are read from",
    consumes: &[&PROJECTIONS],
    tables: &[(&ORDER_VIEWS, Access::Write)],
    database: true,
    concurrency: 20,
    ..NOTHING
};

pub const SWEEPER: Role = Role {
    id: RoleId::Sweeper,
    slug: "sweeper",
    about: "Asks again where an answer is overdue, tells people who keep an order waiting, and gives back holds of orders \
        that have ended",
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
    ..NOTHING
};

pub const ROLES: &[&Role] = &[
    &STOREFRONT,
    &OUTBOX_RELAY,
    &ORDER_WORKER,
    &PAYMENT_WORKER,
    &INVENTORY_WORKER,
    &FULFILMENT_WORKER,
    &NOTIFICATION_WORKER,
    &PROJECTION_WORKER,
    &SWEEPER,
];

impl Role {
    pub fn by_slug(slug: &str) -> Option<&'static Role> {
        ROLES.iter().find(|role| role.slug == slug).copied()
    }

    /// The resources whose addresses its process needs: exactly the variables that its
    /// configuration demands.
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

    /// `stopTimeout` of its container.
    pub const fn stop_timeout(&self) -> Duration {
        Duration::from_secs(self.drain.as_secs() + STOP_MARGIN.as_secs())
    }
}

// A service that breaks one of these does not compile.
const _: () = {
    let mut i = 0;
    while i < ROLES.len() {
        let role = ROLES[i];
        assert!(role.id as usize == i, "ROLES is not in the order of RoleId");
        assert!(
            role.stop_timeout().as_secs() <= STOP_TIMEOUT_MAX.as_secs(),
            "a drain outlives its container"
        );
        assert!(
            role.drain.as_secs() > LONG_POLL.as_secs(),
            "a poll outlives the drain"
        );
        // To text, a role may publish to whatever is no topic.
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
    assert!(
        ROLES.len() == RoleId::Sweeper as usize + 1,
        "a role of RoleId is not in ROLES"
    );
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
    fn a_role_has_the_credential_of_the_gateway_exactly_when_it_calls_it() {
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
    fn subscriptions_and_rules_select_what_is_really_sent() {
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
