//! The exit codes of commands (`docs/interfaces.md`, section "Programs"), from which a script can
//! decide what to do next. 64, 69 and 77 are those of BSD's `sysexits.h`.

use adapter_sql::ConnectError;
use haven_console::error::Failure;
use haven_console::exit::{Exit, Interrupted};
use haven_console::settings;
use haven_console::usage::BadUsage;
use migrations::{FailureKind, MigrateError};
use provision::aws_failure::{AwsFailure, Cause, Several};

use crate::cli::Command;
use crate::target::BadSettings;

const NO_DATABASE: &str = "start the database, or check the host and the port of its URL";
const NO_LOGIN: &str = "check the login in the database's URL, or PGUSER and PGPASSWORD";

/// Prints the error of a command that failed. Returns the exit code.
pub fn report(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<Failure>() {
        Some(failure) => failure.print(),
        None => failure_of(error).print(),
    }
}

/// Returns the failure for an error of another type: the chain as one sentence, and the next step
/// as the tip if one is known.
fn failure_of(error: &anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    let (exit, tip) = remedy(error);
    // A failed call of AWS ends its own text with the next step.
    let message = tip.and_then(|tip| text.strip_suffix(tip)?.strip_suffix(": "));
    let mut failure = Failure::new(exit, message.unwrap_or(&text));
    let is_new = |tip: &&str| message.is_some() || !text.contains(tip);
    failure.tip = tip.filter(is_new).map(ToOwned::to_owned);
    failure
}

/// Returns the exit code of a command that failed, and the next step: `None` where the text itself
/// says what to change.
fn remedy(error: &anyhow::Error) -> (Exit, Option<&'static str>) {
    if error.is::<BadUsage>()
        || error.is::<BadSettings>()
        || error.is::<chassis::config::Problems>()
    {
        return (Exit::Usage, None);
    }
    if error.is::<Interrupted>() || error.is::<platform::Interrupted>() {
        return (Exit::Interrupted, None);
    }
    if let Some(AwsFailure { cause, .. }) = error.downcast_ref() {
        return (exit_of(*cause), Some(cause.next()));
    }
    if let Some(cause) = error.downcast_ref::<Several>().and_then(|all| all.cause) {
        return (exit_of(cause), None);
    }
    if let Some(failure) = error.downcast_ref::<MigrateError>() {
        return match failure.kind() {
            FailureKind::BadSetting => (Exit::Usage, None),
            FailureKind::Unreachable => (Exit::Unavailable, Some(NO_DATABASE)),
            FailureKind::Refused => (Exit::Denied, Some(NO_LOGIN)),
            FailureKind::Failed => (Exit::Failed, None),
        };
    }
    if let Some(failure) = error.downcast_ref::<ConnectError>() {
        return match failure {
            ConnectError::LoginRefused { .. } => (Exit::Denied, Some(NO_LOGIN)),
            ConnectError::BadUrl(_) => (Exit::Usage, None),
            ConnectError::Unavailable(_) => (Exit::Unavailable, Some(NO_DATABASE)),
        };
    }
    let is_network = |error: &(dyn std::error::Error + 'static)| {
        error
            .downcast_ref::<reqwest::Error>()
            .is_some_and(|error| error.is_connect() || error.is_timeout())
    };
    match error.chain().any(is_network) {
        true => (Exit::Unavailable, None),
        false => (Exit::Failed, None),
    }
}

fn exit_of(cause: Cause) -> Exit {
    match cause {
        Cause::NoCredentials | Cause::Expired | Cause::Credentials => Exit::Denied,
        Cause::Network | Cause::NotAws => Exit::Unavailable,
        Cause::Endpoint => Exit::Usage,
        Cause::Throttled | Cause::Busy | Cause::Refused => Exit::Failed,
    }
}

/// Ends the program with 130 on Ctrl-C, unless the command stops itself. Without this handler,
/// SIGINT would end the program without a message, and the parent would see a signal instead of an
/// exit code.
pub fn watch_for_interrupt(command: &Command) -> impl Future<Output = ()> + use<> {
    let on_interrupt = on_interrupt(command);
    async move { end_at_interrupt(on_interrupt).await }
}

#[expect(
    clippy::disallowed_methods,
    reason = "ends the commands that need no clean stop"
)]
async fn end_at_interrupt(on_interrupt: OnInterrupt) {
    let word = match on_interrupt {
        OnInterrupt::StopsItself => return,
        OnInterrupt::Ends => "interrupted",
        OnInterrupt::LeavesStacks => {
            "interrupted; CloudFormation continues the changes that it started. `haven status ENV` shows them; deploy again to continue"
        }
    };
    // If the signal cannot be handled, it ends the program as usual.
    if tokio::signal::ctrl_c().await.is_ok() {
        if settings::get().json {
            Failure::new(Exit::Interrupted, word).print();
        } else {
            eprintln!("haven: {word}");
        }
        std::process::exit(Exit::Interrupted.code().into());
    }
}

