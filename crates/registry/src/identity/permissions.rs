//! Rights in repositories, as they are given and taken.

use super::{Actor, Identity, replaced};
use crate::Error;
use portolan_metadata::audit::{self, Change};
use portolan_metadata::permissions::{self, Granted, Holder, PermissionRow};
use portolan_metadata::repositories;
use portolan_metadata::{Noun, Refused};
use portolan_oci::RepositoryName;
use serde_json::json;

/// Most rights that are shown of one repository.
const PERMISSIONS: usize = 10_000;

impl Identity {
    /// Gives a right in a repository, in place of the one that its holder had.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::ForeignTeam`], [`Refused::ForeignRobot`], [`Refused::NotAPrincipal`]
    pub async fn set_permission(
        &self,
        actor: &Actor,
        name: &RepositoryName,
        holder: &Holder,
        role: Granted,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let repository = repositories::lock_for_change(&tx, name).await?;
            let before = permissions::set(&tx, &repository, holder, role).await?;
            let mut detail = replaced(before.map(Granted::as_str), role.as_str());
            detail["holder"] = json!(holder.to_string());
            let change = Change::of("permission.set", name.as_str())
                .in_repository(repository.id)
                .with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Takes a right in a repository away.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn remove_permission(
        &self,
        actor: &Actor,
        name: &RepositoryName,
        holder: &Holder,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let repository = repositories::lock_for_change(&tx, name).await?;
            let Some(before) = permissions::remove(&tx, &repository, holder).await? else {
                return Err(Error::Refused(Refused::missing(Noun::Permission, holder)));
            };
            let detail = json!({ "holder": holder.to_string(), "from": before.as_str() });
            let change = Change::of("permission.remove", name.as_str())
                .in_repository(repository.id)
                .with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// The first ten thousand rights in a repository beyond its owner's.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn permissions(&self, name: &RepositoryName) -> Result<Vec<PermissionRow>, Error> {
        let reader = self.reader();
        repositories::find(&reader, name).await?;
        Ok(permissions::list(&reader, name, PERMISSIONS).await?)
    }
}
