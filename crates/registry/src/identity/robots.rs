//! Robots.

use super::{Actor, Identity};
use crate::Error;
use portolan_auth::{Secret, SecretKind};
use portolan_metadata::accounts::{self, AccountName};
use portolan_metadata::audit::{self, Change};
use portolan_metadata::credentials::SecretHash;
use portolan_metadata::robots::{self, NewRobot};
use portolan_metadata::{Noun, Refused};
use portolan_pg::Tx;
use rand::CryptoRng;
use serde_json::json;
use std::time::SystemTime;

pub use portolan_metadata::robots::RobotRow;

impl Identity {
    /// Makes a robot, and returns its secret, which is nowhere else.
    ///
    /// # Errors
    /// [`Refused::Missing`]: there is no such owner. [`Refused::NameTaken`]
    pub async fn create_robot(
        &self,
        actor: &Actor,
        name: &AccountName,
        description: &str,
        expires_at: Option<SystemTime>,
        rng: &mut impl CryptoRng,
    ) -> Result<Secret, Error> {
        let secret = Secret::new(SecretKind::Robot, rng);
        let new = &NewRobot {
            name: name.clone(),
            description: description.to_owned(),
            expires_at,
            secret: SecretHash::new(secret.hash()),
        };
        self.change(|tx| async move {
            robots::create(&tx, new).await?;
            let detail = json!({ "description": description, "expires_at": seconds(expires_at) });
            record(&tx, actor, "robot.create", name, detail).await
        })
        .await?;
        Ok(secret)
    }

    /// Gives a robot another secret, and returns it. The old one and every token that was given for it end.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn regenerate_robot(
        &self,
        actor: &Actor,
        name: &AccountName,
        rng: &mut impl CryptoRng,
    ) -> Result<Secret, Error> {
        let secret = Secret::new(SecretKind::Robot, rng);
        let hash = SecretHash::new(secret.hash());
        self.change(|tx| async move {
            found(robots::regenerate(&tx, name, &hash).await?, name)?;
            record(&tx, actor, "robot.regenerate", name, json!({})).await
        })
        .await?;
        Ok(secret)
    }

    /// Sets when a robot stops working; `None`: never.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn set_robot_expiry(
        &self,
        actor: &Actor,
        name: &AccountName,
        expires_at: Option<SystemTime>,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            found(robots::set_expiry(&tx, name, expires_at).await?, name)?;
            let detail = json!({ "expires_at": seconds(expires_at) });
            record(&tx, actor, "robot.set_expiry", name, detail).await
        })
        .await
    }

    /// Says what a robot is for.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn describe_robot(
        &self,
        actor: &Actor,
        name: &AccountName,
        description: &str,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            found(robots::describe(&tx, name, description).await?, name)?;
            let detail = json!({ "description": description });
            record(&tx, actor, "robot.describe", name, detail).await
        })
        .await
    }

    /// Lets a robot log in, or shuts it out; either ends its tokens.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn set_robot_active(
        &self,
        actor: &Actor,
        name: &AccountName,
        active: bool,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            found(robots::set_active(&tx, name, active).await?, name)?;
            let action = if active {
                "robot.enable"
            } else {
                "robot.disable"
            };
            record(&tx, actor, action, name, json!({})).await
        })
        .await
    }

    /// Deletes a robot with its secret and its rights.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn delete_robot(&self, actor: &Actor, name: &AccountName) -> Result<(), Error> {
        self.change(|tx| async move {
            found(robots::delete(&tx, name).await?, name)?;
            record(&tx, actor, "robot.delete", name, json!({})).await
        })
        .await
    }

    /// The robot of that name.
    pub async fn robot(&self, name: &AccountName) -> Result<Option<RobotRow>, Error> {
        Ok(robots::find(&self.reader(), name).await?)
    }

    /// Robots of a user or an organization, by name, after `last`.
    pub async fn robots(
        &self,
        owner: &AccountName,
        last: Option<&AccountName>,
        count: usize,
    ) -> Result<Vec<RobotRow>, Error> {
        Ok(robots::list(&self.reader(), owner, last, count).await?)
    }
}

fn found(found: bool, name: &AccountName) -> Result<(), Error> {
    if found {
        return Ok(());
    }
    Err(Error::Refused(Refused::missing(Noun::Robot, name)))
}

/// In the namespace of the robot's owner: whoever looks for what has changed there looks for its robots too.
pub(super) async fn record(
    tx: &Tx,
    actor: &Actor,
    action: &'static str,
    name: &AccountName,
    detail: serde_json::Value,
) -> Result<(), Error> {
    let owner = match name.robot_owner() {
        Some(owner) => accounts::find(tx, &owner).await?,
        None => None,
    };
    let change = Change {
        namespace: owner.and_then(|owner| owner.namespace),
        detail,
        ..Change::of(action, name.as_str())
    };
    Ok(audit::record(tx, actor, &change).await?)
}

/// Since 1970, as tokens have times too.
pub(super) fn seconds(at: Option<SystemTime>) -> Option<u64> {
    let since = at?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}
