//! The signing keys: one for the whole registry, sealed, and found by every process.

use crate::app::{PASSWORD, Store, TestApp, free_addresses, push};
use crate::token::claims;
use http::Method;
use portolan_testkit::children::eventually;
use portolan_testkit::image::Image;
use std::thread;

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_agree_on_one_key() {
    let app = TestApp::start().await;
    let session = app.database().session().await;
    session
        .execute("DELETE FROM signing_key", &[])
        .await
        .unwrap();
    let (one, two, three) = thread::scope(|scope| {
        let [one, two, three] = [(); 3].map(|()| scope.spawn(|| app.another()));
        (
            one.join().unwrap(),
            two.join().unwrap(),
            three.join().unwrap(),
        )
    });
    assert_eq!(app.count("SELECT count(*) FROM signing_key").await, 1);
    push(&one.admin(), "a/b", "tag", &Image::random(920)).await;
    for from in [&one, &two, &three] {
        let token = from.token(&from.admin(), &["repository:a/b:pull"]).await;
        for to in [&one, &two, &three] {
            to.anonymous()
                .bearer(&token)
                .get("/v2/a/b/manifests/tag")
                .await
                .expect(200);
        }
    }
}

#[tokio::test]
async fn a_key_made_later_elsewhere_is_found_at_once() {
    let app = TestApp::start().await;
    push(&app.admin(), "a/b", "tag", &Image::random(921)).await;
    app.token(&app.admin(), &["repository:a/b:pull"]).await;
    let session = app.database().session().await;
    // What a rotation does: the old key still verifies, for a while.
    let retire =
        "UPDATE signing_key SET state = 'retired', verifies_until = now() + interval '10 minutes'";
    session.execute(retire, &[]).await.unwrap();
    let other = app.another();
    let old = app.token(&app.admin(), &["repository:a/b:pull"]).await;
    let new = other.token(&other.admin(), &["repository:a/b:pull"]).await;
    for token in [&old, &new] {
        for process in [&app, &other] {
            let client = process.anonymous().bearer(token);
            // At most one look-up of an unknown key is made a second.
            eventually("the key is known", || async {
                client.get("/v2/a/b/manifests/tag").await.status == 200
            })
            .await;
        }
    }
    assert_eq!(app.count("SELECT count(*) FROM signing_key").await, 2);
}

#[tokio::test]
async fn another_secret_is_noticed_at_the_start() {
    let app = TestApp::start().await;
    let [address, private] = free_addresses();
    let output = app
        .command()
        .arg("serve")
        .env("PORTOLAN_HTTP__LISTEN", address.to_string())
        .env("PORTOLAN_HTTP__PRIVATE_LISTEN", private.to_string())
        .env(
            "PORTOLAN_SECRETS__KEY",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("sealed with another key than the configured `SECRETS__KEY`"),
        "{said}"
    );
}

#[tokio::test]
async fn nothing_that_is_secret_is_logged() {
    let app = TestApp::start().await;
    let token = app.token(&app.admin(), &["repository:a/b:pull"]).await;
    app.anonymous().bearer(&token).get("/v2/").await.expect(200);
    app.anonymous()
        .bearer(&format!("{token}x"))
        .get("/v2/")
        .await
        .expect(401);
    app.anonymous()
        .basic("admin", "a wrong password")
        .get("/v2/")
        .await
        .expect(401);
    let form = format!(
        "grant_type=password&username=admin&password={}",
        PASSWORD.replace(' ', "+")
    );
    let client = app.anonymous();
    let asking = client.request(Method::POST, "/v2/auth").body(form);
    asking
        .header("content-type", "application/x-www-form-urlencoded")
        .send()
        .await
        .expect(200);
    let log = app.log();
    let signature = token.rsplit('.').next().unwrap();
    for secret in [PASSWORD, "correct+horse", "a wrong password", signature] {
        assert!(!log.contains(secret), "`{secret}` in the log");
    }
    assert_eq!(claims(&token)["sub"], "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_the_token_service_says_later() {
    let (app, proxy) = TestApp::options(Store::Directory)
        .start_behind_a_proxy()
        .await;
    let admin = app.admin();
    app.token(&admin, &["repository:a/b:pull"]).await;
    proxy.cut();
    let answer = admin
        .get("/v2/auth?service=portolan")
        .await
        .refused(503, "UNAVAILABLE");
    assert!(answer.has("retry-after"));
    proxy.restore();
    eventually("logins work again", || async {
        admin.get("/v2/auth?service=portolan").await.status == 200
    })
    .await;
    app.settled().await;
}
