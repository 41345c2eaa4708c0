//! Makes text of customers and staff safe for a terminal: it cannot move the cursor, change colors
//! or reorder a line. Everything that a person has typed must pass one of these functions before it
//! is printed. Old rows can contain text from before texts were normalized.

use domain::text::{is_printable, printable};
use serde_json::Value;

/// Returns text line by line, each as [`printable`] returns it.
pub fn text(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// Returns the document as indented JSON, in which characters that a terminal would interpret are
/// escaped. Programs parse the same document.
pub fn json(document: &Value) -> String {
    escaped(&format!("{document:#}"))
}

/// Returns the document as one line of JSON, escaped in the same way.
pub fn json_line(document: &Value) -> String {
    escaped(&document.to_string())
}

fn escaped(json: &str) -> String {
    let mut escaped = String::new();
    for letter in json.chars() {
        // These line feeds are the indentation; line feeds inside strings are escaped already.
        if letter == '\n' || is_printable(letter) {
            escaped.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\u{9b}31mc\u{202e}d\u{7f}e\u{e0041}f \u{2615}";

    #[test]
    fn json_keeps_the_content_and_escapes_control_characters() {
        let document = json!({ "note": HOSTILE, "list": ["two", "lines"] });
        let printed = json(&document);
        assert!(
            printed
                .chars()
                .all(|letter| letter == '\n' || is_printable(letter)),
            "{printed:?}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&printed).expect("JSON"),
            document
        );
        let line = json_line(&document);
        assert_eq!(
            serde_json::from_str::<Value>(&line).expect("JSON"),
            document
        );
        assert!(line.chars().all(is_printable), "{line:?}");
        assert!(
            printed.contains('\u{2615}'),
            "what is visible stays as it is"
        );
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(text("one\ntwo\u{202e}\u{1b}c"), "one\ntwo c");
    }
}
