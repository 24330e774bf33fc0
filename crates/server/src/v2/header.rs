//! Headers of the distribution API that `http` has no names for, and the values both sides agree on.

use axum::http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use portolan_oci::{Digest, RepositoryName, UploadId};
use std::fmt::{Display, Write as _};
use std::time::SystemTime;

/// Tells docker that this is a registry; on every answer under `/v2`.
pub(crate) const API_VERSION: HeaderName =
    HeaderName::from_static("docker-distribution-api-version");
/// The digest of what the answer is about.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The upload's id, beside its Location.
pub(crate) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// The smallest chunk a client should send.
pub(crate) const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// The subject that a pushed manifest was filed under.
pub(crate) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// The tags that a push by digest has set.
pub(crate) const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Which filters a list of referrers went through.
pub(crate) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Of everything named by its digest: the bytes never change. Private, because who may read them may.
pub(crate) const IMMUTABLE: HeaderValue =
    HeaderValue::from_static("private, max-age=31536000, immutable");
/// Of everything that a tag names, and of lists: a cached answer would be an old one.
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What stays as it is in a query: RFC 3986's unreserved characters, and `/` and `:`, which are allowed
/// there and make names and digests readable.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

/// Turns what only holds visible ASCII into a header's value.
pub(crate) fn value(text: impl Display) -> HeaderValue {
    HeaderValue::try_from(text.to_string())
        .expect("names, digests, ids and numbers are visible ASCII")
}

/// The strong validator of content: its digest.
pub(crate) fn etag(digest: &Digest) -> HeaderValue {
    value(format_args!("\"{digest}\""))
}

/// A time as HTTP writes it.
pub(crate) fn date(time: SystemTime) -> HeaderValue {
    value(httpdate::fmt_http_date(time))
}

/// Where a blob is. Without scheme and host: right behind every proxy.
pub(crate) fn blob_location(name: &RepositoryName, digest: &Digest) -> HeaderValue {
    value(format_args!("/v2/{}/blobs/{digest}", name.requested()))
}

/// Where a manifest is.
pub(crate) fn manifest_location(name: &RepositoryName, digest: &Digest) -> HeaderValue {
    value(format_args!("/v2/{}/manifests/{digest}", name.requested()))
}

/// Where an upload goes on.
pub(crate) fn upload_location(name: &RepositoryName, id: &UploadId) -> HeaderValue {
    value(format_args!("/v2/{}/blobs/uploads/{id}", name.requested()))
}

/// How much of an upload has come: `0-<last byte>`, and `0-0` where nothing has, as docker reads it.
pub(crate) fn upload_range(received: u64) -> HeaderValue {
    value(format_args!("0-{}", received.saturating_sub(1)))
}

/// The link to the next page, with `parameters` encoded.
pub(crate) fn next_page(path: &str, parameters: &[(&str, &str)]) -> HeaderValue {
    let mut link = format!("<{path}");
    for (index, (name, parameter)) in parameters.iter().enumerate() {
        let separator = if index == 0 { '?' } else { '&' };
        let encoded = utf8_percent_encode(parameter, QUERY);
        write!(link, "{separator}{name}={encoded}").expect("writing to a string never fails");
    }
    value(format_args!("{link}>; rel=\"next\""))
}

/// Most bytes of all warnings of an answer (distribution-spec, "Warnings").
const WARNINGS_MAX: usize = 4096;

/// `Warning` headers for these texts, as many as the specification's limit lets through.
pub(crate) fn warnings(texts: impl IntoIterator<Item = impl Display>) -> Vec<HeaderValue> {
    let mut room = WARNINGS_MAX;
    let mut headers = Vec::new();
    for text in texts {
        let quoted = text.to_string().replace('\\', "\\\\").replace('"', "\\\"");
        let Ok(header) = HeaderValue::try_from(format!("299 - \"{quoted}\"")) else {
            continue;
        };
        if header.len() > room {
            break;
        }
        room -= header.len();
        headers.push(header);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::{next_page, upload_range, warnings};
    use crate::v2::extract::Parameters;
    use axum::http::{HeaderValue, Uri};
    use proptest::prelude::*;

    #[test]
    fn an_empty_upload_has_the_range_that_docker_reads() {
        assert_eq!(upload_range(0), "0-0");
        assert_eq!(upload_range(1), "0-0");
        assert_eq!(upload_range(1024), "0-1023");
    }

    #[test]
    fn the_link_to_the_next_page_has_path_and_query_only() {
        assert_eq!(
            next_page("/v2/a/tags/list", &[]),
            r#"</v2/a/tags/list>; rel="next""#
        );
        assert_eq!(
            next_page("/v2/_catalog", &[("n", "2"), ("last", "a/b+c>d")]),
            r#"</v2/_catalog?n=2&last=a/b%2Bc%3Ed>; rel="next""#
        );
    }

    #[test]
    fn warnings_are_quoted_and_stay_under_the_limit() {
        assert_eq!(warnings([r#"say "a\b""#]), [r#"299 - "say \"a\\b\"""#]);
        let many = warnings((0..100).map(|_| "x".repeat(100)));
        assert_eq!(many.iter().map(HeaderValue::len).sum::<usize>(), 37 * 108);
    }

    proptest! {
        #[test]
        fn whatever_the_last_entry_is_the_link_leads_after_it(
            last in "\\PC{0,40}",
            kind in "[a-z]{1,8}/[a-z.+-]{1,8}",
        ) {
            let link = next_page("/v2/a/b/referrers/x", &[("artifactType", &kind), ("last", &last)]);
            let link = link.to_str().unwrap();
            let target = link.strip_prefix('<').unwrap().strip_suffix(r#">; rel="next""#).unwrap();
            prop_assert!(!target.contains(['<', '>', '"', ' ', ',']));
            let uri: Uri = target.parse().unwrap();
            prop_assert_eq!(uri.path(), "/v2/a/b/referrers/x");
            let read = Parameters::of(&uri).unwrap();
            prop_assert_eq!(read.first("artifactType"), Some(kind.as_str()));
            prop_assert_eq!(read.first("last"), Some(last.as_str()));
        }

        #[test]
        fn warnings_of_any_text_stay_under_the_limit(
            texts in proptest::collection::vec("\\PC{0,600}", 0..20),
        ) {
            let bytes: usize = warnings(&texts).iter().map(HeaderValue::len).sum();
            prop_assert!(bytes <= 4096);
        }
    }
}
