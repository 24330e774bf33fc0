//! People look after their own accounts: sign-up, one's own password, and recovery by mail.

use crate::app::{ADMIN, Options, PASSWORD, Store, TestApp, unique};
use http::Method;
use portolan_testkit::children::{eventually, run};
use portolan_testkit::client::{Answer, Client};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A mail server that takes everything, and keeps it.
struct MailServer {
    address: String,
    mails: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket").to_string();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || take(&stream, &kept));
            }
        });
        Self { address, mails }
    }

    fn count(&self) -> usize {
        self.mails.lock().expect("no holder panics").len()
    }

    /// The one mail to this address.
    async fn mail_to(&self, address: &str) -> String {
        let to = format!("To: {address}");
        let find = || {
            let mails = self.mails.lock().expect("no holder panics");
            mails.iter().find(|mail| mail.contains(&to)).cloned()
        };
        eventually("the mail comes", || async { find().is_some() }).await;
        find().expect("it came")
    }
}

/// One conversation (RFC 5321), as far as it takes to get a mail.
fn take(stream: &TcpStream, kept: &Mutex<Vec<String>>) {
    let mut says = stream.try_clone().expect("an open socket");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut say = |line: &str| says.write_all(format!("{line}\r\n").as_bytes());
    say("220 mail.test").expect("it listens");
    while let Some(line) = lines.next() {
        let answer = match line.get(..4).unwrap_or_default() {
            "EHLO" => "250 mail.test",
            "DATA" => {
                say("354 go on").expect("it listens");
                let mail: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                kept.lock().expect("no holder panics").push(mail.join("\n"));
                "250 taken"
            }
            "QUIT" => {
                let _ = say("221 bye");
                return;
            }
            _ => "250 fine",
        };
        if say(answer).is_err() {
            return;
        }
    }
}

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Answer {
    client
        .request(method, path)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
}

/// A refusal in the form of RFC 9457.
#[track_caller]
fn problem(answer: Answer, status: u16) -> Answer {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["status"], status);
    assert!(body["title"].is_string() && body["detail"].is_string());
    answer
}

async fn logs_in(app: &TestApp, name: &str, password: &str, status: u16) {
    let client = app.anonymous().basic(name, password);
    client.get("/v2/auth?service=portolan").await.expect(status);
}

const USER: &str = "/api/v1/user/";

fn open() -> Options {
    TestApp::options(Store::Directory).with("ACCOUNTS__SIGN_UP", "open")
}

#[tokio::test]
async fn whoever_signs_up_has_an_account_where_that_is_open() {
    let app = open().start().await;
    let nobody = app.anonymous();
    let wanted =
        json!({ "username": "alice", "password": "a good password", "email": "alice@example.com" });
    let made = send(&nobody, Method::POST, USER, &wanted).await.expect(201);
    assert_eq!(made.json(), json!({ "username": "alice" }));
    logs_in(&app, "alice", "a good password", 200).await;
    problem(send(&nobody, Method::POST, USER, &wanted).await, 409);

    // Whoever had it would answer for `docker pull registry/alpine`.
    let shared = json!({ "username": "library", "password": "a good password" });
    problem(send(&nobody, Method::POST, USER, &shared).await, 409);

    // Whose an address is nobody hears.
    let other =
        json!({ "username": "bob", "password": "a good password", "email": "Alice@example.com" });
    let made = send(&nobody, Method::POST, USER, &other).await.expect(201);
    assert_eq!(made.json(), json!({ "username": "bob" }));
    let addresses = "SELECT count(*) FROM account WHERE email IS NOT NULL";
    assert_eq!(app.count(addresses).await, 1);

    for wrong in [
        json!({ "username": "Carol", "password": "a good password" }),
        json!({ "username": "carol+ci", "password": "a good password" }),
        json!({ "username": "carol", "password": "short" }),
        json!({ "username": "carol", "password": "x".repeat(1025) }),
        json!({ "username": "carol", "password": "a good password", "email": "carol" }),
        json!({ "username": "carol", "password": "a good password", "superuser": true }),
        json!({ "username": "carol" }),
        json!("carol"),
    ] {
        let answer = problem(send(&nobody, Method::POST, USER, &wrong).await, 400);
        let said = answer.json()["detail"].to_string();
        assert!(!said.contains("a good password"), "{said}");
    }
    assert_eq!(
        app.count("SELECT count(*) FROM account WHERE name LIKE 'carol%'")
            .await,
        0
    );
    let written =
        "SELECT count(*) FROM audit_log WHERE action = 'user.create' AND credential = 'sign-up'
        AND address IS NOT NULL AND request_id IS NOT NULL";
    assert_eq!(app.count(written).await, 2);

    let closed = TestApp::shared().await;
    problem(
        send(&closed.anonymous(), Method::POST, USER, &wanted).await,
        403,
    );
}

