//! How many reads replicas take off the primary, counted by the process and by the replicas.

use std::sync::atomic::Ordering;
use std::time::Duration;

use portolan_testkit::children::eventually;

use super::TURN;
use super::crowd::{Crowd, REPOSITORY, Roles};
use super::stage::{Stage, Way};

/// How long each state is looked at: this is a measurement, nothing is waited for.
const WINDOW: Duration = Duration::from_secs(4);

/// Longer than the lease of a floor: replicas that are so late serve nothing.
const BEYOND_THE_LEASE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn replicas_serve_most_reads_half_of_them_at_300_ms_and_none_beyond_the_lease() {
    let _turn = TURN.lock().await;
    let stage = Stage::start(&[Way::Direct, Way::Direct]).await;
    let clients = stage.clients(REPOSITORY).await;
    let [writer, reader] = clients.try_into().expect("two processes");
    let crowd = Crowd::start(Roles {
        writers: vec![writer],
        readers: vec![reader],
        // Two who ask for the same tag at once are one look-up: here each look-up is to be counted.
        readers_each: 1,
        seed: 1,
    })
    .await;
    stage.served_by_replicas(1).await;

    let healthy = measure(&stage, &crowd).await;
    eprintln!("writer: {}", stage.nodes[0].summary().await);
    assert!(healthy.by_replicas >= 0.9, "healthy: {healthy:?}");
    assert!(healthy.looked_up >= 0.9, "healthy: {healthy:?}");

    lag(&stage, Duration::from_millis(300)).await;
    let late = measure(&stage, &crowd).await;
    assert!(late.by_replicas >= 0.5, "300 ms late: {late:?}");
    assert!(late.looked_up >= 0.5, "300 ms late: {late:?}");

    lag(&stage, BEYOND_THE_LEASE).await;
    let too_late = measure(&stage, &crowd).await;
    assert!(
        too_late.by_replicas <= 0.0,
        "beyond the lease: {too_late:?}"
    );
    assert!(too_late.looked_up < 0.1, "beyond the lease: {too_late:?}");
    eprintln!("{healthy:?}\n{late:?}\n{too_late:?}");
    eprintln!("writer: {}", stage.nodes[0].summary().await);

    lag(&stage, Duration::ZERO).await;
    stage.served_by_replicas(1).await;
    crowd.end(|| stage.errors()).await;
}

/// Parts of the pulls at the second process.
#[derive(Debug)]
struct Shares {
    /// Served by replicas, as the process counts.
    by_replicas: f64,
    /// Look-ups of tags at the replicas, as these count.
    looked_up: f64,
    #[expect(dead_code, reason = "for people")]
    pulls: f64,
}

async fn measure(stage: &Stage, crowd: &Crowd) -> Shares {
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let look = async || {
        let _rest = crowd.rest().await;
        stage.end_sessions_at_replicas().await;
        let (replica, primary) = (
            stage.nodes[1].reads("replica").await,
            stage.nodes[1].reads("primary").await,
        );
        let pulls = crowd.counts().pulled.load(Ordering::Relaxed) as f64;
        let looked_up = stage.lookups_at_replicas().await as f64;
        [replica, primary, pulls, looked_up]
    };
    let before = look().await;
    tokio::time::sleep(WINDOW).await;
    let after = look().await;
    let [replica, primary, pulls, looked_up] = std::array::from_fn(|at| after[at] - before[at]);
    assert!(pulls > 20.0, "only {pulls} pulls");
    Shares {
        by_replicas: replica / (replica + primary),
        looked_up: looked_up / pulls,
        pulls,
    }
}

/// Lets both replicas show everything so much later.
async fn lag(stage: &Stage, delay: Duration) {
    for replica in &stage.replicas {
        replica.set_apply_delay(delay).await;
    }
    if delay >= BEYOND_THE_LEASE {
        // A floor that was met before the lag is in lease for a moment still.
        let reads = async |server| stage.nodes[1].reads(server).await;
        eventually("the primary alone serves", async || {
            let (by_replicas, by_primary) = (reads("replica").await, reads("primary").await);
            eventually("it has been read for a while", async || {
                reads("primary").await + reads("replica").await > by_primary + by_replicas + 50.0
            })
            .await;
            reads("replica").await <= by_replicas
        })
        .await;
    }
}
