//! The log groups of the roles of an environment on AWS, in CloudWatch Logs.
//!
//! `FilterLogEvents` returns the events of a group from a start time on, in pages and sorted by the
//! time of the event. Tasks send events in batches, so an event can arrive after a later one of
//! another task was read. Each read therefore begins [`LATE_MS`] before the newest event of the one
//! before, and drops the events that it has seen, by their ids.
//!
//! An account may call the operation five times a second ("How do I determine throttling in my
//! CloudWatch logs?", AWS re:Post). Groups are therefore read one after the other, and the SDK
//! retries what is throttled.

use std::collections::HashMap;
use std::time::Duration;

use adapter_aws::call::{Call, CallError, FILTER_LOG_EVENTS};
use aws_config::SdkConfig;
use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use contract::parameter_root;
use domain::Timestamp;
use haven_console::error::Failure;
use haven_console::exit::Exit;
use haven_console::settings;
use haven_console::width::{self, wrap};
use provision::aws_failure::failed;
use serde_json::json;
use tracing::Level;

use super::entry::{Batch, Filter, Newest};

/// How much later than a newer event an event can arrive.
const LATE_MS: i64 = 30_000;
/// The average time between two calls while new events are awaited, so that most of the account's
/// calls are left to others.
const CALL_EVERY: Duration = Duration::from_millis(500);

/// The log groups of an environment.
pub struct Groups {
    environment: String,
    call: Call,
    groups: Vec<Group>,
}

/// The log group of a role.
struct Group {
    role: &'static str,
    name: String,
    /// Where the next read begins, in milliseconds since 1970.
    from_ms: i64,
    /// The events since then that were read, by id, with their times.
    seen: HashMap<String, i64>,
}

