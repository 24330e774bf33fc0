//! The write-ahead log: what is in it, and what a server shows that has replayed so much of it.

use std::hash::{Hash, Hasher};

use crate::state::Service;

/// One record. The position of a server is the number of records it has replayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Record {
    /// Something that no reader asks for.
    #[default]
    Noise,
    /// The one key that is read takes this version.
    Write(u8),
    /// The row of a replica in `read_replica` changes.
    Row(u8, Service),
    /// `cluster_epoch` changes: the hook of the first connection to a new primary.
    Epoch(u8),
    /// A process moves its beacon on.
    Beat(u8),
}

/// Most records of a run.
const RECORDS_MAX: usize = 10;

/// One history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Log {
    records: [Record; RECORDS_MAX],
    length: u8,
}

/// Most of a run's time goes into hashing: what is not there yet is left out.
impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.until(self.length).hash(state);
    }
}

impl Log {
    pub(crate) fn append(&mut self, record: Record) {
        self.records[usize::from(self.length)] = record;
        self.length += 1;
    }

    pub(crate) fn length(&self) -> u8 {
        self.length
    }

    /// The same history up to `position`.
    pub(crate) fn forked_at(&self, position: u8) -> Self {
        let mut fork = Self::default();
        for record in self.until(position) {
            fork.append(*record);
        }
        fork
    }

    pub(crate) fn get(&self, position: u8) -> Option<Record> {
        self.until(self.length).get(usize::from(position)).copied()
    }

    /// The version that a server at `position` shows; 0 before the first write.
    pub(crate) fn version(&self, position: u8) -> u8 {
        self.last(position, |record| match record {
            Record::Write(version) => Some(version),
            _ => None,
        })
        .unwrap_or(0)
    }

    /// The epoch that a server at `position` shows. It is named after the history in which it was drawn.
    pub(crate) fn epoch(&self, position: u8) -> u8 {
        self.last(position, |record| match record {
            Record::Epoch(epoch) => Some(epoch),
            _ => None,
        })
        .unwrap_or(0)
    }

    /// The row of `replica` that a server at `position` shows, if it was ever changed.
    pub(crate) fn row(&self, position: u8, replica: u8) -> Option<Service> {
        self.last(position, |record| match record {
            Record::Row(about, service) if about == replica => Some(service),
            _ => None,
        })
    }

    /// The beacon of `slot` that a server at `position` shows.
    pub(crate) fn beats(&self, position: u8, slot: u8) -> u8 {
        let beats = self.until(position).iter();
        let beats = beats.filter(|record| **record == Record::Beat(slot));
        u8::try_from(beats.count()).expect("a log is short")
    }

    /// The versions in it, as a set of bits.
    pub(crate) fn versions(&self) -> u8 {
        self.until(self.length)
            .iter()
            .fold(0, |versions, record| match record {
                Record::Write(version) => versions | 1 << version,
                _ => versions,
            })
    }

    fn last<T>(&self, position: u8, pick: impl Fn(Record) -> Option<T>) -> Option<T> {
        self.until(position).iter().rev().find_map(|r| pick(*r))
    }

    fn until(&self, position: u8) -> &[Record] {
        &self.records[..usize::from(position)]
    }
}
