//! How long a connection lives.

use std::time::Duration;

use portolan_pg::{AgePolicy, CloseReason, Role};
use portolan_testkit::{children::eventually, pg_cluster::PgCluster};
use tokio::task::JoinSet;

use crate::support::{SLEEP, World, backend, forgetful, policy};
use portolan_pg::{Policy, Read};

fn with_ages(age: AgePolicy) -> Policy {
    Policy { age, ..policy() }
}

/// Opens four connections by holding four transactions at once.
async fn burst(world: &World) {
    let mut users = JoinSet::new();
    for _ in 0..4 {
        let router = world.router.clone();
        users.spawn(async move { router.begin().await.unwrap() });
    }
    let open = users.join_all().await;
    assert_eq!(world.open(), 4);
    for tx in open {
        tx.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn an_idle_pool_closes_every_connection_and_says_goodbye() {
    let cluster = PgCluster::start();
    let world = World::on(&cluster, with_ages(forgetful())).await;
    burst(&world).await;
    eventually("all are closed", async || world.open() == 0).await;
    eventually("the server agrees", async || world.sessions().await == 0).await;
    assert_eq!(world.closed(CloseReason::Idle), 4);
    // A session that ends without a Terminate message is counted as abandoned.
    let sql = "SELECT pg_stat_clear_snapshot(), sessions_abandoned FROM pg_stat_database \
               WHERE datname = current_database()";
    let abandoned: i64 = world.outside.query_one(sql, &[]).await.unwrap().get(1);
    assert_eq!(abandoned, 0);
    world.end().await;
}

#[tokio::test]
async fn steady_light_use_after_a_burst_keeps_one_connection() {
    let world = World::new(with_ages(forgetful())).await;
    burst(&world).await;
    eventually("the others have idled out", async || {
        world.router.ping_primary().await.unwrap();
        world.open() == 1
    })
    .await;
    assert_eq!(world.closed(CloseReason::Idle), 3);
    assert_eq!(world.closed(CloseReason::Lost), 0);
    world.end().await;
}

#[tokio::test]
async fn a_connection_in_steady_use_is_replaced_at_the_end_of_its_lifetime() {
    let age = AgePolicy {
        lifetime: Duration::from_millis(200),
        ..AgePolicy::default()
    };
    let world = World::new(with_ages(age)).await;
    let first = backend(&world.router.read_primary().await.unwrap()).await;
    eventually("another connection serves", async || {
        backend(&world.router.read_primary().await.unwrap()).await != first
    })
    .await;
    eventually("the first is counted", async || {
        world.closed(CloseReason::Lifetime) >= 1
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_lent_connection_is_not_closed_under_its_borrower() {
    let age = AgePolicy {
        lifetime: Duration::from_millis(50),
        ..forgetful()
    };
    let world = World::new(with_ages(age)).await;
    let tx = world.router.begin().await.unwrap();
    tx.query_one(&SLEEP, &[&0.4_f64]).await.unwrap();
    assert_eq!(world.open(), 1);
    tx.rollback().await.unwrap();
    eventually("it is closed after", async || world.open() == 0).await;
    assert_eq!(world.closed(CloseReason::Lifetime), 1);
    world.end().await;
}

#[tokio::test]
async fn a_connection_long_unused_is_asked_before_it_is_lent() {
    let age = AgePolicy {
        verify_after: Duration::ZERO,
        ..AgePolicy::default()
    };
    let world = World::new(with_ages(age)).await;
    let first = backend(&world.router.read_primary().await.unwrap()).await;
    // Asked and found well.
    assert_eq!(
        backend(&world.router.read_primary().await.unwrap()).await,
        first
    );
    let kill = "SELECT pg_terminate_backend($1)";
    world.outside.query_one(kill, &[&first]).await.unwrap();
    // Asked, or already known to be closed: the caller sees neither.
    assert_ne!(
        backend(&world.router.read_primary().await.unwrap()).await,
        first
    );
    let gone = world.closed(CloseReason::Lost) + world.closed(CloseReason::Unanswered);
    assert_eq!(gone, 1);
    assert_eq!(world.metrics.open(Role::Primary), 1);
    world.end().await;
}
