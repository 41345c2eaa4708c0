//! The text output of `haven dlq`.

use app::use_cases::rehearse::Foreseen;
use comfy_table::{Table, presets};
use domain::text::printable;
use serde_json::{Value, json};

use super::cause::Cause;
use haven_console::terminal;

/// Prints a table of all causes.
pub fn causes(causes: &[Cause<'_>]) {
    if causes.is_empty() {
        println!("Nothing is parked.");
        return;
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "Fingerprint",
        "Queue",
        "Count",
        "Oldest",
        "Newest",
        "Reason",
    ]);
    for cause in causes {
        table.add_row([
            cause.fingerprint.clone(),
            cause.queue.slug.to_owned(),
            cause.letters.len().to_string(),
            cause.oldest().unwrap_or_default(),
            cause.newest().unwrap_or_default(),
            printable(&cause.reason),
        ]);
    }
    println!("{table}\n\nNext:  haven dlq show FINGERPRINT");
}

/// Prints the document that `examine` returns.
pub fn message(document: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), printable);
    let message = &document["message"];
    println!(
        "{} in {}-parking, {} like it",
        text(&message["message_id"]),
        text(&document["queue"]),
        document["count"]
    );
    println!("  reason      {}", text(&message["reason"]));
    println!("  parked at   {}", text(&message["parked_at"]));
    println!(
        "  deliveries  {}",
        message["deliveries"]
            .as_u64()
            .map_or("not said".to_owned(), |count| count.to_string())
    );
    println!(
        "  would be    {}: {}",
        text(&document["foreseen"]["verdict"]),
        text(&document["foreseen"]["what"])
    );
    match &document["order"] {
        Value::Null => println!("  order       it names none"),
        order if order["state"].is_null() => {
            println!("  order       {} does not exist", text(&order["order_id"]))
        }
        order => println!(
            "  order       {} ({}) is {}, since {}",
            text(&order["order_number"]),
            text(&order["order_id"]),
            text(&order["state"]),
            text(&order["updated_at"])
        ),
    }
    println!("\nThe message:\n{}", pretty(&message["body"]));
    println!(
        "\nA good one, from the {}:\n{}",
        text(&document["good"]["from"]),
        pretty(&document["good"]["body"])
    );
    match document["differences"].as_array().map(Vec::as_slice) {
        Some([]) | None => {
            println!("\nTheir forms are the same: what is wrong is what it says, or when.")
        }
        Some(differences) => {
            println!("\nWhere it differs:");
            for difference in differences {
                println!(
                    "  ! {} {}",
                    text(&difference["field"]),
                    text(&difference["problem"])
                );
            }
        }
    }
}

/// Returns indented JSON, or the text of a body that is not JSON, both safe for a terminal.
fn pretty(body: &Value) -> String {
    match body {
        Value::String(text) => printable(text),
        body => terminal::json(body),
    }
}

/// Returns the result of a rehearsal as JSON.
pub fn foreseen(foreseen: &Foreseen) -> Value {
    match foreseen {
        Foreseen::Done { what } => json!({ "verdict": "done", "what": what }),
        Foreseen::Dropped => json!({ "verdict": "dropped", "what": "it was applied before" }),
        Foreseen::Parked { reason } => json!({ "verdict": "parked", "what": reason }),
        Foreseen::Later { reason } => json!({ "verdict": "later", "what": reason }),
    }
}
