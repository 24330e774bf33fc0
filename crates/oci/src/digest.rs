//! The name of content by its hash.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

use crate::text::serde_as_text;

/// A hash function that content may be addressed by.
///
/// The image specification registers `blake3` too and asks to let unknown algorithms pass. A registry
/// has to compute what it stores under, so here an algorithm is either computed or refused.
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#registered-algorithms>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, which everybody uses.
    Sha256,
    /// SHA-512, which the specification allows.
    Sha512,
}

impl Algorithm {
    /// The length of a hash, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no hash is empty")]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The name as it stands before the colon of a digest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::UnsupportedAlgorithm),
        }
    }
}

serde_as_text!(Algorithm);

/// A content digest: `sha256:<64 hex>` or `sha512:<128 hex>`, held as raw bytes.
///
/// ```text
/// digest    ::= algorithm ":" encoded
/// sha256    ::= /[a-f0-9]{64}/
/// sha512    ::= /[a-f0-9]{128}/     upper case must not be used
/// ```
/// <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests>
///
/// Digests are ordered by their bytes alone, as Postgres orders `bytea`: a list sorted here locks rows
/// in the order in which a statement with `ORDER BY digest` does.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(Hash);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Hash {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// Hashes `content`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self(Hash::Sha256(Sha256::digest(content).into())),
            Algorithm::Sha512 => Self(Hash::Sha512(Sha512::digest(content).into())),
        }
    }

    /// Hashes `content` with SHA-256.
    pub fn sha256(content: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, content)
    }

    /// Takes a finished hash; its length says which algorithm made it, as it does in the database.
    ///
    /// # Errors
    /// [`DigestError::HashLength`] unless it is 32 or 64 bytes.
    pub fn from_bytes(hash: &[u8]) -> Result<Self, DigestError> {
        if let Ok(hash) = hash.try_into() {
            return Ok(Self(Hash::Sha256(hash)));
        }
        match hash.try_into() {
            Ok(hash) => Ok(Self(Hash::Sha512(hash))),
            Err(_) => Err(DigestError::HashLength { actual: hash.len() }),
        }
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Hash::Sha256(_) => Algorithm::Sha256,
            Hash::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Hash::Sha256(hash) => hash,
            Hash::Sha512(hash) => hash,
        }
    }

    /// The hash in lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = text.split_once(':').ok_or(DigestError::NoSeparator)?;
        let algorithm: Algorithm = algorithm.parse()?;
        let expected = algorithm.len() * 2;
        if encoded.len() != expected {
            return Err(DigestError::EncodedLength {
                algorithm,
                actual: encoded.len(),
            });
        }
        // `hex` reads upper case as well, which the grammar forbids: two spellings of one digest would
        // be two tags, two cache keys, two scopes.
        if !encoded
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(DigestError::EncodedCharacter { algorithm });
        }
        let hash = hex::decode(encoded).map_err(|_| DigestError::EncodedCharacter { algorithm })?;
        Self::from_bytes(&hash)
    }
}

serde_as_text!(Digest);

/// Why a text or a hash is not a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no colon.
    #[error("digest has no `:` between algorithm and hash")]
    NoSeparator,
    /// The algorithm is not one that we compute.
    #[error("digest algorithm must be `sha256` or `sha512`")]
    UnsupportedAlgorithm,
    /// The encoded part is too long or too short.
    #[error("a `{algorithm}` digest has {} hexadecimal digits, this one has {actual}", algorithm.len() * 2)]
    EncodedLength {
        /// The algorithm named.
        algorithm: Algorithm,
        /// The length found, in bytes.
        actual: usize,
    },
    /// The encoded part has a character other than a lower-case hexadecimal digit.
    #[error("a `{algorithm}` digest is written in `0-9` and `a-f` only")]
    EncodedCharacter {
        /// The algorithm named.
        algorithm: Algorithm,
    },
    /// A raw hash is of no known length.
    #[error("a hash is 32 or 64 bytes long, this one is {actual}")]
    HashLength {
        /// The length found, in bytes.
        actual: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn hash_of_nothing_is_the_known_one() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::sha256(b""));
        assert!(
            Digest::of(Algorithm::Sha512, b"")
                .to_string()
                .starts_with("sha512:cf83e1357eefb8bd")
        );
    }

    #[test]
    fn what_is_not_a_digest_is_refused_with_the_reason() {
        let short = &EMPTY[..EMPTY.len() - 1];
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        let algorithm = Algorithm::Sha256;
        for (text, error) in [
            ("", DigestError::NoSeparator),
            ("latest", DigestError::NoSeparator),
            (":", DigestError::UnsupportedAlgorithm),
            (
                "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
                DigestError::UnsupportedAlgorithm,
            ),
            (
                "md5:d41d8cd98f00b204e9800998ecf8427e",
                DigestError::UnsupportedAlgorithm,
            ),
            ("SHA256:00", DigestError::UnsupportedAlgorithm),
            (
                "sha256:",
                DigestError::EncodedLength {
                    algorithm,
                    actual: 0,
                },
            ),
            (
                "sha256:baddigeststring",
                DigestError::EncodedLength {
                    algorithm,
                    actual: 15,
                },
            ),
            (
                short,
                DigestError::EncodedLength {
                    algorithm,
                    actual: 63,
                },
            ),
            (upper.as_str(), DigestError::EncodedCharacter { algorithm }),
            (
                &EMPTY.replace("e3b0", "e3%b"),
                DigestError::EncodedCharacter { algorithm },
            ),
            (
                &EMPTY.replace("sha256:", "sha256::"),
                DigestError::EncodedLength {
                    algorithm,
                    actual: 65,
                },
            ),
            (&EMPTY.replace(':', "%3A"), DigestError::NoSeparator),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }

    #[test]
    fn raw_bytes_know_their_algorithm_by_length() {
        assert_eq!(
            Digest::from_bytes(&[7; 32]).unwrap().algorithm(),
            Algorithm::Sha256
        );
        assert_eq!(
            Digest::from_bytes(&[7; 64]).unwrap().algorithm(),
            Algorithm::Sha512
        );
        assert_eq!(
            Digest::from_bytes(&[7; 33]),
            Err(DigestError::HashLength { actual: 33 })
        );
    }

    #[test]
    fn order_is_that_of_bytea() {
        let mut longer = [1; 64];
        longer[0] = 0;
        let sha512 = Digest::from_bytes(&longer).unwrap();
        let sha256 = Digest::from_bytes(&[1; 32]).unwrap();
        assert!(sha512 < sha256, "the bytes decide, not the algorithm");
        assert!(
            sha256 < Digest::from_bytes(&[1; 64]).unwrap(),
            "a prefix comes first"
        );
    }
}
