//! Secrets of 256 random bits: robots' and application tokens.
//!
//! A secret is found by its hash, in one point read that also says whose it is and whether he may log in: a fleet of
//! robots that logs in at once costs one round trip. Nothing here can give a secret back.

use crate::access::in_use;
use crate::accounts::AccountName;
use crate::columns::{limit, parsed};
use crate::statements::statement;
use crate::{AccountId, CredentialId, Error, Role};
use portolan_pg::{PointRead, Read, Statement, Tx, point_statement};
use std::fmt;
use std::time::SystemTime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// What is kept of a secret: its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Wraps a hash.
    pub const fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A robot's own, of which it has one.
    Robot,
    /// One of a user's application tokens.
    Application,
}

/// Whose secret that is. One that has expired, or whose account or account's owner does not log in, is nobody's.
#[derive(Debug, Clone, Copy)]
pub struct CredentialBySecret;

/// Answer of [`CredentialBySecret`].
#[derive(Debug, Clone)]
pub struct SecretRow {
    /// Whose it is.
    pub account: AccountId,
    /// The account's generation, for the token.
    pub generation: i64,
    /// The account's name.
    pub name: AccountName,
    /// What it is for.
    pub kind: CredentialKind,
    /// Its row.
    pub credential: CredentialId,
    /// Whether it is known already that it was used within this hour.
    pub used_this_hour: bool,
}

impl PointRead for CredentialBySecret {
    type Key = SecretHash;
    type Row = SecretRow;

    const STATEMENT: Statement = point_statement!(
        "credentials.by_secret",
        [BYTEA_ARRAY],
        concat!(
            "SELECT k.ord, a.id, a.generation, a.name, c.is_robot, c.id, c.used_this_hour
         FROM unnest($1) WITH ORDINALITY AS k(secret_hash, ord)
         CROSS JOIN LATERAL (
             SELECT credential.id, credential.account_id, credential.kind = 'robot' AS is_robot,
                 coalesce(credential.last_used_at >= date_trunc('hour', now()), false) AS used_this_hour
             FROM credential
             WHERE credential.secret_hash = k.secret_hash
                 AND (credential.expires_at IS NULL OR credential.expires_at > now())
             LIMIT 1
         ) c
         CROSS JOIN LATERAL (
             SELECT account.id, account.generation, account.name
             FROM account
             WHERE account.id = c.account_id AND ",
            in_use!(),
            "
             LIMIT 1
         ) a",
        ),
    );

    /// Nobody has proven to be anybody yet: each secret is a party.
    fn party(key: &SecretHash) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&key.0[..8]);
        u64::from_le_bytes(first)
    }

    fn columns(keys: &[&SecretHash]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let hashes: Vec<Vec<u8>> = keys.iter().map(|key| key.0.to_vec()).collect();
        vec![Box::new(hashes)]
    }

    fn decode(row: &Row) -> Result<SecretRow, tokio_postgres::Error> {
        Ok(SecretRow {
            account: row.try_get(1)?,
            generation: row.try_get(2)?,
            name: parsed(row, 3)?,
            kind: if row.try_get(4)? {
                CredentialKind::Robot
            } else {
                CredentialKind::Application
            },
            credential: row.try_get(5)?,
            used_this_hour: row.try_get(6)?,
        })
    }
}

/// An application token to make.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose it will be: a user.
    pub owner: AccountName,
    /// What its owner knows it by.
    pub title: String,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
    /// What it reaches at most; `None`: all that the account may.
    pub max_role: Option<Role>,
    /// What is kept of it.
    pub secret: SecretHash,
}

static INSERT_TOKEN: Statement = statement!(
    "credentials.insert_token",
    [TEXT, TEXT, BYTEA, TIMESTAMPTZ, INT2],
    "INSERT INTO credential (account_id, kind, title, secret_hash, expires_at, max_role)
     SELECT account.id, 'application', $2, $3, $4, $5
     FROM account
     WHERE account.name = $1 AND account.kind = 'user' AND account.state <> 'removing'
     RETURNING id",
);

