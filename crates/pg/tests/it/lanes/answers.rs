//! An answer is never older than the question.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use portolan_pg::{Error, PointRead, Router, Statement, point_statement};
use portolan_testkit::children::eventually;
use tokio::task::JoinSet;
use tokio_postgres::{Row, types::ToSql};

use super::{ask_all, held_up, lock, patient, unlock};
use crate::support::{ItemSize, UPDATE_ALL, World, insert, policy};

/// The size of an item as it was when the statement began; the answer comes when the advisory lock 1 is free.
#[derive(Debug)]
struct SlowSize;

impl PointRead for SlowSize {
    type Key = String;
    type Row = i64;

    const STATEMENT: Statement = point_statement!(
        "test.slow_size",
        [TEXT_ARRAY],
        "SELECT k.ord, t.size FROM unnest($1::text[]) WITH ORDINALITY AS k (name, ord) \
         CROSS JOIN LATERAL (SELECT i.size, pg_advisory_xact_lock_shared(1) FROM item AS i \
         WHERE i.name = k.name LIMIT 1) AS t",
    );

    fn party(_: &String) -> u64 {
        0
    }

    fn columns(keys: &[&String]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        ItemSize::columns(keys)
    }

    fn decode(row: &Row) -> Result<i64, tokio_postgres::Error> {
        row.try_get(1)
    }
}

async fn grow(router: &Router) -> Result<(), Error> {
    let tx = router.begin().await?;
    tx.execute_one(&UPDATE_ALL, &[]).await?;
    let committed = tx.commit().await?;
    router.acknowledge(committed).await
}

#[tokio::test]
async fn nobody_joins_a_batch_that_was_sent_before_he_asked() {
    let world = World::new(patient()).await;
    insert(&world.router, "a", 1).await.unwrap();
    lock(&world.outside, 1).await;
    let mut early = ask_all::<SlowSize>(&world.router, ["a".to_owned()]);
    held_up(&world.outside, 1).await;
    grow(&world.router).await.unwrap();
    // The answer to the same question is under way, and too old.
    let mut late = ask_all::<SlowSize>(&world.router, vec!["a".to_owned(); 10]);
    eventually("they share a key", async || world.keys_waiting() == 1).await;
    unlock(&world.outside, 1).await;
    assert_eq!(
        early.join_next().await.unwrap().unwrap().1.unwrap(),
        Some(1)
    );
    while let Some(answer) = late.join_next().await {
        assert_eq!(answer.unwrap().1.unwrap(), Some(2));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_sees_his_own_change_however_many_read_the_same() {
    let world = World::new(policy()).await;
    insert(&world.router, "a", 0).await.unwrap();
    let acknowledged = Arc::new(AtomicI64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..32 {
        let (router, acknowledged, done) = (
            world.router.clone(),
            Arc::clone(&acknowledged),
            Arc::clone(&done),
        );
        readers.spawn(async move {
            while !done.load(Ordering::Acquire) {
                let least = acknowledged.load(Ordering::Acquire);
                let read = router.read_fresh::<ItemSize>("a".to_owned()).await.unwrap();
                assert!(read.value >= Some(least), "{read:?} after {least}");
            }
        });
    }
    for size in 1..=300 {
        grow(&world.router).await.unwrap();
        acknowledged.store(size, Ordering::Release);
        let read = world.router.read_fresh::<ItemSize>("a".to_owned()).await;
        assert_eq!(read.unwrap().value, Some(size));
    }
    done.store(true, Ordering::Release);
    readers.join_all().await;
    let shared = r#"pg_keys_shared_total{server="primary",statement="test.item_size"}"#;
    assert!(world.measured(shared) > 0, "the readers shared keys");
    world.end().await;
}
