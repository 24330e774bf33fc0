//! Keys follow each other while requests are under way: those that sign tokens, and the one that seals them.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use crate::app::{SEAL, Store, TestApp, free_addresses, push};
use crate::worker::at_rest;
use portolan_testkit::children::{eventually, run};
use portolan_testkit::client::Client;
use portolan_testkit::image::Image;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::task::JoinSet;

fn admin(app: &TestApp, args: &[&str]) -> Output {
    app.command().arg("admin").args(args).output().unwrap()
}

/// Names by state, as `list` prints them.
fn keys(app: &TestApp) -> Vec<(String, String)> {
    let found = run(app.command().args(["admin", "key", "list", "-o", "json"]));
    let found: Vec<Value> = serde_json::from_slice(&found.stdout).unwrap();
    let key = |key: &Value| {
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        (text("state"), text("kid"))
    };
    let mut keys: Vec<_> = found.iter().map(key).collect();
    keys.sort();
    keys
}

fn states(app: &TestApp) -> Vec<String> {
    keys(app).into_iter().map(|(state, _)| state).collect()
}

async fn published(app: &TestApp) -> BTreeSet<String> {
    let answer = app.anonymous().get("/v2/auth/jwks").await.expect(200);
    assert_eq!(answer.header("cache-control"), "public, max-age=60");
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    let known = |key: &Value| {
        assert_eq!((&key["kty"], &key["alg"]), (&"EC".into(), &"ES256".into()));
        assert_eq!(key["x"].as_str().unwrap().len(), 43);
        assert!(key.get("d").is_none());
        key["kid"].as_str().unwrap().to_owned()
    };
    keys.iter().map(known).collect()
}

/// As if so long had passed since the next key was published.
async fn later(app: &TestApp) {
    let session = app.database().session().await;
    session
        .batch_execute("UPDATE signing_key SET created_at = created_at - interval '3 minutes' WHERE state = 'next'")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_one_key_follows_the_other_on_several_processes() {
    let app = Arc::new(TestApp::start().await);
    push(&app.admin(), "acme/app", "v1", &Image::random(1)).await;
    let processes: Arc<Vec<TestApp>> = Arc::new(vec![app.another(), app.another()]);
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let (app, processes) = (Arc::clone(&app), Arc::clone(&processes));
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        clients.spawn(async move {
            let all: Vec<&TestApp> = std::iter::once(&*app).chain(processes.iter()).collect();
            let mut round = number;
            let mut tokens: Vec<String> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (from, to) = (all[round % 3], all[(round + 1) % 3]);
                tokens.push(
                    from.token(&from.admin(), &["repository:acme/app:pull"])
                        .await,
                );
                // Those of the keys before are good as well.
                for token in tokens.iter().rev().take(20) {
                    to.anonymous()
                        .bearer(token)
                        .get("/v2/acme/app/manifests/v1")
                        .await
                        .expect(200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
                round += 1;
            }
        });
    }
    let moved_on = async || {
        let from = served.load(Ordering::Relaxed);
        eventually("requests go on", || async {
            served.load(Ordering::Relaxed) > from + 100
        })
        .await;
    };
    for _ in 0..2 {
        moved_on().await;
        let said = run(app.command().args(["admin", "key", "rotate"]));
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains("it signs in 120 s"), "{said}");
        let too_soon = admin(&app, &["key", "rotate"]);
        assert!(!too_soon.status.success());
        let next = keys(&app)
            .into_iter()
            .find(|(state, _)| state == "next")
            .unwrap()
            .1;
        // What a minute does: each process reads the table when its copy is old.
        for process in processes.iter().chain([&*app]) {
            learn(process, &next).await;
        }
        later(&app).await;
        let said = run(app.command().args(["admin", "key", "rotate"]));
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains(&format!("signed with key {next}")), "{said}");
    }
    moved_on().await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.expect("no request failed");
    }
    assert_eq!(states(&app), ["retired", "retired", "signing"]);
    let all: BTreeSet<String> = keys(&app).into_iter().map(|(_, kid)| kid).collect();
    let other = app.another();
    assert_eq!(published(&other).await, all);
    other
        .anonymous()
        .get("/.well-known/jwks.json")
        .await
        .expect(200);
    let changes = "SELECT count(*) FROM audit_log WHERE action = 'key.rotate' AND credential = 'command line'";
    assert_eq!(app.count(changes).await, 2);

    // Retired keys go when the last token that they signed has ended.
    let session = app.database().session().await;
    session
        .batch_execute("UPDATE signing_key SET verifies_until = now() WHERE state = 'retired'; UPDATE job SET due_at = now()")
        .await
        .unwrap();
    let _worker = app.another();
    eventually("they are gone", || async {
        app.count("SELECT count(*) FROM signing_key").await == 1
    })
    .await;
}

