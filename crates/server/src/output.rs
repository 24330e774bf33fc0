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
