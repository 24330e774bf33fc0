//! When a queue stands, and what to do about it: `CoDel` for callers who have a deadline.
//!
//! A burst makes a queue that drains; too much load makes one that stands. `CoDel` tells them apart by the wait, not by
//! the length (<https://queue.acm.org/detail.cfm?id=2209336>): a queue stands when for a whole interval somebody in
//! it has waited longer than the target. In a router the answer is to drop; our callers have deadlines, and a standing
//! queue all of whose members will be served in time harms nobody: it is what many clients and few connections look
//! like. So a standing queue is turned round only when it is also longer than its deadlines allow at the pace of late.
//! Then somebody will be refused, and the only question is who. Served newest first, most callers wait next to
//! nothing; those who have waited longest are last in line, and hear that they wait in vain as soon as that is clear.
//!
//! Knows no clock, no task and no lock: the owner of a queue tells it what happens, and when.

use std::time::Duration;

use tokio::time::Instant;

use crate::policy::QueuePolicy;

/// A pace is known from this many served; fewer say too little about the next, and deadlines are enough for a queue
/// that moves so slowly.
const KNOWN_FROM: usize = 8;

/// Intervals that the pace is measured over, at least, once the queue has stood that long, and at most twice. Short
/// pauses of the server (a checkpoint, a lock) must not look like a change of pace.
const PACE_INTERVALS: u32 = 5;

/// Newest first goes on until the whole queue would be served in this part of the patience: not the whole of it, or
/// the order would change with every caller that comes or goes.
const BACK_TO_NORMAL: u32 = 4;

/// How much better than the pace of late the server must do for a caller to be still worth keeping. A wrong guess
/// refuses somebody who would have been served.
const BENEFIT_OF_DOUBT: u32 = 2;

/// Who is served next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// First come, first served.
    OldestFirst,
    /// Under a standing queue that cannot be served in time as a whole.
    NewestFirst,
}

/// Watches one queue.
#[derive(Debug)]
pub(crate) struct Codel {
    policy: QueuePolicy,
    patience: Duration,
    backlog: Option<Backlog>,
    order: Order,
}

/// A time during which somebody has always waited longer than the target.
#[derive(Debug)]
struct Backlog {
    since: Instant,
    pace: Pace,
}

impl Codel {
    /// `patience` is how long a caller waits at the most.
    pub(crate) fn new(policy: QueuePolicy, patience: Duration) -> Self {
        Self {
            policy,
            patience,
            backlog: None,
            order: Order::OldestFirst,
        }
    }

    /// Looks at the queue and says who is next: `oldest` is when the caller joined that has waited longest, if anybody
    /// waits; `waiting` is how many do. To be asked whenever one joins and before one is served.
    pub(crate) fn look(&mut self, oldest: Option<Instant>, waiting: usize, now: Instant) -> Order {
        let begins = oldest.map(|joined| joined + self.policy.target);
        match begins.filter(|begins| *begins <= now) {
            None => self.backlog = None,
            Some(since) => {
                let window = self.policy.interval * PACE_INTERVALS;
                self.backlog.get_or_insert_with(|| Backlog {
                    since,
                    pace: Pace::since(since, window),
                });
            }
        }
        let limit = match self.order {
            Order::OldestFirst => self.patience,
            Order::NewestFirst => self.patience / BACK_TO_NORMAL,
        };
        self.order = match self.time_to_serve(waiting, now) {
            Some(time) if time > limit && self.stands(now) => Order::NewestFirst,
            // The pace is not known at present: no reason to change anything.
            None if self.stands(now) => self.order,
            _ => Order::OldestFirst,
        };
        self.order
    }

    /// Notes that `count` callers were served.
    pub(crate) fn served(&mut self, count: usize, now: Instant) {
        if let Some(backlog) = &mut self.backlog {
            backlog.pace.served(count, now);
        }
    }

