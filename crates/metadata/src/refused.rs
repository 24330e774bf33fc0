//! What is wrong with a change of identity in itself, whoever asks for it.

use std::fmt;

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What it is about is not there.
    #[error("there is no {what} `{name}`")]
    Missing {
        /// Of which kind.
        what: Noun,
        /// As it was asked for.
        name: String,
    },
    /// The name belongs to another account or namespace, or the team's to another team.
    #[error("the name is taken")]
    NameTaken,
    /// Another account has the address.
    #[error("another account has this address")]
    EmailTaken,
    /// Nobody could undo it.
    #[error("this is the last superuser that can log in")]
    LastSuperuser,
    /// Its repositories have to go first.
    #[error("it still has repositories")]
    HasRepositories,
    /// The team is another organization's.
    #[error("a team has rights in the repositories of its own organization only")]
    ForeignTeam,
    /// The robot is somebody else's.
    #[error("a robot has rights in the repositories of its owner only")]
    ForeignRobot,
    /// Rights are somebody's who can log in.
    #[error("an organization has no rights but in its own namespace; its teams may have")]
    NotAPrincipal,
    /// Each login judges all of them.
    #[error("a robot has no more than 100 rules")]
    TooManyRules,
    /// Neither a user nor a robot of the organization.
    #[error("a team's members are users, and robots of its organization")]
    NotAMember,
}

/// What can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Noun {
    /// A user.
    User,
    /// An organization.
    Organization,
    /// A robot.
    Robot,
    /// A user, an organization or a robot.
    Account,
    /// An application token, by its number.
    Token,
    /// A rule of a robot, by its number.
    Rule,
    /// A team.
    Team,
    /// A member of a team.
    Member,
    /// A group that a team follows.
    Group,
    /// A namespace.
    Namespace,
    /// A repository.
    Repository,
    /// A permission on a repository.
    Permission,
    /// A permission that new repositories are given.
    DefaultPermission,
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Organization => "organization",
            Self::Robot => "robot",
            Self::Account => "account",
            Self::Token => "token",
            Self::Rule => "rule",
            Self::Team => "team",
            Self::Member => "member",
            Self::Group => "group",
            Self::Namespace => "namespace",
            Self::Repository => "repository",
            Self::Permission => "permission of",
            Self::DefaultPermission => "default permission of",
        })
    }
}

impl Refused {
    /// There is none of that name.
    pub fn missing(what: Noun, name: impl fmt::Display) -> Self {
        Self::Missing {
            what,
            name: name.to_string(),
        }
    }
}
