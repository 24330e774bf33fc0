//! How many may wait, and what is left of those who do not want to any more.

use std::{future::Future, pin::pin, time::Duration};

use futures::poll;
use portolan_pg::{AgePolicy, CloseReason, Error, Policy, Share};
use portolan_testkit::children::eventually;
use tokio::task::{JoinSet, yield_now};

use super::{Cycle, ask_all, patient};
use crate::support::{ItemSize, World, forgetful, policy};

/// Asks, looks `polls` times whether there is an answer, and goes away.
async fn give_up(ask: impl Future, polls: usize) {
    let mut ask = pin!(ask);
    for _ in 0..polls {
        if poll!(&mut ask).is_ready() {
            return;
        }
        yield_now().await;
    }
}

#[tokio::test]
async fn ten_thousand_who_give_up_are_asked_for_nothing() {
    let world = World::new(patient()).await;
    let cycle = Cycle::begin(&world).await;
    for wave in 0..10 {
        let mut asked = JoinSet::new();
        for n in 0..1_000 {
            let router = world.router.clone();
            // Some want the same.
            let name = format!("{} of {wave}", n % 700);
            asked.spawn(async move { router.read_fresh::<ItemSize>(name).await });
        }
        eventually("they wait", async || world.keys_waiting() == 700).await;
        asked.shutdown().await;
        assert_eq!(world.keys_waiting(), 0);
    }
    cycle.end().await;
    let batches = r#"pg_batch_keys_count{server="primary",statement="test.item_size"}"#;
    assert_eq!(world.measured(batches), 0);
    world.end().await;
}

#[tokio::test]
async fn whoever_gives_up_at_any_moment_leaves_nothing_behind() {
    let world = World::new(policy()).await;
    let mut askers = JoinSet::new();
    for asker in 0..50 {
        let router = world.router.clone();
        askers.spawn(async move {
            for turn in 0..200 {
                let ask = router.read_fresh::<ItemSize>(format!("{}", turn % 7));
                give_up(ask, (asker + turn) % 12).await;
            }
        });
    }
    askers.join_all().await;
    // Nothing waits, nothing is lent, and the next is served.
    eventually("the lanes rest", async || world.in_use(Share::Lanes) == 0).await;
    let read = world.router.read_fresh::<ItemSize>("a".to_owned()).await;
    assert_eq!(read.unwrap().value, None);
    world.end().await;
}

async fn the_fifth_is_refused_at_once(policy: Policy) {
    let world = World::new(policy).await;
    let cycle = Cycle::begin(&world).await;
    let mut asked = ask_all::<ItemSize>(&world.router, ["a", "b", "c", "d"].map(str::to_owned));
    eventually("four wait", async || world.keys_waiting() == 4).await;
    let one_more = world.router.read_fresh::<ItemSize>("e".to_owned());
    // At once: there is nothing to wait for.
    let refused = match poll!(pin!(one_more)) {
        std::task::Poll::Ready(Err(error)) => error,
        other => panic!("{other:?}"),
    };
    let share = Share::Lanes;
    assert!(
        matches!(refused, Error::QueueFull { share: full } if full == share),
        "{refused}"
    );
    assert!(refused.is_overload() && refused.retry_after().is_some());
    // Who wants what is asked for anyway takes no room.
    let mut same = ask_all::<ItemSize>(&world.router, vec!["a".to_owned(); 10]);
    yield_now().await;
    cycle.end().await;
    for asked in [&mut asked, &mut same] {
        while let Some(answer) = asked.join_next().await {
            assert_eq!(answer.unwrap().1.unwrap(), None);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn the_queue_is_full_at_so_many_keys() {
    let mut policy = patient();
    policy.lanes.queue_keys = 4;
    the_fifth_is_refused_at_once(policy).await;
}

#[tokio::test]
async fn the_queue_is_full_at_so_many_bytes() {
    let mut policy = patient();
    policy.lanes.queue_bytes = 4 * size_of::<String>();
    the_fifth_is_refused_at_once(policy).await;
}

#[tokio::test]
async fn lanes_without_work_hold_no_connection_and_leave_none_behind() {
    let age = AgePolicy {
        idle: Duration::from_secs(2),
        ..forgetful()
    };
    let world = World::new(Policy { age, ..policy() }).await;
    let mut asked = ask_all::<ItemSize>(&world.router, (0..100).map(|n| format!("{n}")));
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.unwrap().1.unwrap(), None);
    }
    eventually("it was given back", async || {
        world.in_use(Share::Lanes) == 0 && world.idle() == world.open()
    })
    .await;
    assert!(world.open() > 0, "and is kept for a while");
    eventually("it is closed", async || world.open() == 0).await;
    eventually("the server agrees", async || world.sessions().await == 0).await;
    assert!(world.closed(CloseReason::Idle) > 0);
    world.end().await;
}
