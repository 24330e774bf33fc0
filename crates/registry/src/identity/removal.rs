//! The end of users and organizations, with their repositories if so wished.

use super::{Actor, Identity};
use crate::Error;
use portolan_metadata::accounts::{self, AccountKind, AccountName};
use portolan_metadata::audit::{self, Change};
use portolan_metadata::{Refused, repositories};
use serde_json::json;

/// Repositories taken out of use in one transaction: each waits for the pushes that are under way in it, and all of
/// them are kept from new ones meanwhile.
const AT_ONCE: usize = 100;
/// How often repositories that were pushed meanwhile are taken as well, before whoever pushes has to be stopped.
const ROUNDS: u32 = 3;

/// What becomes of the repositories of an account that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repositories {
    /// While there are any, the account stays.
    Keep,
    /// They are deleted first.
    Delete,
}

/// What was deleted with an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Repositories.
    pub repositories: u64,
    /// Robots.
    pub robots: usize,
    /// Teams.
    pub teams: u64,
}

impl Identity {
    /// Deletes a user; his tokens end, and his name is free.
    ///
    /// Cancel safety: dropped, some of his repositories may be deleted and he not, or all of it be done.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::LastSuperuser`], [`Refused::HasRepositories`]
    pub async fn delete_user(
        &self,
        actor: &Actor,
        name: &AccountName,
        repositories: Repositories,
    ) -> Result<Deleted, Error> {
        self.delete(actor, name, AccountKind::User, repositories)
            .await
    }

    /// Deletes an organization with its teams and robots; its name is free. Cancel safety as for a user.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::HasRepositories`]
    pub async fn delete_organization(
        &self,
        actor: &Actor,
        name: &AccountName,
        repositories: Repositories,
    ) -> Result<Deleted, Error> {
        self.delete(actor, name, AccountKind::Organization, repositories)
            .await
    }

    async fn delete(
        &self,
        actor: &Actor,
        name: &AccountName,
        kind: AccountKind,
        repositories: Repositories,
    ) -> Result<Deleted, Error> {
        let mut gone = 0;
        for _ in 0..ROUNDS {
            if repositories == Repositories::Delete {
                gone += self.delete_repositories_of(actor, name, kind).await?;
            }
            match self.remove(actor, name, kind, gone).await {
                Err(Error::Refused(Refused::HasRepositories))
                    if repositories == Repositories::Delete => {}
                done => return done,
            }
        }
        Err(Error::Refused(Refused::HasRepositories))
    }

    async fn remove(
        &self,
        actor: &Actor,
        name: &AccountName,
        kind: AccountKind,
        repositories: u64,
    ) -> Result<Deleted, Error> {
        self.change(|tx| async move {
            let removal = accounts::remove(&tx, name, kind).await?;
            let deleted = Deleted {
                repositories,
                robots: removal.robots,
                teams: removal.teams,
            };
            let action = match kind {
                AccountKind::User => "user.delete",
                AccountKind::Organization => "organization.delete",
                AccountKind::Robot => "robot.delete",
            };
            let change = Change {
                namespace: removal.account.namespace,
                detail: json!({
                    "id": removal.account.id.get(),
                    "repositories": deleted.repositories,
                    "robots": deleted.robots,
                    "teams": deleted.teams,
                }),
                ..Change::of(action, name.as_str())
            };
            audit::record(&tx, actor, &change).await?;
            Ok(deleted)
        })
        .await
    }

    /// Batch after batch, each a transaction of its own.
    async fn delete_repositories_of(
        &self,
        actor: &Actor,
        name: &AccountName,
        kind: AccountKind,
    ) -> Result<u64, Error> {
        let mut gone = 0;
        loop {
            let marked = self
                .change(|tx| async move {
                    // Before anything of an account that will be refused is gone.
                    if kind == AccountKind::User {
                        accounts::keep_a_superuser(&tx, name).await?;
                    }
                    let account = accounts::lock(&tx, name, kind).await?;
                    let Some(namespace) = account.namespace else {
                        return Ok(0);
                    };
                    let marked = repositories::mark_deleted_in(&tx, namespace, AT_ONCE).await?;
                    for (id, path) in &marked {
                        let change = Change::of("repository.delete", path.as_str())
                            .in_repository(*id)
                            .with(json!({ "with": name.as_str() }));
                        audit::record(&tx, actor, &change).await?;
                    }
                    Ok(marked.len())
                })
                .await?;
            gone += marked as u64;
            if marked < AT_ONCE {
                return Ok(gone);
            }
        }
    }
}
