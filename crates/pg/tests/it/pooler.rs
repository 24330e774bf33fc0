//! A real pgbouncer in transaction mode between us and the primary.

use portolan_pg::{AcquirePolicy, Error};
use portolan_testkit::{
    chaos_proxy::ChaosProxy,
    children::eventually,
    pg_cluster::{PgBouncer, PgCluster},
};
use tokio::task::JoinSet;

use crate::support::{ItemSize, World, count, insert, policy};

async fn behind_a_pooler() -> (World, PgBouncer, ChaosProxy) {
    let cluster = PgCluster::shared();
    let database = cluster.create_database().await;
    let proxy = ChaosProxy::start(cluster.primary().address()).await;
    let pooler = cluster.start_pooler(proxy.address(), &[]);
    let url = pooler.url(database.name());
    let mut policy = policy().with_pooler(true);
    policy.acquire = AcquirePolicy::default();
    let world = World::at(database, &url, policy).await;
    (world, pooler, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_lent_for_one_transaction_serve_reads_and_writes() {
    const USERS: i64 = 8;
    let (world, _pooler, _proxy) = behind_a_pooler().await;
    let mut users = JoinSet::new();
    for user in 0..USERS {
        let router = world.router.clone();
        users.spawn(async move {
            for round in 0..20 {
                let (name, size) = (format!("{user}-{round}"), user * 100 + round);
                insert(&router, &name, size).await.unwrap();
                let served = router.read_fresh::<ItemSize>(name).await.unwrap();
                assert_eq!(served.value, Some(size));
            }
        });
    }
    users.join_all().await;
    assert_eq!(count(&world.router).await, USERS * 20);
    world.router.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_whose_server_went_away_is_a_lost_connection_and_not_an_answer() {
    let (world, _pooler, proxy) = behind_a_pooler().await;
    insert(&world.router, "a", 1).await.unwrap();
    let tx = world.router.begin().await.unwrap();
    proxy.cut();
    let polite = |error: Error| {
        let later = error.is_connection_lost() || error.retry_after().is_some();
        assert!(later, "{error:?}");
    };
    polite(
        tx.execute_one(&crate::support::INSERT, &[&"b", &1_i64])
            .await
            .unwrap_err(),
    );
    drop(tx);
    for round in 0..3 {
        if let Err(error) = world.router.read_fresh::<ItemSize>("a".to_owned()).await {
            polite(error);
        }
        if let Err(error) = insert(&world.router, &format!("c{round}"), 1).await {
            polite(error);
        }
    }
    proxy.restore();
    eventually("reads go on", async || {
        let read = world.router.read_fresh::<ItemSize>("a".to_owned()).await;
        read.is_ok_and(|served| served.value == Some(1))
    })
    .await;
    world.router.close().await;
}
