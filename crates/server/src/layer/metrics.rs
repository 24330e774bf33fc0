//! Requests on `/metrics`, under the names that dashboards of the distribution project query.
//!
//! Labels are enums: a handler, a method, a status. Names of repositories are never labels, there are too many.
//! <https://github.com/distribution/distribution/blob/main/metrics/prometheus.go>

use super::body_end::on_body_end;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt::{self, Write as _};
use std::time::Instant;

/// Seconds; distribution's own buckets, with finer ones below for a registry that answers in less than a millisecond.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Bytes: 1 KiB to 4 GiB by eights, which tells a manifest from a config from a layer.
const BYTES: [f64; 8] = [
    1024.0,
    8192.0,
    65536.0,
    524_288.0,
    4_194_304.0,
    33_554_432.0,
    268_435_456.0,
    4_294_967_296.0,
];

/// Part of the API, as the distribution project names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Handler {
    Base,
    Tags,
    Manifest,
    Blob,
    BlobUpload,
    BlobUploadChunk,
    Catalog,
    Referrers,
    Search,
    Token,
    Other,
}

impl Handler {
    /// By the route, which is bounded, unlike paths.
    fn of(route: Option<&MatchedPath>) -> Self {
        let Some(route) = route.map(MatchedPath::as_str) else {
            return Self::Other;
        };
        match route {
            "/v2" | "/v2/" => Self::Base,
            "/v2/_catalog" => Self::Catalog,
            "/v2/auth" => Self::Token,
            _ if route.contains("/tags/") => Self::Tags,
            _ if route.contains("/manifests/") => Self::Manifest,
            _ if route.ends_with("/blobs/uploads/") || route.ends_with("/blobs/uploads") => {
                Self::BlobUpload
            }
            _ if route.contains("/blobs/uploads/") => Self::BlobUploadChunk,
            _ if route.contains("/blobs/") => Self::Blob,
            _ if route.contains("/referrers/") => Self::Referrers,
            _ if route.starts_with("/v1/") => Self::Search,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Tags => "tags",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::BlobUpload => "blob_upload",
            Self::BlobUploadChunk => "blob_upload_chunk",
            Self::Catalog => "catalog",
            Self::Referrers => "referrers",
            Self::Search => "search",
            Self::Token => "token",
            Self::Other => "other",
        }
    }
}

impl EncodeLabelValue for Handler {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

/// A method; invented ones are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Verb(&'static str);

impl Verb {
    fn of(method: &Method) -> Self {
        Self(match *method {
            Method::GET => "get",
            Method::HEAD => "head",
            Method::POST => "post",
            Method::PUT => "put",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            Method::OPTIONS => "options",
            _ => "other",
        })
    }
}

impl EncodeLabelValue for Verb {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByHandler {
    handler: Handler,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMethod {
    handler: Handler,
    method: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    handler: Handler,
    method: Verb,
    code: u16,
}

/// Metrics of the public listener's requests.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<ByCode, Counter>,
    duration: Family<ByMethod, Histogram, fn() -> Histogram>,
    in_flight: Family<ByHandler, Gauge>,
    request_size: Family<ByHandler, Histogram, fn() -> Histogram>,
    response_size: Family<ByHandler, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Makes the metrics and puts them on the page.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let bytes: fn() -> Histogram = || Histogram::new(BYTES);
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(seconds),
            in_flight: Family::default(),
            request_size: Family::new_with_constructor(bytes),
            response_size: Family::new_with_constructor(bytes),
        };
        let http = registry.sub_registry_with_prefix("registry_http");
        http.register(
            "requests",
            "Requests that were answered",
            metrics.requests.clone(),
        );
        http.register(
            "request_duration_seconds",
            "Time from a request's head to the end of its answer",
            metrics.duration.clone(),
        );
        http.register(
            "in_flight_requests",
            "Requests at work",
            metrics.in_flight.clone(),
        );
        http.register(
            "request_size_bytes",
            "Announced length of request bodies",
            metrics.request_size.clone(),
        );
        http.register(
            "response_size_bytes",
            "Bytes of response bodies that were sent",
            metrics.response_size.clone(),
        );
        metrics
    }
}

/// Counts the request; a request ends with its answer's body.
pub(crate) async fn count(
    State(metrics): State<Metrics>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let handler = Handler::of(route.as_ref());
    let method = Verb::of(request.method());
    let by_handler = ByHandler { handler };
    if let Some(length) = announced_length(&request) {
        metrics
            .request_size
            .get_or_create(&by_handler)
            .observe(length);
    }
    let in_flight = InFlight::enter(metrics.in_flight.get_or_create_owned(&by_handler));
    let response = next.run(request).await;
    let code = response.status().as_u16();
    on_body_end(response, move |end| {
        drop(in_flight);
        let by_method = ByMethod { handler, method };
        metrics
            .requests
            .get_or_create(&ByCode {
                handler,
                method,
                code,
            })
            .inc();
        metrics
            .duration
            .get_or_create(&by_method)
            .observe(started.elapsed().as_secs_f64());
        #[expect(
            clippy::cast_precision_loss,
            reason = "a histogram's sum need not be exact to the byte"
        )]
        metrics
            .response_size
            .get_or_create(&by_handler)
            .observe(end.bytes as f64);
    })
}

fn announced_length(request: &Request) -> Option<f64> {
    request
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Counts down when dropped: also when a client goes away before there is an answer.
struct InFlight(Gauge);

impl InFlight {
    fn enter(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn requests_are_counted_under_the_names_of_distribution() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let router = axum::Router::new()
            .route("/v2/{name}/manifests/{reference}", get(|| async { "body" }))
            .layer(axum::middleware::from_fn_with_state(metrics, count));
        let request = Request::builder()
            .uri("/v2/a%2Fb/manifests/x")
            .body(Body::empty())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        for line in [
            "registry_http_requests_total{handler=\"manifest\",method=\"get\",code=\"200\"} 1",
            "registry_http_request_duration_seconds_count{handler=\"manifest\",method=\"get\"} 1",
            "registry_http_in_flight_requests{handler=\"manifest\"} 0",
            "registry_http_response_size_bytes_sum{handler=\"manifest\"} 4.0",
        ] {
            assert!(page.contains(line), "{line} in\n{page}");
        }
    }
}
