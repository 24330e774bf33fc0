//! `portolan admin explain`.

use crate::app::{TestApp, push, unique};
use portolan_testkit::image::Image;
use serde_json::{Value, json};
use std::process::Output;

fn explain(app: &TestApp, arguments: &[&str]) -> Output {
    let mut command = app.command();
    command.args(["admin", "explain"]).args(arguments);
    command.output().expect("the binary starts")
}

#[track_caller]
fn document(app: &TestApp, account: &str, action: &str, repository: &str) -> (Value, Option<i32>) {
    let output = explain(app, &[account, action, repository, "--output", "json"]);
    let found = serde_json::from_slice(&output.stdout);
    let found = found.unwrap_or_else(|error| panic!("no JSON: {error}: {output:?}"));
    (found, output.status.code())
}

#[tokio::test]
async fn it_says_what_decides_and_ends_with_the_answer() {
    let app = TestApp::shared().await;
    let (alice, bob) = (format!("alice{}", unique()), format!("bob{}", unique()));
    let client = app.user(&alice);
    app.user(&bob);
    let repository = format!("{alice}/app");
    push(&client, &repository, "tag", &Image::random(930)).await;

    let (found, code) = document(app, &alice, "push", &repository);
    assert_eq!((&found["allowed"], code), (&json!(true), Some(0)));
    assert_eq!(found["decided"], found["derived"]);
    assert_eq!(found["decided"]["role"], "admin");
    assert_eq!(
        found["reason"],
        format!("owner of the namespace: namespace `{alice}` is `{alice}`'s")
    );
    let rules: Vec<&str> = found["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["rule"].as_str().unwrap())
        .collect();
    assert_eq!(
        rules,
        [
            "superuser",
            "owner of the namespace",
            "team that administers",
            "permission",
            "read-only superuser",
            "public repository",
            "team that creates",
        ]
    );

    let (found, code) = document(app, &bob, "pull", &repository);
    assert_eq!((&found["allowed"], code), (&json!(false), Some(3)));
    assert_eq!(
        found["reason"],
        format!("no permission names `{bob}` or a team it is in; the repository is private")
    );
    // What it says is what happens.
    let path = format!("/v2/{repository}/manifests/tag");
    app.anonymous()
        .basic(&bob, crate::app::PASSWORD)
        .get(&path)
        .await
        .expect(401);
    app.publish(&repository);
    for account in [bob.as_str(), "anonymous"] {
        let (found, code) = document(app, account, "pull", &repository);
        assert_eq!(
            (&found["allowed"], code),
            (&json!(true), Some(0)),
            "{account}"
        );
        let (_, code) = document(app, account, "delete", &repository);
        assert_eq!(code, Some(3), "{account}");
    }
    app.anonymous().get(&path).await.expect(200);
}

#[tokio::test]
async fn people_read_a_table_and_programs_an_exit_code() {
    let app = TestApp::shared().await;
    let name = format!("carol{}", unique());
    app.user(&name);
    let output = explain(app, &[&name, "create", &format!("{name}/new")]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout)
        .unwrap()
        .replace(&name, "CAROL");
    insta::assert_snapshot!(text, @r"
    CAROL create `CAROL/new`: allowed
      owner of the namespace: namespace `CAROL` is `CAROL`'s; there is no repository yet

    rule                     met  gives          because
    superuser                no   -              `CAROL` is none
    owner of the namespace   yes  admin, create  namespace `CAROL` is `CAROL`'s
    team that administers    no   -              `CAROL` is in none of them
    permission               no   -              none names `CAROL` or a team it is in
    read-only superuser      no   -              `CAROL` is none
    public repository        no   -              there is no repository `CAROL/new`
    team that creates        no   -              `CAROL` is in none of them

    pull     refused  there is no repository `CAROL/new`
    push     allowed  owner of the namespace: namespace `CAROL` is `CAROL`'s; there is no repository yet
    delete   refused  there is no repository `CAROL/new`
    create   allowed  owner of the namespace: namespace `CAROL` is `CAROL`'s; there is no repository yet
    ");

    let output = explain(app, &["nobody-of-that-name", "pull", "a/b"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("there is no account `nobody-of-that-name`"),
        "{text}"
    );
    // What is no word of it is the command line's fault.
    for wrong in [
        ["carol", "fly", "a/b"],
        ["carol", "pull", "A/B"],
        ["CAROL", "pull", "a/b"],
    ] {
        assert_eq!(explain(app, &wrong).status.code(), Some(2), "{wrong:?}");
    }
}
