//! People's ID tokens in the place of passwords.

use super::browser::{Browser, parameter};
use super::issuer::{Key, TestIssuer, message};
use super::provider::IdentityProvider;
use super::stage::{account, corp, execute, own, person, teams, teams_of};
use crate::app::TestApp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portolan_testkit::children::eventually;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An ID token of the real provider, as a program on a command line gets one.
async fn token(app: &TestApp, provider: &IdentityProvider, login: &str) -> String {
    let verifier = "v".repeat(43);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
    let claims = "%7B%22id_token%22%3A%7B%22preferred_username%22%3Anull%2C%22groups%22%3Anull%2C%22email%22%3Anull%7D%7D";
    let end = "http://127.0.0.1/cli";
    let url = format!(
        "{}/auth?response_type=code&client_id=cli&redirect_uri={end}&scope=openid%20profile%20email%20groups\
         &state=s&nonce=n&code_challenge={challenge}&code_challenge_method=S256&claims={claims}",
        provider.issuer()
    );
    let mut browser = Browser::of(app.anonymous(), login);
    let (url, _) = browser.walk_until(&url, end).await;
    let code = parameter(&url, "code").unwrap_or_else(|| panic!("no code: {url}"));
    let form = format!(
        "grant_type=authorization_code&client_id=cli&code={code}&redirect_uri={end}&code_verifier={verifier}"
    );
    let endpoint = format!("{}/token", provider.issuer());
    let answer = browser.post(&endpoint, &form).await.expect(200);
    answer.json()["id_token"]
        .as_str()
        .expect("an ID token")
        .to_owned()
}

#[tokio::test]
async fn an_id_token_of_a_real_provider_is_a_password() {
    let provider = IdentityProvider::shared().await;
    provider.person("dora", &person("dora", &["dev"])).await;
    let app = corp(provider).start().await;
    teams(&app, "acme", &["dev"]).await;
    let token = token(&app, provider, "dora").await;
    for name in ["$oidc", "corp", "dora"] {
        assert_eq!(
            account(&app, name, &token).await.as_deref(),
            Some("dora"),
            "{name}"
        );
    }
    for name in ["admin", "", "$app", "$token", "acme+ci", "nobody", "own"] {
        assert_eq!(account(&app, name, &token).await, None, "{name}");
    }
    assert_eq!(teams_of(&app, "dora").await, ["dev"]);
    // Without a token of ours in between, and what it says of how she came.
    app.anonymous()
        .basic("$oidc", &token)
        .get("/v2/")
        .await
        .expect(200);
    let ours = app
        .token(&app.anonymous().basic("$oidc", &token), &[])
        .await;
    assert_eq!(crate::token::claims(&ours)["via"], "oidc");
    // She writes to her own namespace and not to another's.
    let scopes = [
        "repository:dora/app:pull,push",
        "repository:admin/app:pull,push",
    ];
    let ours = app
        .token(&app.anonymous().basic("$oidc", &token), &scopes)
        .await;
    let access = &crate::token::claims(&ours)["access"];
    assert_eq!(access.as_array().expect("a list").len(), 1, "{access}");

    execute(
        &app,
        "UPDATE account SET state = 'disabled', generation = generation + 1 WHERE name = 'dora'",
    )
    .await;
    assert_eq!(account(&app, "$oidc", &token).await, None);
    app.anonymous()
        .bearer(&ours)
        .get("/v2/dora/app/tags/list")
        .await
        .refused(401, "UNAUTHORIZED");
}

fn somebody(issuer: &TestIssuer, name: &str) -> Value {
    let mut claims = issuer.claims(name, "registry");
    claims["preferred_username"] = json!(name);
    claims
}

#[tokio::test]
async fn no_token_counts_that_its_issuer_has_not_made_for_us() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    let claims = somebody(&issuer, "emil");
    let good = issuer.key.sign(&claims);
    assert_eq!(account(&app, "$oidc", &good).await.as_deref(), Some("emil"));

    let key = &issuer.key;
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let header = |alg: &str| json!({ "alg": alg, "kid": key.kid });
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.public());
    let message = message(&header("HS256"), &claims);
    let mac = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&hmac, message.as_bytes()));
    let unsigned = super::issuer::message(&header("none"), &claims);
    let (stranger, namesake) = (Key::new("stranger"), Key::new(&key.kid));
    let wrong = [
        ("unsigned", format!("{unsigned}.")),
        ("unsigned but for a bit", format!("{unsigned}.AA")),
        ("a public key as a secret", format!("{message}.{mac}")),
        (
            "another algorithm",
            key.sign_with(&header("RS256"), &claims),
        ),
        ("a key of nobody", stranger.sign(&claims)),
        ("another key of that name", namesake.sign(&claims)),
        ("for another", key.sign(&with("aud", json!("grafana")))),
        (
            "for others too",
            key.sign(&with("aud", json!(["registry", "grafana"]))),
        ),
        (
            "asked for by another",
            key.sign(&with("azp", json!("grafana"))),
        ),
        (
            "of another issuer",
            key.sign(&with("iss", json!("https://evil.example"))),
        ),
        (
            "expired",
            key.sign(&with("exp", json!(super::issuer::now() - 61))),
        ),
        (
            "not yet",
            key.sign(&with("nbf", json!(super::issuer::now() + 120))),
        ),
        ("of nobody", key.sign(&with("sub", json!("")))),
        ("cut", good[..good.len() - 2].to_owned()),
        (
            "an access token",
            key.sign_with(
                &json!({ "alg": "ES256", "kid": key.kid, "typ": "at+jwt" }),
                &claims,
            ),
        ),
    ];
    for (what, token) in wrong {
        assert_eq!(account(&app, "$oidc", &token).await, None, "{what}");
        app.anonymous()
            .basic("$oidc", &token)
            .get("/v2/")
            .await
            .refused(401, "UNAUTHORIZED");
    }
    assert_eq!(app.count("SELECT count(*) FROM external_identity").await, 1);
    // Who is refused cannot be told from another: no log line has the token.
    assert!(!app.log().contains(&good), "a token stands in the log");
}

