//! Errors as people read them: one sentence, a blank line, and a tip with the next command. The
//! causes below the sentence are for `-v` and for programs.

use std::error::Error;

use serde_json::{Value, json};

use crate::exit::Exit;
use crate::settings::Settings;
use crate::style::Meaning;
use crate::terminal;
use crate::width::wrap;

/// A failure of a command: what failed, the value and why, in one sentence without a full stop.
///
/// ```
/// use haven_console::error::Failure;
/// let failure = Failure::usage("unknown environment `prd`").tip("did you mean `prod`?");
/// assert_eq!(failure.to_string(), "unknown environment `prd`");
/// assert_eq!(failure.exit.code(), 64);
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub exit: Exit,
    /// Names the failure for programs. Does not change between releases.
    pub code: &'static str,
    pub message: String,
    pub tip: Option<String>,
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// Makes a failure that ends the program with `exit`. Its code is the name of the exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            code: exit.name(),
            message: message.into(),
            tip: None,
            source: None,
        }
    }

    /// Makes the failure of a wrong command line or setting.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Makes the failure for a name that does not exist: an order, a cause, a resource, a runbook.
    pub fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(Exit::No, message).code("not_found")
    }

    /// Sets the code for programs.
    pub fn code(mut self, code: &'static str) -> Failure {
        self.code = code;
        self
    }

    /// Sets the tip: the next step, with commands in backticks.
    pub fn tip(mut self, tip: impl Into<String>) -> Failure {
        self.tip = Some(tip.into());
        self
    }

    /// Sets the error below this one.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        self.source = Some(source.into());
        self
    }

    /// Prints the failure to standard error, as text or with `--json` as one object. Returns its exit
    /// code.
    pub fn print(&self) -> Exit {
        let settings = crate::settings::get();
        let causes = std::iter::successors(self.source(), |cause| Error::source(*cause));
        let causes: Vec<String> = causes
            .map(|cause| terminal::text(&cause.to_string()))
            .collect();
        // Messages can quote what people typed.
        let message = terminal::text(&without_numbers(&self.message));
        let tip = self
            .tip
            .as_ref()
            .map(|tip| settings.hint(&terminal::text(tip)));
        let tip = tip.as_deref();
        if settings.json {
            eprintln!("{}", object(self.code, &message, tip, &causes));
        } else {
            let columns = crate::width::stderr_text();
            eprintln!("{}", text(&message, tip, &causes, &settings, columns));
        }
        self.exit
    }
}

/// Returns a message without the numbers of the operating system, as in "No such file or directory
/// (os error 2)". Those below it keep them.
fn without_numbers(message: &str) -> String {
    let mut parts = message.split(" (os error ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        text += rest.strip_prefix(')').unwrap_or(rest);
    }
    text
}

fn object(code: &str, message: &str, tip: Option<&str>, causes: &[String]) -> Value {
    json!({ "code": code, "message": message, "tip": tip, "causes": causes })
}

fn text(
    message: &str,
    tip: Option<&str>,
    causes: &[String],
    settings: &Settings,
    columns: usize,
) -> String {
    let error = Meaning::Error.paint("error:") + " ";
    let mut text = wrap(message, columns, &error, "       ");
    if settings.verbose {
        for cause in causes {
            text.push('\n');
            text.push_str(&wrap(cause, columns, "  cause: ", "         "));
        }
    }
    if let Some(tip) = tip {
        let word = format!("  {} ", Meaning::Tip.paint("tip:"));
        text.push_str("\n\n");
        text.push_str(&wrap(tip, columns, &word, "       "));
    }
    text
}

/// Returns the known name that is most like the given one, if any is alike: for "did you mean".
///
/// ```
/// use haven_console::error::nearest;
/// assert_eq!(nearest("prd", ["local", "dev", "prod"]), Some("prod"));
/// assert_eq!(nearest("x", ["local", "dev", "prod"]), None);
/// ```
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The measure and the limit of clap, so that all suggestions are alike.
    const ALIKE: f64 = 0.7;
    let given = given.to_lowercase();
    let scored = known
        .into_iter()
        .map(|name| (strsim::jaro(&given, &name.to_lowercase()), name));
    let alike = scored.filter(|(score, _)| *score > ALIKE);
    alike
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// Makes the failure for a name that is not among the known ones: with the nearest one, or all.
///
/// ```
/// let failure = haven_console::error::unknown("environment", "prd", &["local", "dev", "prod"]);
/// assert_eq!(failure.tip.as_deref(), Some("did you mean `prod`? Known: local, dev, prod"));
/// ```
pub fn unknown(kind: &str, given: &str, known: &[&str]) -> Failure {
    let all = known.join(", ");
    let tip = match nearest(given, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? Known: {all}"),
        None => format!("known: {all}"),
    };
    Failure::usage(format!("unknown {kind} `{given}`")).tip(tip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::width::assert_fits;

    fn plain(settings: &Settings, columns: usize) -> String {
        let causes = [
            "dispatch failure".to_owned(),
            "connection refused".to_owned(),
        ];
        let message = "cannot reach AWS in us-east-1: connection refused (sts, 3 tries) through the proxy of this company";
        let tip = "check the network and HTTPS_PROXY; `-v` shows the causes";
        let text = text(message, Some(tip), &causes, settings, columns);
        assert_fits(&text, columns);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn an_error_is_a_sentence_and_a_tip() {
        assert_eq!(
            plain(&Settings::default(), 60),
            "error: cannot reach AWS in us-east-1: connection refused\n\
            \x20      (sts, 3 tries) through the proxy of this company\n\
             \n\
            \x20 tip: check the network and HTTPS_PROXY; `-v` shows the\n\
            \x20      causes"
        );
        assert_eq!(
            plain(&Settings::default(), 80),
            "error: cannot reach AWS in us-east-1: connection refused (sts, 3 tries) through\n\
            \x20      the proxy of this company\n\
             \n\
            \x20 tip: check the network and HTTPS_PROXY; `-v` shows the causes"
        );
        let verbose = Settings {
            verbose: true,
            ..Settings::default()
        };
        let text = plain(&verbose, 120);
        assert!(
            text.contains("\n  cause: dispatch failure\n  cause: connection refused\n\n  tip: "),
            "{text}"
        );
    }

    #[test]
    fn a_message_has_no_numbers_of_the_operating_system() {
        let error = std::io::Error::from_raw_os_error(2);
        let text = format!("read a: {error}, and b: {error}");
        let expected = "read a: No such file or directory, and b: No such file or directory";
        assert_eq!(without_numbers(&text), expected);
        assert_eq!(without_numbers("as it is (2)"), "as it is (2)");
    }

    #[test]
    fn programs_get_an_object() {
        assert_eq!(
            object("usage", "no", None, &["why".to_owned()]),
            json!({ "code": "usage", "message": "no", "tip": null, "causes": ["why"] })
        );
    }

    #[test]
    fn a_failure_keeps_its_causes() {
        let failure = Failure::not_found("no order A-999").because(std::io::Error::other("disk"));
        assert_eq!((failure.exit, failure.code), (Exit::No, "not_found"));
        assert_eq!(
            failure.source().map(ToString::to_string).as_deref(),
            Some("disk")
        );
    }
}
