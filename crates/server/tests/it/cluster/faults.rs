//! A schedule of faults, drawn from a seed, and no stale read under any of them.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use portolan_testkit::children::eventually;
use portolan_testkit::pg_cluster::{Part, Session};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;

use super::TURN;
use super::checker::Event;
use super::crowd::{Crowd, REPOSITORY, Roles};
use super::stage::{Node, Stage, Way};
use crate::storm::number;

/// Every way there is to configure a process, and a second plain one.
const WAYS: [Way; 4] = [Way::Direct, Way::Direct, Way::RoundRobin, Way::Pooler];

/// Between two faults: several leases, so that each begins with replicas that serve.
const CALM: Duration = Duration::from_millis(1_200);

/// How long connections may live before somebody behind a load balancer meets another server.
const PATIENT: Duration = Duration::from_secs(5);

/// Which of them is the one behind a load balancer.
const BALANCED: usize = 2;

/// Which of them is replaced by one with another list of replicas.
const REPLACED: usize = 1;

/// How long the primary is away when replicas have to answer without it, and then may no more.
const LOSS: Duration = Duration::from_secs(5);

/// What can happen. `usize` names a replica or a process.
#[derive(Debug, Clone, Copy)]
enum Fault {
    ReplayPaused(usize),
    ApplyDelayed(usize, Duration),
    BothDelayed(Duration),
    ReplicaKilled(usize),
    DelayedReplicaRestarted(usize),
    BackendKilled(usize),
    Frozen(usize, Part),
    PrimaryRestarted,
    PrimaryKilled,
    PrimaryLost,
    ProcessStopped(usize),
    CutFromReplicas(usize),
    CutFromPrimary(usize),
    CutFromPrimaryForLong(usize),
    /// A process is replaced by one that does not know this replica, and then by one that does.
    ReplicaRemovedAndAdded(usize),
}

