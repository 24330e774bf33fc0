//! Whether the connections of the whole fleet fit into what Postgres has for them.
//!
//! Asked at the start, because the answer afterwards is an outage: the last process to connect is refused, or an
//! administrator is. A sum, and what to say of it; [`crate::survey`] asks the server for the summands.

use std::{fmt, num::NonZeroU32};

/// What bounds the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `max_connections`, less what is reserved for superusers and others.
    Server,
    /// The role's `CONNECTION LIMIT`. It is the hard stop that Postgres itself enforces on a fleet.
    Role,
    /// The database's `CONNECTION LIMIT`.
    Database,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "the server (`max_connections` less its reserve)",
            Self::Role => "the role (its `CONNECTION LIMIT`)",
            Self::Database => "the database (its `CONNECTION LIMIT`)",
        })
    }
}

/// One bound, and who else counts towards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) limit: Limit,
    pub(crate) most: u64,
    /// Sessions of other programs that it counts at present.
    pub(crate) others: u64,
}

impl Room {
    /// What may be planned for. A tenth of the server is left to people and programs that nobody thought of; the other
    /// two limits are there for this fleet alone, so all of them may be used.
    fn planned(&self) -> u64 {
        match self.limit {
            Limit::Server => self.most - self.most.div_ceil(10),
            Limit::Role | Limit::Database => self.most,
        }
    }
}

/// The fleet's connections to the primary against what the server, the role and the database allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Processes that share the database, by configuration.
    pub processes: NonZeroU32,
    /// The most connections that each of them makes.
    pub each: u64,
    /// The most that all of them make.
    pub wanted: u64,
    /// The most that should be planned for.
    pub allowed: u64,
    /// Sessions of this fleet at present.
    pub live: u64,
    /// Sessions of other programs on the server at present.
    pub others: u64,
    /// What follows.
    pub verdict: Verdict,
}

/// Whether the connections fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They do.
    Fits,
    /// They do, barely, or only while nobody else needs any.
    Tight(Tightness),
    /// They cannot: some process will be refused when all are busy.
    Exceeds {
        /// What they do not fit into.
        limit: Limit,
        /// How many it allows.
        most: u64,
    },
    /// A pooler is in between: its pool, not ours, is what the server sees.
    Pooled,
}

/// Why it is tight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tightness {
    /// Less than a tenth of the server's connections is left.
    LittleLeft {
        /// How many the server has for everybody.
        most: u64,
    },
    /// Other programs hold so many that the rest is too few.
    Others {
        /// Of whose connections.
        limit: Limit,
        /// How many it allows.
        most: u64,
        /// How many of them others hold.
        others: u64,
    },
    /// There are more sessions of this fleet than the configured number of processes can make.
    MoreThanConfigured,
}

impl Budget {
    pub(crate) fn new(
        processes: NonZeroU32,
        each: usize,
        rooms: &[Room],
        live: u64,
        others: u64,
        pooled: bool,
    ) -> Self {
        let each = u64::try_from(each).unwrap_or(u64::MAX);
        let wanted = u64::from(processes.get()).saturating_mul(each);
        let allowed = rooms.iter().map(Room::planned).min().unwrap_or(u64::MAX);
        let verdict = if pooled {
            Verdict::Pooled
        } else {
            verdict(wanted, rooms, live)
        };
        Self {
            processes,
            each,
            wanted,
            allowed,
            live,
            others,
            verdict,
        }
    }
}

fn verdict(wanted: u64, rooms: &[Room], live: u64) -> Verdict {
    let narrowest = rooms.iter().min_by_key(|room| room.most);
    if let Some(&Room { limit, most, .. }) = narrowest.filter(|room| wanted > room.most) {
        return Verdict::Exceeds { limit, most };
    }
    if live > wanted {
        return Verdict::Tight(Tightness::MoreThanConfigured);
    }
    let taken = |room: &&Room| wanted.saturating_add(room.others) > room.most;
    if let Some(&Room {
        limit,
        most,
        others,
    }) = rooms.iter().find(taken)
    {
        return Verdict::Tight(Tightness::Others {
            limit,
            most,
            others,
        });
    }
    match rooms.iter().find(|room| wanted > room.planned()) {
        Some(room) => Verdict::Tight(Tightness::LittleLeft { most: room.most }),
        None => Verdict::Fits,
    }
}

