//! How often a password may be wrong: what this process counts by itself.
//!
//! | what | bound | who is shut out beyond it |
//! |---|---|---|
//! | wrong passwords for one name from one network, in a row | `login.lockout_after` | that name from that network, for a time that doubles |
//! | wrong passwords from one network, in a minute | `login.failures_per_network` | that network, but for names that got in from there lately |
//! | wrong passwords for one name, in a minute | `login.failures_per_account` | that name from networks that it did not get in from lately |
//! | wrong secrets from one network, in a minute | `login.failures_per_network` | nobody; wrong ones hear 429 instead of 401 |
//!
//! A stranger can shut out himself, and at most delay the first login of somebody from a new place. The first line is kept
//! for accounts in rows too ([`portolan_metadata::lockouts`]), which all processes obey. Names are counted whether or not
//! somebody has them. A wrong password that comes twice in a row is one: clients ask by POST, and by GET after that.

mod attempts;
mod buckets;

use crate::config;
use attempts::Attempts;
use buckets::Buckets;
use moka::sync::Cache;
use portolan_auth::{DigestKey, SealKey};
use portolan_registry::identity::{FORGET_FAILURES, LockoutRules};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// Entries of each table: some 100 bytes each, 6 MiB in all. Beyond it what was used least is forgotten; accounts have
/// their rows.
const ENTRIES_MAX: u64 = 64 * 1024;

/// How long a network is known from which somebody got in: a working week, and the weekend.
const KNOWN_FOR: Duration = Duration::from_hours(7 * 24);

/// Accounts and mails that one network may ask for in a minute: a class that signs up together.
const WISHES_PER_MINUTE: u32 = 30;

/// A name, and where it is tried from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Who {
    /// Names can be long and anything; their hash is neither.
    name: u64,
    /// The address, or the first one of the /64 that one customer has.
    pub(super) network: IpAddr,
}

/// Counts, and says when it is enough.
#[derive(Debug)]
pub(super) struct Guard {
    rules: Option<LockoutRules>,
    attempts: Attempts,
    by_network: Buckets<IpAddr>,
    by_name: Buckets<u64>,
    secrets: Buckets<IpAddr>,
    wishes: Buckets<IpAddr>,
    known: Cache<Who, ()>,
    names: RandomState,
    digests: DigestKey,
}

impl Guard {
    /// As configured, in one of so many processes.
    pub(super) fn new(config: &config::Login, processes: NonZeroU32, seal: &SealKey) -> Self {
        let share = |per_minute: u32| per_minute.div_ceil(processes.get());
        Self {
            rules: (config.lockout_after > 0).then_some(LockoutRules {
                after: config.lockout_after,
                first: config.lockout_for,
                longest: config.lockout_max,
                forget: FORGET_FAILURES,
            }),
            attempts: Attempts::new(ENTRIES_MAX, FORGET_FAILURES),
            by_network: Buckets::new(share(config.failures_per_network), ENTRIES_MAX),
            by_name: Buckets::new(share(config.failures_per_account), ENTRIES_MAX),
            secrets: Buckets::new(share(config.failures_per_network), ENTRIES_MAX),
            wishes: Buckets::new(WISHES_PER_MINUTE.div_ceil(processes.get()), ENTRIES_MAX),
            known: Cache::builder()
                .max_capacity(ENTRIES_MAX)
                .time_to_live(KNOWN_FOR)
                .build(),
            names: RandomState::new(),
            digests: seal.digest_key("wrong password"),
        }
    }

    /// Whether wrong passwords in a row shut anybody out.
    pub(super) fn locks_out(&self) -> bool {
        self.rules.is_some()
    }

    /// By what rules.
    pub(super) fn rules(&self) -> Option<&LockoutRules> {
        self.rules.as_ref()
    }

    /// Under what a login is counted.
    pub(super) fn who(&self, name: &str, client: IpAddr) -> Who {
        Who {
            name: self.names.hash_one(name),
            network: network(client),
        }
    }

    /// What is kept of a wrong password: a digest that says nothing without the installation's key.
    pub(super) fn attempt(&self, name: &str, password: &str) -> [u8; 32] {
        self.digests.digest(&[name.as_bytes(), password.as_bytes()])
    }

    /// How long no password is looked at; `None`: one may be tried.
    pub(super) fn wait(&self, who: &Who, now: Instant) -> Option<Duration> {
        if self.rules.is_some()
            && let Some(wait) = self.attempts.locked_for(who, now)
        {
            return Some(wait);
        }
        if self.known.contains_key(who) {
            return None;
        }
        let network = self.by_network.wait(&who.network, now);
        network.max(self.by_name.wait(&who.name, now))
    }

    /// A password was wrong. Whether it counts: one that was wrong before does not.
    pub(super) fn failed(&self, who: &Who, attempt: [u8; 32], now: Instant) -> bool {
        if !self.attempts.failed(who, attempt, self.rules.as_ref(), now) {
            return false;
        }
        self.by_network.take(&who.network, now);
        self.by_name.take(&who.name, now);
        true
    }

    /// A password was right.
    pub(super) fn succeeded(&self, who: &Who) {
        self.attempts.forget(who);
        self.known.insert(*who, ());
    }

    /// Somebody asks for an account or a mail. How long to wait, where there were too many from there.
    pub(super) fn asked(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let network = network(client);
        let wait = self.wishes.wait(&network, now);
        if wait.is_none() {
            self.wishes.take(&network, now);
        }
        wait
    }

    /// A secret was wrong. How long to wait, where there were too many from there.
    pub(super) fn secret_failed(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let network = network(client);
        let wait = self.secrets.wait(&network, now);
        if wait.is_none() {
            self.secrets.take(&network, now);
        }
        wait
    }
}

