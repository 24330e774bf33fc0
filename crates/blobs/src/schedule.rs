//! How large each part of an upload is.
//!
//! Small parts first, so that a small layer needs little memory; larger ones later, so that
//! 10,000 parts, S3's limit, still hold the largest object S3 takes.

use crate::PartNumber;

const MIB: u64 = 1 << 20;
/// S3's limit on the number of parts (Amazon S3 user guide, "Multipart upload limits").
const PARTS_MAX: PartNumber = 10_000;
/// The longest remainder that is kept aside and read again by the next request; a longer one
/// becomes a part of its own. Bounds what a request re-reads, at the price of smaller parts for
/// clients that send small chunks: with 5 MiB chunks an upload still reaches 570 GiB.
const TAIL_MAX: u64 = 64 * MIB;

/// Some consecutive parts of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleStep {
    /// The last part that has this size.
    pub through: PartNumber,
    /// Bytes.
    pub size: u64,
}

/// The sizes of all parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSchedule {
    steps: Vec<ScheduleStep>,
    /// `None`: a remainder is always kept aside, so that all parts but the last have equal sizes.
    tail_max: Option<u64>,
}

impl PartSchedule {
    /// Parts 1 to 1,000 of 8 MiB, to 3,000 of 64, to 6,000 of 256, to 10,000 of 1,280: 5.7 TiB.
    pub fn standard() -> Self {
        let steps = vec![
            ScheduleStep {
                through: 1_000,
                size: 8 * MIB,
            },
            ScheduleStep {
                through: 3_000,
                size: 64 * MIB,
            },
            ScheduleStep {
                through: 6_000,
                size: 256 * MIB,
            },
            ScheduleStep {
                through: PARTS_MAX,
                size: 1_280 * MIB,
            },
        ];
        Self {
            steps,
            tail_max: Some(TAIL_MAX),
        }
    }

    /// Parts of one size, for stores that demand it (Cloudflare R2 does).
    pub fn uniform(size: u64) -> Self {
        Self {
            steps: vec![ScheduleStep {
                through: PARTS_MAX,
                size,
            }],
            tail_max: None,
        }
    }

    /// Steps of the caller's own, in order of `through`; a remainder longer than `tail_max`
    /// becomes a part.
    pub fn steps(steps: Vec<ScheduleStep>, tail_max: u64) -> Self {
        assert!(
            steps.is_sorted_by(|a, b| a.through < b.through),
            "steps follow each other"
        );
        assert!(steps.iter().all(|step| step.size > 0), "a part has bytes");
        Self {
            steps,
            tail_max: Some(tail_max),
        }
    }

    /// The size of a part; `None` beyond the last one.
    pub fn size_of(&self, number: PartNumber) -> Option<u64> {
        self.steps
            .iter()
            .find(|step| number <= step.through)
            .map(|step| step.size)
    }

    /// The size up to which an upload is one object without parts.
    pub fn first(&self) -> u64 {
        self.size_of(1).expect("a schedule has a first part")
    }

    /// Whether `remainder` bytes, fewer than a whole part, are kept aside until the next request
    /// rather than stored as part `number`.
    pub fn keeps_aside(&self, number: PartNumber, remainder: u64) -> bool {
        let whole = self.size_of(number).unwrap_or(u64::MAX);
        // Without a part yet, exactly one part's size is still one plain object.
        if number == 1 && remainder <= whole {
            return true;
        }
        remainder < whole && self.tail_max.is_none_or(|max| remainder <= max)
    }

    /// The most bytes an upload may have.
    pub fn total_max(&self) -> u64 {
        let mut total = 0;
        let mut before = 0;
        for step in &self.steps {
            total += u64::from(step.through - before) * step.size;
            before = step.through;
        }
        total
    }
}

impl Default for PartSchedule {
    fn default() -> Self {
        Self::standard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_schedule_reaches_beyond_five_terabytes_in_ten_thousand_parts() {
        let schedule = PartSchedule::standard();
        let sizes =
            [1, 1_000, 1_001, 3_000, 3_001, 6_000, 6_001, 10_000].map(|n| schedule.size_of(n));
        let mib = [8, 8, 64, 64, 256, 256, 1_280, 1_280].map(|size| Some(size * MIB));
        assert_eq!(sizes, mib);
        assert_eq!(schedule.size_of(10_001), None);
        assert!(schedule.total_max() > 5_700_000 * MIB && schedule.total_max() < 48 << 40);
        // S3 takes parts of 5 MiB to 5 GiB.
        assert!((1..=10_000).all(|n| (5 * MIB..=5 << 30).contains(&schedule.size_of(n).unwrap())));
    }

    #[test]
    fn a_remainder_is_kept_aside_up_to_64_mib_and_always_where_parts_are_uniform() {
        let schedule = PartSchedule::standard();
        assert!(schedule.keeps_aside(1, 8 * MIB));
        assert!(!schedule.keeps_aside(2, 8 * MIB));
        assert!(schedule.keeps_aside(2, 8 * MIB - 1));
        assert!(schedule.keeps_aside(7_000, 64 * MIB));
        assert!(!schedule.keeps_aside(7_000, 64 * MIB + 1));
        let uniform = PartSchedule::uniform(100 * MIB);
        assert!(uniform.keeps_aside(9, 100 * MIB - 1));
        assert!(!uniform.keeps_aside(9, 100 * MIB));
    }

    #[test]
    fn chunks_of_five_mib_reach_570_gib() {
        let schedule = PartSchedule::standard();
        let (mut part, mut aside, mut total) = (1, 0, 0_u64);
        while part <= 10_000 {
            aside += 5 * MIB;
            total += 5 * MIB;
            let whole = schedule.size_of(part).unwrap();
            if aside >= whole && !(part == 1 && aside == whole) {
                aside -= whole;
                part += 1;
            }
            if part <= 10_000 && !schedule.keeps_aside(part, aside) {
                aside = 0;
                part += 1;
            }
        }
        assert!(total > 570 << 30, "{}", total >> 30);
    }
}
