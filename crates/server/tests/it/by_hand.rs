//! Requests that stop in the middle, which no client library sends.

use crate::app::{self, TestApp};
use portolan_testkit::children::eventually;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A request that is written by hand, so that it can stop in the middle.
pub(crate) struct ByHand(TcpStream);

impl ByHand {
    /// Begins a PATCH of `length` bytes.
    pub(crate) fn patch(address: SocketAddr, target: &str, length: usize) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let login = base64(&format!("{}:{}", app::ADMIN, app::PASSWORD));
        let head = format!(
            "PATCH {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {login}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the server reads");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a time-out that is not zero");
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server reads");
    }

    /// Everything that comes until the server closes.
    pub(crate) fn answer(mut self) -> String {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

fn base64(text: &str) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

/// Until a request that was begun by hand is at work.
pub(crate) async fn at_work(app: &TestApp) {
    eventually("the request is at work", || async {
        app.metric("registry_http_in_flight_requests").await >= 1.0
    })
    .await;
}
