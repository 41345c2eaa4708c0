//! What to do about a stack, by the state that CloudFormation says it is in. The states and what each allows: CloudFormation
//! User Guide, "Stack status codes" and "Continue rolling back an update".

use serde::Serialize;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// Somebody should know, and may have to act.
    Look,
    /// It does not go on by itself.
    Wrong,
    /// Nobody could find out; no failure.
    Unchecked,
}

/// About one state: what it means, and the one command that goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    pub verdict: Verdict,
    pub meaning: &'static str,
    /// With `{env}` and `{stack}` where the names go; `None` where nothing is to be done.
    pub command: Option<&'static str>,
}

const DEPLOY: &str = "haven deploy {env}";
const WAIT: &str = "haven status {env}";

/// The one next command for a stack in a state, as CloudFormation writes it.
pub fn advice(status: &str) -> Advice {
    let ok = |meaning| Advice { verdict: Verdict::Ok, meaning, command: None };
    let look = |meaning, command| Advice { verdict: Verdict::Look, meaning, command: Some(command) };
    let wrong = |meaning, command| Advice { verdict: Verdict::Wrong, meaning, command: Some(command) };
    match status {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => ok("it is as it was last deployed"),
        "DELETE_COMPLETE" => ok("it was deleted; a deployment makes it again"),
        "CREATE_IN_PROGRESS" => look("it is being made: wait, and look again", WAIT),
        "UPDATE_IN_PROGRESS" => look("it is being changed: wait, and look again", WAIT),
        "DELETE_IN_PROGRESS" => look("it is being deleted: wait, and look again", WAIT),
        "IMPORT_IN_PROGRESS" => look("resources are being taken into it: wait, and look again", WAIT),
        "ROLLBACK_IN_PROGRESS" => look("its making failed, and what was made is being deleted: wait", WAIT),
        "UPDATE_ROLLBACK_IN_PROGRESS" => look("a change failed and is being put back: wait", WAIT),
        "IMPORT_ROLLBACK_IN_PROGRESS" => look("an import failed and is being put back: wait", WAIT),
        "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" => look("it was changed; what was replaced is being deleted: wait", WAIT),
        "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => {
            look("a change was put back; what it had made is being deleted: wait", WAIT)
        }
        "UPDATE_ROLLBACK_COMPLETE" => look(
            "its last change failed and was put back; it runs as before that. Mend the cause, then deploy again",
            DEPLOY,
        ),
        "IMPORT_ROLLBACK_COMPLETE" => {
            look("an import failed and was put back; it is as before that, and takes changes again", DEPLOY)
        }
        "REVIEW_IN_PROGRESS" => look(
            "an empty stack that a first change set waits in; nothing was made. A deployment goes on from here",
            DEPLOY,
        ),
        "CREATE_FAILED" => wrong(
            "its making failed and nothing was put back. It can only be made again: a deployment deletes it first",
            DEPLOY,
        ),
        "ROLLBACK_COMPLETE" => wrong(
            "its making failed, and it is empty. It takes no change: a deployment deletes it and makes it again",
            DEPLOY,
        ),
        "ROLLBACK_FAILED" => wrong(
            "its making failed, and so did the deletion of what was made. A deployment tries that again, and says what is \
             in the way",
            DEPLOY,
        ),
        "DELETE_FAILED" => wrong(
            "a part of it could not be deleted. A destruction tries that again, and says what is in the way",
            "haven destroy {env}",
        ),
        "UPDATE_FAILED" => wrong(
            "a change failed and was left half done, which haven never asks for: put it back first",
            "aws cloudformation rollback-stack --stack-name {stack}",
        ),
        "UPDATE_ROLLBACK_FAILED" => wrong(
            "a change failed, and so did putting it back. Mend what is named below, then let it go on; it takes nothing else \
             until then",
            "aws cloudformation continue-update-rollback --stack-name {stack}",
        ),
        "IMPORT_ROLLBACK_FAILED" => wrong(
            "an import failed, and so did putting it back, which haven never asks for: see which resource is in the way",
            "aws cloudformation describe-stack-events --stack-name {stack}",
        ),
        // A state that AWS adds later: whether to wait can be told from its name.
        new if new.ends_with("_IN_PROGRESS") => {
            look("haven does not know this state; something is under way: wait", WAIT)
        }
        _ => look(
            "haven does not know this state: see what happened last",
            "aws cloudformation describe-stack-events --stack-name {stack}",
        ),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::StackStatus;

    use super::*;

    #[test]
    fn every_state_has_its_verdict_and_one_command_when_there_is_something_to_do() {
        use Verdict::{Look, Ok, Wrong};
        let table = [
            ("CREATE_IN_PROGRESS", Look, "haven status"),
            ("CREATE_FAILED", Wrong, "haven deploy"),
            ("CREATE_COMPLETE", Ok, ""),
            ("ROLLBACK_IN_PROGRESS", Look, "haven status"),
            ("ROLLBACK_FAILED", Wrong, "haven deploy"),
            ("ROLLBACK_COMPLETE", Wrong, "haven deploy"),
            ("DELETE_IN_PROGRESS", Look, "haven status"),
            ("DELETE_FAILED", Wrong, "haven destroy"),
            ("DELETE_COMPLETE", Ok, ""),
            ("UPDATE_IN_PROGRESS", Look, "haven status"),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Look, "haven status"),
            ("UPDATE_COMPLETE", Ok, ""),
            ("UPDATE_FAILED", Wrong, "aws cloudformation rollback-stack"),
            ("UPDATE_ROLLBACK_IN_PROGRESS", Look, "haven status"),
            ("UPDATE_ROLLBACK_FAILED", Wrong, "aws cloudformation continue-update-rollback"),
            ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", Look, "haven status"),
            ("UPDATE_ROLLBACK_COMPLETE", Look, "haven deploy"),
            ("REVIEW_IN_PROGRESS", Look, "haven deploy"),
            ("IMPORT_IN_PROGRESS", Look, "haven status"),
            ("IMPORT_COMPLETE", Ok, ""),
            ("IMPORT_ROLLBACK_IN_PROGRESS", Look, "haven status"),
            ("IMPORT_ROLLBACK_FAILED", Wrong, "aws cloudformation describe-stack-events"),
            ("IMPORT_ROLLBACK_COMPLETE", Look, "haven deploy"),
            ("SOMETHING_NEW_IN_PROGRESS", Look, "haven status"),
            ("SOMETHING_NEW", Look, "aws cloudformation describe-stack-events"),
        ];
        for (status, verdict, command) in table {
            let advice = advice(status);
            assert_eq!(advice.verdict, verdict, "{status}");
            assert_eq!(advice.command.is_none(), command.is_empty(), "{status}");
            assert!(advice.command.unwrap_or_default().starts_with(command), "{status}: {advice:?}");
            assert!(advice.command.is_none_or(|command| command.contains("{env}") != command.contains("{stack}")));
        }
        // A state that the SDK learns of must get its line here.
        for known in StackStatus::values() {
            assert!(table.iter().any(|(status, ..)| status == known), "{known}");
            assert!(!advice(known).meaning.contains("does not know"), "{known}");
        }
    }
}
