//! Which jobs there are.
//!
//! Each runs in bounded batches and says after each whether there is more. Each may run twice, or be cut off anywhere.

use portolan_registry::identity::{Actor, Identity, KeyPolicy, ROTATE_KEYS, Rotation};
use portolan_registry::{Error, Registry};
use rand::rngs::StdRng;
use std::time::Duration;

/// A recurring job; there is one of each in an installation, whoever runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Ends uploads that nobody continued: their keys go into quarantine.
    SweepUploads,
    /// Deletes objects whose quarantine is over.
    DeleteObjects,
    /// Makes the months of the audit log, and drops those that were kept long enough.
    KeepAudit,
    /// Lets one signing key follow the other.
    RotateKeys,
    /// Deletes what logins leave: wrong passwords that are forgotten, and mails of recovery that are good no more.
    SweepLogins,
    /// Removes the rows of repositories that were deleted a day ago.
    RemoveRepositories,
}

/// What jobs need beside the registry.
#[derive(Debug, Clone)]
pub(crate) struct Duties {
    /// The audit log, and the keys.
    pub(crate) identity: Identity,
    /// How keys follow each other.
    pub(crate) keys: KeyPolicy,
    /// How long the audit log is kept; `None`: for good.
    pub(crate) retention: Option<Duration>,
}

/// Uploads ended in one transaction, with their keys: milliseconds.
const UPLOADS: u32 = 100;
/// Objects deleted at a time: one call to S3 takes as many.
const OBJECTS: u32 = 1_000;
/// Rows of logins deleted in one statement: milliseconds.
const LOGINS: usize = 1_000;
/// Rows of a deleted repository removed in one transaction: tens of milliseconds, their triggers included.
const ROWS: usize = 1_000;

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
    pub(crate) const ALL: [Self; 6] = [
        Self::SweepUploads,
        Self::DeleteObjects,
        Self::KeepAudit,
        Self::RotateKeys,
        Self::SweepLogins,
        Self::RemoveRepositories,
    ];

    /// The name in the table, in logs and as a label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SweepUploads => "sweep-uploads",
            Self::DeleteObjects => "delete-objects",
            Self::KeepAudit => "keep-audit",
            Self::RotateKeys => ROTATE_KEYS,
            Self::SweepLogins => "sweep-logins",
            Self::RemoveRepositories => "remove-repositories",
        }
    }

    /// By the name in the table.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How long after it found nothing more to do it looks again. What the first two remove is a day old, so a few minutes
    /// more or less are nothing; each look is one short statement. Months begin seldom, and keys sign for many days; a
    /// rotation under way asks for its next step itself.
    pub(crate) fn period(self) -> Duration {
        match self {
            Self::SweepUploads | Self::DeleteObjects | Self::RemoveRepositories => {
                Duration::from_mins(5)
            }
            Self::KeepAudit => Duration::from_hours(24),
            Self::RotateKeys | Self::SweepLogins => Duration::from_hours(1),
        }
    }

    /// Runs one batch.
    pub(crate) async fn run(
        self,
        registry: &Registry,
        duties: &Duties,
        random: &mut StdRng,
    ) -> Result<Batch, Error> {
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
            Self::KeepAudit => {
                let kept = duties.identity.keep_audit(duties.retention).await?;
                Ok(Batch {
                    done: kept.done,
                    more: kept.more,
                })
            }
            Self::RotateKeys => {
                let actor = Actor::system(self.name());
                let step = duties
                    .identity
                    .rotate_keys(&actor, &duties.keys, false, random)
                    .await?;
                if let Rotation::Signing { kid } = &step {
                    tracing::info!(kid, "tokens are signed with key {kid} from now on");
                }
                let moved = matches!(step, Rotation::Published { .. } | Rotation::Signing { .. });
                Ok(Batch {
                    done: u64::from(moved),
                    more: false,
                })
            }
            Self::RemoveRepositories => {
                let gone = registry.remove_repository_rows(ROWS).await?;
                Ok(Batch {
                    done: gone.unwrap_or_default(),
                    more: gone.is_some(),
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
