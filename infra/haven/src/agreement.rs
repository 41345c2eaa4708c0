//! Asks the user to confirm a change.

use blueprint::Environment;
use clap::Args;
use haven_console::error::Failure;
use haven_console::prompt::Question;

use crate::arguments::YES;

/// The answer to a question, given on the command line.
#[derive(Debug, Clone, Args)]
pub struct Answer {
    #[arg(long, help = YES)]
    yes: bool,
    /// Account id to confirm a change with; prod needs it
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,
}

/// The agreement that a change of an environment needs: a yes, and for production the account id.
#[derive(Debug, Clone)]
pub struct Agreement<'a> {
    /// The command that asks, such as `haven destroy`.
    pub command: &'a str,
    /// The command that shows the change without making it.
    pub review: String,
    pub environment: &'a Environment,
    pub answer: &'a Answer,
}

impl Agreement<'_> {
    /// Checks before all work that the question is answered, or that it can be asked.
    ///
    /// # Errors
    /// A usage failure when standard input is not a terminal, or with `--no-input` or `--json`.
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_answered() {
            return Ok(());
        }
        let account = match self.environment.settings.account.id.as_str() {
            "" => "ACCOUNT_ID",
            account => account,
        };
        self.question("", &self.tip(account)).check()
    }

    /// Asks the question, unless the command line answers it. Returns the answer.
    ///
    /// # Errors
    /// As [`Agreement::check`], or a usage failure when `--confirm` names another account.
    pub fn ask(&self, text: &str, account: &str) -> Result<bool, Failure> {
        let tip = self.tip(account);
        let question = self.question(text, &tip);
        let given = self.answer.confirm.as_deref();
        if self.is_severe() || given.is_some() {
            question.confirm_typed(account, given)
        } else {
            question.confirm(self.answer.yes)
        }
    }

    /// Returns whether a plan that was shown when it was saved still needs an agreement.
    pub fn is_needed_for_a_saved_plan(&self) -> bool {
        self.is_severe() || self.answer.confirm.is_some()
    }

    fn is_severe(&self) -> bool {
        self.environment.is_production()
    }

    fn is_answered(&self) -> bool {
        self.answer.confirm.is_some() || (self.answer.yes && !self.is_severe())
    }

    fn question<'a>(&'a self, text: &'a str, tip: &'a str) -> Question<'a> {
        Question {
            text,
            command: self.command,
            tip,
        }
    }

    fn tip(&self, account: &str) -> String {
        let flag = match self.is_severe() {
            true => format!("--confirm {account}"),
            false => "--yes".to_owned(),
        };
        format!("review with `{}`, then add `{flag}`", self.review)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IsTerminal as _, stdin};

    use super::*;

    const ACCOUNT: &str = "123456789012";

    fn asked(environment: &str, yes: bool, confirm: Option<&str>) -> Result<bool, Failure> {
        let confirm = confirm.map(str::to_owned);
        let mut named = Environment::local();
        named.name = environment.to_owned();
        let agreement = Agreement {
            command: "haven destroy",
            review: format!("haven destroy {environment} --dry-run"),
            environment: &named,
            answer: &Answer { yes, confirm },
        };
        let asked = agreement.ask("Delete it?", ACCOUNT);
        if asked.is_ok() {
            let checked = agreement.check();
            checked.expect("what the command line answers passes the check");
        }
        asked
    }

    #[test]
    fn prod_needs_the_account_id_and_other_environments_a_yes() {
        for environment in ["local", "dev", "staging"] {
            assert!(asked(environment, true, None).expect("--yes"));
            assert!(asked(environment, false, Some(ACCOUNT)).expect("--confirm"));
        }
        for environment in ["prod", "prod-eu"] {
            assert!(asked(environment, false, Some(ACCOUNT)).expect("--confirm"));
        }
        assert!(asked("prod", true, Some(ACCOUNT)).expect("both"));
        for environment in ["dev", "prod"] {
            let refused = asked(environment, true, Some("210987654321")).expect_err("another");
            assert_eq!(refused.exit.code(), 64);
            let both = ["210987654321", ACCOUNT];
            assert!(
                both.iter().all(|id| refused.message.contains(id)),
                "{refused}"
            );
        }
    }

    #[test]
    fn yes_alone_is_no_answer_for_prod_without_a_terminal() {
        if stdin().is_terminal() {
            return;
        }
        let refused = asked("prod", true, None).expect_err("--yes alone");
        let asks = "`haven destroy` asks for confirmation, and ";
        assert_eq!(refused.exit.code(), 64);
        assert!(refused.message.starts_with(asks), "{refused}");
        assert_eq!(
            refused.tip.as_deref(),
            Some("review with `haven destroy prod --dry-run`, then add `--confirm 123456789012`")
        );
        let refused = asked("dev", false, None).expect_err("no answer");
        assert_eq!(
            refused.tip.as_deref(),
            Some("review with `haven destroy dev --dry-run`, then add `--yes`")
        );
    }
}
