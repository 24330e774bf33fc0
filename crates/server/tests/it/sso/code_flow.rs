//! People who log in at a browser.

use super::browser::{Browser, parameter};
use super::issuer::TestIssuer;
use super::provider::IdentityProvider;
use super::stage::{audited, browser, corp, execute, log_in, own, person, teams, teams_of};
use crate::app::{Store, TestApp};
use http::Method;
use portolan_testkit::client::Answer;
use serde_json::{Value, json};

const LOGIN: &str = "/auth/oidc/corp/login";

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// The text with another letter at this place.
fn with_another(text: &str, place: usize) -> String {
    let other = if text[place..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &text[..place], &text[place + 1..])
}

#[tokio::test]
async fn a_person_logs_in_with_pkce_gets_an_account_and_a_session() {
    let provider = IdentityProvider::shared().await;
    provider.person("nora", &person("Nora", &[])).await;
    let app = corp(provider).start().await;
    let mut browser = browser(&app, "nora");

    let begun = browser.get(LOGIN).await.expect(303);
    let sent = begun.header("location").to_owned();
    assert!(sent.starts_with(&provider.issuer()), "{sent}");
    assert_eq!(parameter(&sent, "code_challenge_method").unwrap(), "S256");
    assert_eq!(parameter(&sent, "code_challenge").unwrap().len(), 43);
    assert_eq!(parameter(&sent, "state").unwrap().len(), 43);
    assert_eq!(parameter(&sent, "nonce").unwrap().len(), 43);
    assert_eq!(begun.header("cache-control"), "no-store");
    let cookie = begun.header("set-cookie");
    assert!(
        cookie.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );

    let (url, page) = browser.walk(&sent).await;
    let page = page.expect(200);
    assert!(url.ends_with("/auth/done"), "{url}");
    assert!(text(&page).contains("Signed in as nora"), "{}", text(&page));
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    assert!(
        browser.cookie("portolan_login").is_none(),
        "it was for one login"
    );
    assert_eq!(browser.cookie("portolan_session").unwrap().len(), 43);

    assert_eq!(
        audited(&app, "nora").await,
        ["user.create", "session.begin"]
    );
    let sql = "SELECT count(*) FROM external_identity JOIN account ON account.id = account_id
        JOIN namespace ON namespace.owner_account_id = account.id
        WHERE provider = 'corp' AND subject = 'nora' AND account.name = 'nora' AND email = 'Nora@example.test'
            AND email_verified AND NOT superuser AND password_hash IS NULL";
    assert_eq!(app.count(sql).await, 1);
    // The secret is nowhere in the database.
    let secret = browser.cookie("portolan_session").unwrap();
    let sql = format!("SELECT count(*) FROM session WHERE secret_hash::text LIKE '%{secret}%'");
    assert_eq!(app.count(&sql).await, 0);
    assert_eq!(app.count("SELECT count(*) FROM session").await, 1);

    // The second time nothing is made.
    log_in(&app, "nora").await;
    assert_eq!(
        app.count("SELECT count(*) FROM account WHERE kind = 'user'")
            .await,
        2
    );
    app.settled().await;
}

#[tokio::test]
async fn any_process_ends_a_login_that_another_began() {
    let provider = IdentityProvider::shared().await;
    provider.person("paul", &person("paul", &[])).await;
    let app = corp(provider).start().await;
    let other = app.another();
    let mut browser = browser(&app, "paul");
    let callback = format!("http://{}/auth/oidc/corp/callback", app.address());
    let (url, _) = browser.walk_until(LOGIN, &callback).await;
    // As a load balancer would: the same browser, the same address, another process.
    let mut elsewhere = Browser::of(other.anonymous(), "paul");
    elsewhere.set_cookie("portolan_login", browser.cookie("portolan_login").unwrap());
    let (_, query) = url.split_once('?').unwrap();
    let target = format!("/auth/oidc/corp/callback?{query}");
    let (_, page) = elsewhere.walk(&target).await;
    assert!(text(&page.expect(200)).contains("Signed in as paul"));
}

