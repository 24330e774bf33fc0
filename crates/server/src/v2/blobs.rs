//! `/v2/<name>/blobs/<digest>`.

use super::extract::In;
use super::{Error, Settings, deliver};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portolan_oci::Digest;
use portolan_registry::{Caller, Purpose, Registry};

pub(super) async fn get(
    State(registry): State<Registry>,
    State(settings): State<Settings>,
    Extension(caller): Extension<Caller>,
    In { name, item: digest }: In<Digest>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let found = registry.blob(&caller, &name, digest, Purpose::Get).await?;
    deliver::content(&registry, found, &headers, settings.redirect).await
}

/// Answered here and never redirected: a URL signed for GET fails on HEAD.
pub(super) async fn head(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In { name, item: digest }: In<Digest>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let found = registry.blob(&caller, &name, digest, Purpose::Head).await?;
    Ok(deliver::description(&found, &headers))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In { name, item: digest }: In<Digest>,
) -> Result<StatusCode, Error> {
    registry.delete_blob(&caller, &name, &digest).await?;
    Ok(StatusCode::ACCEPTED)
}
