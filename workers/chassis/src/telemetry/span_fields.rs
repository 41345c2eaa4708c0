//! Writes the fields of a span as JSON directly, without a map. `JsonFields` of
//! `tracing-subscriber` and the crate `json-subscriber` both collect the fields of a span in a map
//! of JSON values first. The consume loop opens one span per message, and `JsonFields` took half as
//! much CPU as all other work of the loop for a message.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

pub(super) struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut object = Object {
            writer,
            written: false,
            outcome: Ok(()),
        };
        object.outcome = object.writer.write_char('{');
        fields.record(&mut object);
        object.outcome?;
        object.writer.write_char('}')
    }

    /// Appends fields that are recorded later. A field may be recorded once only: a second value
    /// would add a second entry with the same name.
    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let written = current.fields.len() > "{}".len();
        current.fields.pop();
        let mut object = Object {
            writer: current.as_writer(),
            written,
            outcome: Ok(()),
        };
        fields.record(&mut object);
        object.outcome?;
        object.writer.write_char('}')
    }
}

struct Object<'writer> {
    writer: Writer<'writer>,
    /// Whether the object has a field already.
    written: bool,
    outcome: fmt::Result,
}

impl Object<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let comma = if self.written { "," } else { "" };
        self.written = true;
        // Names are identifiers in our code, so they need no escapes.
        let name = write!(self.writer, "{comma}\"{}\":", field.name());
        self.outcome = self
            .outcome
            .and(name)
            .and_then(|()| value(&mut self.writer));
    }
}

impl Visit for Object<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |writer| text(writer, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |writer| text(writer, &format!("{value:?}")));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |writer| write!(writer, "{value}"));
    }
}

fn text(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    if text
        .bytes()
        .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
    {
        return write!(writer, "\"{text}\"");
    }
    writer.write_str(&serde_json::Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    use tracing::field::Empty;
    use tracing_subscriber::fmt::TestWriter;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::registry::LookupSpan as _;

    use super::*;

    #[test]
    fn fields_of_every_type_are_json_at_creation_and_later() {
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(SpanFields)
            .with_writer(TestWriter::new);
        let subscriber = tracing_subscriber::registry().with(layer);
        let written = tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "all",
                text = "a \"b\"\n",
                n = -1,
                m = 2_u64,
                is = true,
                later = Empty
            );
            let none = tracing::info_span!("none", later = Empty);
            span.record("later", tracing::field::debug(Some("x")));
            none.record("later", 0.5);
            let of = |span: &tracing::Span| {
                let id = span.id().expect("enabled");
                span.with_subscriber(|(_, dispatch)| {
                    let registry = dispatch
                        .downcast_ref::<tracing_subscriber::Registry>()
                        .expect("a registry");
                    let span = registry.span(&id).expect("open");
                    let fields = span
                        .extensions()
                        .get::<FormattedFields<SpanFields>>()
                        .expect("fields")
                        .fields
                        .clone();
                    serde_json::from_str::<serde_json::Value>(&fields).expect("JSON")
                })
                .expect("a subscriber")
            };
            [of(&span), of(&none)]
        });
        let all = serde_json::json!({ "text": "a \"b\"\n", "n": -1, "m": 2, "is": true, "later": "Some(\"x\")" });
        assert_eq!(written, [all, serde_json::json!({ "later": "0.5" })]);
    }
}
