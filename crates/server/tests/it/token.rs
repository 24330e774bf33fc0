//! The token endpoint, as docker, containerd, podman, crane, oras and Watchtower need it.

use crate::app::{ADMIN, PASSWORD, TestApp, push, repository, unique};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::Image;
use serde_json::{Value, json};

/// What a token says, without checking it.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

/// The token of an answer, which must have the form that every client can read.
#[track_caller]
fn token(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(
        body["token"], body["access_token"],
        "some clients read one, some the other"
    );
    assert_eq!(body["expires_in"], 300);
    assert!(
        body.get("issued_at").is_none(),
        "clients would compare it with their own clocks"
    );
    assert!(
        body.get("refresh_token").is_none(),
        "docker would keep it instead of the password"
    );
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        answer.header("docker-distribution-api-version"),
        "registry/2.0"
    );
    assert!(
        answer.body.len() < 64 * 1024,
        "go-containerregistry reads no more"
    );
    body["token"].as_str().expect("a text").to_owned()
}

/// The access list of a token, as `name:actions`.
fn access(token: &str) -> Vec<String> {
    let claims = claims(token);
    let entries = claims["access"].as_array().expect("a list").iter();
    entries
        .map(|entry| {
            let actions = entry["actions"].as_array().expect("a list").iter();
            let actions: Vec<_> = actions
                .map(|action| action.as_str().expect("a text"))
                .collect();
            format!(
                "{}:{}",
                entry["name"].as_str().expect("a text"),
                actions.join(",")
            )
        })
        .collect()
}

async fn granted(client: &Client, query: &str) -> Vec<String> {
    access(&token(
        &client
            .get(&format!("/v2/auth?service=portolan{query}"))
            .await
            .expect(200),
    ))
}

async fn post(client: &Client, form: &str) -> Answer {
    client
        .request(Method::POST, "/v2/auth")
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .body(form.to_owned())
        .send()
        .await
}

fn password_form(name: &str, rest: &str) -> String {
    let password = PASSWORD.replace(' ', "+");
    format!("grant_type=password&username={name}&password={password}&service=portolan{rest}")
}

#[tokio::test]
async fn a_login_is_a_token_for_nothing_that_opens_the_base() {
    let app = TestApp::shared().await;
    let query = "/v2/auth?account=admin&client_id=docker&offline_token=true&service=portolan";
    let answer = app.admin().get(query).await.expect(200);
    let text = token(&answer);
    assert!(answer.json().get("scope").is_none());
    assert_eq!(access(&text), Vec::<String>::new());
    assert_eq!(claims(&text)["sub"], ADMIN);
    app.anonymous().bearer(&text).get("/v2/").await.expect(200);
}

#[tokio::test]
async fn the_form_of_oauth_gives_the_same_and_says_what_was_granted() {
    let app = TestApp::shared().await;
    let name = repository("token");
    let scope = format!("&scope=repository:{name}:pull,push+registry:catalog:*");
    let form = password_form(
        ADMIN,
        &format!("&client_id=containerd&access_type=offline{scope}"),
    );
    let answer = post(&app.anonymous(), &form).await.expect(200);
    let text = token(&answer);
    assert_eq!(
        access(&text),
        [format!("{name}:pull,push"), "catalog:*".into()]
    );
    let expected = format!("repository:{name}:pull,push registry:catalog:*");
    assert_eq!(answer.json()["scope"], expected);
    push(
        &app.anonymous().bearer(&text),
        &name,
        "tag",
        &Image::random(900),
    )
    .await;
    app.anonymous()
        .bearer(&text)
        .get("/v2/_catalog")
        .await
        .expect(200);
}

#[tokio::test]
async fn nobody_gets_what_is_public_and_is_never_refused() {
    let app = TestApp::shared().await;
    let (public, private) = (repository("token"), repository("token"));
    for name in [&public, &private] {
        push(&app.admin(), name, "tag", &Image::random(901)).await;
    }
    app.publish(&public);
    let nobody = app.anonymous();
    let asked = format!("&scope=repository:{public}:pull,push,delete");
    assert_eq!(granted(&nobody, &asked).await, [format!("{public}:pull")]);
    let none = Vec::<String>::new();
    for name in [private.as_str(), "token/missing", "missing/missing", "x"] {
        assert_eq!(
            granted(&nobody, &format!("&scope=repository:{name}:pull")).await,
            none
        );
    }
    for unknown in [
        "repository(plugin):a/b:pull",
        "what:a/b:pull",
        "nonsense",
        "repository:A:pull",
    ] {
        assert_eq!(
            granted(&nobody, &format!("&scope={unknown}")).await,
            none,
            "{unknown}"
        );
    }
    let text = token(
        &nobody
            .get(&format!("/v2/auth?scope=repository:{public}:pull"))
            .await,
    );
    assert!(claims(&text).get("sub").is_none());
    let client = nobody.bearer(&text);
    client
        .get(&format!("/v2/{public}/manifests/tag"))
        .await
        .expect(200);
    client
        .get(&format!("/v2/{private}/manifests/tag"))
        .await
        .expect(401);
}

