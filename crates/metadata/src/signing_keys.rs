//! The keys that tokens are signed with, sealed.

use crate::Error;
use crate::statements::statement;
use portolan_pg::{Read, Statement, Tx};

/// A key that may still verify.
#[derive(Clone)]
pub struct SigningKeyRow {
    /// Its name, `kid` in a token's header.
    pub kid: String,
    /// Its private half, sealed.
    pub sealed: Vec<u8>,
    /// Whether new tokens are signed with it.
    pub signs: bool,
}

impl std::fmt::Debug for SigningKeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeyRow")
            .field("kid", &self.kid)
            .field("signs", &self.signs)
            .finish_non_exhaustive()
    }
}

static INSERT_IF_NONE: Statement = statement!(
    "signing_keys.insert_if_none",
    [TEXT, BYTEA],
    // The unique index on the state waits for another's first key, and then this one is not needed.
    "INSERT INTO signing_key (kid, sealed, algorithm, state)
     SELECT $1, $2, 'ES256', 'signing'
     WHERE NOT EXISTS (SELECT FROM signing_key WHERE signing_key.state = 'signing')
     ON CONFLICT (state) WHERE state <> 'retired' DO NOTHING",
);

/// Makes this the signing key if there is none; false: another was first.
pub async fn insert_if_none(tx: &Tx, kid: &str, sealed: &[u8]) -> Result<bool, Error> {
    Ok(tx.execute(&INSERT_IF_NONE, &[&kid, &sealed]).await? == 1)
}

static LIST: Statement = statement!(
    "signing_keys.list",
    [],
    // A rotation leaves one retired key for the life of a token: 16 are many rotations within five minutes.
    "SELECT signing_key.kid, signing_key.sealed, signing_key.state = 'signing'
     FROM signing_key
     WHERE signing_key.verifies_until IS NULL OR signing_key.verifies_until > now()
     ORDER BY signing_key.state = 'signing' DESC, signing_key.created_at DESC
     LIMIT 16",
);

/// Every key that may still verify, the signing one first.
pub async fn list(db: &impl Read) -> Result<Vec<SigningKeyRow>, Error> {
    let rows = db.query(&LIST, &[]).await?;
    let decode = |row: &tokio_postgres::Row| {
        Ok(SigningKeyRow {
            kid: row.try_get(0)?,
            sealed: row.try_get(1)?,
            signs: row.try_get(2)?,
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("signing_key"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[&INSERT_IF_NONE, &LIST];
