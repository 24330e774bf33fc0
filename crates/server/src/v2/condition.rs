//! Preconditions of requests (RFC 9110, section 13): entity tags are quoted digests.

use super::{Error, header};
use axum::extract::FromRequestParts;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use portolan_metadata::tags::Expect;
use portolan_oci::Digest;

/// What a write demands of a tag: compare-and-swap (`If-Match`) or create only (`If-None-Match: *`).
#[derive(Debug)]
pub(super) struct Demand(pub(super) Option<Expect>);

impl<S: Send + Sync> FromRequestParts<S> for Demand {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::read(&parts.headers)
    }
}

impl Demand {
    fn read(headers: &HeaderMap) -> Result<Self, Error> {
        match (
            headers.contains_key(IF_MATCH),
            headers.contains_key(IF_NONE_MATCH),
        ) {
            (false, false) => Ok(Self(None)),
            (true, false) if any(headers, &IF_MATCH) => Ok(Self(Some(Expect::Exists))),
            (true, false) => Ok(Self(Some(Expect::AnyOf(strong(headers, &IF_MATCH))))),
            (false, true) if any(headers, &IF_NONE_MATCH) => Ok(Self(Some(Expect::Absent))),
            // Ignoring a condition could overwrite what the client wanted kept.
            _ => Err(Error::ConditionUnsupported),
        }
    }

    /// Whether content of this digest, if it exists, meets the demand.
    pub(super) fn allows(&self, digest: &Digest) -> bool {
        match &self.0 {
            None | Some(Expect::Exists) => true,
            Some(Expect::AnyOf(digests)) => digests.contains(digest),
            Some(Expect::Absent) => false,
        }
    }
}

/// Whether the client has the content already (`If-None-Match`, compared weakly).
pub(super) fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let tag = header::etag(digest);
    let same = |known: &str| tag == *known.strip_prefix("W/").unwrap_or(known);
    any(headers, &IF_NONE_MATCH) || entries(headers, &IF_NONE_MATCH).any(same)
}

/// Whether a range of the content may be sent: the client has the rest of the same (`If-Range`).
///
/// A date is never a strong validator here, so it means the whole content (RFC 9110, section 13.1.5).
pub(super) fn range_applies(headers: &HeaderMap, digest: &Digest) -> bool {
    headers
        .get(IF_RANGE)
        .is_none_or(|validator| *validator == header::etag(digest))
}

fn any(headers: &HeaderMap, name: &HeaderName) -> bool {
    entries(headers, name).any(|entry| entry == "*")
}

/// The digests among the strong entity tags; others match nothing that is stored here.
fn strong(headers: &HeaderMap, name: &HeaderName) -> Vec<Digest> {
    entries(headers, name)
        .filter_map(|entry| entry.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
        .collect()
}

/// The members of a list in one header line or several.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::{Demand, is_known, range_applies};
    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use portolan_metadata::tags::Expect;
    use portolan_oci::Digest;
    use proptest::prelude::*;

    fn headers(lines: &[(&'static str, String)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, String)| {
            (
                HeaderName::from_static(name),
                HeaderValue::try_from(value).unwrap(),
            )
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_write_may_demand_what_a_tag_points_at() {
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let demand = |lines: &[(&'static str, String)]| Demand::read(&headers(lines));
        let list = format!("\"{one}\", W/\"{two}\", \"no digest\"");

        assert!(demand(&[]).unwrap().0.is_none());
        assert!(matches!(
            demand(&[("if-match", "*".into())]).unwrap().0,
            Some(Expect::Exists)
        ));
        assert!(matches!(
            demand(&[("if-none-match", "*".into())]).unwrap().0,
            Some(Expect::Absent)
        ));
        let listed = demand(&[("if-match", list)]).unwrap();
        assert!(listed.allows(&one));
        assert!(!listed.allows(&two), "a weak tag is no match for a write");
        assert!(demand(&[("if-none-match", format!("\"{one}\""))]).is_err());
        assert!(
            demand(&[("if-match", "*".into()), ("if-none-match", "*".into())]).is_err(),
            "nothing meets both"
        );
    }

    #[test]
    fn a_reader_may_have_the_content_already() {
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        for known in [
            format!("\"{one}\""),
            format!("W/\"{one}\""),
            format!("\"x\",\"{one}\""),
        ] {
            assert!(is_known(&headers(&[("if-none-match", known)]), &one));
        }
        assert!(is_known(&headers(&[("if-none-match", "*".into())]), &one));
        assert!(!is_known(
            &headers(&[("if-none-match", format!("\"{two}\""))]),
            &one
        ));
        assert!(!is_known(&headers(&[]), &one));
    }

    #[test]
    fn a_range_of_other_content_is_not_sent() {
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        assert!(range_applies(&headers(&[]), &one));
        assert!(range_applies(
            &headers(&[("if-range", format!("\"{one}\""))]),
            &one
        ));
        assert!(!range_applies(
            &headers(&[("if-range", format!("\"{two}\""))]),
            &one
        ));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
        assert!(!range_applies(&headers(&[("if-range", date)]), &one));
    }

    proptest! {
        #[test]
        fn no_header_makes_the_conditions_panic(value in proptest::collection::vec(32..=255_u8, 0..80)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let digest = Digest::sha256(b"1");
            for name in ["if-match", "if-none-match", "if-range"] {
                let headers: HeaderMap = [(HeaderName::from_static(name), value.clone())].into_iter().collect();
                let _ = Demand::read(&headers);
                let _ = (is_known(&headers, &digest), range_applies(&headers, &digest));
            }
        }
    }
}
