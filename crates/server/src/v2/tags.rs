//! `GET /v2/<name>/tags/list`.

use super::extract::InRepository;
use super::page::Page;
use super::{Error, Marked, header};
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use portolan_oci::TagName;
use portolan_registry::{Caller, Registry};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct TagList<'a> {
    /// As asked: `alpine` is not told that it is `library/alpine`.
    name: &'a str,
    tags: Vec<TagName>,
}

pub(super) async fn list(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    InRepository(name): InRepository,
    page: Page,
) -> Result<Response, Error> {
    let found = registry
        .tags(&caller, &name, page.last.as_deref(), page.n)
        .await?;
    let path = format!("/v2/{}/tags/list", name.requested());
    let last = found
        .tags
        .last()
        .filter(|_| found.more)
        .map(TagName::as_str);
    let link = last
        .map(|last| page.after(&path, last, &[]))
        .unwrap_or_default();
    let page = TagList {
        name: name.requested(),
        tags: found.tags,
    };
    let marked = Marked(found.freshness);
    Ok((
        marked,
        [(CACHE_CONTROL, header::NO_STORE)],
        link,
        Json(page),
    )
        .into_response())
}