#[tokio::test]
async fn a_callback_that_was_not_begun_here_or_comes_twice_is_refused() {
    let provider = IdentityProvider::shared().await;
    provider.person("rita", &person("rita", &[])).await;
    let app = corp(provider)
        .with("OIDC__OTHER__ISSUER", provider.issuer())
        .with("OIDC__OTHER__CLIENT_ID", "registry")
        .start()
        .await;
    let mut browser = browser(&app, "rita");
    let callback = format!("http://{}/auth/oidc/corp/callback", app.address());
    let (url, _) = browser.walk_until(LOGIN, &callback).await;
    let cookie = browser.cookie("portolan_login").unwrap().to_owned();
    let (code, state) = (
        parameter(&url, "code").unwrap(),
        parameter(&url, "state").unwrap(),
    );

    // Another state, none, one of another login, no cookie, a broken one, another provider's.
    let wrong = [
        format!("/auth/oidc/corp/callback?code={code}&state=x"),
        format!("/auth/oidc/corp/callback?code={code}&state="),
        format!("/auth/oidc/corp/callback?code={code}"),
        format!("/auth/oidc/other/callback?code={code}&state={state}"),
        "/auth/oidc/corp/callback?error=access_denied&state=x".to_owned(),
    ];
    for target in wrong {
        let answer = browser.get(&target).await.expect(400);
        assert!(!answer.has("set-cookie"), "{target}");
    }
    let mut stranger = Browser::of(app.anonymous(), "rita");
    stranger.get(&url).await.expect(400);
    for broken in [
        "x",
        &cookie[1..],
        // The last character has bits that say nothing; one before it has none.
        &with_another(&cookie, cookie.len() / 2),
    ] {
        stranger.set_cookie("portolan_login", broken);
        stranger.get(&url).await.expect(400);
    }
    stranger.get(LOGIN).await.expect(303);
    stranger.get(&url).await.expect(400);
    assert_eq!(app.count("SELECT count(*) FROM session").await, 0);

    // The right one, and then the same again.
    browser.get(&url).await.expect(303);
    assert_eq!(app.count("SELECT count(*) FROM session").await, 1);
    browser.get(&url).await.expect(400);
    browser.set_cookie("portolan_login", &cookie);
    let answer = browser.get(&url).await.expect(403);
    assert!(text(&answer).contains("answer is not valid"));
    assert_eq!(app.count("SELECT count(*) FROM session").await, 1);
}

#[tokio::test]
async fn a_login_that_the_provider_refuses_ends_on_a_page_that_says_so() {
    let provider = IdentityProvider::shared().await;
    let app = corp(provider).start().await;
    let mut browser = browser(&app, "x");
    let begun = browser.get(LOGIN).await.expect(303);
    let state = parameter(begun.header("location"), "state").unwrap();
    let target = format!(
        "/auth/oidc/corp/callback?state={state}&iss={}&error=%3Cscript%3E&error_description=%3Cscript%3E",
        provider.issuer()
    );
    let answer = browser.get(&target).await.expect(403);
    assert!(!text(&answer).contains("script"), "{}", text(&answer));
    assert!(browser.cookie("portolan_login").is_none());
}

#[tokio::test]
async fn the_way_back_leads_to_this_registry_and_nowhere_else() {
    let provider = IdentityProvider::shared().await;
    provider.person("quin", &person("quin", &[])).await;
    let app = corp(provider).start().await;
    for foreign in [
        "//evil.example",
        "/%5Cevil.example",
        "%5C%5Cevil.example",
        "https:evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/%09/evil.example",
        "/%0a/evil.example",
        "evil",
        "",
        "/auth/oidc/corp/login",
    ] {
        let target = format!("{LOGIN}?return_to={foreign}");
        let answer = browser(&app, "quin").get(&target).await.expect(400);
        assert!(!answer.has("location"), "{foreign}");
    }
    let target = format!("{LOGIN}?return_to=/v2/%3Fn%3D1");
    let end = format!("http://{}/v2/", app.address());
    let (url, _) = browser(&app, "quin").walk_until(&target, &end).await;
    assert_eq!(url, format!("{end}?n=1"));
    let none = browser(&app, "quin").get("/auth/oidc/none/login").await;
    none.expect(404);
}