    /// Whether the last in a line of `waiting` callers waits in vain, who must have been served by `deadline`.
    pub(crate) fn is_in_vain(&self, waiting: usize, deadline: Instant, now: Instant) -> bool {
        self.order == Order::NewestFirst
            && self
                .time_to_serve(waiting, now)
                .is_some_and(|time| now + time / BENEFIT_OF_DOUBT > deadline)
    }

    fn stands(&self, now: Instant) -> bool {
        let interval = self.policy.interval;
        let stands = |backlog: &Backlog| now.saturating_duration_since(backlog.since) >= interval;
        self.backlog.as_ref().is_some_and(stands)
    }

    /// How long it takes to serve so many at the pace of late, where that is known.
    fn time_to_serve(&self, waiting: usize, now: Instant) -> Option<Duration> {
        let (served, during) = self.backlog.as_ref()?.pace.of_late(now)?;
        // Both are small: thousands of callers, a second of time.
        let seconds = during.as_secs_f64() * to_f64(waiting) / to_f64(served);
        Duration::try_from_secs_f64(seconds).ok()
    }
}

fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// How many are served in how long: over the last one to two windows, counted only while there was a backlog, so that
/// a quiet time before does not look like a slow server.
#[derive(Debug)]
struct Pace {
    window: Duration,
    began: Instant,
    current: usize,
    /// The window before, if there was one.
    previous: Option<usize>,
}

impl Pace {
    fn since(began: Instant, window: Duration) -> Self {
        Self {
            window,
            began,
            current: 0,
            previous: None,
        }
    }

    fn served(&mut self, count: usize, now: Instant) {
        let so_far = now.saturating_duration_since(self.began);
        if so_far >= self.window * 2 {
            // A long pause leaves nothing to remember but itself.
            (self.previous, self.current, self.began) = (Some(0), 0, now);
        } else if so_far >= self.window {
            self.previous = Some(std::mem::take(&mut self.current));
            self.began += self.window;
        }
        self.current += count;
    }