#[tokio::test]
async fn a_network_makes_so_many_accounts_in_a_minute() {
    let app = open().with("DATABASE__POOL__PROCESSES", 15).start().await;
    let sign_up = async |name: &str| {
        let wanted = json!({ "username": name, "password": "a good password" });
        send(&app.anonymous(), Method::POST, USER, &wanted).await
    };
    sign_up("one").await.expect(201);
    sign_up("two").await.expect(201);
    let answer = problem(sign_up("three").await, 429);
    assert!(answer.has("retry-after"));
}

#[tokio::test]
async fn ones_own_password_is_changed_by_whoever_shows_it() {
    let app = TestApp::start().await;
    let another = app.another();
    let name = format!("user{}", unique());
    let client = app.user(&name);
    let repository = format!("{name}/app");
    let scope = format!("repository:{repository}:pull");
    let given = app.token(&client, &[&scope]).await;
    let change = json!({ "password": "another password" });
    let token = crate::logins::secret(&app, &["token", "create", &name]);
    for wrong in [
        app.anonymous(),
        app.anonymous().basic(&name, "wrong"),
        app.anonymous().basic(&name, &token),
        app.anonymous().bearer(&given),
    ] {
        problem(send(&wrong, Method::PUT, USER, &change).await, 401);
    }
    let short = json!({ "password": "short" });
    problem(send(&client, Method::PUT, USER, &short).await, 400);
    logs_in(&app, &name, PASSWORD, 200).await;

    send(&client, Method::PUT, USER, &change).await.expect(204);
    logs_in(&another, &name, PASSWORD, 401).await;
    logs_in(&another, &name, "another password", 200).await;
    let old = another.anonymous().bearer(&given);
    let answer = old.get(&format!("/v2/{repository}/tags/list")).await;
    answer.refused(401, "UNAUTHORIZED");
    logs_in(&another, ADMIN, PASSWORD, 200).await;
    run(app.command().args(["read-only", "on"]));
    let client = app.anonymous().basic(&name, "another password");
    problem(send(&client, Method::PUT, USER, &change).await, 503);
}

const ASK: &str = "/api/v1/recovery";
const CONFIRM: &str = "/api/v1/recovery/confirm";

fn with_mail(mails: &MailServer) -> Options {
    TestApp::options(Store::Directory)
        .with("MAIL__URL", format!("smtp://{}", mails.address))
        .with("MAIL__FROM", "Registry <registry@example.com>")
        .with("HTTP__PUBLIC_URL", "https://registry.example.com")
}

#[tokio::test]
async fn whoever_reads_the_mail_chooses_a_new_password_once() {
    let mails = MailServer::start();
    let app = with_mail(&mails).start().await;
    let another = app.another();
    app.user("alice");
    run(app
        .command()
        .args(["admin", "user", "set-email", "alice", "alice@example.com"]));
    let given = app
        .token(&app.anonymous().basic("alice", PASSWORD), &[])
        .await;
    let nobody = app.anonymous();
    let mut answers = Vec::new();
    for address in ["nobody@example.com", "ALICE@example.com"] {
        let asked = send(&nobody, Method::POST, ASK, &json!({ "email": address })).await;
        let asked = asked.expect(202);
        answers.push((asked.body.clone(), asked.lines("content-type").len()));
    }
    assert_eq!(answers[0], answers[1], "nothing tells who has an address");
    let mail = mails.mail_to("alice@example.com").await;
    assert!(
        mail.contains("Registry: https://registry.example.com") && mail.contains("Account: alice"),
        "{mail}"
    );
    let token = mail
        .lines()
        .find(|line| line.starts_with("plm_"))
        .expect("a token");
    assert_eq!(mails.count(), 1, "nobody else has mail");

    let confirm = |token: &str| json!({ "token": token, "password": "another password" });
    problem(
        send(&nobody, Method::POST, CONFIRM, &confirm("plm_wrong")).await,
        401,
    );
    let short = json!({ "token": token, "password": "short" });
    problem(send(&nobody, Method::POST, CONFIRM, &short).await, 400);
    logs_in(&app, "alice", PASSWORD, 200).await;
    let elsewhere = another.anonymous();
    send(&elsewhere, Method::POST, CONFIRM, &confirm(token))
        .await
        .expect(204);
    logs_in(&app, "alice", PASSWORD, 401).await;
    logs_in(&app, "alice", "another password", 200).await;
    let scoped = app
        .anonymous()
        .bearer(&given)
        .get("/v2/alice/app/tags/list")
        .await;
    scoped.refused(401, "UNAUTHORIZED");
    problem(
        send(&elsewhere, Method::POST, CONFIRM, &confirm(token)).await,
        401,
    );
    assert!(!app.log().contains(token) && !another.log().contains(token));
    let written =
        "SELECT count(*) FROM audit_log WHERE action IN ('user.begin_recovery', 'user.recover')";
    assert_eq!(app.count(written).await, 2);
}

