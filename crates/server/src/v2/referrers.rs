//! `GET /v2/<name>/referrers/<digest>`.

use super::extract::{In, Parameters};
use super::page::Page;
use super::{Error, Marked, header};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use portolan_oci::{Digest, MediaType, media_type};
use portolan_registry::{Caller, Error as Refusal, Freshness, Referrer, ReferrerPage, Registry};
use serde_json::{Value, json};

pub(super) async fn list(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In {
        name,
        item: subject,
    }: In<Digest>,
    page: Page,
    parameters: Parameters,
) -> Result<Response, Error> {
    let filter = filter(&parameters)?;
    let after = parameters.digest("last")?;
    let found = registry
        .referrers(
            &caller,
            &name,
            &subject,
            filter.as_ref(),
            after.as_ref(),
            page.n,
        )
        .await;
    let found = or_empty(found)?;
    let path = format!("/v2/{}/referrers/{subject}", name.requested());
    let last = found
        .referrers
        .last()
        .filter(|_| found.more)
        .map(|last| last.digest.to_string());
    let filtered: Vec<(&str, &str)> = filter
        .iter()
        .map(|kind| ("artifactType", kind.as_str()))
        .collect();
    let link = last
        .map(|last| page.after(&path, &last, &filtered))
        .unwrap_or_default();
    let marked = Marked(found.freshness);
    let mut response = (marked, link, index(&found.referrers)).into_response();
    if filter.is_some() {
        let applied = HeaderValue::from_static("artifactType");
        response
            .headers_mut()
            .insert(header::FILTERS_APPLIED, applied);
    }
    Ok(response)
}

/// Which type of artifact is wanted; an empty one is no filter.
fn filter(parameters: &Parameters) -> Result<Option<MediaType>, Error> {
    let given = parameters
        .first("artifactType")
        .filter(|given| !given.is_empty());
    given
        .map(|text| {
            text.parse()
                .map_err(|_| Error::ParameterInvalid("artifactType"))
        })
        .transpose()
}

/// A 404 would send clients to the tag schema of registries without this API, so a repository that
/// does not exist yet has no referrers. Who may not know of it has been refused before.
fn or_empty(found: Result<ReferrerPage, Refusal>) -> Result<ReferrerPage, Refusal> {
    match found {
        Err(Refusal::NameUnknown) => Ok(ReferrerPage {
            referrers: Vec::new(),
            more: false,
            // Of a replica that may lack it nobody hears that.
            freshness: Freshness::Current,
        }),
        other => other,
    }
}

fn index(referrers: &[Referrer]) -> Response {
    let manifests: Vec<Value> = referrers.iter().map(descriptor).collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": manifests,
    });
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static(media_type::OCI_INDEX),
        ),
        (CACHE_CONTROL, header::NO_STORE),
    ];
    (headers, index.to_string()).into_response()
}

fn descriptor(referrer: &Referrer) -> Value {
    let mut descriptor = json!({
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size,
    });
    if let Some(artifact_type) = &referrer.artifact_type {
        descriptor["artifactType"] = json!(artifact_type);
    }
    if !referrer.annotations.is_empty() {
        descriptor["annotations"] = json!(referrer.annotations);
    }
    descriptor
}
