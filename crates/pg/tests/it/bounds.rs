//! How many connections, how many waiting, and for how long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use portolan_pg::{CloseReason, DialOutcome, Error, Policy, Read, Role, Share, Shares};
use portolan_testkit::{chaos_proxy::ChaosProxy, children::eventually, pg_cluster::PgCluster};
use tokio::task::JoinSet;

use crate::support::{BACKEND, ItemSize, SLEEP, World, backend, insert, policy, sessions};

/// Tries again while the answer is "later", as a client would.
async fn persist<T, F: Future<Output = Result<T, Error>>>(mut ask: impl FnMut() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if error.is_overload() => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_users_never_have_more_than_eight_connections() {
    let world = World::new(policy()).await;
    insert(&world.router, "hot", 1).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let most = Arc::new(AtomicI64::new(0));
    let mut watch = JoinSet::new();
    watch.spawn({
        let (session, done, most) = (
            world.database.session().await,
            Arc::clone(&done),
            Arc::clone(&most),
        );
        async move {
            while !done.load(Ordering::Acquire) {
                most.fetch_max(sessions(&session).await, Ordering::AcqRel);
            }
        }
    });
    let mut users = JoinSet::new();
    for user in 0..200 {
        let router = world.router.clone();
        users.spawn(async move {
            for turn in 0..5 {
                let name = format!("{user}-{turn}");
                persist(|| insert(&router, &name, 1)).await;
                let read = persist(|| router.read_fresh::<ItemSize>(name.clone())).await;
                assert_eq!(read.value, Some(1));
                let reader = router.read_list();
                persist(|| reader.query_one(&BACKEND, &[])).await;
            }
        });
    }
    users.join_all().await;
    done.store(true, Ordering::Release);
    watch.join_all().await;
    let most = most.load(Ordering::Acquire);
    assert!((2..=8).contains(&most), "{most} sessions at once");
    assert!(world.open() <= 8);
    let dials = world.metrics.dials(Role::Primary, DialOutcome::Connected);
    assert!(dials <= 8, "{dials} dials, though no connection was lost");
    let row = world
        .outside
        .query_one("SELECT count(*) FROM item", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 1_001);
    world.end().await;
}

#[tokio::test]
async fn nothing_is_dialled_before_the_first_request() {
    let world = World::new(policy()).await;
    assert_eq!((world.open(), world.sessions().await), (0, 0));
    world.router.ping_primary().await.unwrap();
    assert_eq!((world.open(), world.sessions().await), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn whoever_waits_for_a_connection_in_vain_is_told_so_at_the_deadline() {
    let mut policy = policy();
    policy.acquire.write = Duration::from_millis(500);
    policy.shares = Shares::of(4).unwrap();
    let world = World::new(policy).await;
    let tx = world.router.begin().await.unwrap();
    let began = Instant::now();
    let error = world.router.begin().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::DeadlineExceeded {
                share: Share::Writes,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_overload() && error.retry_after().is_some());
    assert!(began.elapsed() >= Duration::from_millis(500));
    // Others have their own connections.
    world.router.ping_primary().await.unwrap();
    world.router.read_list();
    tx.rollback().await.unwrap();
    world
        .router
        .begin()
        .await
        .unwrap()
        .rollback()
        .await
        .unwrap();
    world.end().await;
}

#[tokio::test]
async fn the_queue_has_an_end_and_whoever_comes_after_is_refused_at_once() {
    let mut policy = policy();
    policy.shares = Shares::of(4).unwrap();
    policy.acquire.waiters_per_connection = 3;
    policy.acquire.queue.target = Duration::from_mins(1);
    let world = World::new(policy).await;
    let tx = world.router.begin().await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..3 {
        let router = world.router.clone();
        waiters.spawn(async move { router.begin().await.unwrap().rollback().await.unwrap() });
    }
    eventually("three wait", async || world.waiting(Share::Writes) == 3).await;
    let began = Instant::now();
    let error = world.router.begin().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::QueueFull {
                share: Share::Writes
            }
        ),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(1), "at once");
    tx.rollback().await.unwrap();
    waiters.join_all().await;
    world.end().await;
}

#[tokio::test]
async fn a_waiter_that_goes_away_leaves_no_trace() {
    let mut policy = policy();
    policy.shares = Shares::of(4).unwrap();
    let world = World::new(policy).await;
    let tx = world.router.begin().await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..4 {
        let router = world.router.clone();
        waiters.spawn(async move { drop(router.begin().await) });
    }
    eventually("four wait", async || world.waiting(Share::Writes) == 4).await;
    waiters.shutdown().await;
    assert_eq!(world.waiting(Share::Writes), 0);
    tx.rollback().await.unwrap();
    let tx = world.router.begin().await.unwrap();
    assert_eq!(world.in_use(Share::Writes), 1);
    tx.rollback().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn two_hundred_point_reads_at_once_are_all_served_by_two_connections() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 3).await.unwrap();
    let before = world.open();
    let mut users = JoinSet::new();
    for _ in 0..200 {
        let router = world.router.clone();
        users.spawn(async move {
            let read = router.read_fresh::<ItemSize>("a".to_owned()).await;
            assert_eq!(read.unwrap().value, Some(3));
        });
    }
    users.join_all().await;
    assert!(
        world.open() - before <= 1,
        "a lane beside the one that wrote"
    );
    world.end().await;
}

