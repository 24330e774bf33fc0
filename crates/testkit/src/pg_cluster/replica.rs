//! A streaming replica that a test can hold back, cut off and promote.

use std::time::Duration;

use super::{
    database::Session,
    server::{PgServer, Stop},
};
use crate::children::eventually;

/// A hot standby of a cluster's primary. Stopped when dropped; drop it before its cluster.
#[derive(Debug)]
pub struct PgReplica {
    server: PgServer,
}

impl PgReplica {
    pub(super) fn new(server: PgServer) -> Self {
        Self { server }
    }

    /// The server, for its URL, log and signals.
    pub fn server(&self) -> &PgServer {
        &self.server
    }

    /// Stops replaying: the log still arrives, but nothing of it becomes visible.
    pub async fn pause_replay(&self) {
        let session = self.session().await;
        session
            .batch_execute("SELECT pg_wal_replay_pause()")
            .await
            .expect("it is a standby");
        // Asking is not pausing: replay stops at the next record.
        eventually("replay has paused", async || {
            let state = session
                .query_one("SELECT pg_get_wal_replay_pause_state()", &[])
                .await;
            state.is_ok_and(|row| row.get::<_, &str>(0) == "paused")
        })
        .await;
    }

    /// Replays again.
    pub async fn resume_replay(&self) {
        self.run("SELECT pg_wal_replay_resume()").await;
    }

    /// Replays each commit this long after it happened. Zero ends it.
    pub async fn set_apply_delay(&self, delay: Duration) {
        let milliseconds = delay.as_millis();
        self.run(&format!(
            "ALTER SYSTEM SET recovery_min_apply_delay = '{milliseconds}ms'"
        ))
        .await;
        self.run("SELECT pg_reload_conf()").await;
        let session = self.session().await;
        eventually("the delay is in force", async || {
            let sql =
                "SELECT setting::bigint FROM pg_settings WHERE name = 'recovery_min_apply_delay'";
            let setting = session.query_one(sql, &[]).await;
            setting.is_ok_and(|row| i128::from(row.get::<_, i64>(0)) == milliseconds.cast_signed())
        })
        .await;
    }

    /// Waits until everything that `primary` has flushed by now is visible here.
    pub async fn catch_up(&self, primary: &PgServer) {
        let source = Session::open(&primary.socket_url("postgres"))
            .await
            .expect("the primary runs");
        let row = source
            .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])
            .await
            .expect("it is a primary");
        let position: String = row.get(0);
        let session = self.session().await;
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
        eventually("the replica has caught up", async || {
            let reached = session.query_one(&sql, &[]).await;
            reached.is_ok_and(|row| row.get(0))
        })
        .await;
    }

    /// Makes it a primary, and waits until it is one.
    pub async fn promote(&self) {
        self.run("SELECT pg_promote(true)").await;
    }

    /// Stops it in order.
    pub fn stop(&self) {
        self.server.stop(Stop::Fast);
    }

    /// Kills it as a power cut would.
    pub fn kill9(&self) {
        self.server.stop(Stop::Kill);
    }

    /// Starts it again on the same port.
    pub fn start_again(&self) {
        self.server.start_again();
    }

    /// Stops it at once and starts it again: what it shows may go back in time.
    pub fn restart_immediately(&self) {
        self.server.stop(Stop::Immediate);
        self.server.start_again();
    }

    async fn session(&self) -> Session {
        Session::open(&self.server.socket_url("postgres"))
            .await
            .unwrap_or_else(|error| {
                panic!(
                    "no session to the replica: {error:?}\n{}",
                    self.server.log()
                )
            })
    }

    async fn run(&self, sql: &str) {
        self.session()
            .await
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("`{sql}` failed: {error:?}"));
    }
}
