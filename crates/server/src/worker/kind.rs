//! Which jobs there are.
//!
//! Each runs in bounded batches and says after each whether there is more. Each may run twice, or be cut off anywhere.

use portolan_registry::{Error, Registry};
use std::time::Duration;

/// A recurring job; there is one of each in an installation, whoever runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Ends uploads that nobody continued: their keys go into quarantine.
    SweepUploads,
    /// Deletes objects whose quarantine is over.
    DeleteObjects,
    /// Deletes what logins leave: wrong passwords that are forgotten, and mails of recovery that are good no more.
    SweepLogins,
}

/// Uploads ended in one transaction, with their keys: milliseconds.
const UPLOADS: u32 = 100;
/// Objects deleted at a time: one call to S3 takes as many.
const OBJECTS: u32 = 1_000;
/// Rows of logins deleted in one statement: milliseconds.
const LOGINS: usize = 1_000;

/// What one batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Rows or objects dealt with.
    pub(crate) done: u64,
    /// Whether it stopped at its bound, and not because nothing was left.
    pub(crate) more: bool,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::SweepUploads, Self::DeleteObjects, Self::SweepLogins];

    /// The name in the table, in logs and as a label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SweepUploads => "sweep-uploads",
            Self::DeleteObjects => "delete-objects",
            Self::SweepLogins => "sweep-logins",
        }
    }

    /// By the name in the table.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How long after it found nothing more to do it looks again. What these remove is a day old, so a few minutes
    /// more or less are nothing; each look is one short statement.
    pub(crate) fn period(self) -> Duration {
        match self {
            Self::SweepUploads | Self::DeleteObjects => Duration::from_mins(5),
            Self::SweepLogins => Duration::from_hours(1),
        }
    }

    /// Runs one batch.
    pub(crate) async fn run(self, registry: &Registry) -> Result<Batch, Error> {
        match self {
            Self::SweepUploads => {
                let done = registry.sweep_uploads(UPLOADS).await?;
                Ok(Batch {
                    done,
                    more: done >= u64::from(UPLOADS),
                })
            }
            Self::SweepLogins => {
                let identity = registry.identity();
                let failures = identity.sweep_lockouts(LOGINS).await?;
                let mails = identity.sweep_recoveries(LOGINS).await?;
                Ok(Batch {
                    done: failures + mails,
                    more: failures.max(mails) >= LOGINS as u64,
                })
            }
            Self::DeleteObjects => {
                let batch = registry.delete_objects(OBJECTS).await?;
                // What was kept or refused stays claimed for a while and is not met again at once.
                Ok(Batch {
                    done: batch.deleted,
                    more: batch.total() >= u64::from(OBJECTS),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;
    use clap::ValueEnum as _;

    #[test]
    fn the_command_line_knows_jobs_by_the_names_of_the_table() {
        for kind in Kind::ALL {
            let value = kind.to_possible_value().unwrap();
            assert_eq!(value.get_name(), kind.name());
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
    }
}