#[tokio::test]
async fn a_mail_is_good_for_an_hour_and_until_the_password_is_another() {
    let mails = MailServer::start();
    let app = with_mail(&mails).start().await;
    let session = app.database().session().await;
    let recover = async |name: &str| {
        app.user(name);
        let address = format!("{name}@example.com");
        run(app
            .command()
            .args(["admin", "user", "set-email", name, &address]));
        let asked = json!({ "email": address });
        send(&app.anonymous(), Method::POST, ASK, &asked)
            .await
            .expect(202);
        let mail = mails.mail_to(&address).await;
        let token = mail.lines().find(|line| line.starts_with("plm_"));
        token.expect("a token").to_owned()
    };
    let confirm = async |token: &str, status: u16| {
        let confirmation = json!({ "token": token, "password": "another password" });
        let answer = send(&app.anonymous(), Method::POST, CONFIRM, &confirmation).await;
        answer.expect(status);
    };
    let late = recover("late").await;
    let over = "UPDATE recovery SET expires_at = now() - interval '1 second'";
    session.batch_execute(over).await.expect("a row");
    confirm(&late, 401).await;
    let changed = recover("changed").await;
    run(app.command().args(["admin", "revoke", "changed"]));
    confirm(&changed, 401).await;
    let disabled = recover("disabled").await;
    run(app.command().args(["admin", "user", "disable", "disabled"]));
    confirm(&disabled, 401).await;

    let moved = recover("moved").await;
    run(app
        .command()
        .args(["admin", "user", "set-email", "moved", "new@example.com"]));
    confirm(&moved, 401).await;

    // Nobody can fill a mailbox.
    recover("bob").await;
    let before = mails.count();
    for _ in 0..6 {
        let asked = json!({ "email": "bob@example.com" });
        send(&app.anonymous(), Method::POST, ASK, &asked)
            .await
            .expect(202);
    }
    recover("last").await;
    assert_eq!(mails.count(), before + 3);
}

#[tokio::test]
async fn whoever_has_forgotten_his_password_and_guessed_gets_in_after_his_recovery() {
    let mails = MailServer::start();
    let app = with_mail(&mails).start().await;
    app.user("alice");
    run(app
        .command()
        .args(["admin", "user", "set-email", "alice", "alice@example.com"]));
    for guess in 0..10 {
        logs_in(&app, "alice", &format!("guess {guess}"), 401).await;
    }
    logs_in(&app, "alice", PASSWORD, 429).await;
    let nobody = app.anonymous();
    let asked = json!({ "email": "alice@example.com" });
    send(&nobody, Method::POST, ASK, &asked).await.expect(202);
    let mail = mails.mail_to("alice@example.com").await;
    let token = mail.lines().find(|line| line.starts_with("plm_"));
    let confirmation = json!({ "token": token.expect("a token"), "password": "another password" });
    send(&nobody, Method::POST, CONFIRM, &confirmation)
        .await
        .expect(204);
    logs_in(&app, "alice", "another password", 200).await;
}

#[tokio::test]
async fn a_registry_that_sends_no_mail_says_so() {
    let app = TestApp::shared().await;
    let asked = json!({ "email": "alice@example.com" });
    problem(send(&app.anonymous(), Method::POST, ASK, &asked).await, 501);
    let wrong = json!({ "email": "alice" });
    problem(send(&app.anonymous(), Method::POST, ASK, &wrong).await, 400);
}
