//! When the next attempt to connect may begin, and how many may be under way.
//!
//! Three phases. Normally: a few at a time. After a failure: one at a time, after a random wait that doubles its bound
//! with every failure, and never more than a trickle however lucky the draws. After the first success that follows:
//! one, two, four … in each quarter of a second, because every other process has just found out too.
//!
//! Knows no clock and no task: [`crate::dial`] tells it what happens, and when.

use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::policy::DialPolicy;

/// Whether more attempts may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// So many more, now.
    Begin(usize),
    /// None before this moment.
    NotBefore(Instant),
}

/// Paces the attempts to connect to one server.
#[derive(Debug)]
pub(crate) struct Pacing {
    policy: DialPolicy,
    /// Connections that the pool may hold: slow start ends when a round could make them all.
    most: usize,
    phase: Phase,
    /// When the last of the failures would have come, had they been [`DialPolicy::retry_period`] apart.
    trickle: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Steady,
    Failing { failures: u32, not_before: Instant },
    SlowStart { since: Instant, begun: usize },
}

/// How a failed attempt is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may pass: the server is down, starting, or full.
    Passing,
    /// Somebody has to change something first.
    ForGood,
}

impl Pacing {
    pub(crate) fn new(policy: DialPolicy, most: usize) -> Self {
        Self {
            policy,
            most,
            phase: Phase::Steady,
            trickle: None,
        }
    }

    /// How many attempts may begin now, while so many are under way.
    pub(crate) fn allowance(&mut self, under_way: usize, now: Instant) -> Allowance {
        let at_once = |limit: usize| Allowance::Begin(limit.saturating_sub(under_way));
        match self.phase {
            Phase::Steady => at_once(self.policy.at_once),
            Phase::Failing { not_before, .. } if now < not_before => {
                Allowance::NotBefore(not_before)
            }
            // One finds out for all.
            Phase::Failing { .. } => at_once(1),
            Phase::SlowStart { since, begun } => {
                let round = self.round(since, now);
                let in_round = 1_usize.checked_shl(round).unwrap_or(usize::MAX);
                if in_round >= self.most {
                    self.phase = Phase::Steady;
                    return at_once(self.policy.at_once);
                }
                // 1 + 2 + 4 + … up to and with this round.
                let left = (in_round * 2 - 1).saturating_sub(begun);
                if left == 0 {
                    let next = since + self.policy.slow_start * (round + 1);
                    return Allowance::NotBefore(next);
                }
                let free = self.policy.at_once.saturating_sub(under_way);
                Allowance::Begin(left.min(free))
            }
        }
    }

    /// Notes that an attempt begins.
    pub(crate) fn begun(&mut self) {
        if let Phase::SlowStart { begun, .. } = &mut self.phase {
            *begun += 1;
        }
    }

