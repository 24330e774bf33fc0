//! Forged, altered, old and borrowed tokens against the running registry.

use crate::app::{SEAL, TestApp, push, repository, unique};
use crate::token::claims;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portolan_auth::{Purpose, SealKey};
use portolan_testkit::children::run;
use portolan_testkit::image::Image;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// Whoever has the registry's own signing key, and so can make what nobody else can.
pub(crate) struct Forger {
    pair: EcdsaKeyPair,
    kid: String,
}

impl Forger {
    pub(crate) async fn of(app: &TestApp) -> Self {
        let session = app.database().session().await;
        let sql = "SELECT kid, sealed FROM signing_key WHERE state = 'signing'";
        let row = session.query_one(sql, &[]).await.expect("a signing key");
        let (kid, sealed): (String, Vec<u8>) = (row.get(0), row.get(1));
        let seal = SealKey::from_base64(&SEAL.into()).expect("32 bytes");
        let opened = seal
            .open(Purpose::SigningKey, &kid, &sealed)
            .expect("our own seal");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, opened.expose_secret());
        Self {
            pair: pair.expect("a P-256 key"),
            kid,
        }
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": "ES256", "kid": self.kid })
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        sign_with(&self.pair, header, claims)
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn sign_with(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = pair
        .sign(&SystemRandom::new(), message.as_bytes())
        .expect("a signature");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A private repository with a tag, and a good token to pull it.
async fn target(app: &TestApp) -> (String, String) {
    let name = repository("attack");
    push(&app.admin(), &name, "tag", &Image::random(910)).await;
    let token = app
        .token(&app.admin(), &[&format!("repository:{name}:pull")])
        .await;
    app.anonymous()
        .bearer(&token)
        .get(&format!("/v2/{name}/manifests/tag"))
        .await
        .expect(200);
    (format!("/v2/{name}/manifests/tag"), token)
}

#[track_caller]
fn refused(app: &TestApp, path: &str, token: &str) -> impl Future<Output = ()> {
    let client = app.anonymous().bearer(token);
    let path = path.to_owned();
    async move {
        let answer = client.get(&path).await.refused(401, "UNAUTHORIZED");
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.ends_with(",error=\"invalid_token\""),
            "{challenge}"
        );
        client.get("/v2/").await.refused(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn a_token_we_sign_by_hand_is_accepted() {
    let app = TestApp::shared().await;
    let (path, token) = target(app).await;
    let forger = Forger::of(app).await;
    let own = forger.sign(&forger.header(), &claims(&token));
    app.anonymous().bearer(&own).get(&path).await.expect(200);
}

#[tokio::test]
async fn no_algorithm_but_the_keys_own() {
    let app = TestApp::shared().await;
    let (path, token) = target(app).await;
    let forger = Forger::of(app).await;
    let claims = claims(&token);
    for alg in ["none", "None", "nOnE", "", "ES384", "RS256", "EdDSA"] {
        let mut header = forger.header();
        header["alg"] = json!(alg);
        refused(app, &path, &format!("{}.{}.", part(&header), part(&claims))).await;
        refused(app, &path, &forger.sign(&header, &claims)).await;
    }
    // The public key is public: as an HMAC secret it must open nothing.
    for (alg, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
        let mut header = forger.header();
        header["alg"] = json!(alg);
        let message = format!("{}.{}", part(&header), part(&claims));
        let key = hmac::Key::new(algorithm, forger.pair.public_key().as_ref());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
        refused(app, &path, &format!("{message}.{signature}")).await;
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_is_not_used() {
    let app = TestApp::shared().await;
    let (path, token) = target(app).await;
    let forger = Forger::of(app).await;
    let attacker = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = attacker.public_key().as_ref();
    let mut header = forger.header();
    header["jwk"] = json!({
        "kty": "EC", "crv": "P-256", "kid": forger.kid, "alg": "ES256",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
    });
    refused(app, &path, &sign_with(&attacker, &header, &claims(&token))).await;
    for field in ["jku", "x5u"] {
        let mut header = forger.header();
        header[field] = json!("http://127.0.0.1:1/keys.json");
        refused(app, &path, &sign_with(&attacker, &header, &claims(&token))).await;
    }
    let mut header = forger.header();
    header["x5c"] = json!(["MIIB"]);
    refused(app, &path, &sign_with(&attacker, &header, &claims(&token))).await;
}

#[tokio::test]
async fn a_key_id_is_no_path_and_an_unknown_one_no_key() {
    let app = TestApp::shared().await;
    let (path, token) = target(app).await;
    let forger = Forger::of(app).await;
    for kid in [
        json!("../../../../../../dev/null"),
        json!("http://127.0.0.1:1/"),
        json!("' OR '1'='1"),
        json!("ffffffffffffffff"),
        json!(""),
        json!(7),
        Value::Null,
    ] {
        let mut header = forger.header();
        header["kid"] = kid;
        refused(app, &path, &forger.sign(&header, &claims(&token))).await;
    }
}

#[tokio::test]
async fn times_audience_and_issuer_are_checked() {
    let app = TestApp::shared().await;
    let (path, token) = target(app).await;
    let forger = Forger::of(app).await;
    let good = claims(&token);
    let issued = good["iat"].as_u64().unwrap();
    for (field, value) in [
        ("exp", json!(issued - 61)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(u64::MAX)),
        ("exp", Value::Null),
        ("nbf", json!(issued + 3600)),
        ("aud", json!("another-registry")),
        ("aud", json!(["portolan"])),
        ("iss", json!("another-issuer")),
    ] {
        let mut claims = good.clone();
        claims[field] = value.clone();
        refused(app, &path, &forger.sign(&forger.header(), &claims)).await;
    }
}

#[tokio::test]
async fn a_token_cannot_be_widened() {
    let app = TestApp::shared().await;
    let (path, token) = target(app).await;
    let parts: Vec<&str> = token.split('.').collect();
    let mut wider = claims(&token);
    wider["access"][0]["actions"] = json!(["pull", "push", "delete"]);
    refused(
        app,
        &path,
        &format!("{}.{}.{}", parts[0], part(&wider), parts[2]),
    )
    .await;
    let client = app.anonymous().bearer(&token);
    let answer = client.delete(&path).await.refused(401, "UNAUTHORIZED");
    assert!(
        answer
            .header("www-authenticate")
            .ends_with("error=\"insufficient_scope\"")
    );
}

#[tokio::test]
async fn a_token_is_a_bound_and_never_a_right() {
    let app = TestApp::shared().await;
    let (path, _) = target(app).await;
    let name = format!("mallory{}", unique());
    let user = app.user(&name);
    let forger = Forger::of(app).await;
    // Signed by us, as if granted when he still had the right.
    let mut wide = claims(
        &app.token(&user, &[&format!("repository:{name}/x:pull")])
            .await,
    );
    let repository = path
        .strip_prefix("/v2/")
        .unwrap()
        .strip_suffix("/manifests/tag")
        .unwrap();
    wide["access"] = json!([{ "type": "repository", "name": repository, "actions": ["pull", "push", "delete"] }]);
    let client = app
        .anonymous()
        .bearer(&forger.sign(&forger.header(), &wide));
    client.get("/v2/").await.expect(200);
    client.get(&path).await.refused(401, "UNAUTHORIZED");
    client.delete(&path).await.refused(403, "DENIED");
    client
        .post(&format!("/v2/{repository}/blobs/uploads/"))
        .await
        .refused(403, "DENIED");
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_gone_at_once() {
    let app = TestApp::shared().await;
    let (path, _) = target(app).await;
    let repository = path
        .strip_prefix("/v2/")
        .unwrap()
        .strip_suffix("/manifests/tag")
        .unwrap();
    let user = app.user(&format!("carol{}", unique()));
    app.publish(repository);
    let token = app
        .token(&user, &[&format!("repository:{repository}:pull")])
        .await;
    let client = app.anonymous().bearer(&token);
    client.get(&path).await.expect(200);
    let task = ["admin", "repository", "visibility", repository, "private"];
    run(app.command().args(task));
    client.get(&path).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn an_account_that_ended_its_tokens_or_is_disabled_is_nobody() {
    let app = TestApp::shared().await;
    let session = app.database().session().await;
    for change in [
        "generation = generation + 1",
        "generation = generation + 1, state = 'disabled'",
        "state = 'disabled'",
    ] {
        let name = format!("dave{}", unique());
        let user = app.user(&name);
        let own = format!("{name}/app");
        push(&user, &own, "tag", &Image::random(911)).await;
        let token = app
            .token(&user, &[&format!("repository:{own}:pull,push")])
            .await;
        let client = app.anonymous().bearer(&token);
        let path = format!("/v2/{own}/manifests/tag");
        client.get(&path).await.expect(200);
        session
            .execute(
                &format!("UPDATE account SET {change} WHERE name = $1"),
                &[&name],
            )
            .await
            .unwrap();
        let answer = client.get(&path).await.refused(401, "UNAUTHORIZED");
        assert!(
            answer
                .header("www-authenticate")
                .ends_with(",error=\"invalid_token\"")
        );
        client
            .post(&format!("/v2/{own}/blobs/uploads/"))
            .await
            .refused(401, "UNAUTHORIZED");
        // Even what is public: a void token must be noticed.
        app.publish(&own);
        client.get(&path).await.refused(401, "UNAUTHORIZED");
        app.anonymous().get(&path).await.expect(200);
        let login = user.get("/v2/auth?service=portolan").await;
        login.expect(if change.contains("disabled") {
            401
        } else {
            200
        });
    }
}

#[tokio::test]
async fn nonsense_is_no_token() {
    let app = TestApp::shared().await;
    let (path, token) = target(app).await;
    let long = "a".repeat(20_000);
    for nonsense in [
        "x",
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.e30",
        &token[1..],
        &format!("{token}.x"),
        &long,
    ] {
        refused(app, &path, nonsense).await;
    }
    let anonymous = app.anonymous();
    let two = anonymous.request(http::Method::GET, &path);
    let two = two
        .header("authorization", "Bearer a")
        .header("authorization", "Bearer b");
    two.send().await.refused(401, "UNAUTHORIZED");
}