/// The network that one customer has: his address, or the 64 bits before what he chooses himself (RFC 6177).
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Guard, network};
    use crate::config;
    use portolan_auth::SealKey;
    use secrecy::SecretBox;
    use std::net::IpAddr;
    use std::num::NonZeroU32;
    use std::time::Duration;
    use tokio::time::Instant;

    fn guard(change: impl FnOnce(&mut config::Login)) -> Guard {
        let mut config = config::Login::default();
        change(&mut config);
        let seal = SealKey::from_bytes(&SecretBox::new(Box::new([1; 32]))).unwrap();
        Guard::new(&config, NonZeroU32::MIN, &seal)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A guard, and the time.
    struct Watch {
        guard: Guard,
        now: Instant,
    }

    fn watch(change: impl FnOnce(&mut config::Login)) -> Watch {
        Watch {
            guard: guard(change),
            now: Instant::now(),
        }
    }

    impl Watch {
        fn fail(&self, name: &str, from: &str, password: &str) -> bool {
            let who = self.guard.who(name, address(from));
            let attempt = self.guard.attempt(name, password);
            self.guard.failed(&who, attempt, self.now)
        }

        fn waits(&self, name: &str, from: &str) -> Option<Duration> {
            self.guard
                .wait(&self.guard.who(name, address(from)), self.now)
        }

        fn succeed(&self, name: &str, from: &str) {
            self.guard.succeeded(&self.guard.who(name, address(from)));
        }

        fn fail_secret(&self, from: &str) -> Option<Duration> {
            self.guard.secret_failed(address(from), self.now)
        }
    }

    #[test]
    fn a_network_is_what_one_customer_has() {
        assert_eq!(network(address("203.0.113.9")), address("203.0.113.9"));
        assert_eq!(
            network(address("::ffff:203.0.113.9")),
            address("203.0.113.9")
        );
        assert_eq!(
            network(address("2001:db8:1:2:3:4:5:6")),
            address("2001:db8:1:2::")
        );
    }

    #[test]
    fn who_guesses_is_shut_out_and_nobody_else() {
        let mut watch = watch(|_| ());
        for guess in 0..10 {
            assert_eq!(watch.waits("alice", "203.0.113.9"), None);
            for again in [true, false] {
                assert_eq!(
                    watch.fail("alice", "203.0.113.9", &guess.to_string()),
                    again
                );
            }
        }
        let wait = watch.waits("alice", "203.0.113.9").unwrap();
        assert_eq!(wait, Duration::from_mins(1));
        assert_eq!(watch.waits("alice", "198.51.100.7"), None);
        assert_eq!(watch.waits("bob", "203.0.113.9"), None);
        watch.now += wait;
        assert_eq!(watch.waits("alice", "203.0.113.9"), None);
        watch.fail("alice", "203.0.113.9", "one more");
        let wait = watch.waits("alice", "203.0.113.9");
        assert_eq!(wait, Some(Duration::from_mins(2)), "twice as long");
        watch.now += Duration::from_mins(2);
        watch.succeed("alice", "203.0.113.9");
        for guess in 0..9 {
            watch.fail("alice", "203.0.113.9", &guess.to_string());
        }
        assert_eq!(watch.waits("alice", "203.0.113.9"), None, "it began anew");
    }

    #[test]
    fn a_network_that_guesses_names_waits_but_for_those_who_got_in_from_it() {
        let mut watch = watch(|login| login.failures_per_network = 60);
        let from = "203.0.113.9";
        watch.succeed("alice", from);
        for number in 0..60 {
            assert_eq!(watch.waits("bob", from), None, "{number}");
            watch.fail(&format!("name{number}"), from, "guess");
        }
        assert_eq!(watch.waits("bob", from), Some(Duration::from_secs(1)));
        assert_eq!(watch.waits("alice", from), None);
        assert_eq!(watch.waits("bob", "198.51.100.7"), None);
        watch.now += Duration::from_secs(1);
        assert_eq!(watch.waits("bob", from), None);
    }

    #[test]
    fn a_name_that_is_guessed_from_everywhere_is_open_to_its_owner() {
        let watch = watch(|login| login.failures_per_account = 60);
        watch.succeed("alice", "198.51.100.7");
        for number in 0..60 {
            watch.fail("alice", &format!("203.0.113.{number}"), "guess");
        }
        assert!(watch.waits("alice", "203.0.113.200").is_some());
        assert_eq!(watch.waits("alice", "198.51.100.7"), None);
        assert_eq!(watch.waits("bob", "203.0.113.200"), None);
    }

    #[test]
    fn wrong_secrets_are_told_to_wait_after_so_many() {
        let watch = watch(|login| login.failures_per_network = 2);
        let from = "203.0.113.9";
        assert_eq!(watch.fail_secret(from), None);
        assert_eq!(watch.fail_secret(from), None);
        assert_eq!(watch.fail_secret(from), Some(Duration::from_secs(30)));
        assert_eq!(watch.fail_secret("198.51.100.7"), None);
        assert_eq!(
            watch.waits("alice", "203.0.113.9"),
            None,
            "passwords are others"
        );
    }

    #[test]
    fn what_is_switched_off_counts_nothing() {
        let watch = watch(|login| {
            login.lockout_after = 0;
            login.failures_per_network = 0;
            login.failures_per_account = 0;
        });
        for guess in 0..1_000 {
            watch.fail("alice", "203.0.113.9", &guess.to_string());
            assert_eq!(watch.fail_secret("203.0.113.9"), None);
        }
        assert_eq!(watch.waits("alice", "203.0.113.9"), None);
    }
}
