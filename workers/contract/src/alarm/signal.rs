//! The metrics that alarms watch.

use crate::metric::Metric;
use crate::queue::Queue;
use crate::role::Role;

/// The metric that an alarm watches.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// `ApproximateAgeOfOldestMessage` of a work queue, in seconds.
    QueueAge(&'static Queue),
    /// `ApproximateNumberOfMessagesVisible` of a dead-letter queue. `NumberOfMessagesSent` is not
    /// usable, because SQS does not count messages that its redrive policy moves.
    Parked(&'static Queue),
    /// A metric of our own, reported by one service.
    Ours {
        metric: Metric,
        service: &'static str,
        statistic: Statistic,
    },
    /// A metric that AWS reports about the infrastructure. Local platforms have no such metrics.
    Platform(Platform),
}

/// A metric that AWS reports. Shares are percentages, so that one threshold fits environments of
/// every size.
#[derive(Debug, Clone, Copy)]
pub enum Platform {
    /// CPU utilization of the database, in percent.
    DatabaseCpu,
    /// Free memory of the database, in percent.
    DatabaseMemory,
    /// Free storage of the database, in percent of its initial storage.
    DatabaseStorage,
    /// Open connections to the database, in percent of the maximum.
    DatabaseConnections,
    /// CPU utilization of the cache engine's single thread on the busiest node, in percent.
    CacheCpu,
    /// Memory usage of the fullest cache node, in percent.
    CacheMemory,
    /// Keys that a cache node evicted in one period because its memory was full.
    CacheEvictions,
    /// Replication lag of the cache, in seconds.
    CacheLag,
    /// Reads and writes that DynamoDB throttled in one period.
    TableThrottles,
    /// Requests that failed inside DynamoDB in one period.
    TableErrors,
    /// CPU utilization of a service, in percent, for each role.
    TasksCpu,
    /// Memory utilization of a service, in percent, for each role.
    TasksMemory,
    /// Difference between the desired and the running tasks of one of the roles.
    TasksMissing(&'static [&'static Role]),
    /// Responses of the shop with a status 5xx, in percent.
    ShopErrors,
    /// 99th percentile of the shop's response time, in seconds.
    ShopLatency,
    /// Storefront tasks that fail their health check.
    ShopUnhealthy,
    /// Failed connections to storefront tasks in one period.
    ShopConnections,
    /// Responses of the API with a status 5xx, in percent.
    ApiErrors,
    /// Messages that a topic failed to deliver in one period.
    TopicFailures,
    /// Messages that no topic or rule could deliver, kept for a person.
    Undelivered,
    /// Concurrent deployments of one service. A service has more than one only during a deployment.
    Deployments,
}

impl Platform {
    /// Returns whether the alarm fires below its threshold. Other alarms fire above it.
    pub const fn is_a_floor(self) -> bool {
        matches!(self, Platform::DatabaseMemory | Platform::DatabaseStorage)
    }
}

/// The statistic of a metric over one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    Maximum,
    Sum,
}
