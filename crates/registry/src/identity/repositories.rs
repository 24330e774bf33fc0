//! Repositories, as they are opened, closed, described and deleted.

use super::{Actor, Identity, replaced};
use crate::Error;
use portolan_metadata::accounts::AccountName;
use portolan_metadata::audit::{self, Change};
use portolan_metadata::repositories::{self, RepositoryMode, RepositoryRow, Visibility};
use portolan_metadata::{Noun, Refused};
use portolan_oci::RepositoryName;
use serde_json::json;

impl Identity {
    /// Sets who may read a repository without a right of their own.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn set_visibility(
        &self,
        actor: &Actor,
        name: &RepositoryName,
        visibility: Visibility,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let repository = repositories::lock_for_change(&tx, name).await?;
            repositories::set_visibility(&tx, name, visibility).await?;
            let detail = replaced(repository.visibility.as_str(), visibility.as_str());
            let change = Change::of("repository.visibility", name.as_str())
                .in_repository(repository.id)
                .with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Sets whether a repository takes changes, and from whom a mirror does.
    ///
    /// # Errors
    /// [`Refused::Missing`]; [`Refused::ForeignRobot`] and [`Refused::NotAPrincipal`] of the account that mirrors.
    pub async fn set_repository_mode(
        &self,
        actor: &Actor,
        name: &RepositoryName,
        mode: RepositoryMode,
        mirror: Option<&AccountName>,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let repository = repositories::lock_for_change(&tx, name).await?;
            let mirror = mirror.filter(|_| mode == RepositoryMode::Mirror);
            repositories::set_mode(&tx, &repository, mode, mirror).await?;
            let mut detail = replaced(repository.mode.as_str(), mode.as_str());
            if let Some(account) = mirror {
                detail["account"] = json!(account.as_str());
            }
            let change = Change::of("repository.mode", name.as_str())
                .in_repository(repository.id)
                .with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Sets what is said about a repository.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn describe_repository(
        &self,
        actor: &Actor,
        name: &RepositoryName,
        description: &str,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let repository = repositories::lock_for_change(&tx, name).await?;
            repositories::describe(&tx, repository.id, description).await?;
            let change =
                Change::of("repository.describe", name.as_str()).in_repository(repository.id);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Takes a repository out of use: its name is free at once, and a push makes another one.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn delete_repository(
        &self,
        actor: &Actor,
        name: &RepositoryName,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let Some(repository) = repositories::mark_deleted(&tx, name).await? else {
                let missing = Refused::missing(Noun::Repository, name.as_str());
                return Err(Error::Refused(missing));
            };
            let change = Change::of("repository.delete", name.as_str()).in_repository(repository);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// The repository of that name, whoever may read it.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn repository(&self, name: &RepositoryName) -> Result<RepositoryRow, Error> {
        Ok(repositories::find(&self.reader(), name).await?)
    }

    /// The repositories after `last`, of all namespaces or of one, whoever may read them, no more than `rows`.
    pub async fn repositories(
        &self,
        namespace: Option<&AccountName>,
        last: Option<&RepositoryName>,
        rows: usize,
    ) -> Result<Vec<RepositoryRow>, Error> {
        // A repository that a blob's upload made has waited for nobody: the primary has it.
        let reader = self.router.read_list_of_new();
        let last = last.map(RepositoryName::as_str);
        Ok(match namespace {
            Some(namespace) => repositories::list_in(&reader, namespace, last, rows).await?,
            None => repositories::list(&reader, last, rows).await?,
        })
    }
}
