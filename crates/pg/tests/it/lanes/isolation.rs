//! What one asks for does not harm what others ask for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use portolan_pg::{Error, LanePolicy, PointRead, Router, Share, Statement, point_statement};
use portolan_testkit::children::eventually;
use tokio::task::JoinSet;
use tokio_postgres::{Row, error::SqlState, types::ToSql};

use super::{Cycle, ask_all, patient};
use crate::support::{ItemSize, World};

const MIB: i32 = 1 << 20;

/// A text of as many bytes as the second number of its key says.
#[derive(Debug)]
struct Text;

impl PointRead for Text {
    type Key = (i32, i32);
    type Row = usize;

    const STATEMENT: Statement = point_statement!(
        "test.text",
        [INT4_ARRAY],
        "SELECT k.ord, t.text FROM unnest($1::int[]) WITH ORDINALITY AS k (bytes, ord) \
         CROSS JOIN LATERAL (SELECT repeat('x', k.bytes) AS text LIMIT 1) AS t",
    );

    fn party(key: &(i32, i32)) -> u64 {
        key.0.unsigned_abs().into()
    }

    fn answer_bytes(key: &(i32, i32)) -> usize {
        key.1.try_into().unwrap()
    }

    fn columns(keys: &[&(i32, i32)]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let bytes: Vec<i32> = keys.iter().map(|key| key.1).collect();
        vec![Box::new(bytes)]
    }

    fn decode(row: &Row) -> Result<usize, tokio_postgres::Error> {
        row.try_get(1).map(str::len)
    }
}

/// Divides by its key.
#[derive(Debug)]
struct Ratio;

impl PointRead for Ratio {
    type Key = i32;
    type Row = i32;

    const STATEMENT: Statement = point_statement!(
        "test.ratio",
        [INT4_ARRAY],
        "SELECT k.ord, t.ratio FROM unnest($1::int[]) WITH ORDINALITY AS k (divisor, ord) \
         CROSS JOIN LATERAL (SELECT 1000 / k.divisor AS ratio LIMIT 1) AS t",
    );

    fn party(key: &i32) -> u64 {
        key.unsigned_abs().into()
    }

    fn columns(keys: &[&i32]) -> Vec<Box<dyn ToSql + Sync + Send>> {
        let keys: Vec<i32> = keys.iter().map(|&key| *key).collect();
        vec![Box::new(keys)]
    }

    fn decode(row: &Row) -> Result<i32, tokio_postgres::Error> {
        row.try_get(1)
    }
}

/// The 99th of 100 answer times of 64 clients who ask for small things.
async fn p99_of_small_answers(router: &Router) -> Duration {
    let mut clients = JoinSet::new();
    for client in 0..64 {
        let router = router.clone();
        clients.spawn(async move {
            let mut took = Vec::new();
            for turn in 0..100 {
                let began = Instant::now();
                let key = (client, 1 + turn);
                let served = router.read_fresh::<Text>(key).await.unwrap();
                took.push(began.elapsed());
                assert_eq!(served.value, usize::try_from(key.1).ok());
            }
            took
        });
    }
    let mut took = clients.join_all().await.concat();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_answers_do_not_wait_for_large_ones() {
    /// Of the scheduler, where the processors are shared with other tests.
    const NOISE: Duration = Duration::from_millis(20);
    // Time enough for a large answer on a machine that does something else as well.
    let mut policy = patient();
    policy.lanes = LanePolicy::default();
    let world = World::new(policy).await;
    let mut seen = Vec::new();
    // Noise only ever adds. A lane that small answers share with large ones would be slow in every round.
    for _ in 0..5 {
        let alone = p99_of_small_answers(&world.router).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut pulls = JoinSet::new();
        for client in 0..16 {
            let (router, stop) = (world.router.clone(), Arc::clone(&stop));
            pulls.spawn(async move {
                let mut pulled = 0;
                while !stop.load(Ordering::Acquire) {
                    let served = router.read_fresh::<Text>((client, 4 * MIB)).await.unwrap();
                    assert_eq!(served.value, Some(4 << 20));
                    pulled += 1;
                }
                pulled
            });
        }
        eventually("large answers are waited for", async || {
            world.keys_waiting() > 8
        })
        .await;
        let beside = p99_of_small_answers(&world.router).await;
        stop.store(true, Ordering::Release);
        let pulled: usize = pulls.join_all().await.into_iter().sum();
        seen.push((alone, beside, pulled));
        if beside <= (2 * alone).max(NOISE) {
            return world.end().await;
        }
    }
    panic!("the p99 alone, beside large answers, and how many of those: {seen:?}");
}

#[tokio::test]
async fn a_key_that_fails_harms_nobody_else() {
    let world = World::new(patient()).await;
    let cycle = Cycle::begin(&world).await;
    // A whole batch, with one that cannot be answered in it.
    let mut asked = ask_all::<Ratio>(&world.router, -100..156);
    let mut others = ask_all::<ItemSize>(&world.router, ["a".to_owned()]);
    eventually("all wait", async || world.keys_waiting() == 257).await;
    cycle.end().await;
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            (0, answer) => {
                let error = answer.unwrap_err();
                assert_eq!(error.sqlstate(), Some(&SqlState::DIVISION_BY_ZERO));
            }
            (key, answer) => assert_eq!(answer.unwrap(), Some(1000 / key)),
        }
    }
    assert_eq!(others.join_next().await.unwrap().unwrap().1.unwrap(), None);
    // 256 keys, halved until the one is alone.
    let halved = r#"pg_batch_splits_total{server="primary",statement="test.ratio"}"#;
    assert_eq!(world.measured(halved), 8);
    world.end().await;
}

#[tokio::test]
async fn nobody_holds_more_than_a_quarter_of_the_queue() {
    let world = World::new(patient()).await;
    let cycle = Cycle::begin(&world).await;
    let greedy = |n| format!("greedy {n}");
    let mut asked = ask_all::<ItemSize>(&world.router, (0..1_500).map(greedy));
    let mut refused = 0;
    while refused < 1_500 - 1_024 {
        match asked.join_next().await.unwrap().unwrap() {
            (_, Err(Error::QueueFull { share })) => assert_eq!(share, Share::Lanes),
            other => panic!("{other:?}"),
        }
        refused += 1;
    }
    assert_eq!(world.keys_waiting(), 1_024);
    let names =
        (b'A'..=b'Z').flat_map(|name| (0..20).map(move |n| format!("{} {n}", name as char)));
    let mut others = ask_all::<ItemSize>(&world.router, names);
    eventually("the others are let in", async || {
        world.keys_waiting() == 1_024 + 26 * 20
    })
    .await;
    cycle.end().await;
    for asked in [&mut asked, &mut others] {
        while let Some(answer) = asked.join_next().await {
            assert_eq!(answer.unwrap().1.unwrap(), None);
        }
    }
    world.end().await;
}
