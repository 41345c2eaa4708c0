//! Logs on standard output: one JSON object per line.

mod span_fields;

use std::fmt;
use std::io::Write as _;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use span_fields::SpanFields;

/// The variable with the log filter, such as `info,chassis=debug`.
pub const LOG_VARIABLE: &str = "HAVEN_LOG";

/// The default filter. Libraries log retries and handshakes at `info`, which an operator does not
/// need.
const DEFAULT_FILTER: &str = "info,hyper=warn,h2=warn,rustls=warn,sqlx=warn,aws_config=warn,aws_smithy_runtime=warn,\
                              refinery_core=warn,tokio_postgres=warn";

/// Flushes the log when it is dropped, at the end of the process.
#[must_use = "the log is flushed when the guard is dropped: hold it until the process ends"]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        // The process ends, so nothing can handle a failure.
        let _ = std::io::stdout().flush();
    }
}

/// Starts logging for this process; further calls have no effect. An invalid filter is replaced by
/// the default with a warning, because a typing error in a log setting must not stop a service.
pub fn start(role: &str, filter: Option<&str>) -> Guard {
    let parsed = filter.map(EnvFilter::try_new).transpose();
    let complaint = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed
        .ok()
        .flatten()
        .unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Reports of lines that cannot be written (full disk, closed pipe) use `eprintln!`, which
        // panics if standard error cannot be written either.
        .log_internal_errors(false)
        .fmt_fields(SpanFields)
        .event_format(WithRole {
            role: serde_json::Value::from(role).to_string(),
            format: json_format(),
        })
        .try_init();
    if started.is_ok() {
        log_panics();
    }
    if let Some(complaint) = complaint {
        tracing::warn!(
            variable = LOG_VARIABLE,
            "{LOG_VARIABLE} is not a log filter ({complaint}); the default filter applies"
        );
    }
    Guard(())
}

/// Logs panics as lines like all others, so that they reach the log group.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that sets the panic hook"
)]
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let thread = std::thread::current();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(
            panic.place = place,
            thread = thread.name(),
            "Panicked: {message}"
        );
    }));
}

fn json_format() -> Format<Json, SystemTime> {
    Format::default()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
}

/// Writes the role as the first field of every line.
struct WithRole {
    /// The role as a JSON string.
    role: String,
    format: Format<Json, SystemTime>,
}

impl<S, N> FormatEvent<S, N> for WithRole
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    Format<Json, SystemTime>: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{{\"role\":{},{rest}", self.role),
            None => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_can_be_queried_by_role_by_its_own_fields_and_by_its_span() {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(SpanFields)
            .event_format(WithRole {
                role: "\"order-worker\"".into(),
                format: json_format(),
            })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "message",
                queue = "orders",
                order.id = tracing::field::Empty
            );
            let _entered = span.enter();
            span.record("order.id", "o-1");
            tracing::info!(duration_ms = 7, "Reserved");
        });
        let bytes = captured.0.lock().expect("not poisoned").clone();
        let line: serde_json::Value = serde_json::from_slice(&bytes).expect("one JSON object");
        assert_eq!(line["role"], "order-worker");
        assert_eq!(line["message"], "Reserved");
        assert_eq!(line["duration_ms"], 7);
        assert_eq!(line["span"]["queue"], "orders");
        assert_eq!(line["span"]["order.id"], "o-1");
    }
}
