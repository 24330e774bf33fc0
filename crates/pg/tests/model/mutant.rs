//! The rules of the protocol, each as the variant of a model that breaks it.

/// Which configuration a rule is checked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    LeaseAge,
    OpenedAt,
    Failover,
    PooledPrimary,
    LostRow,
    Positions,
    Members,
    Drains,
    Tokens,
    Barrier,
    Batches,
    ReadAny,
    PooledBeacon,
    BeaconFailover,
    BeaconRestart,
    ReadIndex,
}

/// Makes the enum, the list of all, and what is known of each.
macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident: $group:ident, $steps:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Mutant {
            $($(#[$doc])* $name,)*
        }

        impl Mutant {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Where it must be caught.
            pub(crate) fn group(self) -> Group {
                match self { $(Self::$name => Group::$group,)* }
            }

            /// The length of the shortest counterexample in the explicit-state model that came before this one. The
            /// two cut the protocol into steps in slightly different places. 0 where it had none.
            pub(crate) fn steps_before(self) -> usize {
                match self { $(Self::$name => $steps,)* }
            }
        }
    };
}

mutants! {
    /// A floor is good for ever.
    NoLeaseAge: LeaseAge, 14;
    /// `t1` is taken when the answer of the poll is there.
    SentAtAfterResponse: LeaseAge, 13;
    /// `s_r` is longer than `s`.
    LeaseLongerThanSilence: LeaseAge, 14;
    /// The reader's clock stands still while its machine is suspended.
    ClockStopsInSuspend: LeaseAge, 14;
    /// `<=` for `<` in the age of a floor.
    LeaseEndIncluded: LeaseAge, 14;

    /// `>=` for `>` between `t1` and `opened_at`.
    OpenedAtIncluded: OpenedAt, 16;
    /// A floor may be older than the connection.
    OpenedAtDropped: OpenedAt, 16;
    /// `opened_at` is when the dial began.
    OpenedAtBeforeHandshake: OpenedAt, 18;

    /// The epoch of the answer is not compared.
    EpochDropped: Failover, 18;
    /// The primary's history is checked when a connection is made, never again: a pooler changes the server behind it.
    EpochOnlyInHook: PooledPrimary, 16;
    /// Not a rule but an assumption (A4): the old primary still answers reads.
    OldPrimaryAnswers: Failover, 8;
    /// A process trusts its observations as soon as it has read a new epoch.
    NoSilenceAfterEpoch: LostRow, 17;

    /// The position is asked in a statement after the query.
    PositionAfterQuery: Positions, 13;
    /// The position is asked in the query: its snapshot is older than the position. The same order of events.
    PositionInQuery: Positions, 13;
    /// The position is asked of one server, the query of another.
    PositionOfAnother: Positions, 13;

    /// Whom a floor lists is looked up in the newest floor.
    NewestMembers: Members, 20;
    /// A floor is used for servers that it does not list.
    OutsideMembers: Members, 14;
    /// From serving to out in one step.
    DrainSkipped: Drains, 16;
    /// Writers wait for serving servers only.
    DrainIgnored: Drains, 16;
    /// `out` is not bound to the token of the drain that waited.
    OutWithoutToken: Tokens, 26;
    /// An adopted drain ends at once.
    AdoptedWithoutWait: Drains, 19;

    /// The position and the members are read before COMMIT.
    AskedBeforeCommit: Barrier, 15;
    /// A write that finds nothing to change answers at once.
    RetryWithoutBarrier: Barrier, 12;

    /// A request shares the answer of a query that was already sent.
    JoinsSentQuery: Batches, 15;
    /// A request joins a batch that is closed.
    JoinsClosedBatch: Batches, 14;
    /// A request takes the floor of a poll that was sent before it arrived, whatever its age.
    JoinsSentPoll: Batches, 14;
    /// Answers are kept for a moment.
    TagCache: Batches, 7;

    /// `read_any` says whether something is there.
    AnyForPresence: ReadAny, 6;

    /// Readers behind a pooler, and writers who acknowledge by observation.
    ObservesBehindPooler: PooledBeacon, 16;
    /// The beacon alone is compared, over a failover.
    BeaconWithoutEpoch: BeaconFailover, 18;
    /// The beacon alone is compared, over a restart.
    BeaconWithoutOpenedAt: BeaconRestart, 17;

    /// Without floors: a batch takes the answer of a poll that was sent before it closed.
    ReadIndexOfOldPoll: ReadIndex, 0;
}
