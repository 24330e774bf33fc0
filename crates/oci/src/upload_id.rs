//! The name of an upload session.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::text::serde_as_text;

/// The id of an upload session, a random UUID.
///
/// "The `<blob-push-location>` MUST contain a UUID representing a unique session ID for the upload."
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#post-then-put>
///
/// Only the hyphenated lower-case form is read: it is the one we hand out, and an id must not have two
/// spellings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(Uuid);

impl UploadId {
    /// Makes a version 4 UUID of random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// Takes an id back from the database.
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The id as the database keeps it.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        let id = Uuid::try_parse(text).map_err(|_| UploadIdError)?;
        let mut buffer = Uuid::encode_buffer();
        if id.hyphenated().encode_lower(&mut buffer) == text {
            Ok(Self(id))
        } else {
            Err(UploadIdError)
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadId({self})")
    }
}

serde_as_text!(UploadId);

/// The text is not an [`UploadId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("upload id must be a UUID in lower case with dashes")]
pub struct UploadIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        let id = UploadId::from_random([0xAB; 16]);
        assert_eq!(id.to_string(), "abababab-abab-4bab-abab-abababababab");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "x",
            "ABABABAB-ABAB-4BAB-ABAB-ABABABABABAB",
            "abababababab4bababababababababab",
            "{abababab-abab-4bab-abab-abababababab}",
            "urn:uuid:abababab-abab-4bab-abab-abababababab",
            "abababab-abab-4bab-abab-abababababab ",
        ] {
            assert_eq!(text.parse::<UploadId>(), Err(UploadIdError), "{text}");
        }
    }
}
