//! CI systems that log in without a secret.

use super::issuer::{Key, TestIssuer};
use super::stage::{account, audited, execute, own, robot};
use crate::app::TestApp;
use portolan_testkit::children::eventually;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Output, Stdio};

const ROBOT: &str = "acme+ci";

/// Runs `portolan admin federation` with a token on its standard input.
fn federation(app: &TestApp, arguments: &[&str], token: &str) -> Output {
    let mut child = app
        .command()
        .args(["admin", "federation"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // One that does not read it has ended already.
    let _ = stdin.write_all(token.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[track_caller]
fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn add(app: &TestApp, issuer: &TestIssuer, more: &[&str]) -> Output {
    let url = issuer.url();
    let mut arguments = vec![
        "add",
        ROBOT,
        "--issuer",
        &url,
        "--audience",
        "https://registry.example.com",
        "--subject",
        "repo:acme/*:ref:refs/heads/main",
    ];
    arguments.extend(more);
    federation(app, &arguments, "")
}

/// What a job of the right repository shows.
fn job(issuer: &TestIssuer) -> Value {
    let mut claims = issuer.claims(
        "repo:acme/app:ref:refs/heads/main",
        "https://registry.example.com",
    );
    claims["environment"] = json!("production");
    claims["ref_protected"] = json!(true);
    claims
}

#[tokio::test]
async fn a_job_becomes_a_robot_by_its_rules_and_every_condition_counts() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    robot(&app, ROBOT).await;
    let token = issuer.key.sign(&job(&issuer));
    assert_eq!(account(&app, ROBOT, &token).await, None, "it has no rule");

    let claims = [
        "--claim",
        "environment=prod*",
        "--claim",
        "ref_protected=true",
    ];
    good(&add(&app, &issuer, &claims));
    assert_eq!(account(&app, ROBOT, &token).await.as_deref(), Some(ROBOT));
    let ours = app.token(&app.anonymous().basic(ROBOT, &token), &[]).await;
    assert_eq!(crate::token::claims(&ours)["via"], "keyless");
    for other in ["acme+cd", "admin", "acme", "$oidc", "own"] {
        assert_eq!(
            account(&app, other, &token)
                .await
                .as_deref()
                .filter(|name| name.contains('+')),
            None,
            "{other}"
        );
    }

    let with = |name: &str, value: Value| {
        let mut claims = job(&issuer);
        claims[name] = value;
        claims
    };
    let stranger = Key::new("stranger");
    for (what, token) in [
        (
            "subject",
            issuer
                .key
                .sign(&with("sub", json!("repo:acme/app:ref:refs/heads/dev"))),
        ),
        (
            "another's repository",
            issuer
                .key
                .sign(&with("sub", json!("repo:evil/app:ref:refs/heads/main"))),
        ),
        (
            "audience",
            issuer
                .key
                .sign(&with("aud", json!("https://other.example.com"))),
        ),
        (
            "claim",
            issuer.key.sign(&with("environment", json!("staging"))),
        ),
        (
            "claim's truth",
            issuer.key.sign(&with("ref_protected", json!(false))),
        ),
        (
            "claim's shape",
            issuer
                .key
                .sign(&with("environment", json!({ "production": 1 }))),
        ),
        (
            "issuer",
            issuer.key.sign(&with("iss", json!("https://evil.example"))),
        ),
        (
            "expired",
            issuer
                .key
                .sign(&with("exp", json!(super::issuer::now() - 61))),
        ),
        ("a key of nobody", stranger.sign(&job(&issuer))),
    ] {
        assert_eq!(account(&app, ROBOT, &token).await, None, "{what}");
    }
    assert_eq!(audited(&app, ROBOT).await, ["robot.add_rule"]);

    // Disabled, expired, or of an owner who is.
    for sql in [
        "UPDATE account SET state = 'disabled' WHERE name = 'acme+ci'",
        "UPDATE account SET state = 'disabled' WHERE name = 'acme'",
        "UPDATE account SET expires_at = now() - interval '1 minute' WHERE name = 'acme+ci'",
    ] {
        execute(&app, sql).await;
        assert_eq!(account(&app, ROBOT, &token).await, None, "{sql}");
        execute(
            &app,
            "UPDATE account SET state = 'active', expires_at = NULL",
        )
        .await;
        assert_eq!(account(&app, ROBOT, &token).await.as_deref(), Some(ROBOT));
    }
}

#[tokio::test]
async fn a_dry_run_says_of_each_rule_why_it_does_not_admit_a_token() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    robot(&app, ROBOT).await;
    let test = ["test", ROBOT, "--token-file", "-"];
    let token = issuer.key.sign(&job(&issuer));
    assert!(failed(&federation(&app, &test, &token)).contains("the robot has no rules"));

    good(&add(&app, &issuer, &["--claim", "environment=staging"]));
    good(&add(&app, &issuer, &["--claim", "actor=alice"]));
    let said = failed(&federation(&app, &test, &token));
    let first = "rule 1 does not admit it: the claim `environment` is `production`, and the rule wants `staging`";
    let second = "rule 2 does not admit it: the token has no claim `actor` that could be compared, and the rule wants `alice`";
    assert!(said.contains(first) && said.contains(second), "{said}");
    assert!(
        said.contains("the token does not stand for `acme+ci`"),
        "{said}"
    );

    good(&add(&app, &issuer, &[]));
    let said = good(&federation(&app, &test, &token));
    assert!(
        said.contains("rule 3 admits it") && said.contains(first),
        "{said}"
    );
    let json = [&test[..], &["-o", "json"]].concat();
    let said: Value = serde_json::from_str(&good(&federation(&app, &json, &token))).expect("JSON");
    assert_eq!(said["admitted"], true);
    assert_eq!(said["rules"][2]["admits"], true);

    let mut foreign = job(&issuer);
    foreign["sub"] = json!("repo:evil/app:ref:refs/heads/main");
    let said = failed(&federation(&app, &test, &issuer.key.sign(&foreign)));
    let miss = "the subject is `repo:evil/app:ref:refs/heads/main`, and the rule wants `repo:acme/*:ref:refs/heads/main`";
    assert!(said.contains(miss), "{said}");
    foreign["iss"] = json!("https://evil.example");
    let said = failed(&federation(&app, &test, &issuer.key.sign(&foreign)));
    assert!(said.contains("its issuer is not trusted here"), "{said}");
    let said = failed(&federation(&app, &test, &Key::new("x").sign(&job(&issuer))));
    assert!(said.contains("its issuer publishes no such key"), "{said}");
    let said = failed(&federation(&app, &test, "nonsense"));
    assert!(said.contains("it is malformed"), "{said}");
}

#[tokio::test]
async fn rules_are_listed_and_removed_and_name_trusted_issuers_only() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    robot(&app, ROBOT).await;
    let token = issuer.key.sign(&job(&issuer));
    good(&add(&app, &issuer, &["--claim", "environment=production"]));
    let said = good(&federation(&app, &["list", ROBOT], ""));
    assert!(
        said.contains("environment production") && said.contains(&issuer.url()),
        "{said}"
    );
    let said = good(&federation(&app, &["list", ROBOT, "-o", "json"], ""));
    let rules: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(rules[0]["subject"], "repo:acme/*:ref:refs/heads/main");
    assert_eq!(account(&app, ROBOT, &token).await.as_deref(), Some(ROBOT));
    let another = app.another();
    let ours = app.token(&app.anonymous().basic(ROBOT, &token), &[]).await;
    good(&federation(&app, &["remove", ROBOT, "1"], ""));
    assert_eq!(account(&app, ROBOT, &token).await, None, "the rule is gone");
    let given = another.anonymous().bearer(&ours);
    let answer = given.get("/v2/acme/app/tags/list").await;
    assert_eq!(
        answer
            .refused(401, "UNAUTHORIZED")
            .header("www-authenticate")
            .matches("invalid_token")
            .count(),
        1
    );
    assert!(
        failed(&federation(&app, &["remove", ROBOT, "1"], "")).contains("there is no rule `1`")
    );
    assert_eq!(
        audited(&app, ROBOT).await,
        ["robot.add_rule", "robot.remove_rule"]
    );

    let untrusted = [
        "add",
        ROBOT,
        "--issuer",
        "https://evil.example",
        "--audience",
        "a",
        "--subject",
        "s",
    ];
    assert!(failed(&federation(&app, &untrusted, "")).contains("not among `keyless.issuers`"));
    let url = issuer.url();
    let nobody = [
        "add",
        "acme+none",
        "--issuer",
        &url,
        "--audience",
        "a",
        "--subject",
        "s",
    ];
    assert!(failed(&federation(&app, &nobody, "")).contains("there is no robot `acme+none`"));
    let everybody = [
        "add",
        ROBOT,
        "--issuer",
        &url,
        "--audience",
        "a",
        "--subject",
        "*",
    ];
    let refused = federation(&app, &everybody, "");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert_eq!(app.count("SELECT count(*) FROM federation_rule").await, 0);
}

#[tokio::test]
async fn keys_of_a_ci_system_change_without_anybody_noticing() {
    let issuer = TestIssuer::start();
    let app = own(&issuer).start().await;
    robot(&app, ROBOT).await;
    good(&add(&app, &issuer, &[]));
    let token = issuer.key.sign(&job(&issuer));
    assert_eq!(account(&app, ROBOT, &token).await.as_deref(), Some(ROBOT));
    let second = Key::new("second");
    let new = second.sign(&job(&issuer));
    issuer.publish(&[&second]);
    eventually("the new key is known", || async {
        account(&app, ROBOT, &new).await.is_some()
    })
    .await;
    assert_eq!(
        account(&app, ROBOT, &token).await,
        None,
        "the old key was taken back"
    );
    issuer.goes_down();
    assert_eq!(account(&app, ROBOT, &new).await.as_deref(), Some(ROBOT));
}
