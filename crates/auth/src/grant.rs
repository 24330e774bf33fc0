//! What a token reaches: a repository with some actions, or the catalog.
//!
//! In a token a grant has the form that the distribution project's tokens have
//! (<https://distribution.github.io/distribution/spec/auth/jwt/>), so that people can read one.

use portolan_oci::RepositoryName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What somebody wants to do in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read manifests, blobs and lists.
    Pull,
    /// Write manifests, tags, blobs and uploads.
    Push,
    /// Remove manifests, tags and blobs.
    Delete,
}

impl Action {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// As in scopes and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Pull => 1,
            Self::Push => 2,
            Self::Delete => 4,
        }
    }
}

/// A set of [`Action`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Actions(u8);

impl Actions {
    /// No action.
    pub const NONE: Self = Self(0);
    /// `pull`
    pub const PULL: Self = Self(Action::Pull.bit());
    /// `pull,push`
    pub const PULL_PUSH: Self = Self(Action::Pull.bit() | Action::Push.bit());
    /// `push`
    pub const PUSH: Self = Self(Action::Push.bit());
    /// `delete`
    pub const DELETE: Self = Self(Action::Delete.bit());
    /// Every action.
    pub const ALL: Self = Self(Action::Pull.bit() | Action::Push.bit() | Action::Delete.bit());

    /// Whether `action` is in the set.
    pub fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions, `pull` first.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.contains(*action))
    }

    /// Reads one word of a list. Words that name no action of ours are the empty set: clients ask for
    /// what other registries have (`metadata_read`). `*` is everything, as containers/image asks it
    /// before a delete.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "pull" => Self::PULL,
            "push" => Self::PUSH,
            "delete" => Self::DELETE,
            "*" => Self::ALL,
            _ => Self::NONE,
        }
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Self {
        Self(action.bit())
    }
}

impl FromIterator<Self> for Actions {
    fn from_iter<I: IntoIterator<Item = Self>>(sets: I) -> Self {
        sets.into_iter().fold(Self::NONE, Self::union)
    }
}

/// `pull,push`, without spaces: containerd splits the challenge's scope at them.
impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, action) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            f.write_str(action.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// One entry of a token's access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Some actions in one repository.
    Repository {
        /// Compared by its canonical form.
        name: RepositoryName,
        /// Never empty in a token of ours.
        actions: Actions,
    },
    /// The list of repositories; everybody sees in it what he may read.
    Catalog,
}

impl Grant {
    /// Whether this grant reaches as far as `action` on `name`.
    pub fn allows(&self, name: &RepositoryName, action: Action) -> bool {
        match self {
            Self::Repository {
                name: granted,
                actions,
            } => actions.contains(action) && granted == name,
            Self::Catalog => false,
        }
    }

    /// Whether this grant reaches the catalog.
    pub fn allows_catalog(&self) -> bool {
        matches!(self, Self::Catalog)
    }
}

/// As in a scope, with the name as it was asked for: `repository:alpine:pull`.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { name, actions } => {
                write!(f, "repository:{}:{actions}", name.requested())
            }
            Self::Catalog => f.write_str("registry:catalog:*"),
        }
    }
}

#[derive(Serialize)]
struct WireOut<'a> {
    r#type: &'static str,
    name: &'a str,
    actions: Vec<&'static str>,
}

#[derive(Deserialize)]
struct WireIn {
    r#type: String,
    name: String,
    actions: Vec<String>,
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Repository { name, actions } => WireOut {
                r#type: "repository",
                name: name.as_str(),
                actions: actions.iter().map(Action::as_str).collect(),
            },
            Self::Catalog => WireOut {
                r#type: "registry",
                name: "catalog",
                actions: vec!["*"],
            },
        }
        .serialize(serializer)
    }
}

/// Strict: only what we write ourselves, since only we sign.
impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = WireIn::deserialize(deserializer)?;
        match wire.r#type.as_str() {
            "repository" => Ok(Self::Repository {
                name: wire.name.parse().map_err(D::Error::custom)?,
                actions: wire
                    .actions
                    .iter()
                    .map(|word| Actions::from_word(word))
                    .collect(),
            }),
            "registry" if wire.name == "catalog" => Ok(Self::Catalog),
            _ => Err(D::Error::custom("unknown kind of grant")),
        }
    }
}
