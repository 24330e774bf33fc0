//! Whether an address leads to one server.
//!
//! Behind a load balancer, or a name with several addresses, it does not: what is known of one server would be held
//! against another, and a write would wait for replicas that this process cannot tell apart. Every read is judged by the
//! connection it went through, so nothing wrong is handed out; but such an address is of no use, and somebody must say so.

use std::time::Duration;

use crate::{
    freshness::{clock::Moment, floor::ServerId},
    identify::Peer,
};

/// So many new connections in a row must lead to one server until it is believed that the address does. The second is
/// made for that alone, once: whatever takes turns is found out by it.
const BELIEVED_AFTER: u32 = 2;

/// The same for an address that led to several: those that choose by chance get through this once in sixteen times.
const BELIEVED_AGAIN_AFTER: u32 = 5;

/// Where an address has led.
#[derive(Debug)]
pub(crate) struct Signpost {
    /// Two servers within so long are two at a time; see [`crate::policy::FloorPolicy::one_server`].
    memory: Duration,
    /// Servers that answered, and when each did last.
    met: Vec<(ServerId, Moment)>,
    /// When the newest of the connections was opened.
    newest: Option<Moment>,
    /// How many new connections have led to the same server.
    in_a_row: u32,
    /// When it led to several last, until it is believed again that it leads to one.
    several: Option<Moment>,
}

impl Signpost {
    pub(crate) fn new(memory: Duration) -> Self {
        Self {
            memory,
            met: Vec::new(),
            newest: None,
            in_a_row: 0,
            several: None,
        }
    }

    /// A connection was answered by `peer` at `now`. Returns the servers if this is how it was found that there are
    /// several.
    pub(crate) fn met(&mut self, peer: &Peer, now: Moment) -> Option<Vec<ServerId>> {
        let memory = self.memory;
        self.met
            .retain(|(server, at)| *server == peer.server || now.since(*at) < memory);
        if let Some((_, at)) = self.met.iter_mut().find(|(met, _)| *met == peer.server) {
            *at = now;
        } else {
            self.met.push((peer.server.clone(), now));
            self.in_a_row = 0;
        }
        if self.newest.is_none_or(|newest| peer.opened_at > newest) {
            self.newest = Some(peer.opened_at);
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
        if self.met.len() > 1 {
            self.in_a_row = 0;
            let was = self.several.replace(now);
            let servers = || self.met.iter().map(|(server, _)| server.clone()).collect();
            return was.is_none().then(servers);
        }
        if self.in_a_row >= BELIEVED_AGAIN_AFTER {
            self.several = None;
        }
        None
    }

    /// Whether it leads to several servers, as far as is known.
    pub(crate) fn is_several(&self) -> bool {
        self.several.is_some()
    }

    /// Whether a new connection would tell something.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_several() || self.in_a_row < BELIEVED_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::after_boot(Duration::from_secs(seconds))
    }

    fn opened(server: &str, seconds: u64) -> Peer {
        Peer {
            server: ServerId::new(server),
            opened_at: at(seconds),
            backend: 7,
        }
    }

    /// Met over a new connection.
    fn meet(signpost: &mut Signpost, server: &str, seconds: u64) -> bool {
        signpost
            .met(&opened(server, seconds), at(seconds))
            .is_some()
    }

    #[test]
    fn an_address_is_believed_after_a_second_connection() {
        let mut signpost = Signpost::new(MEMORY);
        let first = opened("a", 1);
        for seconds in 1..5 {
            assert_eq!(signpost.met(&first, at(seconds)), None);
            assert!(signpost.is_doubtful());
        }
        assert!(!meet(&mut signpost, "a", 5));
        assert!(!signpost.is_doubtful() && !signpost.is_several());
    }

    #[test]
    fn two_servers_at_a_time_are_said_once_and_rest_while_both_answer() {
        let mut signpost = Signpost::new(MEMORY);
        assert!(!meet(&mut signpost, "a", 1));
        let both = signpost.met(&opened("b", 2), at(2)).unwrap();
        assert_eq!(both, ["a", "b"].map(ServerId::new));
        for seconds in 3..100 {
            let server = if seconds % 3 == 0 { "a" } else { "b" };
            assert!(!meet(&mut signpost, server, seconds));
            assert!(signpost.is_several(), "at {seconds}");
        }
    }

    #[test]
    fn old_connections_do_not_show_that_an_address_leads_to_one_again() {
        let mut signpost = Signpost::new(MEMORY);
        meet(&mut signpost, "a", 1);
        let old = opened("b", 2);
        for seconds in 2..100 {
            signpost.met(&old, at(seconds));
            assert!(signpost.is_several(), "at {seconds}");
        }
    }

    #[test]
    fn a_name_that_moves_to_another_server_is_believed_when_the_old_one_is_forgotten() {
        let mut signpost = Signpost::new(MEMORY);
        for seconds in 0..5 {
            meet(&mut signpost, "a", seconds);
        }
        // The last answer of the old one was at 4.
        for seconds in 5..14 {
            meet(&mut signpost, "b", seconds);
            assert!(signpost.is_several(), "at {seconds}");
        }
        for seconds in 14..19 {
            meet(&mut signpost, "b", seconds);
        }
        assert!(!signpost.is_several() && !signpost.is_doubtful());
    }

    #[test]
    fn a_name_that_moved_long_after_the_last_answer_was_never_several() {
        let mut signpost = Signpost::new(MEMORY);
        meet(&mut signpost, "a", 1);
        assert!(!meet(&mut signpost, "b", 11));
        assert!(!signpost.is_several());
        assert!(signpost.is_doubtful(), "it has led there once");
    }
}
