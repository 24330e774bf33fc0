//! Every route of the distribution API. Names are one segment here: [`super::FoldNames`] made them so.

use super::{
    Error, base, blobs, catalog, finish, linger, manifests, referrers, search, tags, uploads,
};
use crate::layer;
use crate::token;
use crate::wire::App;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

/// `/v2`, the token service included, and the two paths of `/v1` that searching clients ask.
pub(crate) fn routes(app: App) -> Router<App> {
    Router::new()
        .route("/v2", get(base::get))
        .route("/v2/", get(base::get))
        .route("/v2/_catalog", get(catalog::list))
        .route("/v2/{name}/tags/list", get(tags::list))
        .route("/v2/{name}/referrers/{digest}", get(referrers::list))
        .route(
            "/v2/{name}/manifests/{reference}",
            get(manifests::get)
                .head(manifests::head)
                .put(manifests::put)
                .delete(manifests::delete),
        )
        .route(
            "/v2/{name}/blobs/{digest}",
            get(blobs::get).head(blobs::head).delete(blobs::delete),
        )
        .route("/v2/{name}/blobs/uploads", post(uploads::start))
        .route("/v2/{name}/blobs/uploads/", post(uploads::start))
        .route(
            "/v2/{name}/blobs/uploads/{id}",
            get(uploads::status)
                .patch(uploads::append)
                .put(uploads::finish)
                .delete(uploads::cancel),
        )
        .route("/v1/_ping", get(search::ping))
        .route("/v1/search", get(search::search))
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), layer::auth::authenticate))
        // Outside the check of credentials, which it makes itself and answers in its own way.
        .merge(token::routes())
        .merge(token::published())
        // Around all that may answer without having read the body.
        .layer(from_fn_with_state(app.clone(), linger::linger))
        // Inside `finish`, so that a panic is answered and logged like every other failure.
        .layer(CatchPanicLayer::custom(panicked))
        // Outermost, so that it sees every answer, a refused password's included.
        .layer(from_fn_with_state(app, finish::finish))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Error::Panicked.into_response()
}

async fn no_such_endpoint() -> Error {
    Error::NoSuchEndpoint
}

async fn method_not_allowed() -> Error {
    Error::MethodNotAllowed
}
