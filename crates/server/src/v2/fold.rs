//! Folds a repository's name, which may hold slashes, into one path segment.
//!
//! `/v2/a/b/manifests/x` becomes `/v2/a%2Fb/manifests/x`, so that plain axum routes do the rest:
//! extractors, 405 and `MatchedPath`. The path is read from the right, because the endpoint's words
//! are its last segments and a repository may itself be called `blobs/uploads`. The layer goes
//! *around* the router: a layer added inside runs after routing.
//!
//! Nothing is refused here. A literal `%` is kept a literal `%` (written `%25`, which the router
//! decodes again), and no name, tag or digest may hold one, so the extractors refuse it with the
//! code that fits; neither `%2e%2e` nor a doubly encoded digest is ever decoded.

use axum::http::Request;
use axum::http::uri::{PathAndQuery, Uri};
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Wraps a finished router; see the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoldNames;

/// What [`FoldNames`] makes of a service.
#[derive(Debug, Clone)]
pub(crate) struct Folded<S>(S);

impl<S> Layer<S> for FoldNames {
    type Service = Folded<S>;

    fn layer(&self, inner: S) -> Folded<S> {
        Folded(inner)
    }
}

impl<S, B> Service<Request<B>> for Folded<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(folded) = fold(request.uri()) {
            *request.uri_mut() = folded;
        }
        self.0.call(request)
    }
}

