//! The decisions of the protocol as the model asks for them: those of the product, called with what the model knows.
//! A mutant gives them something else than the truth, or does not ask.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use uuid::Uuid;

use crate::{
    config::Config,
    freshness::{
        barrier::{Acknowledge, AfterCommit, KnownEpoch, Observation, Observations, Verdict},
        clock::Moment,
        floor::{Epoch, Floor, Floors, Mark, ServerId},
        proof::Proof,
    },
    mutant::Mutant,
    state::{After, Batch, Connection, Lease, Phase, Reader, State, Writer},
};

/// One configuration of the protocol, with one rule broken or none.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) config: Config,
    pub(crate) mutant: Option<Mutant>,
    /// A counterexample was found. The checker would put a longer one, if it finds one soon after, in its place.
    pub(crate) is_caught: AtomicBool,
    servers: [ServerId; 2],
    /// The servers of each set of bits.
    sets: [Arc<[ServerId]>; 4],
}

impl Protocol {
    pub(crate) fn new(config: Config, mutant: Option<Mutant>) -> Self {
        let [a, b] = ["a", "b"].map(ServerId::new);
        let sets = [
            Vec::new(),
            vec![a.clone()],
            vec![b.clone()],
            vec![a.clone(), b.clone()],
        ];
        Self {
            config,
            mutant,
            is_caught: AtomicBool::new(false),
            servers: [a, b],
            sets: sets.map(Into::into),
        }
    }

    pub(crate) fn breaks(&self, rule: Mutant) -> bool {
        self.mutant == Some(rule)
    }

    /// Whether the reader may hold an answer of `replica` against `lease`: by [`Floors::candidate`].
    pub(crate) fn may_claim(&self, reader: &Reader, batch: &Batch, at: u8, replica: u8) -> bool {
        let Some(lease) = reader.floors[usize::from(at)] else {
            return false;
        };
        let Connection::Open { opened_at } = reader.connections[usize::from(replica)] else {
            return false;
        };
        if self.config.read_index {
            return lease.sent_at > batch.closed_at || self.breaks(Mutant::ReadIndexOfOldPoll);
        }
        let began_before_all = self.config.pooled_replicas
            || self.breaks(Mutant::OpenedAtDropped)
            || self.breaks(Mutant::BeaconWithoutOpenedAt);
        let opened_at = match opened_at {
            _ if began_before_all => 0,
            opened_at if self.breaks(Mutant::OpenedAtIncluded) => opened_at - 1,
            opened_at => opened_at,
        };
        let mut floor = self.floor(lease);
        if self.breaks(Mutant::NewestMembers) {
            let newest = reader.floors.iter().flatten().next_back();
            floor.members = self.set(newest.map_or(0, |newest| newest.said.members));
        }
        if self.breaks(Mutant::OutsideMembers) || self.config.pooled_replicas {
            floor.members = self.set(0b11);
        }
        if self.breaks(Mutant::NoLeaseAge) || (self.breaks(Mutant::JoinsSentPoll) && lease.awaited)
        {
            floor.lease = Duration::MAX;
        } else if self.breaks(Mutant::LeaseEndIncluded) {
            floor.lease += Duration::from_nanos(1);
        } else if self.breaks(Mutant::LeaseLongerThanSilence) {
            floor.lease = ticks(self.config.silence + 1);
        }
        let mut floors = Floors::default();
        floors.add(floor);
        let server = &self.servers[usize::from(replica)];
        floors
            .candidate(moment(batch.closed_at), server, moment(opened_at))
            .is_some()
    }

    /// Whether an answer meets the floor: by [`Floor::judge`].
    pub(crate) fn accepts(&self, lease: Lease, mark: u8, in_recovery: bool, shown: u8) -> bool {
        let ignores_epoch =
            self.breaks(Mutant::EpochDropped) || self.breaks(Mutant::BeaconWithoutEpoch);
        let shown = if ignores_epoch {
            lease.said.epoch
        } else {
            shown
        };
        let proof = Proof {
            mark: Mark(mark.into()),
            in_recovery,
            epoch: epoch(shown),
        };
        self.floor(lease).judge(&proof).is_ok()
    }

    /// What `writer` should do now: by [`AfterCommit::judge`]. With whether every member shows the write.
    pub(crate) fn verdict(&self, state: &State, writer: &Writer) -> Option<(Verdict, bool)> {
        let Phase::Waiting { at, after, .. } = writer.phase else {
            return None;
        };
        let acknowledge = if self.breaks(Mutant::ObservesBehindPooler) {
            Acknowledge::Observe
        } else {
            self.config.acknowledge
        };
        let write = AfterCommit {
            committed_at: moment(at),
            mark: Mark(after.mark.into()),
            epoch: epoch(after.epoch),
            members: self.set(after.members),
            silence: ticks(self.config.silence),
            acknowledge,
        };
        let since = if self.breaks(Mutant::NoSilenceAfterEpoch) {
            0
        } else {
            writer.epoch_since
        };
        let known = KnownEpoch {
            epoch: epoch(writer.epoch),
            since: moment(since),
        };
        let observed = self.observations(writer);
        let verdict = write.judge(moment(state.clocks.writers), &known, &observed);
        let is_shown = write.missing(&observed).next().is_none();
        Some((verdict, is_shown))
    }

    fn observations(&self, writer: &Writer) -> Observations {
        let seen = self.servers.iter().zip(&writer.observed);
        seen.filter_map(|(server, seen)| {
            let seen = seen.as_ref()?;
            let observation = Observation {
                mark: Mark(seen.mark.into()),
                epoch: epoch(seen.epoch),
                in_recovery: seen.in_recovery,
            };
            Some((server.clone(), observation))
        })
        .collect()
    }

    fn floor(&self, lease: Lease) -> Floor {
        let After {
            mark,
            epoch: of,
            members,
        } = lease.said;
        Floor {
            sent_at: moment(lease.sent_at),
            mark: Mark(mark.into()),
            epoch: epoch(of),
            members: self.set(members),
            lease: ticks(self.config.lease),
        }
    }

    fn set(&self, members: u8) -> Arc<[ServerId]> {
        self.sets[usize::from(members)].clone()
    }
}

/// A process notes that it has read the epoch: by [`KnownEpoch::note`].
pub(crate) fn note_epoch(writer: &mut Writer, read: u8, now: u8) {
    let mut known = Some(KnownEpoch {
        epoch: epoch(writer.epoch),
        since: moment(writer.epoch_since),
    });
    KnownEpoch::note(&mut known, epoch(read), moment(now));
    let known = known.expect("it was known before");
    let since = known.since.since(Moment::after_boot(Duration::ZERO));
    writer.epoch_since = u8::try_from(since.as_millis() / TICK.as_millis()).expect("a short run");
    writer.epoch = read;
}

/// A tick is long beside everything that happens within it.
const TICK: Duration = Duration::from_millis(100);

fn epoch(number: u8) -> Epoch {
    Epoch(Uuid::from_u128(number.into()))
}

fn ticks(count: u8) -> Duration {
    TICK * u32::from(count)
}

fn moment(reading: u8) -> Moment {
    Moment::after_boot(ticks(reading))
}
