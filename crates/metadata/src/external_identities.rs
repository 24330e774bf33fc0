//! Who somebody is at a provider of single sign-on, and which teams his groups there put him into.
//!
//! Nobody is found by a name or an address that a provider says: only by the subject, which it never gives to another.
//! The one exception is an address that was verified on both sides, where the operator wants that.

use crate::accounts::AccountName;
use crate::columns::parsed;
use crate::statements::statement;
use crate::{AccountId, Error, NamespaceId, TeamId};
use portolan_pg::{Read, Statement, Tx};
use std::time::SystemTime;
use tokio_postgres::Row;

/// An account that somebody at a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// Which.
    pub account: AccountId,
    /// Its generation, for tokens and sessions.
    pub generation: i64,
    /// Its name.
    pub name: AccountName,
    /// Whether it may log in.
    pub active: bool,
    /// Whether it may everything.
    pub superuser: bool,
    /// Of when what the provider said is that this follows from, and his teams; `None`: nothing has followed yet.
    pub told_at: Option<SystemTime>,
}

fn person(row: &Row) -> Result<PersonRow, tokio_postgres::Error> {
    Ok(PersonRow {
        account: row.try_get(0)?,
        generation: row.try_get(1)?,
        name: parsed(row, 2)?,
        active: row.try_get(3)?,
        superuser: row.try_get(4)?,
        told_at: row.try_get(5)?,
    })
}

macro_rules! find {
    ($lock:literal) => {
        concat!(
            "SELECT account.id, account.generation, account.name, account.state = 'active', account.superuser,
                 external_identity.told_at
             FROM external_identity
             JOIN account ON account.id = external_identity.account_id
             WHERE external_identity.provider = $1 AND external_identity.subject = $2",
            $lock,
        )
    };
}

static FIND: Statement = statement!("external_identities.find", [TEXT, TEXT], find!(""));

/// Who `subject` of `provider` is.
pub async fn find(
    db: &impl Read,
    provider: &str,
    subject: &str,
) -> Result<Option<PersonRow>, Error> {
    decoded(db.query_opt(&FIND, &[&provider, &subject]).await?.as_ref())
}

static LOCK: Statement = statement!(
    "external_identities.lock",
    [TEXT, TEXT],
    find!(" FOR NO KEY UPDATE OF account, external_identity"),
);

/// The same, and nobody else changes what his groups give him before this transaction ends.
pub async fn lock(tx: &Tx, provider: &str, subject: &str) -> Result<Option<PersonRow>, Error> {
    decoded(tx.query_opt(&LOCK, &[&provider, &subject]).await?.as_ref())
}

