//! How current an answer is, and what may be done with one that is not.
//!
//! While the primary is lost the router answers from replicas and says how old that may be. Pulls go on with it, within
//! these rules: about a repository that is not public nothing older than the limit is handed out, since a right that was
//! just taken away would live on so long; that something is *not* there is the primary's to say; and nothing is changed.

use crate::{Error, UnavailableCause};
use portolan_metadata::Access;
use portolan_pg::{Age, Reader, ServedBy};
use std::time::Duration;

/// How current an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// It shows everything that was acknowledged before it was asked for.
    Current,
    /// The primary is lost; changes may be missing.
    Stale {
        /// How long ago they were made.
        age: Age,
    },
}

impl Freshness {
    /// Of what `reader` has read.
    pub(crate) fn of(reader: &Reader) -> Self {
        reader
            .stale_age()
            .map_or(Self::Current, |age| Self::Stale { age })
    }

    /// Whether this may be handed out about the repository of `access`.
    ///
    /// Decided before the right, so that private and missing repositories stay alike.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it is older than `limit` and the repository is not public.
    pub fn admit(self, access: &Access, limit: Duration) -> Result<(), Error> {
        if access.public {
            Ok(())
        } else {
            self.within(limit)
        }
    }

    /// For what spans repositories, public or not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it is older than `limit`.
    pub(crate) fn within(self, limit: Duration) -> Result<(), Error> {
        match self {
            Self::Stale { age } if age > Age::AtMost(limit) => Err(lost(age)),
            Self::Current | Self::Stale { .. } => Ok(()),
        }
    }

    /// For decisions about changes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it is not current.
    pub(crate) fn current(self) -> Result<(), Error> {
        match self {
            Self::Stale { age } => Err(lost(age)),
            Self::Current => Ok(()),
        }
    }

    /// The refusal, or that nobody can tell: a replica may lack what is there.
    pub(crate) fn doubt(self, refusal: Error) -> Error {
        match (self, refusal) {
            (
                Self::Stale { age },
                Error::NameUnknown | Error::ManifestUnknown | Error::BlobUnknown,
            ) => lost(age),
            (_, refusal) => refusal,
        }
    }
}

impl From<ServedBy> for Freshness {
    fn from(by: ServedBy) -> Self {
        match by {
            ServedBy::Primary { .. } | ServedBy::Replica => Self::Current,
            ServedBy::Stale { age } => Self::Stale { age },
        }
    }
}

/// What is of unknown age is as old as can be.
fn lost(age: Age) -> Error {
    Error::unavailable(UnavailableCause::PrimaryLost { age })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_metadata::{PrincipalState, Role, Writable};

    const LIMIT: Duration = Duration::from_mins(15);

    fn access(public: bool) -> Access {
        Access {
            repository: None,
            role: Role::Read,
            may_create: false,
            principal: PrincipalState::Valid,
            public,
            writable: Writable::Yes,
        }
    }

    fn old(seconds: u64) -> Freshness {
        let age = Age::AtMost(Duration::from_secs(seconds));
        Freshness::Stale { age }
    }

    #[test]
    fn what_is_private_is_served_up_to_the_limit_and_what_is_public_without() {
        assert!(Freshness::Current.admit(&access(false), LIMIT).is_ok());
        assert!(old(900).admit(&access(false), LIMIT).is_ok());
        assert!(old(901).admit(&access(false), LIMIT).is_err());
        assert!(old(90_000).admit(&access(true), LIMIT).is_ok());
        assert!(old(901).within(LIMIT).is_err());
        let unknown = Freshness::Stale { age: Age::Unknown };
        assert!(unknown.admit(&access(false), Duration::MAX).is_err());
        assert!(unknown.admit(&access(true), LIMIT).is_ok());
        assert!(unknown.within(Duration::MAX).is_err());
    }

    #[test]
    fn nothing_is_changed_by_what_a_replica_says() {
        assert!(Freshness::Current.current().is_ok());
        assert!(old(0).current().is_err());
    }

    #[test]
    fn that_there_is_none_is_not_a_stale_replicas_to_say() {
        let doubted = old(4).doubt(Error::ManifestUnknown);
        assert!(matches!(doubted, Error::Unavailable { .. }), "{doubted}");
        let certain = Freshness::Current.doubt(Error::ManifestUnknown);
        assert!(matches!(certain, Error::ManifestUnknown), "{certain}");
        let refused = old(4).doubt(Error::InsufficientScope);
        assert!(matches!(refused, Error::InsufficientScope), "{refused}");
    }

    #[test]
    fn of_two_the_older_counts() {
        assert_eq!(Freshness::Current.max(old(3)), old(3));
        assert_eq!(old(4).max(old(3)), old(4));
        let unknown = Freshness::Stale { age: Age::Unknown };
        assert_eq!(old(4).max(unknown), unknown);
    }
}
