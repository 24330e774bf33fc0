//! `/v1`: `podman search` and `docker search` ask here before anywhere else.

use super::extract::Parameters;
use super::page::Page;
use super::{Error, Marked, header};
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use portolan_registry::{Caller, Registry};
use serde_json::{Value, json};

/// How many results `podman search` and `docker search` show unless told.
const RESULTS: u64 = 25;

/// `GET /v1/_ping`: docker's daemon asks it before a search.
pub(super) async fn ping() -> Json<bool> {
    Json(true)
}

/// `GET /v1/search?q=&n=`: repositories by a part of their name, among those the caller may read.
pub(super) async fn search(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    parameters: Parameters,
) -> Result<Response, Error> {
    let query = parameters.first("q").unwrap_or_default();
    let wanted = Page::read(&parameters)?.n.unwrap_or(RESULTS);
    let found = registry.search(&caller, query, Some(wanted)).await?;
    let results: Vec<Value> = found
        .found
        .iter()
        .map(|row| {
            json!({
                "name": row.name.as_str(),
                "description": row.description,
                "star_count": 0,
                "is_official": false,
                "is_automated": false,
                "is_trusted": false,
            })
        })
        .collect();
    let body = json!({ "num_results": results.len(), "query": query, "results": results });
    let marked = Marked(found.freshness);
    Ok((marked, [(CACHE_CONTROL, header::NO_STORE)], Json(body)).into_response())
}
