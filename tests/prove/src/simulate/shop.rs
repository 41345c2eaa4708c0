//! The shop of one run: its shared state, its processes and people, and the check whether it is
//! quiet.

use std::sync::Arc;

use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::scope::Scope;
use app::ports::stock::Stock as _;
use app::use_cases::Shop as Settings;
use domain::ids::ProductId;
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use domain::order::Order;
use faults::Dice;

use super::engine::{Engine, Mortality, Scheduler, Who};
use super::gateway::Ledger;
use super::mail::Sink;
use super::mistake::Mistake;
use super::orders::{Database, at_once};
use super::people::{self, Customer};
use super::plan::Plan;
use super::queues::Broker;
use super::stock::Table;
use super::workers::{self, Job};

/// The processes of the shop. The clock task and the people have the indexes after them.
const JOBS: [(&str, Job); 10] = [
    ("order-worker 1", Job::Orders),
    ("order-worker 2", Job::Orders),
    ("payment-worker 1", Job::Payments),
    ("payment-worker 2", Job::Payments),
    ("notifier 1", Job::Notifications),
    ("notifier 2", Job::Notifications),
    ("relay 1", Job::Relay),
    ("relay 2", Job::Relay),
    ("sweeper", Job::Sweeper),
    ("inventory-worker", Job::Inventory),
];

/// The product that most customers order.
pub const HOT: &str = "affogato";
/// A product with enough stock for all.
pub const PLAIN: &str = "espresso";
/// Low-stock threshold of both products.
const LOW: i64 = 2;

/// The state of the shop, which all tasks share.
pub struct Shop {
    pub engine: Arc<Engine>,
    pub database: Arc<Database>,
    pub table: Arc<Table>,
    pub broker: Arc<Broker>,
    pub ledger: Arc<Ledger>,
    pub sink: Arc<Sink>,
    pub settings: Settings,
    pub customers: Vec<Arc<Customer>>,
}

/// Returns the name of a task.
pub fn name_of(who: Who) -> String {
    match JOBS.get(who) {
        Some((name, _)) => (*name).to_owned(),
        None if who == JOBS.len() => "weather".to_owned(),
        None => format!("person {}", who - JOBS.len()),
    }
}

/// Returns the product id for a valid slug.
pub fn product_id(slug: &str) -> ProductId {
    ProductId::parse(slug).unwrap_or_else(|_| unreachable!("a slug"))
}

impl Shop {
    /// Creates a shop with stock, and a scheduler with its processes and people.
    pub fn open(plan: Plan, mistake: Option<Mistake>) -> (Arc<Shop>, Scheduler) {
        let mut dice = Dice::of(plan.seed ^ 0x0063_7573_746f);
        let customers: Vec<_> = (0..plan.customers)
            .map(|n| Arc::new(Customer::of(n, &plan, &mut dice)))
            .collect();
        let engine = Arc::new(Engine::new(plan, mistake));
        let shop = Arc::new(Shop {
            engine: Arc::clone(&engine),
            database: Arc::default(),
            table: Arc::default(),
            broker: Arc::default(),
            ledger: Arc::default(),
            sink: Arc::default(),
            settings: Settings::default_shop(),
            customers,
        });
        for (slug, units, minor) in [(HOT, engine.plan.hot_units, 650), (PLAIN, 1_000, 333)] {
            let product = Product {
                product_id: product_id(slug),
                name: slug.to_owned(),
                description: String::new(),
                kind: ProductType::Coffee,
                price: Money::new(minor, Currency::Usd),
                image_url: String::new(),
            };
            let now = engine.now();
            let added = shop.table.change(&engine, |stock| {
                at_once(stock.add_product(&product, units, LOW, now))
            });
            debug_assert_eq!(added, Ok(true));
        }
        let mut scheduler = Scheduler::new(Arc::clone(&engine));
        for (_, job) in JOBS {
            let shop = Arc::clone(&shop);
            scheduler.add(Mortality::Mortal, move |who| {
                Box::pin(workers::run(Arc::clone(&shop), who, job))
            });
        }
        let jumps = Arc::clone(&engine);
        scheduler.add(Mortality::Immortal, move |_| {
            Box::pin(clocks_jump(Arc::clone(&jumps)))
        });
        for _ in 0..engine.plan.staff {
            let shop = Arc::clone(&shop);
            scheduler.add(Mortality::Mortal, move |who| {
                Box::pin(people::serve(Arc::clone(&shop), who))
            });
        }
        for customer in &shop.customers {
            for tab in 0..customer.tabs {
                let (shop, customer) = (Arc::clone(&shop), Arc::clone(customer));
                scheduler.add(Mortality::Mortal, move |who| {
                    Box::pin(people::order(
                        Arc::clone(&shop),
                        Arc::clone(&customer),
                        tab,
                        who,
                    ))
                });
            }
        }
        (shop, scheduler)
    }

    /// Returns all orders as they are stored.
    pub fn orders(&self) -> Vec<Order> {
        at_once(self.database.store.list(
            &Scope::Everything,
            &OrderFilter {
                limit: 200,
                ..OrderFilter::default()
            },
        ))
        .unwrap_or_default()
    }

    /// Returns why the shop is not quiet, or `None` if it is.
    pub fn unrest(&self) -> Option<String> {
        if let Some(order) = self.orders().iter().find(|order| !order.state.settled()) {
            return Some(format!(
                "order {} is {}",
                order.order_id,
                order.state.code()
            ));
        }
        if !self.broker.is_empty() {
            return Some("a queue is not empty".to_owned());
        }
        if at_once(self.database.store.oldest_unpublished()) != Ok(None) {
            return Some("the outbox is not empty".to_owned());
        }
        if !self.table.is_read() {
            return Some("the stream is not read to its end".to_owned());
        }
        self.customers
            .iter()
            .any(|customer| !customer.is_done())
            .then(|| "a customer still tries to order".to_owned())
    }
}

/// Sets the clocks of single processes wrong for a while.
async fn clocks_jump(engine: Arc<Engine>) {
    use super::hits::Hit;
    const JUMPS_MS: [i64; 4] = [7 * 60_000, -2 * 3_600_000, 25_000, -40_000];
    while engine.plan.clock_jumps && engine.storms() {
        engine
            .sleep(engine.dice(|dice| dice.between(2_000, 12_000)))
            .await;
        if !engine.storms() {
            return;
        }
        let who = engine.dice(|dice| dice.below(JOBS.len() as u64)) as Who;
        let jump = JUMPS_MS[engine.dice(|dice| dice.below(JUMPS_MS.len() as u64)) as usize];
        engine.skew(who, jump);
        engine.note(
            who,
            "clock",
            if jump > 0 { "forward" } else { "back" },
            None,
        );
        engine.hit(if jump > 0 {
            Hit::ClockForward
        } else {
            Hit::ClockBack
        });
        engine
            .sleep(engine.dice(|dice| dice.between(500, 8_000)))
            .await;
        engine.skew(who, 0);
    }
}
