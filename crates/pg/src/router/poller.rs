//! Polls of the primary: one task per process, one poll in flight, and only while somebody reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    freshness::{clock::Moment, floor::Floor},
    metrics::{CloseReason, PollLabels, PollOutcome, Share},
    policy::FloorPolicy,
    pool::Pool,
    protocol::Now,
    router::{knowledge::Knowledge, mode::Freshness},
};

/// Asks the primary how far it is, as often as reads need it.
#[derive(Debug)]
pub(crate) struct Poller {
    knowledge: Arc<Knowledge>,
    primary: Arc<Pool>,
    mode: Arc<dyn Freshness>,
    policy: FloorPolicy,
    /// When a read that a replica could serve arrived last, in milliseconds since boot; 0: never.
    last_read: AtomicU64,
    /// Somebody reads, or needs a floor sooner than the next poll is due.
    wanted: Notify,
}

impl Poller {
    pub(crate) fn new(
        knowledge: Arc<Knowledge>,
        primary: Arc<Pool>,
        mode: Arc<dyn Freshness>,
        policy: FloorPolicy,
    ) -> Self {
        Self {
            knowledge,
            primary,
            mode,
            policy,
            last_read: AtomicU64::new(0),
            wanted: Notify::new(),
        }
    }

    /// A read has arrived that a replica could serve. Returns whether polls were going on already: floors are there, or
    /// come within a period. The first read after a pause starts them and is better served by the primary.
    pub(crate) fn read_arrived(&self) -> bool {
        let now = milliseconds(self.knowledge.now());
        let before = self.last_read.swap(now, Ordering::AcqRel);
        let active = is_recent(before, now, self.policy.active);
        if !active {
            self.wanted.notify_one();
        }
        active
    }

    /// Whether reads arrived within `window`.
    pub(crate) fn has_read_within(&self, window: Duration) -> bool {
        let now = milliseconds(self.knowledge.now());
        is_recent(self.last_read.load(Ordering::Acquire), now, window)
    }

    /// A floor whose poll is sent after `moment`: it covers every read that arrived before, whatever its age is by the
    /// time it is used. `None` when none came before `deadline`.
    ///
    /// Joins a poll that has not been sent yet, never one that has. Cancel safe: the poll goes on for nobody.
    pub(crate) async fn floor_after(&self, moment: Moment, deadline: Instant) -> Option<Floor> {
        let mut news = self.knowledge.news();
        loop {
            if let Some(floor) = self.knowledge.floor_sent_after(moment) {
                return Some(floor);
            }
            self.wanted.notify_one();
            let _changed = timeout_at(deadline, news.changed()).await.ok()?;
        }
    }

    /// Polls until `shutdown`. Cancel safe as [`Poller::poll`].
    pub(crate) async fn run(self: Arc<Self>, mut rng: StdRng, shutdown: CancellationToken) {
        loop {
            if !self.is_wanted() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.wanted.notified() => {}
                }
            }
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return,
                outcome = self.poll() => outcome,
            };
            let failed = outcome.is_err();
            self.count(outcome);
            let pause = rng.random_range(self.policy.period.0..=self.policy.period.1);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
                // A primary that fails is not asked faster because more wait for it.
                () = self.wanted.notified(), if !failed => {}
            }
        }
    }

    /// While reads arrive; and longer while the primary does not answer, so that a read now and then knows of it.
    fn is_wanted(&self) -> bool {
        let window = match self.knowledge.primary_failing() {
            None => self.policy.active,
            Some(_) => self.policy.active_in_trouble,
        };
        self.has_read_within(window)
    }

    /// One poll. Cancel safe: a floor that nobody hears of is none, and the connection goes back.
    async fn poll(&self) -> Result<(), Error> {
        let began = self.knowledge.now();
        let lease = match self.primary.acquire(Share::Control).await {
            Ok(lease) => lease,
            Err(error) => {
                // A full queue is this process's own business, and no news of the primary. A connection that somebody
                // else keeps is: either it hangs, or whoever reads without floors soon hears of the primary.
                if !matches!(error, Error::QueueFull { .. }) {
                    self.knowledge.primary_failed(began);
                }
                return Err(error);
            }
        };
        let statement = self.mode.now();
        let answer = async {
            lease.prepare(statement).await?;
            // Before it is sent: everything acknowledged until now lies below the position that comes back.
            let sent_at = self.knowledge.now();
            let row = lease.query_one(statement, &self.mode.parameters()).await?;
            Ok::<_, Error>((sent_at, Now::decode(&row)?))
        };
        match answer.await {
            Ok((sent_at, Some(now))) => {
                self.knowledge.note_silence(now.silence);
                self.knowledge.add_floor(now.into_floor(sent_at));
                Ok(())
            }
            Ok((_, None)) => {
                // Another server than the one that was dialled: the next connection finds out which.
                lease.end(CloseReason::WrongServer);
                self.knowledge.primary_failed(began);
                Err(Error::NotPrimary)
            }
            Err(error) => {
                self.knowledge.primary_failed(began);
                Err(error)
            }
        }
    }

    fn count(&self, outcome: Result<(), Error>) {
        let metrics = &self.primary.shared.metrics;
        let outcome = match outcome {
            Ok(()) => PollOutcome::Floor,
            Err(error) => {
                tracing::debug!(%error, "a poll of the primary failed");
                PollOutcome::Failed
            }
        };
        metrics.polls.get_or_create(&PollLabels { outcome }).inc();
    }
}

fn milliseconds(moment: Moment) -> u64 {
    let elapsed = moment.since(Moment::after_boot(Duration::ZERO)).as_millis();
    u64::try_from(elapsed).unwrap_or(u64::MAX)
}

fn is_recent(last: u64, now: u64, window: Duration) -> bool {
    last != 0 && u128::from(now.saturating_sub(last)) <= window.as_millis()
}
