//! Where a chunk of an upload belongs.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// The `Content-Range` of a chunk, "inclusive on both ends".
///
/// ```text
/// ^[0-9]+-[0-9]+$
/// ```
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks>
///
/// HTTP's own form, `bytes 0-1023/4096` or `bytes 0-1023/*`
/// (<https://www.rfc-editor.org/rfc/rfc9110#section-14.4>), and the form of a `Range`, `bytes=0-1023`,
/// are read as well: clients mix the three up, and none can be taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The position of the chunk's first byte in the blob.
    pub start: u64,
    /// The position of its last byte. Parsed ones satisfy `start <= end < u64::MAX`.
    pub end: u64,
}

impl ContentRange {
    /// How many bytes the chunk has.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a range that includes both ends is never empty"
    )]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start).saturating_add(1)
    }
}

impl FromStr for ContentRange {
    type Err = ContentRangeError;

    fn from_str(text: &str) -> Result<Self, ContentRangeError> {
        let text = text.trim_matches([' ', '\t']);
        let (range, complete) = match strip_unit(text) {
            Some(rest) => rest
                .split_once('/')
                .map_or((rest, None), |(range, size)| (range, Some(size))),
            None => (text, None),
        };
        let (start, end) = range.split_once('-').ok_or(ContentRangeError::Malformed)?;
        let (start, end) = (digits(start)?, digits(end)?);
        if end < start {
            return Err(ContentRangeError::Backward { start, end });
        }
        // The last position of all leaves no room for the length.
        if end == u64::MAX {
            return Err(ContentRangeError::TooLarge);
        }
        match complete {
            None | Some("*") => {}
            Some(size) if end < digits(size)? => {}
            Some(_) => return Err(ContentRangeError::BeyondSize { end }),
        }
        Ok(Self { start, end })
    }
}

/// What follows `bytes ` or `bytes=`; units are case-insensitive.
fn strip_unit(text: &str) -> Option<&str> {
    let (unit, rest) = text.split_at_checked(5)?;
    let rest = rest.strip_prefix('=').or_else(|| rest.strip_prefix(' '))?;
    unit.eq_ignore_ascii_case("bytes").then_some(rest)
}

/// `1*DIGIT` within a `u64`.
fn digits(text: &str) -> Result<u64, ContentRangeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ContentRangeError::Malformed);
    }
    text.parse().map_err(|_| ContentRangeError::TooLarge)
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

serde_as_text!(ContentRange);

/// Why a text is not a [`ContentRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentRangeError {
    /// It is not two numbers with a dash between them.
    #[error("content range must be `<start>-<end>`")]
    Malformed,
    /// A number does not fit.
    #[error("content range is larger than any blob")]
    TooLarge,
    /// It ends before it starts.
    #[error("content range ends at {end}, before its start at {start}")]
    Backward {
        /// The first position.
        start: u64,
        /// The last position.
        end: u64,
    },
    /// It ends beyond the size that it states itself.
    #[error("content range ends at {end}, beyond the size it states")]
    BeyondSize {
        /// The last position.
        end: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_clients_send_is_read() {
        for text in [
            "0-1023",
            " 0-1023",
            "bytes 0-1023/*",
            "bytes 0-1023/1024",
            "bytes=0-1023",
            "Bytes 0-1023",
            "00-1023",
        ] {
            let range: ContentRange = text.parse().unwrap();
            assert_eq!(
                (range, range.len()),
                (
                    ContentRange {
                        start: 0,
                        end: 1023
                    },
                    1024
                ),
                "{text}"
            );
        }
        assert_eq!("5-5".parse::<ContentRange>().unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_a_chunk_is_refused() {
        use ContentRangeError::{Backward, BeyondSize, Malformed, TooLarge};
        for (text, error) in [
            ("", Malformed),
            ("-", Malformed),
            ("0-", Malformed),
            ("-5", Malformed),
            ("5", Malformed),
            ("a-b", Malformed),
            ("0-1-2", Malformed),
            ("+0-1", Malformed),
            ("0 - 1", Malformed),
            ("bytes", Malformed),
            ("bytes */100", Malformed),
            ("bytes 0-1/", Malformed),
            ("0-1/*", Malformed),
            ("items 0-1", Malformed),
            ("bytes\u{e9}0-1", Malformed),
            ("byte\u{e9} 0-1", Malformed),
            ("5-4", Backward { start: 5, end: 4 }),
            ("0--1", Malformed),
            ("bytes 0-9/9", BeyondSize { end: 9 }),
            ("0-18446744073709551615", TooLarge),
            ("0-18446744073709551616", TooLarge),
            ("99999999999999999999-1", TooLarge),
        ] {
            assert_eq!(text.parse::<ContentRange>(), Err(error), "{text:?}");
        }
    }
}
