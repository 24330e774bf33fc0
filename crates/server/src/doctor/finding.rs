//! What was found, and how it is said.

use super::view::View;
use serde::Serialize;
use std::fmt;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As it should be.
    Good,
    /// It works, and somebody should know.
    Warning,
    /// Something does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) about: String,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub(crate) fn good(about: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            level: Level::Good,
            about: about.into(),
            found: found.into(),
            advice: None,
        }
    }

    /// Somebody should know.
    pub(crate) fn warning(
        about: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            advice: Some(advice.into()),
            ..Self::good(about, found)
        }
    }

    /// Something does not work.
    pub(crate) fn problem(
        about: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Problem,
            ..Self::warning(about, found, advice)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.level {
            Level::Good => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        write!(f, "{word:<8} {}: {}", self.about, self.found)?;
        match &self.advice {
            Some(advice) => write!(f, "\n         {advice}"),
            None => Ok(()),
        }
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// This program's version.
    pub(crate) version: &'static str,
    /// Whether nothing is wrong. Warnings do not count.
    pub(crate) well: bool,
    /// In the order in which it was looked at.
    pub(crate) findings: Vec<Finding>,
    /// What this process knows of the servers.
    pub(crate) servers: View,
}

impl Report {
    /// Of these findings.
    pub(crate) fn new(findings: Vec<Finding>, servers: View) -> Self {
        let mut report = Self {
            version: env!("CARGO_PKG_VERSION"),
            well: true,
            findings: Vec::new(),
            servers,
        };
        report.add(findings);
        report
    }

    /// And of these.
    pub(crate) fn add(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
        let mut findings = self.findings.iter();
        self.well = findings.all(|finding| finding.level < Level::Problem);
    }

    fn count(&self, level: Level) -> usize {
        let those = self.findings.iter().filter(|found| found.level == level);
        those.count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "portolan {}", self.version)?;
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        writeln!(
            f,
            "{}: {}, {}",
            if self.well { "well" } else { "not well" },
            counted(self.count(Level::Problem), "problem"),
            counted(self.count(Level::Warning), "warning"),
        )
    }
}

/// `1 problem`, `2 problems`
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
