//! How commands print what they found: as lines for people, or as JSON for programs.

use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write as _};

/// `-o table|json`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Prints `found` to standard output.
pub(crate) fn print(found: &(impl Serialize + Display), format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Table => write!(out, "{found}"),
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(found)?),
    }
}

/// A list that is printed as it comes, however long it is: a line for each row, or the elements of one JSON array.
#[derive(Debug)]
pub(crate) struct Rows {
    format: Format,
    is_empty: bool,
}

impl Rows {
    /// Begins the list.
    pub(crate) fn begin(format: Format) -> io::Result<Self> {
        if format == Format::Json {
            write!(io::stdout(), "[")?;
        }
        Ok(Self {
            format,
            is_empty: true,
        })
    }

    /// Prints a row.
    pub(crate) fn push(&mut self, row: &(impl Serialize + Display)) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.format {
            Format::Table => writeln!(out, "{row}")?,
            Format::Json => {
                let separator = if self.is_empty { "" } else { "," };
                write!(out, "{separator}\n  {}", serde_json::to_string(row)?)?;
            }
        }
        self.is_empty = false;
        Ok(())
    }

    /// Ends the list.
    pub(crate) fn end(self) -> io::Result<()> {
        match (self.format, self.is_empty) {
            (Format::Table, _) => Ok(()),
            (Format::Json, true) => writeln!(io::stdout(), "]"),
            (Format::Json, false) => writeln!(io::stdout(), "\n]"),
        }
    }
}
