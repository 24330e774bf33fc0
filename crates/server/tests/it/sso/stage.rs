//! A registry with a provider, and what tests want to know of it.

use super::browser::Browser;
use super::issuer::TestIssuer;
use super::provider::IdentityProvider;
use crate::app::{Options, Store, TestApp};
use portolan_testkit::client::Client;
use serde_json::{Value, json};

/// The scopes of the real provider.
const SCOPES: &str = r#"["openid", "profile", "email", "groups"]"#;

/// Settings for the real provider, as `corp`.
pub(super) fn corp(provider: &IdentityProvider) -> Options {
    TestApp::options(Store::Directory)
        .with("OIDC__CORP__ISSUER", provider.issuer())
        .with("OIDC__CORP__CLIENT_ID", "registry")
        .with("OIDC__CORP__CLIENT_SECRET", "a secret with % and : in it")
        .with("OIDC__CORP__SCOPES", SCOPES)
        .with("OIDC__CORP__AUDIENCES", r#"["cli"]"#)
        .with("OIDC__CORP__SIGN_UP", "true")
        .with("LOGIN__FAILURES_PER_NETWORK", "0")
}

/// Settings for an issuer of the test's own, as provider `own` and for machines.
pub(super) fn own(issuer: &TestIssuer) -> Options {
    TestApp::options(Store::Directory)
        .with("OIDC__OWN__ISSUER", issuer.url())
        .with("OIDC__OWN__CLIENT_ID", "registry")
        .with("OIDC__OWN__SIGN_UP", "true")
        // What is refused is tried again and again here.
        .with("LOGIN__FAILURES_PER_NETWORK", "0")
        .with("KEYLESS__ISSUERS", json!([issuer.url()]))
}

/// What is said of somebody.
pub(super) fn person(name: &str, groups: &[&str]) -> Value {
    json!({ "preferred_username": name, "email": format!("{name}@example.test"), "email_verified": true,
        "groups": groups })
}

/// Whether these are credentials: a token with them is for whom?
pub(super) async fn account(app: &TestApp, name: &str, password: &str) -> Option<String> {
    let client: Client = app.anonymous().basic(name, password);
    let answer = client.get("/v2/auth?service=portolan&account=x").await;
    match answer.status.as_u16() {
        200 => {
            let token = answer.json()["token"].as_str().expect("a token").to_owned();
            Some(crate::token::claims(&token)["sub"].as_str()?.to_owned())
        }
        401 => None,
        _ => panic!("{answer:?}"),
    }
}

/// Makes an organization with teams, each of which follows the group of `corp` that is called as it is.
pub(super) async fn teams(app: &TestApp, organization: &str, teams: &[&str]) {
    let session = app.database().session().await;
    let sql =
        "WITH made AS (INSERT INTO account (kind, name) VALUES ('organization', $1) RETURNING id)
        INSERT INTO namespace (name, owner_account_id) SELECT $1, id FROM made";
    session.execute(sql, &[&organization]).await.expect(sql);
    for team in teams {
        let sql = "WITH made AS (
                INSERT INTO team (organization_id, role, name)
                SELECT id, 'creator', $2 FROM account WHERE name = $1 RETURNING id
            )
            INSERT INTO team_group (team_id, provider, group_name) SELECT id, 'corp', $2 FROM made";
        session
            .execute(sql, &[&organization, team])
            .await
            .expect(sql);
    }
}

/// The teams that somebody is in.
pub(super) async fn teams_of(app: &TestApp, account: &str) -> Vec<String> {
    let session = app.database().session().await;
    let sql = "SELECT team.name FROM membership JOIN team ON team.id = membership.team_id
        JOIN account ON account.id = membership.account_id WHERE account.name = $1 ORDER BY team.name";
    let rows = session.query(sql, &[&account]).await.expect(sql);
    rows.iter().map(|row| row.get(0)).collect()
}

/// Makes an organization with a robot.
pub(super) async fn robot(app: &TestApp, name: &str) {
    let session = app.database().session().await;
    let (owner, _) = name.split_once('+').expect("a robot's name");
    teams(app, owner, &[]).await;
    let sql = "INSERT INTO account (kind, name, owner_id) SELECT 'robot', $1, id FROM account WHERE name = $2";
    session.execute(sql, &[&name, &owner]).await.expect(sql);
}

/// Runs one statement.
pub(super) async fn execute(app: &TestApp, sql: &str) {
    let session = app.database().session().await;
    session.batch_execute(sql).await.expect("a good statement");
}

/// The audit rows about a target, as `action` in their order.
pub(super) async fn audited(app: &TestApp, target: &str) -> Vec<String> {
    let session = app.database().session().await;
    let sql = "SELECT action FROM audit_log WHERE target = $1 ORDER BY at, id";
    let rows = session.query(sql, &[&target]).await.expect(sql);
    rows.iter().map(|row| row.get(0)).collect()
}

/// A browser of somebody who is called so at the real provider.
pub(super) fn browser(app: &TestApp, login: &str) -> Browser {
    Browser::of(app.anonymous(), login)
}

/// Logs in with a new browser, and expects to arrive.
pub(super) async fn log_in(app: &TestApp, login: &str) -> Browser {
    let mut browser = browser(app, login);
    let (url, page) = browser.walk("/auth/oidc/corp/login").await;
    let page = page.expect(200);
    assert!(url.ends_with("/auth/done"), "{url}");
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(text.contains(&format!("Signed in as {login}")), "{text}");
    browser
}
