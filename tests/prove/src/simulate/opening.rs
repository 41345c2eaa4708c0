//! Opens the shop of one run: its stock, and the scheduler with its processes and people.

use std::sync::Arc;

use app::location::Location;
use app::ports::stock::Stock as _;
use domain::menu::{Product, ProductType};
use domain::money::{Currency, Money};
use faults::Dice;

use super::customer::{Customer, HOT, PLAIN, product_id};
use super::engine::{Engine, Mortality, Scheduler};
use super::hits::Hit;
use super::mistake::Mistake;
use super::orders::at_once;
use super::plan::Plan;
use super::shop::SimulatedShop;
use super::task::{JOBS, Who};
use super::{people, workers};

/// Low-stock threshold of both products.
const LOW: i64 = 2;

impl SimulatedShop {
    /// Creates a shop with stock, and a scheduler with its processes and people.
    pub fn open(plan: Plan, mistake: Option<Mistake>) -> (Arc<SimulatedShop>, Scheduler) {
        let mut dice = Dice::of(plan.seed ^ 0x0063_7573_746f);
        let customers: Vec<_> = (0..plan.customers)
            .map(|n| Arc::new(Customer::of(n, &plan, &mut dice)))
            .collect();
        let engine = Arc::new(Engine::new(plan, mistake));
        let shop = Arc::new(SimulatedShop {
            engine: Arc::clone(&engine),
            database: Arc::default(),
            table: Arc::default(),
            broker: Arc::default(),
            ledger: Arc::default(),
            sink: Arc::default(),
            settings: Location::initial(),
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
}

/// Sets the clocks of single processes wrong for a while.
async fn clocks_jump(engine: Arc<Engine>) {
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
