//! What the audit log says afterwards: of changes, of pulls, and to those who copy it out.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use crate::app::{ADMIN, Store, TestApp, push, push_blob, push_manifest, put_manifest};
use crate::worker::at_rest;
use http::Method;
use portolan_testkit::children::{eventually, run};
use portolan_testkit::client::Client;
use portolan_testkit::folder::Folder;
use portolan_testkit::image::{Blob, Image};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// The log as `portolan admin audit search` shows it, the oldest first.
fn log(app: &TestApp, args: &[&str]) -> Vec<Value> {
    let mut found = lines(
        app.command()
            .args(["admin", "audit", "search", "-o", "json"])
            .args(args),
    );
    found.reverse();
    found
}

fn lines(command: &mut Command) -> Vec<Value> {
    serde_json::from_slice(&run(command).stdout).unwrap()
}

fn actions(log: &[Value]) -> Vec<String> {
    log.iter()
        .map(|row| {
            let (action, target) = (
                row["action"].as_str().unwrap(),
                row["target"].as_str().unwrap(),
            );
            format!("{action} {target}")
        })
        .collect()
}

async fn moved(client: &Client, image: &Image) {
    let target = "/v2/acme/app/manifests/v1";
    client
        .request(Method::PUT, target)
        .header("content-type", &image.manifest.media_type)
        .header("x-request-id", "by-hand-1")
        .body(image.manifest.payload.clone())
        .send()
        .await
        .expect(201);
}

