//! The parameters of a run, drawn from its seed: customers, kinds of faults and their rates. In
//! each run, some kinds of faults are off, so that others have a larger effect (swarm testing).

use faults::Dice;

use super::port::Port;

/// The parameters of a run. Rates are per thousand calls, deliveries or polls.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub customers: u64,
    pub staff: u64,
    /// Units of the product that most customers order.
    pub hot_units: u32,
    /// How long faults occur, in milliseconds. A quiet time follows.
    pub storm_ms: u64,
    /// Rate of calls that fail before their effect.
    pub failure: u32,
    /// Rate of calls that have their effect but lose their reply.
    pub lost_reply: u32,
    pub slow: u32,
    pub crash: u32,
    pub duplicate: u32,
    pub partial_batch: u32,
    pub lost_delete: u32,
    /// Rate of stream reads that find records trimmed.
    pub lost_stream: u32,
    /// Rate of lost calls that arrive later.
    pub late: u32,
    pub clock_jumps: bool,
    /// Whether FIFO queues deduplicate within five minutes, as SQS does.
    pub fifo_dedup: bool,
    /// A port that is unavailable for a while, with the start and the end of that time.
    pub outage: Option<(Port, u64, u64)>,
}

const MINUTE: u64 = 60_000;

impl Plan {
    /// Draws the parameters. Equal arguments produce equal plans.
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
            // Long enough that orders time out, and that stock holds expire while a card is
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
