//! `GET /v2/_catalog`: the repositories that the caller may read.

use super::page::Page;
use super::{Error, Marked, header};
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use portolan_oci::RepositoryName;
use portolan_registry::{Caller, Credentials, Error as Refusal, Registry};
use serde_json::json;

pub(super) async fn list(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    page: Page,
) -> Result<Response, Error> {
    // Without a challenge oras, regctl and podman never send what they have, and would see an empty registry.
    // Nobody sees what is public with a token for nobody.
    if matches!(caller.credentials, Credentials::None) {
        return Err(Refusal::Unauthenticated.into());
    }
    let found = registry
        .catalog(&caller, page.last.as_deref(), page.n)
        .await?;
    let names: Vec<&str> = found
        .repositories
        .iter()
        .map(RepositoryName::as_str)
        .collect();
    let last = names.last().filter(|_| found.more);
    let link = last
        .map(|last| page.after("/v2/_catalog", last, &[]))
        .unwrap_or_default();
    let page = Json(json!({ "repositories": names }));
    let marked = Marked(found.freshness);
    Ok((marked, [(CACHE_CONTROL, header::NO_STORE)], link, page).into_response())
}
