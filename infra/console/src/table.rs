//! Tables: a header in sentence case, no borders, two blanks between columns, numbers to the
//! right, no trailing blanks. A table that is too wide drops its optional columns, then shortens
//! one column, and never wraps.
//!
//! The layout is our own, because comfy-table, the usual crate, wraps cells instead of dropping
//! columns, and colors them by sequences and variables of its own, beside the one decision in
//! [`crate::style`].

use crate::style::Meaning;
use crate::time::counted;
use crate::width::of_text;

const GAP: usize = 2;
/// A shortened column keeps at least these columns.
const SHORTEST: usize = 8;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    header: &'static str,
    is_number: bool,
    /// The lowest rank is dropped first. Columns without a rank stay.
    rank: Option<u8>,
    is_shortened: bool,
}

impl Column {
    /// Makes a column of text, which is aligned to the left.
    pub const fn text(header: &'static str) -> Column {
        Column {
            header,
            is_number: false,
            rank: None,
            is_shortened: false,
        }
    }

    /// Makes a column of numbers, which are aligned to the right. The header names their unit, and
    /// [`crate::time::thousands`] formats them.
    pub const fn number(header: &'static str) -> Column {
        let mut column = Column::text(header);
        column.is_number = true;
        column
    }

    /// Lets a table that is too wide drop the column. The lowest rank is dropped first.
    pub const fn optional(mut self, rank: u8) -> Column {
        self.rank = Some(rank);
        self
    }

    /// Lets a table that is still too wide shorten this column with `...`. One column of a table.
    pub const fn shortened(mut self) -> Column {
        self.is_shortened = true;
        self
    }
}

/// A cell: a text, and what it means if it has a color.
#[derive(Debug, Clone)]
pub struct Cell(String, Option<Meaning>);

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell(text.into(), None)
    }
}

impl Meaning {
    /// Makes a cell in the style of the meaning.
    pub fn cell(self, text: impl Into<String>) -> Cell {
        Cell(text.into(), Some(self))
    }
}

/// Columns and rows. The caller sorts the rows, worst first, and prints a sentence instead of a
/// table without rows or with one.
///
/// ```
/// use haven_console::table::{Column, Table};
/// let mut table = Table::new([Column::text("Queue"), Column::number("Waiting")]);
/// table.row(["orders", "1,204"]);
/// assert!(table.render(80).text.ends_with("\norders    1,204\n"));
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A table as text, which ends in a line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// The headers of the dropped columns.
    pub hidden: Vec<&'static str>,
}

impl Rendered {
    /// Returns the words with which the last line of the output counts the dropped columns.
    pub fn note(&self) -> Option<String> {
        let hidden = self.hidden.join(", ");
        match self.hidden.len() {
            0 => None,
            count => Some(format!(
                "{} hidden: {hidden} (-v)",
                counted(count, "column")
            )),
        }
    }
}

impl Table {
    /// Makes a table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Table {
        Table {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with one cell for each column.
    pub fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let cells: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "{cells:?}");
        self.rows.push(cells);
    }

    /// Prints the table in the width of standard output; with `-v` in full. Returns the words about
    /// dropped columns, for the last line.
    pub fn print(&self) -> Option<String> {
        let columns = match crate::settings::get().verbose {
            true => usize::MAX,
            false => crate::width::stdout(),
        };
        let rendered = self.render(columns);
        print!("{}", rendered.text);
        rendered.note()
    }

    /// Returns the table in at most `columns` columns, as far as its columns can be dropped and
    /// shortened.
    pub fn render(&self, columns: usize) -> Rendered {
        let mut widths = self.natural_widths();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let mut hidden = Vec::new();
        let total = |shown: &[usize], widths: &[usize]| {
            let widths: usize = shown.iter().map(|column| widths[*column]).sum();
            widths + GAP * shown.len().saturating_sub(1)
        };
        while total(&shown, &widths) > columns {
            let ranked = shown.iter().copied();
            let ranked = ranked.filter_map(|column| Some((self.columns[column].rank?, column)));
            let Some((_, dropped)) = ranked.min() else {
                break;
            };
            shown.retain(|column| *column != dropped);
            hidden.push(self.columns[dropped].header);
        }
        let excess = total(&shown, &widths).saturating_sub(columns);
        if let Some(column) = shown
            .iter()
            .find(|column| self.columns[**column].is_shortened)
        {
            let shortest = SHORTEST.min(widths[*column]);
            widths[*column] = widths[*column].saturating_sub(excess).max(shortest);
        }
        let header: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| Meaning::Heading.cell(column.header))
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (index, column) in shown.iter().enumerate() {
                if index > 0 {
                    line.push_str(&" ".repeat(GAP));
                }
                line.push_str(&self.cell(row, *column, widths[*column]));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        Rendered { text, hidden }
    }

    fn natural_widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .map(|column| of_text(column.header))
            .collect();
        for row in &self.rows {
            for (width, Cell(text, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(of_text(text));
            }
        }
        widths
    }

    fn cell(&self, row: &[Cell], column: usize, columns: usize) -> String {
        let Some(Cell(text, meaning)) = row.get(column) else {
            return " ".repeat(columns);
        };
        let text = shortened(text, columns);
        let padding = " ".repeat(columns.saturating_sub(of_text(&text)));
        let text = meaning.map_or_else(|| text.clone(), |meaning| meaning.paint(&text));
        match self.columns[column].is_number {
            true => padding + &text,
            false => text + &padding,
        }
    }
}

