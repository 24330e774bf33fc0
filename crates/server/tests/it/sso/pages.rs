//! What a browser can do once somebody is signed in.

use super::browser::form_token;
use super::provider::IdentityProvider;
use super::stage::{account, audited, browser, corp, log_in, person};

#[tokio::test]
async fn a_token_for_docker_is_made_at_the_browser_and_shown_once() {
    let provider = IdentityProvider::shared().await;
    provider.person("anna", &person("anna", &[])).await;
    let app = corp(provider).start().await;
    let mut at_work = log_in(&app, "anna").await;
    let page = at_work.get("/auth/done").await.expect(200);
    let token = form_token(&page);
    let form = format!("form_token={token}");
    let made = at_work.post("/auth/token", &form).await.expect(200);
    assert_eq!(made.header("cache-control"), "no-store");
    let text = String::from_utf8_lossy(&made.body).into_owned();
    let (_, rest) = text.split_once("--password ").expect("a command");
    let secret = rest.split(' ').next().unwrap();
    assert_eq!(account(&app, "anna", secret).await.as_deref(), Some("anna"));
    let page = at_work.get("/auth/done").await.expect(200);
    assert!(!String::from_utf8_lossy(&page.body).contains(secret));
    assert!(
        audited(&app, "anna")
            .await
            .contains(&"token.create".to_owned())
    );
}

#[tokio::test]
async fn a_form_counts_with_the_session_that_it_was_made_for() {
    let provider = IdentityProvider::shared().await;
    provider.person("bert", &person("bert", &[])).await;
    let app = corp(provider).start().await;
    let mut one = log_in(&app, "bert").await;
    let mut other = log_in(&app, "bert").await;
    let foreign = form_token(&other.get("/auth/done").await);
    for target in ["/auth/token", "/auth/sign-out"] {
        for form in [
            "form_token=x",
            "form_token=",
            &format!("form_token={foreign}"),
        ] {
            one.post(target, form).await.expect(400);
        }
        one.post(target, "").await.expect(422);
        browser(&app, "bert")
            .post(target, &format!("form_token={foreign}"))
            .await
            .expect(401);
        one.get(target).await.expect(405);
    }
    assert_eq!(app.count("SELECT count(*) FROM credential").await, 0);
    assert_eq!(app.count("SELECT count(*) FROM session").await, 2);
}

#[tokio::test]
async fn signing_out_ends_the_session_at_once() {
    let provider = IdentityProvider::shared().await;
    provider.person("cora", &person("cora", &[])).await;
    let app = corp(provider).start().await;
    let mut at_work = log_in(&app, "cora").await;
    let cookie = at_work.cookie("portolan_session").unwrap().to_owned();
    let form = format!(
        "form_token={}",
        form_token(&at_work.get("/auth/done").await)
    );
    at_work.post("/auth/sign-out", &form).await.expect(303);
    assert!(at_work.cookie("portolan_session").is_none());
    at_work.set_cookie("portolan_session", &cookie);
    let page = at_work.get("/auth/done").await.expect(401);
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(text.contains("/auth/oidc/corp/login"), "{text}");
    assert_eq!(app.count("SELECT count(*) FROM session").await, 0);
    // What is no session of ours is nobody's.
    for wrong in ["", "x", &"A".repeat(43)] {
        at_work.set_cookie("portolan_session", wrong);
        at_work.get("/auth/done").await.expect(401);
    }
}
