//! Robots, application tokens, and who is shut out by wrong passwords.

use crate::app::{ADMIN, Options, PASSWORD, Store, TestApp, push, repository, unique};
use crate::token::claims;
use http::Method;
use portolan_testkit::children::{eventually, run};
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::Image;
use rustix::process::Signal;
use serde_json::{Value, json};

/// What `portolan admin` prints as JSON.
pub(crate) fn admin(app: &TestApp, arguments: &[&str]) -> Value {
    let output = run(app
        .command()
        .arg("admin")
        .args(arguments)
        .args(["-o", "json"]));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The same where a secret is made.
pub(crate) fn secret(app: &TestApp, arguments: &[&str]) -> String {
    let made = admin(app, arguments);
    made["secret"].as_str().expect("a secret").to_owned()
}

/// A user of one's own.
fn user(app: &TestApp) -> String {
    let name = format!("user{}", unique());
    app.user(&name);
    name
}

const LOGIN: &str = "/v2/auth?service=portolan";

fn form(name: &str, password: &str) -> String {
    let encoded = |text: &str| {
        text.replace('+', "%2B")
            .replace(' ', "+")
            .replace('$', "%24")
    };
    format!(
        "grant_type=password&username={}&password={}&service=portolan",
        encoded(name),
        encoded(password)
    )
}

async fn by_form(client: &Client, name: &str, password: &str) -> Answer {
    client
        .request(Method::POST, "/v2/auth")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form(name, password))
        .send()
        .await
}

/// Also of a robot that pulls nothing, and though the process ends a moment later.
#[tokio::test]
async fn a_login_tells_its_secret_when_it_was_used() {
    let mut app = TestApp::start().await;
    app.user("alice");
    let robot = secret(&app, &["robot", "create", "alice+ci"]);
    let token = secret(&app, &["token", "create", "alice"]);
    secret(&app, &["robot", "create", "alice+idle"]);
    for (name, shown) in [("alice+ci", &robot), ("$app", &token)] {
        let client = app.anonymous().basic(name, shown);
        client.get(LOGIN).await.expect(200);
    }
    app.server().signal(Signal::TERM);
    assert_eq!(app.wait().code(), Some(0));
    let used = "SELECT count(*) FROM credential WHERE last_used_at > now() - interval '2 hours'";
    assert_eq!(app.count(used).await, 2);
}

