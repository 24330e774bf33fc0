//! What a seed decides before a run begins: the mode, the machine, the network, and what goes wrong how often.

use std::time::Duration;

use super::{
    cluster::PROCESSES,
    engine::{Engine, MS},
    mutants::Mutant,
};
use crate::{freshness::barrier::Acknowledge, router::FreshnessMode};

/// How long writers wait: `s_ms` as the schema is made with.
pub(super) const S: Duration = Duration::from_millis(500);
/// How long a floor may be used: `s_r_ms`.
pub(super) const S_R: Duration = Duration::from_millis(400);

/// What goes wrong most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Everything,
    Restarts,
    /// Restarts and nothing else.
    Crashes,
    Failovers,
    Membership,
    /// Members come and go, and so do primaries.
    Upheaval,
    Pauses,
    /// Nothing but lag.
    Calm,
}

/// How one run is.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) weather: Weather,
    pub(super) acknowledge: Acknowledge,
    /// Whether COMMIT waits for a standby, so that a failover loses nothing that was acknowledged.
    pub(super) synchronous: bool,
    /// Who is reached through a pooler that may change the server at any time.
    pub(super) pooled: Pooled,
    pub(super) tick: u64,
    /// The longest way of a message, most times; and of a piece of the log.
    pub(super) net: u64,
    pub(super) wire: u64,
    /// The longest that a task waits between two steps while its process goes on; few wait at all.
    pub(super) hiccup: u64,
    /// How many of a hundred dials wait long, because the queue of connections is full.
    pub(super) slow_dials: u64,
    /// The longest pause between two troubles.
    pub(super) between_troubles: u64,
    /// How long there is no primary in a failover.
    pub(super) gap: u64,
    /// How many milliseconds each process's clock counts in a second.
    pub(super) rates: [u64; PROCESSES],
    /// The longest pause of a client between two pushes.
    pub(super) between_pushes: u64,
    pub(super) duration: u64,
    pub(super) mutant: Option<Mutant>,
}

/// A seed says the mode too, so that it alone replays a run.
pub(super) fn mode_of(seed: u64) -> FreshnessMode {
    match seed % 3 {
        0 => FreshnessMode::Wal,
        1 => FreshnessMode::Beacon,
        _ => FreshnessMode::ReadIndex,
    }
}

/// The mode of the router, and what it says of floors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode(pub(super) FreshnessMode);

impl Mode {
    pub(super) fn keeps_floors(self) -> bool {
        self.0.of_process(uuid::Uuid::nil()).keeps_floors()
    }

    pub(super) fn has_beacon(self) -> bool {
        self.0 == FreshnessMode::Beacon
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooled {
    Nobody,
    Primary,
    /// Against the rules, and by a pooler that a new connection does not tell of: noticed when another backend answers than
    /// said who it is, and served by the primary.
    Replicas,
}

impl Settings {
    /// Draws them.
    pub(super) fn draw(engine: &Engine, seed: u64, mutant: Option<Mutant>) -> Self {
        // Any two clocks differ by no more than A3 allows, and in many runs by just as much.
        let rates = match engine.between(0, 2) {
            0 => [(); PROCESSES].map(|()| engine.between(800, 1_000)),
            1 => [(); PROCESSES].map(|()| engine.one_of(&[800, 1_000])),
            _ => [1_000; PROCESSES],
        };
        let mut settings = Self {
            mode: Mode(mode_of(seed)),
            weather: engine.one_of(&[
                Weather::Everything,
                Weather::Everything,
                Weather::Restarts,
                Weather::Crashes,
                Weather::Failovers,
                Weather::Failovers,
                Weather::Membership,
                Weather::Upheaval,
                Weather::Pauses,
                Weather::Calm,
            ]),
            acknowledge: if engine.chance(15) {
                Acknowledge::Timer
            } else {
                Acknowledge::Observe
            },
            synchronous: engine.chance(60),
            pooled: match engine.between(0, 9) {
                0..=6 => Pooled::Nobody,
                7 | 8 => Pooled::Primary,
                _ => Pooled::Replicas,
            },
            tick: engine.one_of(&[100, 100, 500, MS, MS, 5 * MS, 25 * MS, 100 * MS]),
            net: engine.one_of(&[MS, 2 * MS, 10 * MS, 50 * MS]),
            wire: engine.one_of(&[MS, 5 * MS, 50 * MS]),
            hiccup: engine.one_of(&[0, 5 * MS, 600 * MS]),
            slow_dials: engine.one_of(&[0, 10, 50]),
            between_troubles: engine.one_of(&[100 * MS, 400 * MS, 600 * MS]),
            gap: engine.one_of(&[0, 20 * MS, 200 * MS]),
            rates,
            between_pushes: engine.one_of(&[40 * MS, 200 * MS, 600 * MS]),
            duration: 3_000 * MS,
            mutant,
        };
        if let Some(mutant) = mutant {
            settings.suit(mutant);
        }
        if settings.weather == Weather::Upheaval {
            // Time for what was not in service to be found fit.
            settings.duration += 2_000 * MS;
        }
        settings
    }

    /// Nothing out of the ordinary.
    pub(super) fn calm(mutant: Option<Mutant>) -> Self {
        Self {
            mode: Mode(FreshnessMode::Wal),
            weather: Weather::Calm,
            acknowledge: Acknowledge::Observe,
            synchronous: false,
            pooled: Pooled::Nobody,
            tick: 500,
            net: MS,
            wire: MS,
            hiccup: 0,
            slow_dials: 0,
            between_troubles: 0,
            gap: 0,
            rates: [1_000; PROCESSES],
            between_pushes: 600 * MS,
            duration: 0,
            mutant,
        }
    }
}
