//! The name of a repository.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::text::serde_as_text;

/// The namespace of a name that names none, as every Docker client assumes it: `alpine` is
/// `library/alpine`.
pub const DEFAULT_NAMESPACE: &str = "library";

/// The name of a repository, `<namespace>/<more>`.
///
/// ```text
/// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
/// ```
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests>
///
/// A name of one segment is an alias of `library/<segment>`. The canonical form is what is compared,
/// hashed, looked up and stored ([`as_str`](Self::as_str)); the form asked for is what answers echo
/// ([`requested`](Self::requested), `Display`, serde). Folding happens here and nowhere else, so that
/// no scope, cache key or statement can see the two as different repositories.
#[derive(Clone)]
pub struct RepositoryName {
    canonical: Arc<str>,
    /// Whether it was asked for without its namespace.
    folded: bool,
}

impl RepositoryName {
    /// The longest canonical name, in bytes. Docker's reference grammar has this limit (`NameTotalLengthMax`),
    /// and the specification's note to implementers repeats it.
    pub const MAX_LENGTH: usize = 255;

    /// Takes a canonical name as the database keeps it: nothing is folded, and what was asked for is
    /// taken to be the same.
    ///
    /// # Errors
    /// As for parsing, and [`RepositoryNameError::NoNamespace`] for a single segment, which no row holds.
    pub fn canonical(path: &str) -> Result<Self, RepositoryNameError> {
        check(path)?;
        if path.contains('/') {
            Ok(Self {
                canonical: path.into(),
                folded: false,
            })
        } else {
            Err(RepositoryNameError::NoNamespace)
        }
    }

    /// The canonical name, as stored: `library/alpine`.
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// The name as it was asked for: `alpine`.
    pub fn requested(&self) -> &str {
        if self.folded {
            &self.canonical[DEFAULT_NAMESPACE.len() + 1..]
        } else {
            &self.canonical
        }
    }

    /// The first segment of the canonical name: who it belongs to.
    pub fn namespace(&self) -> &str {
        self.canonical
            .split_once('/')
            .map_or(&self.canonical, |(namespace, _)| namespace)
    }
}

impl FromStr for RepositoryName {
    type Err = RepositoryNameError;

    fn from_str(name: &str) -> Result<Self, RepositoryNameError> {
        check(name)?;
        if name.contains('/') {
            return Ok(Self {
                canonical: name.into(),
                folded: false,
            });
        }
        let length = DEFAULT_NAMESPACE.len() + 1 + name.len();
        if length > Self::MAX_LENGTH {
            return Err(RepositoryNameError::TooLong { length });
        }
        Ok(Self {
            canonical: format!("{DEFAULT_NAMESPACE}/{name}").into(),
            folded: true,
        })
    }
}

fn check(name: &str) -> Result<(), RepositoryNameError> {
    if name.is_empty() {
        return Err(RepositoryNameError::Empty);
    }
    if name.len() > RepositoryName::MAX_LENGTH {
        return Err(RepositoryNameError::TooLong { length: name.len() });
    }
    match name
        .split('/')
        .position(|segment| !is_segment(segment.as_bytes()))
    {
        Some(index) => Err(RepositoryNameError::Segment { number: index + 1 }),
        None => Ok(()),
    }
}

/// Whether it matches `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_segment(segment: &[u8]) -> bool {
    let mut rest = segment;
    loop {
        let word = rest
            .iter()
            .take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
            .count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        let separator = match rest {
            [] => return true,
            [b'_', b'_', ..] => 2,
            [b'_' | b'.', ..] => 1,
            [b'-', ..] => rest.iter().take_while(|&&byte| byte == b'-').count(),
            _ => return false,
        };
        rest = &rest[separator..];
    }
}

impl PartialEq for RepositoryName {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for RepositoryName {}

impl PartialOrd for RepositoryName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RepositoryName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical.cmp(&other.canonical)
    }
}

impl Hash for RepositoryName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.requested())
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepositoryName({})", self.as_str())
    }
}

serde_as_text!(RepositoryName);

/// Why a text is not a [`RepositoryName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryNameError {
    /// Nothing was given.
    #[error("repository name is empty")]
    Empty,
    /// The canonical form is too long.
    #[error(
        "repository name is {length} bytes long, at most {} are allowed",
        RepositoryName::MAX_LENGTH
    )]
    TooLong {
        /// The length of the canonical form, in bytes.
        length: usize,
    },
    /// A segment breaks the grammar.
    #[error(
        "segment {number} of the repository name must be lower-case letters and digits, \
         separated by `.`, `_`, `__` or dashes"
    )]
    Segment {
        /// Which one, counted from 1.
        number: usize,
    },
    /// A stored name is of one segment only.
    #[error("canonical repository name has no namespace")]
    NoNamespace,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<RepositoryName, RepositoryNameError> {
        name.parse()
    }

    #[test]
    fn one_segment_is_an_alias_in_library() {
        let short = parse("alpine").unwrap();
        let long = parse("library/alpine").unwrap();
        assert_eq!(short, long);
        assert_eq!(short.as_str(), "library/alpine");
        assert_eq!(short.namespace(), "library");
        assert_eq!(
            (short.requested(), long.requested()),
            ("alpine", "library/alpine")
        );
        assert_eq!(short.to_string(), "alpine");
        let stored = RepositoryName::canonical("library/alpine").unwrap();
        assert_eq!((stored.requested(), &stored), ("library/alpine", &short));
        assert_eq!(
            RepositoryName::canonical("alpine"),
            Err(RepositoryNameError::NoNamespace)
        );
    }

    #[test]
    fn grammar_is_that_of_the_specification() {
        for name in [
            "a/b",
            "a.b/c_d/e__f/g-h/i---j",
            "0/1",
            "blobs/uploads",
            "a/manifests/b",
            "a/b/c/d/e/f/g",
        ] {
            assert_eq!(parse(name).unwrap().as_str(), name);
        }
        for (name, number) in [
            ("..", 1),
            ("a/..", 2),
            ("a/../b", 2),
            (".", 1),
            ("/a", 1),
            ("a/", 2),
            ("a//b", 2),
            ("A/b", 1),
            ("a/b.", 2),
            ("a/.b", 2),
            ("a/b..c", 2),
            ("a/b___c", 2),
            ("a/b._c", 2),
            ("a/b-", 2),
            ("a/-b", 2),
            ("a/b%2e%2e", 2),
            ("a\0b", 1),
            ("a b", 1),
            ("caf\u{e9}", 1),
            ("a:b", 1),
            ("a\\b", 1),
            ("a/b\n", 2),
        ] {
            assert_eq!(
                parse(name),
                Err(RepositoryNameError::Segment { number }),
                "{name:?}"
            );
        }
        assert_eq!(parse(""), Err(RepositoryNameError::Empty));
    }

    #[test]
    fn length_is_that_of_the_canonical_form() {
        let longest = format!("a/{}", "b".repeat(253));
        assert_eq!(
            parse(&longest).unwrap().as_str().len(),
            RepositoryName::MAX_LENGTH
        );
        assert_eq!(
            parse(&format!("{longest}b")),
            Err(RepositoryNameError::TooLong { length: 256 })
        );
        assert!(parse(&"a".repeat(247)).is_ok());
        assert_eq!(
            parse(&"a".repeat(248)),
            Err(RepositoryNameError::TooLong { length: 256 })
        );
    }
}