/// What is refused, finds nothing, or does not end well, is no change.
async fn refused(app: &TestApp, bearer: &Client, first: &Image, second: &Image) {
    bearer
        .delete("/v2/acme/app/manifests/v2")
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    let target = "/v2/acme/app/manifests/missing";
    put_manifest(bearer, target, &Image::random(9).manifest)
        .await
        .expect(400);
    put_manifest(&app.anonymous(), target, &first.manifest)
        .await
        .expect(401);
    let unmet = bearer.request(Method::PUT, "/v2/acme/app/manifests/v9");
    unmet
        .header("content-type", &first.manifest.media_type)
        .header("if-match", format!("\"{}\"", second.manifest.digest))
        .body(first.manifest.payload.clone())
        .send()
        .await
        .expect(412);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_content_leaves_one_row_that_says_who_from_where_and_what() {
    let app = TestApp::options(Store::Directory)
        .with("HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]")
        .start()
        .await;
    let (first, second) = (Image::random(1), Image::random(2));
    push(&app.admin(), "acme/app", "v1", &first).await;
    for blob in second.blobs() {
        push_blob(&app.admin(), "acme/app", blob).await;
    }
    let token = app
        .token(&app.admin(), &["repository:acme/app:pull,push,delete"])
        .await;
    let bearer = app.anonymous().bearer(&token);
    moved(&bearer, &second).await;
    // The same again is a push, and moves nothing.
    push_manifest(&bearer, "acme/app", "v1", &second.manifest).await;
    let by_digest = format!("{}?tag=v2&tag=v3", second.manifest.digest);
    push_manifest(&bearer, "acme/app", &by_digest, &second.manifest).await;
    bearer.delete("/v2/acme/app/manifests/v2").await.expect(202);
    let lone = Blob::random(3, 100);
    push_blob(&bearer, "acme/app", &lone).await;
    let delete = bearer.request(
        Method::DELETE,
        &format!("/v2/acme/app/blobs/{}", lone.digest),
    );
    delete
        .header("x-forwarded-for", "203.0.113.7")
        .send()
        .await
        .expect(202);
    bearer
        .delete(&format!(
            "/v2/acme/app/manifests/{}",
            second.manifest.digest
        ))
        .await
        .expect(202);

    refused(&app, &bearer, &first, &second).await;

    let log = log(&app, &["--repository", "acme/app"]);
    let (one, two) = (first.manifest.digest, second.manifest.digest);
    assert_eq!(
        actions(&log),
        [
            "repository.create acme/app".to_owned(),
            format!("manifest.push acme/app@{one}"),
            "tag.create acme/app:v1".to_owned(),
            format!("manifest.push acme/app@{two}"),
            "tag.move acme/app:v1".to_owned(),
            format!("manifest.push acme/app@{two}"),
            format!("manifest.push acme/app@{two}"),
            "tag.create acme/app:v2".to_owned(),
            "tag.create acme/app:v3".to_owned(),
            "tag.delete acme/app:v2".to_owned(),
            format!("blob.delete acme/app@{}", lone.digest),
            format!("manifest.delete acme/app@{two}"),
            "tag.delete acme/app:v1".to_owned(),
            "tag.delete acme/app:v3".to_owned(),
        ]
    );
    for row in &log {
        assert_eq!(row["actor"], ADMIN, "{row}");
        assert_eq!(row["credential"], "password", "{row}");
        assert!(
            row["actor_id"].is_i64() && row["namespace_id"].is_i64(),
            "{row}"
        );
        assert!(row["request_id"].is_string(), "{row}");
        let from = if row["action"] == "blob.delete" {
            "203.0.113.7"
        } else {
            "127.0.0.1"
        };
        assert_eq!(row["address"], from, "{row}");
    }
    let tag_moved = &log[4];
    assert_eq!(tag_moved["request_id"], "by-hand-1");
    assert_eq!(tag_moved["detail"]["digest"], two.to_string());
    assert_eq!(tag_moved["detail"]["previous"], one.to_string());
    assert_eq!(log[3]["detail"]["tags"][0], "v1");
    assert_eq!(
        (&log[3]["detail"]["again"], &log[5]["detail"]["again"]),
        (&false.into(), &true.into())
    );
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_narrows_by_what_it_is_given() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    push(&alice, "alice/app", "v1", &Image::random(1)).await;
    push(&app.admin(), "alice/tool", "v1", &Image::random(2)).await;
    push(&app.admin(), "acme/app", "v1", &Image::random(3)).await;
    for command in [
        ["admin", "robot", "create", "acme+ci"],
        ["admin", "robot", "disable", "acme+ci"],
    ] {
        run(app.command().args(command));
    }
    for (args, expected) in [
        (&["--namespace", "acme", "--action", "robot.disable"][..], 1),
        (&["--actor", "alice"], 3),
        (&["--namespace", "alice"], 6),
        (&["--repository", "acme/app"], 3),
        (&["--repository", "alice/tool", "--actor", "alice"], 0),
        (&["--action", "tag.create"], 3),
        (&["--action", "tag.create", "--namespace", "alice"], 2),
        (&["--until", "1d"], 0),
        (&["--since", "1h", "--action", "manifest.push"], 3),
        (&["--limit", "2"], 2),
    ] {
        assert_eq!(log(&app, args).len(), expected, "{args:?}");
    }
    let all = log(&app, &[]).len();
    let page = log(&app, &["--limit", "4"]);
    let oldest = page[0]["cursor"].as_str().unwrap();
    assert_eq!(log(&app, &["--before", oldest]).len(), all - 4);
    let table = run(app
        .command()
        .args(["admin", "audit", "search", "--actor", "alice"]));
    let table = String::from_utf8(table.stdout).unwrap();
    let first = table.lines().next().unwrap();
    assert!(
        first.contains("\talice\tpassword\t127.0.0.1\ttag.create\talice/app:v1\t"),
        "{table}"
    );
    let unknown = app
        .command()
        .args(["admin", "audit", "search", "--repository", "no/where"])
        .output()
        .unwrap();
    assert!(!unknown.status.success());
}

async fn pulled(app: &TestApp) -> i64 {
    app.count("SELECT coalesce(sum(pulls), 0)::bigint FROM pull_count")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_are_counted_exactly_across_processes_that_are_told_to_end() {
    let mut one = TestApp::start().await;
    let mut two = one.another();
    let image = Image::random(1);
    let digest = image.manifest.digest;
    push(&one.admin(), "acme/app", "v1", &image).await;
    one.publish("acme/app");
    let by_tag = "/v2/acme/app/manifests/v1";
    let by_digest = format!("/v2/acme/app/manifests/{digest}");
    let token = one.token(&one.admin(), &["repository:acme/app:pull"]).await;
    for _ in 0..20 {
        for app in [&one, &two] {
            app.anonymous().get(by_tag).await.expect(200);
            app.anonymous().get(&by_digest).await.expect(200);
            app.anonymous().bearer(&token).get(by_tag).await.expect(200);
            // None of these is a pull.
            app.anonymous().head(by_tag).await.expect(200);
            let known = app.anonymous();
            let known = known.request(Method::GET, by_tag);
            known
                .header("if-none-match", format!("\"{digest}\""))
                .send()
                .await
                .expect(304);
            let blob = image.blobs().next().unwrap().digest;
            app.anonymous()
                .get(&format!("/v2/acme/app/blobs/{blob}"))
                .await;
            app.anonymous()
                .get("/v2/acme/app/manifests/none")
                .await
                .expect(404);
        }
    }
    for app in [&mut one, &mut two] {
        app.server().signal(Signal::TERM);
        assert_eq!(app.wait().code(), Some(0));
    }
    assert_eq!(pulled(&one).await, 120);
    // One for each of whom, unless the hour ended meanwhile.
    let named = "SELECT sum(pulls)::bigint FROM pull_count JOIN account ON account.id = account_id WHERE name = 'admin'";
    assert_eq!(one.count(named).await, 40);
    assert_eq!(
        one.count("SELECT sum(pulls)::bigint FROM pull_count WHERE account_id = 0")
            .await,
        80
    );

    let counts = lines(one.command().args([
        "admin",
        "audit",
        "pulls",
        "--repository",
        "acme/app",
        "--since",
        "2h",
        "-o",
        "json",
    ]));
    let sum = |account: &Value| -> i64 {
        let of = counts.iter().filter(|row| row["account"] == *account);
        of.map(|row| row["pulls"].as_i64().unwrap()).sum()
    };
    assert_eq!((sum(&ADMIN.into()), sum(&Value::Null)), (40, 80));
    assert_eq!(counts[0]["digest"], digest.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_count_is_lost_while_the_primary_is() {
    let (mut app, proxy) = TestApp::options(Store::Directory)
        .start_behind_a_proxy()
        .await;
    push(&app.admin(), "acme/app", "v1", &Image::random(1)).await;
    app.publish("acme/app");
    let pull = async |times: u32| {
        for _ in 0..times {
            app.anonymous()
                .get("/v2/acme/app/manifests/v1")
                .await
                .expect(200);
        }
    };
    pull(7).await;
    proxy.cut();
    // The first try comes ten seconds after the first pull.
    eventually("the counts could not be written down", || async {
        app.log().contains("cannot write down counts of pulls")
    })
    .await;
    assert_eq!(pulled(&app).await, 0);
    assert_eq!(
        app.metric("portolan_pull_counts_waiting").await.to_string(),
        "1"
    );
    proxy.restore();
    eventually("pulls are served again", || async {
        app.anonymous()
            .get("/v2/acme/app/manifests/none")
            .await
            .status
            == 404
    })
    .await;
    pull(5).await;
    eventually("they are written down", || async {
        pulled(&app).await == 12
    })
    .await;
    assert_eq!(
        app.metric("portolan_pull_counts_flushed_total")
            .await
            .to_string(),
        "12"
    );
    assert_eq!(
        app.metric("portolan_pull_counts_lost_total")
            .await
            .to_string(),
        "0"
    );
    assert_eq!(
        app.metric("portolan_pull_counts_waiting").await.to_string(),
        "0"
    );
    pull(1).await;
    app.server().signal(Signal::TERM);
    assert_eq!(app.wait().code(), Some(0));
    assert_eq!(pulled(&app).await, 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_read_only_mode_counts_wait() {
    let mut app = TestApp::start().await;
    push(&app.admin(), "acme/app", "v1", &Image::random(1)).await;
    run(app.command().args(["read-only", "on"]));
    app.admin()
        .get("/v2/acme/app/manifests/v1")
        .await
        .expect(200);
    app.server().signal(Signal::TERM);
    assert_eq!(app.wait().code(), Some(0));
    assert_eq!(pulled(&app).await, 0);
    assert!(
        app.log()
            .contains("1 counts of pulls could not be written down"),
        "{}",
        app.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_is_a_line_of_the_log_where_all_requests_are() {
    let app = TestApp::options(Store::Directory)
        .with("LOG__REQUESTS", "all")
        .with("LOG__FORMAT", "json")
        .start()
        .await;
    let image = Image::random(1);
    push(&app.admin(), "acme/app", "v1", &image).await;
    app.admin()
        .get("/v2/acme/app/manifests/v1")
        .await
        .expect(200);
    eventually("the pull is in the log", || async {
        app.log().lines().any(|line| {
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                return false;
            };
            line["method"] == "GET"
                && line["repository"] == "acme/app"
                && line["digest"] == image.manifest.digest.to_string()
                && line["account"] == ADMIN
                && line["client"] == "127.0.0.1"
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn months_are_made_ahead_and_go_when_they_were_kept_long_enough() {
    let app = TestApp::start().await;
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_log'::regclass";
    // This month, two more, and the default one.
    eventually("the months are made", || async {
        app.count(partitions).await == 4
    })
    .await;
    at_rest(&app).await;
    push(&app.admin(), "acme/app", "v1", &Image::random(1)).await;
    let session = app.database().session().await;
    session
        .batch_execute(
            "SELECT audit_partition_make('2020-02-01');
             INSERT INTO audit_log (at, credential, action, actor, target) VALUES
                 ('2020-02-10', 'system', 'test.make', 'x', 'x'), ('2020-01-10', 'system', 'test.make', 'x', 'x');
             UPDATE job SET due_at = now()",
        )
        .await
        .unwrap();
    assert_eq!(app.count(partitions).await, 5);
    let _another = app.another();
    eventually("what is old is gone", || async {
        app.count("SELECT count(*) FROM audit_log WHERE actor = 'x'")
            .await
            == 0
    })
    .await;
    assert_eq!(app.count(partitions).await, 4);
    assert!(app.count("SELECT count(*) FROM audit_log").await >= 3);
}

/// The most memory that a process ever had, in KiB.
fn peak(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_hundred_thousand_rows_streams_and_goes_on_where_it_was_cut_off() {
    let app = TestApp::start().await;
    let session = app.database().session().await;
    session
        .batch_execute(
            "INSERT INTO audit_log (at, credential, action, actor, target, detail)
             SELECT '2026-01-01 00:00+00'::timestamptz + make_interval(secs => n / 7), 'system', 'test.make', 'x', 'x',
                 jsonb_build_object('n', n, 'filler', repeat('x', 300))
             FROM generate_series(1, 100000) AS n",
        )
        .await
        .unwrap();
    let export = ["admin", "audit", "export", "--until", "2026-02-01"];
    let mut child = app
        .command()
        .args(export)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = BTreeSet::new();
    let mut take = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let n = row["detail"]["n"].as_i64().unwrap();
        assert!(seen.insert(n), "{n} twice");
        (n, row["cursor"].as_str().unwrap().to_owned())
    };
    let mut at_first = 0;
    let mut cursor = String::new();
    for number in 0..60_000 {
        let line = out.next().unwrap().unwrap();
        cursor = take(&line).1;
        if number == 5_000 {
            at_first = peak(child.id());
        }
    }
    // It waits for its reader: what is not read yet is not held.
    let later = peak(child.id());
    assert!(
        later < at_first + 8 * 1024,
        "{at_first} KiB, then {later} KiB"
    );
    child.kill().unwrap();
    child.wait().unwrap();

    let folder = Folder::new("portolan-export-");
    let file = folder.path().join("rest");
    fs::write(&file, "").unwrap();
    let path = file.to_str().unwrap();
    let rest = run(app
        .command()
        .args(export)
        .args(["--after", &cursor, "--file", path]));
    for line in fs::read_to_string(&file).unwrap().lines() {
        take(line);
    }
    assert_eq!(seen.len(), 100_000);
    let said = String::from_utf8(rest.stderr).unwrap();
    assert!(
        said.contains("exported 40000 changes; later, go on with `--after"),
        "{said}"
    );
    // A file that is there is not overwritten.
    let again = app
        .command()
        .args(export)
        .args(["--file", path])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("cannot make"));
    // Nor is one continued that ends in the middle.
    fs::write(&file, "{\"cursor\":").unwrap();
    let again = app
        .command()
        .args(export)
        .args(["--after", &cursor, "--file", path])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("in the middle of a line"));
    let csv = run(app.command().args([
        "admin",
        "audit",
        "export",
        "--until",
        "2026-01-01T00:00:03Z",
        "--format",
        "csv",
    ]));
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert_eq!(csv.lines().count(), 1 + 20, "{csv}");
    assert!(
        csv.starts_with("cursor,at,actor,actor_id,credential,"),
        "{csv}"
    );
}
