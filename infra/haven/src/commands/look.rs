//! Commands that show a running platform.

pub mod config;
pub mod env;
pub mod logs;
pub mod notify;
pub mod order_name;
pub mod orders;
pub mod outputs;
pub mod reproject;
pub mod status;

/// Asserts that no line is wider than the columns and none ends in a blank. Returns the text
/// without colors.
#[cfg(test)]
fn fitting(text: &str, columns: usize) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    let plain = parts.fold(first, |plain, part| {
        plain + part.split_once('m').map_or(part, |(_, rest)| rest)
    });
    for line in plain.lines() {
        let width = haven_console::width::of_text(line);
        assert!(width <= columns, "wider than {columns}: {line:?}");
        assert_eq!(line, line.trim_end(), "ends in a blank");
    }
    plain
}
