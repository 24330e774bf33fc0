//! `[login]`: how often a password may be wrong.

use super::report::Report;
use super::setting::settings;
use std::time::Duration;

settings! {
    /// How often a password may be wrong. What is beyond hears 429 with `Retry-After`. Secrets of robots and application tokens, which nobody
    /// guesses, never shut anybody out. A client's network is its address, or the /64 of an IPv6 address; behind a proxy that
    /// `http.trusted_proxies` does not name, all clients are one.
    pub(crate) struct Login {
        /// So many wrong passwords in a row for one account from one network shut that network out of that account, in all processes; other
        /// networks are not affected. The same wrong password twice is one. `0` switches this off.
        pub(crate) lockout_after: u32 = 10,
        /// How long the first time. Each further wrong password doubles it.
        pub(crate) lockout_for: Duration = Duration::from_mins(1),
        /// How long at most.
        pub(crate) lockout_max: Duration = Duration::from_mins(15),
        /// Wrong passwords from one network in a minute, whatever names it tries; as many wrong secrets. All processes
        /// (`database.pool.processes`) have an equal share of it. Accounts that logged in from there lately are not affected. `0` switches
        /// this off.
        pub(crate) failures_per_network: u32 = 120,
        /// Wrong passwords for one account in a minute, from wherever they come; shared out like the former. Networks from which it logged in lately
        /// are not affected. `0` switches this off.
        pub(crate) failures_per_account: u32 = 60,
    }
}

impl Login {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        if self.lockout_for.is_zero() {
            report.about(
                "login.lockout_for",
                "must be more than zero; `login.lockout_after = 0` switches lock-outs off",
            );
        }
        if self.lockout_max < self.lockout_for {
            report.about("login.lockout_max", "is less than `login.lockout_for`");
        }
    }
}
