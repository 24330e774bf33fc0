//! Moments on the command line: `2026-11-28`, `2026-11-28T14:30:00Z`, or how long ago, as `36h`.

use portolan_auth::{Clock as _, SystemClock};
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) SystemTime);

impl Moment {
    /// So long before now.
    pub(super) fn ago(span: Duration) -> Self {
        let now = SystemClock.now();
        Self(now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self(moment.into()));
        }
        // The beginning of a day, in UTC.
        if let Ok(moment) = OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339) {
            return Ok(Self(moment.into()));
        }
        span(text).map(Self::ago).ok_or_else(|| {
            "is no moment such as `2026-11-28`, `2026-11-28T14:30:00Z` or `36h` for so long ago"
                .to_owned()
        })
    }
}

fn span(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_moments_and_spans_are_read() {
        let at = |seconds| {
            Ok(Moment(
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            ))
        };
        assert_eq!("1970-01-02".parse(), at(86_400));
        assert_eq!("1970-01-01T01:00:00+01:00".parse(), at(0));
        let Moment(ago) = "2h".parse().unwrap();
        let since = SystemClock.now().duration_since(ago).unwrap();
        assert!((Duration::from_hours(2)..Duration::from_hours(3)).contains(&since));
        for bad in ["", "2", "h", "yesterday", "1970-13-01", "2w", "-1h"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }
}
