//! The database: a primary, standbys that receive and replay its log late, timelines, and what a server shows.
//!
//! A log is a list of snapshots, each the whole database after one more commit; a position in the log is their number.
//! So what a server shows is one look-up, and a standby that goes back shows what it showed before.

use std::rc::Rc;

use uuid::Uuid;

use super::{
    engine::{Engine, Instant, MS},
    settings::{Settings, Weather},
    tables::{MemberRow, VoteRow},
};
use crate::{
    freshness::floor::{Epoch, ServerId},
    lane::guard::Standing,
};

/// Rows that clients write and read.
pub(super) const KEYS: usize = 3;
/// Processes of ours.
pub(super) const PROCESSES: usize = 3;
/// Servers; the first is the primary at the beginning.
pub(super) const SERVERS: usize = 3;

/// The whole database at one position of the log.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) versions: [u64; KEYS],
    pub(super) epoch: Epoch,
    /// `cluster_epoch.timeline`.
    pub(super) timeline: usize,
    pub(super) beacons: [u64; PROCESSES],
    pub(super) members: Rc<Vec<MemberRow>>,
    pub(super) votes: Rc<Vec<VoteRow>>,
}

/// One commit.
#[derive(Debug, Clone)]
struct Record {
    state: Rc<Snapshot>,
    flushed_at: Instant,
}

/// One history of the log.
struct Timeline {
    log: Vec<Record>,
    /// Of which timeline it has the beginning, and how much; the first has none.
    origin: Option<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Standby,
    Down,
}

/// How fast a standby replays: microseconds for one commit, from and to.
pub(super) type Pace = (u64, u64);

#[derive(Debug)]
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) role: Role,
    timeline: usize,
    /// A restart ends every connection of the one before.
    pub(super) incarnation: u32,
    /// Nobody gets a connection before.
    pub(super) up_at: Instant,
    pub(super) pace: Pace,
    /// Replays nothing before.
    pub(super) stopped_until: Instant,
    /// Receives nothing before.
    pub(super) deaf_until: Instant,
    /// What is on its disk; of a primary what is flushed.
    received: usize,
    last_receipt: Instant,
    next_receipt: Option<Instant>,
    /// What it shows.
    shown: usize,
    last_replay: Instant,
    next_replay: Option<Instant>,
}

/// All servers.
pub(super) struct Cluster {
    engine: Rc<Engine>,
    settings: Rc<Settings>,
    timelines: Vec<Timeline>,
    pub(super) servers: Vec<Server>,
    /// Rows that are being changed by a transaction.
    pub(super) locked: [bool; KEYS],
    /// The last version given out, of any key.
    pub(super) last_version: u64,
}

/// A server as somebody is connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) server: usize,
    pub(super) incarnation: u32,
}

/// The connection broke, or the server is not there.
#[derive(Debug)]
pub(super) struct Lost;

impl Cluster {
    pub(super) fn new(engine: &Rc<Engine>, settings: &Rc<Settings>) -> Self {
        let servers: Vec<Server> = (0..SERVERS)
            .map(|place| Server {
                id: ServerId::new(&format!("10.0.0.{place}:5432/7")),
                role: if place == 0 {
                    Role::Primary
                } else {
                    Role::Standby
                },
                timeline: 0,
                incarnation: 0,
                up_at: 0,
                pace: (0, 5 * MS),
                stopped_until: 0,
                deaf_until: 0,
                received: 1,
                last_receipt: 0,
                next_receipt: None,
                shown: 1,
                last_replay: 0,
                next_replay: None,
            })
            .collect();
        let members = if settings.mode.keeps_floors() {
            // Where members come and go some are not in service yet.
            let settled = settings.weather != Weather::Upheaval;
            let standbys = servers[1..].iter();
            let known = standbys.filter(|_| settled || engine.chance(60));
            known.map(|server| MemberRow::serving(&server.id)).collect()
        } else {
            Vec::new()
        };
        let state = Snapshot {
            versions: [0; KEYS],
            epoch: Epoch(Uuid::from_u128(1)),
            timeline: 0,
            beacons: [0; PROCESSES],
            members: Rc::new(members),
            votes: Rc::default(),
        };
        let record = Record {
            state: Rc::new(state),
            flushed_at: 0,
        };
        Self {
            engine: Rc::clone(engine),
            settings: Rc::clone(settings),
            timelines: vec![Timeline {
                log: vec![record],
                origin: None,
            }],
            servers,
            locked: [false; KEYS],
            last_version: 0,
        }
    }

    /// From the beginning there is a member that is none of the servers.
    pub(super) fn add_unknown_member(&mut self) {
        let first = Rc::make_mut(&mut self.timelines[0].log[0].state);
        let unknown = MemberRow::serving(&ServerId::new("10.0.0.99:5432/7"));
        Rc::make_mut(&mut first.members).push(unknown);
    }

    pub(super) fn primary(&self) -> Option<usize> {
        self.servers
            .iter()
            .position(|server| server.role == Role::Primary && self.engine.now() >= server.up_at)
    }

