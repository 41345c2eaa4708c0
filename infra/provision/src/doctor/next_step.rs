//! The meaning of each stack status, and the next command for it.

use serde::Serialize;

use crate::stack::NOT_DEPLOYED;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// Not a failure, but it needs attention.
    Look,
    Wrong,
}

/// The meaning of a stack status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    pub verdict: Verdict,
    pub why: &'static str,
    /// The next command, with `{env}` and `{stack}` as placeholders. Empty if nothing needs to be
    /// done.
    next: &'static str,
}

impl Advice {
    /// Returns the next command for a stack, or `None` if nothing needs to be done.
    pub fn next(&self, environment: &str, stack: &str) -> Option<String> {
        let next = self
            .next
            .replace("{env}", environment)
            .replace("{stack}", stack);
        Some(next).filter(|next| !next.is_empty())
    }
}

const DEPLOY: &str = "haven deploy {env}";
const AGAIN: &str = "haven doctor {env}";
const EVENTS: &str = "aws cloudformation describe-stack-events --stack-name {stack}";

/// Returns the advice for a status of CloudFormation. A status that this haven does not know gets
/// general advice.
pub fn advice(status: &str) -> Advice {
    use Verdict::{Look, Ok, Wrong};
    let (verdict, why, next) = match status {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => (Ok, "as it was deployed", ""),
        NOT_DEPLOYED | "DELETE_COMPLETE" => (Look, "the stack does not exist", DEPLOY),
        "UPDATE_ROLLBACK_COMPLETE" | "IMPORT_ROLLBACK_COMPLETE" => (
            Look,
            "the last update failed and was rolled back; fix its cause and deploy again",
            DEPLOY,
        ),
        "REVIEW_IN_PROGRESS" => (
            Look,
            "an empty stack with a change set that was never executed: apply its plan, or delete both",
            "haven doctor {env} --fix",
        ),
        "CREATE_FAILED" | "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" => (
            Wrong,
            "its creation failed; a deployment deletes the remains and creates it again",
            DEPLOY,
        ),
        "DELETE_FAILED" => (
            Wrong,
            "its deletion failed; its events name the cause, and this command tries again",
            "aws cloudformation delete-stack --stack-name {stack}",
        ),
        "UPDATE_FAILED" => (
            Wrong,
            "an update failed with rollback disabled; this command rolls back to the last good state",
            "aws cloudformation rollback-stack --stack-name {stack}",
        ),
        "UPDATE_ROLLBACK_FAILED" => (
            Wrong,
            "the rollback failed too; fix what its events name, then continue it (rollback-stack is refused here)",
            "aws cloudformation continue-update-rollback --stack-name {stack}",
        ),
        "IMPORT_ROLLBACK_FAILED" => (
            Wrong,
            "an import and its rollback failed; its events name the resource",
            EVENTS,
        ),
        "CREATE_IN_PROGRESS" => (
            Look,
            "creation in progress; this command waits for the end",
            "aws cloudformation wait stack-create-complete --stack-name {stack}",
        ),
        "UPDATE_IN_PROGRESS" | "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" => (
            Look,
            "update in progress; this command waits for the end",
            "aws cloudformation wait stack-update-complete --stack-name {stack}",
        ),
        "UPDATE_ROLLBACK_IN_PROGRESS" | "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => (
            Look,
            "rollback of a failed update in progress; this command waits for the end",
            "aws cloudformation wait stack-rollback-complete --stack-name {stack}",
        ),
        "DELETE_IN_PROGRESS" => (
            Look,
            "deletion in progress; this command waits for the end",
            "aws cloudformation wait stack-delete-complete --stack-name {stack}",
        ),
        "IMPORT_IN_PROGRESS" => (
            Look,
            "import in progress; this command waits for the end",
            "aws cloudformation wait stack-import-complete --stack-name {stack}",
        ),
        "ROLLBACK_IN_PROGRESS" | "IMPORT_ROLLBACK_IN_PROGRESS" => (
            Look,
            "rollback in progress: check again when it has ended",
            AGAIN,
        ),
        unknown if unknown.ends_with("_FAILED") => (
            Wrong,
            "an unknown status of a failure: its events name the cause",
            EVENTS,
        ),
        _ => (Look, "an unknown status: read the latest events", EVENTS),
    };
    Advice { verdict, why, next }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::StackStatus;

    use super::*;

    #[test]
    fn every_status_of_the_sdk_has_its_next_command() {
        for status in StackStatus::values() {
            let advice = advice(status);
            assert!(!advice.why.contains("an unknown status"), "{status}");
            let expected = match *status {
                "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => Verdict::Ok,
                "ROLLBACK_COMPLETE" => Verdict::Wrong,
                failed if failed.ends_with("_FAILED") => Verdict::Wrong,
                _ => Verdict::Look,
            };
            assert_eq!(advice.verdict, expected, "{status}");
            assert_eq!(
                advice.next("dev", "brew-haven-dev-data").is_none(),
                expected == Verdict::Ok,
                "{status}"
            );
        }
    }

    #[test]
    fn rollback_and_continued_rollback_have_different_commands() {
        let next = |status: &str| {
            advice(status)
                .next("dev", "brew-haven-dev-data")
                .expect("a command")
        };
        assert_eq!(
            next("UPDATE_ROLLBACK_FAILED"),
            "aws cloudformation continue-update-rollback --stack-name brew-haven-dev-data"
        );
        assert_eq!(
            next("UPDATE_FAILED"),
            "aws cloudformation rollback-stack --stack-name brew-haven-dev-data"
        );
        assert_eq!(next("ROLLBACK_COMPLETE"), "haven deploy dev");
        assert_eq!(next("REVIEW_IN_PROGRESS"), "haven doctor dev --fix");
    }

    #[test]
    fn an_unknown_status_is_never_ok() {
        assert_eq!(advice("SOMETHING_NEW").verdict, Verdict::Look);
        assert_eq!(advice("SOMETHING_NEW_FAILED").verdict, Verdict::Wrong);
        assert!(advice("SOMETHING_NEW").next("dev", "s").is_some());
    }
}
