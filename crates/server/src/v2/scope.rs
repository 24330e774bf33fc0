//! Which scope a client must ask a token for, so that its request passes: the challenge names it.

use super::extract::Parameters;
use axum::http::{Method, Uri};
use percent_encoding::percent_decode_str;
use portolan_auth::{Actions, Grant};
use portolan_oci::RepositoryName;

/// The scope of a request to a folded path; `None` where a token without any will do.
pub(super) fn wanted(method: &Method, uri: &Uri) -> Option<String> {
    if matches!(uri.path(), "/v2/_catalog" | "/v1/search") {
        return Some(Grant::Catalog.to_string());
    }
    let path = uri.path().strip_prefix("/v2/")?;
    let (segment, endpoint) = path.split_once('/')?;
    let name: RepositoryName = percent_decode_str(segment)
        .decode_utf8()
        .ok()?
        .parse()
        .ok()?;
    let own = Grant::Repository {
        name,
        actions: actions(method, endpoint),
    }
    .to_string();
    Some(match source(method, uri) {
        Some(from) => format!(
            "{own} {}",
            Grant::Repository {
                name: from,
                actions: Actions::PULL
            }
        ),
        None => own,
    })
}

fn actions(method: &Method, endpoint: &str) -> Actions {
    if endpoint.starts_with("blobs/uploads") {
        // Looking at an upload and giving it up are parts of pushing.
        return Actions::PULL_PUSH;
    }
    match *method {
        Method::DELETE => Actions::DELETE,
        Method::GET | Method::HEAD => Actions::PULL,
        _ => Actions::PULL_PUSH,
    }
}

/// The repository that a blob is to be mounted from.
fn source(method: &Method, uri: &Uri) -> Option<RepositoryName> {
    if *method != Method::POST {
        return None;
    }
    let parameters = Parameters::of(uri).ok()?;
    parameters.first("mount")?;
    parameters.first("from")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::wanted;
    use axum::http::{Method, Uri};

    fn scope(method: &Method, path: &str) -> Option<String> {
        wanted(method, &path.parse::<Uri>().unwrap())
    }

    #[test]
    fn the_method_says_which_actions_a_request_takes() {
        for (method, path, expected) in [
            (Method::GET, "/v2/a%2Fb/manifests/x", "repository:a/b:pull"),
            (Method::HEAD, "/v2/a/blobs/sha256:00", "repository:a:pull"),
            (Method::GET, "/v2/a/tags/list?n=10000", "repository:a:pull"),
            (
                Method::GET,
                "/v2/a/referrers/sha256:00",
                "repository:a:pull",
            ),
            (
                Method::PUT,
                "/v2/a%2Fb/manifests/x",
                "repository:a/b:pull,push",
            ),
            (
                Method::POST,
                "/v2/a/blobs/uploads/",
                "repository:a:pull,push",
            ),
            (
                Method::PATCH,
                "/v2/a/blobs/uploads/7",
                "repository:a:pull,push",
            ),
            (
                Method::GET,
                "/v2/a/blobs/uploads/7",
                "repository:a:pull,push",
            ),
            (
                Method::DELETE,
                "/v2/a/blobs/uploads/7",
                "repository:a:pull,push",
            ),
            (Method::DELETE, "/v2/a/manifests/x", "repository:a:delete"),
            (
                Method::DELETE,
                "/v2/a/blobs/sha256:00",
                "repository:a:delete",
            ),
            (Method::GET, "/v2/_catalog", "registry:catalog:*"),
            (Method::GET, "/v1/search?q=a", "registry:catalog:*"),
        ] {
            assert_eq!(scope(&method, path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_mount_also_reads_its_source() {
        let path = "/v2/a/blobs/uploads/?mount=sha256:00&from=b/c";
        assert_eq!(
            scope(&Method::POST, path).as_deref(),
            Some("repository:a:pull,push repository:b/c:pull")
        );
        let hostile = "/v2/a/blobs/uploads/?mount=sha256:00&from=b%22,c";
        assert_eq!(
            scope(&Method::POST, hostile).as_deref(),
            Some("repository:a:pull,push")
        );
    }

    #[test]
    fn what_names_no_repository_has_no_scope() {
        for path in [
            "/v2/",
            "/v2",
            "/v2/UPPER/manifests/x",
            "/v2/a%22b/manifests/x",
            "/v2/other",
        ] {
            assert_eq!(scope(&Method::GET, path), None, "{path}");
        }
    }
}