#[tokio::test]
async fn nobody_sends_a_code_to_another_host() {
    let provider = IdentityProvider::shared().await;
    let app = corp(provider).start().await;
    let begun = app
        .anonymous()
        .request(Method::GET, LOGIN)
        .header("host", "evil.example")
        .send()
        .await
        .expect(303);
    let mut browser = browser(&app, "x");
    let (url, answer) = browser.walk(begun.header("location")).await;
    assert_eq!(answer.status, 400, "{url}");
    assert!(text(&answer).contains("redirect_uri"), "{}", text(&answer));

    // With a public address the request's host counts for nothing.
    let app = corp(provider)
        .with("HTTP__PUBLIC_URL", "https://registry.example.com")
        .start()
        .await;
    let begun = app
        .anonymous()
        .request(Method::GET, LOGIN)
        .header("host", "evil.example")
        .send()
        .await
        .expect(303);
    let redirect = parameter(begun.header("location"), "redirect_uri").unwrap();
    assert_eq!(
        redirect,
        "https://registry.example.com/auth/oidc/corp/callback"
    );
    let cookie = begun.header("set-cookie");
    assert!(cookie.starts_with("__Host-portolan_login="), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn groups_move_people_between_teams_at_their_next_login() {
    let provider = IdentityProvider::shared().await;
    provider
        .person("tara", &person("tara", &["dev", "ops", "unknown"]))
        .await;
    let app = corp(provider).start().await;
    teams(&app, "acme", &["dev", "hand", "lead", "ops"]).await;
    log_in(&app, "tara").await;
    assert_eq!(teams_of(&app, "tara").await, ["dev", "ops"]);
    // A person puts her into two more, one of which is also a group of hers later.
    execute(
        &app,
        "INSERT INTO membership (account_id, team_id) SELECT account.id, team.id FROM account, team
         WHERE account.name = 'tara' AND team.name IN ('hand', 'lead')",
    )
    .await;
    provider
        .person("tara", &person("tara", &["ops", "lead"]))
        .await;
    log_in(&app, "tara").await;
    assert_eq!(teams_of(&app, "tara").await, ["hand", "lead", "ops"]);
    provider.person("tara", &person("tara", &[])).await;
    log_in(&app, "tara").await;
    assert_eq!(
        teams_of(&app, "tara").await,
        ["hand", "lead"],
        "what a person did stays"
    );
    // Another provider's groups are none of this one's business.
    execute(&app, "UPDATE membership SET provider = 'elsewhere'").await;
    log_in(&app, "tara").await;
    assert_eq!(teams_of(&app, "tara").await, ["hand", "lead"]);
    let moves = audited(&app, "acme/ops").await;
    assert_eq!(moves, ["team.add_member", "team.remove_member"]);
}

#[tokio::test]
async fn a_disabled_account_does_not_log_in_and_its_session_ends() {
    let provider = IdentityProvider::shared().await;
    provider.person("udo", &person("udo", &[])).await;
    let app = corp(provider).start().await;
    let mut at_work = log_in(&app, "udo").await;
    portolan_testkit::children::run(app.command().args(["admin", "user", "disable", "udo"]));
    at_work.get("/auth/done").await.expect(401);
    let (_, page) = browser(&app, "udo").walk(LOGIN).await;
    assert!(text(&page.expect(403)).contains("your account is disabled"));
    portolan_testkit::children::run(app.command().args(["admin", "user", "enable", "udo"]));
    at_work.get("/auth/done").await.expect(401);
    log_in(&app, "udo").await;
}

#[tokio::test]
async fn nobody_becomes_an_account_by_its_name_or_its_address() {
    let provider = IdentityProvider::shared().await;
    // Whoever runs a provider can call himself as he likes.
    let mut claims = person("admin", &[]);
    claims["email"] = json!("boss@example.test");
    provider.person("vera", &claims).await;
    let app = corp(provider).start().await;
    execute(
        &app,
        "UPDATE account SET email = 'boss@example.test', email_verified = true WHERE name = 'admin'",
    )
    .await;
    let (_, page) = browser(&app, "vera").walk(LOGIN).await;
    assert!(text(&page.expect(403)).contains("your name is taken"));
    // As another she gets in, and the address stays whose it was.
    claims["preferred_username"] = json!("vera");
    provider.person("vera", &claims).await;
    log_in(&app, "vera").await;
    let sql = "SELECT count(*) FROM account WHERE email = 'boss@example.test' AND name = 'admin'";
    assert_eq!(app.count(sql).await, 1);
    assert_eq!(
        app.count("SELECT count(*) FROM account WHERE name = 'vera' AND email IS NULL")
            .await,
        1
    );
    for unusable in [
        json!("ve ra"),
        json!("vera@example.test"),
        json!("acme+ci"),
        json!(7),
        Value::Null,
    ] {
        claims["preferred_username"] = unusable.clone();
        provider.person("vicky", &claims).await;
        let (_, page) = browser(&app, "vicky").walk(LOGIN).await;
        let said = text(&page.expect(403));
        assert!(
            said.contains("cannot be the name of an account"),
            "{unusable}: {said}"
        );
    }
    assert_eq!(app.count("SELECT count(*) FROM external_identity").await, 1);
}

#[tokio::test]
async fn without_sign_up_only_those_with_an_account_get_in_and_a_verified_address_can_be_one() {
    let provider = IdentityProvider::shared().await;
    let app = corp(provider)
        .with("OIDC__CORP__SIGN_UP", "false")
        .with("OIDC__CORP__LINK_BY", "email")
        .start()
        .await;
    app.user("wanda");
    let mut claims = person("whoever", &[]);
    claims["email"] = json!("Wanda@Example.test");
    provider.person("wanda", &claims).await;
    let refused = async || {
        let (_, page) = browser(&app, "wanda").walk(LOGIN).await;
        assert!(text(&page.expect(403)).contains("there is no account for you"));
    };
    refused().await;
    // Her address has been shown to be hers on neither side, then on one.
    let unverified = "UPDATE account SET email = 'wanda@example.test' WHERE name = 'wanda'";
    execute(&app, unverified).await;
    refused().await;
    execute(
        &app,
        "UPDATE account SET email_verified = true WHERE name = 'wanda'",
    )
    .await;
    claims["email_verified"] = json!(false);
    provider.person("wanda", &claims).await;
    refused().await;
    claims["email_verified"] = json!(true);
    provider.person("wanda", &claims).await;
    log_in(&app, "wanda").await;
    assert_eq!(
        audited(&app, "wanda").await.last().unwrap(),
        "session.begin"
    );
    assert!(
        audited(&app, "wanda")
            .await
            .contains(&"user.link".to_owned())
    );
    // From now on the subject counts, not the address.
    claims["email"] = json!("other@example.test");
    provider.person("wanda", &claims).await;
    log_in(&app, "wanda").await;
}

#[tokio::test]
async fn a_group_makes_superusers_only_where_that_is_configured() {
    let provider = IdentityProvider::shared().await;
    provider.person("xena", &person("xena", &["root"])).await;
    let superusers = "SELECT count(*) FROM account WHERE name = 'xena' AND superuser";
    let app = corp(provider).start().await;
    log_in(&app, "xena").await;
    assert_eq!(app.count(superusers).await, 0);

    let app = corp(provider)
        .with("OIDC__CORP__SUPERUSER_GROUP", "root")
        .start()
        .await;
    log_in(&app, "xena").await;
    assert_eq!(app.count(superusers).await, 1);
    provider.person("xena", &person("xena", &[])).await;
    log_in(&app, "xena").await;
    assert_eq!(app.count(superusers).await, 0);
    // The last one keeps it: nobody could give it back.
    provider.person("xena", &person("xena", &["root"])).await;
    log_in(&app, "xena").await;
    execute(
        &app,
        "UPDATE account SET superuser = false WHERE name = 'admin'",
    )
    .await;
    provider.person("xena", &person("xena", &[])).await;
    log_in(&app, "xena").await;
    assert_eq!(app.count(superusers).await, 1);
}

/// Begins a login at the issuer of the test's own; returns the state and the nonce.
async fn begin(browser: &mut Browser) -> (String, String) {
    let begun = browser.get("/auth/oidc/own/login").await.expect(303);
    let sent = begun.header("location");
    (
        parameter(sent, "state").expect("a state"),
        parameter(sent, "nonce").expect("a nonce"),
    )
}

type Spoil = fn(&mut Value);

#[tokio::test]
async fn an_id_token_must_answer_this_very_login() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    let good = |nonce: &str| {
        let mut claims = issuer.claims("s-1", "registry");
        claims["nonce"] = json!(nonce);
        claims["preferred_username"] = json!("yuri");
        claims["email"] = json!("yuri@example.test");
        claims["groups"] = json!([]);
        claims
    };
    let wrong: [(&str, Spoil); 7] = [
        ("another nonce", |claims| claims["nonce"] = json!("other")),
        ("no nonce", |claims| {
            claims.as_object_mut().unwrap().remove("nonce");
        }),
        ("another audience", |claims| {
            claims["aud"] = json!("grafana");
        }),
        ("another party", |claims| claims["azp"] = json!("grafana")),
        ("another issuer", |claims| {
            claims["iss"] = json!("https://evil.example");
        }),
        ("expired", |claims| claims["exp"] = json!(1_000_000)),
        ("from the future", |claims| {
            claims["iat"] = json!(4_000_000_000_u64);
        }),
    ];
    for (what, spoil) in wrong {
        let mut browser = browser(&app, "yuri");
        let (state, nonce) = begin(&mut browser).await;
        let mut claims = good(&nonce);
        spoil(&mut claims);
        issuer.redeems(&issuer.key.sign(&claims));
        let target = format!("/auth/oidc/own/callback?code=c&state={state}");
        let answer = browser.get(&target).await;
        assert_eq!(answer.status, 403, "{what}");
        assert!(browser.cookie("portolan_session").is_none(), "{what}");
    }
    assert_eq!(app.count("SELECT count(*) FROM external_identity").await, 0);

    // An answer that names another issuer is not this one's.
    let mut browser = browser(&app, "yuri");
    let (state, nonce) = begin(&mut browser).await;
    issuer.redeems(&issuer.key.sign(&good(&nonce)));
    let target = format!("/auth/oidc/own/callback?code=c&state={state}&iss=https://evil.example");
    browser.get(&target).await.expect(502);

    let (state, nonce) = begin(&mut browser).await;
    issuer.redeems(&issuer.key.sign(&good(&nonce)));
    let target = format!("/auth/oidc/own/callback?code=c&state={state}");
    browser.get(&target).await.expect(303);
    assert!(
        issuer.form().contains("code_verifier="),
        "{}",
        issuer.form()
    );
    assert!(browser.cookie("portolan_session").is_some());
}

#[tokio::test]
async fn what_a_provider_says_of_somebody_else_is_not_believed() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    let mut browser = browser(&app, "zoe");
    for (subject, status) in [("somebody else", 403), ("s-2", 303)] {
        let (state, nonce) = begin(&mut browser).await;
        let mut claims = issuer.claims("s-2", "registry");
        claims["nonce"] = json!(nonce);
        issuer.redeems(&issuer.key.sign(&claims));
        issuer.user_info(json!({ "sub": subject, "preferred_username": "zoe" }));
        let target = format!("/auth/oidc/own/callback?code=c&state={state}");
        browser.get(&target).await.expect(status);
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_said_to_be() {
    let issuer = TestIssuer::start();
    issuer.goes_down();
    let app = own(&issuer).start().await;
    let answer = browser(&app, "x")
        .get("/auth/oidc/own/login")
        .await
        .expect(502);
    assert!(
        text(&answer).contains("cannot be asked"),
        "{}",
        text(&answer)
    );
    // All else goes on.
    app.admin().get("/v2/").await.expect(200);
    let plain = TestApp::options(Store::Directory).start().await;
    let answer = plain.anonymous().get("/auth/done").await.expect(401);
    assert!(text(&answer).contains("No provider"), "{}", text(&answer));
}