/// Waits until a process has met a key, by showing it a token that pretends to be signed with it.
async fn learn(app: &TestApp, kid: &str) {
    use base64::Engine as _;
    let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{kid}"}}"#);
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
    let token = format!("{encoded}.e30.{}", "A".repeat(86));
    eventually("the key is known", || async {
        app.anonymous().bearer(&token).get("/v2/").await.expect(401);
        published(app).await.contains(kid)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_time_has_come_is_followed_by_another_without_anybody() {
    let app = TestApp::start().await;
    at_rest(&app).await;
    let session = app.database().session().await;
    let first = keys(&app)[0].1.clone();
    session
        .batch_execute("UPDATE signing_key SET created_at = now() - interval '91 days'; UPDATE job SET due_at = now()")
        .await
        .unwrap();
    let worker = app.another();
    eventually("the next one is published", || async {
        states(&app) == ["next", "signing"]
    })
    .await;
    let due = "SELECT count(*) FROM job WHERE kind = 'rotate-keys' AND due_at < now() + interval '3 minutes'";
    eventually("it comes again soon", || async {
        app.count(due).await == 1
    })
    .await;
    drop(worker);
    later(&app).await;
    session
        .batch_execute("UPDATE job SET due_at = now()")
        .await
        .unwrap();
    let _worker = app.another();
    eventually("it signs", || async {
        states(&app) == ["retired", "signing"]
    })
    .await;
    assert_eq!(keys(&app)[0].1, first);
    let lasting = "SELECT extract(epoch FROM verifies_until - now())::bigint FROM signing_key WHERE state = 'retired'";
    let lasting = app.count(lasting).await;
    assert!((400..=480).contains(&lasting), "{lasting}");
    let by_job = "SELECT count(*) FROM audit_log WHERE action IN ('key.create', 'key.rotate') AND actor = 'rotate-keys'";
    assert_eq!(app.count(by_job).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_became_known_ends_with_all_its_tokens() {
    let app = TestApp::start().await;
    push(&app.admin(), "acme/app", "v1", &Image::random(1)).await;
    let token = app.token(&app.admin(), &["repository:acme/app:pull"]).await;
    let pull = |app: &TestApp, token: &str| -> (Client, &str) {
        (app.anonymous().bearer(token), "/v2/acme/app/manifests/v1")
    };
    let (client, target) = pull(&app, &token);
    client.get(target).await.expect(200);
    let known = keys(&app)[0].1.clone();
    let said = run(app.command().args(["admin", "key", "retire", &known]));
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains(&format!("retired key {known}; tokens are signed with key ")),
        "{said}"
    );
    assert_eq!(states(&app), ["signing"]);
    assert!(!said.contains(&format!("signed with key {known}")));
    let other = app.another();
    let (client, target) = pull(&other, &token);
    client.get(target).await.expect(401);
    let anew = other
        .token(&other.admin(), &["repository:acme/app:pull"])
        .await;
    let (client, target) = pull(&app, &anew);
    eventually("the new key is known", || async {
        client.get(target).await.status == 200
    })
    .await;
    assert!(!admin(&app, &["key", "retire", &known]).status.success());
    assert_eq!(
        app.count("SELECT count(*) FROM audit_log WHERE action = 'key.retire'")
            .await,
        1
    );
}

/// Another 32 bytes.
const NEW_SEAL: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

#[tokio::test(flavor = "multi_thread")]
async fn the_sealing_key_is_changed_without_a_pause() {
    let old = TestApp::options(Store::Directory).start().await;
    push(&old.admin(), "acme/app", "v1", &Image::random(1)).await;
    let token = old.token(&old.admin(), &["repository:acme/app:pull"]).await;
    let old_keys = format!("[\"{SEAL}\"]");
    let both = old.another_with(&[("SECRETS__KEY", NEW_SEAL), ("SECRETS__OLD_KEYS", &old_keys)]);
    let works = async |app: &TestApp| {
        let fresh = app.token(&app.admin(), &["repository:acme/app:pull"]).await;
        for token in [&token, &fresh] {
            let client = app.anonymous().bearer(token);
            client.get("/v2/acme/app/manifests/v1").await.expect(200);
        }
    };
    works(&both).await;
    let doctor = |app: &TestApp| {
        let said = app.command().arg("doctor").output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    };
    assert!(
        doctor(&both).contains("1 of 1 signing keys are sealed with one of `secrets.old_keys`")
    );
    let list = run(both.command().args(["admin", "key", "list"]));
    assert!(String::from_utf8_lossy(&list.stdout).contains("sealed with an old key"));

    let said = run(both.command().args(["admin", "key", "reseal"]));
    assert!(
        String::from_utf8_lossy(&said.stdout).contains("sealed 1 secrets with the new key; 0 were")
    );
    assert!(doctor(&both).contains("1 signing keys are sealed with `secrets.key`"));
    let said = run(both.command().args(["admin", "key", "reseal"]));
    assert!(String::from_utf8_lossy(&said.stdout).contains("sealed 0 secrets"));
    assert_eq!(
        both.count("SELECT count(*) FROM audit_log WHERE action = 'key.reseal'")
            .await,
        1
    );

    // One that has the new key alone works; those that run already go on.
    let new = old.another_with(&[("SECRETS__KEY", NEW_SEAL)]);
    works(&new).await;
    works(&both).await;
    works(&old).await;
    // One that has the old key alone does not start any more, and nothing says either key.
    let [address, private] = free_addresses();
    let refused = old
        .command()
        .arg("serve")
        .env("PORTOLAN_HTTP__LISTEN", address.to_string())
        .env("PORTOLAN_HTTP__PRIVATE_LISTEN", private.to_string())
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(doctor(&old).contains("sealed with a key that is not configured"));
    let print = run(both.command().args(["check-config", "--print"]));
    let print = String::from_utf8(print.stdout).unwrap();
    assert!(
        !print.contains(SEAL) && !print.contains(NEW_SEAL),
        "{print}"
    );
}
