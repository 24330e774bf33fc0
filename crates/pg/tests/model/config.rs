//! The configurations: each just large enough for the rules of its group.

use crate::{freshness::barrier::Acknowledge, mutant::Group, state::Service};

/// How often each thing may happen in a run. A run is finite, so all of it can be seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) ticks: u8,
    pub(crate) noise: u8,
    pub(crate) writes: u8,
    pub(crate) retries: u8,
    pub(crate) polls: u8,
    pub(crate) reads: u8,
    pub(crate) restarts: u8,
    pub(crate) failover: bool,
    pub(crate) drains: u8,
    pub(crate) adoptions: u8,
    pub(crate) returns: u8,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one part of the world takes part"
)]
pub(crate) struct Config {
    /// `s` and `s_r`, in ticks. Equal where all clocks run at one rate.
    pub(crate) silence: u8,
    pub(crate) lease: u8,
    /// The writers' clock may run ahead, as far as A3 lets it.
    pub(crate) drift: bool,
    pub(crate) replicas: u8,
    pub(crate) services: [Service; 2],
    pub(crate) writers: u8,
    pub(crate) acknowledge: Acknowledge,
    /// Floors by beacon instead of positions.
    pub(crate) beacon: bool,
    /// No floors: each batch asks for a poll of its own, and no writer waits, for no replica is registered.
    pub(crate) read_index: bool,
    /// The reader has connections that are older than everything.
    pub(crate) connected: bool,
    /// A pooler stands before the primary: a failover changes the server behind a connection.
    pub(crate) pooled_primary: bool,
    /// A pooler stands before the replicas: any of them may answer any statement.
    pub(crate) pooled_replicas: bool,
    /// Polls take time. Elsewhere a poll is one step: a `t1` that is older than the answer, or an answer that comes
    /// late, only makes a floor less useful.
    pub(crate) slow_polls: bool,
    /// A batch takes requests for a while, and its answer takes a while to be handed out.
    pub(crate) gathers: bool,
    /// The reader may ask the primary.
    pub(crate) asks_primary: bool,
    /// Replay passes in one step what no reader can tell apart.
    pub(crate) coarse_replay: bool,
    pub(crate) limits: Limits,
}

impl Config {
    /// One write, one read and one poll, by one writer, over one replica that serves.
    fn smallest() -> Self {
        Self {
            silence: 2,
            lease: 2,
            drift: false,
            replicas: 1,
            services: [Service::Serving, Service::Serving],
            writers: 1,
            acknowledge: Acknowledge::Observe,
            beacon: false,
            read_index: false,
            connected: true,
            pooled_primary: false,
            pooled_replicas: false,
            slow_polls: false,
            gathers: false,
            asks_primary: false,
            coarse_replay: false,
            limits: Limits {
                ticks: 2,
                writes: 1,
                polls: 2,
                reads: 1,
                ..Limits::default()
            },
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table: what each world adds")]
    pub(crate) fn of(group: Group) -> Self {
        let mut config = Self::smallest();
        let limits = &mut config.limits;
        match group {
            Group::LeaseAge => {
                limits.ticks = 5;
                config.silence = 3;
                config.drift = true;
                config.slow_polls = true;
                config.replicas = 2;
            }
            Group::OpenedAt => {
                limits.noise = 1;
                limits.restarts = 1;
                config.connected = false;
                config.slow_polls = true;
            }
            Group::Failover => {
                limits.noise = 1;
                limits.writes = 2;
                limits.polls = 1;
                limits.failover = true;
                config.replicas = 2;
            }
            Group::PooledPrimary => {
                limits.writes = 2;
                limits.polls = 1;
                limits.failover = true;
                config.replicas = 2;
                config.pooled_primary = true;
                config.slow_polls = true;
            }
            Group::LostRow => {
                limits.returns = 1;
                limits.polls = 1;
                limits.failover = true;
                config.replicas = 2;
                config.services = [Service::Out, Service::Out];
                config.slow_polls = true;
            }
            Group::Positions => {
                limits.noise = 1;
                config.replicas = 2;
            }
            Group::Members => {
                limits.returns = 1;
                config.replicas = 2;
                config.services = [Service::Out, Service::Serving];
                config.coarse_replay = true;
            }
            Group::Drains => {
                limits.drains = 1;
                limits.adoptions = 1;
                config.coarse_replay = true;
            }
            Group::Tokens => {
                limits.ticks = 3;
                limits.polls = 1;
                limits.drains = 2;
                limits.adoptions = 1;
                limits.returns = 1;
                config.coarse_replay = true;
            }
            Group::Barrier => {
                limits.writes = 2;
                limits.retries = 1;
                limits.polls = 1;
                config.writers = 2;
                config.replicas = 2;
            }
            Group::Batches => {
                limits.reads = 2;
                config.gathers = true;
                config.asks_primary = true;
                config.slow_polls = true;
            }
            Group::ReadAny => config.replicas = 2,
            Group::PooledBeacon => {
                limits.restarts = 1;
                config.beacon = true;
                config.replicas = 2;
                config.services = [Service::Serving, Service::Out];
                config.pooled_replicas = true;
                config.acknowledge = Acknowledge::Timer;
            }
            Group::BeaconFailover => {
                limits.failover = true;
                config.beacon = true;
                config.replicas = 2;
            }
            Group::ReadIndex => {
                limits.restarts = 1;
                limits.failover = true;
                config.replicas = 2;
                config.services = [Service::Out, Service::Out];
                config.read_index = true;
            }
            Group::BeaconRestart => {
                limits.restarts = 1;
                config.beacon = true;
                config.connected = false;
            }
        }
        config
    }
}
