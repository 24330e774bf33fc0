//! Lists: tags, the catalog, and search.

use crate::app::{TestApp, push, push_manifest, repository, unique};
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::Image;
use serde_json::json;

fn tags(answer: &Answer) -> Vec<String> {
    let list = answer.json()["tags"]
        .as_array()
        .expect("a list, never null")
        .clone();
    list.iter()
        .map(|tag| tag.as_str().expect("a tag").to_owned())
        .collect()
}

/// The target of `Link: <...>; rel="next"`, which must be of this server and relative to it.
fn next(answer: &Answer) -> Option<String> {
    answer.has("link").then(|| {
        let link = answer.header("link");
        let target = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(r#">; rel="next""#));
        let target = target.unwrap_or_else(|| panic!("`Link: {link}`"));
        assert!(target.starts_with("/v2/"), "`Link: {link}`");
        target.to_owned()
    })
}

/// A repository with these tags on one image.
async fn tagged(client: &Client, names: &[&str]) -> String {
    let repository = repository("tags");
    let image = Image::random(200);
    push(client, &repository, names[0], &image).await;
    for name in &names[1..] {
        push_manifest(client, &repository, name, &image.manifest).await;
    }
    repository
}

#[tokio::test]
async fn tags_are_listed_in_bytewise_order() {
    let client = TestApp::shared().await.admin();
    let repository = tagged(&client, &["b", "a", "B", "_x", "1.10", "1.9", "1-a", "z"]).await;
    let list = client
        .get(&format!("/v2/{repository}/tags/list"))
        .await
        .expect(200);
    assert_eq!(
        list.json(),
        json!({ "name": repository, "tags": ["1-a", "1.10", "1.9", "B", "_x", "a", "b", "z"] })
    );
    assert_eq!(list.header("content-type"), "application/json");
    assert!(!list.has("link"));
}

#[tokio::test]
async fn a_list_can_be_read_page_by_page() {
    let client = TestApp::shared().await.admin();
    let names = ["a", "b", "c", "d", "e"];
    let repository = tagged(&client, &names).await;
    let list = async |query: &str| {
        client
            .get(&format!("/v2/{repository}/tags/list{query}"))
            .await
            .expect(200)
    };
    let mut target = format!("/v2/{repository}/tags/list?n=2");
    let mut read = Vec::new();
    let mut pages = 0;
    loop {
        let page = client.get(&target).await.expect(200);
        read.extend(tags(&page));
        pages += 1;
        let Some(after) = next(&page) else { break };
        target = after;
    }
    assert_eq!((read, pages), (names.map(str::to_owned).to_vec(), 3));

    let full = list("?n=5").await;
    assert_eq!(
        (tags(&full).len(), next(&full)),
        (5, None),
        "no link to an empty page"
    );
    let none = list("?n=0").await;
    assert_eq!((tags(&none).len(), next(&none)), (0, None));
    // Bots ask for more than there ever is.
    for query in ["?n=10000", "?n=1000000000", "?n=99999999999999999999999"] {
        let all = list(query).await;
        assert_eq!((tags(&all).len(), next(&all)), (5, None));
    }
    assert_eq!(tags(&list("?last=b").await), ["c", "d", "e"]);
    assert_eq!(
        tags(&list("?last=bb&n=1").await),
        ["c"],
        "a tag that is not there has its place"
    );
    assert_eq!(tags(&list("?last=e").await), Vec::<String>::new());
    for query in ["?n=-1", "?n=x", "?n="] {
        let answer = client
            .get(&format!("/v2/{repository}/tags/list{query}"))
            .await;
        answer.refused(400, "PAGINATION_NUMBER_INVALID");
    }
}

#[tokio::test]
async fn a_page_is_never_longer_than_configured() {
    let app = TestApp::options(crate::app::Store::Directory)
        .with("LIMITS__PAGE", 3)
        .start()
        .await;
    let client = app.admin();
    let repository = tagged(&client, &["a", "b", "c", "d"]).await;
    for query in ["", "?n=100"] {
        let first = client
            .get(&format!("/v2/{repository}/tags/list{query}"))
            .await
            .expect(200);
        assert_eq!(tags(&first), ["a", "b", "c"]);
        let second = client.get(&next(&first).expect("a link")).await.expect(200);
        assert_eq!((tags(&second), next(&second)), (vec!["d".to_owned()], None));
    }
    app.settled().await;
}

#[tokio::test]
async fn a_repository_without_tags_has_an_empty_list() {
    let client = TestApp::shared().await.admin();
    let repository = tagged(&client, &["only"]).await;
    client
        .delete(&format!("/v2/{repository}/manifests/only"))
        .await
        .expect(202);
    let list = client
        .get(&format!("/v2/{repository}/tags/list"))
        .await
        .expect(200);
    assert_eq!(list.json(), json!({ "name": repository, "tags": [] }));
}

#[tokio::test]
async fn the_catalog_shows_what_one_may_read() {
    let app = TestApp::start().await;
    let (admin, user) = (app.admin(), app.user("carol"));
    let image = Image::random(201);
    for repository in ["carol/own", "other/public", "other/private"] {
        push(&admin, repository, "tag", &image).await;
    }
    app.publish("other/public");
    let catalog = async |client: &Client, query: &str| {
        let answer = client
            .get(&format!("/v2/_catalog{query}"))
            .await
            .expect(200);
        let link = next(&answer);
        (answer.json()["repositories"].clone(), link)
    };
    let all = json!(["carol/own", "other/private", "other/public"]);
    assert_eq!(catalog(&admin, "").await.0, all);
    assert_eq!(
        catalog(&user, "").await.0,
        json!(["carol/own", "other/public"])
    );
    // Clients show credentials only when they are asked for them.
    let refused = app.anonymous().get("/v2/_catalog").await;
    let refused = refused.refused(401, "UNAUTHORIZED");
    assert!(
        refused
            .header("www-authenticate")
            .ends_with(r#",scope="registry:catalog:*""#)
    );
    let nobody = app.token(&app.anonymous(), &["registry:catalog:*"]).await;
    assert_eq!(
        catalog(&app.anonymous().bearer(&nobody), "").await.0,
        json!(["other/public"])
    );
    let (first, link) = catalog(&user, "?n=1").await;
    assert_eq!(first, json!(["carol/own"]));
    assert_eq!(link.as_deref(), Some("/v2/_catalog?n=1&last=carol/own"));
    assert_eq!(
        catalog(&user, "?n=1&last=carol/own").await,
        (json!(["other/public"]), None)
    );
    admin
        .get("/v2/_catalog?n=-1")
        .await
        .refused(400, "PAGINATION_NUMBER_INVALID");
    // A token that was not made for it does not reach it.
    let token = app.token(&user, &["repository:carol/own:pull"]).await;
    let refused = app.anonymous().bearer(&token).get("/v2/_catalog").await;
    let refused = refused.refused(401, "UNAUTHORIZED");
    assert!(
        refused
            .header("www-authenticate")
            .contains(r#"scope="registry:catalog:*""#)
    );
    let token = app.token(&user, &["registry:catalog:*"]).await;
    assert_eq!(
        catalog(&app.anonymous().bearer(&token), "").await.0,
        json!(["carol/own", "other/public"])
    );
    app.settled().await;
}

#[tokio::test]
async fn podman_can_search() {
    let app = TestApp::shared().await;
    let word = format!("needle{}", unique());
    let image = Image::random(202);
    push(&app.admin(), &format!("search/a-{word}"), "tag", &image).await;
    push(&app.admin(), &format!("search/b-{word}"), "tag", &image).await;
    app.publish(&format!("search/b-{word}"));
    let names = async |client: Client| {
        let answer = client
            .get(&format!("/v1/search?q={word}&n=25"))
            .await
            .expect(200)
            .json();
        let results = answer["results"].as_array().unwrap().clone();
        assert_eq!(answer["num_results"], results.len());
        for field in ["description", "star_count", "is_official", "is_automated"] {
            assert!(
                results.iter().all(|result| !result[field].is_null()),
                "{field}"
            );
        }
        results
            .iter()
            .map(|result| result["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(app.anonymous()).await, [format!("search/b-{word}")]);
    assert_eq!(names(app.admin()).await.len(), 2);
    app.anonymous()
        .get("/v1/search?q=%25%27%00")
        .await
        .expect(200);
    app.anonymous().get("/v1/_ping").await.expect(200);
}

#[tokio::test]
async fn a_hundred_thousand_tags_are_listed_page_by_page() {
    const TAGS: usize = 100_000;
    let app = TestApp::start().await;
    let client = app.admin();
    push(&client, "a/b", "00000", &Image::random(203)).await;
    let session = app.database().session().await;
    session
        .batch_execute(
            "INSERT INTO tag (repository_id, manifest_id, name)
             SELECT tag.repository_id, tag.manifest_id, lpad(number::text, 5, '0')
             FROM tag CROSS JOIN generate_series(1, 99999) AS number; ANALYZE tag",
        )
        .await
        .expect("tags beside the code under test");
    // Without `n`, as Dependabot asks; and with Renovate's, of which it reads at most 20 pages.
    for query in ["", "?n=10000"] {
        let mut target = format!("/v2/a/b/tags/list{query}");
        let mut read = Vec::with_capacity(TAGS);
        let mut pages = 0;
        loop {
            let page = client.get(&target).await.expect(200);
            read.extend(tags(&page));
            pages += 1;
            let Some(after) = next(&page) else { break };
            target = after;
        }
        assert_eq!((read.len(), pages), (TAGS, 10));
        assert!(read.is_sorted());
    }
    app.settled().await;
}
