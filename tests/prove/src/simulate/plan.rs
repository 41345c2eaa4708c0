//! What a seed makes of a run: who orders what, and which faults there are, how often. No two seeds
//! have the same weather: some kinds of fault are off in each, so that others come through (swarm
//! testing).

use faults::Dice;

use super::engine::Port;

/// Rates are per thousand calls, deliveries or polls.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub customers: u64,
    pub staff: u64,
    /// Units of the product that everybody wants.
    pub hot_units: u32,
    /// Faults last so long; then comes the quiet.
    pub storm_ms: u64,
    /// Calls that fail before they have an effect.
    pub failure: u32,
    /// Calls whose effect happens and whose reply does not come.
    pub lost_reply: u32,
    pub slow: u32,
    pub crash: u32,
    pub duplicate: u32,
    pub partial_batch: u32,
    pub lost_delete: u32,
    /// Reads of the stream that find records gone.
    pub lost_stream: u32,
    /// A call that got lost arrives later.
    pub late: u32,
    pub clock_jumps: bool,
    /// FIFO queues drop a repeat of five minutes, or one is to assume that they do not.
    pub fifo_dedup: bool,
    /// One port that does not work for a while, from when to when.
    pub outage: Option<(Port, u64, u64)>,
}

const MINUTE: u64 = 60_000;

impl Plan {
    /// The same for the same seed and size.
    pub fn of(seed: u64, customers: u64) -> Plan {
        let mut dice = Dice::of(seed ^ 0x0070_6c61_6e00);
        let mut rate = |most: u64| {
            if dice.permille(350) {
                0
            } else {
                dice.between(1, most) as u32
            }
        };
        let mut plan = Plan {
            seed,
            customers,
            staff: 2,
            hot_units: 0,
            storm_ms: 0,
            failure: rate(60),
            lost_reply: rate(60),
            slow: rate(15),
            crash: rate(25),
            duplicate: rate(200),
            partial_batch: rate(100),
            lost_delete: rate(150),
            lost_stream: rate(60),
            late: rate(500),
            clock_jumps: false,
            fifo_dedup: true,
            outage: None,
        };
        plan.hot_units = dice.between(1, customers.max(2) / 2) as u32;
        plan.storm_ms = dice.between(20_000, 60_000);
        plan.clock_jumps = dice.permille(200);
        plan.fifo_dedup = dice.permille(700);
        match dice.below(20) {
            // Long enough for orders to be given up and for holds to expire while the card is being
            // charged.
            0 => {
                plan.storm_ms = 18 * MINUTE;
                plan.outage = Some((Port::Gateway, dice.between(1_000, 5_000), 17 * MINUTE));
                (plan.slow, plan.crash) = (plan.slow / 4, plan.crash / 4);
            }
            1..=6 => {
                let port = Port::ALL[dice.below(Port::ALL.len() as u64) as usize];
                let from = dice.between(1_000, 10_000);
                plan.outage = Some((port, from, from + dice.between(5_000, 30_000)));
            }
            _ => {}
        }
        plan
    }
}
