//! The private listener: metrics and health, for machines that look after this one. No credentials are asked for.

use crate::doctor::{self, Report};
use crate::health::Health;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The format that `prometheus-client` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything the private listener answers.
pub(crate) fn routes(
    health: Health,
    database: portolan_pg::Router,
    processes: NonZeroU32,
    page: Registry,
) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(health))
        .route("/doctor", get(look).with_state((database, processes)))
        .route("/metrics", get(metrics).with_state(Arc::new(page)))
}

async fn ready(State(health): State<Health>) -> Response {
    match health.ready().await {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// What this process makes of the database's servers.
async fn look(
    State((database, processes)): State<(portolan_pg::Router, NonZeroU32)>,
) -> Json<Report> {
    Json(doctor::look(&database, processes).await)
}

async fn metrics(State(page): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &page) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics page: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
