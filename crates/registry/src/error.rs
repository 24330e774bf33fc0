//! What can go wrong, as facts of the domain.
//!
//! Nothing here knows a status code: `server` turns these into answers in one place. Causes are
//! kept for the log and never shown to a client.

use portolan_oci::{Digest, ManifestError, UploadId};
use portolan_pg::{Age, sqlstate};
use std::time::Duration;

/// A refusal or a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No credentials, and what was asked for is not public, or does not exist.
    #[error("authentication required")]
    Unauthenticated,
    /// The account behind the credentials is gone, disabled, or has ended all its tokens.
    #[error("these credentials are no longer valid")]
    CredentialsVoid,
    /// The credential does not reach this far; another token may.
    #[error("the token does not allow this")]
    InsufficientScope,
    /// A refusal that no other token would change.
    #[error("{reason}")]
    Denied {
        /// For people; the same text wherever a difference would tell what exists.
        reason: &'static str,
    },
    /// No such repository (said only to those who may know).
    #[error("repository name not known to registry")]
    NameUnknown,
    /// No such manifest in this repository.
    #[error("manifest unknown")]
    ManifestUnknown,
    /// No such blob in this repository.
    #[error("blob unknown to registry")]
    BlobUnknown,
    /// No such upload of this caller in this repository, or it has ended.
    #[error("blob upload unknown to registry")]
    UploadUnknown,
    /// Another request is writing to this upload.
    #[error("another request is writing to this upload")]
    UploadBusy {
        /// Which upload.
        id: UploadId,
        /// What is stored of it so far, in bytes.
        received: u64,
    },
    /// A chunk that does not start where the last one ended.
    #[error("the chunk does not continue the upload, which has {received} bytes")]
    RangeOutOfOrder {
        /// Which upload.
        id: UploadId,
        /// What is stored of it so far, in bytes.
        received: u64,
    },
    /// The body was shorter or longer than it said.
    #[error("the body has another length than announced")]
    SizeMismatch,
    /// The client went away or stalled in the middle of a body; what was kept is in the upload's offset.
    #[error("the body ended early")]
    BodyInterrupted,
    /// A body larger than this registry takes.
    #[error("the upload exceeds the limit of {limit} bytes")]
    BlobTooLarge {
        /// The configured limit in bytes.
        limit: u64,
    },
    /// The content is not what the digest says.
    #[error("provided digest `{expected}` did not match uploaded content")]
    DigestMismatch {
        /// What the client said.
        expected: Digest,
    },
    /// The manifest names blobs that this repository does not have.
    #[error("manifest references unknown blobs")]
    ManifestBlobUnknown {
        /// All of them.
        digests: Vec<Digest>,
    },
    /// The manifest names a child that collection removed and that must be pushed again.
    #[error("manifest references manifest `{digest}`, which was removed by collection")]
    ManifestChildRemoved {
        /// The child.
        digest: Digest,
    },
    /// The manifest cannot be read, or breaks its specification.
    #[error("manifest invalid: {0}")]
    ManifestInvalid(#[source] ManifestError),
    /// The tag, or what it points at, is not what the request's condition demands.
    #[error("the tag does not meet the request's condition")]
    PreconditionFailed {
        /// What the tag points at now.
        current: Option<Digest>,
    },
    /// The blob is still named by a manifest of the same repository.
    #[error("a manifest of this repository still references the blob")]
    BlobReferenced,
    /// Writes are switched off for a while; pulls go on.
    #[error("the registry is in read-only mode{}", .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    ReadOnly {
        /// What the operator says about it.
        message: Option<String>,
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// A change of who there is, or of who may, that is wrong in itself; nothing was changed.
    #[error(transparent)]
    Refused(portolan_metadata::Refused),
    /// More work than the bounds allow; worth another try.
    #[error("too many requests")]
    Overloaded {
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// The database or the store cannot be reached; worth another try.
    #[error("temporarily unavailable")]
    Unavailable {
        /// How long the client should wait.
        retry_after: Duration,
        /// For the log.
        #[source]
        cause: UnavailableCause,
    },
    /// The metadata failed in a way that is our fault.
    #[error("metadata failure")]
    Metadata(#[source] portolan_metadata::Error),
    /// The store failed in a way that is our fault.
    #[error("storage failure")]
    Store(#[source] portolan_blobs::Error),
    /// A key could not be made, opened or sealed.
    #[error("keys: {0}")]
    Keys(#[source] portolan_auth::Error),
    /// A blob row names a store that this process does not know.
    #[error("blob lies in store {0}, which is not configured here")]
    StoreUnknown(portolan_metadata::StoreId),
}

/// Which dependency was out of reach.
#[derive(Debug, thiserror::Error)]
pub enum UnavailableCause {
    /// Postgres.
    #[error(transparent)]
    Metadata(portolan_metadata::Error),
    /// The blob store.
    #[error(transparent)]
    Store(portolan_blobs::Error),
    /// The primary: what a replica shows is not good enough for this.
    #[error("the primary is lost, and {}", in_words(*age))]
    PrimaryLost {
        /// How old the answer would be.
        age: Age,
    },
}

fn in_words(age: Age) -> String {
    match age {
        Age::AtMost(age) => format!("a replica's answer may be {} s old", age.as_secs()),
        Age::Unknown => "nobody can tell how old a replica's answer is".to_owned(),
    }
}

/// What a client is told to wait when a dependency is down: long enough for a fail-over's first seconds,
/// short enough that a client which retries three times sees the recovery.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(2);
/// What a client is told to wait in read-only mode, which lasts minutes at the least.
const RETRY_READ_ONLY: Duration = Duration::from_mins(1);
/// What a client is told to wait when a bounded queue is full: queues drain in well under a second.
const RETRY_OVERLOADED: Duration = Duration::from_secs(1);

impl Error {
    /// Out of reach, for as long as nobody knows better.
    pub(crate) fn unavailable(cause: UnavailableCause) -> Self {
        Self::Unavailable {
            retry_after: RETRY_UNAVAILABLE,
            cause,
        }
    }

    /// Whether the whole transaction may succeed when it is run again.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Metadata(cause) if cause.is_retryable())
    }

    /// What a write hears that was run again in vain: nothing is broken, only others are in its way.
    pub(crate) fn given_up(self) -> Self {
        match self {
            Self::Metadata(cause) if cause.is_retryable() => Self::Unavailable {
                retry_after: RETRY_OVERLOADED,
                cause: UnavailableCause::Metadata(cause),
            },
            other => other,
        }
    }
}

impl From<portolan_metadata::Error> for Error {
    fn from(cause: portolan_metadata::Error) -> Self {
        use portolan_metadata::Error as Metadata;
        match cause {
            Metadata::TagChanged { current } => Self::PreconditionFailed { current },
            Metadata::Refused(refused) => Self::Refused(refused),
            Metadata::NameTaken => Self::Refused(portolan_metadata::Refused::NameTaken),
            Metadata::PrincipalEnded => Self::CredentialsVoid,
            Metadata::ReadOnly { message } => Self::ReadOnly {
                message,
                retry_after: RETRY_READ_ONLY,
            },
            Metadata::Pg(ref pg) if pg.is_overload() => Self::Overloaded {
                retry_after: pg.retry_after().unwrap_or(RETRY_OVERLOADED),
            },
            Metadata::Pg(ref pg) if is_down(pg) => Self::Unavailable {
                retry_after: pg.retry_after().unwrap_or(RETRY_UNAVAILABLE),
                cause: UnavailableCause::Metadata(cause),
            },
            other => Self::Metadata(other),
        }
    }
}

/// Whether Postgres is out of reach, rather than displeased: no line to it, a statement that waited for others until
/// its time was over, or a server that a fail-over has made a standby.
fn is_down(cause: &portolan_pg::Error) -> bool {
    use portolan_pg::Error as Pg;
    let passing = |code| sqlstate::is_cancelled(code) || sqlstate::is_read_only(code);
    cause.is_connection_lost()
        || cause.sqlstate().is_some_and(passing)
        || matches!(
            cause,
            Pg::Unavailable { .. } | Pg::Closed | Pg::CommitUnknown { .. }
        )
}

impl From<portolan_pg::Error> for Error {
    fn from(cause: portolan_pg::Error) -> Self {
        portolan_metadata::Error::from(cause).into()
    }
}

impl From<portolan_blobs::Error> for Error {
    fn from(cause: portolan_blobs::Error) -> Self {
        if cause.is_unavailable() {
            Self::Unavailable {
                retry_after: RETRY_UNAVAILABLE,
                cause: UnavailableCause::Store(cause),
            }
        } else {
            Self::Store(cause)
        }
    }
}
