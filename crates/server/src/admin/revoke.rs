//! `portolan admin revoke`.

use super::desk::Desk;
use portolan_metadata::accounts::AccountName;
use serde::Serialize;
use std::fmt;

/// Whose tokens to end.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// A user or a robot. What it logs in with goes on; `token delete`, `robot regenerate` and `user set-password` end that.
    account: AccountName,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Revoked {
    account: String,
    revoked: bool,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "all tokens of `{}` have ended", self.account)
    }
}

/// Ends them.
pub(super) async fn run(desk: &Desk, revoke: Revoke) -> anyhow::Result<()> {
    desk.identity.revoke(&desk.actor, &revoke.account).await?;
    let revoked = Revoked {
        account: revoke.account.to_string(),
        revoked: true,
    };
    desk.show(&revoked)
}
