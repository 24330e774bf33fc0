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
    ($($(#[$doc:meta])* $name:ident: $group:ident;)*) => {
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
        }
    };
}

mutants! {
    /// A floor is good for ever.
    NoLeaseAge: LeaseAge;
    /// `t1` is taken when the answer of the poll is there.
    SentAtAfterResponse: LeaseAge;
    /// `s_r` is longer than `s`.
    LeaseLongerThanSilence: LeaseAge;
    /// The reader's clock stands still while its machine is suspended.
    ClockStopsInSuspend: LeaseAge;
    /// `<=` for `<` in the age of a floor.
    LeaseEndIncluded: LeaseAge;

    /// `>=` for `>` between `t1` and `opened_at`.
    OpenedAtIncluded: OpenedAt;
    /// A floor may be older than the connection.
    OpenedAtDropped: OpenedAt;
    /// `opened_at` is when the dial began, or when a pooler had completed the handshake: before it was settled which
    /// process of which server answers.
    OpenedAtBeforeHandshake: OpenedAt;

    /// The epoch of the answer is not compared.
    EpochDropped: Failover;
    /// The primary's history is checked when a connection is made, never again: a pooler changes the server behind it.
    EpochOnlyInHook: PooledPrimary;
    /// Not a rule but an assumption (A4): the old primary still answers reads.
    OldPrimaryAnswers: Failover;
    /// A process trusts its observations as soon as it has read a new epoch.
    NoSilenceAfterEpoch: LostRow;

    /// The position is asked in a statement after the query.
    PositionAfterQuery: Positions;
    /// The position is asked in the query: its snapshot is older than the position. The same order of events.
    PositionInQuery: Positions;
    /// The position is asked of one server, the query of another.
    PositionOfAnother: Positions;

    /// Whom a floor lists is looked up in the newest floor.
    NewestMembers: Members;
    /// A floor is used for servers that it does not list.
    OutsideMembers: Members;
    /// From serving to out in one step.
    DrainSkipped: Drains;
    /// Writers wait for serving servers only.
    DrainIgnored: Drains;
    /// `out` is not bound to the token of the drain that waited.
    OutWithoutToken: Tokens;
    /// An adopted drain ends at once.
    AdoptedWithoutWait: Drains;

    /// The position and the members are read before COMMIT.
    AskedBeforeCommit: Barrier;
    /// A write that finds nothing to change answers at once.
    RetryWithoutBarrier: Barrier;

    /// A request shares the answer of a query that was already sent.
    JoinsSentQuery: Batches;
    /// A request joins a batch that is closed.
    JoinsClosedBatch: Batches;
    /// A request takes the floor of a poll that was sent before it arrived, whatever its age.
    JoinsSentPoll: Batches;
    /// Answers are kept for a moment.
    TagCache: Batches;

    /// `read_any` says whether something is there.
    AnyForPresence: ReadAny;

    /// Readers behind a pooler, and writers who acknowledge by observation.
    ObservesBehindPooler: PooledBeacon;
    /// The beacon alone is compared, over a failover.
    BeaconWithoutEpoch: BeaconFailover;
    /// The beacon alone is compared, over a restart.
    BeaconWithoutOpenedAt: BeaconRestart;

    /// Without floors: a batch takes the answer of a poll that was sent before it closed.
    ReadIndexOfOldPoll: ReadIndex;
}
