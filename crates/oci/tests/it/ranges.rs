//! `Range` and `Content-Range`.

use portolan_oci::{ContentRange, RequestedRange};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fuzz;
use crate::names::round_trips;

/// Whatever the header says, the answer lies within the content.
fn parse(header: &str, size: u64) -> RequestedRange {
    let range = RequestedRange::parse(header, size);
    if let RequestedRange::One {
        start,
        end_inclusive,
    } = range
    {
        assert!(
            start <= end_inclusive && end_inclusive < size,
            "{header:?} of {size}: {range:?}"
        );
    }
    range
}

#[test]
fn no_header_asks_for_more_than_there_is() {
    let texts = prop_oneof![
        any::<String>(),
        "(bytes|Bytes|items)?=?[0-9, \t=*/-]{0,50}",
        "bytes=([0-9]{0,22}-[0-9]{0,22},?){0,5}",
    ];
    fuzz::check(
        &(texts, prop_oneof![any::<u64>(), 0..20_u64]),
        |(header, size)| {
            parse(&header, size);
            if let Some(range) = header
                .parse::<ContentRange>()
                .ok()
                .filter(|_| header.is_ascii())
            {
                assert!(range.start <= range.end && range.len() > range.end - range.start);
                assert_eq!(round_trips::<ContentRange>(&range.to_string()), Some(range));
            }
        },
    );
}

#[test]
fn a_range_is_what_is_left_of_it_within_the_content() {
    fuzz::check(&(0..30_u64, 0..30_u64, 0..30_u64), |(first, last, size)| {
        let wanted: Vec<u64> = (first..=last).filter(|position| *position < size).collect();
        let expected = match (wanted.first(), wanted.last()) {
            (Some(&start), Some(&end_inclusive)) => RequestedRange::One {
                start,
                end_inclusive,
            },
            _ => RequestedRange::Unsatisfiable,
        };
        assert_eq!(parse(&format!("bytes={first}-{last}"), size), expected);
        let from = parse(&format!("bytes={first}-"), size);
        assert_eq!(from, parse(&format!("bytes={first}-{}", u64::MAX), size));
        let suffix = parse(&format!("bytes=-{last}"), size);
        if last > 0 && size > 0 {
            assert_eq!(
                suffix,
                parse(&format!("bytes={}-", size.saturating_sub(last)), size)
            );
        }
    });
}

#[test]
fn of_several_ranges_only_those_within_the_content_count() {
    fuzz::check(
        &(vec((0..9_u64, 0..9_u64), 1..5), 1..9_u64),
        |(ranges, size)| {
            let specs: Vec<String> = ranges
                .iter()
                .map(|(start, more)| format!("{start}-{}", start + more))
                .collect();
            let within = ranges.iter().filter(|(start, _)| *start < size).count();
            let range = parse(&format!("bytes={}", specs.join(", ")), size);
            match within {
                0 => assert_eq!(range, RequestedRange::Unsatisfiable),
                1 => assert!(matches!(range, RequestedRange::One { .. })),
                _ => assert_eq!(range, RequestedRange::Several),
            }
        },
    );
}

#[test]
fn chunks_come_back() {
    fuzz::check(&(any::<u64>(), any::<u64>()), |(start, end)| {
        let plain = format!("{start}-{end}");
        let range = round_trips::<ContentRange>(&plain);
        assert_eq!(range.is_some(), start <= end && end < u64::MAX);
        for text in [
            format!("bytes {plain}/*"),
            format!("bytes={plain}"),
            format!("bytes {plain}"),
        ] {
            assert_eq!(text.parse::<ContentRange>().ok(), range, "{text}");
        }
    });
}
