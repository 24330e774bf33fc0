//! A server that is down, hangs, comes back, or is not what it should be.

use std::time::{Duration, Instant};

use portolan_pg::{DialError, DialOutcome, Error, Read, Role, Share};
use portolan_testkit::{
    chaos_proxy::ChaosProxy,
    children::{PATIENCE, eventually},
    pg_cluster::PgCluster,
};
use tokio::task::JoinSet;

use crate::support::{ItemSize, World, count, insert, policy, router_to};

async fn behind_a_proxy(policy: portolan_pg::Policy) -> (World, ChaosProxy) {
    let cluster = PgCluster::shared();
    let database = cluster.create_database().await;
    let proxy = ChaosProxy::start(cluster.primary().address()).await;
    let url = proxy.through(database.url());
    (World::at(database, &url, policy).await, proxy)
}

#[tokio::test]
async fn a_server_that_is_down_is_tried_ever_more_rarely_however_many_ask() {
    let (world, proxy) = behind_a_proxy(policy()).await;
    proxy.cut();
    let until = Instant::now() + Duration::from_secs(1);
    let mut users = JoinSet::new();
    for _ in 0..20 {
        let router = world.router.clone();
        users.spawn(async move {
            let mut refused = 0_u64;
            while Instant::now() < until {
                match router.ping_primary().await {
                    Err(Error::Unavailable {
                        source,
                        retry_after,
                    }) => {
                        assert!(matches!(source, DialError::Refused(_)), "{source}");
                        assert!(retry_after >= Duration::from_secs(1));
                        refused += 1;
                    }
                    Err(Error::QueueFull {
                        share: Share::Control,
                    }) => {}
                    other => panic!("{other:?}"),
                }
                tokio::task::yield_now().await;
            }
            refused
        });
    }
    let refused: u64 = users.join_all().await.into_iter().sum();
    let attempts = world.metrics.dials(Role::Primary, DialOutcome::Unreachable);
    // A random wait up to 100 ms between them, 50 ms on average: about twenty in a second.
    assert!((5..=60).contains(&attempts), "{attempts} attempts");
    assert!(
        refused > 10 * attempts,
        "{refused} refused at once, {attempts} attempts"
    );
    proxy.restore();
    let began = Instant::now();
    eventually("it serves again", async || {
        world.router.ping_primary().await.is_ok()
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5));
    world.end().await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_caller_no_more_than_its_deadline() {
    let mut policy = policy();
    policy.acquire.read = Duration::from_millis(200);
    policy.age.verify_after = Duration::ZERO;
    policy.age.verify_timeout = Duration::from_millis(50);
    policy.age.farewell = Duration::from_millis(50);
    let (world, proxy) = behind_a_proxy(policy).await;
    eventually("it serves", async || {
        world.router.ping_primary().await.is_ok()
    })
    .await;
    proxy.stall();
    let began = Instant::now();
    let error = world.router.ping_primary().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    proxy.restore();
    eventually("it serves again", async || {
        world.router.ping_primary().await.is_ok()
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_survived_and_its_connections_are_not_lent_again() {
    let cluster = PgCluster::start();
    let world = World::on(&cluster, policy()).await;
    insert(&world.router, "before", 1).await.unwrap();
    let tx = world.router.begin().await.unwrap();
    // The restart ends this test's own session too.
    tokio::task::block_in_place(|| cluster.restart());
    let lost = tx.query(&crate::support::COUNT, &[]).await.unwrap_err();
    assert!(lost.is_connection_lost(), "{lost:?}");
    drop(tx);
    eventually("it serves again", async || {
        insert(&world.router, "after", 1).await.is_ok()
    })
    .await;
    assert_eq!(count(&world.router).await, 2);
    let read = world
        .router
        .read_fresh::<ItemSize>("before".to_owned())
        .await
        .unwrap();
    assert_eq!(read.value, Some(1));
    let outside = world.database.session().await;
    World { outside, ..world }.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_users_survive_a_restart_without_a_wave_of_dials() {
    let cluster = PgCluster::start();
    let world = World::on(&cluster, policy()).await;
    let before = world.metrics.dials(Role::Primary, DialOutcome::Connected);
    let mut users = JoinSet::new();
    let until = Instant::now() + Duration::from_secs(3);
    for user in 0..40 {
        let router = world.router.clone();
        users.spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < until {
                let name = format!("{user}-{done}");
                if insert(&router, &name, 1).await.is_ok() {
                    done += 1;
                } else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            done
        });
    }
    eventually("there is work", async || world.in_use(Share::Writes) > 0).await;
    tokio::task::block_in_place(|| cluster.restart());
    let done = users.join_all().await;
    assert!(done.iter().sum::<u64>() > 0);
    // Eight at the most before and eight after; the failed ones are backed off.
    let connected = world.metrics.dials(Role::Primary, DialOutcome::Connected) - before;
    assert!(connected <= 16, "{connected} connections made");
    let outside = world.database.session().await;
    World { outside, ..world }.end().await;
}

#[tokio::test]
async fn a_standby_is_not_taken_for_the_primary() {
    let cluster = PgCluster::start();
    let replica = cluster.add_replica();
    let (router, metrics) = router_to(&replica.server().url("postgres"), policy());
    let error = router.ping_primary().await.unwrap_err();
    let wrong = matches!(
        error,
        Error::Unavailable {
            source: DialError::WrongRole {
                expected: Role::Primary
            },
            ..
        }
    );
    assert!(wrong, "{error:?}");
    assert!(metrics.dials(Role::Primary, DialOutcome::WrongServer) > 0);
    // After the failover it is one.
    replica.promote().await;
    eventually("it is the primary", async || {
        router.ping_primary().await.is_ok()
    })
    .await;
    router.close().await;
}

#[tokio::test]
async fn a_refusal_that_will_last_is_told_at_once_and_not_tried_again_soon() {
    let database = PgCluster::shared().create_database().await;
    for url in [
        database.url().replace("postgres@", "nobody_of_this_name@"),
        database.url().replace(database.name(), "no_such_database"),
    ] {
        let (router, metrics) = router_to(&url, policy());
        let began = Instant::now();
        let error = router.begin().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "before the deadline"
        );
        let attempts = metrics.dials(Role::Primary, DialOutcome::RefusedForGood);
        assert_eq!(attempts, 1, "{url}");
        router.close().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_not_tried_again_soon() {
    const SCRAM: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let cluster = PgCluster::options().with_file("pg_hba.conf", SCRAM).start();
    let database = cluster.create_database().await;
    let session = database.session().await;
    let sql = "CREATE ROLE registry LOGIN PASSWORD 'right'";
    session.batch_execute(sql).await.unwrap();
    let with = |password: &str| {
        let login = format!("registry:{password}@");
        router_to(&database.url().replace("postgres@", &login), policy())
    };
    let (router, metrics) = with("wrong");
    for _ in 0..20 {
        let error = router.ping_primary().await.unwrap_err();
        let Error::Unavailable { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(source.is_for_good(), "{source:?}");
    }
    let outcome = DialOutcome::RefusedForGood;
    assert_eq!(metrics.dials(Role::Primary, outcome), 1);
    router.close().await;
    let (router, _) = with("right");
    router.ping_primary().await.unwrap();
    router.close().await;
}

#[tokio::test]
async fn while_others_hold_every_connection_callers_hear_when_to_come_back() {
    let cluster = PgCluster::options().with("max_connections", "12").start();
    let database = cluster.create_database().await;
    let session = database.session().await;
    let sql = "CREATE ROLE registry LOGIN; GRANT pg_read_all_data TO registry";
    session.batch_execute(sql).await.unwrap();
    let url = database.url().replace("postgres@", "registry@");
    let mut policy = policy();
    policy.acquire.write = Duration::from_millis(500);
    let world = World::at(database, &url, policy).await;
    // Two look at it already; superusers may use all twelve.
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(world.database.session().await);
    }
    let error = world.router.begin().await.unwrap_err();
    let Error::Unavailable {
        source,
        retry_after,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        source.sqlstate().map(tokio_postgres::error::SqlState::code),
        Some("53300")
    );
    assert!(*retry_after >= Duration::from_secs(1));

    // One place: everybody is served through it, and whoever is not is told that it is the load.
    others.truncate(6);
    let began = Instant::now();
    let held = loop {
        match world.router.begin().await {
            Ok(tx) => break tx,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
        }
    };
    let error = world.router.begin().await.unwrap_err();
    assert!(error.is_overload(), "{error:?}");
    drop(held);
    world
        .router
        .begin()
        .await
        .unwrap()
        .rollback()
        .await
        .unwrap();
    others.clear();
    world.end().await;
}

#[tokio::test]
async fn after_an_outage_connections_come_slowly_at_first() {
    const PERIOD: Duration = Duration::from_millis(300);
    let mut policy = policy();
    policy.dial.slow_start = PERIOD;
    let (world, proxy) = behind_a_proxy(policy).await;
    proxy.cut();
    let error = world.router.ping_primary().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let mut users = JoinSet::new();
    for _ in 0..4 {
        let router = world.router.clone();
        users.spawn(async move {
            loop {
                if let Ok(tx) = router.begin().await {
                    return tx;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    proxy.restore();
    let (restored, before) = (Instant::now(), proxy.accepted());
    eventually("all have one", async || {
        let made = proxy.accepted() - before;
        let rounds = restored.elapsed().as_millis() / PERIOD.as_millis();
        let most = 2_usize.pow(u32::try_from(rounds).unwrap() + 1) - 1;
        assert!(made <= most, "{made} after {:?}", restored.elapsed());
        world.open() == 4
    })
    .await;
    for tx in users.join_all().await {
        tx.rollback().await.unwrap();
    }
    world.end().await;
}
