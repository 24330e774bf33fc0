//! `portolan admin explain`. Exit codes: 0 it is allowed, 3 it is not, 1 that could not be found out.

use super::desk::Desk;
use anyhow::anyhow;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::{Access, PrincipalState, Writable};
use portolan_oci::RepositoryName;
use portolan_registry::explain::{Explanation, Finding, Wanted};
use serde::Serialize;
use std::fmt;
use std::process::ExitCode;

/// What is to be explained.
#[derive(Debug, clap::Args)]
pub(crate) struct Question {
    /// Who: a user, or a robot as `acme+ci`; `anonymous` for whoever is not logged in.
    account: AccountName,
    /// What they would do.
    #[arg(value_enum)]
    action: Choice,
    /// Where, such as `acme/app`; it need not be there.
    repository: RepositoryName,
}

/// What somebody would do.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Choice {
    /// Read manifests, blobs and lists.
    Pull,
    /// Write manifests, tags and blobs.
    Push,
    /// Remove manifests, tags and blobs.
    Delete,
    /// Make the repository.
    Create,
}

impl From<Choice> for Wanted {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Pull => Self::Pull,
            Choice::Push => Self::Push,
            Choice::Delete => Self::Delete,
            Choice::Create => Self::Create,
        }
    }
}

/// The account that is nobody's, on this command line.
const ANONYMOUS: &str = "anonymous";

/// Not the code of a command that failed: a script must not take a lost database for a refusal.
const NOT_ALLOWED: u8 = 3;

/// Answers one question.
pub(super) async fn run(desk: &Desk, question: Question) -> anyhow::Result<ExitCode> {
    let account = (question.account.as_str() != ANONYMOUS).then_some(&question.account);
    let explanation = desk
        .identity
        .explain(account, &question.repository)
        .await?
        .ok_or_else(|| anyhow!("there is no account `{}`", question.account))?;
    let report = Report::of(&explanation, question.action.into());
    desk.show(&report)?;
    Ok(if report.allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_ALLOWED)
    })
}

/// An explanation as it is printed.
#[derive(Debug, Serialize)]
struct Report {
    account: String,
    action: &'static str,
    repository: String,
    allowed: bool,
    reason: String,
    rules: Vec<RuleLine>,
    actions: Vec<ActionLine>,
    decided: Decision,
    /// What the rules come to; anything else than `decided` is a fault of the program.
    derived: Decision,
    agrees: bool,
}

#[derive(Debug, Serialize)]
struct RuleLine {
    rule: &'static str,
    applies: bool,
    gives: &'static str,
    creates: bool,
    because: String,
}

#[derive(Debug, Serialize)]
struct ActionLine {
    action: &'static str,
    allowed: bool,
    reason: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Decision {
    role: &'static str,
    may_create: bool,
    credentials: &'static str,
    writable: &'static str,
    exists: bool,
    public: bool,
}

impl Report {
    fn of(explanation: &Explanation, wanted: Wanted) -> Self {
        let verdict = explanation.verdict(wanted);
        let account = explanation.account.as_ref();
        let actions = explanation.verdicts.iter().map(|verdict| ActionLine {
            action: verdict.wanted.as_str(),
            allowed: verdict.allowed,
            reason: verdict.reason.clone(),
        });
        Self {
            account: account.map_or(ANONYMOUS, AccountName::as_str).to_owned(),
            action: wanted.as_str(),
            repository: explanation.repository.as_str().to_owned(),
            allowed: verdict.allowed,
            reason: verdict.reason.clone(),
            rules: explanation.rules.iter().map(RuleLine::of).collect(),
            actions: actions.collect(),
            decided: Decision::of(&explanation.decided),
            derived: Decision::of(&explanation.derived),
            agrees: explanation.agrees(),
        }
    }
}

impl RuleLine {
    fn of(finding: &Finding) -> Self {
        Self {
            rule: finding.rule.as_str(),
            applies: finding.applies,
            gives: finding.gives.as_str(),
            creates: finding.creates,
            because: finding.because.clone(),
        }
    }

    /// What it gives, in a word or two.
    fn gain(&self) -> String {
        match (self.gives, self.creates) {
            ("none", false) => "-".to_owned(),
            ("none", true) => "create".to_owned(),
            (role, false) => role.to_owned(),
            (role, true) => format!("{role}, create"),
        }
    }
}

impl Decision {
    fn of(access: &Access) -> Self {
        Self {
            role: access.role.as_str(),
            may_create: access.may_create,
            credentials: match access.principal {
                PrincipalState::Anonymous => "none",
                PrincipalState::Valid => "valid",
                PrincipalState::Ended => "void",
            },
            writable: match access.writable {
                Writable::Yes => "yes",
                Writable::RepositoryReadOnly => "repository read-only",
                Writable::NamespaceReadOnly => "namespace read-only",
                Writable::Mirror => "mirror",
            },
            exists: access.repository.is_some(),
            public: access.public,
        }
    }
}

fn word(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "refused" }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} {} `{}`: {}\n  {}\n",
            self.account,
            self.action,
            self.repository,
            word(self.allowed),
            self.reason
        )?;
        writeln!(f, "{:<24} {:<4} {:<14} because", "rule", "met", "gives")?;
        for line in &self.rules {
            let applies = if line.applies { "yes" } else { "no" };
            writeln!(
                f,
                "{:<24} {applies:<4} {:<14} {}",
                line.rule,
                line.gain(),
                line.because
            )?;
        }
        writeln!(f)?;
        for line in &self.actions {
            writeln!(
                f,
                "{:<8} {}  {}",
                line.action,
                word(line.allowed),
                line.reason
            )?;
        }
        if !self.agrees {
            writeln!(
                f,
                "\nERROR: the rules come to something else than was decided; please report this\ndecided  {:?}\nrules    {:?}",
                self.decided, self.derived
            )?;
        }
        Ok(())
    }
}