    /// How many were served during the last while; `None` if they were too few to say.
    fn of_late(&self, now: Instant) -> Option<(usize, Duration)> {
        let so_far = now.saturating_duration_since(self.began);
        let (served, during) = match self.previous {
            None => (self.current, so_far),
            Some(previous) => (previous + self.current, self.window + so_far),
        };
        (served >= KNOWN_FROM && !during.is_zero()).then_some((served, during))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// A queue before some connections, in steps of a millisecond.
    struct Line {
        codel: Codel,
        now: Instant,
        joined: VecDeque<Instant>,
        order: Order,
        /// How long those waited who were served.
        served: Vec<Duration>,
        refused: Vec<Duration>,
        late: usize,
    }

    impl Line {
        fn new() -> Self {
            Self {
                codel: Codel::new(QueuePolicy::default(), PATIENCE),
                now: Instant::now(),
                joined: VecDeque::new(),
                order: Order::OldestFirst,
                served: Vec::new(),
                refused: Vec::new(),
                late: 0,
            }
        }

        /// A millisecond in which `join` come, and `serve` are served if so many wait. Says how many left the queue.
        fn step(&mut self, join: usize, serve: usize) -> usize {
            self.now += Duration::from_millis(1);
            let before = self.joined.len() + join;
            self.joined.extend(std::iter::repeat_n(self.now, join));
            for _ in 0..serve {
                self.look();
                let next = match self.order {
                    Order::OldestFirst => self.joined.pop_front(),
                    Order::NewestFirst => self.joined.pop_back(),
                };
                let Some(joined) = next else { break };
                self.codel.served(1, self.now);
                self.served.push(self.now - joined);
            }
            self.look();
            while let Some(&oldest) = self.joined.front() {
                if oldest + PATIENCE <= self.now {
                    self.late += 1;
                } else if !self
                    .codel
                    .is_in_vain(self.joined.len(), oldest + PATIENCE, self.now)
                {
                    break;
                }
                self.refused.push(self.now - oldest);
                self.joined.pop_front();
            }
            before - self.joined.len()
        }

        fn look(&mut self) {
            let oldest = self.joined.front().copied();
            self.order = self.codel.look(oldest, self.joined.len(), self.now);
        }
    }

    /// Every `period` steps one.
    fn each(step: u32, period: u32) -> usize {
        usize::from(step.is_multiple_of(period))
    }

    #[test]
    fn a_burst_that_is_served_in_time_is_served_in_its_order_and_whole() {
        // Three in ten milliseconds, 256 at once: 0.85 of the second that they have.
        let mut line = Line::new();
        line.step(256, 0);
        for step in 0..1_000 {
            line.step(0, [1, 0, 0, 1, 0, 0, 1, 0, 0, 0][step % 10]);
            assert_eq!(line.order, Order::OldestFirst, "after {step} ms");
        }
        assert_eq!((line.served.len(), line.refused.len()), (256, 0));
        assert!(line.served.is_sorted(), "first come, first served");
    }

    #[test]
    fn more_clients_than_connections_are_no_overload() {
        // Two hundred clients, each back as soon as it was served: the queue never ends, and each waits half a second.
        let mut line = Line::new();
        let mut back = 200;
        for step in 0..20_000 {
            back = line.step(back, usize::from(step % 5 < 2));
            assert_eq!(line.order, Order::OldestFirst, "after {step} ms");
        }
        assert_eq!(line.refused.len(), 0);
        assert!(line.served.len() > 7_000);
    }

    #[test]
    fn under_twice_the_load_most_wait_next_to_nothing_and_the_others_hear_early() {
        let mut line = Line::new();
        for step in 0..20_000 {
            line.step(each(step, 2), each(step, 4));
        }
        assert_eq!(line.order, Order::NewestFirst);
        let later = line.served.len() / 4;
        let mut waits = line.served.split_off(later);
        waits.sort_unstable();
        assert!(waits.len() * 2 > 7_000, "the server is never idle");
        assert!(waits[waits.len() / 2] < Duration::from_millis(10));
        assert!(waits[waits.len() * 9 / 10] < Duration::from_millis(20));
        assert!(line.late * 10 < line.refused.len(), "{} late", line.late);
        let mut refused = line.refused.split_off(line.refused.len() / 4);
        refused.sort_unstable();
        assert!(refused[refused.len() / 2] < PATIENCE * 3 / 4);
    }

    #[test]
    fn the_order_is_normal_again_soon_after_an_overload() {
        let mut line = Line::new();
        for step in 0..5_000 {
            line.step(each(step, 2), each(step, 4));
        }
        assert_eq!(line.order, Order::NewestFirst);
        // Half the load that can be served: the queue is gone in as long as it took to be refused.
        for step in 0..2_000 {
            line.step(each(step, 8), each(step, 4));
        }
        assert_eq!(line.order, Order::OldestFirst);
        let refused = line.refused.len();
        for step in 0..5_000 {
            line.step(each(step, 8), each(step, 4));
        }
        assert_eq!(line.refused.len(), refused);
    }

    #[test]
    fn a_server_that_pauses_is_no_reason_to_refuse_anybody() {
        // Forty clients; for a third of a second in each two nobody is served.
        let mut line = Line::new();
        let mut back = 40;
        for step in 0..20_000 {
            let paused = step % 2_000 > 1_650;
            let serve = if paused { 0 } else { each(step, 2) };
            back = line.step(back, serve);
        }
        assert_eq!(line.refused.len(), 0);
    }

    #[test]
    fn a_server_too_slow_to_be_forecast_leaves_it_to_the_deadlines() {
        let mut line = Line::new();
        for step in 0..5_000 {
            line.step(each(step, 50), each(step, 200));
        }
        assert!(line.late > 0);
        assert_eq!(line.late, line.refused.len());
    }

    #[test]
    fn a_quiet_time_before_a_burst_does_not_look_like_a_slow_server() {
        let mut line = Line::new();
        for step in 0..10_000 {
            line.step(each(step, 500), 1);
        }
        line.step(200, 0);
        for step in 0..1_000 {
            line.step(0, each(step, 4));
        }
        assert_eq!(line.refused.len(), 0);
    }
}
