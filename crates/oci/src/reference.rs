//! What names a manifest within a repository: a tag or a digest.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{Digest, DigestError, TagName, TagNameError};

/// The `<tag-or-digest>` of a manifest's path.
///
/// "`<tag-or-digest>` MUST be either (a) the digest of the manifest or (b) a tag." A tag has no colon,
/// a digest always has one, so the colon decides and a bad digest is never taken for a tag.
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests>
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By a name that may move.
    Tag(TagName),
    /// By content.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl From<TagName> for Reference {
    fn from(tag: TagName) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

serde_as_text!(Reference);

/// Why a text is not a [`Reference`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has no colon and is not a tag.
    #[error(transparent)]
    Tag(#[from] TagNameError),
    /// It has a colon and is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colon_decides() {
        let digest = Digest::sha256(b"x");
        assert_eq!(digest.to_string().parse(), Ok(Reference::Digest(digest)));
        assert_eq!(
            "latest".parse(),
            Ok(Reference::Tag("latest".parse().unwrap()))
        );
        assert_eq!(
            "sha1:00".parse::<Reference>(),
            Err(ReferenceError::Digest(DigestError::UnsupportedAlgorithm))
        );
        assert_eq!(
            "".parse::<Reference>(),
            Err(ReferenceError::Tag(TagNameError::Empty))
        );
    }
}
