//! The files in which the local AWS keeps its state (`STATE/aws/SERVICE.json`), and the rebuild
//! when one of them is damaged.
//!
//! MiniStack writes one file per service when it stops, and does not sync it. A machine that loses
//! power can leave empty or torn files. MiniStack logs one line for such a file and starts without
//! the data of that service. CloudFormation's own file still lists the resources, so a deployment
//! finds nothing to change. The shop would then run without its queues or tables.
//!
//! Therefore every file is parsed before each start. When one is damaged:
//!
//! - The whole directory is moved aside.
//! - The stacks are deployed on an empty local AWS.
//! - The data of intact files is carried over (`carry`). Physical names depend only on the stack
//!   and the logical id, so tables and queues keep their names.
//! - Stock holds and sales that a damaged file held are restored from the database, as after a kill
//!   (`repair`).
//!
//! The audit log records each rebuild. The database is migrated and opened only after the local AWS
//! runs, so the rebuild first leaves a note in the state directory. `record` turns the note into an
//! audit row. If the start fails in between, the note stays for the next start.

mod carry;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;
use worker::stores::Store;

use crate::audit::{Act, operator};
use crate::aws::Aws;
use crate::emulator::{Emulator, Source};
use crate::log_tail::LogTail;
use crate::phases::Phases;
use crate::private_file;
use crate::server::Stopped;
use crate::state::State;

/// The warning to print when the local AWS was killed before it had written its files.
pub const KILLED: &str = "The local AWS did not stop in time and was killed, so it did not save its state. Messages, dead letters and \
     settings since its last clean stop are lost. The next `haven up` restores stock holds, sales and order views from the \
     database, and the sweeper asks again for every unfinished order.";

/// Returns a warning if the local AWS did not stop cleanly and may not have saved its state.
pub fn unsaved(stopped: &Stopped) -> Option<String> {
    match stopped {
        Stopped::Cleanly => None,
        Stopped::Killed => Some(KILLED.to_owned()),
        Stopped::Failed(how) => Some(format!(
            "The local AWS failed ({how}) and may not have saved its state. Messages, dead letters and settings since its last \
             clean stop can be lost. The next `haven up` restores stock holds, sales and order views from the database, and the \
             sweeper asks again for every unfinished order."
        )),
    }
}

/// The file, below the state directory, of a rebuild that has begun. The next start finishes it.
const MARKER: &str = "aws-rebuild.json";
/// The file, below the state directory, of a rebuild that has ended and is not in the audit log
/// yet.
const NOTE: &str = "aws-rebuilt.json";
const FOLDER: &str = "aws";
/// The services that every shop uses. If the directory has any file, their files must exist too.
const NEEDED: [&str; 7] = [
    "cloudformation",
    "dynamodb",
    "eventbridge",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
];

/// A rebuild of the local AWS's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rebuild {
    /// The directory with the old files, relative to the state directory.
    aside: String,
    /// The problem of each damaged file, by service.
    damaged: BTreeMap<String, String>,
}

/// Checks the files of the local AWS before it starts, and rebuilds its state if one is damaged.
///
/// # Errors
/// When a file cannot be read, or the local AWS cannot be started and deployed. The old files are
/// kept then, and the next start tries again.
pub async fn restore(
    phases: &Phases,
    source: &Source,
    state: &State,
    redis_url: Option<&str>,
) -> anyhow::Result<()> {
    let Some(rebuild) = Rebuild::find(state)? else {
        return Ok(());
    };
    for (service, problem) in &rebuild.damaged {
        eprintln!("  The local AWS's file {service}.json {problem}.");
    }
    phases
        .run("rebuilding the state of the local AWS", async {
            rebuild.set_aside(state)?;
            let emulator = Emulator::start(source, state, redis_url).await?;
            let clients = Aws::local(&emulator.access);
            let deployed = clients.deploy_shop().await;
            let stopped = emulator.stop().await;
            deployed.context("deploy the stacks on an empty local AWS")?;
            if let Some(unsaved) = unsaved(&stopped) {
                bail!("the local AWS did not save its new state; start again ({unsaved})");
            }
            let (old, new) = (state.path(&rebuild.aside), state.path(FOLDER));
            let carried = carry::over(&old, &new, &rebuild.damaged)?;
            Rebuild::finish(state)?;
            Ok((
                (),
                format!("state of the local AWS rebuilt; carried over: {carried}"),
            ))
        })
        .await?;
    eprintln!(
        "  Moved all its old files to {}",
        state.path(&rebuild.aside).display()
    );
    for service in rebuild.damaged.keys() {
        eprintln!("  Lost with {service}.json: {}", lost_with(service));
    }
    Ok(())
}

