//! What a process knows at this moment: floors, the epoch, how far each replica was seen, and since when the primary
//! has been silent. Everybody who learns something puts it here; everybody who waits for news is woken.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    freshness::{
        barrier::{AfterCommit, KnownEpoch, Observation, Observations, Verdict},
        clock::{Clock, Moment},
        floor::{Epoch, Floor, Floors, Mark, ServerId},
        lag::Trail,
    },
    router::Age,
};

/// Shared by the tasks and requests of one router.
#[derive(Debug)]
pub(crate) struct Knowledge {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    news: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    floors: Floors,
    trail: Trail,
    epoch: Option<KnownEpoch>,
    silence: Option<Duration>,
    observed: Observations,
    primary: Contact,
}

/// Whether the primary answers.
#[derive(Debug, Default)]
struct Contact {
    /// When it last said something.
    last: Option<Moment>,
    /// When the first attempt that failed since was begun, and when the last one had failed.
    failing: Option<(Moment, Moment)>,
}

/// A failure says nothing of the primary any more after so long: it may be back, and nobody has asked.
const FAILURE_HOLDS: Duration = Duration::from_secs(2);

/// `s_ms` as the schema is made with.
const FIRST_SILENCE: Duration = Duration::from_millis(500);

/// How late a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// For so long at least.
    pub(crate) time: Duration,
    /// Bytes of the log, or beats of the beacon.
    pub(crate) distance: u64,
}

impl Knowledge {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            news: watch::Sender::new(()),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// To be woken by whatever is learnt from now on.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// A poll was answered.
    pub(crate) fn add_floor(&self, floor: Floor) {
        let now = self.now();
        let mut state = self.state();
        state.note_epoch(floor.epoch, now);
        state.trail.add(&floor);
        state.floors.expire(now);
        state.floors.add(floor);
        state.primary.answered(now);
        drop(state);
        self.news.send_replace(());
    }

    /// The primary said which epoch it is.
    pub(crate) fn note_epoch(&self, epoch: Epoch) {
        let now = self.now();
        let mut state = self.state();
        state.primary.answered(now);
        if state.note_epoch(epoch, now) {
            drop(state);
            self.news.send_replace(());
        }
    }

    /// A dial of the primary succeeded.
    pub(crate) fn primary_answered(&self) {
        let now = self.now();
        self.state().primary.answered(now);
    }

    /// A poll of the primary that was begun at `began` failed.
    pub(crate) fn primary_failed(&self, began: Moment) {
        let now = self.now();
        self.state().primary.failed(began, now);
    }

    /// For how long nothing has come from the primary, if it has failed for at least `limit` and still does; counted
    /// from its last answer.
    pub(crate) fn primary_lost(&self, limit: Duration) -> Option<Duration> {
        let now = self.now();
        self.state().primary.lost(now, limit)
    }

    /// For how long the primary has been failing, if it still does.
    pub(crate) fn primary_failing(&self) -> Option<Duration> {
        let now = self.now();
        self.state().primary.failing_for(now)
    }

    /// How far a replica was seen.
    pub(crate) fn observe(&self, server: &ServerId, observation: Observation) {
        self.state().observed.insert(server.clone(), observation);
        self.news.send_replace(());
    }

    /// A replica does not answer any more: what it showed may be gone with a restart.
    pub(crate) fn forget(&self, server: &ServerId) {
        self.state().observed.remove(server);
    }

    /// A floor for a batch; see [`Floors::candidate`].
    pub(crate) fn candidate(
        &self,
        closed_at: Moment,
        server: &ServerId,
        opened_at: Moment,
    ) -> Option<Floor> {
        let state = self.state();
        state
            .floors
            .candidate(closed_at, server, opened_at)
            .cloned()
    }

    /// The newest floor, in lease or not, if its poll was sent after `moment`.
    pub(crate) fn floor_sent_after(&self, moment: Moment) -> Option<Floor> {
        self.newest_floor().filter(|floor| floor.sent_at > moment)
    }

    /// The newest floor, in lease or not.
    pub(crate) fn newest_floor(&self) -> Option<Floor> {
        self.state().floors.newest().cloned()
    }

    /// Whether the newest floor lists a server, or there is none that could.
    pub(crate) fn may_be_member(&self, server: &ServerId) -> bool {
        let state = self.state();
        let newest = state.floors.newest();
        newest.is_none_or(|floor| floor.members.contains(server))
    }

    /// Whether a server at `mark` would meet some floor that is in lease now.
    pub(crate) fn would_serve(&self, server: &ServerId, seen: &Observation) -> bool {
        let now = self.now();
        let state = self.state();
        // Whatever its connection's age is, it is younger than boot.
        let earliest = Moment::after_boot(Duration::ZERO);
        state
            .floors
            .candidate(now, server, earliest)
            .is_some_and(|floor| {
                seen.in_recovery && seen.epoch == floor.epoch && seen.mark >= floor.mark
            })
    }

