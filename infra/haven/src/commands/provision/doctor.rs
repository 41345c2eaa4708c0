//! `haven doctor`: checks the account and the stacks, and names the next command for each problem.

use clap::Args;
use haven_console::progress::Steps;
use haven_console::settings::{self, Settings};
use haven_console::style::Meaning;
use haven_console::time::counted;
use haven_console::width::wrap;
use haven_console::{exit::Exit, verdict, width};
use provision::doctor::check::Check;
use provision::doctor::next_step::Verdict;
use provision::doctor::{Diagnosis, diagnose};
use serde_json::json;

use crate::arguments::{self, FIX};
use crate::target;

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub target: arguments::Target,
    #[arg(long, help = FIX)]
    pub fix: bool,
}

/// Prints all checks. The exit code says whether nothing is wrong.
///
/// # Errors
/// When the settings are wrong, or a fix fails.
pub async fn command(options: &Doctor) -> anyhow::Result<Exit> {
    let (aws, environment) = target::locate(&options.target).await?;
    let target = aws.target(environment);
    let step = Steps::new("doctor").begin(&format!("Checking {}", target.environment.name));
    let diagnosis = diagnose(&target, options.fix).await;
    drop(step);
    let diagnosis = diagnosis?;
    let verdict = verdict_of(&diagnosis.checks);
    Ok(verdict.end("haven.doctor/1", json!(diagnosis), || {
        let text = text(&diagnosis, width::stdout_text(), &settings::get());
        println!("{text}");
    }))
}

fn with(verdict: Verdict, checks: &[Check]) -> impl Iterator<Item = &Check> {
    checks.iter().filter(move |check| check.verdict == verdict)
}

/// Returns whether the next step is a command, which is never broken into lines.
fn is_command(next: &str) -> bool {
    ["haven ", "aws ", "docker ", "export "]
        .iter()
        .any(|program| next.starts_with(program))
}

fn verdict_of(checks: &[Check]) -> verdict::Verdict {
    let count = |verdict| with(verdict, checks).count();
    let (failed, warnings) = (count(Verdict::Wrong), count(Verdict::Look));
    let warnings = match warnings {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    if failed == 0 {
        let passed = counted(count(Verdict::Ok), "check");
        return verdict::Verdict::good(format!("Ready to deploy: {passed} passed{warnings}."));
    }
    let verdict = verdict::Verdict::no(format!("Not ready: {failed} failed{warnings}."));
    let mut commands = with(Verdict::Wrong, checks).filter_map(|check| check.next.as_deref());
    match commands.find(|next| is_command(next)) {
        Some(command) => verdict.next(command),
        None => verdict,
    }
}

/// Returns the checks, worst first. Without `-v`, those that passed are counted.
fn text(diagnosis: &Diagnosis, columns: usize, settings: &Settings) -> String {
    const INDENT: &str = "      ";
    let Diagnosis { fixed, checks, .. } = diagnosis;
    let mut text = String::new();
    let mut line = |meaning: Meaning, line: &str| {
        text += &(wrap(line, columns, &meaning.mark(INDENT.len()), INDENT) + "\n");
    };
    for done in fixed {
        line(Meaning::Ok, &format!("fixed: {done}"));
    }
    for (verdict, meaning) in [
        (Verdict::Wrong, Meaning::Fail),
        (Verdict::Look, Meaning::Warn),
    ] {
        for check in with(verdict, checks) {
            let next = check.next.as_ref().map(|next| settings.hint(next));
            let next = next.map(|next| match is_command(&next) {
                // As one word, since a command must be copied whole.
                true => format!("\n->\u{a0}{}", next.replace(' ', "\u{a0}")),
                false => format!("\n-> {next}"),
            });
            line(meaning, &(check.what.clone() + &next.unwrap_or_default()));
        }
    }
    let passed = with(Verdict::Ok, checks).count();
    if settings.verbose {
        with(Verdict::Ok, checks).for_each(|check| line(Meaning::Ok, &check.what));
    } else if passed > 0 {
        let passed = counted(passed, "check");
        line(Meaning::Ok, &format!("{passed}  (list: -v)"));
    }
    if let [only] = checks.as_slice()
        && only.verdict == Verdict::Wrong
    {
        line(Meaning::Skip, "all other checks: AWS must answer first");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::provision::testing::plain;
    use crate::schemas::testing::valid;

    fn diagnosis(checks: Vec<Check>) -> Diagnosis {
        Diagnosis {
            environment: "prod".to_owned(),
            fixed: Vec::new(),
            checks,
        }
    }

    #[test]
    fn problems_come_first_with_their_next_step() {
        let found = diagnosis(vec![
            Check::ok("region us-east-1"),
            Check::look(
                "prod has no image yet",
                "haven deploy prod --set compute.image_digest=sha256:...",
            ),
            Check::wrong(
                "the certificate is not issued",
                "aws acm describe-certificate",
            ),
        ]);
        let expected = "FAIL  the certificate is not issued\n\
            \x20     -> aws acm describe-certificate\n\
            warn  prod has no image yet\n\
            \x20     -> haven deploy prod --set compute.image_digest=sha256:...\n\
            ok    1 check  (list: -v)\n";
        for columns in [80, 120] {
            let text = text(&found, columns, &Settings::default());
            assert_eq!(plain(&text, columns), expected);
        }
        let verbose = Settings {
            verbose: true,
            ..Settings::default()
        };
        let verbose = plain(&text(&found, 80, &verbose), 80);
        assert!(verbose.ends_with("\nok    region us-east-1\n"), "{verbose}");
        let verdict = verdict_of(&found.checks);
        let expected = verdict::Verdict::no("Not ready: 1 failed, 1 warning.");
        assert_eq!(verdict, expected.next("aws acm describe-certificate"));
        assert_eq!(verdict.exit(), Exit::No);
        let document = serde_json::to_value(&found).expect("JSON");
        valid(verdict.document("haven.doctor/1", document));
        assert_eq!(
            verdict_of(&found.checks[..2]),
            verdict::Verdict::good("Ready to deploy: 1 check passed, 1 warning.")
        );
    }

    #[test]
    fn without_a_response_from_aws_the_other_checks_are_skipped() {
        let next = "sign in again (aws sso login) or set AWS_PROFILE to another profile";
        let found = diagnosis(vec![Check::wrong("the AWS credentials are missing", next)]);
        assert_eq!(
            plain(&text(&found, 60, &Settings::default()), 60),
            "FAIL  the AWS credentials are missing\n\
            \x20     -> sign in again (aws sso login) or set AWS_PROFILE to\n\
            \x20     another profile\n\
            skip  all other checks: AWS must answer first\n"
        );
        let verdict = verdict_of(&found.checks);
        assert_eq!(verdict, verdict::Verdict::no("Not ready: 1 failed."));
    }
}
