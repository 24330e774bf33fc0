//! Why a part of a manifest does not point to anything.

use crate::descriptor::MAX_SIZE;
use crate::json::Unpickable;
use crate::{DigestError, MediaTypeError};

/// Why a value is not a [`Descriptor`](crate::Descriptor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// It is not an object.
    #[error("descriptor is not an object")]
    NotAnObject,
    /// A required member is absent or `null`.
    #[error("`{member}` is missing")]
    Missing {
        /// The member.
        member: &'static str,
    },
    /// A member is there twice.
    #[error("`{member}` is there twice")]
    Duplicate {
        /// The member.
        member: &'static str,
    },
    /// A member differs from a known one in case only.
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
    /// `mediaType` is not a media type.
    #[error("`mediaType` is invalid")]
    MediaType(#[source] MediaTypeError),
    /// `artifactType` is not a media type.
    #[error("`artifactType` is invalid")]
    ArtifactType(#[source] MediaTypeError),
    /// `digest` is not a digest that we compute.
    #[error("`digest` is invalid")]
    Digest(#[source] DigestError),
    /// `annotations` is not a map of unique keys to strings.
    #[error("`annotations` must be an object of strings, each name once")]
    Annotations,
    /// `size` is not a whole number within an `int64`, or negative.
    #[error("`size` must be a whole number from 0 to {MAX_SIZE}")]
    Size,
}

impl From<Unpickable> for DescriptorError {
    fn from(reason: Unpickable) -> Self {
        match reason {
            Unpickable::NotAnObject => Self::NotAnObject,
            Unpickable::Duplicate(member) => Self::Duplicate { member },
            Unpickable::LookAlike(member) => Self::LookAlike { member },
        }
    }
}