#[tokio::test]
async fn lists_leave_a_lane_to_point_reads() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 3).await.unwrap();
    let mut lists = JoinSet::new();
    for _ in 0..2 {
        let reader = world.router.read_list();
        lists.spawn(async move { reader.query_one(&SLEEP, &[&0.5_f64]).await.map(drop) });
    }
    eventually("the second list waits", async || {
        world.waiting(Share::Lists) == 1
    })
    .await;
    let read = world
        .router
        .read_fresh::<ItemSize>("a".to_owned())
        .await
        .unwrap();
    assert_eq!(read.value, Some(3));
    assert_eq!(world.waiting(Share::Lists), 1, "the lists are still there");
    for list in lists.join_all().await {
        list.unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn a_burst_makes_no_more_than_two_dials_at_once() {
    let cluster = PgCluster::shared();
    let database = cluster.create_database().await;
    let proxy = ChaosProxy::start(cluster.primary().address()).await;
    let url = proxy.through(database.url());
    let world = World::at(database, &url, policy()).await;
    proxy.stall();
    let mut burst = JoinSet::new();
    for _ in 0..4 {
        let router = world.router.clone();
        burst.spawn(async move {
            let tx = router.begin().await.unwrap();
            tx.query_one(&SLEEP, &[&0.3_f64]).await.unwrap();
            tx.rollback().await.unwrap();
        });
    }
    eventually("two are dialled", async || proxy.accepted() == 2).await;
    // Long enough for a third to show itself, were there one.
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(proxy.accepted(), 2);
    }
    proxy.restore();
    burst.join_all().await;
    assert!(proxy.accepted() <= 4);
    world.end().await;
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_cancel_the_dial() {
    let cluster = PgCluster::shared();
    let database = cluster.create_database().await;
    let proxy = ChaosProxy::start(cluster.primary().address()).await;
    let url = proxy.through(database.url());
    let mut policy = policy();
    policy.acquire.read = Duration::from_millis(50);
    let world = World::at(database, &url, policy).await;
    proxy.stall();
    let error = world.router.ping_primary().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(!error.is_overload() && error.retry_after().is_some());
    proxy.restore();
    eventually("the connection is there", async || world.open() == 1).await;
    world.router.ping_primary().await.unwrap();
    assert_eq!(proxy.accepted(), 1, "nobody dialled again");
    world.end().await;
}

#[tokio::test]
async fn whoever_waits_for_a_dial_takes_a_connection_that_comes_back_first() {
    let cluster = PgCluster::shared();
    let database = cluster.create_database().await;
    let proxy = ChaosProxy::start(cluster.primary().address()).await;
    let url = proxy.through(database.url());
    let world = World::at(database, &url, policy()).await;
    let first = world.router.begin().await.unwrap();
    let process = backend(&first).await;
    // New connections hang from now on; the one that exists is not touched until it is given back.
    let refused = world.metrics.dials(Role::Primary, DialOutcome::Connected);
    proxy.stall();
    let waiter = {
        let router = world.router.clone();
        let mut waiter = JoinSet::new();
        waiter.spawn(async move {
            let tx = router.begin().await.unwrap();
            let process = backend(&tx).await;
            tx.rollback().await.unwrap();
            process
        });
        waiter
    };
    eventually("somebody waits for a dial", async || proxy.accepted() == 2).await;
    // Dropped, it needs no answer before it goes back.
    drop(first);
    eventually("the waiter has it", async || {
        world.in_use(Share::Writes) == 1
    })
    .await;
    proxy.restore();
    assert_eq!(waiter.join_all().await, [process]);
    eventually("the dial is finished too", async || {
        world.metrics.dials(Role::Primary, DialOutcome::Connected) == refused + 1
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_connection_whose_caller_goes_away_while_it_is_asked_serves_whoever_waits() {
    let cluster = PgCluster::shared();
    let database = cluster.create_database().await;
    let session = database.session().await;
    let sql = "CREATE ROLE single LOGIN CONNECTION LIMIT 1";
    session.batch_execute(sql).await.unwrap();
    let proxy = ChaosProxy::start(cluster.primary().address()).await;
    let url = proxy.through(&database.url().replace("postgres@", "single@"));
    let mut policy = policy();
    policy.age.verify_after = Duration::ZERO;
    policy.age.verify_timeout = Duration::from_secs(10);
    let world = World::at(database, &url, policy).await;
    let process = backend(&world.router.read_primary().await.unwrap()).await;
    proxy.stall();
    let begin = || {
        let router = world.router.clone();
        async move {
            let tx = router.begin().await.unwrap();
            let process = backend(&tx).await;
            tx.rollback().await.unwrap();
            process
        }
    };
    let mut asking = JoinSet::new();
    asking.spawn(begin());
    eventually("it is asked", async || world.in_use(Share::Writes) == 1).await;
    let mut waiter = JoinSet::new();
    waiter.spawn(begin());
    eventually("another is dialled", async || proxy.accepted() == 2).await;
    asking.shutdown().await;
    proxy.restore();
    // No other can be made: the role may have one.
    assert_eq!(waiter.join_all().await, [process]);
    world.end().await;
}

#[tokio::test]
async fn a_role_with_fewer_connections_than_the_pool_is_served_by_those_it_has() {
    let cluster = PgCluster::shared();
    let database = cluster.create_database().await;
    database
        .session()
        .await
        .batch_execute("CREATE ROLE narrow LOGIN CONNECTION LIMIT 2")
        .await
        .unwrap();
    let url = database.url().replace("postgres@", "narrow@");
    let world = World::at(database, &url, policy()).await;
    world
        .outside
        .batch_execute(
            "GRANT USAGE ON SCHEMA portolan_pg TO narrow;
             GRANT SELECT, UPDATE ON portolan_pg.cluster_epoch, portolan_pg.standing TO narrow",
        )
        .await
        .unwrap();
    let mut users = JoinSet::new();
    for _ in 0..4 {
        let router = world.router.clone();
        users.spawn(async move {
            for _ in 0..20 {
                let tx = persist(|| router.begin()).await;
                tx.query_one(&SLEEP, &[&0.001_f64]).await.unwrap();
                tx.rollback().await.unwrap();
            }
        });
    }
    users.join_all().await;
    assert!(world.metrics.dials(Role::Primary, DialOutcome::TooMany) > 0);
    assert_eq!(world.open(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_dropped_router_leaves_nothing_behind() {
    let world = World::new(policy()).await;
    world.router.ping_primary().await.unwrap();
    let World {
        router,
        outside,
        metrics,
        ..
    } = world;
    drop(router);
    eventually("no session is left", async || sessions(&outside).await == 0).await;
    eventually("it was counted", async || {
        metrics.closed(Role::Primary, CloseReason::Shutdown) == 1
    })
    .await;
    assert_eq!(metrics.open(Role::Primary), 0);
}

#[tokio::test]
async fn closing_waits_for_what_is_lent_and_sends_waiters_away() {
    let mut policy = Policy { ..policy() };
    policy.shares = Shares::of(4).unwrap();
    let world = World::new(policy).await;
    let tx = world.router.begin().await.unwrap();
    let mut waiter = JoinSet::new();
    waiter.spawn({
        let router = world.router.clone();
        async move { router.begin().await.err() }
    });
    eventually("one waits", async || world.waiting(Share::Writes) == 1).await;
    let mut closing = JoinSet::new();
    closing.spawn({
        let router = world.router.clone();
        async move { router.close().await }
    });
    let turned_away = waiter.join_next().await.unwrap().unwrap();
    assert!(
        matches!(turned_away, Some(Error::Closed)),
        "{turned_away:?}"
    );
    assert!(closing.try_join_next().is_none(), "one is still lent");
    tx.execute(&crate::support::INSERT, &[&"late", &1_i64])
        .await
        .unwrap();
    let _ = tx.commit().await.unwrap();
    closing.join_all().await;
    world.end().await;
}
