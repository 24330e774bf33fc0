//! The audit log: a row for each change, in the transaction that makes it.
//!
//! A row that cannot be written fails the change: nothing happens that the log does not tell. Names are written as they
//! were, beside ids that tell apart what had one name after the other.

mod partitions;
mod pulls;
mod search;

pub use partitions::{drop_month, due, forget, make_month};
pub use pulls::{Fate, Pull, PullRow, PullsAfter, TransactionId, count, fate, pulls, transaction};
pub use search::{Cursor, CursorError, Entry, Filter, export, search};

use crate::statements::statement;
use crate::{AccountId, CredentialId, Error, NamespaceId, RepositoryId};
use portolan_pg::{Statement, Tx};
use std::borrow::Cow;
use std::net::IpAddr;

/// Who makes a change, and how he came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The account; `None` for whoever has the command line, and for jobs.
    pub account: Option<AccountId>,
    /// The token or secret he showed, where it has a row.
    pub credential: Option<CredentialId>,
    /// His name at this time.
    pub name: String,
    /// What he showed: `password`, `token`, `robot`, …, `command line`, `system`.
    pub method: &'static str,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The request, as its log lines name it.
    pub request: Option<String>,
}

impl Actor {
    /// Whoever has the configuration and a shell, by the name that he has on that machine.
    pub fn command_line(user: impl Into<String>) -> Self {
        Self {
            account: None,
            credential: None,
            name: user.into(),
            method: "command line",
            address: None,
            request: None,
        }
    }

    /// A job, or a process at its start.
    pub fn system(what: impl Into<String>) -> Self {
        Self {
            method: "system",
            ..Self::command_line(what)
        }
    }
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// The entity and the verb, as `team.create`: lower-case words with `_`.
    pub action: &'static str,
    /// The name of what was changed, as its kind writes it: `acme/app`, `acme/app:latest`, `acme+bot`.
    pub target: Cow<'a, str>,
    /// In which namespace.
    pub namespace: Option<NamespaceId>,
    /// In which repository.
    pub repository: Option<RepositoryId>,
    /// What else is worth knowing: the new role, the old digest. Never a secret.
    pub detail: serde_json::Value,
}

impl<'a> Change<'a> {
    /// `action` on `target`, in no namespace or repository, and nothing more to say.
    pub fn of(action: &'static str, target: impl Into<Cow<'a, str>>) -> Self {
        Self {
            action,
            target: target.into(),
            namespace: None,
            repository: None,
            detail: serde_json::json!({}),
        }
    }

    /// And this is worth knowing.
    #[must_use]
    pub fn with(self, detail: serde_json::Value) -> Self {
        Self { detail, ..self }
    }

    /// In this namespace.
    #[must_use]
    pub fn in_namespace(self, namespace: NamespaceId) -> Self {
        Self {
            namespace: Some(namespace),
            ..self
        }
    }

    /// In this repository.
    #[must_use]
    pub fn in_repository(self, repository: RepositoryId) -> Self {
        Self {
            repository: Some(repository),
            ..self
        }
    }
}

// The namespace of a repository is found here, so that no caller has to.
static RECORD: Statement = statement!(
    "audit.record",
    [INT8, INT8, TEXT, TEXT, INET, TEXT, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, JSONB_ARRAY],
    "INSERT INTO audit_log (actor_id, credential_id, actor, credential, address, request_id, action, target,
         namespace_id, repository_id, detail)
     SELECT $1, $2, $3, $4, $5, $6, change.action, change.target,
         coalesce(
             change.namespace_id,
             (SELECT repository.namespace_id FROM repository WHERE repository.id = change.repository_id)
         ),
         change.repository_id, change.detail
     FROM unnest($7, $8, $9, $10, $11)
         WITH ORDINALITY AS change(action, target, namespace_id, repository_id, detail, ord)
     ORDER BY change.ord",
);

/// Writes one change down.
pub async fn record(tx: &Tx, actor: &Actor, change: &Change<'_>) -> Result<(), Error> {
    record_all(tx, actor, std::slice::from_ref(change)).await
}

/// Writes the changes of one transaction down, in their order and in one statement.
pub async fn record_all(tx: &Tx, actor: &Actor, changes: &[Change<'_>]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let actions: Vec<&str> = changes.iter().map(|change| change.action).collect();
    let targets: Vec<&str> = changes
        .iter()
        .map(|change| change.target.as_ref())
        .collect();
    let namespaces: Vec<Option<NamespaceId>> =
        changes.iter().map(|change| change.namespace).collect();
    let repositories: Vec<Option<RepositoryId>> =
        changes.iter().map(|change| change.repository).collect();
    let details: Vec<&serde_json::Value> = changes.iter().map(|change| &change.detail).collect();
    tx.execute(
        &RECORD,
        &[
            &actor.account,
            &actor.credential,
            &actor.name,
            &actor.method,
            &actor.address,
            &actor.request,
            &actions,
            &targets,
            &namespaces,
            &repositories,
            &details,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &RECORD,
    &search::ALL,
    &search::OF_REPOSITORY,
    &search::OF_NAMESPACE,
    &search::OF_ACTOR,
    &search::OF_ACTION,
    &search::EXPORT,
    &pulls::COUNT,
    &pulls::USED,
    &pulls::TRANSACTION,
    &pulls::FATE,
    &pulls::LIST,
    &partitions::MAKE,
    &partitions::DUE,
    &partitions::DROP,
    &partitions::FORGET_CHANGES,
    &partitions::FORGET_PULLS,
];
