//! Transactions: that they end, and what they leave.

use std::time::Duration;

use portolan_pg::{CloseReason, Error, Read, Role, Share, Statement, Tx};
use portolan_testkit::{chaos_proxy::ChaosProxy, children::eventually, pg_cluster::PgCluster};
use tokio::{task::JoinSet, time::timeout};

use crate::support::{
    BACKEND, COUNT, INSERT, SLEEP, UPDATE_ALL, World, backend, count, insert, policy,
};

/// Fails at once if somebody else holds the row.
const TAKE_ROW: &str = "SELECT size FROM item WHERE name = 'a' FOR UPDATE NOWAIT";

static LOCAL_TIMEOUT: Statement = Statement {
    name: "test.local_timeout",
    sql: "SELECT current_setting('statement_timeout'), current_setting('plan_cache_mode'), \
          current_setting('synchronous_commit'), current_setting('idle_in_transaction_session_timeout')",
    types: &[],
};

async fn in_transaction(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
               AND application_name = 'portolan/test' AND state LIKE 'idle in transaction%'";
    world.outside.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_is_committed_stays_and_what_is_rolled_back_does_not() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 1).await.unwrap();
    let tx = world.router.begin().await.unwrap();
    tx.execute_one(&INSERT, &[&"b", &1_i64]).await.unwrap();
    assert_eq!(tx.query_one(&COUNT, &[]).await.unwrap().get::<_, i64>(0), 2);
    tx.rollback().await.unwrap();
    assert_eq!(count(&world.router).await, 1);
    world.end().await;
}

#[tokio::test]
async fn a_dropped_transaction_holds_no_lock_and_its_connection_serves_the_next() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 1).await.unwrap();
    let tx = world.router.begin().await.unwrap();
    let process = backend(&tx).await;
    assert_eq!(tx.execute(&UPDATE_ALL, &[]).await.unwrap(), 1);
    assert!(
        world.outside.query(TAKE_ROW, &[]).await.is_err(),
        "the row is locked"
    );
    drop(tx);
    let tx = world.router.begin().await.unwrap();
    assert_eq!(backend(&tx).await, process, "the same connection");
    // It was begun after the ROLLBACK, on the same line: the lock is gone by now.
    world.outside.query(TAKE_ROW, &[]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(in_transaction(&world).await, 0);
    let row = world
        .outside
        .query_one("SELECT size FROM item", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    assert_eq!(world.open(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_transaction_dropped_in_the_middle_of_a_statement_keeps_its_place_until_that_ends() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 1).await.unwrap();
    let holder = world.database.session().await;
    holder
        .batch_execute("BEGIN; UPDATE item SET size = 9")
        .await
        .unwrap();
    let tx = world.router.begin().await.unwrap();
    let process = backend(&tx).await;
    let blocked = timeout(Duration::from_millis(20), tx.execute(&UPDATE_ALL, &[])).await;
    assert!(blocked.is_err());
    drop(tx);
    assert_eq!(world.in_use(Share::Writes), 1, "the server is still at it");
    // Meanwhile another one is served, and not behind it.
    let other = world.router.begin().await.unwrap();
    assert_ne!(backend(&other).await, process);
    other.rollback().await.unwrap();
    assert_eq!(world.in_use(Share::Writes), 1, "still");
    holder.batch_execute("ROLLBACK").await.unwrap();
    eventually("it has come back", async || {
        world.in_use(Share::Writes) == 0
    })
    .await;
    world.outside.query(TAKE_ROW, &[]).await.unwrap();
    assert_eq!(world.open(), 2, "and was not closed");
    world.end().await;
}

#[tokio::test]
async fn a_transaction_given_up_while_it_begins_leaves_none_open() {
    let world = World::new(policy()).await;
    world.router.ping_primary().await.unwrap();
    for polls in 1..4 {
        let mut begin = Box::pin(world.router.begin());
        for _ in 0..polls {
            let _ = futures::poll!(&mut begin);
        }
        drop(begin);
    }
    eventually("nothing is lent", async || world.in_use(Share::Writes) == 0).await;
    eventually("no transaction is open", async || {
        in_transaction(&world).await == 0
    })
    .await;
    insert(&world.router, "a", 1).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_still_ends_the_transaction() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 1).await.unwrap();
    let tx = world.router.begin().await.unwrap();
    tx.execute(&UPDATE_ALL, &[]).await.unwrap();
    let mut commit = Box::pin(tx.commit());
    assert!(futures::poll!(&mut commit).is_pending());
    drop(commit);
    eventually("it has ended", async || {
        let row = world
            .outside
            .query_one("SELECT size FROM item", &[])
            .await
            .unwrap();
        row.get::<_, i64>(0) == 2
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_transaction_in_which_a_statement_failed_cannot_be_committed() {
    let world = World::new(policy()).await;
    let tx = world.router.begin().await.unwrap();
    tx.execute_one(&INSERT, &[&"a", &1_i64]).await.unwrap();
    tx.execute_one(&INSERT, &[&"b", &-1_i64]).await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::Aborted), "{error}");
    assert_eq!(count(&world.router).await, 0);
    // Nor one in which a statement's end was not seen.
    let tx = world.router.begin().await.unwrap();
    tx.execute_one(&INSERT, &[&"a", &1_i64]).await.unwrap();
    let cut_short = timeout(Duration::from_millis(5), tx.query(&SLEEP, &[&1.0_f64])).await;
    assert!(cut_short.is_err());
    assert!(matches!(tx.commit().await, Err(Error::Aborted)));
    assert_eq!(count(&world.router).await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_savepoint_saves_what_came_before_the_failure() {
    let world = World::new(policy()).await;
    let tx = world.router.begin().await.unwrap();
    tx.execute_one(&INSERT, &[&"a", &1_i64]).await.unwrap();
    tx.savepoint("before_b").await.unwrap();
    let error = tx.execute_one(&INSERT, &[&"a", &1_i64]).await.unwrap_err();
    assert_eq!(error.constraint(), Some("item_pkey"));
    tx.rollback_to("before_b").await.unwrap();
    tx.execute_one(&INSERT, &[&"b", &1_i64]).await.unwrap();
    tx.release("before_b").await.unwrap();
    let committed = tx.commit().await.unwrap();
    world.router.acknowledge(committed).await.unwrap();
    assert_eq!(count(&world.router).await, 2);
    world.end().await;
}

#[tokio::test]
async fn a_write_that_changes_another_number_of_rows_is_an_error() {
    let world = World::new(policy()).await;
    let tx = world.router.begin().await.unwrap();
    let error = tx.execute_one(&UPDATE_ALL, &[]).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::AffectedRows {
                name: "test.update_all",
                expected: 1,
                actual: 0
            }
        ),
        "{error}"
    );
    tx.commit().await.map(drop).unwrap();
    world.end().await;
}

#[tokio::test]
async fn each_kind_of_work_has_its_own_limits() {
    for pooler in [false, true] {
        let world = World::new(policy().with_pooler(pooler)).await;
        let settings = async |tx: Tx| {
            let row = tx.query_one(&LOCAL_TIMEOUT, &[]).await.unwrap();
            tx.rollback().await.unwrap();
            [row.get::<_, String>(0), row.get(1), row.get(2)]
        };
        let write = settings(world.router.begin().await.unwrap()).await;
        assert_eq!(write, ["5s", "auto", "on"]);
        let job = settings(world.router.begin_background().await.unwrap()).await;
        assert_eq!(job, ["30s", "auto", "on"]);
        let list = world.router.read_list();
        let row = list.query_one(&LOCAL_TIMEOUT, &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1)), ("2s", "auto"));
        drop(list);
        world.end().await;
    }
}

