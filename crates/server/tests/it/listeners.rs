//! The two listeners: what is on which, TLS, and the bounds.

use crate::app::{Store, TestApp, repository};
use crate::by_hand::{ByHand, at_work};
use portolan_testkit::children::wait_for;
use portolan_testkit::client::{Client, raw};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const AUTHORITY: &str = include_str!("tls/ca.pem");
const FIRST: (&str, &str) = (include_str!("tls/first.pem"), include_str!("tls/first.key"));
const SECOND: (&str, &str) = (
    include_str!("tls/second.pem"),
    include_str!("tls/second.key"),
);

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_health_are_on_the_private_listener_only() {
    let app = TestApp::shared().await;
    let private = Client::new(app.private());
    for path in ["/metrics", "/livez", "/readyz"] {
        private.get(path).await.expect(200);
        app.admin().get(path).await.expect(404);
    }
    private.get("/v2/").await.expect(404);
    private.get("/v2/auth").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_name_of_its_request() {
    let app = TestApp::shared().await;
    let client = app.anonymous();
    let made = client
        .get("/v2/")
        .await
        .expect(401)
        .header("x-request-id")
        .to_owned();
    assert_ne!(
        made,
        client.get("/").await.expect(404).header("x-request-id")
    );
    let ask = |id: &'static str| {
        client
            .request(http::Method::GET, "/v2/")
            .header("x-request-id", id)
            .send()
    };
    assert_eq!(ask("abc-1").await.header("x-request-id"), "abc-1");
    assert_ne!(ask("<script>").await.header("x-request-id"), "<script>");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_proxy_says_where_a_client_came_from() {
    let forwarded = |client: &Client| {
        client
            .request(http::Method::GET, "/v2/")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "registry.example.com")
            .send()
    };
    let stranger = TestApp::shared().await;
    let answer = forwarded(&stranger.anonymous()).await;
    let realm = format!("Bearer realm=\"http://{}/v2/auth\"", stranger.address());
    assert!(
        answer.header("www-authenticate").starts_with(&realm),
        "{answer:?}"
    );

    let options = TestApp::options(Store::Directory);
    let app = options
        .with("HTTP__TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#)
        .start()
        .await;
    let answer = forwarded(&app.anonymous()).await;
    let realm = "Bearer realm=\"https://registry.example.com/v2/auth\"";
    assert!(
        answer.header("www-authenticate").starts_with(realm),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_one_is_refused() {
    let app = TestApp::shared().await;
    for host in ["a\"b", "a b", "user@host", "host/path"] {
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(app.address(), request.as_bytes(), Duration::from_secs(5))
            .await
            .unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400"), "{host}: {answer}");
        assert!(!answer.contains("www-authenticate"), "{host}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_bound_are_told_to_come_back() {
    let options = TestApp::options(Store::Directory);
    let app = options.with("HTTP__BOUNDS__REQUESTS", 1).start().await;
    let name = repository("bounds");
    let begun = app
        .admin()
        .post(&format!("/v2/{name}/blobs/uploads/"))
        .await
        .expect(202);
    let mut slow = ByHand::patch(app.address(), begun.location(), 10);
    slow.send(b"hello");
    at_work(&app).await;
    let refused = app
        .anonymous()
        .get("/v2/")
        .await
        .refused(429, "TOOMANYREQUESTS");
    assert!((1..=3).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    Client::new(app.private()).get("/readyz").await.expect(200);
    slow.send(b"world");
    let answer = slow.answer();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    app.anonymous().get("/v2/").await.expect(401);
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_are_closed() {
    let options = TestApp::options(Store::Directory);
    let app = options.with("HTTP__BOUNDS__CONNECTIONS", 2).start().await;
    let _held = [connect(app.address()), connect(app.address())];
    wait_for("a third connection to be closed", || {
        let mut third = connect(app.address());
        matches!(third.read(&mut [0]), Ok(0) | Err(_)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_head_is_cut_off() {
    let options = TestApp::options(Store::Directory);
    let app = options
        .with("HTTP__BOUNDS__HEAD", "200ms")
        .with("HTTP__BOUNDS__IDLE", "300ms")
        .start()
        .await;
    for head in [
        "",
        "GET /v2/ HT",
        "GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Slow: ",
    ] {
        let mut stream = connect(app.address());
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(!answer.starts_with("HTTP/1.1 2"), "{head}: {answer}");
    }
    // A connection that has served one request is let go when it stays quiet.
    let mut stream = connect(app.address());
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let app = TestApp::shared().await;
    let long = "x".repeat(70_000);
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Long: {long}\r\n\r\n");
    let answer = raw(app.address(), request.as_bytes(), Duration::from_secs(5))
        .await
        .unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    place(&cert, &key, FIRST);
    let app = TestApp::options(Store::Directory)
        .with("HTTP__TLS__CERT", cert.display())
        .with("HTTP__TLS__KEY", key.display())
        .with("HTTP__TLS__CHECK_EVERY", "20ms")
        .start()
        .await;
    let (served, answer) = ask_by_tls(app.address(), &[b"http/1.1"]);
    assert_eq!(served, certificate(FIRST.0));
    let realm = format!(
        "www-authenticate: Bearer realm=\"https://localhost:{}",
        app.address().port()
    );
    assert!(answer.contains(&realm), "{answer}");

    // A pair that does not fit together is not served.
    fs::write(&key, SECOND.1).unwrap();
    wait_for("the refusal", || {
        app.log()
            .contains("keeping the old certificate")
            .then_some(())
    });
    assert_eq!(
        ask_by_tls(app.address(), &[b"http/1.1"]).0,
        certificate(FIRST.0)
    );

    place(&cert, &key, SECOND);
    wait_for("the new certificate", || {
        let (served, _) = ask_by_tls(app.address(), &[b"http/1.1"]);
        (served == certificate(SECOND.0)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_offers_http_2() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    place(&cert, &key, FIRST);
    let app = TestApp::options(Store::Directory)
        .with("HTTP__TLS__CERT", cert.display())
        .with("HTTP__TLS__KEY", key.display())
        .start()
        .await;
    let mut tls = tls_client(&[b"h2", b"http/1.1"]);
    let mut stream = connect(app.address());
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    assert_eq!(tls.alpn_protocol(), Some(&b"h2"[..]));
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("not zero");
    stream
}

fn place(cert: &Path, key: &Path, (cert_pem, key_pem): (&str, &str)) {
    fs::write(cert, cert_pem).expect("a file of ours");
    fs::write(key, key_pem).expect("a file of ours");
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
}

fn tls_client(protocols: &[&[u8]]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(AUTHORITY)).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    ClientConnection::new(
        Arc::new(config),
        ServerName::try_from("localhost").expect("a name"),
    )
    .expect("a client")
}

/// Asks for `/v2/` and returns the certificate and the answer.
fn ask_by_tls(address: SocketAddr, protocols: &[&[u8]]) -> (CertificateDer<'static>, String) {
    let mut stream = rustls::StreamOwned::new(tls_client(protocols), connect(address));
    let request = format!(
        "GET /v2/ HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
        address.port()
    );
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let served = stream.conn.peer_certificates().expect("a handshake")[0]
        .clone()
        .into_owned();
    (served, answer)
}
