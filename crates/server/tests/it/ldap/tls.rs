//! Nothing is said to a directory that has not shown that it is the one.

use super::stage::{at, directory, login, over, subject};
use crate::app::TestApp;
use portolan_testkit::slapd::Slapd;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// Of nobody who signs anything here; it is of the name `elsewhere.example`.
const STRANGER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/stranger.pem");

async fn logs_in(app: &TestApp) {
    assert_eq!(subject(login(app, "paul", "paul's secret").await), "paul");
}

/// It is not asked, and nothing that it could read goes there.
async fn is_not_asked(app: &TestApp, directory: &Slapd) {
    let before = directory.log().matches("BIND").count();
    login(app, "paul", "paul's secret")
        .await
        .refused(503, "UNAVAILABLE");
    assert_eq!(directory.log().matches("BIND").count(), before);
}

#[tokio::test]
async fn a_directory_is_asked_over_tls_that_its_own_authority_vouches_for_and_no_other() {
    let directory = directory();
    directory.person("paul", "paul's secret");
    let at_once = over(&directory);
    let by_start_tls = at(&[&directory.url()]).with("LDAP__START_TLS", "true");
    for options in [at_once, by_start_tls] {
        logs_in(&options.clone().start().await).await;
        let strangers = options.clone().with("LDAP__CA_FILE", STRANGER);
        let app = strangers.start().await;
        is_not_asked(&app, &directory).await;
        assert!(app.log().contains("UnknownIssuer"), "{}", app.log());
        // The system's know nothing of it either.
        is_not_asked(&options.with("LDAP__CA_FILE", "").start().await, &directory).await;
    }
    let said = directory.log();
    assert!(
        said.contains("STARTTLS") && said.contains("TLS established"),
        "{said}"
    );
}

#[tokio::test]
async fn a_certificate_that_is_of_another_name_is_anothers() {
    let directory = Slapd::start(
        include_str!("../tls/stranger.pem"),
        include_str!("../tls/stranger.key"),
    );
    directory.person("paul", "paul's secret");
    let app = over(&directory)
        .with("LDAP__CA_FILE", STRANGER)
        .start()
        .await;
    is_not_asked(&app, &directory).await;
    assert!(
        app.log().contains("certificate not valid for name"),
        "{}",
        app.log()
    );
}

/// As somebody on the way answers who wants passwords in the clear.
#[tokio::test]
async fn where_start_tls_is_refused_nothing_is_said_at_all() {
    let strips = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!(
        "ldap://localhost:{}",
        strips.local_addr().expect("it is bound").port()
    );
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = strips.accept().expect("somebody comes");
        let mut request = [0; 256];
        let length = stream.read(&mut request).expect("he asks");
        // An extended response to message 1: protocol error, no name, no text (RFC 4511 section 4.12).
        let refusal = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00";
        stream.write_all(refusal).expect("he listens");
        let mut heard = request[..length].to_vec();
        stream.read_to_end(&mut heard).expect("he goes");
        heard
    });
    let app = at(&[&url]).with("LDAP__START_TLS", "true").start().await;
    login(&app, "paul", "paul's secret")
        .await
        .refused(503, "UNAVAILABLE");
    let heard = heard.join().expect("it listened");
    let heard = String::from_utf8_lossy(&heard);
    // The name of StartTLS, and neither the reader nor his password.
    assert!(heard.contains("1.3.6.1.4.1.1466.20037"), "{heard}");
    assert!(
        !heard.contains("reader") && !heard.contains("paul"),
        "{heard}"
    );
}

#[tokio::test]
async fn passwords_go_without_tls_only_where_somebody_wants_it() {
    let directory = directory();
    directory.person("paul", "paul's secret");
    let options = at(&[&directory.url()]);
    let app = options
        .clone()
        .with("LDAP__ALLOW_PLAINTEXT", "true")
        .start()
        .await;
    logs_in(&app).await;
    let output = app
        .command()
        .env("PORTOLAN_LDAP__ALLOW_PLAINTEXT", "false")
        .arg("check-config")
        .output()
        .expect("the binary runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("ldap.urls") && said.contains("ldap.start_tls"),
        "{said}"
    );
}