// Who can have his tokens ended by an address has shown that it is his. Case is that of the index, ASCII's: to the database's
// own locale other letters may be the same, and so somebody else's address.
static LOCK_BY_EMAIL: Statement = statement!(
    "external_identities.lock_by_email",
    [TEXT],
    "SELECT account.id, account.generation, account.name, account.state = 'active', account.superuser,
         NULL::timestamptz
     FROM account
     WHERE lower(account.email) = lower($1 COLLATE \"C\") AND account.email IS NOT NULL AND account.email_verified
         AND account.kind = 'user'
     FOR NO KEY UPDATE",
);

/// The user who has shown that this address is his.
pub async fn lock_by_email(tx: &Tx, email: &str) -> Result<Option<PersonRow>, Error> {
    decoded(tx.query_opt(&LOCK_BY_EMAIL, &[&email]).await?.as_ref())
}

fn decoded(row: Option<&Row>) -> Result<Option<PersonRow>, Error> {
    row.map(person)
        .transpose()
        .map_err(Error::decoding("account"))
}

static INSERT: Statement = statement!(
    "external_identities.insert",
    [INT8, TEXT, TEXT, TIMESTAMPTZ],
    "INSERT INTO external_identity (account_id, provider, subject, told_at) VALUES ($1, $2, $3, $4)
     ON CONFLICT (provider, subject) DO NOTHING",
);

/// From now on `subject` of `provider`, which said so at `told_at`, is this account; false: it is one already.
pub async fn insert(
    tx: &Tx,
    account: AccountId,
    provider: &str,
    subject: &str,
    told_at: SystemTime,
) -> Result<bool, Error> {
    Ok(tx
        .execute(&INSERT, &[&account, &provider, &subject, &told_at])
        .await?
        == 1)
}

static TELL: Statement = statement!(
    "external_identities.tell",
    [TEXT, TEXT, TIMESTAMPTZ],
    "UPDATE external_identity SET told_at = $3
     WHERE external_identity.provider = $1 AND external_identity.subject = $2",
);

/// Something has followed from what `provider` said of `subject` at that time; the row is locked.
pub async fn tell(
    tx: &Tx,
    provider: &str,
    subject: &str,
    told_at: SystemTime,
) -> Result<(), Error> {
    tx.execute_one(&TELL, &[&provider, &subject, &told_at])
        .await?;
    Ok(())
}

// An address that somebody has stays his: the new account does without.
static MAKE: Statement = statement!(
    "external_identities.make_user",
    [TEXT, TEXT],
    "INSERT INTO account (kind, name, email, email_verified)
     SELECT 'user', $1, free.email, free.email IS NOT NULL
     FROM (
         SELECT CASE
             WHEN EXISTS (
                 SELECT FROM account AS other WHERE lower(other.email) = lower($2 COLLATE \"C\") AND other.email IS NOT NULL
             ) THEN NULL
             ELSE $2
         END AS email
     ) AS free
     ON CONFLICT DO NOTHING
     RETURNING account.id, account.generation",
);

static MAKE_NAMESPACE: Statement = statement!(
    "external_identities.make_namespace",
    [TEXT, INT8],
    "INSERT INTO namespace (name, owner_account_id) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
);

/// Makes a user without a password, and the namespace of the same name. `email` is one that the provider has verified.
///
/// # Errors
/// [`Error::NameTaken`] where either is somebody's already, or the name is a robot's.
pub async fn make_user(
    tx: &Tx,
    name: &AccountName,
    email: Option<&str>,
) -> Result<PersonRow, Error> {
    if name.is_robot() {
        return Err(Error::NameTaken);
    }
    let row = tx.query_opt(&MAKE, &[&name.as_str(), &email]).await?;
    let row = row.ok_or(Error::NameTaken)?;
    let decode = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    let (account, generation) = decode(&row).map_err(Error::decoding("account"))?;
    if tx
        .execute(&MAKE_NAMESPACE, &[&name.as_str(), &account])
        .await?
        == 0
    {
        return Err(Error::NameTaken);
    }
    Ok(PersonRow {
        account,
        generation,
        name: name.clone(),
        active: true,
        superuser: false,
        told_at: None,
    })
}

static SET_SUPERUSER: Statement = statement!(
    "external_identities.set_superuser",
    [INT8, BOOL],
    "UPDATE account SET superuser = $2
     WHERE account.id = $1 AND account.superuser <> $2",
);

/// Whether the account may everything from now on; false: nothing was changed. That there is another one who may is its
/// caller's to see to.
pub async fn set_superuser(tx: &Tx, account: AccountId, superuser: bool) -> Result<bool, Error> {
    Ok(tx.execute(&SET_SUPERUSER, &[&account, &superuser]).await? == 1)
}

static GROUPS_DIFFER: Statement = statement!(
    "external_identities.groups_differ",
    [INT8, TEXT, TEXT_ARRAY],
    "SELECT EXISTS (
             SELECT FROM membership
             WHERE membership.account_id = $1 AND membership.provider = $2
                 AND NOT EXISTS (
                     SELECT FROM team_group
                     WHERE team_group.team_id = membership.team_id AND team_group.provider = $2
                         AND team_group.group_name = ANY ($3)
                 )
         ) OR EXISTS (
             SELECT FROM team_group
             WHERE team_group.provider = $2 AND team_group.group_name = ANY ($3)
                 AND NOT EXISTS (
                     SELECT FROM membership
                     WHERE membership.account_id = $1 AND membership.team_id = team_group.team_id
                 )
         )",
);

/// Whether [`follow_groups`] would change anything.
pub async fn groups_differ(
    db: &impl Read,
    account: AccountId,
    provider: &str,
    groups: &[String],
) -> Result<bool, Error> {
    let row = db
        .query_one(&GROUPS_DIFFER, &[&account, &provider, &groups])
        .await?;
    row.try_get(0).map_err(Error::decoding("membership"))
}

/// A team that somebody has come into or gone out of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub team: TeamId,
    /// As it is written: `acme/developers`.
    pub path: String,
    /// The namespace of its organization.
    pub namespace: Option<NamespaceId>,
    /// Whether he is in it now.
    pub joined: bool,
}

static FOLLOW: Statement = statement!(
    "external_identities.follow_groups",
    [INT8, TEXT, TEXT_ARRAY],
    "
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT held.team_id
    FROM (
        -- Whoever lets a team follow a group no longer waits, and takes out who came by it.
        SELECT team_group.team_id FROM team_group
        WHERE team_group.provider = $2 AND team_group.group_name = ANY ($3)
        FOR KEY SHARE
    ) AS held
), gone AS (
    DELETE FROM membership
    WHERE membership.account_id = $1 AND membership.provider = $2
        AND NOT EXISTS (SELECT FROM wanted WHERE wanted.team_id = membership.team_id)
    RETURNING membership.team_id
), come AS (
    INSERT INTO membership (account_id, team_id, provider)
    SELECT $1, wanted.team_id, $2 FROM wanted
    ON CONFLICT (account_id, team_id) DO NOTHING
    RETURNING membership.team_id
)
SELECT moved.team_id, organization.name || '/' || team.name, moved.joined,
    (SELECT min(namespace.id) FROM namespace WHERE namespace.owner_account_id = team.organization_id)
FROM (
    SELECT come.team_id, true AS joined FROM come
    UNION ALL
    SELECT gone.team_id, false FROM gone
) AS moved
CROSS JOIN LATERAL (
    SELECT team.name, team.organization_id FROM team WHERE team.id = moved.team_id LIMIT 1
) AS team
CROSS JOIN LATERAL (
    SELECT account.name FROM account WHERE account.id = team.organization_id LIMIT 1
) AS organization",
);

/// Puts the account into the teams that `groups` of `provider` stand for, and takes it out of those that groups of the
/// same provider put it into and that are no longer among them. What a person did is left alone.
pub async fn follow_groups(
    tx: &Tx,
    account: AccountId,
    provider: &str,
    groups: &[String],
) -> Result<Vec<Move>, Error> {
    let rows = tx.query(&FOLLOW, &[&account, &provider, &groups]).await?;
    let decode = |row: &Row| {
        Ok(Move {
            team: row.try_get(0)?,
            path: row.try_get(1)?,
            joined: row.try_get(2)?,
            namespace: row.try_get(3)?,
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("membership"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &FIND,
    &LOCK,
    &LOCK_BY_EMAIL,
    &INSERT,
    &TELL,
    &MAKE,
    &MAKE_NAMESPACE,
    &SET_SUPERUSER,
    &GROUPS_DIFFER,
    &FOLLOW,
];
