//! The rules of the protocol, each broken at the one place where its step is made.

use super::{
    engine::MS,
    settings::{Pooled, Settings, Weather},
};
use crate::{freshness::barrier::Acknowledge, router::FreshnessMode};

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    // What a floor is, and for how long.
    NoLeaseAge,
    PollTimedAtItsAnswer,
    LeaseLongerThanSilence,
    ClockStopsInSuspend,
    LeaseIncludesItsEnd,
    JoinsSentPoll,
    // Which connection may be held against it.
    OpenedAtIncluded,
    OpenedAtDropped,
    OpenedBeforeHandshake,
    OpenedBeforeIdentified,
    NewestMembersForOldFloor,
    ServersOutsideTheFloor,
    // What an answer proves.
    EpochDroppedOnRead,
    EpochInTheHookAlone,
    PositionAfterQuery,
    PositionOfAnotherServer,
    // Who shares an answer.
    JoinsSentQuery,
    LateJoinerOfClosedBatch,
    TagCache,
    ReadAnyForPresence,
    // When a write is acknowledged.
    NoSilenceAfterNewEpoch,
    AskedBeforeCommit,
    NoBarrierForNoOp,
    WritersIgnoreDraining,
    // Who leaves service, and when.
    DrainSkipped,
    OutWithoutToken,
    AdoptedWithoutWait,
    // The beacon.
    BeaconPooledAndObserved,
    BeaconWithoutEpoch,
    BeaconWithoutOpenedAt,
    // Liveness.
    DrainByMinority,
    WrongServersStay,
    UnknownServersStay,
}

impl Mutant {
    /// Those that break the promise; the others break what a replica is good for.
    pub(super) const UNSAFE: [Self; 30] = [
        Self::NoLeaseAge,
        Self::PollTimedAtItsAnswer,
        Self::LeaseLongerThanSilence,
        Self::ClockStopsInSuspend,
        Self::LeaseIncludesItsEnd,
        Self::JoinsSentPoll,
        Self::OpenedAtIncluded,
        Self::OpenedAtDropped,
        Self::OpenedBeforeHandshake,
        Self::OpenedBeforeIdentified,
        Self::NewestMembersForOldFloor,
        Self::ServersOutsideTheFloor,
        Self::EpochDroppedOnRead,
        Self::EpochInTheHookAlone,
        Self::PositionAfterQuery,
        Self::PositionOfAnotherServer,
        Self::JoinsSentQuery,
        Self::LateJoinerOfClosedBatch,
        Self::TagCache,
        Self::ReadAnyForPresence,
        Self::NoSilenceAfterNewEpoch,
        Self::AskedBeforeCommit,
        Self::NoBarrierForNoOp,
        Self::WritersIgnoreDraining,
        Self::DrainSkipped,
        Self::OutWithoutToken,
        Self::AdoptedWithoutWait,
        Self::BeaconPooledAndObserved,
        Self::BeaconWithoutEpoch,
        Self::BeaconWithoutOpenedAt,
    ];

    /// How many of them are rules of floors and reads; they come first.
    pub(super) const OF_READS: usize = 20;

    /// Whether the rule matters in a mode.
    pub(super) fn shows_in(self, mode: FreshnessMode) -> bool {
        match self {
            Self::BeaconPooledAndObserved
            | Self::BeaconWithoutEpoch
            | Self::BeaconWithoutOpenedAt => mode == FreshnessMode::Beacon,
            Self::JoinsSentPoll => mode == FreshnessMode::ReadIndex,
            // The epoch is what a beacon without positions needs most; positions of the log show the rest faster.
            _ => mode == FreshnessMode::Wal,
        }
    }
}

