//! Time that does not stop in suspend and never goes back.

use std::{fmt, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// A point in time on one machine, as it has counted since it was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// So long after the machine was booted.
    pub(crate) const fn after_boot(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How much later than `earlier` this is; zero where it is not.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + rhs)
    }
}

/// Says what time it is. Over any interval it counts at least `s_r / s` of what the clock of any other process does.
pub(crate) trait Clock: fmt::Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Moment;
}

/// `CLOCK_BOOTTIME`. Not the clock of `std::time::Instant`, which stands still while the machine is suspended: a floor
/// would outlive its lease in the sleep of a laptop or of a virtual machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Moment {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).expect("time since boot is not negative");
        let nanoseconds = u32::try_from(time.tv_nsec).expect("less than a second");
        Moment(Duration::new(seconds, nanoseconds))
    }
}
