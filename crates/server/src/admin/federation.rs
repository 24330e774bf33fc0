//! `portolan admin federation`: the rules by which ID tokens of CI systems stand for robots.

use super::desk::Desk;
use crate::config::{self, Need};
use crate::sso::Issuers;
use anyhow::{Context as _, bail};
use portolan_auth::oidc::{Audience, IdToken};
use portolan_auth::{Clock, FederationRule, Pattern, SystemClock};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::{Noun, Refused};
use portolan_registry::Error;
use portolan_registry::identity::{FederatedRobot, Identity};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to do with a robot's rules.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Show a robot's rules.
    List {
        /// Which robot, as `acme+ci`.
        robot: AccountName,
    },
    /// Let tokens stand for a robot. All of it must be so; of several rules one suffices.
    Add {
        /// Which robot, as `acme+ci`.
        robot: AccountName,
        #[command(flatten)]
        rule: NewRule,
    },
    /// Take a rule away. All tokens of the robot end; whoever has another rule, or its secret, gets another.
    Remove {
        /// Which robot, as `acme+ci`.
        robot: AccountName,
        /// The rule's number, as `list` shows it.
        rule: i64,
    },
    /// Try out a token, and say of each rule why it does not admit it. Exits with 1 unless one does.
    Test {
        /// Which robot, as `acme+ci`.
        robot: AccountName,
        /// File with the token, `-` for standard input.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
}

/// A rule to make.
#[derive(Debug, clap::Args)]
pub(crate) struct NewRule {
    /// Who makes the token; one of `keyless.issuers`.
    #[arg(long)]
    issuer: String,
    /// For whom it is made: what the CI job asks for as audience.
    #[arg(long)]
    audience: String,
    /// Of whom it is; `*` stands for anything.
    #[arg(long, value_name = "PATTERN")]
    subject: Pattern,
    /// What else it must say; as often as you like.
    #[arg(long = "claim", value_name = "NAME=PATTERN", value_parser = claim)]
    claims: Vec<(String, Pattern)>,
}

fn claim(text: &str) -> Result<(String, Pattern), String> {
    let wants = "wants the name of a claim, `=`, and a pattern";
    let (name, pattern) = text.split_once('=').ok_or(wants)?;
    if name.is_empty() {
        return Err(wants.to_owned());
    }
    let pattern = pattern
        .parse()
        .map_err(|cause: portolan_auth::PatternError| cause.to_string())?;
    Ok((name.to_owned(), pattern))
}

/// Runs one task.
pub(super) async fn run(desk: &Desk, file: Option<&Path>, task: Task) -> anyhow::Result<()> {
    let (identity, actor) = (&desk.identity, &desk.actor);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let issuers = || Issuers::new(&config::load(file, Need::Database)?.config, &clock);
    match task {
        Task::List { robot } => {
            let found = find(identity, &robot).await?;
            desk.list(found.rules.iter().map(|(id, rule)| Rule::of(*id, rule)))
        }
        Task::Add { robot, rule } => {
            let rule = rule.checked(&issuers()?)?;
            let id = identity.add_federation_rule(actor, &robot, &rule).await?;
            desk.done(format!("made rule {id} of `{robot}`"))
        }
        Task::Remove { robot, rule } => {
            identity.remove_federation_rule(actor, &robot, rule).await?;
            desk.done(format!("removed rule {rule} of `{robot}`"))
        }
        Task::Test { robot, token_file } => {
            let token = read(&token_file)?;
            let trial = trial(&find(identity, &robot).await?, &issuers()?, &token).await;
            desk.show(&trial)?;
            if !trial.admitted {
                bail!("the token does not stand for `{robot}`");
            }
            Ok(())
        }
    }
}

async fn find(identity: &Identity, robot: &AccountName) -> anyhow::Result<FederatedRobot> {
    let found = identity.federated_robot(robot).await?;
    Ok(found.ok_or_else(|| Error::Refused(Refused::missing(Noun::Robot, robot)))?)
}

impl NewRule {
    /// The rule, if its issuer's tokens would be looked at at all.
    fn checked(self, issuers: &Issuers) -> anyhow::Result<FederationRule> {
        let Self {
            issuer,
            audience,
            subject,
            claims,
        } = self;
        if !issuers.trusts(&issuer) {
            bail!("`{issuer}` is not among `keyless.issuers`: no token of it would be looked at");
        }
        if audience.is_empty() {
            bail!("the audience is empty");
        }
        Ok(FederationRule {
            issuer,
            audience,
            subject,
            claims: claims.into_iter().collect(),
        })
    }
}

/// A rule in a list.
#[derive(Debug, Serialize)]
struct Rule {
    id: i64,
    issuer: String,
    audience: String,
    subject: String,
    claims: BTreeMap<String, String>,
}

impl Rule {
    fn of(id: i64, rule: &FederationRule) -> Self {
        let claims = rule.claims.iter();
        Self {
            id,
            issuer: rule.issuer.clone(),
            audience: rule.audience.clone(),
            subject: rule.subject.to_string(),
            claims: claims
                .map(|(name, pattern)| (name.clone(), pattern.to_string()))
                .collect(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            issuer,
            audience,
            subject,
            claims,
        } = self;
        write!(
            f,
            "{id}\tissuer {issuer}\taudience {audience}\tsubject {subject}"
        )?;
        for (name, pattern) in claims {
            write!(f, "\t{name} {pattern}")?;
        }
        Ok(())
    }
}

/// What came of a token that was tried out.
#[derive(Debug, Serialize)]
struct Trial {
    admitted: bool,
    /// What is wrong, whatever the rules say.
    faults: Vec<String>,
    rules: Vec<Judged>,
}

#[derive(Debug, Serialize)]
struct Judged {
    rule: i64,
    admits: bool,
    /// Its first condition that is not met.
    miss: Option<String>,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "refused: {fault}")?;
        }
        for judged in &self.rules {
            match &judged.miss {
                None => writeln!(f, "rule {} admits it", judged.rule)?,
                Some(miss) => writeln!(f, "rule {} does not admit it: {miss}", judged.rule)?,
            }
        }
        Ok(())
    }
}

async fn trial(robot: &FederatedRobot, issuers: &Issuers, token: &str) -> Trial {
    let mut faults = Vec::new();
    if !robot.active {
        faults.push("the robot is disabled or has expired, or its owner is disabled".to_owned());
    }
    let verified = match verify(issuers, token).await {
        Ok(verified) => verified,
        Err(cause) => {
            faults.push(cause.to_string());
            return Trial {
                admitted: false,
                faults,
                rules: Vec::new(),
            };
        }
    };
    if robot.rules.is_empty() {
        faults.push("the robot has no rules".to_owned());
    }
    let judge = |(id, rule): &(i64, FederationRule)| {
        let miss = rule.judge(&verified).err();
        Judged {
            rule: *id,
            admits: miss.is_none(),
            miss: miss.map(|miss| miss.to_string()),
        }
    };
    let rules: Vec<Judged> = robot.rules.iter().map(judge).collect();
    Trial {
        admitted: robot.active && rules.iter().any(|judged| judged.admits),
        faults,
        rules,
    }
}

async fn verify(issuers: &Issuers, token: &str) -> Result<IdToken, portolan_auth::Error> {
    let issuer = issuers.of_token(token)?;
    issuer.verify(token, Audience::OfRules).await
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the token")?;
    } else {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
    }
    Ok(text.trim().to_owned())
}
