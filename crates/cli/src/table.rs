//! `meta.k8s.io/v1` Tables as kubectl prints them.

use std::io::{self, Write};

use serde::Deserialize;
use serde_json::Value;

const GAP: usize = 3;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Table {
    #[serde(default)]
    pub(crate) metadata: ListMeta,
    #[serde(default)]
    column_definitions: Vec<Column>,
    #[serde(default)]
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMeta {
    #[serde(default)]
    pub(crate) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(crate) rest: String,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    /// Above 0 only in wide output.
    #[serde(default)]
    priority: i64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    cells: Vec<Value>,
    #[serde(default)]
    object: Value,
}

impl Row {
    pub(crate) fn resource_version(&self) -> Option<&str> {
        self.object.pointer("/metadata/resourceVersion")?.as_str()
    }
}

/// Prints rows under one header, each column as wide as what was seen when it began.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    wide: bool,
    shown: Vec<usize>,
    widths: Vec<usize>,
}

impl Printer {
    pub(crate) fn new(wide: bool) -> Self {
        Self {
            wide,
            ..Self::default()
        }
    }

    /// The first table that has columns also gives the header.
    pub(crate) fn print(&mut self, table: &Table, out: &mut dyn Write) -> io::Result<()> {
        let lines: Vec<Vec<String>> = table
            .rows
            .iter()
            .map(|row| row.cells.iter().map(cell).collect())
            .collect();
        if self.widths.is_empty() && !table.column_definitions.is_empty() {
            self.begin(table, &lines);
            let header = table
                .column_definitions
                .iter()
                .map(|c| for_terminal(&c.name).to_uppercase());
            self.line(&header.collect::<Vec<_>>(), out)?;
        }
        lines.iter().try_for_each(|line| self.line(line, out))?;
        out.flush()
    }

    fn begin(&mut self, table: &Table, lines: &[Vec<String>]) {
        let columns = table.column_definitions.iter().enumerate();
        self.shown = columns
            .filter(|(_, c)| self.wide || c.priority == 0)
            .map(|(n, _)| n)
            .collect();
        let width = |n: usize| {
            let cells = lines
                .iter()
                .filter_map(|line| line.get(n))
                .map(|cell| cell.chars().count());
            cells
                .chain([table.column_definitions[n].name.chars().count()])
                .max()
                .unwrap_or(0)
        };
        self.widths = self.shown.iter().map(|n| width(*n)).collect();
    }

    fn line(&self, cells: &[String], out: &mut dyn Write) -> io::Result<()> {
        let mut text = String::new();
        for (n, width) in self.shown.iter().zip(&self.widths) {
            let cell = cells.get(*n).map_or("", String::as_str);
            text.push_str(cell);
            let pad = width.saturating_sub(cell.chars().count()) + GAP;
            text.extend(std::iter::repeat_n(' ', pad));
        }
        writeln!(out, "{}", text.trim_end())
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::from("<none>"),
        Value::String(text) => for_terminal(text),
        other => for_terminal(&other.to_string()),
    }
}

/// Text that somebody else wrote, without what a terminal would act upon: controls, and what turns the reading direction.
pub(crate) fn for_terminal(text: &str) -> String {
    let acts = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| {
            if c == '\n' || c == '\t' {
                ' '
            } else if acts(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(wide: bool, json: Value) -> String {
        let table: Table = serde_json::from_value(json).unwrap();
        let mut out = Vec::new();
        Printer::new(wide).print(&table, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn table() -> Value {
        serde_json::json!({
            "kind": "Table",
            "columnDefinitions": [{"name": "Name"}, {"name": "Requests"}, {"name": "Agent", "priority": 1}],
            "rows": [{"cells": ["s-1", 12, "coder"]}, {"cells": ["session-2", null, "other"]}]
        })
    }

    #[test]
    fn columns_are_aligned_and_the_narrow_ones_shown() {
        assert_eq!(
            printed(false, table()),
            "NAME        REQUESTS\ns-1         12\nsession-2   <none>\n"
        );
        assert!(printed(true, table()).starts_with("NAME        REQUESTS   AGENT\n"));
    }

    #[test]
    fn a_row_cannot_write_to_the_terminal_or_add_a_line() {
        let mut table = table();
        table["rows"][0]["cells"][0] = "a\u{1b}[2Jb\nc\u{202e}d".into();
        let text = printed(false, table);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("a\u{fffd}[2Jb c\u{fffd}d"), "{text:?}");
    }
}
