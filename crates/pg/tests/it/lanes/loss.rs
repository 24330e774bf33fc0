//! A connection that is lost in the middle of a batch.

use std::collections::HashSet;

use portolan_pg::CloseReason;
use portolan_testkit::children::eventually;

use super::{Held, ask_all, held_up, lock, patient, unlock};
use crate::support::World;

/// Asks for so many keys in one batch, and waits until the server is at it.
const KEYS: i64 = 200;

async fn cut_the_batch(world: &World) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    held_up(&world.outside, 1).await;
    assert_eq!(world.outside.execute(sql, &[]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_batch_whose_connection_is_lost_is_asked_again_on_another() {
    let world = World::new(patient()).await;
    lock(&world.outside, KEYS).await;
    let mut asked = ask_all::<Held>(&world.router, 1..=KEYS);
    cut_the_batch(&world).await;
    held_up(&world.outside, 1).await;
    unlock(&world.outside, KEYS).await;
    let mut answered = HashSet::new();
    while let Some(answer) = asked.join_next().await {
        let (key, answer) = answer.unwrap();
        assert_eq!(answer.unwrap(), Some(key));
        answered.insert(key);
    }
    assert_eq!(answered.len(), 200);
    assert_eq!(world.closed(CloseReason::Lost), 1);
    world.end().await;
}

#[tokio::test]
async fn a_batch_that_loses_two_connections_is_given_up() {
    let world = World::new(patient()).await;
    lock(&world.outside, KEYS).await;
    let mut asked = ask_all::<Held>(&world.router, 1..=KEYS);
    cut_the_batch(&world).await;
    cut_the_batch(&world).await;
    while let Some(answer) = asked.join_next().await {
        let error = answer.unwrap().1.unwrap_err();
        assert!(error.is_connection_lost(), "{error}");
    }
    eventually("both are counted", async || {
        world.closed(CloseReason::Lost) == 2
    })
    .await;
    unlock(&world.outside, KEYS).await;
    world.end().await;
}
