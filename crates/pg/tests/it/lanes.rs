//! The lanes: who waits for whom, who does not, and how many may wait.

mod answers;
mod isolation;
mod loss;
mod queue;

use portolan_pg::{Error, PointRead, Policy, Router, Statement, point_statement};
use portolan_testkit::{children::eventually, pg_cluster::Session};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_postgres::{Row, types::ToSql};

use crate::support::{World, policy};

/// A read that is under way until the test lets it go: it waits for an advisory lock of the number that is its key.
#[derive(Debug)]
struct Held;

impl PointRead for Held {
    type Key = i64;
    type Row = i64;

    const STATEMENT: Statement = point_statement!(
        "test.held",
        [INT8_ARRAY],
        "SELECT k.ord, k.lock FROM unnest($1::bigint[]) WITH ORDINALITY AS k (lock, ord) \
         CROSS JOIN LATERAL (SELECT pg_advisory_xact_lock_shared(k.lock) LIMIT 1) AS t",
    );

    fn party(_: &i64) -> u64 {
        0
    }

    fn columns(keys: &[&i64]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let keys: Vec<i64> = keys.iter().map(|&key| *key).collect();
        vec![Box::new(keys)]
    }

    fn decode(row: &Row) -> Result<i64, tokio_postgres::Error> {
        row.try_get(1)
    }
}

/// Lanes whose statements may wait as long as a test does, and of which the first does all the work.
fn patient() -> Policy {
    let mut policy = policy();
    policy.limits.lane = Duration::from_mins(1);
    policy.acquire.read = Duration::from_mins(1);
    policy.lanes.help_after = Duration::from_mins(1);
    policy
}

/// A cycle of the first lane that is under way, so that keys gather behind it.
struct Cycle<'a> {
    outside: &'a Session,
    reader: JoinSet<Result<(), Error>>,
}

impl<'a> Cycle<'a> {
    async fn begin(world: &'a World) -> Self {
        lock(&world.outside, 1).await;
        let mut reader = JoinSet::new();
        let router = world.router.clone();
        reader.spawn(async move { router.read_fresh::<Held>(1).await.map(drop) });
        held_up(&world.outside, 1).await;
        let outside = &world.outside;
        Self { outside, reader }
    }

    async fn end(mut self) {
        unlock(self.outside, 1).await;
        self.reader.join_next().await.unwrap().unwrap().unwrap();
    }
}

async fn lock(outside: &Session, number: i64) {
    let sql = "SELECT pg_advisory_lock($1)";
    outside.query_one(sql, &[&number]).await.unwrap();
}

async fn unlock(outside: &Session, number: i64) {
    let sql = "SELECT pg_advisory_unlock($1)";
    let row = outside.query_one(sql, &[&number]).await.unwrap();
    assert!(row.get::<_, bool>(0), "it was locked");
}

/// Waits until `sessions` of ours wait for a lock.
async fn held_up(outside: &Session, sessions: i64) {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("a statement is held up", async || {
        let row = outside.query_one(sql, &[]).await.unwrap();
        row.get::<_, i64>(0) == sessions
    })
    .await;
}

/// A key, and what became of it.
type Asked<R> = (
    <R as PointRead>::Key,
    Result<Option<<R as PointRead>::Row>, Error>,
);

/// Asks for every key at once, each in a task of its own.
fn ask_all<R: PointRead>(
    router: &Router,
    keys: impl IntoIterator<Item = R::Key>,
) -> JoinSet<Asked<R>> {
    let mut asked = JoinSet::new();
    for key in keys {
        let router = router.clone();
        asked.spawn(async move {
            let answer = router.read_fresh::<R>(key.clone()).await;
            (key, answer.map(|served| served.value))
        });
    }
    asked
}
