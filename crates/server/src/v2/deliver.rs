//! How a blob's bytes reach the client: from memory, by redirect, or streamed; whole or a range.

use super::condition::{is_known, range_applies};
use super::{Error, Marked, Redirect, header};
use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    LOCATION, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use portolan_metadata::StoreId;
use portolan_oci::{RequestedRange, StorageKey, media_type};
use portolan_registry::{BlobAnswer, BlobSource, Registry};

/// Which bytes are sent.
#[derive(Debug, Clone, Copy)]
enum Part {
    Whole,
    /// First and last byte, both included.
    Range(u64, u64),
}

/// What a HEAD answers, and a GET before its bytes.
pub(super) fn description(found: &BlobAnswer, asked: &HeaderMap) -> Response {
    if is_known(asked, &found.digest) {
        return known(found);
    }
    respond(found, Part::Whole, Body::empty())
}

/// What a GET answers.
pub(super) async fn content(
    registry: &Registry,
    found: BlobAnswer,
    asked: &HeaderMap,
    redirect: Redirect,
) -> Result<Response, Error> {
    if is_known(asked, &found.digest) {
        return Ok(known(&found));
    }
    let requested = requested(&found, asked);
    let part = match requested {
        // Several ranges at once are answered with the whole, which every client that asks for them
        // takes. Not by redirect: what a store makes of them differs from store to store.
        RequestedRange::Whole | RequestedRange::Several => Part::Whole,
        RequestedRange::One {
            start,
            end_inclusive,
        } => Part::Range(start, end_inclusive),
        RequestedRange::Unsatisfiable => {
            return Err(Error::RangeNotSatisfiable { size: found.size });
        }
    };
    match &found.source {
        BlobSource::Bytes(bytes) => Ok(respond(&found, part, slice(bytes, part).into())),
        BlobSource::Stored { store, key } => {
            let may_redirect =
                redirect == Redirect::Presigned && requested != RequestedRange::Several;
            if may_redirect && let Some(url) = registry.redirect_url(*store, key).await? {
                return Ok(moved(&found, &url.to_string()));
            }
            let body = streamed(registry, *store, key, part).await?;
            Ok(respond(&found, part, body))
        }
    }
}

fn known(found: &BlobAnswer) -> Response {
    let marked = Marked(found.freshness);
    (StatusCode::NOT_MODIFIED, marked, validators(found)).into_response()
}

fn requested(found: &BlobAnswer, asked: &HeaderMap) -> RequestedRange {
    let range = asked.get(RANGE).and_then(|range| range.to_str().ok());
    match range {
        Some(range) if range_applies(asked, &found.digest) => {
            RequestedRange::parse(range, found.size)
        }
        _ => RequestedRange::Whole,
    }
}

fn slice(bytes: &Bytes, part: Part) -> Bytes {
    match part {
        Part::Whole => bytes.clone(),
        Part::Range(first, last) => {
            let index = |at: u64| usize::try_from(at).expect("a range lies within bytes in memory");
            bytes.slice(index(first)..=index(last))
        }
    }
}

async fn streamed(
    registry: &Registry,
    store: StoreId,
    key: &StorageKey,
    part: Part,
) -> Result<Body, Error> {
    let range = match part {
        Part::Whole => None,
        Part::Range(first, last) => Some(first..=last),
    };
    Ok(Body::from_stream(
        registry.open(store, key, range).await?.bytes,
    ))
}

fn validators(found: &BlobAnswer) -> [(HeaderName, HeaderValue); 4] {
    [
        (header::CONTENT_DIGEST, header::value(found.digest)),
        (ETAG, header::etag(&found.digest)),
        (LAST_MODIFIED, header::date(found.created_at)),
        (CACHE_CONTROL, header::IMMUTABLE),
    ]
}

fn respond(found: &BlobAnswer, part: Part, body: Body) -> Response {
    let kind = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static(media_type::OCTET_STREAM),
        ),
        // oras seeks only where this is said.
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    let size = found.size;
    let marked = Marked(found.freshness);
    match part {
        Part::Whole => {
            let length = [(CONTENT_LENGTH, HeaderValue::from(size))];
            (marked, validators(found), kind, length, body).into_response()
        }
        Part::Range(first, last) => {
            let length = [
                (CONTENT_LENGTH, HeaderValue::from(last - first + 1)),
                (
                    CONTENT_RANGE,
                    header::value(format_args!("bytes {first}-{last}/{size}")),
                ),
            ];
            (
                StatusCode::PARTIAL_CONTENT,
                marked,
                validators(found),
                kind,
                length,
                body,
            )
                .into_response()
        }
    }
}

/// The URL is good for a while and for its holder: nobody is to keep the answer.
fn moved(found: &BlobAnswer, url: &str) -> Response {
    let headers = [
        (LOCATION, header::value(url)),
        (header::CONTENT_DIGEST, header::value(found.digest)),
        (CACHE_CONTROL, header::NO_STORE),
    ];
    let marked = Marked(found.freshness);
    (StatusCode::TEMPORARY_REDIRECT, marked, headers).into_response()
}
