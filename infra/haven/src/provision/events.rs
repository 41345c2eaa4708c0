//! From a stack's many events to the one that began the trouble.

use aws_sdk_cloudformation::types::StackEvent;

/// One event, as far as we look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub resource: String,
    pub kind: String,
    /// As CloudFormation writes it: a status that is new to us is shown, not refused.
    pub status: String,
    pub reason: Option<String>,
}

impl From<&StackEvent> for Seen {
    fn from(event: &StackEvent) -> Seen {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Seen {
            id: text(event.event_id()),
            resource: text(event.logical_resource_id()),
            kind: text(event.resource_type()),
            status: text(event.resource_status().map(|status| status.as_str())),
            reason: event.resource_status_reason().map(str::to_owned),
        }
    }
}

/// The event that the others followed from: the earliest failure that is no consequence of another.
/// `events` are in the order of time.
pub fn root_cause(events: &[Seen]) -> Option<&Seen> {
    let failed = |event: &&Seen| event.status.ends_with("_FAILED");
    let consequence = |event: &Seen| {
        let reason = event.reason.as_deref().unwrap_or_default().to_ascii_lowercase();
        reason.contains("cancelled") || reason.contains("canceled") || event.kind == "AWS::CloudFormation::Stack"
    };
    let first = events.iter().filter(failed).find(|event| !consequence(event));
    first.or_else(|| events.iter().find(failed)).or_else(|| {
        // A rollback without a failed resource says why on the stack itself.
        events.iter().find(|event| event.status.contains("ROLLBACK") && event.reason.is_some())
    })
}

/// The cause in one line.
pub fn explain(cause: &Seen) -> String {
    let reason = cause.reason.as_deref().unwrap_or("CloudFormation gave no reason");
    format!("{} ({}) {}: {reason}", cause.resource, cause.kind, cause.status)
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
        }
    }

    #[test]
    fn the_first_failure_that_is_no_consequence_is_the_cause() {
        let events = [
            event("A", "CREATE_IN_PROGRESS", None),
            event("B", "CREATE_FAILED", Some("Resource creation cancelled")),
            event("C", "CREATE_FAILED", Some("the name is taken")),
            event("D", "CREATE_FAILED", Some("something later")),
        ];
        let cause = root_cause(&events).expect("there is one");
        assert_eq!(explain(cause), "C (AWS::SQS::Queue) CREATE_FAILED: the name is taken");
    }

    #[test]
    fn with_nothing_but_consequences_the_first_of_them_is_told() {
        let events = [event("B", "UPDATE_FAILED", Some("Resource update cancelled"))];
        assert_eq!(root_cause(&events).map(|cause| cause.resource.as_str()), Some("B"));
        assert_eq!(root_cause(&[event("A", "CREATE_COMPLETE", None)]), None);
    }
}
