//! Finds the cause of a failure among the events of a stack.

use aws_sdk_cloudformation::primitives::DateTime;
use aws_sdk_cloudformation::types::{OperationEvent, StackEvent};

/// The fields of an event that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    /// The id of the stack that the event belongs to.
    pub stack: String,
    pub resource: String,
    /// The physical id of the resource; for a stack, its stack id.
    pub physical: String,
    pub kind: String,
    /// The status as CloudFormation writes it. An unknown status is shown, not refused.
    pub status: String,
    pub reason: Option<String>,
    pub at: Option<DateTime>,
}

impl Seen {
    /// Returns whether the event is about a nested stack, whose own events have the details.
    pub(crate) fn is_nested_stack(&self) -> bool {
        self.kind == STACK && !self.physical.is_empty() && self.physical != self.stack
    }

    /// Returns whether the resource failed.
    pub(crate) fn is_failure(&self) -> bool {
        self.status.ends_with("_FAILED")
    }

    /// Returns whether the failure only follows from another one.
    fn is_consequence(&self) -> bool {
        let reason = self
            .reason
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        reason.contains("cancelled") || reason.contains("canceled") || self.kind == STACK
    }
}

const STACK: &str = "AWS::CloudFormation::Stack";

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

impl From<&StackEvent> for Seen {
    fn from(event: &StackEvent) -> Seen {
        Seen {
            id: text(event.event_id()),
            stack: text(event.stack_id()),
            resource: text(event.logical_resource_id()),
            physical: text(event.physical_resource_id()),
            kind: text(event.resource_type()),
            status: text(event.resource_status().map(|status| status.as_str())),
            reason: event.resource_status_reason().map(str::to_owned),
            at: event.timestamp().copied(),
        }
    }
}

/// Converts an event of an operation, which can also be a failed validation or hook. Stack events
/// do not contain those.
impl From<&OperationEvent> for Seen {
    fn from(event: &OperationEvent) -> Seen {
        let status = event.resource_status().map(|status| status.as_str());
        let reasons = [
            event.resource_status_reason(),
            event.validation_status_reason(),
            event.hook_status_reason(),
        ];
        let reason = reasons
            .into_iter()
            .flatten()
            .find(|reason| !reason.is_empty());
        let place = event
            .validation_path()
            .map(|path| format!(" (at {path})"))
            .unwrap_or_default();
        Seen {
            id: text(event.event_id()),
            stack: text(event.stack_id()),
            resource: text(event.logical_resource_id()),
            physical: text(event.physical_resource_id()),
            kind: text(event.resource_type()),
            status: text(status.or(event.event_type().map(|kind| kind.as_str()))),
            reason: reason.map(|reason| format!("{reason}{place}")),
            at: event.timestamp().copied(),
        }
    }
}

/// Returns the root cause: the earliest failure that does not follow from another one. `events`
/// must be in order of time.
pub(crate) fn root_cause(events: &[Seen]) -> Option<&Seen> {
    let failed = || events.iter().filter(|event| event.is_failure());
    failed()
        .find(|event| !event.is_consequence())
        .or_else(|| failed().next())
        .or_else(|| {
            // If no resource failed, the event of the stack has the reason of a rollback.
            events
                .iter()
                .find(|event| event.status.contains("ROLLBACK") && event.reason.is_some())
        })
}

/// Returns the root cause among events that are all failures, whatever their status.
pub(crate) fn first_cause(failures: &[Seen]) -> Option<&Seen> {
    failures
        .iter()
        .find(|event| !event.is_consequence())
        .or(failures.first())
}

/// Returns the cause in one line.
pub fn explain(cause: &Seen) -> String {
    let reason = cause
        .reason
        .as_deref()
        .unwrap_or("CloudFormation returned no reason");
    format!(
        "{} ({}) {}: {reason}",
        cause.resource, cause.kind, cause.status
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(resource: &str, status: &str, reason: Option<&str>) -> Seen {
        Seen {
            id: format!("{resource}-{status}"),
            resource: resource.to_owned(),
            kind: "AWS::SQS::Queue".to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            ..Seen::default()
        }
    }

    #[test]
    fn the_first_failure_without_another_cause_is_the_root_cause() {
        let events = [
            event("A", "CREATE_IN_PROGRESS", None),
            event("B", "CREATE_FAILED", Some("Resource creation cancelled")),
            event("C", "CREATE_FAILED", Some("the name is taken")),
            event("D", "CREATE_FAILED", Some("something later")),
        ];
        let cause = root_cause(&events).expect("there is one");
        assert_eq!(
            explain(cause),
            "C (AWS::SQS::Queue) CREATE_FAILED: the name is taken"
        );
    }

    #[test]
    fn without_a_root_cause_the_first_failure_is_reported() {
        let events = [event(
            "B",
            "UPDATE_FAILED",
            Some("Resource update cancelled"),
        )];
        assert_eq!(
            root_cause(&events).map(|cause| cause.resource.as_str()),
            Some("B")
        );
        assert_eq!(root_cause(&[event("A", "CREATE_COMPLETE", None)]), None);
    }

    #[test]
    fn a_failed_validation_is_a_cause_with_its_path() {
        let event = OperationEvent::builder()
            .logical_resource_id("Orders")
            .event_type(aws_sdk_cloudformation::types::EventType::ValidationError)
            .validation_status_reason("unknown property")
            .validation_path("/Resources/Orders/Properties/Delay")
            .build();
        let seen = [Seen::from(&event)];
        assert_eq!(root_cause(&seen), None, "no stack event is like this");
        let told = first_cause(&seen).map(explain).expect("a cause");
        assert!(
            told.ends_with(
                "VALIDATION_ERROR: unknown property (at /Resources/Orders/Properties/Delay)"
            ),
            "{told}"
        );
    }

    #[test]
    fn a_nested_stack_is_distinguished_from_the_outer_stack() {
        let of = |physical: &str| Seen {
            kind: STACK.to_owned(),
            stack: "outer".to_owned(),
            physical: physical.to_owned(),
            ..event(
                "Inner",
                "CREATE_FAILED",
                Some("Embedded stack was not created"),
            )
        };
        assert!(
            of("inner").is_nested_stack()
                && !of("outer").is_nested_stack()
                && !of("").is_nested_stack()
        );
    }
}
