//! How a process starts and how it ends.

use crate::app::{self, Store, TestApp, command, free_addresses, is_ready, repository};
use crate::by_hand::{ByHand, at_work};
use portolan_testkit::chaos_proxy::ChaosProxy;
use portolan_testkit::children::{Guarded, eventually, wait_for};
use portolan_testkit::client::Client;
use portolan_testkit::pg_cluster::PgCluster;
use rustix::process::Signal;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

/// An upload that has begun, as a target for more.
async fn upload(app: &TestApp) -> String {
    let name = repository("lifecycle");
    let answer = app
        .admin()
        .post(&format!("/v2/{name}/blobs/uploads/"))
        .await
        .expect(202);
    answer.location().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_lets_an_upload_finish() {
    let mut app = TestApp::start().await;
    let target = upload(&app).await;
    let mut request = ByHand::patch(app.address(), &target, 10);
    request.send(b"hello");
    at_work(&app).await;
    app.server().signal(Signal::TERM);
    let address = app.address();
    wait_for("the listener to close", || {
        TcpStream::connect(address).is_err().then_some(())
    });
    request.send(b"world");
    let answer = request.answer();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(app.wait().code(), Some(0));
    app.restart();
    let status = app.admin().get(&target).await.expect(204);
    assert_eq!(status.header("range"), "0-9");
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_says_no_while_requests_are_still_answered() {
    let mut app = TestApp::options(Store::Directory)
        .with("HTTP__DRAIN__DELAY", "1h")
        .start()
        .await;
    let private = Client::new(app.private());
    assert_eq!(private.get("/readyz").await.expect(200).body, "ok\n");
    assert_eq!(private.get("/livez").await.expect(200).body, "ok\n");
    app.server().signal(Signal::TERM);
    eventually("it is not ready", || async {
        private.get("/readyz").await.status == 503
    })
    .await;
    assert_eq!(private.get("/readyz").await.body, "draining\n");
    assert_eq!(private.get("/livez").await.expect(200).body, "ok\n");
    app.admin().get("/v2/").await.expect(200);
    app.server().signal(Signal::TERM);
    assert_eq!(app.wait().code(), Some(130), "the second signal means now");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_time_is_cut_off_and_what_came_is_kept() {
    let options = TestApp::options(Store::Directory);
    let mut app = options.with("HTTP__DRAIN__TIMEOUT", "200ms").start().await;
    let target = upload(&app).await;
    let mut request = ByHand::patch(app.address(), &target, 10);
    request.send(b"hello");
    at_work(&app).await;
    app.server().signal(Signal::INT);
    assert_eq!(app.wait().code(), Some(0));
    drop(request);
    app.restart();
    app.admin().get(&target).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_at_the_start_is_waited_for() {
    let app = TestApp::start().await;
    let cluster = PgCluster::shared();
    let proxy = ChaosProxy::start(cluster.primary().address()).await;
    proxy.cut();
    let [public, private] = free_addresses();
    let mut process = app.command();
    process
        .arg("serve")
        .env(
            "PORTOLAN_DATABASE__PRIMARY",
            proxy.through(app.database().url()),
        )
        .env("PORTOLAN_HTTP__LISTEN", public.to_string())
        .env("PORTOLAN_HTTP__PRIVATE_LISTEN", private.to_string())
        .stderr(Stdio::null());
    let mut server = Guarded::spawn("portolan serve", &mut process);
    let client = Client::new(private);
    wait_for("the private listener", || {
        TcpStream::connect(private).is_ok().then_some(())
    });
    let answer = client.get("/readyz").await.expect(503);
    assert_eq!(answer.body, "starting\n");
    client.get("/livez").await.expect(200);
    eventually("it has tried", || async { proxy.accepted() > 0 }).await;
    assert!(server.ended().is_none());
    proxy.restore();
    wait_for("the registry to be ready", || {
        is_ready(private).then_some(())
    });
    Client::new(public).get("/v2/").await.expect(401);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_blinks_leaves_the_process_ready() {
    let (app, proxy) = TestApp::options(Store::Directory)
        .start_behind_a_proxy()
        .await;
    proxy.cut();
    app.admin()
        .get("/v2/lifecycle/none/tags/list")
        .await
        .refused(503, "UNAVAILABLE");
    Client::new(app.private()).get("/readyz").await.expect(200);
    proxy.restore();
    eventually("it serves again", || async {
        app.admin().get("/v2/lifecycle/none/tags/list").await.status == 404
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_refuses_an_unmigrated_schema_with_the_line_to_run() {
    let app = TestApp::start().await;
    let empty = PgCluster::shared().create_database().await;
    let [public, private] = free_addresses();
    let output = app
        .command()
        .arg("serve")
        .env("PORTOLAN_DATABASE__PRIMARY", empty.url())
        .env("PORTOLAN_HTTP__LISTEN", public.to_string())
        .env("PORTOLAN_HTTP__PRIVATE_LISTEN", private.to_string())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("the database has no schema yet; run `portolan migrate up`"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_ends_the_start_at_once() {
    let app = TestApp::start().await;
    let [private] = free_addresses();
    let output = app
        .command()
        .arg("serve")
        .env("PORTOLAN_HTTP__LISTEN", app.address().to_string())
        .env("PORTOLAN_HTTP__PRIVATE_LISTEN", private.to_string())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&format!("cannot listen on `{}`", app.address())),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_says_what_is_missing_and_applies_it_once() {
    let database = PgCluster::shared().create_database().await;
    let environment = [(
        "PORTOLAN_DATABASE__PRIMARY".to_owned(),
        database.url().to_owned(),
    )];
    let migrate = |step: &str| {
        let output = command(&environment)
            .args(["migrate", step])
            .output()
            .unwrap();
        assert_eq!(output.status.signal(), None);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, said) = migrate("status");
    assert_eq!(code, Some(1), "a step is missing");
    assert!(said.starts_with("missing 0001 "), "{said}");
    let (code, said) = migrate("up");
    assert_eq!(code, Some(0));
    assert!(said.starts_with("applied 0001 "), "{said}");
    let (code, said) = migrate("up");
    assert_eq!(code, Some(0));
    assert!(
        said.starts_with("the schema is up to date at step "),
        "{said}"
    );
    let (code, said) = migrate("status");
    assert_eq!(code, Some(0));
    assert!(
        said.lines().all(|line| line.starts_with("applied ")),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_password_is_never_reset() {
    let mut app = TestApp::start().await;
    let mut set = app.command();
    set.args(["admin", "user", "set-password", app::ADMIN]);
    let output = portolan_testkit::children::run(&mut set);
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, password) = said
        .trim_end()
        .rsplit_once("password: ")
        .expect("a new password");
    app.kill();
    app.restart();
    app.admin().get("/v2/").await.expect(401);
    app.anonymous()
        .basic(app::ADMIN, password)
        .get("/v2/")
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_is_shut_out_with_its_tokens() {
    let app = TestApp::start().await;
    let user = app.user("carol");
    let token = app.token(&user, &["repository:carol/x:pull,push"]).await;
    let bearer = app.anonymous().bearer(&token);
    bearer.post("/v2/carol/x/blobs/uploads/").await.expect(202);
    portolan_testkit::children::run(app.command().args(["admin", "user", "disable", "carol"]));
    user.get("/v2/").await.expect(401);
    bearer.post("/v2/carol/x/blobs/uploads/").await.expect(401);
    portolan_testkit::children::run(app.command().args(["admin", "user", "enable", "carol"]));
    user.get("/v2/").await.expect(200);
}