#[tokio::test]
async fn nobody_who_asks_for_nothing_must_log_in() {
    let app = TestApp::shared().await;
    for query in [
        "/v2/auth",
        "/v2/auth?service=portolan",
        "/v2/auth?scope=",
        "/v2/auth?scope=+",
    ] {
        let answer = app
            .anonymous()
            .get(query)
            .await
            .refused(401, "UNAUTHORIZED");
        assert_eq!(
            answer.header("www-authenticate"),
            "Basic realm=\"portolan\""
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_alike_whoever_exists() {
    let app = TestApp::shared().await;
    let nobody = app.anonymous();
    let scope = "&scope=repository:token/x:pull";
    let mut bodies = Vec::new();
    for (name, password) in [
        (ADMIN, "wrong"),
        ("nobody", "wrong"),
        ("No Body!", "wrong"),
        (ADMIN, ""),
        ("", ""),
    ] {
        for query in ["", scope] {
            let client = nobody.basic(name, password);
            let answer = client
                .get(&format!("/v2/auth?service=portolan{query}"))
                .await;
            bodies.push(answer.refused(401, "UNAUTHORIZED").body);
        }
        let form = format!("grant_type=password&username={name}&password={password}{scope}");
        bodies.push(post(&nobody, &form).await.refused(401, "UNAUTHORIZED").body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    // A token is no password here, and an unreadable header is not taken for none.
    for header in ["Bearer abc", "Basic !", "Negotiate abc", "Basic YWRtaW4="] {
        let asking = nobody.request(Method::GET, &format!("/v2/auth?{scope}"));
        asking
            .header("authorization", header)
            .send()
            .await
            .refused(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn every_scope_counts_wherever_it_stands() {
    let app = TestApp::shared().await;
    let (one, two, three) = (
        repository("token"),
        repository("token"),
        repository("token"),
    );
    let query = format!(
        "&scope=repository:{one}:push,pull&scope=repository:{two}:pull%20repository:{three}:pull&scope=repository:{one}:delete"
    );
    let expected = [
        format!("{one}:pull,push,delete"),
        format!("{two}:pull"),
        format!("{three}:pull"),
    ];
    assert_eq!(granted(&app.admin(), &query).await, expected);
    let form = password_form(
        ADMIN,
        &format!("&scope=repository:{two}:pull repository:{one}:pull"),
    );
    let answer = post(&app.anonymous(), &form).await.expect(200);
    assert_eq!(
        access(&token(&answer)),
        [format!("{two}:pull"), format!("{one}:pull")]
    );
}

#[tokio::test]
async fn what_is_not_known_is_dropped_and_the_rest_is_granted() {
    let app = TestApp::shared().await;
    let name = repository("token");
    for (asked, expected) in [
        (
            format!("repository:{name}:metadata_read,pull,content_read"),
            vec![format!("{name}:pull")],
        ),
        (
            format!("repository:{name}:*"),
            vec![format!("{name}:pull,push,delete")],
        ),
        (format!("repository:localhost:5000/{name}:pull"), vec![]),
        (format!("repository(plugin):{name}:pull"), vec![]),
        (
            "repository:alpine:pull".into(),
            vec!["library/alpine:pull".into()],
        ),
        ("registry:catalog:*".into(), vec!["catalog:*".into()]),
        ("registry:something:*".into(), vec![]),
    ] {
        assert_eq!(
            granted(&app.admin(), &format!("&scope={asked}")).await,
            expected,
            "{asked}"
        );
    }
}

#[tokio::test]
async fn a_token_carries_what_its_holder_may_and_no_more() {
    let app = TestApp::shared().await;
    let name = format!("bob{}", unique());
    let user = app.user(&name);
    let (public, private) = (repository("token"), repository("token"));
    for name in [&public, &private] {
        push(&app.admin(), name, "tag", &Image::random(902)).await;
    }
    app.publish(&public);
    let all = |repository: &str| format!("&scope=repository:{repository}:pull,push,delete");
    assert_eq!(
        granted(&user, &all(&public)).await,
        [format!("{public}:pull")]
    );
    let none = Vec::<String>::new();
    assert_eq!(granted(&user, &all(&private)).await, none);
    assert_eq!(granted(&user, &all("token/missing")).await, none);
    // His own namespace, before the first push.
    let own = format!("{name}/new");
    assert_eq!(
        granted(&user, &all(&own)).await,
        [format!("{own}:pull,push,delete")]
    );
    let scope = format!("repository:{own}:pull,push");
    let text = app.token(&user, &[&scope]).await;
    push(
        &app.anonymous().bearer(&text),
        &own,
        "tag",
        &Image::random(903),
    )
    .await;
}

#[tokio::test]
async fn a_form_that_is_not_understood_is_400_after_which_clients_try_get() {
    let app = TestApp::shared().await;
    let nobody = app.anonymous();
    for form in [
        "",
        "grant_type=refresh_token&refresh_token=abc&service=portolan",
        "grant_type=client_credentials",
        "grant_type=password&username=admin",
        "username=admin&password=x",
    ] {
        let answer = post(&nobody, form).await.refused(400, "UNSUPPORTED");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let json = json!({ "grant_type": "password", "username": ADMIN, "password": PASSWORD });
    let asking = nobody
        .request(Method::POST, "/v2/auth")
        .header("content-type", "application/json");
    asking
        .body(json.to_string())
        .send()
        .await
        .refused(400, "UNSUPPORTED");
    let endless = password_form(ADMIN, &format!("&scope={}", "x".repeat(100_000)));
    post(&nobody, &endless).await.refused(400, "UNSUPPORTED");
}

#[tokio::test]
async fn other_methods_hear_which_there_are() {
    let app = TestApp::shared().await;
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = app.anonymous().request(method, "/v2/auth").send().await;
        let answer = answer.refused(405, "UNSUPPORTED");
        assert_eq!(answer.header("allow"), "GET, HEAD, POST");
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            "registry/2.0"
        );
    }
}

#[tokio::test]
async fn a_flood_of_scopes_makes_a_token_that_fits_a_header() {
    let app = TestApp::shared().await;
    let long = "x".repeat(100);
    let scopes: Vec<String> = (0..100)
        .map(|i| format!("scope=repository:token/{long}{i}:pull"))
        .collect();
    let scopes = scopes.join("&");
    let text = token(
        &app.admin()
            .get(&format!("/v2/auth?{scopes}"))
            .await
            .expect(200),
    );
    assert!(text.len() < 8 * 1024, "{} bytes", text.len());
    app.anonymous().bearer(&text).get("/v2/").await.expect(200);
}

#[tokio::test]
async fn a_password_is_taken_without_a_token_too() {
    let app = TestApp::shared().await;
    let name = repository("token");
    push(&app.admin(), &name, "tag", &Image::random(904)).await;
    app.admin().get("/v2/").await.expect(200);
    app.admin()
        .get(&format!("/v2/{name}/manifests/tag"))
        .await
        .expect(200);
    let wrong = app.anonymous().basic(ADMIN, "wrong");
    let answer = wrong
        .get(&format!("/v2/{name}/manifests/tag"))
        .await
        .refused(401, "UNAUTHORIZED");
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer realm=") && !challenge.contains("Basic"),
        "{challenge}"
    );
    // Not even for what everybody may read.
    app.publish(&name);
    wrong
        .get(&format!("/v2/{name}/manifests/tag"))
        .await
        .expect(401);
    app.anonymous()
        .get(&format!("/v2/{name}/manifests/tag"))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_hostile_host_cannot_shape_the_realm() {
    let app = TestApp::shared().await;
    for (name, value) in [
        ("x-forwarded-host", "attacker.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "host=attacker.example;proto=https"),
    ] {
        let client = app.anonymous();
        let asking = client.request(Method::GET, "/v2/").header(name, value);
        let answer = asking.send().await.expect(401);
        let realm = format!("realm=\"http://{}/v2/auth\"", app.address());
        assert!(answer.header("www-authenticate").contains(&realm), "{name}");
    }
}
