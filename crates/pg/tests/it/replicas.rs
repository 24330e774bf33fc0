//! Reads over two streaming replicas: fresh on any process at any lag, from the replicas wherever that can be proven.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use portolan_pg::{DialError, Endpoint, Error, Metrics, Policy, PrimaryReason, Router, ServedBy};
use portolan_testkit::{
    chaos_proxy::ChaosProxy,
    children::eventually,
    pg_cluster::{PgCluster, PgReplica},
};
use secrecy::SecretString;

use crate::support::{INSERT, ItemSize, UPDATE_ALL, World, policy};

/// A primary, two replicas, and two routers as two processes have them.
struct Fleet {
    // Dropped in this order.
    writer: Router,
    reader: Router,
    world: World,
    replicas: [PgReplica; 2],
    cluster: PgCluster,
}

impl Fleet {
    async fn start(adapt: impl Fn(&mut Policy)) -> Self {
        let cluster = PgCluster::start();
        let replicas = [cluster.add_replica(), cluster.add_replica()];
        let mut policy = policy();
        adapt(&mut policy);
        let world = World::on(&cluster, policy.clone()).await;
        for replica in &replicas {
            replica.catch_up(cluster.primary()).await;
        }
        let connect = |seed| {
            let endpoint = |url: &str| Endpoint::parse(&SecretString::from(url)).unwrap();
            let urls = replicas
                .each_ref()
                .map(|replica| replica.server().url(world.database.name()));
            Router::connect(
                policy.clone(),
                endpoint(world.database.url()),
                urls.iter().map(|url| endpoint(url)).collect(),
                Metrics::unregistered(),
                seed,
            )
        };
        let fleet = Self {
            writer: connect(1),
            reader: connect(2),
            world,
            replicas,
            cluster,
        };
        fleet.write("a", 0).await;
        fleet.served_by_replicas().await;
        fleet
    }

    /// A write that has been acknowledged.
    async fn write(&self, name: &str, size: i64) {
        let tx = self.writer.begin().await.unwrap();
        tx.execute_one(&INSERT, &[&name, &size]).await.unwrap();
        let committed = tx.commit().await.unwrap();
        self.writer.acknowledge(committed).await.unwrap();
    }

    /// Adds one to every size, and is acknowledged.
    async fn raise(&self) {
        let tx = self.writer.begin().await.unwrap();
        tx.execute(&UPDATE_ALL, &[]).await.unwrap();
        let committed = tx.commit().await.unwrap();
        self.writer.acknowledge(committed).await.unwrap();
    }

    async fn read(&self, name: &str) -> (Option<i64>, ServedBy) {
        let served = self
            .reader
            .read_fresh::<ItemSize>(name.to_owned())
            .await
            .unwrap();
        (served.value, served.by)
    }

    /// Reads until a replica serves: it has been registered, and a floor covers it.
    async fn served_by_replicas(&self) {
        eventually("a replica serves", async || {
            self.read("a").await.1 == ServedBy::Replica
        })
        .await;
    }

