//! `portolan admin revoke`.

use super::who::actor;
use crate::output::{self, Format};
use portolan_metadata::accounts::AccountName;
use portolan_pg::Router;
use portolan_registry::identity::Identity;
use serde::Serialize;
use std::fmt;

/// Whose tokens to end.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// A user or a robot. What it logs in with goes on; `token delete`, `robot regenerate` and `user set-password` end that.
    account: AccountName,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
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
pub(super) async fn run(router: &Router, revoke: Revoke) -> anyhow::Result<()> {
    let identity = Identity::new(router.clone());
    identity.revoke(&actor(), &revoke.account).await?;
    let revoked = Revoked {
        account: revoke.account.to_string(),
        revoked: true,
    };
    Ok(output::print(&revoked, revoke.output)?)
}