/// Records in the audit log the rebuild that [`restore`] has finished, if there is one.
///
/// # Errors
/// When the audit row cannot be written, or the note cannot be removed. The next start tries again.
/// The id of the act prevents a second row.
pub async fn record(state: &State, store: &Store) -> anyhow::Result<()> {
    let note = state.path(NOTE);
    let Some(Rebuild { aside, damaged }) = Rebuild::read(&note) else {
        return Ok(());
    };
    let act_id = format!("local-aws/{aside}");
    let (before, after) = (json!({ "damaged": damaged }), json!({ "old_files": aside }));
    let act = Act::new(&operator(), "local_aws.rebuild", "local-aws").id(act_id);
    act.before(&before).after(&after).append(store).await?;
    fs::remove_file(&note).with_context(|| format!("remove {}", note.display()))
}

impl Rebuild {
    /// Reads a marker or a note. Returns `None` if the file is missing or cannot be parsed.
    fn read(path: &Path) -> Option<Rebuild> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Returns the rebuild to do now: the unfinished one of an earlier start, or a new one if files
    /// are damaged.
    fn find(state: &State) -> anyhow::Result<Option<Rebuild>> {
        let marker = state.path(MARKER);
        if let Some(begun) = Rebuild::read(&marker) {
            return Ok(Some(begun));
        }
        let damaged = damaged(&state.path(FOLDER))?;
        if damaged.is_empty() {
            return Ok(None);
        }
        let now = OffsetDateTime::now_utc().format(format_description!(
            "[year][month][day]T[hour][minute][second]Z"
        ));
        let rebuild = Rebuild {
            aside: format!("{FOLDER}.torn-{}", now.context("write the time")?),
            damaged,
        };
        private_file::write(&marker, &serde_json::to_vec(&rebuild).context("encode")?)?;
        Ok(Some(rebuild))
    }

    /// Moves the old files aside. If an interrupted rebuild has moved them before, deletes its
    /// half-built directory instead.
    fn set_aside(&self, state: &State) -> anyhow::Result<()> {
        let (folder, aside) = (state.path(FOLDER), state.path(&self.aside));
        if !aside.exists() {
            return fs::rename(&folder, &aside)
                .with_context(|| format!("move {} aside", folder.display()));
        }
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove the half-built {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Ends the rebuild: renames the marker, which becomes the note for [`record`].
    fn finish(state: &State) -> anyhow::Result<()> {
        let (marker, note) = (state.path(MARKER), state.path(NOTE));
        fs::rename(&marker, &note)
            .with_context(|| format!("rename {} to {}", marker.display(), note.display()))
    }
}

/// Returns the services whose files MiniStack could not load, each with the problem.
fn damaged(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut damaged = BTreeMap::new();
    let mut whole = Vec::new();
    if !fs::exists(folder).with_context(|| format!("read {}", folder.display()))? {
        return Ok(damaged);
    }
    for (service, path) in carry::saved(folder)? {
        match problem(&service, &path)? {
            Some(problem) => drop(damaged.insert(service, problem)),
            None => whole.push(service),
        }
    }
    if whole.is_empty() && damaged.is_empty() {
        // No file at all: the local AWS has never stopped cleanly on this directory.
        return Ok(damaged);
    }
    for service in NEEDED {
        if !damaged.contains_key(service) && !whole.iter().any(|name| name == service) {
            damaged.insert(service.to_owned(), "is missing".to_owned());
        }
    }
    Ok(damaged)
}

/// The JSON object in which MiniStack wraps the state of a service.
#[derive(Deserialize)]
struct Saved {
    #[serde(rename = "__ministack_format__")]
    _format: u32,
    payload: BTreeMap<String, IgnoredAny>,
}

/// Returns the problem of a service's file, or `None` if MiniStack can load it.
fn problem(service: &str, path: &Path) -> anyhow::Result<Option<String>> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    if bytes.is_empty() {
        return Ok(Some("is empty".to_owned()));
    }
    // `serde_json` does not check the bytes of the strings that it ignores here. MiniStack decodes
    // all of them and would exit at its start.
    if let Err(error) = std::str::from_utf8(&bytes) {
        return Ok(Some(format!(
            "is damaged (byte {} is not text)",
            error.valid_up_to()
        )));
    }
    Ok(match serde_json::from_slice::<Saved>(&bytes) {
        Err(error) => Some(format!("is damaged (not what MiniStack writes: {error})")),
        // MiniStack would start without the data of this service.
        Ok(saved) if saved.payload.is_empty() && NEEDED.contains(&service) => {
            Some("is damaged (its payload is empty)".to_owned())
        }
        Ok(_) => None,
    })
}

/// Returns what a rebuild cannot restore without the file of a service.
fn lost_with(service: &str) -> &'static str {
    match service {
        "dynamodb" => {
            "deliveries, write-offs and counts that staff recorded, and the stock ledger. Stock starts from the menu's first \
             delivery; holds, sales and order views of all orders are restored from the database"
        }
        "sqs" => {
            "messages in queues, and dead letters. The sweeper asks again for every unfinished order"
        }
        "secretsmanager" => {
            "the secrets. New ones were made, so staff tokens from before are refused"
        }
        "ssm" => "settings that were changed in Parameter Store. The defaults apply again",
        "sns" => "text messages in the mailbox",
        "cloudformation" => "the history of the stacks, and stacks that `haven up` does not deploy",
        "cloudwatch" => "metrics and the history of alarms",
        "s3" => "buckets of your own",
        _ => "resources that you created there; the resources of the platform were deployed again",
    }
}

