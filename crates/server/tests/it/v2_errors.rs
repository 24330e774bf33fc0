//! Refusals and failures: the challenge, the envelope, and what a client must not be told.

use crate::app::{Store, TestApp, push, repository, unique};
use http::Method;
use portolan_oci::Digest;
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::Image;

/// The challenge of a 401: exactly one, Bearer, quoted, without spaces after commas.
#[track_caller]
fn challenge(answer: Answer, scope: Option<&str>, error: Option<&str>) {
    let answer = answer.refused(401, "UNAUTHORIZED");
    let found = answer.header("www-authenticate");
    let host = answer_host(&answer);
    let scope = scope.map_or_else(String::new, |scope| format!(r#",scope="{scope}""#));
    let error = error.map_or_else(String::new, |error| format!(r#",error="{error}""#));
    let realm = format!("http://{host}/v2/auth");
    assert_eq!(
        found,
        format!(r#"Bearer realm="{realm}",service="portolan"{scope}{error}"#)
    );
}

fn answer_host(answer: &Answer) -> String {
    let (_, address) = answer.asked().split_once("http://").expect("an address");
    address.split('/').next().unwrap_or_default().to_owned()
}

async fn ask(client: &Client, method: Method, target: &str) -> Answer {
    client.request(method, target).send().await
}

#[tokio::test]
async fn a_challenge_names_the_scope_that_the_request_takes() {
    let app = TestApp::shared().await;
    let name = repository("errors");
    push(&app.admin(), &name, "tag", &Image::random(700)).await;
    let digest = Digest::sha256(b"x");
    let id = uuid::Uuid::nil();
    let of = |actions: &str| format!("repository:{name}:{actions}");
    for (method, target, scope) in [
        (Method::GET, format!("/v2/{name}/manifests/tag"), of("pull")),
        (
            Method::HEAD,
            format!("/v2/{name}/blobs/{digest}"),
            of("pull"),
        ),
        (
            Method::GET,
            format!("/v2/{name}/tags/list?n=10000"),
            of("pull"),
        ),
        (
            Method::GET,
            format!("/v2/{name}/referrers/{digest}"),
            of("pull"),
        ),
        (
            Method::PUT,
            format!("/v2/{name}/manifests/tag"),
            of("pull,push"),
        ),
        (
            Method::POST,
            format!("/v2/{name}/blobs/uploads/"),
            of("pull,push"),
        ),
        (
            Method::PATCH,
            format!("/v2/{name}/blobs/uploads/{id}"),
            of("pull,push"),
        ),
        (
            Method::DELETE,
            format!("/v2/{name}/blobs/uploads/{id}"),
            of("pull,push"),
        ),
        (
            Method::DELETE,
            format!("/v2/{name}/manifests/tag"),
            of("delete"),
        ),
        (
            Method::DELETE,
            format!("/v2/{name}/blobs/{digest}"),
            of("delete"),
        ),
        (
            Method::POST,
            format!("/v2/{name}/blobs/uploads/?mount={digest}&from=other/source"),
            format!("{} repository:other/source:pull", of("pull,push")),
        ),
    ] {
        let answer = ask(&app.anonymous(), method.clone(), &target).await;
        if method == Method::HEAD {
            let answer = answer.expect(401);
            assert!(
                answer
                    .header("www-authenticate")
                    .contains(&format!(r#"scope="{scope}""#))
            );
        } else {
            challenge(answer, Some(&scope), None);
        }
        let forged = app.anonymous().bearer("e30.e30.e30");
        let answer = ask(&forged, method, &target).await.expect(401);
        assert!(
            answer
                .header("www-authenticate")
                .ends_with(r#",error="invalid_token""#)
        );
    }
    challenge(app.anonymous().get("/v2/").await, None, None);
    challenge(
        app.anonymous().basic("nobody", "x").get("/v2/").await,
        None,
        None,
    );
}

#[tokio::test]
async fn what_is_missing_looks_like_what_is_private() {
    let app = TestApp::shared().await;
    let user = app.user(&format!("eve{}", unique()));
    let private = repository("errors");
    let missing = format!("{private}-missing");
    let image = Image::random(701);
    push(&app.admin(), &private, "tag", &image).await;
    let digest = image.config.digest;
    // The longer name first, since it contains the other.
    let nameless = |text: &str| text.replace(&missing, "NAME").replace(&private, "NAME");
    let bare = |answer: &Answer| {
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        let challenge = answer.lines("www-authenticate").concat();
        (answer.status, nameless(&body), nameless(&challenge))
    };
    for (method, rest, status) in [
        (Method::GET, "manifests/tag".to_owned(), (401, 401)),
        (Method::HEAD, "manifests/tag".to_owned(), (401, 401)),
        (Method::GET, format!("blobs/{digest}"), (401, 401)),
        (Method::GET, "tags/list".to_owned(), (401, 401)),
        (Method::GET, format!("referrers/{digest}"), (401, 401)),
        (Method::PUT, "manifests/tag".to_owned(), (401, 403)),
        (Method::POST, "blobs/uploads/".to_owned(), (401, 403)),
        (
            Method::POST,
            format!("blobs/uploads/?mount={digest}&from={private}"),
            (401, 403),
        ),
        (Method::DELETE, "manifests/tag".to_owned(), (401, 403)),
        (Method::DELETE, format!("blobs/{digest}"), (401, 403)),
    ] {
        for (client, status) in [(&app.anonymous(), status.0), (&user, status.1)] {
            let there = ask(client, method.clone(), &format!("/v2/{private}/{rest}")).await;
            let nowhere = ask(client, method.clone(), &format!("/v2/{missing}/{rest}")).await;
            let (there, nowhere) = (there.expect(status), nowhere.expect(status));
            assert_eq!(bare(&there), bare(&nowhere), "{method} {rest}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_too_narrow_is_told_what_it_lacks() {
    let app = TestApp::shared().await;
    let name = repository("errors");
    push(&app.admin(), &name, "tag", &Image::random(702)).await;
    let pull = app
        .token(&app.admin(), &[&format!("repository:{name}:pull")])
        .await;
    let client = app.anonymous().bearer(&pull);
    client
        .get(&format!("/v2/{name}/manifests/tag"))
        .await
        .expect(200);
    let answer = client.post(&format!("/v2/{name}/blobs/uploads/")).await;
    let scope = format!("repository:{name}:pull,push");
    challenge(answer, Some(&scope), Some("insufficient_scope"));
    let answer = client.delete(&format!("/v2/{name}/manifests/tag")).await;
    challenge(
        answer,
        Some(&format!("repository:{name}:delete")),
        Some("insufficient_scope"),
    );
    let answer = client.get(&format!("/v2/{name}-other/manifests/tag")).await;
    let scope = format!("repository:{name}-other:pull");
    challenge(answer, Some(&scope), Some("insufficient_scope"));
}

#[tokio::test]
async fn a_reader_may_not_write() {
    let app = TestApp::shared().await;
    let user = app.user(&format!("reader{}", unique()));
    let name = repository("errors");
    push(&app.admin(), &name, "tag", &Image::random(703)).await;
    app.publish(&name);
    user.get(&format!("/v2/{name}/manifests/tag"))
        .await
        .expect(200);
    let start = format!("/v2/{name}/blobs/uploads/");
    user.post(&start).await.refused(403, "DENIED");
    user.delete(&format!("/v2/{name}/manifests/tag"))
        .await
        .refused(403, "DENIED");
    // With a token, 401 and what to ask for: containers/image retries so.
    let scope = format!("repository:{name}:pull,push");
    let token = app.token(&user, &[&scope]).await;
    let answer = app.anonymous().bearer(&token).post(&start).await;
    challenge(answer, Some(&scope), Some("insufficient_scope"));
}

#[tokio::test]
async fn every_answer_says_that_this_is_a_registry() {
    let app = TestApp::shared().await;
    let name = repository("errors");
    let digest = Digest::sha256(b"x");
    for (method, target, status) in [
        (Method::GET, "/v2/".to_owned(), 200),
        (Method::GET, format!("/v2/{name}/manifests/tag"), 404),
        (Method::GET, format!("/v2/{name}/blobs/{digest}"), 404),
        (Method::GET, "/v2/nothing/of/ours".to_owned(), 404),
        (Method::GET, "/v2/UPPER/manifests/tag".to_owned(), 400),
        (Method::POST, format!("/v2/{name}/tags/list"), 405),
        (Method::PUT, "/v2/".to_owned(), 405),
        (Method::GET, "/v2/auth".to_owned(), 200),
        (Method::POST, "/v2/auth".to_owned(), 400),
    ] {
        let answer = ask(&app.admin(), method, &target).await.expect(status);
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            "registry/2.0",
            "{target}"
        );
        assert!(answer.has("x-request-id"));
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_is_answered_with_those_that_are() {
    let client = TestApp::shared().await.admin();
    let name = repository("errors");
    let digest = Digest::sha256(b"x");
    for (method, target, allowed) in [
        (
            Method::POST,
            format!("/v2/{name}/manifests/tag"),
            "GET,HEAD,PUT,DELETE",
        ),
        (
            Method::PATCH,
            format!("/v2/{name}/blobs/{digest}"),
            "GET,HEAD,DELETE",
        ),
        (Method::GET, format!("/v2/{name}/blobs/uploads/"), "POST"),
        (
            Method::POST,
            format!("/v2/{name}/blobs/uploads/{}", uuid::Uuid::nil()),
            "GET,HEAD,PATCH,PUT,DELETE",
        ),
        (Method::DELETE, format!("/v2/{name}/tags/list"), "GET,HEAD"),
        (
            Method::OPTIONS,
            format!("/v2/{name}/referrers/{digest}"),
            "GET,HEAD",
        ),
        (
            Method::from_bytes(b"BREW").unwrap(),
            "/v2/_catalog".to_owned(),
            "GET,HEAD",
        ),
    ] {
        let answer = ask(&client, method, &target)
            .await
            .refused(405, "UNSUPPORTED");
        let mut found: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        let mut expected: Vec<&str> = allowed.split(',').collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{target}");
    }
}

#[tokio::test]
async fn a_failure_says_nothing_of_its_cause_and_the_log_does_once() {
    let app = TestApp::start().await;
    let client = app.admin();
    push(&client, "a/b", "tag", &Image::random(704)).await;
    let token = app.token(&client, &["repository:a/b:pull"]).await;
    let client = app.anonymous().bearer(&token);
    // Something that no request can be blamed for.
    let session = app.database().session().await;
    session
        .batch_execute("ALTER TABLE tag RENAME TO tag_is_gone")
        .await
        .unwrap();
    let request = client
        .request(Method::GET, "/v2/a/b/manifests/tag")
        .header("x-request-id", "needle-1");
    let answer = request.send().await.refused(500, "UNKNOWN");
    assert_eq!(answer.header("x-request-id"), "needle-1");
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(body.contains("needle-1"), "{body}");
    for secret in ["tag_is_gone", "relation", "SELECT", "postgres", "sql"] {
        assert!(
            !body.to_lowercase().contains(&secret.to_lowercase()),
            "{body}"
        );
    }
    let log = app.log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("needle-1") && line.contains("ERROR"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("does not exist"), "{}", told[0]);
    session
        .batch_execute("ALTER TABLE tag_is_gone RENAME TO tag")
        .await
        .unwrap();
    client.get("/v2/a/b/manifests/tag").await.expect(200);
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_worth_another_try() {
    let (app, proxy) = TestApp::options(Store::Directory)
        .start_behind_a_proxy()
        .await;
    let client = app.admin();
    push(&client, "a/b", "tag", &Image::random(705)).await;
    let token = app.token(&client, &["repository:a/b:pull,push"]).await;
    let client = app.anonymous().bearer(&token);
    proxy.cut();
    for answer in [
        client.get("/v2/a/b/manifests/tag").await,
        client.post("/v2/a/b/blobs/uploads/").await,
    ] {
        let answer = answer.refused(503, "UNAVAILABLE");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait));
    }
    proxy.restore();
    portolan_testkit::children::eventually("pulls work again", || async {
        client.get("/v2/a/b/manifests/tag").await.status == 200
    })
    .await;
    app.settled().await;
}