enum OnInterrupt {
    StopsItself,
    Ends,
    /// CloudFormation may be changing stacks, which continues without haven.
    LeavesStacks,
}

fn on_interrupt(command: &Command) -> OnInterrupt {
    match command {
        Command::Up(_)
        | Command::Role { .. }
        | Command::Keep(_)
        | Command::Dlq { .. }
        | Command::Orders { .. }
        | Command::Rehearse(_) => OnInterrupt::StopsItself,
        Command::Apply(_) | Command::Deploy(_) | Command::Bootstrap(_) | Command::Destroy(_) => {
            OnInterrupt::LeavesStacks
        }
        Command::Down(_)
        | Command::Open(_)
        | Command::Env(_)
        | Command::Synth(_)
        | Command::Check(_)
        | Command::Why(_)
        | Command::Config { .. }
        | Command::Outputs(_)
        | Command::Completions(_)
        | Command::Cost(_)
        | Command::Plan(_)
        | Command::Promote(_)
        | Command::Smoke(_)
        | Command::Diff(_)
        | Command::Doctor(_)
        | Command::Drift(_)
        | Command::Status(_)
        | Command::Logs(_)
        | Command::Migrate(_)
        | Command::Seed(_)
        | Command::Reconcile(_)
        | Command::Load(_)
        | Command::Staff { .. }
        | Command::Notify { .. }
        | Command::Runbook { .. } => OnInterrupt::Ends,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[tokio::test]
    async fn database_failures_have_exit_codes_by_their_remedy() {
        let migrating = async |url: &str| {
            let failed = migrations::migrate(url)
                .await
                .context("migrate")
                .expect_err("refused");
            remedy(&failed).0.code()
        };
        let connecting = async |url: &str| {
            let store = worker::stores::Store::connect(url, &adapter_sql::Login::default()).await;
            let refused = store.context("open the shop's database").err();
            remedy(&refused.expect("refused")).0.code()
        };
        // Nothing listens on this port.
        for (url, code) in [("mysql://h/d", 64), ("postgres://127.0.0.1:1/x", 69)] {
            assert_eq!(
                (migrating(url).await, connecting(url).await),
                (code, code),
                "{url}"
            );
        }
        assert_eq!(connecting("postgres://h:no-port/d").await, 64);
    }

    #[test]
    fn a_failure_has_a_tip_or_its_text_says_what_to_change() {
        let refused = ConnectError::LoginRefused {
            user: "barista".to_owned(),
            why: "no".to_owned(),
        };
        let tip = |error: anyhow::Error| failure_of(&error.context("open the database")).tip;
        assert_eq!(tip(refused.into()).as_deref(), Some(NO_LOGIN));
        let bad = ConnectError::BadUrl("it has no host".to_owned());
        assert_eq!(tip(bad.into()), None);
        assert_eq!(tip(MigrateError::UnknownUrl.into()), None);
        for cause in [Cause::Credentials, Cause::Network, Cause::Refused] {
            let said = "why".to_owned();
            let failure = failure_of(&AwsFailure { cause, said }.into());
            assert_eq!(failure.tip.as_deref(), Some(cause.next()));
            assert!(!failure.message.contains(cause.next()), "{failure}");
        }
    }

    #[test]
    fn a_failed_call_ends_with_the_code_of_its_cause() {
        for (cause, code) in [
            (Cause::NoCredentials, 77),
            (Cause::Expired, 77),
            (Cause::Credentials, 77),
            (Cause::Network, 69),
            (Cause::NotAws, 69),
            (Cause::Endpoint, 64),
            (Cause::Throttled, 1),
            (Cause::Busy, 1),
            (Cause::Refused, 1),
        ] {
            let said = "why".to_owned();
            let failure = anyhow::Error::new(AwsFailure { cause, said });
            assert_eq!(remedy(&failure.context("look for a stack")).0.code(), code);
        }
    }

    #[test]
    fn a_wrong_flag_or_variable_is_bad_usage() {
        let refused = platform::given::POSTGRES
            .url(Some("mysql://h"))
            .expect_err("another kind");
        assert_eq!(remedy(&refused).0.code(), 64, "{refused}");
        let state = platform::state::State::open(std::path::Path::new("/dev/null"));
        let refused = state
            .context("start the platform")
            .expect_err("it is no directory");
        assert_eq!(remedy(&refused).0.code(), 64, "{refused:#}");
    }
}
