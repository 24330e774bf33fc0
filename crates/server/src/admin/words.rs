//! Arguments that several commands have.

use clap::Args;
use portolan_metadata::UnknownWord;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::permissions::Holder;
use portolan_metadata::teams::TeamPath;
use std::str::FromStr;

/// A word of the database's, with `-` as good as `_`.
pub(super) fn word<T: FromStr<Err = UnknownWord>>(text: &str) -> Result<T, UnknownWord> {
    text.replace('-', "_").parse()
}

/// Longest description; a screen or two.
const DESCRIPTION_MAX: usize = 4096;

/// What is said about something.
pub(super) fn description(text: &str) -> Result<String, String> {
    if text.len() > DESCRIPTION_MAX {
        return Err(format!("must not be longer than {DESCRIPTION_MAX} bytes"));
    }
    if text.contains('\0') {
        return Err("must not hold a NUL".to_owned());
    }
    Ok(text.to_owned())
}

/// The name of a user, and not of a robot.
pub(super) fn user(text: &str) -> Result<AccountName, String> {
    match text.parse::<AccountName>() {
        Ok(name) if name.is_robot() => Err("this is the name of a robot".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// The name of a robot.
pub(super) fn robot(text: &str) -> Result<AccountName, String> {
    match text.parse::<AccountName>() {
        Ok(name) if !name.is_robot() => {
            Err("a robot is called by its owner, `+` and a name, as `acme+ci`".to_owned())
        }
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// Whose a right is: one of the three.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct HolderArgs {
    /// A user.
    #[arg(long, value_name = "NAME", value_parser = user)]
    user: Option<AccountName>,
    /// A robot of the owner, as `acme+ci`.
    #[arg(long, value_name = "NAME", value_parser = robot)]
    robot: Option<AccountName>,
    /// A team of the organization, as `acme/developers`.
    #[arg(long, value_name = "ORG/TEAM")]
    team: Option<TeamPath>,
}

impl HolderArgs {
    /// Whose it is.
    pub(super) fn holder(self) -> Holder {
        match (self.user.or(self.robot), self.team) {
            (Some(name), _) => Holder::Account(name),
            (None, Some(path)) => Holder::Team(path),
            (None, None) => unreachable!("the group is required"),
        }
    }
}

/// What a holder is, in JSON.
pub(super) fn kind(holder: &Holder) -> &'static str {
    match holder {
        Holder::Account(name) if name.is_robot() => "robot",
        Holder::Account(_) => "user",
        Holder::Team(_) => "team",
    }
}
