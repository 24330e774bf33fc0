//! People of a provider of single sign-on, or of a directory: which account somebody is, and what his groups give him.
//!
//! Nobody becomes an account that is there already by having its name or its address, but for an address that both
//! sides have verified, where the operator wants that for this provider.

use super::{Actor, Identity, replaced};
use crate::transaction::{Acknowledge, Attempts, conclude};
use crate::{Error, Freshness};
use portolan_auth::Method;
use portolan_metadata::Refused;
use portolan_metadata::accounts::{self, AccountName, Superuser};
use portolan_metadata::audit::{self, Change};
use portolan_metadata::external_identities::{self, PersonRow};
use portolan_pg::Tx;
use serde_json::json;
use std::net::IpAddr;
use std::time::SystemTime;

/// What a provider says of somebody who has proven to it who he is.
#[derive(Debug, Clone)]
pub struct ExternalPerson {
    /// Which provider.
    pub provider: String,
    /// Who he is there; never given to another.
    pub subject: String,
    /// What he would be called here, if that can be a name.
    pub name: Option<AccountName>,
    /// His address, if the provider has verified it.
    pub email: Option<String>,
    /// The groups he is in there; `None`: nothing was said of groups, and so nothing follows.
    pub groups: Option<Vec<String>>,
    /// Whether his groups make him a superuser; `None`: that is no provider's to say.
    pub superuser: Option<bool>,
    /// When the provider said all this.
    pub told_at: SystemTime,
}

impl ExternalPerson {
    /// Whether something has followed already from what the provider said later: an ID token is good for hours, and whoever
    /// keeps one from before shall not come back into a team that he has left since.
    fn is_outdated(&self, row: &PersonRow) -> bool {
        row.told_at.is_some_and(|later| self.told_at < later)
    }
}

/// What becomes of those whom nobody knows yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignUp {
    /// They get an account.
    pub open: bool,
    /// Who has a verified address of an account is that account.
    pub link_by_email: bool,
}

/// From where somebody comes, for the audit log.
#[derive(Debug, Clone)]
pub struct From {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The request, as its log lines name it.
    pub request: Option<String>,
    /// What he has shown.
    pub method: Method,
}

/// An account that somebody has shown to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The account.
    pub row: PersonRow,
    /// How current that is.
    pub freshness: Freshness,
}

/// Why somebody is nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefusal {
    /// There is no account for him, and none is made.
    #[error("there is no account for you here; ask an administrator for one")]
    Unknown,
    /// His name is somebody else's.
    #[error("your name is taken here by another account; ask an administrator")]
    NameTaken,
    /// What the provider calls him can be no name here.
    #[error(
        "what your provider calls you cannot be the name of an account here; ask an administrator"
    )]
    NameUnusable,
    /// The account was disabled.
    #[error("your account is disabled")]
    Disabled,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// He is this account.
    As(Person),
    /// He is nobody.
    Refused(SignInRefusal),
}

/// What a transaction found.
enum Found {
    Person(PersonRow),
    Refused(SignInRefusal),
}

impl Identity {
    /// The account of somebody, made by policy where there is none, in the teams that his groups stand for.
    ///
    /// Where nothing is to be changed nothing is written.
    pub async fn sign_in(
        &self,
        person: &ExternalPerson,
        sign_up: SignUp,
        from: &From,
    ) -> Result<SignIn, Error> {
        let reader = self.reader();
        let found = external_identities::find(&reader, &person.provider, &person.subject).await?;
        if let Some(row) = found {
            if !row.active {
                return Ok(SignIn::Refused(SignInRefusal::Disabled));
            }
            let settled = match &person.groups {
                None => true,
                Some(groups) => {
                    let provider = &person.provider;
                    !external_identities::groups_differ(&reader, row.account, provider, groups)
                        .await?
                }
            };
            let settled = settled
                && person
                    .superuser
                    .is_none_or(|wanted| wanted == row.superuser);
            if settled || person.is_outdated(&row) {
                let freshness = Freshness::of(&reader);
                return Ok(SignIn::As(Person { row, freshness }));
            }
        }
        let mut attempts = Attempts::new();
        loop {
            let tx = self.begin().await?;
            let outcome = match change(&tx, person, sign_up, from).await {
                Ok(Found::Refused(refusal)) => {
                    // What was made on the way to it goes too.
                    tx.rollback().await?;
                    return Ok(SignIn::Refused(refusal));
                }
                Ok(Found::Person(row)) => Ok(row),
                Err(failure) => Err(failure),
            };
            let visible = Acknowledge::WhenVisible;
            if let Some(row) = conclude(&self.router, tx, outcome, visible, &mut attempts).await? {
                let freshness = Freshness::Current;
                return Ok(SignIn::As(Person { row, freshness }));
            }
        }
    }
}

