//! Every route and every layer of the public listener, on one page.

use crate::config::{Config, Role};
use crate::layer::admission::{self, Admission};
use crate::layer::log;
use crate::layer::metrics::{self, Metrics};
use crate::layer::origin::{self, Origins};
use crate::layer::request_id::{self, RequestIds};
use crate::sso;
use crate::v2;
use crate::web;
use crate::wire::App;
use axum::http::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use hyper::body::Incoming;
use std::convert::Infallible;
use tower::{Layer as _, Service, ServiceBuilder};

/// What the layers need beside the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    /// Names requests.
    pub(crate) ids: RequestIds,
    /// Counts them.
    pub(crate) metrics: Metrics,
}

/// The public listener's service.
pub(crate) fn service(
    app: App,
    config: &Config,
    around: Around,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let mut routes = axum::Router::new();
    if config.has(Role::Registry) {
        // `/v2` and the token service in it, with layers of its own: what answers have in common, and who asks.
        routes = routes.merge(v2::routes(app.clone()));
    }
    if config.has(Role::Registry) || config.has(Role::Api) {
        // Browsers that log in. What they are given is good at every process.
        routes = routes.merge(sso::routes());
    }
    if config.has(Role::Api) {
        routes = routes.merge(web::routes());
    }
    let admission = Admission::new(config.http.bounds.requests);
    let layers = ServiceBuilder::new()
        // Around everything: docker takes an answer without the version for that of something else than a registry.
        .layer(from_fn(v2::announce))
        // Before all others, so that every answer has a name, whoever makes it.
        .layer(from_fn_with_state(around.ids, request_id::name))
        // Before whatever speaks of the client: the log, challenges, limits.
        .layer(from_fn_with_state(Origins::new(&config.http), origin::find))
        // Outside of what refuses, so that refusals are seen too.
        .layer(from_fn_with_state(config.log.requests, log::write))
        .layer(from_fn_with_state(around.metrics, metrics::count))
        // Last, before any work is done: beyond the bound nothing is even authenticated.
        .layer(from_fn_with_state(admission, admission::admit));
    // Names with slashes become one segment before the router looks at the path, hence around it.
    v2::FoldNames.layer(routes.layer(layers).with_state(app))
}
