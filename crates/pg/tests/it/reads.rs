//! Point reads and lists.

use std::time::Duration;

use portolan_pg::{
    CloseReason, Error, PointRead, PrimaryReason, Read, Served, ServedBy, Statement,
    point_statement,
};
use tokio_postgres::{Row, types::ToSql};

use crate::support::{COUNT, INSERT, ItemSize, SLEEP, World, backend, insert, policy};

/// Sleeps as many seconds as its key says milliseconds.
#[derive(Debug)]
struct Slow;

impl PointRead for Slow {
    type Key = i32;
    type Row = i32;

    const STATEMENT: Statement = point_statement!(
        "test.slow",
        [INT4_ARRAY],
        "SELECT k.ord, k.ms FROM unnest($1::int[]) WITH ORDINALITY AS k (ms, ord) \
         CROSS JOIN LATERAL (SELECT pg_sleep(k.ms / 1000.0) LIMIT 1) AS t",
    );

    fn party(_: &i32) -> u64 {
        0
    }

    fn columns(keys: &[&i32]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let keys: Vec<i32> = keys.iter().map(|&key| *key).collect();
        vec![Box::new(keys)]
    }

    fn decode(row: &Row) -> Result<i32, tokio_postgres::Error> {
        row.try_get(1)
    }
}

/// Expects a number where there is none.
#[derive(Debug)]
struct Misread;

impl PointRead for Misread {
    type Key = i32;
    type Row = i64;

    const STATEMENT: Statement = point_statement!(
        "test.misread",
        [INT4_ARRAY],
        "SELECT k.ord, 'text' FROM unnest($1::int[]) WITH ORDINALITY AS k (a, ord)",
    );

    fn party(_: &i32) -> u64 {
        0
    }

    fn columns(keys: &[&i32]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        Slow::columns(keys)
    }

    fn decode(row: &Row) -> Result<i64, tokio_postgres::Error> {
        row.try_get(1)
    }
}

#[tokio::test]
async fn a_point_read_finds_its_row_or_none_and_says_who_served_it() {
    for pooler in [false, true] {
        let world = World::new(policy().with_pooler(pooler)).await;
        insert(&world.router, "a", 5).await.unwrap();
        let found = world
            .router
            .read_fresh::<ItemSize>("a".to_owned())
            .await
            .unwrap();
        let by = ServedBy::Primary {
            reason: PrimaryReason::NoReplica,
        };
        assert_eq!(found, Served { value: Some(5), by });
        let missing = world
            .router
            .read_any::<ItemSize>("b".to_owned())
            .await
            .unwrap();
        assert_eq!(missing, Served { value: None, by });
        world.end().await;
    }
}

#[tokio::test]
async fn a_statement_is_prepared_once_a_connection_and_not_at_all_behind_a_pooler() {
    static PREPARED: Statement = Statement {
        name: "test.prepared",
        sql: "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT count(*) FROM item'",
        types: &[],
    };
    for (pooler, expected) in [(false, 1_i64), (true, 0)] {
        let world = World::new(policy().with_pooler(pooler)).await;
        let reader = world.router.read_list();
        for _ in 0..3 {
            reader.query_one(&COUNT, &[]).await.unwrap();
        }
        let prepared: i64 = reader.query_one(&PREPARED, &[]).await.unwrap().get(0);
        assert_eq!(prepared, expected, "pooler: {pooler}");
        drop(reader);
        world.end().await;
    }
}

#[tokio::test]
async fn a_list_has_more_time_than_a_lane_and_ends_too() {
    let mut policy = policy();
    policy.limits.lane = Duration::from_millis(100);
    policy.limits.list = Duration::from_secs(2);
    let world = World::new(policy).await;
    let error = world.router.read_fresh::<Slow>(300).await.unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "57014");
    let reader = world.router.read_list();
    reader.query(&SLEEP, &[&0.3_f64]).await.unwrap();
    let error = reader.query(&SLEEP, &[&30.0_f64]).await.unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "57014");
    // Neither harmed its connection.
    reader.query_one(&COUNT, &[]).await.unwrap();
    drop(reader);
    assert_eq!(world.open(), 1);
    assert_eq!(world.closed(CloseReason::Lost), 0);
    world.end().await;
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let world = World::new(policy()).await;
    let reader = world.router.read_list();
    let error = reader.query(&INSERT, &[&"a", &1_i64]).await.unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "25006");
    drop(reader);
    world.end().await;
}

#[tokio::test]
async fn a_list_given_up_in_the_middle_leaves_its_connection_clean() {
    let world = World::new(policy()).await;
    let reader = world.router.read_list();
    let process = backend(&reader).await;
    let work = reader.query(&SLEEP, &[&1.0_f64]);
    assert!(
        tokio::time::timeout(Duration::from_millis(10), work)
            .await
            .is_err()
    );
    // The answer to the next question comes after that of the last, and is its own.
    assert_eq!(backend(&reader).await, process);
    drop(reader);
    world.end().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_decoded_is_named() {
    let world = World::new(policy()).await;
    let error = world.router.read_fresh::<Misread>(1).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Decode {
                name: "test.misread",
                ..
            }
        ),
        "{error}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_changed_table_costs_one_failure_and_not_the_statement() {
    static ALL: Statement = Statement {
        name: "test.all",
        sql: "SELECT * FROM item",
        types: &[],
    };
    let world = World::new(policy()).await;
    let reader = world.router.read_list();
    reader.query(&ALL, &[]).await.unwrap();
    world
        .outside
        .batch_execute("ALTER TABLE item ADD COLUMN note text")
        .await
        .unwrap();
    let error = reader.query(&ALL, &[]).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    reader.query(&ALL, &[]).await.unwrap();
    drop(reader);
    world.end().await;
}

#[tokio::test]
async fn a_socket_serves_as_well_as_tcp() {
    let database = portolan_testkit::pg_cluster::PgCluster::shared()
        .create_database()
        .await;
    let url = database.socket_url().to_owned();
    let world = World::at(database, &url, policy()).await;
    insert(&world.router, "a", 1).await.unwrap();
    world.end().await;
}