/// Makes an application token; `None`: there is no such user.
pub async fn create_token(tx: &Tx, new: &NewToken) -> Result<Option<CredentialId>, Error> {
    let row = tx
        .query_opt(
            &INSERT_TOKEN,
            &[
                &new.owner.as_str(),
                &new.title,
                &new.secret.as_bytes(),
                &new.expires_at,
                &new.max_role.map(number),
            ],
        )
        .await?;
    row.map(|row| row.try_get(0))
        .transpose()
        .map_err(Error::decoding("credential"))
}

const fn number(role: Role) -> i16 {
    match role {
        // No row has it; nothing can be reached by way of what the CHECK refuses.
        Role::None => 0,
        Role::Read => 1,
        Role::Write => 2,
        Role::Admin => 3,
    }
}

/// An application token as its owner sees it.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Its id.
    pub id: CredentialId,
    /// What its owner knows it by.
    pub title: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<SystemTime>,
    /// What it reaches at most.
    pub max_role: Option<Role>,
}

static LIST_TOKENS: Statement = statement!(
    "credentials.list_tokens",
    [TEXT, INT8, INT8],
    "SELECT credential.id, credential.title, credential.created_at, credential.expires_at,
         credential.last_used_at, credential.max_role
     FROM account
     JOIN credential ON credential.account_id = account.id
     WHERE account.name = $1 AND credential.kind = 'application' AND credential.id > $2
     ORDER BY credential.id
     LIMIT $3",
);

/// Application tokens of an account, oldest first, after `last`.
pub async fn list_tokens(
    db: &impl Read,
    owner: &AccountName,
    last: Option<CredentialId>,
    count: usize,
) -> Result<Vec<TokenRow>, Error> {
    let after = last.map_or(0, CredentialId::get);
    let rows = db
        .query(&LIST_TOKENS, &[&owner.as_str(), &after, &limit(count)])
        .await?;
    let decode = |row: &Row| {
        let max_role: Option<i16> = row.try_get(5)?;
        Ok(TokenRow {
            id: row.try_get(0)?,
            title: row.try_get(1)?,
            created_at: row.try_get(2)?,
            expires_at: row.try_get(3)?,
            last_used_at: row.try_get(4)?,
            max_role: max_role.map(Role::from_number),
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("credential"))
}

static DELETE_TOKEN: Statement = statement!(
    "credentials.delete_token",
    [TEXT, INT8],
    "DELETE FROM credential USING account
     WHERE credential.id = $2 AND credential.kind = 'application' AND account.id = credential.account_id
         AND account.name = $1
     RETURNING credential.title",
);

/// Deletes an application token, and returns its title; `None`: the account has none of that id.
pub async fn delete_token(
    tx: &Tx,
    owner: &AccountName,
    id: CredentialId,
) -> Result<Option<String>, Error> {
    let row = tx.query_opt(&DELETE_TOKEN, &[&owner.as_str(), &id]).await?;
    row.map(|row| row.try_get(0))
        .transpose()
        .map_err(Error::decoding("credential"))
}

static REVOKE: Statement = statement!(
    "credentials.revoke",
    [TEXT],
    "UPDATE account SET generation = generation + 1
     WHERE account.name = $1 AND account.state <> 'removing'
     RETURNING account.id, account.kind = 'organization'",
);

static REVOKE_ROBOTS: Statement = statement!(
    "credentials.revoke_robots",
    [INT8],
    "WITH robot AS MATERIALIZED (
         SELECT account.id FROM account WHERE account.owner_id = $1 ORDER BY account.id FOR NO KEY UPDATE
     )
     UPDATE account SET generation = account.generation + 1
     FROM robot WHERE account.id = robot.id",
);

/// Ends every token and session that an account has been given; of an organization, which logs in by its robots alone, those
/// of all of them. False: there is no such account.
pub async fn revoke(tx: &Tx, name: &AccountName) -> Result<bool, Error> {
    let Some(row) = tx.query_opt(&REVOKE, &[&name.as_str()]).await? else {
        return Ok(false);
    };
    let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    let (id, is_organization): (AccountId, bool) =
        read(&row).map_err(Error::decoding("account"))?;
    if is_organization {
        tx.execute(&REVOKE_ROBOTS, &[&id]).await?;
    }
    Ok(true)
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &CredentialBySecret::STATEMENT,
    &INSERT_TOKEN,
    &LIST_TOKENS,
    &DELETE_TOKEN,
    &REVOKE,
    &REVOKE_ROBOTS,
];
