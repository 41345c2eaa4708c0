//! Commands that check, plan and deploy the stacks.

pub mod apply;
pub mod bootstrap;
pub mod check;
pub mod cost;
pub mod deploy;
pub mod destroy;
pub mod diff;
pub mod doctor;
pub mod drift;
pub mod left_out;
pub mod plan;
pub mod present;
pub mod promote;
pub mod readable;
pub mod rehearse;
pub mod smoke;
pub mod synth;
pub mod targets;
pub mod why;

#[cfg(test)]
pub mod testing {
    /// Returns the text without colors. Fails if a line is wider than the columns or ends in a blank.
    pub fn plain(text: &str, columns: usize) -> String {
        for line in text.lines() {
            let width = haven_console::width::of_text(line);
            assert!(width <= columns, "wider than {columns}: {line:?}");
            assert_eq!(line, line.trim_end(), "ends in a blank");
        }
        let mut parts = text.split("\u{1b}[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| {
            plain + part.split_once('m').map_or(part, |(_, rest)| rest)
        })
    }
}
