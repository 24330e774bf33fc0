//! A closed batch: the keys of one kind that travel in one statement, and what becomes of those who asked.

use std::{fmt, mem};

use tokio::time::Instant;
use tokio_postgres::{Row, types::ToSql};

use super::{Answer, Refused, guard::Standing, line::Entry};
use crate::{
    error::Error, metrics::Need, point_read::PointRead, router::ServedBy, sqlstate,
    statement::Statement,
};

/// A batch whatever its keys are.
pub(super) trait Batch: fmt::Debug + Send + Sync {
    fn statement(&self) -> &'static Statement;
    fn need(&self) -> Need;
    /// Keys in it.
    fn len(&self) -> usize;
    /// Those who need not have been asked for: their key was in the batch already.
    fn shared(&self) -> usize;
    /// When each of its keys came.
    fn arrivals(&self) -> Box<dyn Iterator<Item = Instant> + '_>;
    /// When the last of those who asked gives up.
    fn deadline(&self) -> Instant;
    /// The statement's parameters.
    fn columns(&self) -> Vec<Box<dyn ToSql + Sync + Send>>;
    /// Hands out what was found.
    fn deliver(self: Box<Self>, rows: &[Row], by: ServedBy);
    /// Tells everybody that there is no answer.
    fn refuse(self: Box<Self>, refused: &Refused);
    /// Notes that it goes to another connection. Returns whether it is the first time.
    fn move_on(&mut self) -> bool;
    /// The statement failed: what of it may be tried again, at most `levels` times in ever smaller parts, by those who
    /// still wait. The others are told.
    fn split(self: Box<Self>, error: Error, now: Instant, levels: u8) -> Vec<Box<dyn Batch>>;
}

/// Keys of one read.
pub(super) struct Closed<R: PointRead> {
    need: Need,
    entries: Vec<Entry<R::Key, Answer<R>>>,
    /// How often it has been halved.
    level: u8,
    /// Whether it was tried again as it was, because the server had forgotten the plan.
    replanned: bool,
    /// Whether it was tried again because a connection was lost.
    moved: bool,
}

impl<R: PointRead> fmt::Debug for Closed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed")
            .field("statement", &self.statement().name)
            .field("keys", &self.entries.len())
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl<R: PointRead> Closed<R> {
    pub(super) fn new(need: Need, entries: Vec<Entry<R::Key, Answer<R>>>) -> Self {
        Self {
            need,
            entries,
            level: 0,
            replanned: false,
            moved: false,
        }
    }
}

impl<R: PointRead> Batch for Closed<R> {
    fn statement(&self) -> &'static Statement {
        const { &R::STATEMENT }
    }

    fn need(&self) -> Need {
        self.need
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn shared(&self) -> usize {
        self.entries.iter().map(|entry| entry.joined() - 1).sum()
    }

    fn arrivals(&self) -> Box<dyn Iterator<Item = Instant> + '_> {
        Box::new(self.entries.iter().map(|entry| entry.arrived))
    }

    fn deadline(&self) -> Instant {
        let deadlines = self.entries.iter().map(|entry| entry.deadline);
        deadlines.max().expect("a batch has keys")
    }

    fn columns(&self) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let keys: Vec<&R::Key> = self.entries.iter().map(|entry| &entry.key).collect();
        R::columns(&keys)
    }

    fn deliver(self: Box<Self>, rows: &[Row], by: ServedBy) {
        let name = self.statement().name;
        let found = match places(name, rows, self.entries.len()) {
            Ok(found) => found,
            Err(error) => return self.refuse(&Refused::Failed(error)),
        };
        for (entry, row) in self.entries.into_iter().zip(found) {
            let answer = row
                .map(R::decode)
                .transpose()
                .map(|row| (row, by))
                .map_err(|source| Refused::Failed(Error::decode(name, source)));
            entry.answer(answer);
        }
    }

    fn refuse(self: Box<Self>, refused: &Refused) {
        for entry in self.entries {
            entry.answer(Err(refused.clone()));
        }
    }

    fn move_on(&mut self) -> bool {
        !mem::replace(&mut self.moved, true)
    }

    fn split(mut self: Box<Self>, error: Error, now: Instant, levels: u8) -> Vec<Box<dyn Batch>> {
        let refused = Refused::Failed(error);
        for late in self.entries.extract_if(.., |entry| entry.deadline <= now) {
            late.answer(Err(refused.clone()));
        }
        if self.entries.is_empty() {
            return Vec::new();
        }
        if !self.replanned && refused.sqlstate().is_some_and(sqlstate::is_stale_plan) {
            self.replanned = true;
            return vec![self];
        }
        if self.entries.len() == 1 || self.level >= levels {
            self.refuse(&refused);
            return Vec::new();
        }
        self.level += 1;
        let second = Self {
            entries: self.entries.split_off(self.entries.len() / 2),
            ..*self
        };
        vec![self, Box::new(second)]
    }
}

/// Sorts rows by the keys they belong to: column 0 is the key's place, from 1; NULL in the one row of a batch that
/// found nothing.
fn places<'a>(
    name: &'static str,
    rows: &'a [Row],
    keys: usize,
) -> Result<Vec<Option<&'a Row>>, Error> {
    let mut found = vec![None; keys];
    for row in rows {
        let ordinal: Option<i64> = row
            .try_get(0)
            .map_err(|source| Error::decode(name, source))?;
        let Some(ordinal) = ordinal else { continue };
        let slot = usize::try_from(ordinal - 1)
            .ok()
            .and_then(|index| found.get_mut(index))
            .ok_or(Error::RowCount {
                name,
                actual: rows.len(),
            })?;
        *slot = Some(row);
    }
    Ok(found)
}

impl Standing {
    /// How many columns [`crate::point_statement!`] adds at the end of a row.
    const COLUMNS: usize = 3;

    /// Reads the last columns of a row.
    pub(super) fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Self::decode(row, row.len().saturating_sub(Self::COLUMNS))
    }
}
