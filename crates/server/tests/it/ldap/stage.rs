//! A registry with a directory, and what tests want to know of it.

use crate::app::{Options, Store, TestApp};
use crate::logins::admin;
use portolan_testkit::client::Answer;
use portolan_testkit::slapd::Slapd;
use serde_json::json;
use std::sync::OnceLock;

/// What the directory's certificate is signed by.
pub(super) const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/ca.pem");
const CERTIFICATE: &str = include_str!("../tls/first.pem");
const KEY: &str = include_str!("../tls/first.key");

/// A directory of one's own.
pub(super) fn directory() -> Slapd {
    Slapd::start(CERTIFICATE, KEY)
}

/// The one of this test binary; people are told apart by their names.
pub(super) fn shared() -> &'static Slapd {
    static SHARED: OnceLock<Slapd> = OnceLock::new();
    SHARED.get_or_init(directory)
}

/// Settings for it: everybody gets an account, nothing is remembered.
pub(super) fn over(directory: &Slapd) -> Options {
    at(&[&directory.tls_url()])
}

/// The same for servers at these places.
pub(super) fn at(urls: &[&str]) -> Options {
    TestApp::options(Store::Directory)
        .with("LDAP__URLS", json!(urls))
        .with("LDAP__CA_FILE", AUTHORITY)
        .with("LDAP__BIND_DN", Slapd::READER)
        .with("LDAP__BIND_PASSWORD", Slapd::READER_PASSWORD)
        .with("LDAP__USERS__BASE", Slapd::PEOPLE)
        .with("LDAP__GROUPS__BASE", Slapd::GROUPS)
        .with("LDAP__GROUPS__FILTER", "(member={})")
        .with("LDAP__SIGN_UP", "true")
        .with("LDAP__BOUNDS__REMEMBER", "0s")
        // What is refused is tried again and again here.
        .with("LOGIN__FAILURES_PER_NETWORK", "0")
}

/// A login, whatever comes of it.
pub(super) async fn login(app: &TestApp, name: &str, password: &str) -> Answer {
    let client = app.anonymous().basic(name, password);
    client.get("/v2/auth?service=portolan&account=x").await
}

/// Whose token it gives.
#[track_caller]
pub(super) fn subject(answer: Answer) -> String {
    let answer = answer.expect(200);
    let token = answer.json()["token"].as_str().expect("a token").to_owned();
    let claims = crate::token::claims(&token);
    assert_eq!(claims["via"], "ldap");
    claims["sub"].as_str().expect("a name").to_owned()
}

/// Makes an organization with a team that follows the group of that name.
pub(super) fn team(app: &TestApp, organization: &str, group: &str) {
    admin(app, &["org", "create", organization]);
    let team = format!("{organization}/{group}");
    admin(app, &["team", "create", &team]);
    admin(app, &["team", "add-group", &team, "ldap", group]);
}

/// How many binds the directory has seen of an entry of people.
pub(super) fn binds(directory: &Slapd, name: &str) -> usize {
    let bind = format!("BIND dn=\"uid={name},{}\" method=128", Slapd::PEOPLE);
    directory.log().matches(&bind).count()
}
