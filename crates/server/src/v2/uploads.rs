//! `/v2/<name>/blobs/uploads/`: how blobs come in.
//!
//! Three ways lead here: POST then PUT with the whole body (containerd, oras, buildkit); POST, a
//! streamed PATCH without `Content-Range`, PUT (docker, podman, crane); and chunks with
//! `Content-Range`, recovered by GET after a 416. One POST may also do it all, by mount or with the
//! whole body.

use super::extract::{In, InRepository, Parameters};
use super::{Error, Settings, body, header};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_RANGE, LOCATION, RANGE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use portolan_oci::{Algorithm, ContentRange, Digest, RepositoryName, UploadId};
use portolan_registry::upload::UploadStatus;
use portolan_registry::{Caller, Error as Refusal, MountOutcome, Registry};

/// What a POST asks for.
enum Start {
    /// A blob that another repository has; an upload where that cannot be.
    Mount { digest: Digest, from: Option<From> },
    /// The whole blob is in the body.
    Whole(Digest),
    /// An upload to go on with; the algorithm of its digest, if it is announced.
    Upload(Option<Algorithm>),
}

/// Where to mount from.
enum From {
    Repository(RepositoryName),
    /// What cannot be a repository is one that does not have the blob.
    Nowhere,
}

pub(super) async fn start(
    State(registry): State<Registry>,
    State(settings): State<Settings>,
    Extension(caller): Extension<Caller>,
    InRepository(name): InRepository,
    parameters: Parameters,
    request: Request,
) -> Result<Response, Error> {
    let algorithm = match Start::read(&parameters)? {
        Start::Whole(digest) => {
            let body = body::upload(request)?;
            let committed = registry.push_blob(&caller, &name, digest, body).await?;
            return Ok(stored(&name, &committed.digest));
        }
        Start::Mount { digest, from } => {
            if mounted(&registry, &caller, &name, digest, from).await? {
                return Ok(stored(&name, &digest));
            }
            Some(digest.algorithm())
        }
        Start::Upload(algorithm) => algorithm,
    };
    let status = registry.start_upload(&caller, &name, algorithm).await?;
    let chunk_min = [(
        header::CHUNK_MIN_LENGTH,
        HeaderValue::from(settings.chunk_min),
    )];
    Ok((StatusCode::ACCEPTED, progress(&name, &status), chunk_min).into_response())
}

pub(super) async fn append(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In { name, item: id }: In<UploadId>,
    request: Request,
) -> Result<Response, Error> {
    let range = range(&registry, &caller, &name, id, request.headers()).await?;
    let body = body::upload(request)?;
    let status = registry
        .append_upload(&caller, &name, id, range, body)
        .await
        .map_err(|error| Error::in_upload(error, &name))?;
    Ok((StatusCode::ACCEPTED, progress(&name, &status)).into_response())
}

pub(super) async fn finish(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In { name, item: id }: In<UploadId>,
    parameters: Parameters,
    request: Request,
) -> Result<Response, Error> {
    let digest = parameters
        .digest("digest")?
        .ok_or(Error::ParameterMissing("digest"))?;
    let range = range(&registry, &caller, &name, id, request.headers()).await?;
    let body = body::upload(request)?;
    let committed = registry
        .finish_upload(&caller, &name, id, digest, range, body)
        .await
        .map_err(|error| Error::in_upload(error, &name))?;
    Ok(stored(&name, &committed.digest))
}

pub(super) async fn status(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In { name, item: id }: In<UploadId>,
) -> Result<Response, Error> {
    let status = registry.upload_status(&caller, &name, id).await?;
    Ok((StatusCode::NO_CONTENT, progress(&name, &status)).into_response())
}

pub(super) async fn cancel(
    State(registry): State<Registry>,
    Extension(caller): Extension<Caller>,
    In { name, item: id }: In<UploadId>,
) -> Result<StatusCode, Error> {
    registry.cancel_upload(&caller, &name, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Start {
    fn read(parameters: &Parameters) -> Result<Self, Error> {
        if let Some(digest) = parameters.digest("mount")? {
            let from = parameters.first("from").filter(|from| !from.is_empty());
            let from = from.map(|from| from.parse().map_or(From::Nowhere, From::Repository));
            return Ok(Self::Mount { digest, from });
        }
        if let Some(digest) = parameters.digest("digest")? {
            return Ok(Self::Whole(digest));
        }
        let algorithm = parameters
            .first("digest-algorithm")
            .map(str::parse)
            .transpose();
        Ok(Self::Upload(algorithm.map_err(Error::DigestInvalid)?))
    }
}

async fn mounted(
    registry: &Registry,
    caller: &Caller,
    name: &RepositoryName,
    digest: Digest,
    from: Option<From>,
) -> Result<bool, Error> {
    let from = match &from {
        Some(From::Nowhere) => return Ok(false),
        Some(From::Repository(from)) => Some(from),
        None => None,
    };
    let outcome = registry.mount(caller, name, digest, from).await?;
    Ok(outcome == MountOutcome::Mounted)
}

/// Where the chunk belongs. A `Content-Range` that cannot be read fits nowhere, which is said as of one
/// out of order, so that the client finds its way back from there.
async fn range(
    registry: &Registry,
    caller: &Caller,
    name: &RepositoryName,
    id: UploadId,
    headers: &HeaderMap,
) -> Result<Option<ContentRange>, Error> {
    let Some(header) = headers.get(CONTENT_RANGE) else {
        return Ok(None);
    };
    if let Some(range) = header.to_str().ok().and_then(|text| text.parse().ok()) {
        return Ok(Some(range));
    }
    let UploadStatus { id, received } = registry.upload_status(caller, name, id).await?;
    Err(Error::in_upload(
        Refusal::RangeOutOfOrder { id, received },
        name,
    ))
}

/// Where the upload goes on, and from where.
fn progress(name: &RepositoryName, status: &UploadStatus) -> [(HeaderName, HeaderValue); 3] {
    [
        (LOCATION, header::upload_location(name, &status.id)),
        (RANGE, header::upload_range(status.received)),
        (header::UPLOAD_UUID, header::value(status.id)),
    ]
}

/// The blob is there.
fn stored(name: &RepositoryName, digest: &Digest) -> Response {
    let place = [
        (LOCATION, header::blob_location(name, digest)),
        (header::CONTENT_DIGEST, header::value(digest)),
    ];
    (StatusCode::CREATED, place).into_response()
}
