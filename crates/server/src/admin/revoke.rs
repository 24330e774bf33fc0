//! `portolan admin revoke`.

use super::desk::Desk;
use portolan_metadata::accounts::AccountName;

/// Whose tokens to end.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// A user, a robot, or an organization for all of its robots. What it logs in with goes on; `token delete`, `robot regenerate` and `user set-password` end that.
    account: AccountName,
}

/// Ends them.
pub(super) async fn run(desk: &Desk, revoke: Revoke) -> anyhow::Result<()> {
    let name = revoke.account;
    desk.identity.revoke(&desk.actor, &name).await?;
    desk.done(format!("all tokens of `{name}` have ended"))
}
