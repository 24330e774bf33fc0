//! Why a pushed document is not a manifest.

use std::fmt;

use crate::json::{MAX_DEPTH, Unpickable, Unsound};
use crate::{DescriptorError, Manifest, ManifestKind, MediaType, MediaTypeError};

/// Why bytes are not a manifest that is stored. Every one of them is the client's to mend: on the wire
/// it is `MANIFEST_INVALID`, and the text (with its source's) goes into the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is larger than any client would read back.
    #[error(
        "manifest is {length} bytes long, at most {} are allowed",
        Manifest::MAX_LENGTH
    )]
    TooLong {
        /// The length found, in bytes.
        length: usize,
    },
    /// It begins with a byte order mark, which JSON must not.
    #[error("manifest begins with a byte order mark")]
    ByteOrderMark,
    /// It is not UTF-8.
    #[error("manifest is not UTF-8 at byte {valid_up_to}")]
    NotUtf8 {
        /// How many bytes before the first bad one.
        valid_up_to: usize,
    },
    /// It is not JSON, goes on after its end, or holds a number or string beyond bounds.
    #[error("manifest is not valid JSON at line {line}, column {column}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// It is nested too deep.
    #[error("manifest is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// It is JSON, but not an object.
    #[error("manifest is not an object")]
    NotAnObject,
    /// A member is there twice.
    #[error("`{member}` is there twice")]
    Duplicate {
        /// The member.
        member: &'static str,
    },
    /// A member differs from a known one in case only, so that clients disagree about its meaning.
    #[error("a member is spelled like `{member}` but for its case")]
    LookAlike {
        /// The member that it looks like.
        member: &'static str,
    },
    /// A member is of another type than specified.
    #[error("`{member}` is of the wrong type")]
    WrongType {
        /// The member.
        member: &'static str,
    },
    /// A required member is absent.
    #[error("`{member}` is missing")]
    Missing {
        /// The member.
        member: &'static str,
    },
    /// A member of another form is there: the document could be read as two things (CVE-2021-41190).
    #[error("`{member}` is not a member of `{}`", kind.media_type())]
    Unexpected {
        /// The form by its media type.
        kind: ManifestKind,
        /// The member.
        member: &'static str,
    },
    /// It is of Docker's schema 1.
    #[error("manifests of Docker's schema 1 are not supported")]
    SchemaOne,
    /// `schemaVersion` is not 2.
    #[error("`schemaVersion` must be 2")]
    SchemaVersion,
    /// Neither the request nor the document says what it is.
    #[error("neither the `Content-Type` nor the manifest's `mediaType` says what it is")]
    NoMediaType,
    /// It says to be something that is not stored as a manifest.
    #[error("`{media_type}` is not a manifest that is supported")]
    UnsupportedMediaType {
        /// What it says to be.
        media_type: MediaType,
    },
    /// `mediaType` is not a media type at all.
    #[error("`mediaType` is invalid")]
    MediaType(#[source] MediaTypeError),
    /// Request and document contradict each other.
    #[error("`mediaType` is `{member}`, the `Content-Type` is `{content_type}`")]
    MediaTypeMismatch {
        /// What the request says.
        content_type: MediaType,
        /// What the document says.
        member: MediaType,
    },
    /// `artifactType` is not a media type.
    #[error("`artifactType` is invalid")]
    ArtifactType(#[source] MediaTypeError),
    /// `annotations` is not a map of unique keys to strings.
    #[error("`annotations` must be an object of strings, each name once")]
    Annotations,
    /// A descriptor is not one.
    #[error("{place} is invalid")]
    Descriptor {
        /// Where it stands.
        place: Place,
        /// What is wrong with it.
        #[source]
        reason: DescriptorError,
    },
    /// There are more layers or children than are stored.
    #[error("`{member}` has more than {} entries", Manifest::MAX_ENTRIES)]
    TooManyEntries {
        /// `layers` or `manifests`.
        member: &'static str,
    },
    /// The sizes of its parts do not fit into a number.
    #[error("the sizes of config and layers add up to more than an `int64` holds")]
    TotalSize,
}

/// Where a descriptor stands in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `config`.
    Config,
    /// `layers[n]`.
    Layer(usize),
    /// `manifests[n]`.
    Child(usize),
    /// `subject`.
    Subject,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("`config`"),
            Self::Layer(index) => write!(f, "`layers[{index}]`"),
            Self::Child(index) => write!(f, "`manifests[{index}]`"),
            Self::Subject => f.write_str("`subject`"),
        }
    }
}

impl From<Unsound> for ManifestError {
    fn from(reason: Unsound) -> Self {
        match reason {
            Unsound::Syntax { line, column } => Self::Syntax { line, column },
            Unsound::Depth => Self::TooDeep,
        }
    }
}

impl From<Unpickable> for ManifestError {
    fn from(reason: Unpickable) -> Self {
        match reason {
            Unpickable::NotAnObject => Self::NotAnObject,
            Unpickable::Duplicate(member) => Self::Duplicate { member },
            Unpickable::LookAlike(member) => Self::LookAlike { member },
        }
    }
}