#[tokio::test]
async fn a_token_without_groups_takes_nobody_out_of_a_team() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    teams(&app, "acme", &["dev"]).await;
    execute(&app, "UPDATE team_group SET provider = 'own'").await;
    let mut claims = somebody(&issuer, "fred");
    claims["groups"] = json!(["dev"]);
    let with = issuer.key.sign(&claims);
    assert_eq!(account(&app, "own", &with).await.as_deref(), Some("fred"));
    assert_eq!(teams_of(&app, "fred").await, ["dev"]);
    let without = issuer.key.sign(&somebody(&issuer, "fred"));
    assert_eq!(
        account(&app, "own", &without).await.as_deref(),
        Some("fred")
    );
    assert_eq!(teams_of(&app, "fred").await, ["dev"]);
    claims["groups"] = json!([]);
    let none = issuer.key.sign(&claims);
    assert_eq!(account(&app, "own", &none).await.as_deref(), Some("fred"));
    assert!(teams_of(&app, "fred").await.is_empty());
}

#[tokio::test]
async fn who_has_left_a_group_does_not_come_back_by_a_token_from_before() {
    let issuer = TestIssuer::start();
    let app = own(&issuer)
        .with("OIDC__OWN__SUPERUSER_GROUP", "admins")
        .start()
        .await;
    teams(&app, "acme", &["dev"]).await;
    execute(&app, "UPDATE team_group SET provider = 'own'").await;
    let mut claims = somebody(&issuer, "ida");
    claims["groups"] = json!(["dev", "admins"]);
    let before = issuer.key.sign(&claims);
    assert_eq!(account(&app, "own", &before).await.as_deref(), Some("ida"));
    assert_eq!(teams_of(&app, "ida").await, ["dev"]);
    let superusers = "SELECT count(*) FROM account WHERE name = 'ida' AND superuser";
    assert_eq!(app.count(superusers).await, 1);

    let made = claims["iat"].as_u64().expect("a time");
    claims["iat"] = json!(made + 5);
    claims["groups"] = json!([]);
    let after = issuer.key.sign(&claims);
    assert_eq!(account(&app, "own", &after).await.as_deref(), Some("ida"));
    assert!(teams_of(&app, "ida").await.is_empty());
    // She is still who she is.
    assert_eq!(account(&app, "own", &before).await.as_deref(), Some("ida"));
    assert!(teams_of(&app, "ida").await.is_empty());
    assert_eq!(app.count(superusers).await, 0);

    claims["iat"] = json!(made + 10);
    claims["groups"] = json!(["dev"]);
    let again = issuer.key.sign(&claims);
    assert_eq!(account(&app, "own", &again).await.as_deref(), Some("ida"));
    assert_eq!(teams_of(&app, "ida").await, ["dev"]);
}

#[tokio::test]
async fn keys_change_at_the_issuer_and_outlive_it() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    let claims = somebody(&issuer, "gert");
    let old = issuer.key.sign(&claims);
    assert_eq!(account(&app, "$oidc", &old).await.as_deref(), Some("gert"));
    let second = Key::new("second");
    let new = second.sign(&claims);
    issuer.publish(&[&issuer.key, &second]);
    // Within seconds, and however many ask: the issuer is looked at once in five.
    eventually("the new key is known", || async {
        account(&app, "$oidc", &new).await.is_some()
    })
    .await;
    assert_eq!(issuer.looks(), 2);
    issuer.goes_down();
    for token in [&old, &new] {
        assert_eq!(account(&app, "$oidc", token).await.as_deref(), Some("gert"));
    }
}

#[tokio::test]
async fn where_an_issuer_was_never_seen_the_client_shall_come_again() {
    let issuer = TestIssuer::start();
    issuer.goes_down();
    let app = own(&issuer).start().await;
    let token = issuer.key.sign(&somebody(&issuer, "hugo"));
    let answer = app
        .anonymous()
        .basic("$oidc", &token)
        .get("/v2/auth?service=portolan&account=x")
        .await;
    let answer = answer.refused(503, "UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), "5");
}
