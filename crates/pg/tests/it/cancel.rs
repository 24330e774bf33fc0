//! A future that is dropped, at every point where it waits, leaves nothing lent, nobody waiting and nothing half done.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicI64, Ordering},
    task::Poll,
    time::Duration,
};

use portolan_pg::{AgePolicy, Endpoint, Error, Metrics, Policy, Read, Router, ServedBy, Share};
use portolan_testkit::{children::eventually, pg_cluster::PgCluster};
use secrecy::SecretString;

use crate::support::{COUNT, INSERT, ItemSize, World, insert, policy};

/// No verb waits as often: a run that does is going in circles.
const MOST_WAITS: usize = 500;

/// When a future is dropped.
#[derive(Debug, Clone, Copy)]
enum Drop {
    /// As soon as it waits: what it waits for is still to come.
    WhenItWaits,
    /// When it would go on: what it waited for has been given to it, and it never learns so.
    WhenItIsWoken,
}

/// Polls a future up to so many times, then drops it. Returns what it had to say, if that was enough.
async fn cut<T>(future: impl Future<Output = T>, polls: usize, when: Drop) -> Option<T> {
    let mut future = pin!(future);
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if polled == polls && matches!(when, Drop::WhenItWaits) => {
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drops `verb` at its first wait, at its second, and so on, until it ends by itself; `check` looks after each.
async fn at_every_wait(
    name: &str,
    verb: impl AsyncFn() -> Result<(), Error>,
    check: impl AsyncFn(),
) {
    for when in [Drop::WhenItWaits, Drop::WhenItIsWoken] {
        let mut polls = 0;
        loop {
            let ended = cut(verb(), polls, when).await;
            check().await;
            if let Some(result) = ended {
                result.unwrap();
                break;
            }
            polls += 1;
            assert!(polls < MOST_WAITS, "{name} never ends");
        }
        assert!(polls > 0, "{name} waits for nothing");
    }
}

/// Adds two items, with everything a transaction can do on the way.
async fn add_two(router: &Router, number: i64) -> Result<(), Error> {
    let tx = router.begin().await?;
    tx.execute_one(&INSERT, &[&format!("a {number}"), &number])
        .await?;
    tx.savepoint("before").await?;
    tx.execute(&INSERT, &[&format!("b {number}"), &number])
        .await?;
    tx.rollback_to("before").await?;
    tx.release("before").await?;
    tx.query_one(&COUNT, &[]).await?;
    tx.execute_one(&INSERT, &[&format!("c {number}"), &number])
        .await?;
    router.acknowledge(tx.commit().await?).await
}

/// Nothing is lent, no key waits, and the server has no transaction of ours.
async fn is_clean(world: &World) {
    let all = [
        Share::Lanes,
        Share::SecondLane,
        Share::Lists,
        Share::Writes,
        Share::Background,
        Share::Control,
    ];
    eventually("nothing is lent", async || {
        all.iter()
            .all(|&share| world.in_use(share) == 0 && world.waiting(share) == 0)
    })
    .await;
    assert_eq!(world.keys_waiting(), 0);
    let sql = "SELECT count(*) FILTER (WHERE xact_start IS NOT NULL), \
                      (SELECT count(*) % 2 FROM item WHERE name <> 'known') \
               FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = $1";
    let application = crate::support::APPLICATION;
    // Of a transaction there is all or nothing.
    eventually("no transaction is open", async || {
        let row = world.outside.query_one(sql, &[&application]).await.unwrap();
        assert_eq!(row.get::<_, i64>(1), 0, "half of a transaction");
        row.get::<_, i64>(0) == 0
    })
    .await;
    assert!(world.open() <= 8);
}

async fn every_verb(policy: Policy) {
    let world = World::new(policy).await;
    insert(&world.router, "known", 1).await.unwrap();
    let (router, check) = (&world.router, async || is_clean(&world).await);
    let number = AtomicI64::new(0);
    let fresh = async || {
        let read = router.read_fresh::<ItemSize>("known".to_owned()).await?;
        assert_eq!(read.value, Some(1));
        Ok(())
    };
    at_every_wait("read_fresh", fresh, check).await;
    let any = async || {
        let read = router.read_any::<ItemSize>("known".to_owned()).await?;
        assert_eq!(read.value, Some(1));
        Ok(())
    };
    at_every_wait("read_any", any, check).await;
    let list = async || router.read_list().query_one(&COUNT, &[]).await.map(drop);
    at_every_wait("read_list", list, check).await;
    let primary = async || {
        let primary = router.read_primary().await?;
        primary.query_one(&COUNT, &[]).await.map(drop)
    };
    at_every_wait("read_primary", primary, check).await;
    at_every_wait("ping_primary", async || router.ping_primary().await, check).await;
    let commit = async || add_two(router, number.fetch_add(1, Ordering::AcqRel)).await;
    at_every_wait("commit", commit, check).await;
    let rollback = async || {
        let tx = router.begin_background().await?;
        tx.query_one(&COUNT, &[]).await?;
        tx.rollback().await
    };
    at_every_wait("rollback", rollback, check).await;
    world.end().await;
}

#[tokio::test]
async fn every_verb_may_be_dropped_at_every_wait() {
    every_verb(policy()).await;
}

#[tokio::test]
async fn every_verb_may_be_dropped_at_every_wait_while_connections_are_made_and_asked() {
    // None is used twice, and each is asked for a sign of life before it is lent.
    let age = AgePolicy {
        lifetime: Duration::ZERO,
        verify_after: Duration::ZERO,
        ..AgePolicy::default()
    };
    every_verb(Policy { age, ..policy() }).await;
}

#[tokio::test]
async fn behind_a_pooler_every_verb_may_be_dropped_at_every_wait() {
    every_verb(policy().with_pooler(true)).await;
}

/// Over a replica that shows nothing new, the barrier waits for a silence, and every read asks the primary after all.
#[tokio::test]
async fn reads_over_replicas_and_the_barrier_may_be_dropped_at_every_wait() {
    let cluster = PgCluster::start();
    let replica = cluster.add_replica();
    let world = World::on(&cluster, policy()).await;
    replica.catch_up(cluster.primary()).await;
    let endpoint = |url: &str| Endpoint::parse(&SecretString::from(url)).unwrap();
    let router = Router::connect(
        policy(),
        endpoint(world.database.url()),
        vec![endpoint(&replica.server().url(world.database.name()))],
        Metrics::unregistered(),
        3,
    );
    insert(&router, "known", 1).await.unwrap();
    let known = async |router: &Router| {
        let read = router.read_fresh::<ItemSize>("known".to_owned()).await?;
        assert_eq!(read.value, Some(1));
        Ok::<_, Error>(read.by)
    };
    eventually("the replica serves", async || {
        known(&router).await.unwrap() == ServedBy::Replica
    })
    .await;
    replica.pause_replay().await;
    let number = AtomicI64::new(0);
    let write_and_read = async || {
        add_two(&router, number.fetch_add(1, Ordering::AcqRel)).await?;
        known(&router).await.map(drop)
    };
    // The replica's tasks go on beside it, so only what the server says of it is looked at.
    let halves = async || {
        let sql = "SELECT count(*) % 2 FROM item WHERE name <> 'known'";
        let row = world.outside.query_one(sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "half of a transaction");
    };
    at_every_wait("write and read", write_and_read, halves).await;
    replica.resume_replay().await;
    eventually("the replica serves again", async || {
        known(&router).await.unwrap() == ServedBy::Replica
    })
    .await;
    router.close().await;
    world.end().await;
}
