//! Why somebody may do something, or may not: the rules of [`portolan_metadata::access`] one by one, in words.
//!
//! The rules are gone through here a second time, in plain Rust, from the facts that the statement has read beside its own
//! decision. What is *answered* is the statement's, by [`authorize`], as for every request; where the two differ, one of
//! them is wrong, and both the log and the explanation say so.

use crate::identity::Identity;
use crate::{Caller, Error, authorize};
use portolan_auth::Action;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::explain::{self, AccountFacts, Facts, Mode, TeamFacts, TeamRole};
use portolan_metadata::{Access, Principal, PrincipalState, Role, Visibility, Writable};
use portolan_oci::RepositoryName;
use std::fmt;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Read manifests, blobs and lists.
    Pull,
    /// Write manifests, tags, blobs and uploads; into a repository that is not there by making it.
    Push,
    /// Remove manifests, tags and blobs.
    Delete,
    /// Make the repository.
    Create,
}

impl Wanted {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pull, Self::Push, Self::Delete, Self::Create];

    /// The word on the command line and in the web API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::Create => "create",
        }
    }
}

/// A rule, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A superuser may everything, everywhere.
    Superuser,
    /// The owner of a namespace may everything in it.
    Owner,
    /// So may who is in a team of role `admin` of the organization that owns it.
    AdminTeam,
    /// Whom a permission names, or a team he is in, may what it says.
    Permission,
    /// A read-only superuser may read, everywhere.
    ReadOnlySuperuser,
    /// Everybody may read what is public.
    Public,
    /// Who is in a team of role `creator` makes repositories.
    CreatorTeam,
}

impl Rule {
    /// As a heading.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Superuser => "superuser",
            Self::Owner => "owner of the namespace",
            Self::AdminTeam => "team that administers",
            Self::Permission => "permission",
            Self::ReadOnlySuperuser => "read-only superuser",
            Self::Public => "public repository",
            Self::CreatorTeam => "team that creates",
        }
    }
}

/// What one rule came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// Whether it is met.
    pub applies: bool,
    /// What it gives in the repository.
    pub gives: Role,
    /// Whether it lets repositories be made.
    pub creates: bool,
    /// The fact it hangs on.
    pub because: String,
}

/// The answer to one [`Wanted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What was asked.
    pub wanted: Wanted,
    /// The answer.
    pub allowed: bool,
    /// What gives the right, or what is missing.
    pub reason: String,
}

/// A decision and how it comes about.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Who would ask; `None`: nobody in particular.
    pub account: Option<AccountName>,
    /// Where.
    pub repository: RepositoryName,
    /// Every rule, in the order of the table.
    pub rules: Vec<Finding>,
    /// Every question, in the order of [`Wanted::ALL`].
    pub verdicts: Vec<Verdict>,
    /// What the statement has decided.
    pub decided: Access,
    /// What the rules come to, gone through here.
    pub derived: Access,
}

impl Explanation {
    /// Whether the rules as they are explained come to what was decided. Anything else is a fault of the program.
    pub fn agrees(&self) -> bool {
        self.decided == self.derived
    }

    /// The answer to one question.
    pub fn verdict(&self, wanted: Wanted) -> &Verdict {
        let found = self
            .verdicts
            .iter()
            .find(|verdict| verdict.wanted == wanted);
        found.expect("every question has been answered")
    }
}

impl Identity {
    /// What `account` may do in a repository, and why; of `None`, what anybody may. `None`: there is no such account.
    ///
    /// As of now: everything acknowledged before is seen.
    pub async fn explain(
        &self,
        account: Option<&AccountName>,
        repository: &RepositoryName,
    ) -> Result<Option<Explanation>, Error> {
        let facts = explain::facts(&self.reader(), account, repository).await?;
        Ok(facts.map(|facts| explained(&facts, repository)))
    }
}

