//! What an error means to its caller, with the errors of a real server.

use portolan_pg::{Error, Read, Statement, sqlstate};
use tokio_postgres::types::Type;

use crate::support::{INSERT, SLEEP, World, backend, insert, policy};

static INSERT_PART: Statement = Statement {
    name: "test.insert_part",
    sql: "INSERT INTO part (item) VALUES ($1)",
    types: &[Type::TEXT],
};

static READ_ONLY: Statement = Statement {
    name: "test.read_only",
    sql: "SET TRANSACTION READ ONLY",
    types: &[],
};

static LOCK: Statement = Statement {
    name: "test.lock",
    sql: "SELECT size FROM item WHERE name = $1 FOR UPDATE",
    types: &[Type::TEXT],
};

#[tokio::test]
async fn a_violated_constraint_is_named_and_a_vanished_reference_is_tried_again() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 1).await.unwrap();
    let error = insert(&world.router, "a", 1).await.unwrap_err();
    assert_eq!(error.constraint(), Some("item_pkey"));
    assert!(!error.is_retryable() && !error.is_connection_lost() && !error.is_overload());
    assert_eq!(error.to_string(), "statement `test.insert` failed");
    let tx = world.router.begin().await.unwrap();
    let error = tx.execute(&INSERT_PART, &[&"gone"]).await.unwrap_err();
    assert_eq!(error.constraint(), Some("part_item_fkey"));
    assert!(error.is_retryable());
    tx.rollback().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_deadlock_is_tried_again() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 1).await.unwrap();
    insert(&world.router, "b", 1).await.unwrap();
    let (one, two) = (
        world.router.begin().await.unwrap(),
        world.router.begin().await.unwrap(),
    );
    one.query_one(&LOCK, &[&"a"]).await.unwrap();
    two.query_one(&LOCK, &[&"b"]).await.unwrap();
    let (first, second) = tokio::join!(one.query_one(&LOCK, &[&"b"]), async {
        let result = two.query_one(&LOCK, &[&"a"]).await;
        // Whoever lost lets go, and the other goes on.
        drop(two);
        result
    });
    let error = first.and(second).unwrap_err();
    assert_eq!(error.sqlstate().unwrap().code(), "40P01");
    assert!(error.is_retryable());
    drop(one);
    world.end().await;
}

#[tokio::test]
async fn a_write_on_a_read_only_server_is_known_as_such() {
    let world = World::new(policy()).await;
    let tx = world.router.begin().await.unwrap();
    tx.execute(&READ_ONLY, &[]).await.unwrap();
    let error = tx.execute(&INSERT, &[&"a", &1_i64]).await.unwrap_err();
    assert!(sqlstate::is_read_only(error.sqlstate().unwrap()));
    tx.rollback().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_terminated_session_is_a_lost_connection_and_not_an_answer() {
    let world = World::new(policy()).await;
    let tx = world.router.begin().await.unwrap();
    let process = backend(&tx).await;
    let (answer, killed) = tokio::join!(tx.query(&SLEEP, &[&5.0_f64]), async {
        let sql = "SELECT pg_terminate_backend($1)";
        world.outside.query_one(sql, &[&process]).await
    });
    killed.unwrap();
    let error = answer.unwrap_err();
    assert!(error.is_connection_lost(), "{error:?}");
    assert!(!error.is_retryable());
    assert!(tx.commit().await.is_err());
    insert(&world.router, "a", 1).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_says_that_it_does_not_know() {
    let cluster = portolan_testkit::pg_cluster::PgCluster::shared();
    let database = cluster.create_database().await;
    let proxy = portolan_testkit::chaos_proxy::ChaosProxy::start(cluster.primary().address()).await;
    let url = proxy.through(database.url());
    let world = World::at(database, &url, policy()).await;
    let tx = world.router.begin().await.unwrap();
    tx.execute(&INSERT, &[&"a", &1_i64]).await.unwrap();
    proxy.stall();
    let (committed, ()) = tokio::join!(tx.commit(), async { proxy.cut() });
    let error = committed.unwrap_err();
    assert!(matches!(error, Error::CommitUnknown { .. }), "{error:?}");
    assert!(error.is_connection_lost() && !error.is_retryable());
    proxy.restore();
    world.end().await;
}

#[tokio::test]
async fn a_parameter_that_does_not_fit_harms_nobody() {
    let world = World::new(policy()).await;
    let tx = world.router.begin().await.unwrap();
    let error = tx
        .execute(&INSERT, &[&"a", &"not a number"])
        .await
        .unwrap_err();
    assert!(
        !error.is_connection_lost() && error.sqlstate().is_none(),
        "{error:?}"
    );
    tx.rollback().await.unwrap();
    assert_eq!(world.open(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_read_of_one_row_that_finds_another_number_says_how_many() {
    static TWO: Statement = Statement {
        name: "test.two",
        sql: "SELECT generate_series(1, 2)",
        types: &[],
    };
    static NONE: Statement = Statement {
        name: "test.none",
        sql: "SELECT 1 WHERE false",
        types: &[],
    };
    let world = World::new(policy()).await;
    let reader = world.router.read_list();
    for (statement, rows) in [(&TWO, 2), (&NONE, 0)] {
        let error = reader.query_one(statement, &[]).await.unwrap_err();
        assert!(
            matches!(error, Error::RowCount { actual, .. } if actual == rows),
            "{error}"
        );
    }
    assert!(reader.query_opt(&NONE, &[]).await.unwrap().is_none());
    drop(reader);
    world.end().await;
}
