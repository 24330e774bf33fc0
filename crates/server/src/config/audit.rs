//! `[audit]`: how long it is known who did what.

use super::report::Report;
use super::setting::settings;
use std::time::Duration;

settings! {
    /// The audit log.
    pub(crate) struct Audit {
        /// How long changes and counts of pulls are kept. They go by whole months, so a month goes when its last day is so old. `0s` keeps
        /// them for good.
        pub(crate) retention: Duration = Duration::from_hours(400 * 24),
    }
}

/// Less would drop the month before before it was copied anywhere.
const SHORTEST: Duration = Duration::from_hours(24);

impl Audit {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        if !self.retention.is_zero() && self.retention < SHORTEST {
            report.about("audit.retention", "must be `0s`, or at least `1d`");
        }
    }

    /// How long; `None`: for good.
    pub(crate) fn kept_for(&self) -> Option<Duration> {
        (!self.retention.is_zero()).then_some(self.retention)
    }
}
