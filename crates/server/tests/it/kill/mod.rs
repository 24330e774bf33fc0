//! The server killed at random moments of pushes.
//!
//! Each round several clients push images in every way the specification has, until the server is killed. Then it is
//! started again over what is left, and:
//! - every push it acknowledged is whole: manifest and every byte of every blob;
//! - every other push succeeds when it is made again, or is carried on from where an upload says it stands.
//!
//! After the last round the uploads that were cut off expire (by SQL: a day is long), the sweeper and the deletion of
//! objects run, and then there is neither a row without its object nor an object without its row.
//!
//! `KILL_ROUNDS` sets the number of rounds for each store, `KILL_SEED` what they are made of.

mod attempt;
mod image;
mod pusher;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portolan_testkit::children::eventually;
use portolan_testkit::image::Blob;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use self::attempt::Attempt;
use self::pusher::Pusher;
use crate::app::{Store, TestApp};

/// Without `KILL_ROUNDS`: enough to notice a change that breaks it, few enough for every run.
const ROUNDS: u64 = 3;

/// Clients at once: so that a kill finds pushes at different steps.
const PUSHERS: u64 = 4;

/// The kill comes after at most so many acknowledged steps of pushes, all clients together: on average two pushes each.
/// Counted and not timed, so that a slow machine finds the same moments.
const MOST_STEPS: u64 = 80;

/// And then after at most this many milliseconds, so that it falls inside of a step too, not only behind one.
const LONGEST_DELAY: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_a_folder_survive_kills() {
    survive(Store::Directory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_s3_survive_kills() {
    survive(Store::S3).await;
}

fn number(variable: &str) -> Option<u64> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}

async fn survive(store: Store) {
    let rounds = number("KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("KILL_SEED").unwrap_or(1);
    let mut app = TestApp::options(store).start().await;
    let mut history = Vec::new();
    for round in 0..rounds {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(round));
        let attempts = push_until_killed(&mut app, round, &mut rng).await;
        app.restart();
        let client = app.admin();
        let pushes = attempts.len();
        let (mut acknowledged, mut carried_on) = (0, 0);
        for attempt in attempts {
            acknowledged += u32::from(attempt.acknowledged);
            attempt.check_what_was_acknowledged(&client).await;
            carried_on += u32::from(attempt.carry_on(&client).await);
            attempt.push_again(&client).await;
            history.push((attempt.repository, attempt.tag, attempt.image));
        }
        eprintln!(
            "{store:?}, seed {seed}, round {round}: \
             {acknowledged} of {pushes} pushes acknowledged, {carried_on} uploads carried on"
        );
    }
    sweep(&mut app).await;
    let client = app.admin();
    for (repository, tag, image) in &history {
        image.pull(&client, repository, tag).await;
    }
}

async fn push_until_killed(app: &mut TestApp, round: u64, rng: &mut StdRng) -> Vec<Attempt> {
    let client = app.admin();
    // A password's hash takes longer than many a step.
    client.get_patiently("/v2/").await.expect(200);
    // The same bytes from everybody: one of them wins, the others' objects are left over.
    let shared = Blob::random(rng.random(), 300_000);
    let steps = Arc::new(AtomicU64::new(0));
    let mut pushers = JoinSet::new();
    for number in 0..PUSHERS {
        let pusher = Pusher {
            client: client.clone(),
            name: format!("{round}-{number}"),
            rng: StdRng::seed_from_u64(rng.random()),
            shared: shared.clone(),
            steps: Arc::clone(&steps),
        };
        pushers.spawn(pusher.push_until_gone());
    }
    let last_step = rng.random_range(0..MOST_STEPS);
    eventually("enough was pushed to kill the server", || async {
        steps.load(Ordering::Relaxed) >= last_step
    })
    .await;
    let deadline = Instant::now() + Duration::from_millis(rng.random_range(0..LONGEST_DELAY));
    eventually("it is time to kill the server", || async {
        Instant::now() >= deadline
    })
    .await;
    app.kill();
    pushers.join_all().await.into_iter().flatten().collect()
}

/// Lets everything expire, runs what cleans up, and balances rows against objects.
async fn sweep(app: &mut TestApp) {
    app.kill();
    let session = app.database().session().await;
    let run = async |sql: &str| {
        let outcome = session.execute(sql, &[]).await;
        outcome.unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    let uploads =
        run("UPDATE upload SET expires_at = now() - interval '1 hour', lock_until = NULL").await;
    run("UPDATE job SET due_at = now()").await;
    app.restart();
    eventually("every upload that was cut off is swept", || async {
        app.count("SELECT count(*) FROM upload").await == 0
    })
    .await;
    app.kill();
    let objects = run("UPDATE object_delete SET not_before = now()").await;
    eprintln!("swept {uploads} uploads, deletes {objects} objects");
    run("UPDATE job SET due_at = now()").await;
    app.restart();
    eventually("every object that nobody needs is deleted", || async {
        app.count("SELECT count(*) FROM object_delete").await == 0
    })
    .await;

    let rows = session
        .query("SELECT storage_key FROM blob", &[])
        .await
        .expect("the blobs can be listed");
    let expected: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let objects: BTreeSet<String> = app.objects().into_iter().collect();
    let leaked: Vec<_> = objects.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&objects).collect();
    assert!(leaked.is_empty(), "objects without a row: {leaked:?}");
    assert!(missing.is_empty(), "rows without an object: {missing:?}");
    assert_eq!(
        app.unfinished_uploads(),
        0,
        "multipart uploads that nobody finishes"
    );
    assert_eq!(app.count("SELECT count(*) FROM upload_part").await, 0);
}
