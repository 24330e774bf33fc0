//! The schema's steps: embedded, applied by `portolan migrate up`, never by `serve`.
//!
//! Every step expands or contracts (see migrations/README.md), so a program works with any schema between the oldest
//! and the newest step it knows. Only one process migrates at a time: it holds an advisory lock, which belongs to the
//! session, so the URL must lead to the primary itself and not through a transaction pooler.

use crate::Error;
use crate::statements::statement;
use portolan_pg::{Read, Statement};
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::{ConnectOptions as _, Connection as _, postgres::PgConnectOptions};
use std::time::Duration;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// The oldest step that this program works with.
pub const SCHEMA_OLDEST: i64 = 12;
/// The newest step that this program knows.
pub const SCHEMA_NEWEST: i64 = 12;

/// The advisory lock of whoever migrates: "portolan" in ASCII.
const LOCK: i64 = 0x706f_7274_6f6c_616e;

/// How often somebody who waits for that lock asks for it. He must ask and not wait in a statement: an index is built
/// concurrently only once every statement that was there before has ended, his own among them.
const LOCK_PERIOD: Duration = Duration::from_millis(200);

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub description: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// Applies every step that the database does not have yet; returns those.
///
/// Waits for another process that is migrating. Dropped, it leaves the step under way undone: each is one transaction.
pub async fn up(url: &str) -> Result<Vec<Step>, Error> {
    let mut connection = connect(url).await?;
    lock(&mut connection).await?;
    let before = applied(&mut connection).await?;
    // Said by name, and not as the first step that a later program knows and this one misses.
    if let Some(found) = before
        .iter()
        .copied()
        .max()
        .filter(|found| *found > SCHEMA_NEWEST)
    {
        return Err(Error::SchemaTooNew {
            found,
            newest: SCHEMA_NEWEST,
        });
    }
    MIGRATOR.run(&mut connection).await?;
    let steps = steps(&before);
    connection.close().await?;
    Ok(steps
        .into_iter()
        .filter(|step| !step.applied)
        .map(|step| Step {
            applied: true,
            ..step
        })
        .collect())
}

/// Every step, and whether the database has it. Changes nothing.
pub async fn status(url: &str) -> Result<Vec<Step>, Error> {
    let mut connection = connect(url).await?;
    let applied = applied(&mut connection).await?;
    connection.close().await?;
    Ok(steps(&applied))
}

async fn connect(url: &str) -> Result<sqlx::PgConnection, Error> {
    let options: PgConnectOptions = with_host(url).parse()?;
    let options = options
        .application_name("portolan/migrate")
        // The role's own settings are those of a lane where a pooler stands before the registry: half a second for a
        // statement. A step may build an index for an hour, and the next waits for its lock meanwhile.
        .options([("statement_timeout", "0")])
        .disable_statement_logging();
    Ok(options.connect().await?)
}

/// Ends with the session.
async fn lock(connection: &mut sqlx::PgConnection) -> Result<(), Error> {
    let ask = || sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK);
    while !ask().fetch_one(&mut *connection).await? {
        tokio::time::sleep(LOCK_PERIOD).await;
    }
    Ok(())
}

/// A URL with a user and no host names a Unix socket in its query, for the pool; sqlx's parser wants a host beside it,
/// which the socket then overrides.
fn with_host(url: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + "://".len());
    let end = url[authority..]
        .find(['/', '?'])
        .map_or(url.len(), |at| authority + at);
    if url[authority..end].ends_with('@') {
        format!("{}localhost{}", &url[..end], &url[end..])
    } else {
        url.to_owned()
    }
}

async fn applied(connection: &mut sqlx::PgConnection) -> Result<Vec<i64>, Error> {
    let exists: Option<String> = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text")
        .fetch_one(&mut *connection)
        .await?;
    if exists.is_none() {
        return Ok(Vec::new());
    }
    let applied = connection
        .list_applied_migrations(&MIGRATOR.table_name)
        .await?;
    Ok(applied.into_iter().map(|step| step.version).collect())
}

fn steps(applied: &[i64]) -> Vec<Step> {
    MIGRATOR
        .iter()
        .map(|step| Step {
            version: step.version,
            description: step.description.to_string(),
            applied: applied.contains(&step.version),
        })
        .collect()
}

static HAS_STEPS: Statement = statement!(
    "migrate.has_steps",
    [],
    "SELECT to_regclass('_sqlx_migrations') IS NOT NULL",
);

static NEWEST: Statement = statement!(
    "migrate.newest_step",
    [],
    "SELECT newest.version, newest.success FROM _sqlx_migrations AS newest ORDER BY newest.version DESC LIMIT 1",
);

/// Whether this program can work with the database's schema; returns the newest step it has.
///
/// # Errors
/// [`Error::SchemaMissing`], [`Error::SchemaTooOld`], [`Error::SchemaTooNew`], [`Error::SchemaBroken`]: each says what
/// to do.
pub async fn check(db: &impl Read) -> Result<i64, Error> {
    let decoding = Error::decoding("_sqlx_migrations");
    if !db
        .query_one(&HAS_STEPS, &[])
        .await?
        .try_get(0)
        .map_err(&decoding)?
    {
        return Err(Error::SchemaMissing);
    }
    let row = db
        .query_opt(&NEWEST, &[])
        .await?
        .ok_or(Error::SchemaMissing)?;
    let version: i64 = row.try_get(0).map_err(&decoding)?;
    if !row.try_get::<_, bool>(1).map_err(decoding)? {
        return Err(Error::SchemaBroken { version });
    }
    if version < SCHEMA_OLDEST {
        return Err(Error::SchemaTooOld {
            found: version,
            oldest: SCHEMA_OLDEST,
        });
    }
    if version > SCHEMA_NEWEST {
        return Err(Error::SchemaTooNew {
            found: version,
            newest: SCHEMA_NEWEST,
        });
    }
    Ok(version)
}

pub(crate) static STATEMENTS: &[&Statement] = &[&HAS_STEPS, &NEWEST];

#[cfg(test)]
mod tests {
    use super::{MIGRATOR, SCHEMA_NEWEST, SCHEMA_OLDEST, with_host};

    #[test]
    fn a_socket_in_the_query_gets_a_host_beside_it() {
        for (given, expected) in [
            (
                "postgres://a@/db?host=%2Frun",
                "postgres://a@localhost/db?host=%2Frun",
            ),
            ("postgres://a:p%40@/db", "postgres://a:p%40@localhost/db"),
            ("postgres://a@", "postgres://a@localhost"),
            (
                "postgres://a@b:5/db?host=/run",
                "postgres://a@b:5/db?host=/run",
            ),
            ("postgres:///db?host=/run", "postgres:///db?host=/run"),
            ("", ""),
        ] {
            assert_eq!(with_host(given), expected);
        }
    }

    #[test]
    fn the_newest_step_known_is_the_newest_embedded() {
        let newest = MIGRATOR.iter().map(|step| step.version).max();
        assert_eq!(newest, Some(SCHEMA_NEWEST));
        assert!((1..=SCHEMA_NEWEST).contains(&SCHEMA_OLDEST));
    }
}
