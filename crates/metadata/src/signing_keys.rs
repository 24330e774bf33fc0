//! The keys that tokens are signed with, sealed.

use crate::Error;
use crate::columns::seconds;
use crate::statements::statement;
use portolan_pg::{Read, Statement, Tx};
use std::time::Duration;

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

/// What a key is for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Every process learns it before it signs.
    Next,
    /// New tokens are signed with it.
    Signing,
    /// It verifies what it signed, for a while.
    Retired,
}

impl KeyState {
    /// The word in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Retired => "retired",
        }
    }
}

/// A key as an administrator sees it.
#[derive(Clone)]
pub struct KeyRow {
    /// Its name.
    pub kid: String,
    /// What it is for.
    pub state: KeyState,
    /// How long it is here.
    pub age: Duration,
    /// When it was made, as RFC 3339 has it.
    pub created_at: String,
    /// How long a retired one verifies still.
    pub verifies_for: Option<Duration>,
    /// Its private half, sealed.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for KeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRow")
            .field("kid", &self.kid)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

macro_rules! all_keys {
    ($lock:literal) => {
        concat!(
            "SELECT signing_key.kid, signing_key.state, extract(epoch FROM now() - signing_key.created_at)::float8,
                 to_char(signing_key.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                 extract(epoch FROM signing_key.verifies_until - now())::float8, signing_key.sealed
             FROM signing_key
             ORDER BY signing_key.kid",
            $lock
        )
    };
}

static ALL: Statement = statement!("signing_keys.all", [], all_keys!(""));

static LOCK: Statement = statement!("signing_keys.lock", [], all_keys!(" FOR UPDATE"));

/// Every key there is, those that verify nothing any more too.
pub async fn all(db: &impl Read) -> Result<Vec<KeyRow>, Error> {
    decoded(&db.query(&ALL, &[]).await?)
}

/// The same, and nobody else changes one until this transaction has ended.
pub async fn lock(tx: &Tx) -> Result<Vec<KeyRow>, Error> {
    tx.query(&LOCK, &[]).await?;
    // Whoever was waited for may have made one, which the statement that waited does not see.
    all(tx).await
}

fn decoded(rows: &[tokio_postgres::Row]) -> Result<Vec<KeyRow>, Error> {
    let lasting = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    let decode = |row: &tokio_postgres::Row| {
        Ok(KeyRow {
            kid: row.try_get(0)?,
            state: match row.try_get::<_, &str>(1)? {
                "next" => KeyState::Next,
                "signing" => KeyState::Signing,
                _ => KeyState::Retired,
            },
            age: lasting(row.try_get(2)?),
            created_at: row.try_get(3)?,
            verifies_for: row.try_get::<_, Option<f64>>(4)?.map(lasting),
            sealed: row.try_get(5)?,
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("signing_key"))
}

static INSERT_NEXT: Statement = statement!(
    "signing_keys.insert_next",
    [TEXT, BYTEA],
    "INSERT INTO signing_key (kid, sealed, algorithm, state) VALUES ($1, $2, 'ES256', 'next')
     ON CONFLICT (state) WHERE state <> 'retired' DO NOTHING",
);

/// Publishes a key that will sign; false: there is one already.
pub async fn insert_next(tx: &Tx, kid: &str, sealed: &[u8]) -> Result<bool, Error> {
    Ok(tx.execute(&INSERT_NEXT, &[&kid, &sealed]).await? == 1)
}

static RETIRE: Statement = statement!(
    "signing_keys.retire",
    [TEXT, FLOAT8],
    "UPDATE signing_key SET state = 'retired', verifies_until = now() + make_interval(secs => $2)
     WHERE signing_key.kid = $1",
);

/// Signs no more with a key, and verifies with it for that long; false: there is none of that name.
pub async fn retire(tx: &Tx, kid: &str, verifies_for: Duration) -> Result<bool, Error> {
    Ok(tx.execute(&RETIRE, &[&kid, &seconds(verifies_for)]).await? == 1)
}

static PROMOTE: Statement = statement!(
    "signing_keys.promote",
    [TEXT],
    "UPDATE signing_key SET state = 'signing' WHERE signing_key.kid = $1 AND signing_key.state = 'next'",
);

/// Signs with the key that was next. The one that signed was retired before.
pub async fn promote(tx: &Tx, kid: &str) -> Result<(), Error> {
    Ok(tx.execute_one(&PROMOTE, &[&kid]).await?)
}

static DELETE_ENDED: Statement = statement!(
    "signing_keys.delete_ended",
    [],
    "DELETE FROM signing_key WHERE signing_key.state = 'retired' AND signing_key.verifies_until <= now()",
);

/// Deletes the keys that verify nothing any more; returns how many.
pub async fn delete_ended(tx: &Tx) -> Result<u64, Error> {
    Ok(tx.execute(&DELETE_ENDED, &[]).await?)
}

static DELETE: Statement = statement!(
    "signing_keys.delete",
    [TEXT],
    "DELETE FROM signing_key WHERE signing_key.kid = $1",
);

/// Deletes a key, and what it signed verifies no more; false: there is none of that name.
pub async fn delete(tx: &Tx, kid: &str) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE, &[&kid]).await? == 1)
}

static RESEAL: Statement = statement!(
    "signing_keys.reseal",
    [TEXT, BYTEA],
    "UPDATE signing_key SET sealed = $2 WHERE signing_key.kid = $1",
);

/// Gives a key that this transaction has locked another sealed form.
pub async fn reseal(tx: &Tx, kid: &str, sealed: &[u8]) -> Result<(), Error> {
    Ok(tx.execute_one(&RESEAL, &[&kid, &sealed]).await?)
}

pub(crate) static STATEMENTS: &[&Statement] = &[
    &INSERT_IF_NONE,
    &LIST,
    &ALL,
    &LOCK,
    &INSERT_NEXT,
    &RETIRE,
    &PROMOTE,
    &DELETE_ENDED,
    &DELETE,
    &RESEAL,
];
