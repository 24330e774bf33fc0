//! `[http]`: where requests come in, and how much of them is let in.

use super::report::Report;
use super::setting::settings;
use super::urls::PublicUrl;
use super::values::ByteSize;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// Where requests come in.
    pub(crate) struct Http {
        /// Address of the public listener: `/v2`, the token endpoint and the web API. It speaks HTTP/1.1 and HTTP/2,
        /// with or without TLS.
        pub(crate) listen: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 5000)),
        /// Address of the private listener: `/metrics`, `/livez`, `/readyz`, `/doctor`. It asks for no credentials, so it must not
        /// be reachable from outside; in Kubernetes, where the kubelet asks the pod's address, `0.0.0.0:5001`.
        pub(crate) private_listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 5001)),
        /// The address clients use, such as `https://registry.example.com`. Where it is not set, each answer uses the scheme and host
        /// of its request, which suits a registry with several names.
        pub(crate) public_url: Option<PublicUrl> = None,
        /// Proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are believed. From anybody else these headers
        /// are ignored, so that nobody can choose the address that logs and limits see, or the realm that clients send passwords to.
        pub(crate) trusted_proxies: Vec<IpNet> = Vec::new(),
        /// TLS of the public listener.
        pub(crate) tls: Tls = Tls::default(),
        /// What one process takes at a time.
        pub(crate) bounds: Bounds = Bounds::default(),
        /// How a process ends.
        pub(crate) drain: Drain = Drain::default(),
    }
}

settings! {
    /// TLS of the public listener; off unless both files are named.
    pub(crate) struct Tls {
        /// File with the certificate and its chain, PEM. Read again when it changes.
        pub(crate) cert: Option<PathBuf> = None,
        /// File with the private key, PEM. Read again when it changes.
        pub(crate) key: Option<PathBuf> = None,
        /// How often the two files are looked at. A certificate that is replaced is served at most this much later; a pair that does not fit
        /// together is refused and the old one stays.
        pub(crate) check_every: Duration = Duration::from_secs(10),
    }
}

settings! {
    /// What one process takes at a time.
    pub(crate) struct Bounds {
        /// Most open connections. Further ones are closed at once, before anything is read from them.
        pub(crate) connections: u32 = 10_000,
        /// Most requests at work, bodies included. Further ones are answered 429 with `Retry-After`. A streamed transfer holds some
        /// 256 KiB, so 1,024 of them stay near 256 MiB.
        pub(crate) requests: u32 = 1_024,
        /// Time for the head of a connection's first request; what has not come by then will hardly come.
        pub(crate) head: Duration = Duration::from_secs(15),
        /// Longest pause between two requests of a connection. Longer than the 60 s after which common load balancers drop idle connections,
        /// so that we never close one that they are about to use.
        pub(crate) idle: Duration = Duration::from_secs(75),
        /// Longest pause inside a body, in either direction. A client that stalls longer is cut off; an upload keeps its whole parts.
        pub(crate) body_pause: Duration = Duration::from_mins(1),
        /// Largest head of a request. Bearer tokens for many repositories run to several KiB; 64 KiB leaves ample room.
        pub(crate) head_size: ByteSize = ByteSize::kib(64),
        /// Most concurrent requests of one HTTP/2 connection.
        pub(crate) streams: u32 = 128,
    }
}

settings! {
    /// How a process ends after SIGTERM or SIGINT: not ready, wait, stop accepting, finish what is at work, exit 0. A second signal ends it at once.
    pub(crate) struct Drain {
        /// Time between `/readyz` answering 503 and the listener closing, for load balancers to notice.
        pub(crate) delay: Duration = Duration::from_secs(5),
        /// Time for the requests at work to finish. What is left then is cut off.
        pub(crate) timeout: Duration = Duration::from_mins(1),
    }
}

/// hyper refuses a smaller buffer than this.
const SMALLEST_HEAD: ByteSize = ByteSize::kib(8);

impl Http {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        match (&self.tls.cert, &self.tls.key) {
            (Some(_), None) => {
                report.about("http.tls.key", "is missing, but `http.tls.cert` is set");
            }
            (None, Some(_)) => {
                report.about("http.tls.cert", "is missing, but `http.tls.key` is set");
            }
            _ => {}
        }
        if self.listen == self.private_listen && self.listen.port() != 0 {
            report.about(
                "http.private_listen",
                "is the same address as `http.listen`",
            );
        }
        for (key, zero) in [
            ("http.tls.check_every", self.tls.check_every.is_zero()),
            ("http.bounds.connections", self.bounds.connections == 0),
            ("http.bounds.requests", self.bounds.requests == 0),
            ("http.bounds.head", self.bounds.head.is_zero()),
            ("http.bounds.idle", self.bounds.idle.is_zero()),
            ("http.bounds.body_pause", self.bounds.body_pause.is_zero()),
            ("http.bounds.streams", self.bounds.streams == 0),
        ] {
            if zero {
                report.about(key, "must be more than zero");
            }
        }
        if self.bounds.head_size < SMALLEST_HEAD || self.bounds.head_size > ByteSize::mib(1) {
            report.about(
                "http.bounds.head_size",
                "must lie between `8KiB` and `1MiB`",
            );
        }
    }
}
