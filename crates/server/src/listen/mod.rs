//! The listeners: sockets, TLS, HTTP/1.1 and HTTP/2, and bounds against clients that hold on to things.
//!
//! | what a client may do | what ends it |
//! |---|---|
//! | connect without end | `http.bounds.connections`: closed at once |
//! | connect and say nothing, or a header a minute | `http.bounds.head` for the first request, `http.bounds.idle` for the next |
//! | send a huge head | `http.bounds.head_size`: 431 |
//! | stop in a body | `http.bounds.body_pause`: the handlers time the frames of what they read |
//! | stop reading an answer | TCP's own time-out of unacknowledged data, set to `http.bounds.body_pause` |
//! | open and reset HTTP/2 streams as fast as it can | the bounds below: GOAWAY |
//! | vanish | TCP keep-alive; HTTP/2 pings |

mod accept;
mod tls;

use crate::config::{Bounds, Http};
use accept::BoundedAcceptor;
use axum::ServiceExt;
use axum::http::Request;
use axum::response::Response;
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper::body::Incoming;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::Service;

pub(crate) use tls::{Pair, watch as watch_tls};

/// Connections that may wait to be accepted. The system's own bound (`somaxconn`, 4096) is usually the same; the standard
/// library's 128 overflows when a few hundred nodes pull at once, and each overflow costs a client a second.
const BACKLOG: i32 = 4096;
/// HTTP/2 streams that a client has reset and that are still to be looked at (CVE-2023-44487). h2's own number.
const PENDING_RESETS: usize = 20;
/// HTTP/2 streams that we had to reset for a client's errors, before we stop talking to it. h2's own number.
const LOCAL_ERROR_RESETS: usize = 1024;
/// How often a quiet HTTP/2 connection is asked whether it is still there, and how long it may take to say so: within a
/// minute, which is when middle boxes begin to forget connections.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Listens on `address`.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// A listener and the way to stop it.
#[derive(Debug, Clone)]
pub(crate) struct Stop(Handle<SocketAddr>);

impl Stop {
    /// For one listener.
    pub(crate) fn new() -> Self {
        Self(Handle::new())
    }

    /// Closes the listener; connections end with the request they are at, or after `within`.
    pub(crate) fn gracefully(&self, within: Duration) {
        self.0.graceful_shutdown(Some(within));
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.0.connection_count()
    }
}

/// Serves the public listener until `stop`.
pub(crate) async fn serve_public<S>(
    listener: TcpListener,
    http: &Http,
    tls: Option<RustlsConfig>,
    service: S,
    stop: Stop,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let acceptor = BoundedAcceptor::new(http.bounds.connections, http.bounds.body_pause);
    match tls {
        None => serve_with(listener, &http.bounds, acceptor, service, stop).await,
        Some(config) => {
            let acceptor = RustlsAcceptor::new(config)
                .handshake_timeout(http.bounds.head)
                .acceptor(acceptor);
            serve_with(listener, &http.bounds, acceptor, service, stop).await
        }
    }
}

/// Serves the private listener until `stop`: few clients, all ours.
pub(crate) async fn serve_private<S>(
    listener: TcpListener,
    service: S,
    stop: Stop,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    /// Probes and scrapers come one at a time; a hundred is a mistake somewhere.
    const CONNECTIONS: u32 = 100;
    let bounds = Bounds {
        connections: CONNECTIONS,
        ..Bounds::default()
    };
    let acceptor = BoundedAcceptor::new(bounds.connections, bounds.body_pause);
    serve_with(listener, &bounds, acceptor, service, stop).await
}

async fn serve_with<S, A>(
    listener: TcpListener,
    bounds: &Bounds,
    acceptor: A,
    service: S,
    stop: Stop,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    A: Accept<TcpStream, WithPeer<S>> + Clone + Send + Sync + 'static,
    A::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    A::Service: axum_server::service::SendService<Request<Incoming>> + Send,
    A::Future: Send,
{
    // Listening again on a socket that listens changes its backlog.
    rustix::net::listen(&listener, BACKLOG)?;
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(acceptor)
        .handle(stop.0)
        .first_request_timeout(bounds.head)
        .accept_error_handler(|peer, error| {
            tracing::debug!(?peer, %error, "a connection was not accepted: {error}");
        });
    configure(server.http_builder(), bounds);
    let service = ServiceExt::<Request<Incoming>>::into_make_service_with_connect_info(service);
    server.serve(service).await
}

type WithPeer<S> = axum::middleware::AddExtension<S, axum::extract::ConnectInfo<SocketAddr>>;

fn configure(builder: &mut Builder<TokioExecutor>, bounds: &Bounds) {
    let head_size = bounds.head_size.length();
    builder
        .http1()
        .header_read_timeout(bounds.idle)
        .max_buf_size(head_size);
    builder
        .http2()
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(u32::try_from(head_size).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_ERROR_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
}