    /// Somebody connects to `server`.
    pub(super) fn session(&self, server: usize) -> Result<Session, Lost> {
        let found = &self.servers[server];
        if found.role == Role::Down || self.engine.now() < found.up_at {
            return Err(Lost);
        }
        Ok(Session {
            server,
            incarnation: found.incarnation,
        })
    }

    /// Whether `session` still stands.
    pub(super) fn reach(&self, session: Session) -> Result<usize, Lost> {
        if self.session(session.server)? == session {
            Ok(session.server)
        } else {
            Err(Lost)
        }
    }

    /// What a statement sees that runs on `server` now.
    pub(super) fn snapshot(&mut self, server: usize) -> Rc<Snapshot> {
        self.catch_up(server);
        let Server {
            timeline, shown, ..
        } = self.servers[server];
        Rc::clone(&self.timelines[timeline].log[shown - 1].state)
    }

    /// `portolan_pg.standing`.
    pub(super) fn standing(&mut self, server: usize) -> Standing {
        let state = self.snapshot(server);
        let in_recovery = self.servers[server].role == Role::Standby;
        Standing {
            in_recovery,
            same_history: in_recovery || state.timeline == self.servers[server].timeline,
            epoch: state.epoch,
        }
    }

    /// `pg_current_wal_flush_lsn()` on a primary, `pg_last_wal_replay_lsn()` on a standby.
    pub(super) fn position(&mut self, server: usize) -> u64 {
        self.catch_up(server);
        let server = &self.servers[server];
        match server.role {
            Role::Primary => server.received as u64,
            Role::Standby | Role::Down => server.shown as u64,
        }
    }

    pub(super) fn timeline(&self, server: usize) -> usize {
        self.servers[server].timeline
    }

    // --- Commits ----------------------------------------------------------------------------------------------------

    /// Puts a commit into the log of the primary; nobody sees it yet. Returns its position.
    pub(super) fn insert<R>(
        &mut self,
        server: usize,
        change: impl FnOnce(&mut Snapshot) -> R,
    ) -> (R, usize) {
        debug_assert_eq!(self.servers[server].role, Role::Primary);
        let log = &mut self.timelines[self.servers[server].timeline].log;
        let last = log.last().expect("a log has a beginning");
        let mut state = (*last.state).clone();
        let result = change(&mut state);
        log.push(Record {
            state: Rc::new(state),
            flushed_at: Instant::MAX,
        });
        (result, log.len())
    }

    pub(super) fn flush(&mut self, server: usize, position: usize) {
        let Server {
            timeline, received, ..
        } = self.servers[server];
        for record in self.timelines[timeline]
            .log
            .iter_mut()
            .take(position)
            .skip(received)
        {
            record.flushed_at = self.engine.now();
        }
        self.servers[server].received = received.max(position);
    }

    /// Whether COMMIT may return as far as the standbys are concerned.
    pub(super) fn is_safe(&mut self, server: usize, position: usize) -> bool {
        !self.settings.synchronous
            || (0..SERVERS).any(|other| {
                self.follows(other, server) && {
                    self.catch_up(other);
                    self.servers[other].received >= position
                }
            })
    }

    pub(super) fn show(&mut self, server: usize, position: usize) {
        let server = &mut self.servers[server];
        server.shown = server.shown.max(position);
    }

    // --- Replication ------------------------------------------------------------------------------------------------

    fn follows(&self, standby: usize, primary: usize) -> bool {
        let (standby, primary) = (&self.servers[standby], &self.servers[primary]);
        standby.role == Role::Standby
            && primary.role == Role::Primary
            && standby.timeline == primary.timeline
            && self.engine.now() >= standby.up_at
    }

    /// Receives and replays what is due by now.
    fn catch_up(&mut self, place: usize) {
        let now = self.engine.now();
        let source = (0..SERVERS).find(|other| self.follows(place, *other));
        let flushed = source.map(|source| self.servers[source].received);
        let server = &mut self.servers[place];
        if server.role != Role::Standby || now < server.up_at {
            return;
        }
        let log = &self.timelines[server.timeline].log;
        let hears = now >= server.deaf_until;
        while hears && flushed.is_some_and(|flushed| server.received < flushed) {
            let due = *server.next_receipt.get_or_insert_with(|| {
                let from = log[server.received].flushed_at.max(server.last_receipt);
                let from = from.max(server.deaf_until);
                from + self
                    .engine
                    .in_ticks(self.engine.between(0, self.settings.wire))
            });
            if due > now {
                break;
            }
            server.received += 1;
            server.last_receipt = due;
            server.next_receipt = None;
        }
        while server.shown < server.received && now >= server.stopped_until {
            let due = *server.next_replay.get_or_insert_with(|| {
                let from = log[server.shown].flushed_at.max(server.last_replay);
                from.max(server.stopped_until)
                    + self
                        .engine
                        .in_ticks(self.engine.between(server.pace.0, server.pace.1))
            });
            if due > now {
                break;
            }
            server.shown += 1;
            server.last_replay = due;
            server.next_replay = None;
        }
    }