async fn change(
    tx: &Tx,
    person: &ExternalPerson,
    sign_up: SignUp,
    from: &From,
) -> Result<Found, Error> {
    let (provider, subject) = (&person.provider, &person.subject);
    // All superusers are locked before any account.
    let may_fall = person.superuser == Some(false) && is_spare(tx, person).await?;
    let known = external_identities::lock(tx, provider, subject).await?;
    let row = match known {
        Some(row) => row,
        None => match introduce(tx, person, sign_up, from).await? {
            Found::Person(row) => row,
            refused @ Found::Refused(_) => return Ok(refused),
        },
    };
    if !row.active {
        return Ok(Found::Refused(SignInRefusal::Disabled));
    }
    if person.is_outdated(&row) {
        return Ok(Found::Person(row));
    }
    let actor = actor(&row, from);
    let mut followed = false;
    if let Some(groups) = &person.groups {
        let moves = external_identities::follow_groups(tx, row.account, provider, groups).await?;
        followed |= !moves.is_empty();
        for moved in moves {
            let action = if moved.joined {
                "team.add_member"
            } else {
                "team.remove_member"
            };
            let detail = json!({ "member": row.name.as_str(), "provider": provider });
            let change = Change {
                namespace: moved.namespace,
                detail,
                ..Change::of(action, &moved.path)
            };
            audit::record(tx, &actor, &change).await?;
        }
    }
    if let Some(superuser) = person.superuser
        && (superuser || may_fall)
        && external_identities::set_superuser(tx, row.account, superuser).await?
    {
        let word = |superuser| {
            if superuser {
                Superuser::On
            } else {
                Superuser::Off
            }
            .as_str()
        };
        let mut detail = replaced(word(!superuser), word(superuser));
        detail["provider"] = json!(provider);
        let change = Change::of("user.superuser", row.name.as_str()).with(detail);
        audit::record(tx, &actor, &change).await?;
        followed = true;
    }
    if followed {
        external_identities::tell(tx, provider, subject, person.told_at).await?;
    }
    Ok(Found::Person(row))
}

/// Whether there is another superuser: the last one stays it, since nobody could give it to anybody again.
async fn is_spare(tx: &Tx, person: &ExternalPerson) -> Result<bool, Error> {
    let known = external_identities::find(tx, &person.provider, &person.subject).await?;
    let Some(row) = known.filter(|row| row.superuser) else {
        return Ok(false);
    };
    match accounts::keep_a_superuser(tx, &row.name).await {
        Ok(()) => Ok(true),
        Err(portolan_metadata::Error::Refused(Refused::LastSuperuser)) => {
            tracing::warn!(account = %row.name, "`{}` is the last superuser, and stays it", row.name);
            Ok(false)
        }
        Err(cause) => Err(cause.into()),
    }
}

/// Somebody who comes for the first time.
async fn introduce(
    tx: &Tx,
    person: &ExternalPerson,
    sign_up: SignUp,
    from: &From,
) -> Result<Found, Error> {
    let (provider, subject) = (&person.provider, &person.subject);
    let linked = match &person.email {
        Some(email) if sign_up.link_by_email => {
            external_identities::lock_by_email(tx, email).await?
        }
        _ => None,
    };
    let (row, action) = match linked {
        Some(row) => (row, "user.link"),
        None if !sign_up.open => return Ok(Found::Refused(SignInRefusal::Unknown)),
        None => {
            let Some(name) = person.name.as_ref().filter(|name| !name.is_robot()) else {
                return Ok(Found::Refused(SignInRefusal::NameUnusable));
            };
            if name.is_reserved() {
                return Ok(Found::Refused(SignInRefusal::NameTaken));
            }
            match external_identities::make_user(tx, name, person.email.as_deref()).await {
                Ok(row) => (row, "user.create"),
                Err(portolan_metadata::Error::NameTaken) => {
                    return Ok(Found::Refused(SignInRefusal::NameTaken));
                }
                Err(cause) => return Err(cause.into()),
            }
        }
    };
    if !external_identities::insert(tx, row.account, provider, subject, person.told_at).await? {
        // Somebody else came as the same person at the same time: the next attempt finds what that one made.
        return Err(Error::Metadata(portolan_metadata::Error::Contended {
            table: "external_identity",
        }));
    }
    let detail = json!({ "provider": provider, "subject": subject });
    let change = Change::of(action, row.name.as_str()).with(detail);
    audit::record(tx, &actor(&row, from), &change).await?;
    Ok(Found::Person(row))
}

/// He does all this himself, by coming.
fn actor(row: &PersonRow, from: &From) -> Actor {
    Actor {
        account: Some(row.account),
        credential: None,
        name: row.name.to_string(),
        method: from.method.as_str(),
        address: from.address,
        request: from.request.clone(),
    }
}