/// One sentence for an operator: what was found, and what to do about it.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            processes,
            each,
            wanted,
            allowed,
            live,
            ..
        } = self;
        write!(
            f,
            "{processes} processes with at most {each} connections each make {wanted}"
        )?;
        match self.verdict {
            Verdict::Fits => write!(f, ", which fit into {allowed}"),
            Verdict::Exceeds { limit, most } => write!(
                f,
                ", but {limit} allows {most}: configure fewer or smaller processes, or raise the limit"
            ),
            Verdict::Tight(Tightness::LittleLeft { most }) => write!(
                f,
                " of the {most} that the server has for everybody: \
                 less than a tenth is left for others, and for a rolling update"
            ),
            Verdict::Tight(Tightness::Others {
                limit,
                most,
                others,
            }) => write!(
                f,
                ", but {limit} allows {most}, and others hold {others} of them at present"
            ),
            Verdict::Tight(Tightness::MoreThanConfigured) => write!(
                f,
                ", but {live} sessions are there: more processes run than are configured"
            ),
            Verdict::Pooled => write!(f, " to the pooler, whose own pool is what the server sees"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(limit: Limit, most: u64, others: u64) -> Room {
        Room {
            limit,
            most,
            others,
        }
    }

    fn verdict_of(processes: u32, rooms: &[Room], live: u64) -> Verdict {
        budget(processes, rooms, live, false).verdict
    }

    fn budget(processes: u32, rooms: &[Room], live: u64, pooled: bool) -> Budget {
        let processes = NonZeroU32::new(processes).unwrap();
        Budget::new(processes, 8, rooms, live, 5, pooled)
    }

    #[test]
    fn a_tenth_of_the_server_is_left_to_others() {
        let server = [room(Limit::Server, 100, 5)];
        assert_eq!(verdict_of(11, &server, 0), Verdict::Fits);
        assert_eq!(budget(11, &server, 0, false).allowed, 90);
        let little = Verdict::Tight(Tightness::LittleLeft { most: 97 });
        assert_eq!(verdict_of(11, &[room(Limit::Server, 97, 0)], 0), little);
    }

    #[test]
    fn a_fleet_that_cannot_fit_is_refused_by_the_narrowest_limit() {
        let rooms = [
            room(Limit::Server, 100, 0),
            room(Limit::Role, 20, 0),
            room(Limit::Database, 50, 0),
        ];
        let exceeds = Verdict::Exceeds {
            limit: Limit::Role,
            most: 20,
        };
        assert_eq!(verdict_of(3, &rooms, 0), exceeds);
        assert_eq!(verdict_of(2, &rooms, 0), Verdict::Fits);
        let exceeds = Verdict::Exceeds {
            limit: Limit::Server,
            most: 100,
        };
        assert_eq!(verdict_of(13, &rooms[..1], 0), exceeds);
    }

    #[test]
    fn the_whole_limit_of_a_role_may_be_used() {
        let rooms = [room(Limit::Server, 100, 0), room(Limit::Role, 16, 0)];
        assert_eq!(verdict_of(2, &rooms, 16), Verdict::Fits);
    }

    #[test]
    fn connections_that_others_hold_are_not_counted_on() {
        let others = Verdict::Tight(Tightness::Others {
            limit: Limit::Server,
            most: 100,
            others: 90,
        });
        let rooms = [room(Limit::Server, 100, 90)];
        assert_eq!(verdict_of(2, &rooms, 0), others);
    }

    #[test]
    fn more_sessions_than_configured_processes_can_make_are_noticed() {
        let rooms = [room(Limit::Server, 100, 0)];
        let more = Verdict::Tight(Tightness::MoreThanConfigured);
        assert_eq!(verdict_of(2, &rooms, 17), more);
    }

    #[test]
    fn behind_a_pooler_the_sum_says_nothing() {
        let rooms = [room(Limit::Server, 10, 0)];
        assert_eq!(budget(100, &rooms, 0, true).verdict, Verdict::Pooled);
    }

    #[test]
    fn the_message_says_what_to_do() {
        let rooms = [room(Limit::Role, 20, 0)];
        assert_eq!(
            budget(3, &rooms, 0, false).to_string(),
            "3 processes with at most 8 connections each make 24, but the role (its `CONNECTION LIMIT`) allows 20: \
             configure fewer or smaller processes, or raise the limit"
        );
    }
}