#[tokio::test]
async fn every_login_name_goes_with_what_belongs_to_it_and_nothing_else() {
    let app = TestApp::shared().await;
    let (alice, bob) = (user(app), user(app));
    let robot = format!("{alice}+ci");
    let key = secret(app, &["robot", "create", &robot]);
    let made = admin(app, &["token", "create", &alice, "--title", "laptop"]);
    let token = made["secret"].as_str().expect("a secret");
    assert!(key.starts_with("plr_") && token.starts_with("pla_"));
    for (name, shown, sub, via, id) in [
        (alice.as_str(), PASSWORD, &alice, "password", Value::Null),
        (&alice, token, &alice, "application", made["id"].clone()),
        ("$app", token, &alice, "application", made["id"].clone()),
        (
            "$oauthtoken",
            token,
            &alice,
            "application",
            made["id"].clone(),
        ),
        ("$token", token, &alice, "application", made["id"].clone()),
        (&robot, &key, &robot, "robot", Value::Null),
    ] {
        let client = app.anonymous().basic(name, shown);
        let asked = client.get(LOGIN).await.expect(200);
        let posted = by_form(&app.anonymous(), name, shown).await.expect(200);
        for answer in [asked, posted] {
            let text = answer.json()["token"].as_str().expect("a token").to_owned();
            let said = claims(&text);
            assert_eq!(
                (&said["sub"], &said["via"], &said["cid"]),
                (&json!(sub), &json!(via), &id),
                "{name}"
            );
            app.anonymous().bearer(&text).get("/v2/").await.expect(200);
        }
        client.get("/v2/").await.expect(200);
    }
    let mut bodies = Vec::new();
    for (name, shown) in [
        (bob.as_str(), token),
        (&bob, key.as_str()),
        (&alice, &key),
        (&robot, token),
        (&robot, PASSWORD),
        ("$app", &key),
        ("$app", PASSWORD),
        ("$other", token),
        ("nobody+ci", &key),
        ("", token),
    ] {
        let client = app.anonymous().basic(name, shown);
        bodies.push(client.get(LOGIN).await.refused(401, "UNAUTHORIZED").body);
        let posted = by_form(&app.anonymous(), name, shown).await;
        bodies.push(posted.refused(401, "UNAUTHORIZED").body);
        client.get("/v2/").await.refused(401, "UNAUTHORIZED");
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_robot_pushes_with_a_right_and_an_imported_secret() {
    let app = TestApp::shared().await;
    let alice = user(app);
    let robot = format!("{alice}+ci");
    secret(app, &["robot", "create", &robot]);
    // Of another registry: no prefix, 64 characters.
    let imported = "0123456789ABCDEF".repeat(4);
    let sql = format!(
        "UPDATE credential SET secret_hash = sha256('{imported}') FROM account
         WHERE account.id = account_id AND account.name = '{robot}'"
    );
    let session = app.database().session().await;
    session.batch_execute(&sql).await.expect("a row");
    let name = format!("{alice}/app");
    push(
        &app.anonymous().basic(&alice, PASSWORD),
        &name,
        "tag",
        &Image::random(920),
    )
    .await;
    let robot = app.anonymous().basic(&robot, &imported);
    let target = format!("/v2/{name}/manifests/tag");
    robot.get(&target).await.expect(401);
    let grant = format!(
        "INSERT INTO permission (repository_id, account_id, role)
         SELECT r.id, a.id, 2 FROM repository r, account a WHERE r.path = '{name}' AND a.name = '{alice}+ci'"
    );
    session.batch_execute(&grant).await.expect("a row");
    robot.get(&target).await.expect(200);
    let scope = format!("repository:{name}:pull,push");
    let token = app.token(&robot, &[&scope]).await;
    push(
        &app.anonymous().bearer(&token),
        &name,
        "other",
        &Image::random(921),
    )
    .await;
}

#[tokio::test]
async fn what_a_robot_is_given_ends_with_its_secret_its_time_and_its_owner() {
    let app = TestApp::start().await;
    let another = app.another();
    let alice = user(&app);
    let robot = format!("{alice}+ci");
    let mut key = secret(
        &app,
        &["robot", "create", &robot, "--description", "builds"],
    );
    let token = async |key: &str| app.token(&app.anonymous().basic(&robot, key), &[]).await;
    let opens = async |token: &str, status: u16| {
        let answer = another.anonymous().bearer(token).get("/v2/").await;
        answer.expect(status);
    };
    let logs_in = async |key: &str, status: u16| {
        let client = another.anonymous().basic(&robot, key);
        client.get(LOGIN).await.expect(status);
    };
    // The base asks no database: what a token opens is shown by a repository's answer.
    let name = format!("{alice}/app");
    push(&app.admin(), &name, "tag", &Image::random(922)).await;
    app.publish(&name);
    let target = format!("/v2/{name}/manifests/tag");
    let scope = format!("repository:{name}:pull");
    let pulls = async |token: &str, status: u16| {
        let answer = another.anonymous().bearer(token).get(&target).await;
        let answer = answer.expect(status);
        if status == 401 {
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
    };
    opens(&token(&key).await, 200).await;
    let client = app.anonymous().basic(&robot, &key);
    let given = app.token(&client, &[&scope]).await;
    pulls(&given, 200).await;

    let old = std::mem::replace(&mut key, secret(&app, &["robot", "regenerate", &robot]));
    pulls(&given, 401).await;
    logs_in(&old, 401).await;
    logs_in(&key, 200).await;

    let client = app.anonymous().basic(&robot, &key);
    let given = app.token(&client, &[&scope]).await;
    pulls(&given, 200).await;
    admin(&app, &["robot", "set-expiry", &robot, "--after", "0s"]);
    pulls(&given, 401).await;
    logs_in(&key, 401).await;
    admin(&app, &["robot", "set-expiry", &robot, "--never"]);
    logs_in(&key, 200).await;

    admin(&app, &["robot", "disable", &robot]);
    pulls(&given, 401).await;
    logs_in(&key, 401).await;
    admin(&app, &["robot", "enable", &robot]);
    logs_in(&key, 200).await;
    run(app.command().args(["admin", "user", "disable", &alice]));
    logs_in(&key, 401).await;
    run(app.command().args(["admin", "user", "enable", &alice]));
    logs_in(&key, 200).await;

    let shown = admin(&app, &["robot", "show", &robot]);
    assert_eq!(shown["description"], "builds");
    assert_eq!(
        (&shown["active"], &shown["expires_at"]),
        (&json!(true), &Value::Null)
    );
    admin(&app, &["robot", "describe", &robot, "deploys"]);
    let listed = admin(&app, &["robot", "list", &alice]);
    assert_eq!(listed[0]["description"], "deploys");
    admin(&app, &["robot", "delete", &robot]);
    logs_in(&key, 401).await;
    assert_eq!(admin(&app, &["robot", "list", &alice]), json!([]));
    let written = "SELECT count(*) FROM audit_log WHERE action LIKE 'robot.%' AND credential = 'command line'";
    assert_eq!(app.count(written).await, 8);
    app.settled().await;
}

#[tokio::test]
async fn a_deleted_application_token_ends_what_was_given_for_it_at_once_on_every_process() {
    let app = TestApp::start().await;
    let another = app.another();
    let alice = user(&app);
    let name = format!("{alice}/app");
    push(
        &app.anonymous().basic(&alice, PASSWORD),
        &name,
        "tag",
        &Image::random(923),
    )
    .await;
    let target = format!("/v2/{name}/manifests/tag");
    let all = format!("repository:{name}:pull,push,delete");
    let make = |role: &str| admin(&app, &["token", "create", &alice, "--max-role", role]);
    let (whole, reads) = (make("admin"), make("read"));
    let token = async |made: &Value| {
        let client = app
            .anonymous()
            .basic("$token", made["secret"].as_str().unwrap());
        app.token(&client, &[&all]).await
    };
    let (given, narrow) = (token(&whole).await, token(&reads).await);
    assert_eq!(claims(&narrow)["access"][0]["actions"], json!(["pull"]));
    // Without a token it reaches no further.
    let basic = another
        .anonymous()
        .basic(&alice, reads["secret"].as_str().unwrap());
    basic.get(&target).await.expect(200);
    basic
        .post(&format!("/v2/{name}/blobs/uploads/"))
        .await
        .refused(403, "DENIED");

    let client = another.anonymous().bearer(&given);
    client.get(&target).await.expect(200);
    let id = whole["id"].to_string();
    let listed = admin(&app, &["token", "list", &alice]);
    assert_eq!(
        (&listed[0]["id"], listed.as_array().unwrap().len()),
        (&whole["id"], 2)
    );
    assert!(listed[0].get("secret").is_none(), "it is shown once");
    admin(&app, &["token", "delete", &alice, &id]);
    let answer = client.get(&target).await.refused(401, "UNAUTHORIZED");
    assert!(
        answer
            .header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
    // The other one, and the password, go on.
    another
        .anonymous()
        .bearer(&narrow)
        .get(&target)
        .await
        .expect(200);
    another
        .anonymous()
        .basic(&alice, PASSWORD)
        .get(&target)
        .await
        .expect(200);
    app.settled().await;
}

#[tokio::test]
async fn revoking_ends_every_token_at_once_on_every_process_and_logins_go_on() {
    let app = TestApp::start().await;
    let another = app.another();
    let alice = user(&app);
    let name = format!("{alice}/app");
    let client = app.anonymous().basic(&alice, PASSWORD);
    push(&client, &name, "tag", &Image::random(924)).await;
    let target = format!("/v2/{name}/manifests/tag");
    let scope = format!("repository:{name}:pull");
    let given = app.token(&client, &[&scope]).await;
    another
        .anonymous()
        .bearer(&given)
        .get(&target)
        .await
        .expect(200);
    admin(&app, &["revoke", &alice]);
    let answer = another.anonymous().bearer(&given).get(&target).await;
    let answer = answer.refused(401, "UNAUTHORIZED");
    assert!(
        answer
            .header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
    let anew = another
        .token(&another.anonymous().basic(&alice, PASSWORD), &[&scope])
        .await;
    another
        .anonymous()
        .bearer(&anew)
        .get(&target)
        .await
        .expect(200);
    let nobody = app
        .command()
        .args(["admin", "revoke", "nobody"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(
        app.count("SELECT count(*) FROM audit_log WHERE action = 'account.revoke'")
            .await,
        1
    );
}

#[tokio::test]
async fn revoking_an_organization_ends_the_tokens_of_all_its_robots() {
    let app = TestApp::start().await;
    let alice = user(&app);
    let name = format!("{alice}/app");
    let client = app.anonymous().basic(&alice, PASSWORD);
    push(&client, &name, "tag", &Image::random(925)).await;
    app.publish(&name);
    admin(&app, &["org", "create", "acme"]);
    let target = format!("/v2/{name}/manifests/tag");
    let scope = format!("repository:{name}:pull");
    let mut given = Vec::new();
    for robot in ["acme+ci", "acme+cd"] {
        let key = secret(&app, &["robot", "create", robot]);
        let client = app.anonymous().basic(robot, &key);
        let token = app.token(&client, &[&scope]).await;
        given.push(app.anonymous().bearer(&token));
        given[given.len() - 1].get(&target).await.expect(200);
    }
    let own = app.token(&client, &[&scope]).await;
    admin(&app, &["revoke", "acme"]);
    for robot in &given {
        robot.get(&target).await.refused(401, "UNAUTHORIZED");
    }
    let own = app.anonymous().bearer(&own);
    own.get(&target).await.expect(200);
}

#[tokio::test]
async fn logins_are_counted_by_what_was_shown_and_how_they_ended() {
    let options = TestApp::options(Store::Directory).with("LOGIN__LOCKOUT_AFTER", 2);
    let app = options.start().await;
    let alice = user(&app);
    let key = secret(&app, &["robot", "create", &format!("{alice}+ci")]);
    let login = async |name: &str, shown: &str| {
        let client = app.anonymous().basic(name, shown);
        client.get(LOGIN).await.status.as_u16()
    };
    assert_eq!(login(&alice, PASSWORD).await, 200);
    assert_eq!(login(&format!("{alice}+ci"), &key).await, 200);
    assert_eq!(login("$token", &key).await, 401);
    for guess in ["one", "two", "three"] {
        login(&alice, guess).await;
    }
    for (kind, outcome, expected) in [
        ("password", "right", 1.0),
        ("secret", "right", 1.0),
        ("secret", "wrong", 1.0),
        ("password", "wrong", 2.0),
        ("password", "shut_out", 1.0),
    ] {
        let labels = [format!("kind=\"{kind}\""), format!("outcome=\"{outcome}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let counted = app.metric_with("portolan_logins_total", &labels).await;
        assert!(
            (counted - expected).abs() < 0.5,
            "{kind} {outcome}: {counted}"
        );
    }
    app.settled().await;
}

/// A registry behind a proxy that is believed.
fn behind_a_proxy() -> Options {
    TestApp::options(Store::Directory).with("HTTP__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]")
}

/// A login from an address.
async fn from(app: &TestApp, address: &str, name: &str, password: &str) -> Answer {
    let client = app.anonymous().basic(name, password);
    client
        .request(Method::GET, LOGIN)
        .header("x-forwarded-for", address)
        .send()
        .await
}

const HERE: &str = "203.0.113.9";
const ELSEWHERE: &str = "198.51.100.7";

#[tokio::test]
async fn who_guesses_is_shut_out_of_that_account_alone_whether_or_not_it_is_there() {
    let app = behind_a_proxy().start().await;
    let alice = user(&app);
    let robot = format!("{alice}+ci");
    let key = secret(&app, &["robot", "create", &robot]);
    let token = secret(&app, &["token", "create", &alice]);
    let mut heard = Vec::new();
    for name in [alice.as_str(), "nobody", "No Body!", &robot] {
        let mut answers = Vec::new();
        for guess in 0..12 {
            let answer = from(&app, HERE, name, &format!("guess {guess}")).await;
            answers.push((answer.status.as_u16(), answer.body.clone()));
        }
        heard.push(answers);
    }
    let codes = |answers: &[(u16, bytes::Bytes)]| -> Vec<u16> {
        answers.iter().map(|(status, _)| *status).collect()
    };
    let shut_out = [[401; 10].as_slice(), &[429; 2]].concat();
    for number in 0..3 {
        assert_eq!(codes(&heard[number]), shut_out);
        assert_eq!(heard[number], heard[0], "nothing tells who is there");
    }
    assert_eq!(codes(&heard[3]), [401; 12], "a robot is never shut out");
    let answer = from(&app, HERE, &alice, PASSWORD).await;
    let answer = answer.refused(429, "TOOMANYREQUESTS");
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    let basic = app.anonymous().basic(&alice, PASSWORD);
    let asking = basic
        .request(Method::GET, "/v2/")
        .header("x-forwarded-for", HERE);
    asking.send().await.refused(429, "TOOMANYREQUESTS");

    from(&app, ELSEWHERE, &alice, PASSWORD).await.expect(200);
    from(&app, HERE, &robot, &key).await.expect(200);
    from(&app, HERE, &alice, &token).await.expect(200);
    from(&app, HERE, ADMIN, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_lock_out_holds_on_every_process_until_it_is_over() {
    let app = behind_a_proxy()
        .with("LOGIN__LOCKOUT_AFTER", 3)
        .start()
        .await;
    let another = app.another();
    let alice = user(&app);
    for guess in ["a", "b", "c"] {
        from(&app, HERE, &alice, guess).await.expect(401);
    }
    eventually("three wrong passwords are counted", || async {
        app.count("SELECT coalesce(max(failures), 0)::bigint FROM lockout")
            .await
            == 3
    })
    .await;
    // What others counted is not told, for of names that nobody has nothing is counted by all.
    from(&another, HERE, &alice, PASSWORD)
        .await
        .refused(401, "UNAUTHORIZED");
    from(&another, ELSEWHERE, &alice, PASSWORD)
        .await
        .expect(200);
    let session = app.database().session().await;
    let over = "UPDATE lockout SET locked_until = now() - interval '1 second'";
    session.batch_execute(over).await.expect("a row");
    from(&another, HERE, &alice, PASSWORD).await.expect(200);
    eventually("a right password ends the count", || async {
        app.count("SELECT count(*) FROM lockout").await == 0
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_that_is_tried_in_both_ways_counts_once() {
    let app = TestApp::options(Store::Directory)
        .with("LOGIN__LOCKOUT_AFTER", 2)
        .start()
        .await;
    let alice = user(&app);
    let nobody = app.anonymous();
    // As containerd: POST, and GET after 401.
    for _ in 0..3 {
        by_form(&nobody, &alice, "guess").await.expect(401);
        nobody.basic(&alice, "guess").get(LOGIN).await.expect(401);
    }
    eventually("one wrong password is counted", || async {
        app.count("SELECT coalesce(max(failures), 0)::bigint FROM lockout")
            .await
            == 1
    })
    .await;
    by_form(&nobody, &alice, "another guess").await.expect(401);
    by_form(&nobody, &alice, "another guess")
        .await
        .refused(429, "TOOMANYREQUESTS");
    let kept = "SELECT count(*) FROM lockout WHERE position('guess'::bytea IN last_attempt) > 0";
    assert_eq!(app.count(kept).await, 0, "no password is kept");
}

#[tokio::test]
async fn a_network_that_guesses_waits_and_those_who_are_known_or_show_secrets_do_not() {
    let app = behind_a_proxy()
        .with("LOGIN__FAILURES_PER_NETWORK", 4)
        .with("DATABASE__POOL__PROCESSES", 2)
        .start()
        .await;
    let alice = user(&app);
    let key = secret(&app, &["robot", "create", &format!("{alice}+ci")]);
    from(&app, HERE, ADMIN, PASSWORD).await.expect(200);
    for name in ["one", "two"] {
        from(&app, HERE, name, "guess")
            .await
            .refused(401, "UNAUTHORIZED");
    }
    let answer = from(&app, HERE, &alice, PASSWORD).await;
    let answer = answer.refused(429, "TOOMANYREQUESTS");
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    from(&app, HERE, ADMIN, PASSWORD).await.expect(200);
    from(&app, ELSEWHERE, &alice, PASSWORD).await.expect(200);

    for _ in 0..2 {
        from(&app, HERE, "$app", "guess")
            .await
            .refused(401, "UNAUTHORIZED");
    }
    from(&app, HERE, "$app", "guess")
        .await
        .refused(429, "TOOMANYREQUESTS");
    from(&app, HERE, &format!("{alice}+ci"), &key)
        .await
        .expect(200);
}

/// Of the password `U*U`.
const BCRYPT: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

#[tokio::test]
async fn an_imported_password_is_kept_in_todays_form_after_the_next_login() {
    let app = TestApp::options(Store::Directory)
        .with("LOG__LEVEL", "debug")
        .start()
        .await;
    let alice = user(&app);
    let session = app.database().session().await;
    let import = format!("UPDATE account SET password_hash = '{BCRYPT}' WHERE name = '{alice}'");
    session.batch_execute(&import).await.expect("a row");
    let held = async |form: &str| {
        let sql = format!(
            "SELECT count(*) FROM account
             WHERE name = '{alice}' AND starts_with(password_hash, '{form}') AND generation = 1"
        );
        app.count(&sql).await == 1
    };
    let client = app.anonymous().basic(&alice, "U*U");
    run(app.command().args(["read-only", "on"]));
    client.get(LOGIN).await.expect(200);
    eventually("nothing is written in read-only mode", || async {
        app.log().contains("left undone: upgrade a password's hash")
    })
    .await;
    run(app.command().args(["read-only", "off"]));
    assert!(held("$2y$").await);
    app.anonymous()
        .basic(&alice, "U*V")
        .get(LOGIN)
        .await
        .expect(401);
    assert!(held("$2y$").await);

    let given = app.token(&client, &[]).await;
    eventually("the hash is argon2id", || held("$argon2id$")).await;
    app.anonymous().bearer(&given).get("/v2/").await.expect(200);
    client.get(LOGIN).await.expect(200);
    app.anonymous()
        .basic(&alice, "U*V")
        .get(LOGIN)
        .await
        .expect(401);
}

#[tokio::test]
async fn no_secret_is_written_to_the_log() {
    let app = TestApp::options(Store::Directory)
        .with("LOG__LEVEL", "debug")
        .with("LOG__REQUESTS", "all")
        .start()
        .await;
    let alice = user(&app);
    let robot = format!("{alice}+ci");
    let key = secret(&app, &["robot", "create", &robot]);
    let token = secret(&app, &["token", "create", &alice]);
    let shown = [
        (robot.as_str(), key.as_str()),
        (&alice, &token),
        ("$app", &token),
        (&alice, PASSWORD),
        (&alice, "a wrong guess"),
        (&robot, "a wrong secret"),
        (&alice, "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"),
    ];
    for (name, secret) in shown {
        app.anonymous().basic(name, secret).get(LOGIN).await;
        by_form(&app.anonymous(), name, secret).await;
        app.anonymous()
            .basic(name, secret)
            .get(&format!("/v2/{}/tags/list", repository("log")))
            .await;
    }
    let log = app.log();
    assert!(log.contains("/v2/auth"), "there is a line for each request");
    for (_, secret) in shown {
        assert!(!log.contains(secret), "{secret}");
    }
}