#[tokio::test]
async fn two_statements_of_one_transaction_may_be_under_way_together() {
    let world = World::new(policy()).await;
    let tx = world.router.begin().await.unwrap();
    let (one, two) = tokio::join!(tx.query_one(&BACKEND, &[]), tx.query_one(&COUNT, &[]));
    one.unwrap();
    assert_eq!(two.unwrap().get::<_, i64>(0), 0);
    tx.commit().await.map(drop).unwrap();
    world.end().await;
}

#[tokio::test]
async fn many_abandoned_transactions_leave_the_pool_as_it_was() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 1).await.unwrap();
    let mut users = JoinSet::new();
    for user in 0..60_u64 {
        let router = world.router.clone();
        users.spawn(async move {
            for turn in 0..10 {
                let work = async {
                    let tx = router.begin().await?;
                    tx.execute(&UPDATE_ALL, &[]).await?;
                    tx.query(&SLEEP, &[&0.002_f64]).await?;
                    tx.commit().await.map(drop)
                };
                // Given up after anything from nothing to a while.
                let _ = timeout(Duration::from_micros((user * 7 + turn) * 97 % 6_000), work).await;
            }
        });
    }
    users.join_all().await;
    eventually("nothing is lent", async || world.in_use(Share::Writes) == 0).await;
    assert_eq!(in_transaction(&world).await, 0);
    assert!(world.metrics.open(Role::Primary) <= 4);
    insert(&world.router, "b", 1).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_commit_that_waits_for_a_standby_is_never_reported_as_done_and_costs_one_session() {
    let cluster = PgCluster::start();
    let mut policy = policy();
    policy.limits.write = Duration::from_millis(500);
    let world = World::on(&cluster, policy).await;
    let configure = async |standby: &str| {
        let sql = format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'");
        world.outside.batch_execute(&sql).await.unwrap();
        world
            .outside
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
        eventually("it is configured", async || {
            let setting = world
                .outside
                .query_one("SHOW synchronous_standby_names", &[])
                .await;
            setting.unwrap().get::<_, &str>(0) == standby
        })
        .await;
    };
    configure("nobody_home").await;
    // The server's limit of 500 ms must not end its wait for the standby: it would report success.
    let error = insert(&world.router, "a", 1).await.unwrap_err();
    assert!(matches!(error, Error::CommitUnknown { .. }), "{error:?}");
    assert_eq!(world.in_use(Share::Writes), 1, "its place stays taken");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let row = world.outside.query_one(waiting, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    configure("").await;
    eventually("the commit has ended", async || {
        world.in_use(Share::Writes) == 0
    })
    .await;
    assert_eq!(count(&world.router).await, 1);
    assert_eq!(world.open(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_line_that_swallows_answers_costs_a_statement_its_limit_and_is_not_used_again() {
    let cluster = PgCluster::shared();
    let database = cluster.create_database().await;
    let proxy = ChaosProxy::start(cluster.primary().address()).await;
    let url = proxy.through(database.url());
    let mut policy = policy();
    policy.limits.write = Duration::from_millis(500);
    let world = World::at(database, &url, policy).await;
    let tx = world.router.begin().await.unwrap();
    let process = backend(&tx).await;
    proxy.stall();
    let error = tx.query_one(&COUNT, &[]).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unanswered {
                name: "test.count",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_connection_lost());
    drop(tx);
    eventually("it is closed", async || {
        world.closed(CloseReason::Stuck) == 1
    })
    .await;
    proxy.restore();
    let tx = world.router.begin().await.unwrap();
    assert_ne!(backend(&tx).await, process);
    tx.rollback().await.unwrap();
    world.end().await;
}