    async fn end(self) {
        self.writer.close().await;
        self.reader.close().await;
        self.world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_an_acknowledged_write_shows_it_and_replicas_serve_it() {
    let fleet = Fleet::start(|_| {}).await;
    let mut by_replica = 0;
    for size in 1..=200 {
        fleet.raise().await;
        let (value, by) = fleet.read("a").await;
        assert_eq!(value, Some(size));
        by_replica += i32::from(by == ServedBy::Replica);
    }
    assert!(by_replica >= 180, "{by_replica} of 200");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stands_still_serves_nobody_and_writes_wait_no_longer_than_the_silence() {
    let fleet = Fleet::start(|_| {}).await;
    for replica in &fleet.replicas {
        replica.pause_replay().await;
    }
    for size in 1..=3 {
        let began = Instant::now();
        fleet.raise().await;
        assert!(began.elapsed() < Duration::from_millis(1_500));
        let (value, by) = fleet.read("a").await;
        assert_eq!(value, Some(size));
        assert!(matches!(by, ServedBy::Primary { .. }), "{by:?}");
    }
    for replica in &fleet.replicas {
        replica.resume_replay().await;
    }
    fleet.served_by_replicas().await;
    assert_eq!(fleet.read("a").await.0, Some(3));
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lag_within_the_lease_still_lets_replicas_serve() {
    let fleet = Fleet::start(|_| {}).await;
    for replica in &fleet.replicas {
        replica.set_apply_delay(Duration::from_millis(200)).await;
    }
    let mut by_replica = 0;
    let mut size = 0;
    for turn in 0..100 {
        if turn % 10 == 0 {
            fleet.raise().await;
            size += 1;
        }
        let (value, by) = fleet.read("a").await;
        assert_eq!(value, Some(size));
        by_replica += i32::from(by == ServedBy::Replica);
    }
    assert!(by_replica >= 50, "{by_replica} of 100");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_does_not_have_is_asked_of_the_primary() {
    let fleet = Fleet::start(|_| {}).await;
    let (value, by) = fleet.read("nothing").await;
    assert_eq!(value, None);
    let reason = PrimaryReason::Absent;
    assert_eq!(by, ServedBy::Primary { reason });
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_replica_costs_reads_nothing_and_writes_a_silence_until_it_is_out() {
    let fleet = Fleet::start(|_| {}).await;
    fleet.replicas[0].kill9();
    let size = AtomicI64::new(0);
    eventually("writes are fast again: the dead one is out", async || {
        let began = Instant::now();
        fleet.raise().await;
        let expected = size.fetch_add(1, Ordering::AcqRel) + 1;
        let (value, _) = fleet.read("a").await;
        assert_eq!(value, Some(expected));
        began.elapsed() < Duration::from_millis(100)
    })
    .await;
    fleet.served_by_replicas().await;
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_primary_replicas_serve_after_a_while_and_say_so() {
    let fleet = Fleet::start(|policy| {
        policy.floors.stale_after = Some(Duration::from_millis(500));
        policy.acquire.read = Duration::from_millis(250);
    })
    .await;
    fleet.raise().await;
    for replica in &fleet.replicas {
        replica.catch_up(fleet.cluster.primary()).await;
    }
    fleet.cluster.kill9();
    eventually("reads go on, stale", async || {
        let read = fleet.reader.read_fresh::<ItemSize>("a".to_owned()).await;
        match read {
            Ok(served) => {
                assert_eq!(served.value, Some(1));
                matches!(served.by, ServedBy::Stale { .. })
            }
            Err(error) => {
                assert!(
                    error.retry_after().is_some() || error.is_connection_lost(),
                    "{error}"
                );
                false
            }
        }
    })
    .await;
    fleet.cluster.primary().start_again();
    fleet.served_by_replicas().await;
    // The session beside the routers went with the primary.
    fleet.writer.close().await;
    fleet.reader.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_lead_to_servers_of_one_name_are_not_read_from() {
    let cluster = PgCluster::start();
    let replica = cluster.add_replica();
    let world = World::on(&cluster, policy()).await;
    replica.catch_up(cluster.primary()).await;
    let endpoint = |url: &str| Endpoint::parse(&SecretString::from(url)).unwrap();
    let url = replica.server().url(world.database.name());
    let replicas = [url.clone(), url.replace("127.0.0.1", "localhost")];
    let router = Router::connect(
        policy(),
        endpoint(world.database.url()),
        replicas.iter().map(|url| endpoint(url)).collect(),
        Metrics::unregistered(),
        1,
    );
    let read = async || {
        let served = router.read_fresh::<ItemSize>("a".to_owned()).await;
        served.unwrap().by
    };
    let reason = PrimaryReason::Ambiguous;
    eventually("both addresses were reached", async || {
        read().await == ServedBy::Primary { reason }
    })
    .await;
    for _ in 0..50 {
        assert!(matches!(read().await, ServedBy::Primary { .. }));
    }
    router.close().await;
    drop((world, replica));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_before_a_replica_is_found_out_before_anything_is_read_through_it() {
    let fleet = Fleet::start(|_| {}).await;
    // It lends one and the same session to whoever is alone: nothing changes that could be noticed later.
    let pooler = fleet
        .cluster
        .start_pooler(fleet.replicas[0].server().address(), &[]);
    let endpoint = |url: &str| Endpoint::parse(&SecretString::from(url)).unwrap();
    let router = Router::connect(
        policy(),
        endpoint(fleet.world.database.url()),
        vec![endpoint(&pooler.url(fleet.world.database.name()))],
        Metrics::unregistered(),
        4,
    );
    let contacts = router.reach_replicas().await;
    assert!(
        matches!(
            contacts[0].server,
            Err(Error::Unavailable {
                source: DialError::Pooled,
                ..
            })
        ),
        "{contacts:?}"
    );
    for _ in 0..50 {
        let read = router.read_fresh::<ItemSize>("a".to_owned());
        let served = read.await.unwrap();
        assert_eq!(served.value, Some(0));
        assert!(
            matches!(served.by, ServedBy::Primary { .. }),
            "{:?}",
            served.by
        );
    }
    assert_eq!(router.status().await.replicas[0].fitness, "unreachable");
    router.close().await;
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_to_several_replicas_is_not_read_from_until_it_leads_to_one() {
    let fleet = Fleet::start(|_| {}).await;
    let [first, second] = fleet.replicas.each_ref().map(PgReplica::server);
    let balancer = ChaosProxy::round_robin(&[first.address(), second.address()]).await;
    let url = balancer.through(fleet.world.database.url());
    let endpoint = |url: &str| Endpoint::parse(&SecretString::from(url)).unwrap();
    let mut policy = policy();
    policy.floors.vote_every = Duration::from_millis(200);
    policy.floors.one_server = Duration::from_secs(2);
    let router = Router::connect(
        policy,
        endpoint(fleet.world.database.url()),
        vec![endpoint(&url)],
        Metrics::unregistered(),
        3,
    );
    let read = async || {
        let read = router.read_fresh::<ItemSize>("a".to_owned());
        let served = read.await.unwrap();
        assert_eq!(served.value, Some(0));
        served.by
    };
    let several = ServedBy::Primary {
        reason: PrimaryReason::SeveralServers,
    };
    eventually("it is found out", async || read().await == several).await;
    // For longer than is remembered, on connections that change: it stays found out.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_ne!(read().await, ServedBy::Replica);
    }
    let status = router.status().await;
    assert_eq!(status.replicas[0].fitness, "several_servers");
    assert_eq!(
        status.replicas[0].resting,
        Some(PrimaryReason::SeveralServers)
    );
    // The name of a replica that moved to another one.
    balancer.lead_to(second.address());
    eventually("it leads to one", async || {
        read().await == ServedBy::Replica
    })
    .await;
    router.close().await;
    fleet.end().await;
}