impl Settings {
    /// Sees to it that the broken rule is one that matters: one for poolers shows behind a pooler only.
    pub(super) fn suit(&mut self, mutant: Mutant) {
        self.weather = match mutant {
            Mutant::OpenedAtIncluded => Weather::Crashes,
            Mutant::OpenedAtDropped
            | Mutant::OpenedBeforeHandshake
            | Mutant::OpenedBeforeIdentified
            | Mutant::BeaconWithoutOpenedAt => Weather::Restarts,
            Mutant::EpochInTheHookAlone
            | Mutant::EpochDroppedOnRead
            | Mutant::NoBarrierForNoOp
            | Mutant::BeaconWithoutEpoch => Weather::Failovers,
            Mutant::NoSilenceAfterNewEpoch => Weather::Upheaval,
            Mutant::LeaseIncludesItsEnd
            | Mutant::LateJoinerOfClosedBatch
            | Mutant::PollTimedAtItsAnswer => Weather::Calm,
            Mutant::NewestMembersForOldFloor
            | Mutant::ServersOutsideTheFloor
            | Mutant::WritersIgnoreDraining
            | Mutant::DrainSkipped
            | Mutant::OutWithoutToken
            | Mutant::AdoptedWithoutWait => Weather::Membership,
            Mutant::ClockStopsInSuspend => Weather::Pauses,
            _ => self.weather,
        };
        match mutant {
            // Clocks that differ as much as they may, and two that are read in one tick with much between.
            Mutant::LeaseIncludesItsEnd => {
                self.tick = 100 * MS;
                self.net = MS;
                self.rates = [800, 1_000, 1_000];
                self.acknowledge = Acknowledge::Timer;
            }
            Mutant::OpenedBeforeHandshake => {
                self.slow_dials = 50;
                self.net = MS;
                self.between_pushes = 40 * MS;
                self.between_troubles = 200 * MS;
                self.acknowledge = Acknowledge::Observe;
                self.pooled = Pooled::Nobody;
            }
            // The server of a connection is found only when the pooler has lent one.
            Mutant::OpenedBeforeIdentified => {
                self.slow_dials = 50;
                self.net = MS;
                self.between_pushes = 40 * MS;
                self.between_troubles = 100 * MS;
                self.acknowledge = Acknowledge::Observe;
                self.pooled = Pooled::Replicas;
            }
            Mutant::OpenedAtIncluded => {
                self.tick = 100 * MS;
                self.net = MS;
                self.wire = MS;
                self.between_pushes = 200 * MS;
                self.between_troubles = 400 * MS;
                self.slow_dials = 0;
                self.acknowledge = Acknowledge::Observe;
                self.pooled = Pooled::Nobody;
            }
            Mutant::EpochInTheHookAlone => {
                self.pooled = Pooled::Primary;
                self.synchronous = false;
                self.gap = 0;
            }
            // The row of a replica is lost with the primary that knew it.
            Mutant::NoSilenceAfterNewEpoch => {
                self.synchronous = false;
                self.gap = 0;
                self.net = MS;
                self.between_pushes = 40 * MS;
                self.acknowledge = Acknowledge::Observe;
            }
            // Long waits at one step, and much to miss meanwhile.
            Mutant::LateJoinerOfClosedBatch | Mutant::PollTimedAtItsAnswer => {
                self.hiccup = 600 * MS;
                self.between_pushes = 40 * MS;
                self.acknowledge = Acknowledge::Timer;
            }
            Mutant::OutWithoutToken => {
                self.hiccup = 600 * MS;
                self.between_pushes = 40 * MS;
                self.acknowledge = Acknowledge::Observe;
                self.pooled = Pooled::Nobody;
            }
            Mutant::EpochDroppedOnRead | Mutant::BeaconWithoutEpoch => {
                self.synchronous = false;
                self.gap = 0;
                self.between_pushes = 40 * MS;
                self.pooled = Pooled::Nobody;
            }
            Mutant::BeaconPooledAndObserved => {
                self.pooled = Pooled::Replicas;
                self.acknowledge = Acknowledge::Observe;
            }
            _ => {}
        }
    }
}
