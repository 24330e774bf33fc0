//! The audit log: a row for each change, in the transaction that makes it.
//!
//! A row that cannot be written fails the change: nothing happens that the log does not tell. Names are written as they
//! were, beside ids that tell apart what had one name after the other.

use crate::statements::statement;
use crate::{AccountId, CredentialId, Error, NamespaceId, RepositoryId};
use portolan_pg::{Statement, Tx};
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
    pub target: &'a str,
    /// In which namespace.
    pub namespace: Option<NamespaceId>,
    /// In which repository.
    pub repository: Option<RepositoryId>,
    /// What else is worth knowing: the new role, the old digest. Never a secret.
    pub detail: serde_json::Value,
}

impl<'a> Change<'a> {
    /// `action` on `target`, in no namespace or repository, and nothing more to say.
    pub fn of(action: &'static str, target: &'a str) -> Self {
        Self {
            action,
            target,
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
    [INT8, INT8, TEXT, TEXT, INET, TEXT, TEXT, TEXT, INT8, INT8, JSONB],
    "INSERT INTO audit_log (actor_id, credential_id, actor, credential, address, request_id, action, target,
         namespace_id, repository_id, detail)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8,
         coalesce($9, (SELECT repository.namespace_id FROM repository WHERE repository.id = $10)), $10, $11)",
);

/// Writes one change down.
pub async fn record(tx: &Tx, actor: &Actor, change: &Change<'_>) -> Result<(), Error> {
    tx.execute_one(
        &RECORD,
        &[
            &actor.account,
            &actor.credential,
            &actor.name,
            &actor.method,
            &actor.address,
            &actor.request,
            &change.action,
            &change.target,
            &change.namespace,
            &change.repository,
            &change.detail,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) static STATEMENTS: &[&Statement] = &[&RECORD];
