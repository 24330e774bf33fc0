//! Pulls and a few pushes at a steady rate, whatever becomes of them: a request that hangs holds up no other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portolan_testkit::client::Client;
use portolan_testkit::image::ManifestFile;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Requests are sent in bursts so far apart.
const TICK: Duration = Duration::from_millis(10);

/// Most requests at once: a server that stopped answering must not exhaust the test's own ports. What is due beyond them
/// is counted as not sent.
const AT_ONCE: usize = 4_000;

/// Bins in which answers are counted.
const BIN: Duration = Duration::from_millis(100);

/// A rate is measured over so many of them.
const BINS: usize = 5;

/// One request in so many is a push, so that connections for writes are wanted as well.
const ONE_PUSH_IN: usize = 11;

/// A tag and what it is moved to.
pub(crate) type Target = (String, ManifestFile);

/// Somebody who pulls from one process, and pushes the same manifests again.
pub(crate) struct Puller {
    pub(crate) client: Client,
    pub(crate) targets: Arc<Vec<Target>>,
}

/// How a request ended.
#[derive(Debug, Clone)]
struct Outcome {
    at: Instant,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Served,
    /// With a status that says "later", and how much later.
    Later(u16),
    /// Too many were under way already.
    NotSent,
    /// Anything else, in words.
    Impolite(String),
}

/// A running load.
pub(crate) struct Load {
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    sent: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Load {
    /// Sends `rate` requests per second, to each puller's process in turn.
    pub(crate) fn start(pullers: Vec<Puller>, rate: u64) -> Self {
        let (outcomes, sent) = (Arc::default(), Arc::default());
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(send(
            pullers,
            rate,
            Arc::clone(&outcomes),
            Arc::clone(&sent),
            stopped,
        ));
        Self {
            outcomes,
            sent,
            stop,
            task,
        }
    }

    /// How many requests have been sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// A point in the history, for [`Load::since`].
    pub(crate) fn mark(&self) -> usize {
        self.outcomes().len()
    }

    /// What has been answered from that point on.
    pub(crate) fn since(&self, mark: usize) -> Tally {
        Tally(self.outcomes()[mark..].to_vec())
    }

    pub(crate) fn since_start(&self) -> Tally {
        self.since(0)
    }

    /// Sends no more, and waits for the answers that are under way.
    pub(crate) async fn stop(self) -> Tally {
        let _ = self.stop.send(());
        self.task.join_all().await;
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        Tally(std::mem::take(&mut outcomes))
    }

    fn outcomes(&self) -> std::sync::MutexGuard<'_, Vec<Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(
    pullers: Vec<Puller>,
    rate: u64,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    sent: Arc<AtomicU64>,
    mut stopped: oneshot::Receiver<()>,
) {
    let pullers = Arc::new(pullers);
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut requests = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let mut tried = 0_usize;
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            _ = ticks.tick() => {}
        }
        let due = u128::from(rate) * began.elapsed().as_millis() / 1_000;
        while (tried as u128) < due {
            let number = tried;
            tried += 1;
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                let (at, kind) = (Instant::now(), Kind::NotSent);
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes.push(Outcome { at, kind });
                continue;
            };
            sent.fetch_add(1, Ordering::Relaxed);
            let (pullers, outcomes) = (Arc::clone(&pullers), Arc::clone(&outcomes));
            requests.spawn(async move {
                let kind = pullers[number % pullers.len()].pull(number).await;
                let at = Instant::now();
                drop(permit);
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes.push(Outcome { at, kind });
            });
        }
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
}

impl Puller {
    async fn pull(&self, number: usize) -> Kind {
        let (target, manifest) = &self.targets[number / 7 % self.targets.len()];
        let asking = if number.is_multiple_of(ONE_PUSH_IN) {
            let asking = self.client.request(http::Method::PUT, target);
            let asking = asking.header("content-type", &manifest.media_type);
            asking.body(manifest.payload.clone())
        } else {
            self.client.request(http::Method::GET, target)
        };
        match asking.try_send().await {
            Err(error) => Kind::Impolite(format!("{error:?}")),
            Ok(answer) => match answer.status.as_u16() {
                200 | 201 => Kind::Served,
                status @ (429 | 503) if answer.has("retry-after") => Kind::Later(status),
                status => Kind::Impolite(format!("{status} {:?}", answer.headers)),
            },
        }
    }
}

/// Answers in the order they came.
#[derive(Debug)]
pub(crate) struct Tally(Vec<Outcome>);

impl Tally {
    /// Requests served per second, lately.
    pub(crate) fn rate_of_the_last(&self, time: Duration) -> f64 {
        let from = Instant::now().checked_sub(time).expect("the clock has run");
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let served = self.served().filter(|at| *at >= from).count() as f64;
        served / time.as_secs_f64()
    }

    fn served(&self) -> impl Iterator<Item = Instant> {
        let served = self.0.iter().filter(|outcome| outcome.kind == Kind::Served);
        served.map(|outcome| outcome.at)
    }

    /// How many were told to come again.
    pub(crate) fn refused(&self) -> usize {
        let later = |outcome: &&Outcome| matches!(outcome.kind, Kind::Later(_));
        self.0.iter().filter(later).count()
    }

    /// Answers that are neither what was asked for nor a polite refusal; the first few.
    pub(crate) fn impolite(&self) -> Vec<String> {
        let impolite = self.0.iter().filter_map(|outcome| match &outcome.kind {
            Kind::Impolite(words) => Some(words.clone()),
            Kind::Served | Kind::Later(_) | Kind::NotSent => None,
        });
        impolite.take(5).collect()
    }

    /// How long after `since` the first request was served, and the first half second began with `rate` served.
    pub(crate) fn back_after(
        &self,
        since: Instant,
        rate: f64,
    ) -> (Option<Duration>, Option<Duration>) {
        let first = self.served().find(|at| *at >= since);
        let bins = self.bins(since);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let needed = rate * BIN.as_secs_f64() * BINS as f64;
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let back = bins
            .windows(BINS)
            .position(|window| window.iter().sum::<usize>() as f64 >= needed);
        let back = back.map(|bin| BIN * u32::try_from(bin).expect("seconds"));
        (first.map(|at| at - since), back)
    }

    /// Served requests by tenths of a second, for people.
    pub(crate) fn by_tenth(&self, since: Instant) -> String {
        format!("{:?}", self.bins(since))
    }

    fn bins(&self, since: Instant) -> Vec<usize> {
        let mut bins = Vec::new();
        for at in self.served().filter(|at| *at >= since) {
            let bin = (at - since).as_millis() / BIN.as_millis();
            let bin = usize::try_from(bin).expect("minutes at most");
            if bins.len() <= bin {
                bins.resize(bin + 1, 0);
            }
            bins[bin] += 1;
        }
        bins
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds = BTreeMap::<&Kind, usize>::new();
        for outcome in &self.0 {
            *kinds.entry(&outcome.kind).or_default() += 1;
        }
        write!(f, "{kinds:?}")
    }
}