/// Starts to read the log of the local AWS, for [`not_saved`].
pub fn log_from_here(state: &State) -> LogTail {
    LogTail::from_here(State::log_path(state.folder(), "local-aws"))
}

/// Returns a warning if the local AWS has logged since then that it could not save a file.
pub fn not_saved(log: &LogTail) -> Option<String> {
    let text = log.read(u64::MAX).ok()?;
    let failed: Vec<&str> = text.lines().filter_map(failure_in).collect();
    (!failed.is_empty()).then(|| {
        format!(
            "The local AWS could not save part of its state: {}. Their changes since its last clean stop are lost; the next \
             `haven up` restores what the database contains.",
            failed.join("; ")
        )
    })
}

/// Returns the service and the reason if a log line of MiniStack (`core/persistence.py`) reports a
/// file that was not written.
fn failure_in(line: &str) -> Option<&str> {
    const LINES: [&str; 2] = [
        "Persistence: failed to save ",
        "Persistence: error getting state for ",
    ];
    LINES
        .iter()
        .find_map(|begin| line.split_once(begin))
        .map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_torn_and_missing_files_are_found() {
        let folder = std::env::temp_dir().join(format!("haven-aws-{}", uuid::Uuid::now_v7()));
        assert_eq!(damaged(&folder).expect("nothing there"), BTreeMap::new());
        fs::create_dir_all(folder.join("s3")).expect("made");
        assert_eq!(damaged(&folder).expect("never saved"), BTreeMap::new());
        let whole = r#"{"__ministack_format__": 2, "payload": {"queues": {"data": {"a": [1, null, "ü"]}}}}"#;
        for service in NEEDED.into_iter().chain(["iam", "s3"]) {
            fs::write(folder.join(format!("{service}.json")), whole).expect("written");
        }
        fs::write(folder.join("sqs.json.tmp"), "{").expect("written");
        assert_eq!(damaged(&folder).expect("readable"), BTreeMap::new());

        // An old disk block inside a JSON string; MiniStack exits when it loads such a file.
        let mut stale = whole.as_bytes().to_vec();
        stale[whole.find("queues").expect("it is there")] = 0xff;
        let torn: [(&str, &[u8]); 7] = [
            ("sqs", b""),
            ("dynamodb", &whole.as_bytes()[..60]),
            ("iam", &stale),
            ("s3", &[0; 100]),
            // MiniStack loads these files as a service without data.
            ("sns", b"{}"),
            ("secretsmanager", br#"{"__ministack_format__": 2}"#),
            (
                "eventbridge",
                br#"{"__ministack_format__": 3, "payload": {}}"#,
            ),
        ];
        for (service, bytes) in torn {
            fs::write(folder.join(format!("{service}.json")), bytes).expect("written");
        }
        fs::remove_file(folder.join("ssm.json")).expect("removed");
        let found = damaged(&folder).expect("readable");
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        let expected = [
            "dynamodb",
            "eventbridge",
            "iam",
            "s3",
            "secretsmanager",
            "sns",
            "sqs",
            "ssm",
        ];
        assert_eq!(names, expected);
        assert_eq!(
            (found["sqs"].as_str(), found["ssm"].as_str()),
            ("is empty", "is missing")
        );
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn every_failed_write_is_read_from_the_log() {
        let line = |message: &str| format!("2026-11-29 10:00:00 [ERROR] persistence: {message}");
        let full = line("Persistence: failed to save sqs: [Errno 28] No space left on device");
        assert_eq!(
            failure_in(&full),
            Some("sqs: [Errno 28] No space left on device")
        );
        let broken = line(
            "Persistence: error getting state for sns: dictionary changed size during iteration",
        );
        assert_eq!(
            failure_in(&broken),
            Some("sns: dictionary changed size during iteration")
        );
        assert_eq!(
            failure_in(&line("Persistence: saved sqs state to /state/aws/sqs.json")),
            None
        );
    }

    #[test]
    fn only_a_clean_stop_saves_everything() {
        assert_eq!(unsaved(&Stopped::Cleanly), None);
        assert_eq!(unsaved(&Stopped::Killed).as_deref(), Some(KILLED));
        let failed =
            unsaved(&Stopped::Failed("killed by signal 11".to_owned())).expect("it may be lost");
        assert!(
            failed.contains("killed by signal 11") && failed.contains("may not have saved"),
            "{failed}"
        );
    }
}
