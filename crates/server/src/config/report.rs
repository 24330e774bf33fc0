//! Everything that is wrong with a configuration, collected so that one run names all of it.

use super::tree::Source;
use std::collections::BTreeMap;
use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key, such as `http.listen`.
    pub(crate) key: String,
    /// Where the bad value was written.
    pub(crate) source: Source,
    /// What is wrong with it. Never holds a secret.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`: {}", self.key, self.message)?;
        match &self.source {
            Source::Default => Ok(()),
            source => write!(formatter, " ({source})"),
        }
    }
}

/// Every problem of a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Invalid(pub(crate) Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        write!(formatter, "the configuration has {} {noun}", self.0.len())?;
        for problem in &self.0 {
            write!(formatter, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// Collects problems, and remembers where each value came from so that later checks can say so.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
    sources: BTreeMap<String, Source>,
}

impl Report {
    /// Notes where the value of `key` was written.
    pub(super) fn found(&mut self, key: &str, source: &Source) {
        self.sources.insert(key.to_owned(), source.clone());
    }

    /// A problem with a value that was written at `source`.
    pub(super) fn bad(&mut self, key: &str, source: Source, message: impl Into<String>) {
        self.problems.push(Problem {
            key: key.to_owned(),
            source,
            message: message.into(),
        });
    }

    /// A problem with the value of `key`, wherever that came from. What is already known to be wrong is not blamed twice.
    pub(super) fn about(&mut self, key: &str, message: impl Into<String>) {
        if self.problems.iter().any(|problem| problem.key == key) {
            return;
        }
        let source = self.sources.get(key).cloned().unwrap_or(Source::Default);
        self.bad(key, source, message);
    }

    /// `Ok` if nothing is wrong; else everything, ordered by key.
    pub(super) fn finish(mut self) -> Result<(), Invalid> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems
            .sort_by(|left, right| left.key.cmp(&right.key));
        Err(Invalid(self.problems))
    }
}