    /// What is known of one server.
    pub(crate) fn observation(&self, server: &ServerId) -> Option<Observation> {
        self.state().observed.get(server).copied()
    }

    /// How late a server is, if it is of the history that the polls told of.
    pub(crate) fn lag(&self, seen: &Observation) -> Option<Lag> {
        let now = self.now();
        let state = self.state();
        Some(Lag {
            time: state.trail.behind(seen.epoch, seen.mark, now)?,
            distance: state.trail.distance(seen.epoch, seen.mark)?,
        })
    }

    /// How old what a server of the epoch shows may be that has got so far.
    pub(crate) fn age(&self, mark: Option<Mark>) -> Age {
        let now = self.now();
        let state = self.state();
        let age = match (&state.epoch, mark) {
            (Some(known), Some(mark)) => state.trail.age(known.epoch, mark, now),
            _ => None,
        };
        age.map_or(Age::Unknown, Age::AtMost)
    }

    /// The primary said how long writers wait.
    pub(crate) fn note_silence(&self, silence: Duration) {
        self.state().silence = Some(silence);
    }

    /// How long writers wait at most: what the primary said last, else what every cluster begins with.
    pub(crate) fn silence(&self) -> Duration {
        self.state().silence.unwrap_or(FIRST_SILENCE)
    }

    /// The epoch, once known.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.state().epoch.map(|known| known.epoch)
    }

    /// What to do about a write.
    pub(crate) fn judge(&self, write: &AfterCommit) -> Verdict {
        let now = self.now();
        let state = self.state();
        let known = state
            .epoch
            .expect("whoever read the epoch after COMMIT has noted it");
        write.judge(now, &known, &state.observed)
    }

    /// The servers that a write still waits for.
    pub(crate) fn missing(&self, write: &AfterCommit) -> Vec<ServerId> {
        let state = self.state();
        write.missing(&state.observed).cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_epoch(&mut self, epoch: Epoch, now: Moment) -> bool {
        KnownEpoch::note(&mut self.epoch, epoch, now)
    }
}

impl Contact {
    fn answered(&mut self, now: Moment) {
        self.last = Some(now);
        self.failing = None;
    }

    fn failed(&mut self, began: Moment, now: Moment) {
        // An answer to somebody else meanwhile counts.
        let began = self.last.map_or(began, |answered| began.max(answered));
        self.failing = match self.failing {
            Some((first, last)) if began.since(last) < FAILURE_HOLDS => Some((first, now)),
            // Nobody has asked meanwhile: the count begins anew. One that hung has failed from its beginning.
            _ => Some((began, now)),
        };
    }

    fn failing_for(&self, now: Moment) -> Option<Duration> {
        let (first, last) = self.failing?;
        (now.since(last) < FAILURE_HOLDS).then(|| now.since(first))
    }

    fn lost(&self, now: Moment, limit: Duration) -> Option<Duration> {
        let (first, last) = self.failing?;
        let is_lost = now.since(last) < FAILURE_HOLDS && last.since(first) >= limit;
        is_lost.then(|| now.since(self.last.unwrap_or(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::after_boot(Duration::from_millis(milliseconds))
    }

    #[test]
    fn the_primary_is_lost_when_it_has_failed_for_long_and_still_does() {
        let limit = Duration::from_secs(3);
        let mut contact = Contact::default();
        contact.answered(at(1_000));
        for failed_at in (2_000..=5_000).step_by(500) {
            assert_eq!(contact.lost(at(failed_at), limit), None);
            contact.failed(at(failed_at), at(failed_at));
        }
        assert_eq!(contact.lost(at(5_000), limit), Some(Duration::from_secs(4)));
        assert_eq!(contact.failing_for(at(5_000)), Some(limit));
        assert_eq!(contact.failing_for(at(7_000)), None);
        // Nobody asks for an hour: what was known then is worth nothing.
        assert_eq!(contact.lost(at(3_600_000), limit), None);
        contact.failed(at(3_600_000), at(3_600_000));
        assert_eq!(contact.lost(at(3_600_000), limit), None);
        contact.answered(at(3_600_100));
        assert_eq!(contact.lost(at(3_600_100), limit), None);
    }

    #[test]
    fn a_primary_that_hangs_has_failed_since_it_was_asked() {
        let limit = Duration::from_secs(3);
        let mut contact = Contact::default();
        contact.answered(at(1_000));
        contact.failed(at(1_100), at(3_600));
        assert_eq!(
            contact.failing_for(at(3_600)),
            Some(Duration::from_millis(2_500))
        );
        assert_eq!(contact.lost(at(3_600), limit), None);
        contact.failed(at(3_700), at(4_100));
        let silent = Duration::from_millis(3_100);
        assert_eq!(contact.lost(at(4_100), limit), Some(silent));
        // Something else was answered while a poll hung.
        contact.answered(at(4_200));
        contact.failed(at(4_150), at(6_700));
        assert_eq!(contact.lost(at(6_700), limit), None);
    }
}