/// The decision that `facts` hold, and how it comes about.
pub fn explained(facts: &Facts, repository: &RepositoryName) -> Explanation {
    let subject = Subject { facts, repository };
    let rules = subject.rules();
    let decided = facts.access;
    let derived = subject.derived(&rules);
    if decided != derived {
        tracing::error!(
            account = %subject.name(), repository = repository.as_str(), ?decided, ?derived,
            "the right of {} to `{}` is not decided as the rules say: {decided:?} instead of {derived:?}",
            subject.name(), repository.as_str(),
        );
    }
    let verdicts = Wanted::ALL
        .map(|wanted| subject.verdict(wanted, &rules))
        .into();
    Explanation {
        account: facts.account.as_ref().map(|account| account.name.clone()),
        repository: repository.clone(),
        rules,
        verdicts,
        decided,
        derived,
    }
}

/// About whom and what it is.
struct Subject<'a> {
    facts: &'a Facts,
    repository: &'a RepositoryName,
}

/// Why the credentials of an account open nothing.
enum Void<'a> {
    Disabled,
    Expired,
    OwnerDisabled(&'a str),
}

impl Subject<'_> {
    /// As sentences name it.
    fn name(&self) -> String {
        match &self.facts.account {
            None => "somebody who is not logged in".to_owned(),
            Some(account) => format!("`{}`", account.name),
        }
    }

    fn void(&self) -> Option<Void<'_>> {
        let account = self.facts.account.as_ref()?;
        if !account.active {
            return Some(Void::Disabled);
        }
        if account.expired {
            return Some(Void::Expired);
        }
        let owner = account.owner.as_ref().filter(|owner| !owner.active)?;
        Some(Void::OwnerDisabled(&owner.name))
    }

    /// Every rule, as if the account's credentials were good.
    fn rules(&self) -> Vec<Finding> {
        let rules = [
            self.superuser(),
            self.owner(),
            self.team_of_role(TeamRole::Admin),
            self.permission(),
            self.read_only_superuser(),
            self.public(),
            self.team_of_role(TeamRole::Creator),
        ];
        match self.void() {
            None => rules.into(),
            Some(void) => rules
                .map(|rule| rule.void(&format!("{} {void}", self.name())))
                .into(),
        }
    }

    fn superuser(&self) -> Finding {
        let applies = self
            .facts
            .account
            .as_ref()
            .is_some_and(|account| account.superuser);
        let because = format!(
            "{} is {}",
            self.name(),
            if applies { "one" } else { "none" }
        );
        Finding::of(Rule::Superuser, applies, because).all()
    }

    fn owner(&self) -> Finding {
        let (applies, because) = match &self.facts.namespace {
            None => (
                false,
                format!("there is no namespace `{}`", self.repository.namespace()),
            ),
            Some(namespace) => (
                self.facts.account.is_some() && namespace.is_own,
                format!(
                    "namespace `{}` is `{}`'s",
                    self.repository.namespace(),
                    namespace.owner
                ),
            ),
        };
        Finding::of(Rule::Owner, applies, because).all()
    }

    /// Teams of that role in the organization that owns the namespace.
    fn team_of_role(&self, role: TeamRole) -> Finding {
        let is_one = |team: &&TeamFacts| team.owns_namespace && team.role == role;
        let teams: Vec<String> = self.facts.teams.iter().filter(is_one).map(named).collect();
        let applies = !teams.is_empty();
        let because = if applies {
            format!("{} is in {}", self.name(), teams.join(", "))
        } else {
            format!("{} is in none of them", self.name())
        };
        if role == TeamRole::Admin {
            return Finding::of(Rule::AdminTeam, applies, because).all();
        }
        let creates = applies && role == TeamRole::Creator;
        Finding {
            creates,
            ..Finding::of(Rule::CreatorTeam, applies, because)
        }
    }

    fn permission(&self) -> Finding {
        let own = self.facts.permission.map(|role| (role, self.name()));
        let of_teams = self
            .facts
            .teams
            .iter()
            .filter_map(|team| Some((team.permission?, named(team))));
        let named_by: Vec<(Role, String)> = own.into_iter().chain(of_teams).collect();
        let because = if named_by.is_empty() {
            format!("none names {}", self.name_and_teams())
        } else {
            let each = named_by
                .iter()
                .map(|(role, whom)| format!("{} for {whom}", role.as_str()));
            each.collect::<Vec<_>>().join(", ")
        };
        let gives = named_by
            .iter()
            .map(|(role, _)| *role)
            .max()
            .unwrap_or(Role::None);
        Finding {
            gives,
            ..Finding::of(Rule::Permission, !named_by.is_empty(), because)
        }
    }

    fn read_only_superuser(&self) -> Finding {
        let account = self.facts.account.as_ref();
        let applies = account.is_some_and(|account| account.read_only_superuser);
        let because = format!(
            "{} is {}",
            self.name(),
            if applies { "one" } else { "none" }
        );
        let gives = if applies { Role::Read } else { Role::None };
        Finding {
            gives,
            ..Finding::of(Rule::ReadOnlySuperuser, applies, because)
        }
    }

    fn public(&self) -> Finding {
        let applies = self.is_public();
        let gives = if applies { Role::Read } else { Role::None };
        Finding {
            gives,
            ..Finding::of(Rule::Public, applies, self.visibility())
        }
    }

    fn is_public(&self) -> bool {
        let repository = self.facts.repository.as_ref();
        repository.is_some_and(|repository| repository.visibility == Visibility::Public)
    }

    fn visibility(&self) -> String {
        match &self.facts.repository {
            None => format!("there is no repository `{}`", self.repository.as_str()),
            Some(repository) => format!("the repository is {}", repository.visibility.as_str()),
        }
    }

    fn name_and_teams(&self) -> String {
        match &self.facts.account {
            None => self.name(),
            Some(_) => format!("{} or a team it is in", self.name()),
        }
    }

    /// What the rules come to.
    fn derived(&self, rules: &[Finding]) -> Access {
        let principal = match (&self.facts.account, self.void()) {
            (None, _) => PrincipalState::Anonymous,
            (Some(_), None) => PrincipalState::Valid,
            (Some(_), Some(_)) => PrincipalState::Ended,
        };
        let repository = self.facts.repository.as_ref();
        Access {
            repository: repository.and(self.facts.access.repository),
            role: rules
                .iter()
                .map(|rule| rule.gives)
                .max()
                .unwrap_or(Role::None),
            may_create: rules.iter().any(|rule| rule.creates),
            principal,
            public: self.is_public(),
            writable: self.writable(principal),
        }
    }

    fn writable(&self, principal: PrincipalState) -> Writable {
        if self
            .facts
            .namespace
            .as_ref()
            .is_some_and(|namespace| namespace.read_only)
        {
            return Writable::NamespaceReadOnly;
        }
        match &self.facts.repository {
            None => Writable::Yes,
            Some(repository) => match repository.mode {
                Mode::Normal => Writable::Yes,
                Mode::ReadOnly => Writable::RepositoryReadOnly,
                Mode::Mirror
                    if principal == PrincipalState::Valid && repository.is_mirrored_by_account =>
                {
                    Writable::Yes
                }
                Mode::Mirror => Writable::Mirror,
            },
        }
    }

    fn verdict(&self, wanted: Wanted, rules: &[Finding]) -> Verdict {
        let allowed = match wanted {
            Wanted::Pull => self.may(Action::Pull),
            Wanted::Push => self.may(Action::Push),
            Wanted::Delete => self.may(Action::Delete),
            Wanted::Create => self.may_make(),
        };
        let reason = match &allowed {
            Ok(()) => self.granted(wanted, rules),
            Err(refusal) => self.missing(wanted, refusal),
        };
        Verdict {
            wanted,
            allowed: allowed.is_ok(),
            reason,
        }
    }

    /// What a request with the account's password would hear.
    fn may(&self, action: Action) -> Result<(), Error> {
        let caller = match &self.facts.account {
            None => Caller::anonymous(),
            Some(AccountFacts { id, .. }) => Caller::with_password(Principal::Account {
                id: *id,
                // Already judged: the decision says whether it is the right one.
                generation: 0,
                credential: None,
            }),
        };
        authorize(&self.facts.access, &caller, self.repository, action)
    }

    /// Whether the first push of a repository would be let through, were there none.
    fn may_make(&self) -> Result<(), Error> {
        let access = &self.facts.access;
        if access.principal == PrincipalState::Ended {
            return Err(Error::CredentialsVoid);
        }
        if !access.may_create {
            return Err(Error::InsufficientScope);
        }
        match access.writable {
            Writable::NamespaceReadOnly => Err(Error::Denied {
                reason: "this namespace is read-only",
            }),
            Writable::Yes | Writable::RepositoryReadOnly | Writable::Mirror => Ok(()),
        }
    }

    /// The first rule that gives enough.
    fn granted(&self, wanted: Wanted, rules: &[Finding]) -> String {
        let makes = wanted == Wanted::Create || self.facts.repository.is_none();
        let enough = if wanted == Wanted::Pull {
            Role::Read
        } else {
            Role::Write
        };
        let gives = |rule: &&Finding| {
            if makes {
                rule.creates
            } else {
                rule.gives >= enough
            }
        };
        match rules.iter().find(gives) {
            Some(rule) if wanted == Wanted::Create && self.facts.repository.is_some() => {
                format!(
                    "{}: {}; the repository is there already",
                    rule.rule.as_str(),
                    rule.because
                )
            }
            Some(rule) if makes => {
                format!(
                    "{}: {}; there is no repository yet",
                    rule.rule.as_str(),
                    rule.because
                )
            }
            Some(rule) => format!("{}: {}", rule.rule.as_str(), rule.because),
            // Decided otherwise than the rules say.
            None => "no rule that is known here".to_owned(),
        }
    }

    /// What would have to be otherwise.
    fn missing(&self, wanted: Wanted, refusal: &Error) -> String {
        let name = self.name();
        if let Some(void) = self.void() {
            return format!("{name} {void}: its credentials open nothing, not even what is public");
        }
        if self.facts.account.is_none() {
            return format!("not logged in, and {}", self.visibility());
        }
        match refusal {
            // What is read-only or a mirror says so itself.
            Error::Denied { reason }
                if self.facts.access.writable != Writable::Yes && self.has_right(wanted) =>
            {
                return (*reason).to_owned();
            }
            Error::NameUnknown => return self.visibility(),
            _ => {}
        }
        if wanted == Wanted::Create || self.facts.repository.is_none() {
            let makers = match &self.facts.namespace {
                None => "only a superuser makes namespaces by pushing".to_owned(),
                Some(namespace) => format!(
                    "namespace `{}` is `{}`'s, and {name} is in no team of its that makes repositories",
                    self.repository.namespace(),
                    namespace.owner,
                ),
            };
            let there = match &self.facts.repository {
                None => format!("{}, and {name} may not make it: ", self.visibility()),
                Some(_) => String::new(),
            };
            return format!("{there}{makers}");
        }
        let none = format!("no permission names {}", self.name_and_teams());
        match (wanted, self.facts.access.role) {
            (Wanted::Pull, _) => format!("{none}; {}", self.visibility()),
            (_, Role::Read) => format!(
                "{name} may only read here: no permission to write names {}",
                self.name_and_teams()
            ),
            _ => none,
        }
    }

    /// Whether only the state of the repository or namespace stands against it.
    fn has_right(&self, wanted: Wanted) -> bool {
        let access = &self.facts.access;
        match (wanted, access.repository) {
            (Wanted::Create, _) | (_, None) => access.may_create,
            (Wanted::Pull, Some(_)) => access.role >= Role::Read,
            (Wanted::Push | Wanted::Delete, Some(_)) => access.role >= Role::Write,
        }
    }
}

impl fmt::Display for Void<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("is disabled"),
            Self::Expired => f.write_str("has expired"),
            Self::OwnerDisabled(owner) => write!(f, "belongs to `{owner}`, who is disabled"),
        }
    }
}

impl Finding {
    /// A rule that gives nothing yet.
    fn of(rule: Rule, applies: bool, because: String) -> Self {
        Self {
            rule,
            applies,
            gives: Role::None,
            creates: false,
            because,
        }
    }

    /// It gives everything, if it applies.
    fn all(self) -> Self {
        let gives = if self.applies {
            Role::Admin
        } else {
            Role::None
        };
        Self {
            gives,
            creates: self.applies,
            ..self
        }
    }

    /// It gives nothing, whatever it would.
    fn void(self, because: &str) -> Self {
        Self::of(self.rule, false, because.to_owned())
    }
}

/// A team as sentences name it.
fn named(team: &TeamFacts) -> String {
    format!("team `{}/{}`", team.organization, team.name)
}
