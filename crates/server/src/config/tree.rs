//! Raw values before they have a type: a tree of keys, each leaf with the place it came from.
//!
//! Layers (the file, then the environment) are merged key by key; the later one wins. Text from the
//! environment stays text until the setting's own type reads it, so that a password of `0123` is not a number.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nowhere: it is the default.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A file that holds only this secret, named by another source.
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Who named it.
        named_by: Box<Self>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(formatter, "default"),
            Self::File(path) => write!(formatter, "file `{}`", path.display()),
            Self::Variable(name) => write!(formatter, "environment variable `{name}`"),
            Self::SecretFile { path, named_by } => {
                write!(formatter, "file `{}` named by {named_by}", path.display())
            }
        }
    }
}

/// A value without a type.
#[derive(Debug, Clone)]
pub(crate) enum Raw {
    /// Text of the environment or of a secret's file.
    Text(String),
    /// A value of the TOML file, with TOML's own type.
    Toml(toml::Value),
}

/// A place in the tree.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A value and where it was written.
    Leaf(Raw, Source),
    /// A section.
    Table(BTreeMap<String, Node>),
}

impl Node {
    /// A tree without keys.
    pub(super) fn empty() -> Self {
        Self::Table(BTreeMap::new())
    }

    /// The tree of a TOML file.
    pub(super) fn from_toml(table: toml::Table, source: &Source) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let node = match value {
                toml::Value::Table(inner) => Self::from_toml(inner, source),
                leaf => Self::Leaf(Raw::Toml(leaf), source.clone()),
            };
            (key, node)
        });
        Self::Table(entries.collect())
    }

    /// A tree with one leaf at `path`.
    pub(super) fn at(path: &[&str], leaf: Self) -> Self {
        path.iter().rev().fold(leaf, |inner, key| {
            Self::Table(BTreeMap::from([((*key).to_owned(), inner)]))
        })
    }

    /// Lays another layer on top: its leaves win. A secret may be given as `name` or as `name_file`:
    /// whichever the upper layer names takes the place of both in the lower one.
    pub(super) fn merge(&mut self, over: Self) {
        if let (Self::Table(lower), Self::Table(upper)) = (&mut *self, &over) {
            for (key, node) in upper {
                let twin = key
                    .strip_suffix("_file")
                    .map_or(format!("{key}_file"), str::to_owned);
                if matches!(node, Self::Leaf(..)) {
                    lower.remove(&twin);
                }
            }
        }
        self.merge_with(over, Self::merge);
    }

    /// Adds more of the same layer: as [`Self::merge`], but a secret given both ways stays given both ways.
    pub(super) fn merge_beside(&mut self, more: Self) {
        self.merge_with(more, Self::merge_beside);
    }

    fn merge_with(&mut self, over: Self, again: fn(&mut Self, Self)) {
        match (&mut *self, over) {
            (Self::Table(lower), Self::Table(upper)) => {
                for (key, node) in upper {
                    match lower.get_mut(&key) {
                        Some(existing) => again(existing, node),
                        None => {
                            lower.insert(key, node);
                        }
                    }
                }
            }
            (_, over) => *self = over,
        }
    }
}