    /// Notes that an attempt has made a connection.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        if let Phase::Failing { .. } = self.phase {
            // It is the one of the first round.
            self.phase = Phase::SlowStart {
                since: now,
                begun: 1,
            };
        }
    }

    /// Notes that an attempt has failed. Says when the next is due, and how many have failed in a row.
    pub(crate) fn failed(
        &mut self,
        failure: Failure,
        now: Instant,
        rng: &mut impl Rng,
    ) -> (Instant, u32) {
        let failures = match self.phase {
            Phase::Failing { failures, .. } => failures.saturating_add(1),
            Phase::Steady | Phase::SlowStart { .. } => 1,
        };
        let wait = match failure {
            // Full jitter, so that processes that failed together do not try together
            // (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
            Failure::Passing => self.back_off(failures).mul_f64(rng.random_range(0.0..=1.0)),
            Failure::ForGood => {
                let limit = self.policy.refused_backoff;
                limit.mul_f64(rng.random_range(0.5..=1.0))
            }
        };
        let not_before = (now + wait).max(self.trickle(now, rng));
        self.phase = Phase::Failing {
            failures,
            not_before,
        };
        (not_before, failures)
    }

    fn back_off(&self, failures: u32) -> Duration {
        let DialPolicy {
            backoff_base: base,
            backoff_cap: cap,
            ..
        } = self.policy;
        // A shift that is too far is far beyond the cap.
        let doubled = base.saturating_mul(2_u32.saturating_pow(failures));
        doubled.min(cap)
    }

    /// Counts a failure that happened now, and says when the next attempt may begin at the earliest.
    ///
    /// Retries are as far apart as they must be, so it is the first of them that takes a random place in the period.
    fn trickle(&mut self, now: Instant, rng: &mut impl Rng) -> Instant {
        let period = self.policy.retry_period;
        let due = match self.trickle.filter(|due| *due > now) {
            Some(due) => due + period,
            None => now + period.mul_f64(rng.random_range(0.0..=1.0)),
        };
        self.trickle = Some(due);
        now + due.saturating_duration_since(now + period * self.policy.quick_retries)
    }

    fn round(&self, since: Instant, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(since).as_nanos();
        let rounds = elapsed / self.policy.slow_start.as_nanos().max(1);
        u32::try_from(rounds).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::policy::Policy;

    const MOST: usize = 8;
    const WINDOW: Duration = Duration::from_secs(10);

    /// A process that wants eight connections from a server that is down at first.
    struct Process {
        pacing: Pacing,
        rng: StdRng,
        attempts: Vec<Duration>,
        made: Vec<Duration>,
    }

    impl Process {
        fn of(processes: u32, seed: u64) -> Self {
            let policy = Policy::default().with_processes(NonZeroU32::new(processes).unwrap());
            Self {
                pacing: Pacing::new(policy.dial, MOST),
                rng: StdRng::seed_from_u64(seed),
                attempts: Vec::new(),
                made: Vec::new(),
            }
        }

        /// Runs for `until`, in steps of 5 ms, which each attempt takes; the server is up from `up` on.
        fn run(mut self, up: Duration, until: Duration) -> Self {
            const STEP: Duration = Duration::from_millis(5);
            let start = Instant::now();
            let mut at = Duration::ZERO;
            while at < until && self.made.len() < MOST {
                let missing = MOST - self.made.len();
                let mut begun = 0;
                if let Allowance::Begin(more) = self.pacing.allowance(0, start + at) {
                    begun = more.min(missing);
                    for _ in 0..begun {
                        self.pacing.begun();
                        self.attempts.push(at);
                    }
                }
                at += STEP;
                for _ in 0..begun {
                    if at >= up {
                        self.pacing.succeeded(start + at);
                        self.made.push(at);
                    } else {
                        let rng = &mut self.rng;
                        self.pacing.failed(Failure::Passing, start + at, rng);
                    }
                }
            }
            self
        }

        fn most_in_a_window(&self) -> usize {
            let within = |from: Duration| {
                let recent = |at: &&Duration| (from..from + WINDOW).contains(*at);
                self.attempts.iter().filter(recent).count()
            };
            self.attempts
                .iter()
                .map(|at| within(*at))
                .max()
                .unwrap_or(0)
        }
    }

    #[test]
    fn a_process_never_dials_more_than_twenty_times_in_ten_seconds() {
        let mut most = 0;
        for seed in 0..500 {
            let up = Duration::from_millis(seed * 37);
            let process = Process::of(20, seed).run(up, up + WINDOW);
            assert_eq!(process.made.len(), MOST, "seed {seed}");
            most = most.max(process.most_in_a_window());
        }
        assert!((15..=20).contains(&most), "{most}");
    }

    #[test]
    fn fifty_processes_are_back_within_two_seconds() {
        for seed in 0..500 {
            let up = Duration::from_secs(3 + seed % 5);
            let process = Process::of(50, seed).run(up, up + WINDOW);
            // All but the last of eight, which the fourth round makes.
            let almost_all = process.made[MOST - 2].saturating_sub(up);
            assert!(almost_all < Duration::from_secs(2), "{almost_all:?}");
        }
    }

    #[test]
    fn processes_that_failed_together_do_not_try_together() {
        // Attempts of a hundred processes in each tenth of the fourth second: ten were even.
        let mut tenths = [0; 10];
        for seed in 0..100 {
            let up = Duration::from_mins(1);
            let process = Process::of(50, seed).run(up, Duration::from_secs(5));
            for at in process.attempts {
                if (Duration::from_secs(3)..Duration::from_secs(4)).contains(&at) {
                    tenths[(at.as_millis() as usize / 100) % 10] += 1;
                }
            }
        }
        assert!(
            tenths.iter().all(|count| (2..=25).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn five_thousand_processes_do_not_storm() {
        // One in ten of them, for two minutes.
        let mut seconds = [0_usize; 120];
        for seed in 0..500 {
            let up = Duration::from_hours(1);
            let process = Process::of(5_000, seed).run(up, Duration::from_mins(2));
            for at in process.attempts {
                seconds[usize::try_from(at.as_secs()).unwrap()] += 10;
            }
        }
        // At first everybody finds out for himself; then fewer and fewer ask.
        let later = &seconds[60..];
        let mean = later.iter().sum::<usize>() / later.len();
        assert!((50..=150).contains(&mean), "{mean} a second");
        assert!(
            seconds[1..60].iter().all(|count| *count < 1_200),
            "{seconds:?}"
        );
    }

    #[test]
    fn after_an_outage_one_then_two_then_four_are_made() {
        const QUARTER: Duration = Duration::from_millis(250);
        let process = Process::of(1, 7).run(Duration::from_secs(3), Duration::from_secs(9));
        let first = process.made[0];
        let in_round = |round: u32| {
            let (from, to) = (first + round * QUARTER, first + (round + 1) * QUARTER);
            let made = process.made.iter();
            // What is begun in a round is made a step later.
            made.filter(|at| (from..to).contains(&at.saturating_sub(Duration::from_millis(5))))
                .count()
        };
        assert_eq!([in_round(1), in_round(2)], [2, 4]);
        assert_eq!(process.made.len(), MOST);
    }

    #[test]
    fn a_cold_start_is_not_slowed_down() {
        let process = Process::of(1, 7).run(Duration::ZERO, WINDOW);
        // Two at a time, five milliseconds each.
        assert_eq!(process.made[MOST - 1], Duration::from_millis(20));
    }

    #[test]
    fn while_failing_one_finds_out_for_all() {
        let mut pacing = Pacing::new(DialPolicy::default(), MOST);
        let now = Instant::now();
        assert_eq!(pacing.allowance(0, now), Allowance::Begin(2));
        assert_eq!(pacing.allowance(2, now), Allowance::Begin(0));
        let mut rng = StdRng::seed_from_u64(1);
        let (due, _) = pacing.failed(Failure::Passing, now, &mut rng);
        assert_eq!(pacing.allowance(0, now), Allowance::NotBefore(due));
        assert_eq!(pacing.allowance(0, due), Allowance::Begin(1));
        assert_eq!(pacing.allowance(1, due), Allowance::Begin(0));
    }

    #[test]
    fn a_refusal_that_will_last_is_tried_again_much_later() {
        for seed in 0..100 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut pacing = Pacing::new(DialPolicy::default(), MOST);
            let now = Instant::now();
            let (due, failures) = pacing.failed(Failure::ForGood, now, &mut rng);
            assert_eq!(failures, 1);
            let wait = due - now;
            assert!((Duration::from_secs(5)..=Duration::from_secs(10)).contains(&wait));
        }
    }
}