/// The folded form; `None` where the path is not one with a name.
fn fold(uri: &Uri) -> Option<Uri> {
    let (name, endpoint) = split(uri.path().strip_prefix("/v2/")?)?;
    let endpoint = endpoint.replace('%', "%25");
    let path = match uri.query() {
        Some(query) => format!("/v2/{}/{endpoint}?{query}", segment(name)),
        None => format!("/v2/{}/{endpoint}", segment(name)),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// The name as one segment.
fn segment(name: &str) -> String {
    if name.is_empty() {
        // The router matches no empty segment; a lone slash is no name either, and is refused as one.
        return "%2F".to_owned();
    }
    name.replace('%', "%25").replace('/', "%2F")
}

/// Splits `<name>/<endpoint>`; without a name, all is the endpoint.
fn split(path: &str) -> Option<(&str, &str)> {
    let last = path.rfind('/')?;
    let second = path[..last].rfind('/');
    let third = second.and_then(|second| path[..second].rfind('/'));
    let word = |slash: Option<usize>, end: usize| &path[slash.map_or(0, |slash| slash + 1)..end];

    let before_last = word(second, last);
    let start = match before_last {
        "uploads" if second.is_some_and(|second| word(third, second) == "blobs") => third,
        "tags" if &path[last..] == "/list" => second,
        "manifests" | "blobs" | "referrers" => second,
        _ => return None,
    };
    Some(start.map_or(("", path), |slash| (&path[..slash], &path[slash + 1..])))
}

#[cfg(test)]
mod tests {
    use super::fold;
    use axum::http::Uri;
    use proptest::prelude::*;

    fn folded(path: &str) -> String {
        let uri: Uri = path.parse().unwrap();
        fold(&uri).unwrap_or(uri).to_string()
    }

    #[test]
    fn names_become_one_segment() {
        for (asked, expected) in [
            ("/v2/a/manifests/x", "/v2/a/manifests/x"),
            (
                "/v2/a/b/c/manifests/x?tag=1&tag=2",
                "/v2/a%2Fb%2Fc/manifests/x?tag=1&tag=2",
            ),
            ("/v2/a/b/blobs/sha256:ab", "/v2/a%2Fb/blobs/sha256:ab"),
            ("/v2/a/b/blobs/uploads", "/v2/a%2Fb/blobs/uploads"),
            ("/v2/a/b/blobs/uploads/", "/v2/a%2Fb/blobs/uploads/"),
            (
                "/v2/a/b/blobs/uploads/7?digest=d",
                "/v2/a%2Fb/blobs/uploads/7?digest=d",
            ),
            ("/v2/a/b/tags/list", "/v2/a%2Fb/tags/list"),
            (
                "/v2/a/b/referrers/sha256:ab",
                "/v2/a%2Fb/referrers/sha256:ab",
            ),
        ] {
            assert_eq!(folded(asked), expected);
        }
    }

    #[test]
    fn a_repository_may_be_called_like_an_endpoint() {
        for (asked, expected) in [
            (
                "/v2/blobs/uploads/manifests/x",
                "/v2/blobs%2Fuploads/manifests/x",
            ),
            (
                "/v2/blobs/uploads/blobs/sha256:ab",
                "/v2/blobs%2Fuploads/blobs/sha256:ab",
            ),
            (
                "/v2/blobs/uploads/blobs/uploads/",
                "/v2/blobs%2Fuploads/blobs/uploads/",
            ),
            (
                "/v2/blobs/uploads/blobs/uploads/7",
                "/v2/blobs%2Fuploads/blobs/uploads/7",
            ),
            (
                "/v2/blobs/uploads/tags/list",
                "/v2/blobs%2Fuploads/tags/list",
            ),
            ("/v2/tags/list/tags/list", "/v2/tags%2Flist/tags/list"),
            (
                "/v2/manifests/manifests/manifests",
                "/v2/manifests/manifests/manifests",
            ),
            (
                "/v2/a/manifests/b/manifests/x",
                "/v2/a%2Fmanifests%2Fb/manifests/x",
            ),
        ] {
            assert_eq!(folded(asked), expected);
        }
    }

    #[test]
    fn other_paths_stay_as_they_are() {
        for path in [
            "/",
            "/v2",
            "/v2/",
            "/v2/_catalog?n=3",
            "/v2/auth?scope=repository:a/b:pull",
            "/v2/a/b",
            "/v2/a/tags/list/",
            "/v2/a/tags/other",
            "/v2/a/uploads/x",
            "/v3/a/b/manifests/x",
            "/v1/search?q=a/b",
        ] {
            assert_eq!(folded(path), path);
        }
    }

    #[test]
    fn a_literal_percent_sign_is_never_decoded() {
        assert_eq!(folded("/v2/a%2Fb/manifests/x"), "/v2/a%252Fb/manifests/x");
        assert_eq!(
            folded("/v2/a/%2e%2e/b/manifests/x"),
            "/v2/a%2F%252e%252e%2Fb/manifests/x"
        );
        assert_eq!(
            folded("/v2/a/blobs/sha256%3Aab"),
            "/v2/a/blobs/sha256%253Aab"
        );
    }

    #[test]
    fn a_missing_name_is_a_name_that_is_refused() {
        assert_eq!(folded("/v2/manifests/x"), "/v2/%2F/manifests/x");
        assert_eq!(folded("/v2//manifests/x"), "/v2/%2F/manifests/x");
        assert_eq!(folded("/v2/blobs/uploads/"), "/v2/%2F/blobs/uploads/");
        assert_eq!(folded("/v2/a//b/manifests/x"), "/v2/a%2F%2Fb/manifests/x");
    }

    proptest! {
        #[test]
        fn any_path_folds_without_panicking(path in "/v2/[a-z/%.:_?-]{0,64}") {
            if let Ok(uri) = path.parse::<Uri>() {
                let _ = fold(&uri);
            }
        }

        #[test]
        fn the_name_comes_back_when_the_segment_is_decoded(
            name in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,4}(/(blobs|uploads|tags|list|manifests)){0,3}",
            endpoint in prop_oneof![
                Just("manifests/latest"), Just("blobs/sha256:00"), Just("blobs/uploads/"),
                Just("blobs/uploads/7"), Just("tags/list"), Just("referrers/sha256:00"),
            ],
        ) {
            let path = folded(&format!("/v2/{name}/{endpoint}"));
            let (segment, rest) = path["/v2/".len()..].split_once('/').unwrap();
            prop_assert_eq!(segment.replace("%2F", "/"), name);
            prop_assert_eq!(rest, endpoint);
        }
    }
}
