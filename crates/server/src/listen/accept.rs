//! What happens to a connection before anything is read from it.

use axum_server::accept::Accept;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Idle connections are asked for a sign of life after this time, by TCP: clients behind a firewall that forgot them
/// would be kept for hours by the system's own two.
const KEEP_ALIVE_AFTER: Duration = Duration::from_mins(1);

/// Counts connections, closes those beyond the bound, and sets the sockets' options.
#[derive(Debug, Clone)]
pub(super) struct BoundedAcceptor {
    free: Arc<Semaphore>,
    /// How long data that we sent may stay unacknowledged, a closed window included.
    stall: Duration,
}

impl BoundedAcceptor {
    pub(super) fn new(connections: u32, stall: Duration) -> Self {
        let bound = usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(bound.min(Semaphore::MAX_PERMITS))),
            stall,
        }
    }

    fn take(&self, stream: TcpStream) -> io::Result<Counted> {
        let permit = Arc::clone(&self.free)
            .try_acquire_owned()
            .map_err(|_| io::Error::other("too many connections"))?;
        // Answers go out in few large writes; waiting to fill a packet only delays them.
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
        rustix::net::sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE_AFTER)?;
        let stall = u32::try_from(self.stall.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(&stream, stall)?;
        Ok(Counted {
            stream,
            _permit: permit,
        })
    }
}

impl<S> Accept<TcpStream, S> for BoundedAcceptor {
    type Stream = Counted;
    type Service = S;
    type Future = Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.take(stream).map(|stream| (stream, service)))
    }
}

/// A connection and its place among those that are allowed.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
