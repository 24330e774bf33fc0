//! Organizations and namespaces, as they are made and changed.

use super::{Actor, Identity, replaced};
use crate::Error;
use portolan_metadata::AccountId;
use portolan_metadata::accounts::{self, AccountKind, AccountName};
use portolan_metadata::audit::{self, Change};
use portolan_metadata::default_permissions::{self, DefaultPermission};
use portolan_metadata::namespaces::{self, NamespaceMode, NamespaceRow};
use portolan_metadata::permissions::Holder;
use portolan_metadata::{Noun, Refused};
use serde_json::json;

/// Most default permissions that are shown of one namespace.
const DEFAULTS: usize = 1_000;

impl Identity {
    /// Makes an organization, and the namespace of the same name.
    ///
    /// # Errors
    /// [`Refused::NameTaken`]
    pub async fn create_organization(
        &self,
        actor: &Actor,
        name: &AccountName,
        description: &str,
    ) -> Result<AccountId, Error> {
        self.change(|tx| async move {
            let id = accounts::create_organization(&tx, name, description).await?;
            let namespace = namespaces::find(&*tx, name).await?;
            let change =
                Change::of("organization.create", name.as_str()).in_namespace(namespace.id);
            audit::record(&tx, actor, &change).await?;
            Ok(id)
        })
        .await
    }

    /// Sets what is said about an organization.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn describe_organization(
        &self,
        actor: &Actor,
        name: &AccountName,
        description: &str,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let organization = accounts::lock(&tx, name, AccountKind::Organization).await?;
            accounts::describe(&tx, organization.id, description).await?;
            let change = Change {
                namespace: organization.namespace,
                ..Change::of("organization.describe", name.as_str())
            };
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Sets whether anything in a namespace may change.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn set_namespace_mode(
        &self,
        actor: &Actor,
        name: &AccountName,
        mode: NamespaceMode,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let namespace = namespaces::lock(&tx, name).await?;
            namespaces::set_mode(&tx, namespace.id, mode).await?;
            let change = Change::of("namespace.mode", name.as_str())
                .in_namespace(namespace.id)
                .with(replaced(namespace.mode.as_str(), mode.as_str()));
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// The namespace of that name.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn namespace(&self, name: &AccountName) -> Result<NamespaceRow, Error> {
        Ok(namespaces::find(&self.reader(), name).await?)
    }

    /// Lets new repositories of a namespace give a right, or another one than before.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::ForeignTeam`], [`Refused::ForeignRobot`], [`Refused::NotAPrincipal`]
    pub async fn set_default_permission(
        &self,
        actor: &Actor,
        namespace: &AccountName,
        new: &DefaultPermission,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let row = namespaces::lock(&tx, namespace).await?;
            default_permissions::set(&tx, &row, new).await?;
            let detail = json!({
                "holder": new.holder.to_string(),
                "creator": new.creator.as_ref().map(AccountName::as_str),
                "role": new.role.as_str(),
            });
            let change = Change::of("default_permission.set", namespace.as_str())
                .in_namespace(row.id)
                .with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Lets new repositories of a namespace give a right no longer.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn remove_default_permission(
        &self,
        actor: &Actor,
        namespace: &AccountName,
        creator: Option<&AccountName>,
        holder: &Holder,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let row = namespaces::lock(&tx, namespace).await?;
            if !default_permissions::remove(&tx, &row, creator, holder).await? {
                let missing = Refused::missing(Noun::DefaultPermission, holder);
                return Err(Error::Refused(missing));
            }
            let detail = json!({
                "holder": holder.to_string(),
                "creator": creator.map(AccountName::as_str),
            });
            let change = Change::of("default_permission.remove", namespace.as_str())
                .in_namespace(row.id)
                .with(detail);
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// The first thousand default permissions of a namespace.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn default_permissions(
        &self,
        namespace: &AccountName,
    ) -> Result<Vec<DefaultPermission>, Error> {
        let reader = self.reader();
        namespaces::find(&reader, namespace).await?;
        Ok(default_permissions::list(&reader, namespace, DEFAULTS).await?)
    }
}
