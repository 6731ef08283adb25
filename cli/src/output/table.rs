//! Rows and columns, as a value: drawn for people, or written as CSV or Markdown.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table as Drawing};

/// A table with named columns. Cells are text without colour.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self { columns: columns.into_iter().map(str::to_owned).collect(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows, each with a cell for every column.
    #[must_use]
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The table in columns, without borders: no wider than `columns` when that is known, never cut otherwise.
    #[must_use]
    pub fn draw(&self, columns: Option<u16>) -> String {
        let mut drawing = Drawing::new();
        drawing.load_style(NOTHING).set_header(self.columns.iter().map(|name| name.to_uppercase()));
        match columns {
            Some(width) => drawing.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
            None => drawing.set_content_arrangement(ContentArrangement::Disabled),
        };
        drawing.add_rows(&self.rows);
        for column in drawing.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines: Vec<String> = drawing.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n") + "\n"
    }

    /// The table as RFC 4180 has it, with a header.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let line = |cells: &[String]| {
            let quoted: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
            quoted.join(",") + "\r\n"
        };
        line(&self.columns) + &self.rows.iter().map(|row| line(row)).collect::<String>()
    }

    /// The table as Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| {
            let escaped: Vec<String> =
                cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
            format!("| {} |\n", escaped.join(" | "))
        };
        let rule = format!("|{}\n", " --- |".repeat(self.columns.len()));
        line(&self.columns) + &rule + &self.rows.iter().map(|row| line(row)).collect::<String>()
    }
}

fn csv_cell(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> Table {
        let mut table = Table::new(["name", "says"]);
        table.row(["mug", "a \"good\" one, blue"]);
        table.row(["a|b", "plain"]);
        table
    }

    #[test]
    fn drawn_without_borders_or_trailing_spaces() {
        insta::assert_snapshot!(prices().draw(None), @r#"
        NAME  SAYS
        mug   a "good" one, blue
        a|b   plain
        "#);
    }

    #[test]
    fn a_narrow_terminal_wraps_and_loses_nothing() {
        let drawn = prices().draw(Some(20));
        assert!(drawn.lines().all(|line| line.chars().count() <= 20), "{drawn}");
        for word in ["good", "one,", "blue", "plain"] {
            assert!(drawn.contains(word), "{word} is missing from\n{drawn}");
        }
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        assert_eq!(prices().to_csv(), "name,says\r\nmug,\"a \"\"good\"\" one, blue\"\r\na|b,plain\r\n");
    }

    #[test]
    fn markdown_escapes_the_bar() {
        assert_eq!(
            prices().to_markdown(),
            "| name | says |\n| --- | --- |\n| mug | a \"good\" one, blue |\n| a\\|b | plain |\n"
        );
    }
}