    /// Restarts a server. A standby goes back behind what it has shown; a primary loses what it has not flushed.
    pub(super) fn restart(&mut self, place: usize, down: u64) {
        self.catch_up(place);
        let now = self.engine.now();
        let back = self.engine.one_of(&[0, 1, 1, 2, 3, 5, 10, 20]);
        let server = &mut self.servers[place];
        server.incarnation += 1;
        server.up_at = now + down;
        match server.role {
            Role::Primary => {
                let (timeline, flushed) = (server.timeline, server.received);
                server.shown = flushed;
                self.timelines[timeline].log.truncate(flushed);
                self.locked = [false; KEYS];
            }
            Role::Standby => {
                server.shown = server.shown.saturating_sub(back).max(1);
                server.last_replay = now + down;
                server.next_replay = None;
            }
            Role::Down => {}
        }
    }

    /// The primary stops answering, for good (A4).
    pub(super) fn fence(&mut self) -> Option<usize> {
        let old = self
            .servers
            .iter()
            .position(|server| server.role == Role::Primary)?;
        for place in 0..SERVERS {
            self.catch_up(place);
        }
        self.servers[old].role = Role::Down;
        self.servers[old].incarnation += 1;
        self.locked = [false; KEYS];
        Some(old)
    }

    /// Promotes `place`. Returns what is lost with the old primary: for each key the last version that is kept.
    pub(super) fn promote(&mut self, place: usize) -> [u64; KEYS] {
        self.catch_up(place);
        let now = self.engine.now();
        let Server {
            timeline, received, ..
        } = self.servers[place];
        let log = self.timelines[timeline].log[..received].to_vec();
        let kept = log[received - 1].state.versions;
        self.timelines.push(Timeline {
            log,
            origin: Some((timeline, received)),
        });
        let server = &mut self.servers[place];
        server.timeline = self.timelines.len() - 1;
        server.role = Role::Primary;
        server.shown = received;
        server.up_at = now;
        kept
    }

    /// Who would be promoted: whoever has received most, so that nothing is lost that a synchronous standby has.
    pub(super) fn heir(&mut self) -> Option<usize> {
        for place in 0..SERVERS {
            self.catch_up(place);
        }
        let standbys = (0..SERVERS).filter(|place| self.servers[*place].role == Role::Standby);
        if self.settings.synchronous {
            standbys.max_by_key(|place| {
                let server = &self.servers[*place];
                (server.timeline, server.received)
            })
        } else {
            let standbys: Vec<usize> = standbys.collect();
            (!standbys.is_empty()).then(|| self.engine.one_of(&standbys))
        }
    }

    /// Has a standby follow the primary, if its history leads there. One that has received more has diverged: it stays
    /// with the old timeline until it is made anew.
    pub(super) fn follow(&mut self, place: usize) {
        let Some(primary) = self.primary() else {
            return;
        };
        self.catch_up(place);
        let timeline = self.servers[primary].timeline;
        let Server { timeline: own, .. } = self.servers[place];
        let shared = self.shared(own, timeline);
        let server = &mut self.servers[place];
        if server.role == Role::Standby && shared.is_some_and(|shared| server.received <= shared) {
            server.timeline = timeline;
            server.next_receipt = None;
        }
    }

    /// How much of `timeline` the one that came of it has kept, by whichever failovers.
    fn shared(&self, timeline: usize, mut later: usize) -> Option<usize> {
        let mut shared = usize::MAX;
        while later != timeline {
            let (parent, kept) = self.timelines[later].origin?;
            shared = shared.min(kept);
            later = parent;
        }
        Some(shared)
    }

    /// Makes a server anew as a standby of the primary, from a backup a little before `fork`.
    pub(super) fn rewind(&mut self, place: usize, fork: usize) {
        let Some(primary) = self.primary() else {
            return;
        };
        let timeline = self.servers[primary].timeline;
        let fork = fork.min(self.servers[primary].received);
        let now = self.engine.now();
        if self.servers[place].timeline == timeline || self.servers[place].role == Role::Primary {
            return;
        }
        let from = self
            .engine
            .between(fork.saturating_sub(10).max(1) as u64, fork as u64);
        let server = &mut self.servers[place];
        server.role = Role::Standby;
        server.timeline = timeline;
        server.incarnation += 1;
        server.up_at = now;
        server.received = usize::try_from(from).expect("a position fits");
        server.shown = server.received;
        server.last_receipt = now;
        server.last_replay = now;
        server.next_receipt = None;
        server.next_replay = None;
    }

    /// The newest version of `key` on the primary.
    pub(super) fn last_of(&self, key: usize) -> u64 {
        let log = self
            .primary()
            .and_then(|primary| self.timelines[self.servers[primary].timeline].log.last());
        log.map_or(0, |record| record.state.versions[key])
    }

    /// Where the log of `server` ends on its disk.
    pub(super) fn end(&self, server: usize) -> usize {
        self.servers[server].received
    }
}
