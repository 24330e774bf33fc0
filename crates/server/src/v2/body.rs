//! Request bodies: held only where they are small, and never longer than their time.

use super::{Error, Settings};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use portolan_registry::upload::UploadBody;
use tokio::time::timeout;

/// The announced length; `None` for a body that ends by itself.
pub(super) fn length(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(announced) = headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = announced.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or(Error::LengthInvalid)
}

/// A manifest's bytes.
///
/// Refused before anything is read where the announced length is too large, and after one byte too
/// many where it was not announced. Dropped half-way, what was read is freed.
pub(super) async fn manifest(request: Request, settings: &Settings) -> Result<Bytes, Error> {
    let limit = settings.manifest_max;
    let announced = length(request.headers())?;
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(Error::ManifestTooLarge { limit });
    }
    let read = collect(request, limit);
    timeout(settings.manifest_deadline, read)
        .await
        .map_err(|_| Error::BodyTimeout)?
}

async fn collect(request: Request, limit: usize) -> Result<Bytes, Error> {
    let mut body = request.into_body();
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| Error::BodyInterrupted)?.into_data() else {
            continue;
        };
        if content.len() + piece.len() > limit {
            return Err(Error::ManifestTooLarge { limit });
        }
        content.extend_from_slice(&piece);
    }
    Ok(content.freeze())
}

/// An upload's bytes as they come; the registry bounds their number, their pace and their silence.
pub(super) fn upload(request: Request) -> Result<UploadBody, Error> {
    let length = length(request.headers())?;
    Ok(UploadBody::new(
        request.into_body().into_data_stream(),
        length,
    ))
}
