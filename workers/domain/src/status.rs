//! The progress of an order, as customers see it and as the processing sees it.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

/// The progress of an order as the customer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Status {
    Pending,
    Confirmed,
    Preparing,
    Ready,
    Completed,
    Cancelled,
    Failed,
}

crate::named_variants!(Status);

impl Status {
    /// Returns whether an order may change from this status to `next`.
    pub const fn may_become(self, next: Status) -> bool {
        matches!(
            (self, next),
            (
                Status::Pending,
                Status::Confirmed | Status::Cancelled | Status::Failed
            ) | (Status::Confirmed, Status::Preparing | Status::Cancelled)
                | (Status::Preparing, Status::Ready | Status::Cancelled)
                | (Status::Ready, Status::Completed)
        )
    }
}

/// The progress of the processing of an order, beside the customer's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Step {
    Validating,
    InventoryCheck,
    PaymentProcessing,
    Fulfilment,
    /// The saga is refunding the charge and releasing the stock.
    Compensating,
    Done,
}

crate::named_variants!(Step);
