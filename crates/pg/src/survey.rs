//! What the primary says of itself and of our sessions: for the start of a process, and for whoever looks after it.

use std::num::NonZeroU32;

use tokio_postgres::Row;

use crate::{
    budget::{Budget, Limit, Room},
    error::Error,
    policy::APPLICATION_PREFIX,
    router::Router,
    session::{self, WrongSetting},
    statement::{Read, Statement},
};

static SERVER: Statement = Statement {
    name: "pg.survey_server",
    sql: "
SELECT current_setting('server_version') AS version
     , session_user::text AS role
     , current_database()::text AS database
     -- NULL where no schema of the path is there, or none is granted.
     , coalesce(current_schema()::text, 'public') AS schema
     , current_setting('max_connections')::bigint
       - current_setting('superuser_reserved_connections')::bigint
       -- Since Postgres 16.
       - coalesce(current_setting('reserved_connections', true), '0')::bigint AS server_most
       -- -1 is none; and a superuser is not bound by these two.
     , CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END::bigint AS role_most
     , CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END::bigint AS database_most
     , current_setting('synchronous_standby_names') AS synchronous_standbys
FROM pg_catalog.pg_roles AS r
   , pg_catalog.pg_database AS d
WHERE r.rolname = session_user AND d.datname = current_database()",
    types: &[],
};

static SESSIONS: Statement = Statement {
    name: "pg.survey_sessions",
    sql: "
SELECT count(*) FILTER (WHERE ours) AS live
     , count(*) FILTER (WHERE NOT ours) AS others
     , count(*) FILTER (WHERE NOT ours AND usename = session_user) AS others_of_role
     , count(*) FILTER (WHERE NOT ours AND datname = current_database()) AS others_in_database
FROM (
    SELECT a.usename, a.datname
         , a.datname = current_database() AND starts_with(coalesce(a.application_name, ''), $1) AS ours
    FROM pg_catalog.pg_stat_activity AS a
    -- The type of other roles' sessions is hidden from a role without pg_read_all_stats.
    WHERE a.datname IS NOT NULL AND coalesce(a.backend_type, 'client backend') = 'client backend'
) AS session",
    types: &[tokio_postgres::types::Type::TEXT],
};

static SETTINGS: Statement = Statement {
    name: "pg.survey_settings",
    // Not what this transaction has set for itself, but what the session began with.
    sql: "SELECT name, reset_val FROM pg_catalog.pg_settings WHERE reset_val IS NOT NULL",
    types: &[],
};

/// What was found. Each part has a message of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The server's version, as it writes it.
    pub version: String,
    /// The role that our sessions have.
    pub role: String,
    /// The most sessions that the role may have, if it is bound.
    pub role_limit: Option<u64>,
    /// The database they are in.
    pub database: String,
    /// Where its tables are.
    pub schema: String,
    /// Whether the fleet's connections fit.
    pub budget: Budget,
    /// What the sessions have that they must not. Behind a pooler these are the role's settings.
    pub wrong_settings: Vec<WrongSetting>,
    /// What a COMMIT waits for.
    pub durability: Durability,
}

/// Where a change is when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On the primary's disk and on a standby.
    SynchronousStandby,
    /// On the primary's disk alone: a fail-over may lose what was acknowledged shortly before.
    PrimaryAlone,
}

impl Router {
    /// Asks the primary who it is, whether `processes` like this one fit, and whether the sessions are as they must be.
    /// Takes its connection from the housekeeping share.
    ///
    /// Cancel safe: whoever goes away leaves the queue, or a connection that is given back.
    pub async fn survey(&self, processes: NonZeroU32) -> Result<Survey, Error> {
        let primary = self.read_primary().await?;
        let server = primary.query_one(&SERVER, &[]).await?;
        let sessions = primary.query_one(&SESSIONS, &[&APPLICATION_PREFIX]).await?;
        let settings = primary.query(&SETTINGS, &[]).await?;
        drop(primary);
        self.read(processes, &server, &sessions, &settings)
            .map_err(|source| Error::Decode {
                name: "pg.survey",
                source: std::sync::Arc::new(source),
            })
    }

    fn read(
        &self,
        processes: NonZeroU32,
        server: &Row,
        sessions: &Row,
        settings: &[Row],
    ) -> Result<Survey, tokio_postgres::Error> {
        let policy = self.policy();
        let (role, database): (String, String) =
            (server.try_get("role")?, server.try_get("database")?);
        let count = |name: &str| -> Result<u64, _> {
            let count: i64 = sessions.try_get(name)?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        let mut rooms = Vec::new();
        for (limit, most, others) in [
            (Limit::Server, "server_most", "others"),
            (Limit::Role, "role_most", "others_of_role"),
            (Limit::Database, "database_most", "others_in_database"),
        ] {
            let most: i64 = server.try_get(most)?;
            if let Ok(most) = u64::try_from(most) {
                let others = count(others)?;
                rooms.push(Room {
                    limit,
                    most,
                    others,
                });
            }
        }
        let budget = Budget::new(
            processes,
            policy.shares.total(),
            &rooms,
            count("live")?,
            count("others")?,
            policy.pooler,
        );
        let setting = |name: &str| {
            let value = |row: &Row| (row.get::<_, &str>(0) == name).then(|| row.get(1));
            settings.iter().find_map(value)
        };
        let role_most: i64 = server.try_get("role_most")?;
        let names: &str = server.try_get("synchronous_standbys")?;
        Ok(Survey {
            version: server.try_get("version")?,
            role_limit: u64::try_from(role_most).ok(),
            budget,
            wrong_settings: session::wrong_settings(&policy.limits, &role, &database, setting),
            durability: if names.trim().is_empty() {
                Durability::PrimaryAlone
            } else {
                Durability::SynchronousStandby
            },
            role,
            database,
            schema: server.try_get("schema")?,
        })
    }
}
