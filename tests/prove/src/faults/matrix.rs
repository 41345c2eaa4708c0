//! The matrix of faults, and how each fault is injected on one machine.

use std::time::Duration;

use faults::{Dependency, Fault, Rule};
use rustix::process::Signal;

use super::acts::{self, clocks, customers, database, disaster, limits, queues};
use super::row::How::{self, Elsewhere, NotHere, Rules};
use super::row::{Row, aws, now_and_then, on, row};

use Dependency::{Aws, Gateway, Postgres, Redis};

const ALL_CRASHES: &str = "prove crash, which kills at every boundary call";

/// All faults, in the sequence of the matrix.
pub const ROWS: &[Row] = &[
    row(
        "A1",
        "kill -9 before the order is committed",
        Elsewhere(ALL_CRASHES),
    ),
    row(
        "A2",
        "kill -9 after the commit, before the reply",
        How::Act(|shop, lasting| Box::pin(acts::kill_storefront_before_reply(shop, lasting))),
    ),
    row(
        "A3",
        "SIGTERM of the storefront under load",
        How::Act(|shop, _| Box::pin(acts::term(shop, &["storefront"]))),
    ),
    row(
        "A4",
        "a flood: twenty times what the shop can do",
        How::Act(|shop, lasting| Box::pin(customers::flood(shop, lasting))),
    ),
    row(
        "A5",
        "slow and half-open clients",
        How::Act(|shop, lasting| Box::pin(customers::slow_clients(shop, lasting))),
    ),
    row(
        "A6",
        "50 requests at once under one key",
        How::Act(|shop, _| Box::pin(customers::double_click(shop))),
    ),
    row(
        "A7",
        "one key, another body",
        How::Act(|shop, _| Box::pin(customers::other_body(shop))),
    ),
    row(
        "A8",
        "SIGSTOP beyond the lease, then SIGCONT",
        How::Act(|shop, _| Box::pin(acts::stop_and_continue(shop))),
    ),
    row(
        "W1",
        "kill -9 at every call of the saga (W1-W12)",
        Elsewhere(ALL_CRASHES),
    ),
    row(
        "W13",
        "kill -9 during compensation",
        Elsewhere("prove crash: decline, sold-out, customer-cancel, staff-cancel"),
    ),
    row(
        "W14",
        "SIGTERM with messages in flight",
        How::Act(|shop, _| {
            Box::pin(acts::term(
                shop,
                &["order-worker", "payment-worker", "notification-worker"],
            ))
        }),
    ),
    row(
        "W15",
        "a handler slower than it should be",
        Rules(|lasting| {
            vec![now_and_then(
                on(
                    Gateway,
                    "POST /v1/charges",
                    Fault::Delay(Duration::from_millis(3_500)),
                ),
                0.3,
                lasting,
            )]
        }),
    ),
    row(
        "W16",
        "two workers get the same message",
        Rules(|lasting| {
            vec![now_and_then(
                on(Aws, "sqs.ReceiveMessage", Fault::Replay),
                0.3,
                lasting,
            )]
        }),
    ),
    row(
        "W17",
        "messages out of order",
        How::Act(|shop, _| Box::pin(queues::messages(shop, queues::out_of_order()))),
    ),
    row(
        "W18",
        "poison: no JSON, unknown version",
        How::Act(|shop, _| Box::pin(queues::messages(shop, queues::poison()))),
    ),
    row(
        "W19",
        "redrive after the fix",
        Elsewhere("the tests of dead letters, through haven dlq redrive"),
    ),
    row(
        "W20",
        "a backlog of 50,000",
        NotHere("the local AWS answers 73 receives a second at that depth: it would measure that"),
    ),
    row(
        "W21",
        "memory and file limits",
        How::Act(|shop, lasting| Box::pin(limits::limits(shop, lasting))),
    ),
    row(
        "W22",
        "rolling kills, one a second",
        How::Act(|shop, lasting| Box::pin(acts::rolling_kills(shop, lasting))),
    ),
    row(
        "P1",
        "PostgreSQL restarts",
        How::Act(|shop, _| Box::pin(database::restart(shop, Signal::INT))),
    ),
    row(
        "P2",
        "PostgreSQL is killed and recovers from its log",
        How::Act(|shop, _| Box::pin(database::restart(shop, Signal::KILL))),
    ),
    row(
        "P3",
        "all backends terminated (57P01)",
        How::Act(|shop, lasting| Box::pin(database::terminate_backends(shop, lasting))),
    ),
    row(
        "P4",
        "connection cut between a commit and its reply",
        Rules(|lasting| {
            ["COMMIT", "INSERT", "UPDATE", "WITH"]
                .into_iter()
                .map(|name| now_and_then(on(Postgres, name, Fault::DropReply), 0.1, lasting))
                .collect()
        }),
    ),
    row(
        "P5",
        "deadlock and serialization failures (40P01, 40001)",
        Rules(|lasting| {
            ["40P01", "40001"]
                .into_iter()
                .map(|code| {
                    now_and_then(
                        on(Postgres, "", Fault::Fail { status: 0, code }),
                        0.05,
                        lasting,
                    )
                })
                .collect()
        }),
    ),
    row(
        "P6",
        "a lock on the orders is held beyond the lock timeout",
        How::Act(|shop, _| Box::pin(database::hold_lock(shop))),
    ),
    row(
        "P7",
        "disk full (53100)",
        Rules(|lasting| {
            let full = Fault::Fail {
                status: 0,
                code: "53100",
            };
            ["INSERT", "UPDATE", "WITH"]
                .into_iter()
                .map(|name| now_and_then(on(Postgres, name, full.clone()), 1.0, lasting))
                .collect()
        }),
    ),
    row(
        "P8",
        "no connection left (53300)",
        How::Act(|shop, lasting| Box::pin(database::take_connections(shop, lasting))),
    ),
    row(
        "P9",
        "PostgreSQL is read-only (25006)",
        How::Act(|shop, lasting| Box::pin(database::read_only(shop, lasting))),
    ),
    row(
        "P10",
        "PostgreSQL is slow: 2 s a statement",
        Rules(|lasting| {
            vec![now_and_then(
                on(Postgres, "", Fault::Delay(Duration::from_secs(2))),
                0.5,
                lasting,
            )]
        }),
    ),
    row(
        "P11",
        "migration during load",
        NotHere("there is no older release whose programs could run beside"),
    ),
    row(
        "P12",
        "the disk is lost: base backup and log bring it back",
        How::Act(|shop, lasting| Box::pin(disaster::lose_the_disk(shop, lasting))),
    ),
    row(
        "R1",
        "Redis is down",
        Rules(|lasting| {
            let down = |fault| now_and_then(on(Redis, "", fault), 1.0, lasting);
            vec![down(Fault::Refuse), down(Fault::Cut)]
        }),
    ),
    row(
        "R2",
        "FLUSHALL during checkout",
        How::Act(|shop, _| Box::pin(customers::flush_carts(shop))),
    ),
    row(
        "R3",
        "Redis is read-only (failover)",
        Rules(|lasting| vec![redis("READONLY", lasting)]),
    ),
    row(
        "R4",
        "Redis is out of memory",
        Rules(|lasting| vec![redis("OOM", lasting)]),
    ),
    row(
        "R5",
        "Redis lacks replicas, or is loading",
        Rules(|lasting| vec![redis("LOADING", lasting)]),
    ),
    row(
        "R6",
        "Redis stalls for 3 s",
        Rules(|lasting| {
            vec![now_and_then(
                on(Redis, "", Fault::Delay(Duration::from_secs(3))),
                1.0,
                lasting,
            )]
        }),
    ),
    row(
        "R7",
        "stale or corrupted carts",
        Elsewhere("the tests of adapter-redis, on a real server"),
    ),
    row(
        "R8",
        "a cart is evicted before checkout",
        How::Act(|shop, _| Box::pin(customers::flush_carts(shop))),
    ),
    row(
        "D1",
        "DynamoDB throttles",
        Rules(|lasting| {
            [
                "ProvisionedThroughputExceededException",
                "ThrottlingException",
                "RequestLimitExceeded",
            ]
            .into_iter()
            .map(|code| now_and_then(on(Aws, "dynamodb.", aws(code, 400)), 0.3, lasting))
            .collect()
        }),
    ),
    row(
        "D2",
        "a hot product: 64 customers, 40 units",
        How::Act(|shop, _| Box::pin(customers::hot_product(shop))),
    ),
    row(
        "D3",
        "DynamoDB executes, the reply is lost",
        Rules(|lasting| {
            [
                "dynamodb.TransactWriteItems",
                "dynamodb.UpdateItem",
                "dynamodb.PutItem",
            ]
            .into_iter()
            .map(|name| now_and_then(on(Aws, name, Fault::DropReply), 0.4, lasting))
            .collect()
        }),
    ),
    row(
        "D4",
        "transactions are in conflict",
        Rules(|lasting| {
            [
                "TransactionConflictException",
                "TransactionInProgressException",
            ]
            .into_iter()
            .map(|code| {
                now_and_then(
                    on(Aws, "dynamodb.TransactWriteItems", aws(code, 400)),
                    0.3,
                    lasting,
                )
            })
            .collect()
        }),
    ),
    row(
        "D5",
        "a batch is taken in part",
        NotHere("no role calls BatchWriteItem or BatchGetItem"),
    ),
    row(
        "D6",
        "stale reads, while messages come twice",
        How::Act(|shop, lasting| Box::pin(acts::stale_reads(shop, lasting))),
    ),
    row(
        "D7",
        "DynamoDB is out: 500, 503, silence",
        Rules(|lasting| {
            vec![
                now_and_then(
                    on(Aws, "dynamodb.", aws("InternalServerError", 500)),
                    0.4,
                    lasting,
                ),
                now_and_then(
                    on(Aws, "dynamodb.", aws("ServiceUnavailable", 503)),
                    0.5,
                    lasting,
                ),
                now_and_then(on(Aws, "dynamodb.", Fault::Hang), 1.0, lasting),
            ]
        }),
    ),
    row(
        "D8",
        "a hold ends while the payment is in flight",
        How::Act(|shop, _| Box::pin(customers::end_holds(shop))),
    ),
    row(
        "D9",
        "a client token past its ten minutes",
        Elsewhere("the laws of stock: a reservation record guards, no token"),
    ),
    row(
        "S1",
        "a shard closes and has children",
        Elsewhere("the stream loop's tests: the local AWS has one shard for ever"),
    ),
    row(
        "S2",
        "the iterator has expired",
        Rules(|_| {
            vec![
                on(
                    Aws,
                    "streams.GetRecords",
                    aws("ExpiredIteratorException", 400),
                )
                .times(3),
            ]
        }),
    ),
    row(
        "S3",
        "records were trimmed",
        Rules(|_| {
            vec![
                on(
                    Aws,
                    "streams.GetRecords",
                    aws("TrimmedDataAccessException", 400),
                )
                .times(1),
            ]
        }),
    ),
    row(
        "S4",
        "the reader of the stream is killed before its checkpoint",
        How::Act(|shop, _| Box::pin(acts::kill(shop, "inventory-worker"))),
    ),
    row(
        "Q1",
        "SQS does not take messages: 500, silence, reply lost",
        Rules(|lasting| {
            vec![
                now_and_then(
                    on(Aws, "sqs.SendMessage", aws("InternalFailure", 500)),
                    0.2,
                    lasting,
                ),
                now_and_then(on(Aws, "sqs.SendMessage", Fault::DropReply), 0.3, lasting),
                now_and_then(on(Aws, "sqs.SendMessage", Fault::Hang), 0.1, lasting),
            ]
        }),
    ),
    row(
        "Q2",
        "SQS takes batches in part",
        Rules(|lasting| {
            [
                "sqs.SendMessageBatch",
                "sqs.DeleteMessageBatch",
                "sqs.ChangeMessageVisibilityBatch",
            ]
            .into_iter()
            .map(|name| now_and_then(on(Aws, name, Fault::Partial), 0.3, lasting))
            .collect()
        }),
    ),
    row(
        "Q3",
        "messages are deleted too late",
        Rules(|_| vec![on(Aws, "sqs.DeleteMessageBatch", aws("InternalFailure", 500)).times(9)]),
    ),
    row(
        "Q4",
        "receives come back empty, or hang",
        Rules(|lasting| {
            vec![now_and_then(
                on(Aws, "sqs.ReceiveMessage", Fault::Hang),
                0.5,
                lasting,
            )]
        }),
    ),
    row(
        "Q5",
        "SQS denies access",
        How::Act(|shop, _| Box::pin(queues::deny_queues(shop))),
    ),
    row(
        "E1",
        "the bus takes events in part",
        Rules(|lasting| {
            vec![now_and_then(
                on(Aws, "events.PutEvents", Fault::Partial),
                0.5,
                lasting,
            )]
        }),
    ),
    row(
        "E2",
        "SNS and SES are out",
        Rules(|lasting| {
            vec![
                now_and_then(
                    on(Aws, "sns.PublishBatch", aws("InternalError", 500)),
                    0.5,
                    lasting,
                ),
                now_and_then(on(Aws, "sns.PublishBatch", Fault::Partial), 0.5, lasting),
                now_and_then(
                    on(Aws, "ses.SendEmail", aws("TooManyRequestsException", 429)),
                    1.0,
                    lasting,
                ),
            ]
        }),
    ),
    row(
        "E3",
        "bounces, complaints, opt-outs",
        NotHere(
            "the local SES sends no bounces; a number that is refused is in the tests of notices",
        ),
    ),
    row(
        "E4",
        "Kinesis takes records in part",
        NotHere("no role writes to Kinesis yet"),
    ),
    row(
        "G1",
        "the gateway does not answer, before or after it has charged",
        Rules(|lasting| {
            vec![
                now_and_then(
                    on(Gateway, "POST /v1/charges", Fault::DropReply),
                    0.2,
                    lasting,
                ),
                now_and_then(on(Gateway, "POST /v1/charges", Fault::Hang), 0.15, lasting),
                now_and_then(on(Gateway, "POST /v1/charges", Fault::Cut), 0.15, lasting),
            ]
        }),
    ),
    row(
        "G2",
        "cards are declined",
        How::Act(|shop, _| Box::pin(customers::decline(shop))),
    ),
    row(
        "G3",
        "the gateway is out: 500, then now and then",
        Rules(|lasting| {
            vec![
                now_and_then(on(Gateway, "/v1/", aws("out", 500)), 1.0, lasting / 2),
                now_and_then(on(Gateway, "/v1/", aws("out", 500)), 0.1, lasting),
            ]
        }),
    ),
    row(
        "G4",
        "webhooks forged, old or doubled",
        How::Act(|shop, _| Box::pin(customers::forged_webhooks(shop))),
    ),
    row(
        "G5",
        "refunds fail, and later succeed",
        How::Act(|shop, _| Box::pin(customers::refund_later(shop))),
    ),
    row(
        "G6",
        "another amount or currency in the reply",
        Elsewhere("the tests of the payment use-case and of the gateway's adapter"),
    ),
    row(
        "C1",
        "clocks differ: 7 min ahead, 2 h behind",
        How::Act(|shop, lasting| Box::pin(clocks::skew(shop, lasting))),
    ),
    row(
        "C2",
        "passwords rotate",
        Elsewhere(
            "the tests of rotation, through roles that run: logins, keys and the cache's password",
        ),
    ),
    row(
        "C3",
        "settings and secrets cannot be reached",
        How::Act(|shop, _| Box::pin(acts::no_parameters(shop))),
    ),
    row(
        "L1",
        "a resource fails: rollback",
        Elsewhere("the provisioning tests of haven"),
    ),
    row(
        "L2",
        "ROLLBACK_COMPLETE, no updates and their like",
        Elsewhere("the provisioning tests of haven"),
    ),
    row(
        "L3",
        "killed half-way, two at once",
        Elsewhere("the provisioning tests of haven"),
    ),
    row(
        "L4",
        "delete with data",
        Elsewhere("the provisioning tests of haven"),
    ),
];

fn redis(code: &'static str, lasting: Duration) -> Rule {
    now_and_then(on(Redis, "", Fault::Fail { status: 0, code }), 1.0, lasting)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The row W1 stands for W1 to W12 of the matrix.
    #[test]
    fn every_fault_of_the_matrix_has_a_line() {
        let ids: BTreeSet<&str> = ROWS.iter().map(|row| row.id).collect();
        assert_eq!(ids.len(), ROWS.len(), "an id stands twice");
        assert_eq!(ROWS.len() + 11, 85);
    }
}
