//! What part of a blob a client asks for.

/// The `Range` of a request, resolved against the size of what it asks for.
///
/// ```text
/// ranges-specifier = range-unit "=" range-set
/// range-set        = 1#range-spec
/// range-spec       = first-pos "-" [ last-pos ] / "-" suffix-length
/// ```
/// <https://www.rfc-editor.org/rfc/rfc9110#section-14.1.2>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedRange {
    /// All of it: the header is not one that we understand, which "MUST be ignored", or asks for all of
    /// nothing.
    Whole,
    /// One part of it. `start <= end_inclusive < size`.
    One {
        /// The first byte.
        start: u64,
        /// The last byte.
        end_inclusive: u64,
    },
    /// More than one part of it.
    Several,
    /// Nothing that it has: 416.
    Unsatisfiable,
}

impl RequestedRange {
    /// Reads a `Range` header for content of `size` bytes.
    ///
    /// A header that breaks the grammar is ignored as a whole. Of a list the parts beyond the end do
    /// not count, so that it may come down to one. Numbers too large for a `u64` are grammatical and
    /// lie beyond any end.
    pub fn parse(header: &str, size: u64) -> Self {
        // Units are case-insensitive, section 14.1.
        let Some((unit, set)) = header.trim_matches([' ', '\t']).split_once('=') else {
            return Self::Whole;
        };
        if !unit.eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        let mut answer = None;
        for element in set.split(',') {
            // Elements may be padded, and empty ones are to be borne (section 5.6.1.2).
            let element = element.trim_matches([' ', '\t']);
            if element.is_empty() {
                continue;
            }
            let Some(spec) = Spec::parse(element) else {
                return Self::Whole;
            };
            answer = Some(match (answer, spec.resolve(size)) {
                (None | Some(Self::Unsatisfiable), found) | (Some(found), Self::Unsatisfiable) => {
                    found
                }
                (Some(_), _) => Self::Several,
            });
        }
        answer.unwrap_or(Self::Whole)
    }
}

#[derive(Clone, Copy)]
enum Spec {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Spec {
    fn parse(spec: &str) -> Option<Self> {
        let (first, last) = spec.split_once('-')?;
        match (first, last) {
            ("", length) => Some(Self::Last(digits(length)?)),
            (first, "") => Some(Self::From(digits(first)?)),
            (first, last) => Some(Self::Between(digits(first)?, digits(last)?)),
        }
    }

    /// The part of `size` bytes that it means. A suffix of nothing is satisfiable and is all of it.
    fn resolve(self, size: u64) -> RequestedRange {
        let (start, last) = match self {
            Self::From(start) => (start, u64::MAX),
            // "An int-range is invalid if the last-pos value is present and less than first-pos": a server
            // may ignore or reject it (section 14.2). The conformance suite of the distribution
            // specification asks for the rejection.
            Self::Between(start, last) if last < start => return RequestedRange::Unsatisfiable,
            Self::Between(start, last) => (start, last),
            Self::Last(0) => return RequestedRange::Unsatisfiable,
            Self::Last(_) if size == 0 => return RequestedRange::Whole,
            Self::Last(length) => (size.saturating_sub(length), u64::MAX),
        };
        match size.checked_sub(1) {
            Some(end) if start <= end => RequestedRange::One {
                start,
                end_inclusive: last.min(end),
            },
            _ => RequestedRange::Unsatisfiable,
        }
    }
}

/// `1*DIGIT`; what does not fit is as large as can be.
fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUGE: &str = "99999999999999999999999999";

    fn one(start: u64, end_inclusive: u64) -> RequestedRange {
        RequestedRange::One {
            start,
            end_inclusive,
        }
    }

    #[test]
    fn ranges_mean_what_rfc_9110_says() {
        for (header, expected) in [
            ("bytes=0-0", one(0, 0)),
            ("bytes=0-499", one(0, 499)),
            ("bytes=500-999", one(500, 999)),
            ("bytes=500-", one(500, 999)),
            ("bytes=-500", one(500, 999)),
            ("bytes=-5000", one(0, 999)),
            ("bytes=999-5000", one(999, 999)),
            ("BYTES=1-2", one(1, 2)),
            (" bytes=1-2 ", one(1, 2)),
            ("bytes= 1-2 ,", one(1, 2)),
            ("bytes=0-0,-1", RequestedRange::Several),
            ("bytes=0-0, 5000-", one(0, 0)),
            ("bytes=5000-, 0-0", one(0, 0)),
            ("bytes=0-0,1-1,2-2", RequestedRange::Several),
            ("bytes=1000-", RequestedRange::Unsatisfiable),
            ("bytes=1000-1000,2000-", RequestedRange::Unsatisfiable),
            ("bytes=-0", RequestedRange::Unsatisfiable),
            ("bytes=2-1", RequestedRange::Unsatisfiable),
            ("bytes=500-0", RequestedRange::Unsatisfiable),
        ] {
            assert_eq!(RequestedRange::parse(header, 1000), expected, "{header}");
        }
        assert_eq!(
            RequestedRange::parse(&format!("bytes=1-{HUGE}"), 1000),
            one(1, 999)
        );
        assert_eq!(
            RequestedRange::parse(&format!("bytes=-{HUGE}"), 1000),
            one(0, 999)
        );
        assert_eq!(
            RequestedRange::parse(&format!("bytes={HUGE}-"), 1000),
            RequestedRange::Unsatisfiable
        );
    }

    #[test]
    fn what_breaks_the_grammar_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=1--2",
            "bytes=+1-2",
            "bytes=0x1-2",
            "bytes=1-2;",
            "bytes =1-2",
            "items=0-1",
            "none",
            "bytes=0-1,x",
            "bytes=\u{0661}-2",
            "bytes=1 -2",
        ] {
            assert_eq!(
                RequestedRange::parse(header, 1000),
                RequestedRange::Whole,
                "{header:?}"
            );
        }
    }

    #[test]
    fn nothing_has_no_ranges_but_its_end() {
        assert_eq!(
            RequestedRange::parse("bytes=0-", 0),
            RequestedRange::Unsatisfiable
        );
        assert_eq!(
            RequestedRange::parse("bytes=0-0", 0),
            RequestedRange::Unsatisfiable
        );
        assert_eq!(RequestedRange::parse("bytes=-5", 0), RequestedRange::Whole);
        assert_eq!(
            RequestedRange::parse("bytes=-0", 0),
            RequestedRange::Unsatisfiable
        );
    }
}