impl Groups {
    /// Makes the unread log groups of `roles`, whose events are read from `since` on.
    pub fn new(
        config: &SdkConfig,
        environment: &str,
        roles: &[&'static str],
        since: Timestamp,
    ) -> Groups {
        let root = parameter_root(environment);
        let from_ms = i64::try_from(since.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        let groups = roles.iter().map(|role| Group {
            role,
            name: format!("{root}/{role}"),
            from_ms,
            seen: HashMap::new(),
        });
        Groups {
            environment: environment.to_owned(),
            call: Call::new(config, &FILTER_LOG_EVENTS),
            groups: groups.collect(),
        }
    }

    /// Returns the time to wait between two reads.
    pub fn pause(&self) -> Duration {
        let pause: Duration = self.groups.iter().map(|_| CALL_EVERY).sum();
        pause.max(Duration::from_secs(1))
    }

    /// Reads the events that were not read before, and keeps the newest `limit`. Groups that do not
    /// exist are named on standard error once, and left out.
    ///
    /// # Errors
    /// When no group exists, or CloudWatch Logs does not answer.
    pub async fn read(&mut self, filter: &Filter, limit: usize) -> anyhow::Result<Batch> {
        let (mut logs, mut present, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for mut group in std::mem::take(&mut self.groups) {
            match group.read(&self.call, filter, limit).await {
                Ok(newest) => {
                    logs.push(newest);
                    present.push(group);
                }
                Err(error) if is_missing(&error) => missing.push(group.name),
                Err(error) => {
                    return Err(failed(format!("read the log group {}", group.name), &error));
                }
            }
        }
        if present.is_empty() {
            return Err(no_groups(&self.environment, &missing).into());
        }
        if !missing.is_empty() && !settings::get().quiet {
            let note = format!("There is no log group {}.", missing.join(", "));
            eprintln!("{}", wrap(&note, width::stderr_text(), "", ""));
        }
        self.groups = present;
        Ok(Batch::of(logs, limit))
    }
}

impl Group {
    /// Reads the events that were not read before, page by page.
    async fn read(
        &mut self,
        call: &Call,
        filter: &Filter,
        limit: usize,
    ) -> Result<Newest, CallError> {
        let mut newest = Newest::new(limit);
        let mut from_ms = self.from_ms;
        let mut input = json!({ "logGroupName": self.name, "startTime": self.from_ms });
        if let Some(pattern) = pattern(filter) {
            input["filterPattern"] = pattern.into();
        }
        loop {
            let page = call.send(input.clone()).await?;
            for event in page["events"].as_array().into_iter().flatten() {
                let (Some(id), Some(at), Some(line)) = (
                    event["eventId"].as_str(),
                    event["timestamp"].as_i64(),
                    event["message"].as_str(),
                ) else {
                    continue;
                };
                if self.seen.insert(id.to_owned(), at).is_some() {
                    continue;
                }
                from_ms = from_ms.max(at - LATE_MS);
                if let Some(entry) = filter.entry(self.role, line) {
                    newest.add(entry);
                }
            }
            // Pages are in the order of time, so no later page has an event before this time.
            self.seen.retain(|_, at| *at >= from_ms);
            // A page can be empty although there are more.
            match page["nextToken"].as_str() {
                Some(token) => input["nextToken"] = token.into(),
                None => break,
            }
        }
        self.from_ms = from_ms;
        Ok(newest)
    }
}

/// Returns a pattern with which CloudWatch Logs leaves out lines that the filter does not show. The
/// remaining lines can still contain some of them ("Filter pattern syntax", CloudWatch Logs User
/// Guide).
fn pattern(filter: &Filter) -> Option<String> {
    /// The length of a whole order id.
    const ID: usize = 36;
    match &filter.order {
        Some(order) if order.len() == ID => Some(format!("\"{order}\"")),
        // Only a regular expression is documented to match a part of a word.
        Some(order) => Some(format!("%{order}%")),
        None if filter.level == Level::ERROR => Some("{ $.level = \"ERROR\" }".to_owned()),
        None if filter.level == Level::WARN => {
            Some("{ ($.level = \"ERROR\") || ($.level = \"WARN\") }".to_owned())
        }
        None => None,
    }
}

fn is_missing(error: &CallError) -> bool {
    let code = error.as_service_error().and_then(|refused| refused.code());
    code == Some("ResourceNotFoundException")
}

fn no_groups(environment: &str, missing: &[String]) -> Failure {
    let message = match missing {
        [group] => format!("`{environment}` has no log group {group}"),
        _ => format!("`{environment}` has no log groups of its roles"),
    };
    let tip = format!(
        "`haven status {environment}` shows whether it is deployed; `haven deploy {environment}` creates the log groups"
    );
    Failure::new(Exit::Failed, message).tip(tip)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use contract::role::ROLES;
    use provision::testing::{Answer, Form, stub};
    use serde_json::Value;
    use time::macros::datetime;

    use super::*;
    use crate::commands::look::logs::entry::line;

    const SINCE: Timestamp = datetime!(2026-11-29 08:00 UTC);
    const SINCE_MS: i64 = 1_795_939_200_000;

    /// Returns an event that was written `second` seconds after [`SINCE`].
    fn event(id: &str, second: i64) -> Value {
        let time = format!("08:{:02}:{:02}", second / 60, second % 60);
        let message = line(&time, "INFO", &format!("\"message\":\"{id}\""));
        json!({ "eventId": id, "timestamp": SINCE_MS + second * 1_000, "message": message })
    }

    fn page(events: &[Value], next: Option<&str>) -> Answer {
        json!({ "events": events, "nextToken": next })
            .to_string()
            .into()
    }

    fn messages(batch: &Batch) -> String {
        let messages = batch
            .entries
            .iter()
            .map(|entry| entry.log["message"].as_str());
        messages.flatten().collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn all_pages_are_read_and_later_reads_return_new_events_only() {
        assert_eq!(SINCE.unix_timestamp() * 1_000, SINCE_MS);
        let requests: Arc<Mutex<Vec<Form>>> = Arc::default();
        let asked = Arc::clone(&requests);
        let stub = stub(move |form: &Form| {
            let mut asked = asked.lock().expect("not poisoned");
            asked.push(form.clone());
            let group = form["logGroupName"].as_str();
            let token = form.get("nextToken").map(String::as_str);
            match (group, token, asked.len()) {
                ("/brewhaven/dev/storefront", None, 1) => {
                    Answer::refused("ThrottlingException", "Rate exceeded")
                }
                ("/brewhaven/dev/storefront", None, 2) => page(&[event("a", 1)], Some("more")),
                ("/brewhaven/dev/storefront", Some("more"), _) => page(&[], Some("last")),
                ("/brewhaven/dev/storefront", Some("last"), _) => {
                    page(&[event("b", 90), event("c", 100)], None)
                }
                // "late" was sent after "c" was read.
                ("/brewhaven/dev/storefront", None, _) => {
                    page(&[event("b", 90), event("late", 95), event("c", 100)], None)
                }
                _ => panic!("{form:?}"),
            }
        })
        .await;
        let mut groups = Groups::new(&stub.config, "dev", &["storefront"], SINCE);
        let first = groups.read(&Filter::ALL, 2).await.expect("read");
        assert_eq!((messages(&first).as_str(), first.total), ("b c", 3));
        let second = groups.read(&Filter::ALL, 9).await.expect("read");
        assert_eq!((messages(&second).as_str(), second.total), ("late", 1));
        let third = groups.read(&Filter::ALL, 9).await.expect("read");
        assert_eq!(third.total, 0, "{}", messages(&third));

        let requests = requests.lock().expect("not poisoned");
        let from: Vec<&str> = requests
            .iter()
            .map(|form| form["startTime"].as_str())
            .collect();
        let (begin, later) = (
            SINCE_MS.to_string(),
            (SINCE_MS + 100_000 - LATE_MS).to_string(),
        );
        assert_eq!(from, [&begin, &begin, &begin, &begin, &later, &later]);
        assert!(
            requests
                .iter()
                .all(|form| form["Action"] == "FilterLogEvents")
        );
    }

    #[tokio::test]
    async fn roles_are_merged_and_a_missing_group_is_left_out_or_a_sentence() {
        let stub = stub(|form: &Form| match form["logGroupName"].as_str() {
            "/brewhaven/dev/storefront" => page(&[event("one", 1), event("three", 3)], None),
            "/brewhaven/dev/sweeper" => page(&[event("two", 2)], None),
            _ => Answer::refused("ResourceNotFoundException", "no such group"),
        })
        .await;
        let roles = ["storefront", "order-worker", "sweeper"];
        let mut groups = Groups::new(&stub.config, "dev", &roles, SINCE);
        let batch = groups.read(&Filter::ALL, 9).await.expect("read");
        assert_eq!(messages(&batch), "one two three");
        assert_eq!(groups.groups.len(), 2, "not asked again");
        let roles: Vec<&'static str> = ROLES.iter().map(|role| role.slug).collect();
        let all = Groups::new(&stub.config, "dev", &roles, SINCE).pause();
        let one = Groups::new(&stub.config, "dev", &roles[..1], SINCE).pause();
        assert!(
            one == Duration::from_secs(1) && all >= 4 * one,
            "{one:?} {all:?}"
        );

        let mut groups = Groups::new(&stub.config, "dev", &["order-worker"], SINCE);
        let missing = groups.read(&Filter::ALL, 9).await.err().expect("missing");
        let failure: &Failure = missing.downcast_ref().expect("a failure");
        assert_eq!(
            failure.message,
            "`dev` has no log group /brewhaven/dev/order-worker"
        );
        assert_eq!(failure.exit.code(), 1);
        let tip = failure.tip.as_deref().unwrap_or_default();
        assert!(tip.contains("`haven status dev`"), "{tip}");
        let several = no_groups("dev", &["a".to_owned(), "b".to_owned()]);
        assert!(several.message.ends_with("no log groups of its roles"));
    }

    #[test]
    fn a_pattern_leaves_out_no_line_that_is_shown() {
        let of = |level: Level, order: Option<&str>| {
            pattern(&Filter {
                level,
                order: order.map(str::to_owned),
                ..Filter::ALL
            })
        };
        assert_eq!(of(Level::INFO, None), None);
        let warn = of(Level::WARN, None).expect("a pattern");
        assert!(warn.contains("WARN") && warn.contains("ERROR"), "{warn}");
        let error = of(Level::ERROR, None).expect("a pattern");
        assert_eq!(error, "{ $.level = \"ERROR\" }");
        assert_eq!(
            of(Level::ERROR, Some("33db0289-2a")).as_deref(),
            Some("%33db0289-2a%")
        );
        let id = "01934d3c-2a00-7000-8000-000000000002";
        assert_eq!(of(Level::INFO, Some(id)), Some(format!("\"{id}\"")));
    }
}
