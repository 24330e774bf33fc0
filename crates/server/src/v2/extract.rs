//! What a path and a query hold, read once into the types of the specification.
//!
//! Past these extractors nothing is checked again. Each refusal has the code of what was wrong.

use super::Error;
use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use portolan_oci::{Digest, Reference, RepositoryName, UploadId};
use portolan_registry::Error as Refusal;

/// The repository of the path.
#[derive(Debug)]
pub(super) struct InRepository(pub(super) RepositoryName);

/// The repository of the path and what in it is meant.
#[derive(Debug)]
pub(super) struct In<T> {
    /// The repository.
    pub(super) name: RepositoryName,
    /// A [`Reference`], a [`Digest`] or an [`UploadId`].
    pub(super) item: T,
}

/// The last segment of a path.
pub(super) trait Item: Sized {
    /// Its name in the route.
    const PARAMETER: &'static str;
    /// Reads it.
    fn read(segment: &str) -> Result<Self, Error>;
}

impl Item for Reference {
    const PARAMETER: &'static str = "reference";

    fn read(segment: &str) -> Result<Self, Error> {
        segment.parse().map_err(Error::ReferenceInvalid)
    }
}

impl Item for Digest {
    const PARAMETER: &'static str = "digest";

    fn read(segment: &str) -> Result<Self, Error> {
        segment.parse().map_err(Error::DigestInvalid)
    }
}

impl Item for UploadId {
    const PARAMETER: &'static str = "id";

    fn read(segment: &str) -> Result<Self, Error> {
        // What cannot be an upload's id is the id of no upload.
        segment
            .parse()
            .map_err(|_| Error::Registry(Refusal::UploadUnknown))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InRepository {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        name(&path(parts, state).await?).map(Self)
    }
}

impl<S: Send + Sync, T: Item> FromRequestParts<S> for In<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = path(parts, state).await?;
        Ok(Self {
            name: name(&path)?,
            item: T::read(segment(&path, T::PARAMETER)?)?,
        })
    }
}

/// The route's parameters, decoded. What is no UTF-8 is no path of this API.
async fn path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Error> {
    RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| Error::NoSuchEndpoint)
}

fn segment<'a>(path: &'a RawPathParams, parameter: &str) -> Result<&'a str, Error> {
    let found = path.iter().find(|(name, _)| *name == parameter);
    found.map(|(_, value)| value).ok_or(Error::NoSuchEndpoint)
}

fn name(path: &RawPathParams) -> Result<RepositoryName, Error> {
    segment(path, "name")?.parse().map_err(Error::NameInvalid)
}

/// The query, as often as its parameters are repeated. Unknown ones are left alone: containerd adds `ns`.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::of(&parts.uri)
    }
}

impl Parameters {
    /// The query of an address.
    pub(super) fn of(uri: &axum::http::Uri) -> Result<Self, Error> {
        let query = Query::try_from_uri(uri).map_err(|_| Error::NoSuchEndpoint)?;
        Ok(Self(query.0))
    }

    /// The first value of a parameter.
    pub(super) fn first(&self, parameter: &str) -> Option<&str> {
        self.all(parameter).next()
    }

    /// Every value of a parameter.
    pub(super) fn all(&self, parameter: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(name, _)| name == parameter)
            .map(|(_, value)| value.as_str())
    }

    /// A digest that need not be there.
    pub(super) fn digest(&self, parameter: &str) -> Result<Option<Digest>, Error> {
        self.first(parameter)
            .map(|text| text.parse().map_err(Error::DigestInvalid))
            .transpose()
    }
}
