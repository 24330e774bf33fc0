//! The end of a user or an organization.
//!
//! The rows stay, under names that nobody can have: repositories that are being removed are in the namespace still, and
//! the audit log tells of ids. The names are free at once. The order of locks, which is that of a repository's first
//! push: namespace, then accounts, then teams. The account itself is locked first, but not against those who refer to it.

use super::AccountName;
use super::row::{AccountKind, AccountRow, lock};
use super::users::keep_a_superuser;
use crate::refused::Refused;
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read as _, Statement, Tx};

static FREE_NAMESPACE: Statement = statement!(
    "accounts.free_namespace",
    [INT8],
    // The name is a key: this waits for first pushes that hold the namespace, and those that come after do not find it.
    "UPDATE namespace SET name = '~' || id
     WHERE namespace.owner_account_id = $1 AND namespace.name < '~'",
);

static FIND_REPOSITORY: Statement = statement!(
    "accounts.find_repository",
    [INT8],
    "SELECT repository.id
     FROM namespace
     JOIN repository ON repository.namespace_id = namespace.id
     WHERE namespace.owner_account_id = $1 AND repository.state = 'active' AND repository.path < '~'
     LIMIT 1",
);

static REMOVE: Statement = statement!(
    "accounts.remove",
    [INT8],
    "UPDATE account
     SET state = 'removing', name = '~' || id, generation = generation + 1, password_hash = NULL, email = NULL,
         email_verified = false, superuser = false, read_only_superuser = false
     WHERE account.id = $1",
);

static REMOVE_TEAMS: Statement = statement!(
    "accounts.remove_teams",
    [INT8],
    "DELETE FROM team WHERE team.organization_id = $1",
);

static REMOVE_ROBOTS: Statement = statement!(
    "accounts.remove_robots",
    [INT8],
    "UPDATE account SET state = 'removing', name = '~' || id, generation = generation + 1
     WHERE account.owner_id = $1 AND account.state <> 'removing'
     RETURNING id",
);

// What was inserted by those who held the accounts is seen by this: it is a statement of its own.
static FORGET: Statement = statement!(
    "accounts.forget",
    [INT8_ARRAY],
    "WITH
     credentials AS (DELETE FROM credential WHERE credential.account_id = ANY ($1)),
     memberships AS (DELETE FROM membership WHERE membership.account_id = ANY ($1)),
     permissions AS (DELETE FROM permission WHERE permission.account_id = ANY ($1)),
     defaults AS (
         DELETE FROM default_permission
         WHERE default_permission.account_id = ANY ($1) OR default_permission.creator_id = ANY ($1)
     ),
     identities AS (DELETE FROM external_identity WHERE external_identity.account_id = ANY ($1)),
     rules AS (DELETE FROM federation_rule WHERE federation_rule.account_id = ANY ($1)),
     sessions AS (DELETE FROM session WHERE session.account_id = ANY ($1)),
     lockouts AS (DELETE FROM lockout WHERE lockout.account_id = ANY ($1)),
     recoveries AS (DELETE FROM recovery WHERE recovery.account_id = ANY ($1))
     UPDATE repository SET mirror_account_id = NULL WHERE repository.mirror_account_id = ANY ($1)",
);

/// What was removed.
#[derive(Debug, Clone)]
pub struct Removal {
    /// The account, as it was.
    pub account: AccountRow,
    /// How many robots went with it.
    pub robots: usize,
    /// How many teams.
    pub teams: u64,
}

/// Removes a user or an organization with its robots, teams, credentials and rights; all its tokens end, and its name is
/// free.
///
/// # Errors
/// [`Refused::Missing`], [`Refused::LastSuperuser`], and [`Refused::HasRepositories`] while it has any.
pub async fn remove(tx: &Tx, name: &AccountName, kind: AccountKind) -> Result<Removal, Error> {
    if kind == AccountKind::User {
        keep_a_superuser(tx, name).await?;
    }
    let account = lock(tx, name, kind).await?;
    tx.execute(&FREE_NAMESPACE, &[&account.id]).await?;
    if tx
        .query_opt(&FIND_REPOSITORY, &[&account.id])
        .await?
        .is_some()
    {
        return Err(Refused::HasRepositories.into());
    }
    tx.execute_one(&REMOVE, &[&account.id]).await?;
    let teams = tx.execute(&REMOVE_TEAMS, &[&account.id]).await?;
    let rows = tx.query(&REMOVE_ROBOTS, &[&account.id]).await?;
    let mut gone: Vec<AccountId> = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("account"))?;
    let robots = gone.len();
    gone.push(account.id);
    forget(tx, &gone).await?;
    Ok(Removal {
        account,
        robots,
        teams,
    })
}

/// Deletes every right of accounts that are removed, and every way in.
pub(crate) async fn forget(tx: &Tx, accounts: &[AccountId]) -> Result<(), Error> {
    tx.execute(&FORGET, &[&accounts]).await?;
    Ok(())
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &FREE_NAMESPACE,
    &FIND_REPOSITORY,
    &REMOVE,
    &REMOVE_TEAMS,
    &REMOVE_ROBOTS,
    &FORGET,
];