/// One of each kind, in an order and at places of chance.
fn schedule(rng: &mut StdRng) -> Vec<Fault> {
    let delay = |rng: &mut StdRng, most| Duration::from_millis(rng.random_range(100..most));
    let replica = |rng: &mut StdRng| rng.random_range(0..2);
    let process = |rng: &mut StdRng| rng.random_range(0..WAYS.len());
    let mut faults = vec![
        Fault::ReplayPaused(replica(rng)),
        Fault::ApplyDelayed(replica(rng), delay(rng, 800)),
        Fault::BothDelayed(delay(rng, 800)),
        Fault::ReplicaKilled(replica(rng)),
        Fault::DelayedReplicaRestarted(replica(rng)),
        Fault::BackendKilled(replica(rng)),
        Fault::Frozen(replica(rng), Part::WalReceiver),
        Fault::Frozen(replica(rng), Part::Startup),
        Fault::PrimaryRestarted,
        Fault::PrimaryKilled,
        Fault::PrimaryLost,
        Fault::ReplicaRemovedAndAdded(replica(rng)),
        Fault::CutFromPrimaryForLong(process(rng)),
        Fault::ProcessStopped(process(rng)),
        Fault::ProcessStopped(process(rng)),
        Fault::CutFromReplicas(process(rng)),
        Fault::CutFromPrimary(process(rng)),
    ];
    faults.shuffle(rng);
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_is_stale_whatever_fails() {
    let _turn = TURN.lock().await;
    let rounds = number("CLUSTER_ROUNDS").unwrap_or(1);
    let seed = number("CLUSTER_SEED").unwrap_or(1);
    for round in 0..rounds {
        run_round(seed.wrapping_add(round)).await;
    }
}

async fn run_round(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut stage = Stage::start(&WAYS).await;
    let clients = stage.clients(REPOSITORY).await;
    let crowd = Crowd::start(Roles {
        writers: clients.clone(),
        readers: clients,
        readers_each: 2,
        seed,
    })
    .await;
    let began = Instant::now();
    // A process that happens to make every other connection elsewhere meets one server for as long as they live.
    let next = Cell::new(began + PATIENT);
    eventually("the load balancer is found out", async || {
        if Instant::now() > next.get() {
            stage.end_sessions_at_replicas().await;
            next.set(Instant::now() + PATIENT);
        }
        stage.nodes[BALANCED].refused_to_several().await > 0.0
    })
    .await;
    eprintln!("seed {seed}, {:?}: found out", began.elapsed());
    // While both are there: once one of them is dead it leads to the other alone, and that is in order.
    // What was under way when that happened had a proof of its own.
    drop(crowd.rest().await);
    let proven = stage.nodes[BALANCED].proven().await;
    pass(CALM).await;
    let by_chance = stage.nodes[BALANCED].proven().await - proven;
    assert!(
        by_chance <= 0.0,
        "{by_chance} reads through a load balancer that was found out"
    );
    for fault in schedule(&mut rng) {
        eprintln!("seed {seed}, {:?}: {fault:?}", began.elapsed());
        stage.suffer(fault, &crowd, &mut rng).await;
        pass(CALM).await;
    }
    let unproven = crowd.counts().stale.load(Ordering::Relaxed);
    assert!(unproven > 0, "nothing was served without the primary");
    eprintln!("seed {seed}, {:?}: failover", began.elapsed());
    stage.fail_over(&crowd).await;
    eprintln!("seed {seed}, {:?}: the end", began.elapsed());
    eprintln!("{:?}", crowd.counts());
    for (number, node) in stage.nodes.iter().enumerate() {
        eprintln!("process {number}: {}", node.summary().await);
    }
    crowd.end(|| stage.errors()).await;
    for (number, node) in stage.nodes.iter_mut().enumerate() {
        assert!(node.app.runs(), "a process ended:\n{}", node.app.log());
        let proven = node.proven().await;
        let served = proven > 0.0 || number == BALANCED;
        assert!(served, "process {number} was never served by a replica");
    }
}

/// Lets time pass: how long a fault lasts, and how long the calm between two. Nothing is waited for; the crowd is what
/// happens meanwhile.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// All processes.
const EVERYBODY: Range<usize> = 0..WAYS.len();

fn lost(crowd: &Crowd, processes: Range<usize>) {
    processes.for_each(|process| crowd.note(Event::PrimaryLost { process }));
}

fn back(crowd: &Crowd, processes: Range<usize>) {
    processes.for_each(|process| crowd.note(Event::PrimaryBack { process }));
}

impl Stage {
    async fn suffer(&mut self, fault: Fault, crowd: &Crowd, rng: &mut StdRng) {
        let hold = Duration::from_millis(rng.random_range(500..1_500));
        match fault {
            Fault::ReplayPaused(replica) => {
                self.replicas[replica].pause_replay().await;
                pass(hold).await;
                self.replicas[replica].resume_replay().await;
            }
            Fault::ApplyDelayed(replica, delay) => {
                self.replicas[replica].set_apply_delay(delay).await;
                pass(hold).await;
                self.replicas[replica].set_apply_delay(Duration::ZERO).await;
            }
            Fault::BothDelayed(delay) => {
                for replica in &self.replicas {
                    replica.set_apply_delay(delay).await;
                }
                pass(hold).await;
                for replica in &self.replicas {
                    replica.set_apply_delay(Duration::ZERO).await;
                }
            }
            Fault::ReplicaKilled(replica) => {
                self.replicas[replica].kill9();
                pass(hold).await;
                tokio::task::block_in_place(|| self.replicas[replica].start_again());
            }
            Fault::DelayedReplicaRestarted(replica) => {
                let replica = &self.replicas[replica];
                replica.set_apply_delay(Duration::from_millis(300)).await;
                pass(hold).await;
                tokio::task::block_in_place(|| replica.restart_immediately());
                pass(hold).await;
                replica.set_apply_delay(Duration::ZERO).await;
            }
            Fault::BackendKilled(replica) => self.replicas[replica].server().crash().await,
            Fault::Frozen(replica, part) => {
                let frozen = self.replicas[replica].server().freeze(part);
                pass(hold).await;
                drop(frozen);
            }
            Fault::PrimaryRestarted => {
                lost(crowd, EVERYBODY);
                tokio::task::block_in_place(|| self.cluster.restart());
                back(crowd, EVERYBODY);
            }
            Fault::PrimaryKilled => self.lose_the_primary(crowd, hold).await,
            Fault::PrimaryLost => self.lose_the_primary(crowd, LOSS).await,
            Fault::ReplicaRemovedAndAdded(replica) => {
                self.remove_and_add(replica, crowd, hold).await;
            }
            Fault::ProcessStopped(process) => {
                // It hears of nobody meanwhile.
                lost(crowd, process..process + 1);
                self.stop_between_steps(process, rng).await;
                back(crowd, process..process + 1);
            }
            Fault::CutFromReplicas(process) => {
                let proxies = &self.nodes[process].to_replicas;
                for proxy in proxies {
                    proxy.cut();
                }
                pass(hold).await;
                for proxy in proxies {
                    proxy.restore();
                }
            }
            Fault::CutFromPrimary(process) => self.cut_from_primary(process, crowd, hold).await,
            Fault::CutFromPrimaryForLong(process) => {
                self.cut_from_primary(process, crowd, LOSS).await;
            }
        }
    }

    async fn lose_the_primary(&self, crowd: &Crowd, time: Duration) {
        lost(crowd, EVERYBODY);
        self.cluster.kill9();
        pass(time).await;
        tokio::task::block_in_place(|| self.cluster.primary().start_again());
        back(crowd, EVERYBODY);
    }

    async fn cut_from_primary(&self, process: usize, crowd: &Crowd, time: Duration) {
        lost(crowd, process..process + 1);
        self.nodes[process].to_primary.cut();
        pass(time).await;
        self.nodes[process].to_primary.restore();
        back(crowd, process..process + 1);
    }

    /// What an operator does who changes the configuration: a new process takes over, the old one drains.
    async fn remove_and_add(&mut self, replica: usize, crowd: &Crowd, time: Duration) {
        let token = self.token(REPOSITORY).await;
        let other = 1 - replica;
        for known in [other..other + 1, 0..2] {
            let node = &mut self.nodes[REPLACED];
            node.replace(known, async |app| {
                let client = app.anonymous().bearer(&token);
                crowd.turn_to(REPLACED, &client).await;
            })
            .await;
            self.served_by_replicas(REPLACED).await;
            pass(time).await;
        }
    }

    /// Stops a process again and again, for shorter and longer than a lease: between a read's steps, and between a
    /// commit and its acknowledgement.
    async fn stop_between_steps(&self, process: usize, rng: &mut StdRng) {
        let server = self.nodes[process].app.server();
        for _ in 0..6 {
            server.signal(Signal::STOP);
            pass(Duration::from_millis(rng.random_range(20..700))).await;
            server.signal(Signal::CONT);
            pass(Duration::from_millis(rng.random_range(5..50))).await;
        }
    }

    /// Promotes the first replica while the second goes on with the old primary, which gets further than the new one.
    /// What was acknowledged is on the first, because commits wait for it from some time before.
    async fn fail_over(&self, crowd: &Crowd) {
        let [heir, other] = &self.replicas;
        let old = self.cluster.primary();
        let session = Session::open(&old.socket_url("postgres")).await;
        let session = session.expect("the primary answers");
        for sql in [
            "ALTER SYSTEM SET synchronous_standby_names = 'replica0'",
            "SELECT pg_reload_conf()",
        ] {
            session.batch_execute(sql).await.expect("a superuser");
        }
        eventually("commits wait for the heir", async || {
            let sql = "SELECT FROM pg_stat_replication \
                       WHERE application_name = 'replica0' AND sync_state = 'sync'";
            !session.query(sql, &[]).await.expect("it runs").is_empty()
        })
        .await;
        heir.catch_up(old).await;
        pass(CALM).await;

        lost(crowd, EVERYBODY);
        self.nodes.iter().for_each(Node::fence);
        heir.promote().await;
        // Only now, when the heir does not get it any more.
        session
            .batch_execute(
                "SET synchronous_commit = local;
                 CREATE TABLE further AS SELECT generate_series(1, 100000) AS line",
            )
            .await
            .expect("the old primary still writes");
        other.catch_up(old).await;
        for node in &self.nodes {
            node.lead_to(heir.server().address());
        }
        back(crowd, EVERYBODY);
        pass(CALM * 3).await;
        // What the old history had for us is gone; from now on the other replica can serve again.
        other.server().follow(heir.server()).await;
        self.served_by_replicas(0).await;
        pass(CALM).await;
    }
}
