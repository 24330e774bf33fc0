//! The names of teams.

use crate::accounts::{AccountName, AccountNameError};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name, in bytes: that of an account.
const MAX_LEN: usize = 255;

/// The name of a team among those of its organization: `[a-z0-9]+([._-]+[a-z0-9]+)*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamName(Arc<str>);

/// A text that no team can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TeamNameError {
    /// The team's own part.
    #[error("a team's name is lower-case letters and digits, with `.`, `_` or dashes between them")]
    Team,
    /// The organization's.
    #[error(transparent)]
    Organization(#[from] AccountNameError),
    /// There is no `/` in it.
    #[error("a team is called by its organization, `/` and its own name, as `acme/developers`")]
    NoOrganization,
}

impl TeamName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TeamName {
    type Err = TeamNameError;

    fn from_str(text: &str) -> Result<Self, TeamNameError> {
        let is_inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let is_valid = text.len() <= MAX_LEN
            && bytes.iter().copied().all(is_inner)
            && is_end(bytes.first())
            && is_end(bytes.last());
        if is_valid {
            Ok(Self(text.into()))
        } else {
            Err(TeamNameError::Team)
        }
    }
}

impl fmt::Display for TeamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A team by its organization and its name, as `acme/developers`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TeamPath {
    organization: AccountName,
    team: TeamName,
}

impl TeamPath {
    /// The team of that name of that organization.
    pub fn new(organization: AccountName, team: TeamName) -> Self {
        Self { organization, team }
    }

    /// The organization.
    pub fn organization(&self) -> &AccountName {
        &self.organization
    }

    /// The team's name among its organization's.
    pub fn team(&self) -> &TeamName {
        &self.team
    }
}

impl FromStr for TeamPath {
    type Err = TeamNameError;

    fn from_str(text: &str) -> Result<Self, TeamNameError> {
        let (organization, team) = text.split_once('/').ok_or(TeamNameError::NoOrganization)?;
        Ok(Self::new(organization.parse()?, team.parse()?))
    }
}

impl fmt::Display for TeamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organization, self.team)
    }
}

#[cfg(test)]
mod tests {
    use super::{TeamName, TeamPath};

    #[test]
    fn a_teams_name_is_what_the_schema_takes() {
        for good in ["a", "0", "dev", "a.b", "a_-.b", "a--b"] {
            assert_eq!(good.parse::<TeamName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(256);
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "a+b", "ä", "a\0", &long] {
            assert!(bad.parse::<TeamName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_team_is_called_by_its_organization_too() {
        let path: TeamPath = "acme/dev".parse().unwrap();
        assert_eq!(
            (path.organization().as_str(), path.team().as_str()),
            ("acme", "dev")
        );
        assert_eq!(path.to_string(), "acme/dev");
        for bad in ["acme", "/dev", "acme/", "acme/a/b", "A/dev"] {
            assert!(bad.parse::<TeamPath>().is_err(), "{bad:?}");
        }
    }
}
