//! The administrator whom the configuration names: made at the first start, and given his password anew by the quickstart.

use super::password::hash;
use crate::config::Admin;
use anyhow::Context as _;
use portolan_metadata::accounts::{self, AccountName};
use portolan_metadata::{Refused, read_only};
use portolan_pg::Router;
use portolan_registry::Error;
use portolan_registry::identity::{Actor, Identity};
use rand::rngs::StdRng;

/// Makes the configured administrator's account if nobody has its name; an existing one is left as it is.
pub(crate) async fn ensure_account(
    admin: &Admin,
    router: &Router,
    random: &mut StdRng,
) -> anyhow::Result<()> {
    let (Some(name), Some(password)) = (&admin.username, &admin.password) else {
        return Ok(());
    };
    let name: AccountName = name
        .parse()
        .with_context(|| format!("`admin.username`: `{name}`"))?;
    // The hash costs 20 ms and is needed once in the life of an installation.
    let primary = router.read_primary().await?;
    let exists = accounts::find(&primary, &name).await?.is_some();
    drop(primary);
    if exists {
        return Ok(());
    }
    if read_only::current(&router.read_primary().await?)
        .await?
        .is_some()
    {
        // A process that is started anew must serve pulls; the account is made at a later start.
        tracing::warn!(
            account = name.as_str(),
            "the registry is in read-only mode: the administrator's account `{name}` is not made"
        );
        return Ok(());
    }
    let hash = hash(password.clone(), random).await?;
    let made = Identity::new(router.clone())
        .ensure_administrator(&Actor::system("start"), &name, &hash)
        .await?;
    if made {
        tracing::info!(
            account = name.as_str(),
            "made the administrator's account `{name}`"
        );
    }
    Ok(())
}

/// Gives the configured administrator the configured password, if the account exists; its tokens end.
pub(crate) async fn reset_password(
    admin: &Admin,
    router: &Router,
    random: &mut StdRng,
) -> anyhow::Result<()> {
    let (Some(name), Some(password)) = (&admin.username, &admin.password) else {
        return Ok(());
    };
    let name: AccountName = name
        .parse()
        .with_context(|| format!("`admin.username`: `{name}`"))?;
    let hash = hash(password.clone(), random).await?;
    let identity = Identity::new(router.clone());
    match identity
        .set_password(&Actor::system("quickstart"), &name, &hash)
        .await
    {
        // It is made with this password when the registry starts.
        Err(Error::Refused(Refused::Missing { .. })) => Ok(()),
        done => Ok(done?),
    }
}
