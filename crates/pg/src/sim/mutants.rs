//! The rules of the protocol, each broken at the one place where its step is made.

use crate::router::FreshnessMode;

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
    pub(super) const UNSAFE: [Self; 29] = [
        Self::NoLeaseAge,
        Self::PollTimedAtItsAnswer,
        Self::LeaseLongerThanSilence,
        Self::ClockStopsInSuspend,
        Self::LeaseIncludesItsEnd,
        Self::JoinsSentPoll,
        Self::OpenedAtIncluded,
        Self::OpenedAtDropped,
        Self::OpenedBeforeHandshake,
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