/// Returns the text, with `...` at its end if it is wider than the columns.
pub fn shortened(text: &str, columns: usize) -> String {
    const SIGN: &str = "...";
    if of_text(text) <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    for letter in text.chars() {
        short.push(letter);
        if of_text(&short) + SIGN.len() > columns {
            short.pop();
            break;
        }
    }
    short.trim_end().to_owned() + SIGN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::width::assert_fits;

    fn dead_letters() -> Table {
        let mut table = Table::new([
            Column::text("Cause"),
            Column::text("Queue").optional(2),
            Column::number("Count"),
            Column::text("Oldest").optional(1),
            Column::text("Reason").shortened(),
        ]);
        let reason = "not JSON: key must be a string at line 1 column 3 of the message body";
        table.row(["177750fb39f3", "payments", "1,005", "2 min", reason]);
        table.row(["d9d61c00811e", "orders", "5", "48 s", "no order"]);
        table
    }

    fn plain(rendered: &Rendered) -> String {
        anstream::adapter::strip_str(&rendered.text).to_string()
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let rendered = dead_letters().render(120);
        assert_eq!(
            plain(&rendered),
            "Cause         Queue     Count  Oldest  Reason\n\
             177750fb39f3  payments  1,005  2 min   not JSON: key must be a string at line 1 column 3 of the message body\n\
             d9d61c00811e  orders        5  48 s    no order\n"
        );
        assert_eq!(rendered.note(), None);
    }

    #[test]
    fn a_narrow_one_drops_the_lowest_ranks_and_then_shortens() {
        for columns in [60, 80] {
            let rendered = dead_letters().render(columns);
            assert_eq!(rendered.hidden, ["Oldest", "Queue"]);
            assert_eq!(
                rendered.note().as_deref(),
                Some("2 columns hidden: Oldest, Queue (-v)")
            );
            assert_fits(&plain(&rendered), columns);
        }
        assert_eq!(
            plain(&dead_letters().render(60)),
            "Cause         Count  Reason\n\
             177750fb39f3  1,005  not JSON: key must be a string at li...\n\
             d9d61c00811e      5  no order\n"
        );
    }

    #[test]
    fn colors_change_no_width() {
        let mut table = Table::new([Column::text("State"), Column::text("Alarm")]);
        table.row([Meaning::Bad.cell("ALARM"), Cell::from("orders-parked")]);
        table.row([Meaning::Ok.cell("ok"), Cell::from("")]);
        let rendered = table.render(60);
        assert_eq!(plain(&rendered), "State  Alarm\nALARM  orders-parked\nok\n");
        assert!(rendered.text.contains("\u{1b}[31m") || rendered.text.contains("\u{1b}[1m"));
    }

    proptest! {
        #[test]
        fn no_table_with_a_shortened_column_is_wider_than_sixty(
            rows in prop::collection::vec(("[a-z]{0,20}", "[0-9]{0,12}", "\\PC{0,80}"), 1..5),
        ) {
            let mut table = Table::new([
                Column::text("Name"),
                Column::number("Count"),
                Column::text("Reason").shortened(),
            ]);
            for (name, count, reason) in rows {
                table.row([name, count, reason]);
            }
            let rendered = table.render(60);
            for line in plain(&rendered).lines() {
                prop_assert!(of_text(line) <= 60, "{line:?}");
            }
        }
    }
}
