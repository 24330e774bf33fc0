//! The signing keys: whether this configuration opens them, and which of its keys it needs for that.

use super::finding::Finding;
use crate::config::Config;
use crate::wire;
use portolan_auth::SealedWith;
use portolan_pg::Router;
use portolan_registry::identity::Identity;

/// Looks at what they are sealed with.
pub(super) async fn examine(config: &Config, router: &Router) -> anyhow::Result<Finding> {
    let seal = wire::key_policy(config)?.seal;
    let keys = Identity::new(router.clone()).keys(Some(&seal)).await?;
    let sealed = |with| keys.iter().filter(|key| key.sealed == Some(with)).count();
    let (all, old, unknown) = (
        keys.len(),
        sealed(SealedWith::Old),
        sealed(SealedWith::Unknown),
    );
    Ok(if unknown > 0 {
        Finding::problem(
            "keys",
            format!("{unknown} of {all} signing keys are sealed with a key that is not configured"),
            "set `secrets.key`, or an entry of `secrets.old_keys`, to the key that they were sealed with",
        )
    } else if old > 0 {
        Finding::warning(
            "keys",
            format!("{old} of {all} signing keys are sealed with one of `secrets.old_keys`"),
            "run `portolan admin key reseal`; then the old key can go",
        )
    } else {
        Finding::good(
            "keys",
            format!("{all} signing keys are sealed with `secrets.key`"),
        )
    })
}
