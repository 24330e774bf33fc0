//! What can go wrong in a store, by what a caller can do about it.

use std::io;

/// A store's refusal or failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no object under this key.
    #[error("no such object")]
    NotFound,
    /// The object to be put together is unknown: completed already, given up, or never begun.
    #[error("no such multipart upload")]
    MultipartUnknown,
    /// A part is missing, or is not the one that was named.
    #[error("the parts named are not the parts stored")]
    PartMismatch,
    /// The bytes do not have the checksum they were announced with; nothing was stored.
    #[error("the content does not have the expected checksum")]
    ChecksumMismatch,
    /// The key holds an object already, and a key is written once.
    #[error("the key is taken")]
    KeyTaken,
    /// The range does not lie within the object.
    #[error("the range does not lie within the object")]
    RangeOutside,
    /// The key cannot be used in this store.
    #[error("the key cannot be used in this store")]
    KeyUnusable,
    /// The store asks to be asked less.
    #[error("the store asks to slow down")]
    Throttled(#[source] Cause),
    /// The store cannot be reached, or failed in a way that may pass.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// No room is left.
    #[error("the store is full")]
    Full(#[source] Cause),
    /// The store refuses these credentials, or this process's user.
    #[error("the store denies access")]
    Denied(#[source] Cause),
    /// Anything else.
    #[error("the store failed in `{operation}`")]
    Failed {
        /// What was asked of it.
        operation: &'static str,
        /// What it said.
        #[source]
        cause: Cause,
    },
}

/// What the store's own layer said.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// S3.
    #[error(transparent)]
    S3(Box<S3Failure>),
    /// A bound of our own.
    #[error("{0}")]
    Bound(&'static str),
}

impl From<S3Failure> for Cause {
    fn from(failure: S3Failure) -> Self {
        Self::S3(Box::new(failure))
    }
}

/// What S3 said, reduced to what may stand in a log: the SDK's own error holds headers and addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "s3 {operation}: {} {}: {message}{}",
    status.map_or_else(|| "no answer".to_owned(), |status| status.to_string()),
    code.as_deref().unwrap_or("without a code"),
    request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default()
)]
pub struct S3Failure {
    /// The call.
    pub operation: &'static str,
    /// The answer's status, where there was an answer.
    pub status: Option<u16>,
    /// S3's word for it, like `SlowDown`.
    pub code: Option<String>,
    /// For people.
    pub message: String,
    /// What the provider's support asks for.
    pub request_id: Option<String>,
}

impl Error {
    /// Whether the same call may succeed a little later.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Throttled(_) | Self::Unavailable(_) | Self::Full(_)
        )
    }

    /// An error of the operating system, sorted by what can be done about it.
    pub(crate) fn io(operation: &'static str, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match source.kind() {
            Kind::NotFound => Self::NotFound,
            Kind::StorageFull | Kind::QuotaExceeded => Self::Full(source.into()),
            Kind::InvalidFilename | Kind::NotADirectory | Kind::IsADirectory => Self::KeyUnusable,
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Self::Denied(source.into()),
            Kind::WouldBlock
            | Kind::TimedOut
            | Kind::Interrupted
            | Kind::ResourceBusy
            | Kind::DirectoryNotEmpty => Self::Unavailable(source.into()),
            _ => Self::Failed {
                operation,
                cause: source.into(),
            },
        }
    }
}
