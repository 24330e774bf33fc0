//! `/v2/<name>/manifests/<reference>`.

use super::condition::{Demand, is_known};
use super::extract::{In, Parameters};
use super::{Error, Marked, Settings, body, header};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, WARNING,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use portolan_oci::{MediaType, Reference, RepositoryName, TagName};
use portolan_registry::{Caller, ManifestAnswer, Purpose, Pushed, PutManifest, Registry};
use std::fmt::Write as _;

pub(super) async fn get(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In {
        name,
        item: reference,
    }: In<Reference>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let mut found = registry
        .manifest(&caller, &name, &reference, Purpose::Get)
        .await?;
    let payload = found.payload.take().unwrap_or_default();
    let response = answer(&found, &reference, &headers, payload.into());
    // Who has it already did not pull it.
    if response.status() == StatusCode::OK {
        registry.count_pull(&caller, &found);
    }
    Ok(response)
}

pub(super) async fn head(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In {
        name,
        item: reference,
    }: In<Reference>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let found = registry
        .manifest(&caller, &name, &reference, Purpose::Head)
        .await?;
    Ok(answer(&found, &reference, &headers, Body::empty()))
}

pub(super) async fn put(
    State(registry): State<Registry>,
    State(settings): State<Settings>,
    Extension(caller): Extension<Caller>,
    In {
        name,
        item: reference,
    }: In<Reference>,
    demand: Demand,
    parameters: Parameters,
    request: Request,
) -> Result<Response, Error> {
    let tags = tags(&parameters, registry.limits().tags_per_push)?;
    if tags.is_empty() && demand.0.is_some() && matches!(reference, Reference::Digest(_)) {
        return Err(Error::ConditionUnsupported);
    }
    let content_type = content_type(request.headers())?;
    // Before the body: nobody who may not push makes us hold 4 MiB.
    registry.authorize_push(&caller, &name).await?;
    let payload = body::manifest(request, &settings).await?;
    let many = !tags.is_empty();
    let put = PutManifest {
        reference,
        tags,
        content_type,
        payload,
        expect: demand.0,
    };
    let pushed = registry.put_manifest(&caller, &name, put).await?;
    Ok(created(&name, &pushed, many))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In {
        name,
        item: reference,
    }: In<Reference>,
    demand: Demand,
) -> Result<StatusCode, Error> {
    match &reference {
        Reference::Tag(tag) => {
            registry
                .delete_tag(&caller, &name, tag, demand.0.as_ref())
                .await?;
        }
        Reference::Digest(digest) if demand.allows(digest) => {
            registry.delete_manifest(&caller, &name, digest).await?;
        }
        Reference::Digest(_) => return Err(Error::ConditionFailed),
    }
    Ok(StatusCode::ACCEPTED)
}

/// Headers that clients fail without: type, length and digest (ggcr), validators (bots), and the type
/// exactly as pushed, without parameters.
fn answer(
    found: &ManifestAnswer,
    reference: &Reference,
    asked: &HeaderMap,
    content: Body,
) -> Response {
    let cache = match reference {
        Reference::Tag(_) => header::NO_STORE,
        Reference::Digest(_) => header::IMMUTABLE,
    };
    let validators = [
        (header::CONTENT_DIGEST, header::value(found.digest)),
        (ETAG, header::etag(&found.digest)),
        (LAST_MODIFIED, header::date(found.created_at)),
        (CACHE_CONTROL, cache),
    ];
    if is_known(asked, &found.digest) {
        return (
            StatusCode::NOT_MODIFIED,
            Marked(found.freshness),
            validators,
        )
            .into_response();
    }
    let content_headers = [
        (CONTENT_TYPE, header::value(&found.media_type)),
        (CONTENT_LENGTH, HeaderValue::from(found.size)),
    ];
    (
        Marked(found.freshness),
        validators,
        content_headers,
        content,
    )
        .into_response()
}

fn created(name: &RepositoryName, pushed: &Pushed, many: bool) -> Response {
    let place = [
        (LOCATION, header::manifest_location(name, &pushed.digest)),
        (header::CONTENT_DIGEST, header::value(pushed.digest)),
        (ETAG, header::etag(&pushed.digest)),
    ];
    let mut response = (StatusCode::CREATED, place).into_response();
    let headers = response.headers_mut();
    if let Some(subject) = &pushed.subject {
        headers.insert(header::SUBJECT, header::value(subject));
    }
    if many {
        // One line for all: hyper and others bound the number of lines, not their length.
        headers.insert(header::TAG, header::value(joined(&pushed.tags)));
    }
    for warning in header::warnings(&pushed.warnings) {
        headers.append(WARNING, warning);
    }
    response
}

fn joined(tags: &[TagName]) -> String {
    let mut line = String::new();
    for tag in tags {
        let separator = if line.is_empty() { "" } else { ", " };
        write!(line, "{separator}{}", tag.as_str()).expect("writing to a string never fails");
    }
    line
}

/// The tags of `?tag=a&tag=b`.
fn tags(parameters: &Parameters, limit: usize) -> Result<Vec<TagName>, Error> {
    let read = |tag: &str| tag.parse().map_err(Error::TagInvalid);
    let tags: Vec<TagName> = parameters.all("tag").map(read).collect::<Result<_, _>>()?;
    if tags.len() > limit {
        return Err(Error::TooManyTags { limit });
    }
    Ok(tags)
}

fn content_type(headers: &HeaderMap) -> Result<Option<MediaType>, Error> {
    let Some(declared) = headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    // What is not ASCII is no media type, and is refused as one.
    let text = declared.to_str().unwrap_or("?");
    MediaType::from_content_type(text)
        .map(Some)
        .map_err(Error::ContentTypeInvalid)
}
