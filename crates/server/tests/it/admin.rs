//! `portolan admin`: what it changes counts at once everywhere, and is printed for people and for programs.

use crate::app::{ADMIN, TestApp, push, unique};
use portolan_testkit::client::Client;
use portolan_testkit::image::Image;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// How a command ended, and what it said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl TestApp {
    /// Runs `portolan admin` with these words, and with nobody at the terminal.
    fn says(&self, line: &str) -> Said {
        let output = self
            .command()
            .arg("admin")
            .args(line.split(' '))
            .env("USER", "olga")
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
        Said {
            code: output.status.code().expect("it ends by itself"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// The same, which must succeed; what it prints.
    #[track_caller]
    fn does(&self, line: &str) -> String {
        let said = self.says(line);
        assert_eq!(said.code, 0, "{line}: {said:?}");
        said.out
    }

    /// The same, as JSON.
    #[track_caller]
    fn tells(&self, line: &str) -> Value {
        let out = self.does(&format!("{line} -o json"));
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line}: {error}\n{out}"))
    }

    /// The same, which must fail; what it says of that.
    #[track_caller]
    fn fails(&self, line: &str, code: i32) -> String {
        let said = self.says(line);
        assert_eq!(
            (said.code, said.out.as_str()),
            (code, ""),
            "{line}: {said:?}"
        );
        said.err
    }
}

async fn pulls(client: &Client, name: &str) -> u16 {
    client
        .get(&format!("/v2/{name}/manifests/v1"))
        .await
        .status
        .as_u16()
}

async fn begins_push(client: &Client, name: &str) -> u16 {
    client
        .post(&format!("/v2/{name}/blobs/uploads/"))
        .await
        .status
        .as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_members_right_comes_and_goes_at_once_on_every_process_with_the_token_he_has() {
    let app = TestApp::start().await;
    let another = app.another();
    let alice = app.user("alice");
    app.does("org create acme");
    push(&app.admin(), "acme/app", "v1", &Image::random(910)).await;
    app.does("team create acme/dev");
    app.does("permission set acme/app write --team acme/dev");

    // A token says who; it was asked for before he could do anything.
    let scope = "repository:acme/app:pull,push";
    app.does("team add-member acme/dev alice");
    let token = app.token(&alice, &[scope]).await;
    app.does("team remove-member acme/dev alice");
    let clients = [&app, &another].map(|process| process.anonymous().bearer(&token));
    for round in 0..3 {
        for client in &clients {
            assert_eq!(pulls(client, "acme/app").await, 401, "round {round}");
            assert_eq!(begins_push(client, "acme/app").await, 403, "round {round}");
        }
        app.does("team add-member acme/dev alice");
        for client in &clients {
            assert_eq!(pulls(client, "acme/app").await, 200, "round {round}");
            assert_eq!(begins_push(client, "acme/app").await, 202, "round {round}");
        }
        app.does("team remove-member acme/dev alice");
    }
    // By a right of his own, by the team's role, by the team itself.
    let steps = [
        (
            "permission set acme/app write --user alice",
            "permission remove acme/app --user alice",
        ),
        ("user superuser alice on", "user superuser alice off"),
        ("team add-member acme/dev alice", "team delete acme/dev"),
    ];
    for (give, take) in steps {
        app.does(give);
        for client in &clients {
            assert_eq!(begins_push(client, "acme/app").await, 202, "{give:?}");
        }
        app.does(take);
        for client in &clients {
            assert_eq!(pulls(client, "acme/app").await, 401, "{take:?}");
        }
    }
    app.settled().await;
    another.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_organizations_team_of_creators_makes_is_given_as_the_namespace_says() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    app.does("org create acme");
    app.does("team create acme/makers --role creator");
    app.does("team create acme/readers");
    app.does("default-permission add acme read --team acme/readers");
    app.does("team add-member acme/readers bob");
    assert_eq!(begins_push(&alice, "acme/app").await, 403);
    app.does("team add-member acme/makers alice");
    push(&alice, "acme/app", "v1", &Image::random(911)).await;
    assert_eq!(pulls(&bob, "acme/app").await, 200);
    assert_eq!(begins_push(&bob, "acme/app").await, 403);
    assert_eq!(
        app.tells("permission list acme/app"),
        json!([
            { "holder": "alice", "kind": "user", "role": "admin" },
            { "holder": "acme/readers", "kind": "team", "role": "read" },
        ])
    );
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_only_takes_no_push_and_serves_pulls() {
    let app = TestApp::start().await;
    let alice = app.user("alice");
    push(&alice, "alice/app", "v1", &Image::random(912)).await;
    let tell = async |client: &Client| {
        let answer = client.post("/v2/alice/app/blobs/uploads/").await;
        answer.refused(403, "DENIED").json()["errors"][0]["message"]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    app.does("repository mode alice/app read-only");
    assert_eq!(tell(&alice).await, "this repository is read-only");
    assert_eq!(pulls(&alice, "alice/app").await, 200);
    app.does("repository mode alice/app mirror --account admin");
    assert!(
        tell(&alice)
            .await
            .starts_with("this repository is a mirror")
    );
    assert_eq!(begins_push(&app.admin(), "alice/app").await, 202);
    assert_eq!(
        app.tells("repository show alice/app")["mirror_account"],
        "admin"
    );
    app.does("repository mode alice/app normal");
    app.does("namespace mode alice read_only");
    assert_eq!(tell(&alice).await, "this namespace is read-only");
    assert_eq!(app.tells("repository show alice/app")["mode"], "normal");
    app.does("namespace mode alice normal");
    assert_eq!(begins_push(&alice, "alice/app").await, 202);
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_users_token_is_void_at_once_and_his_name_is_anothers() {
    let app = TestApp::start().await;
    let another = app.another();
    let alice = app.user("alice");
    for name in ["alice/one", "alice/two", "alice/three"] {
        push(&alice, name, "v1", &Image::random(913)).await;
    }
    app.publish("alice/one");
    let token = app.token(&alice, &["repository:alice/one:pull,push"]).await;
    let clients = [&app, &another].map(|process| process.anonymous().bearer(&token));
    let refused = app.fails("user delete alice", 1);
    assert!(
        refused.contains("it still has repositories") && refused.contains("--with-repositories"),
        "{refused}"
    );
    for client in &clients {
        assert_eq!(pulls(client, "alice/one").await, 200);
    }
    let done = app.does("user delete alice --with-repositories --yes");
    assert_eq!(done, "deleted user `alice`, 3 repositories and 0 robots\n");
    for client in &clients {
        client
            .get("/v2/alice/one/manifests/v1")
            .await
            .refused(401, "UNAUTHORIZED");
    }
    another
        .anonymous()
        .get("/v2/alice/one/manifests/v1")
        .await
        .expect(401);
    alice.get("/v2/").await.expect(401);

    let new = app.user("alice");
    assert_eq!(pulls(&new, "alice/one").await, 404);
    push(&new, "alice/one", "v1", &Image::random(914)).await;
    for client in &clients {
        assert_eq!(pulls(client, "alice/one").await, 401);
    }
    app.settled().await;
    another.settled().await;
}

/// A registry with a user, an organization, a team, a repository and rights.
async fn furnished() -> TestApp {
    let app = TestApp::start().await;
    app.user("alice");
    app.does("user set-email alice alice@example.com");
    app.does("user superuser alice read-only");
    app.does("org create acme --description Anvils\nand-more");
    app.does("team create acme/dev --role creator");
    app.does("team add-member acme/dev alice");
    app.does("team add-group acme/dev corp Developers,all");
    push(&app.admin(), "acme/app", "v1", &Image::random(915)).await;
    app.does("repository describe acme/app Our-app");
    app.does("permission set acme/app admin --team acme/dev");
    app.does("default-permission add acme read --user alice --creator admin");
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_lines_for_people() {
    let app = furnished().await;
    let table = [
        (
            "user list",
            "admin\tactive\tsuperuser\nalice\tactive\tread-only superuser\n",
        ),
        ("org list", "acme\tAnvils\n"),
        ("team list acme", "acme/dev\tcreator\t\n"),
        ("repository list", "private\tacme/app\n"),
        ("repository list --namespace alice", ""),
        ("permission list acme/app", "admin\tteam\tacme/dev\n"),
        (
            "default-permission list acme",
            "read\tuser\talice\tmade by admin\n",
        ),
        (
            "job pause sweep-uploads",
            "paused `sweep-uploads`: 1 jobs\n",
        ),
    ];
    for (arguments, expected) in table {
        assert_eq!(app.does(arguments), expected, "{arguments:?}");
    }
    for line in [
        "name:    alice\n",
        "rank:    read-only superuser\n",
        "team:    acme/dev (creator)\n",
    ] {
        let shown = app.does("user show alice");
        assert!(shown.contains(line), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_json_for_programs_and_so_is_what_was_done() {
    let app = furnished().await;
    let users = app.tells("user list");
    assert_eq!(users[0]["name"], ADMIN);
    assert_eq!(users[1]["email"], "alice@example.com");
    assert_eq!(users[1]["superuser"], "read_only");
    assert_eq!(users.as_array().map(Vec::len), Some(2));
    assert_eq!(
        app.tells("user show alice")["teams"],
        json!([{ "team": "acme/dev", "role": "creator" }])
    );
    let organization = app.tells("org show acme");
    assert_eq!(organization["description"], "Anvils\nand-more");
    assert_eq!(organization["mode"], "normal");
    let team = app.tells("team show acme/dev");
    assert_eq!(team["members"][0]["name"], "alice");
    assert_eq!(
        team["groups"],
        json!([{ "provider": "corp", "group": "Developers,all" }])
    );
    assert_eq!(
        app.tells("repository list --namespace acme"),
        json!([{ "name": "acme/app", "visibility": "private", "mode": "normal", "description": "Our-app" }])
    );
    assert_eq!(app.tells("repository list --namespace alice"), json!([]));
    assert_eq!(
        app.tells("default-permission list acme"),
        json!([{ "holder": "alice", "kind": "user", "role": "read", "creator": ADMIN }])
    );
    let jobs = app.tells("job list");
    let kinds = jobs
        .as_array()
        .expect("a list")
        .iter()
        .map(|job| &job["kind"]);
    assert!(kinds.clone().any(|kind| kind == "sweep-uploads"), "{jobs}");
    assert_eq!(
        app.tells("user set-email alice --none"),
        json!({ "done": "`alice` has no address" })
    );
    let made = app.tells("user create carol");
    assert_eq!(made["done"], "made user `carol`");
    let password = made["password"].as_str().expect("one was made up");
    app.anonymous()
        .basic("carol", password)
        .get("/v2/")
        .await
        .expect(200);
    app.settled().await;
}

/// What cannot be done, and what is said of it.
const REFUSED: &[(&str, &str)] = &[
    ("user show nobody", "there is no user `nobody`"),
    ("user show acme", "there is no user `acme`"),
    ("user disable nobody", "there is no user `nobody`"),
    ("user disable acme", "there is no user `acme`"),
    ("user set-password nobody", "there is no user `nobody`"),
    (
        "user disable admin",
        "this is the last superuser that can log in",
    ),
    (
        "user superuser admin off",
        "this is the last superuser that can log in",
    ),
    (
        "user delete admin --with-repositories",
        "this is the last superuser that can log in",
    ),
    (
        "user create acme",
        "cannot make user `acme`: the name is taken",
    ),
    (
        "org create alice",
        "cannot make organization `alice`: the name is taken",
    ),
    ("org delete acme", "it still has repositories"),
    ("org delete alice", "there is no organization `alice`"),
    (
        "team create zoo/dev",
        "cannot make team `zoo/dev`: the name is taken",
    ),
    ("team create none/dev", "there is no organization `none`"),
    ("team list none", "there is no organization `none`"),
    ("team show acme/dev", "there is no team `acme/dev`"),
    ("team add-member zoo/dev acme", "a team's members are users"),
    (
        "team remove-member zoo/dev alice",
        "there is no member `alice`",
    ),
    ("team remove-group zoo/dev corp x", "there is no group `x`"),
    (
        "permission set acme/app read --team zoo/dev",
        "of its own organization only",
    ),
    (
        "permission set acme/none read --user alice",
        "there is no repository `acme/none`",
    ),
    (
        "permission remove acme/app --user alice",
        "there is no permission of `alice`",
    ),
    (
        "permission list acme/none",
        "there is no repository `acme/none`",
    ),
    (
        "default-permission list none",
        "there is no namespace `none`",
    ),
    (
        "default-permission remove acme --user alice",
        "there is no default permission of `alice`",
    ),
    ("namespace mode none normal", "there is no namespace `none`"),
    (
        "repository visibility acme/none public",
        "there is no repository `acme/none`",
    ),
    (
        "repository delete acme/none",
        "there is no repository `acme/none`",
    ),
];

/// What is no command.
const UNREADABLE: &[&str] = &[
    "user superuser alice maybe",
    "user set-email alice",
    "user set-email alice nowhere",
    "user show acme+ci",
    "team create acme",
    "team create acme/dev --role owner",
    "permission set acme/app read",
    "permission set acme/app read --user alice --team zoo/dev",
    "permission set acme/app none --user alice",
    "permission set acme/app read --robot alice",
    "repository mode acme/app normal --account alice",
    "user list -o xml",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_ends_with_one_and_what_cannot_be_read_with_two() {
    let app = TestApp::start().await;
    app.user("alice");
    app.does("org create acme");
    app.does("org create zoo");
    app.does("team create zoo/dev");
    push(&app.admin(), "acme/app", "v1", &Image::random(916)).await;
    for (line, expected) in REFUSED {
        let said = app.fails(line, 1);
        assert!(said.contains(expected), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    for line in UNREADABLE {
        app.fails(line, 2);
    }
    assert_eq!(
        app.count("SELECT count(*) FROM account WHERE state <> 'active'")
            .await,
        0
    );
    assert_eq!(app.count("SELECT count(*) FROM permission").await, 0);
}

/// What is done, and how the log tells it: action, target, detail.
const TOLD: &[(&str, &str, &str, &str)] = &[
    (
        "user set-email alice a@b",
        "user.set_email",
        "alice",
        r#"{ "from": null, "to": "a@b" }"#,
    ),
    ("user disable alice", "user.disable", "alice", "{}"),
    ("user enable alice", "user.enable", "alice", "{}"),
    (
        "user superuser alice on",
        "user.superuser",
        "alice",
        r#"{ "from": "off", "to": "on" }"#,
    ),
    (
        "team create acme/dev",
        "team.create",
        "acme/dev",
        r#"{ "role": "member" }"#,
    ),
    (
        "team set-role acme/dev admin",
        "team.set_role",
        "acme/dev",
        r#"{ "from": "member", "to": "admin" }"#,
    ),
    (
        "team add-member acme/dev alice",
        "team.add_member",
        "acme/dev",
        r#"{ "member": "alice" }"#,
    ),
    (
        "permission set acme/app read --team acme/dev",
        "permission.set",
        "acme/app",
        r#"{ "from": null, "to": "read", "holder": "acme/dev" }"#,
    ),
    (
        "permission remove acme/app --team acme/dev",
        "permission.remove",
        "acme/app",
        r#"{ "from": "read", "holder": "acme/dev" }"#,
    ),
    (
        "repository visibility acme/app public",
        "repository.visibility",
        "acme/app",
        r#"{ "from": "private", "to": "public" }"#,
    ),
    (
        "namespace mode acme read-only",
        "namespace.mode",
        "acme",
        r#"{ "from": "normal", "to": "read_only" }"#,
    ),
    ("team delete acme/dev", "team.delete", "acme/dev", "{}"),
    (
        "repository delete acme/app",
        "repository.delete",
        "acme/app",
        "{}",
    ),
    ("job pause keep-audit", "job.pause", "keep-audit", "{}"),
    ("job resume keep-audit", "job.resume", "keep-audit", "{}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_in_the_audit_log_with_the_name_of_who_has_the_shell() {
    let app = TestApp::start().await;
    app.user("alice");
    push(&app.admin(), "acme/app", "v1", &Image::random(917)).await;
    let session = app.database().session().await;
    for (line, action, target, detail) in TOLD {
        app.does(line);
        let row = session
            .query_one(
                "SELECT actor, credential, action, target, detail, namespace_id IS NOT NULL
                 FROM audit_log ORDER BY at DESC, id DESC LIMIT 1",
                &[],
            )
            .await
            .expect("a row");
        let text = |column: usize| row.get::<_, String>(column);
        assert_eq!(
            (
                text(0).as_str(),
                text(1).as_str(),
                text(2).as_str(),
                text(3).as_str()
            ),
            ("olga", "command line", *action, *target)
        );
        let detail: Value = serde_json::from_str(detail).expect("JSON");
        assert_eq!(row.get::<_, Value>(4), detail, "{line}");
        assert_eq!(
            row.get::<_, bool>(5),
            !(action.starts_with("user.") || action.starts_with("job.")),
            "{line}: changes in a namespace are its owners' to see"
        );
    }
    // What changes nothing is not told, nor what is refused.
    let before = app.count("SELECT count(*) FROM audit_log").await;
    app.does("team create acme/ops");
    app.does("team add-member acme/ops alice");
    app.does("team add-member acme/ops alice");
    app.fails("repository delete acme/app", 1);
    assert_eq!(
        app.count("SELECT count(*) FROM audit_log").await,
        before + 2
    );
    // The first start made the administrator.
    assert_eq!(
        app.count("SELECT count(*) FROM audit_log WHERE action = 'user.create' AND target = 'admin' AND credential = 'system'").await,
        1
    );
}

/// Runs a command at a terminal (of `script`, which every Debian has) where somebody types this.
fn at_a_terminal(app: &TestApp, line: &str, typed: &str) -> Said {
    let own = app.command();
    let program = own.get_program().to_str().expect("a path in UTF-8");
    let mut terminal = Command::new("script");
    terminal.env_clear();
    for (name, value) in own.get_envs() {
        terminal.env(name, value.expect("none is taken away"));
    }
    let mut child = terminal
        .args(["-qec", &format!("{program} admin {line}"), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("`script` starts");
    let mut keyboard = child.stdin.take().expect("it is piped");
    keyboard.write_all(typed.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    drop(keyboard);
    Said {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).expect("it speaks UTF-8"),
        err: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_at_a_terminal_is_asked_before_something_goes() {
    let app = TestApp::start().await;
    app.user("alice");
    for typed in ["\n", "n\n", "nonsense\n"] {
        let said = at_a_terminal(&app, "user delete alice", typed);
        assert_eq!(said.code, 1, "{said:?}");
        for part in ["delete user `alice`? [y/N]", "nothing was changed"] {
            assert!(said.out.contains(part), "{said:?}");
        }
    }
    let said = at_a_terminal(&app, "user delete alice", "y\n");
    assert_eq!(said.code, 0, "{said:?}");
    app.user("alice");
    let said = at_a_terminal(&app, "user delete alice --yes", "");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.out.contains("[y/N]"), "{said:?}");
    app.fails("user show alice", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_comes_whole_and_once() {
    let app = TestApp::start().await;
    let number = unique();
    let session = app.database().session().await;
    // Two pages and a bit.
    session
        .batch_execute(&format!(
            "INSERT INTO account (kind, name) SELECT 'organization', 'org{number}-' || n FROM generate_series(1, 2500) n;
             INSERT INTO namespace (owner_account_id, name)
                 SELECT id, name FROM account WHERE kind = 'organization';
             INSERT INTO repository (namespace_id, path)
                 SELECT id, name || '/app' FROM namespace WHERE name LIKE 'org%'"
        ))
        .await
        .unwrap();
    for noun in ["org", "repository"] {
        let rows = app.tells(&format!("{noun} list"));
        let rows = rows.as_array().expect("a list");
        let mut names: Vec<&str> = rows
            .iter()
            .map(|row| row["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.len(), 2500, "{noun}");
        names.dedup();
        assert_eq!(names.len(), 2500, "{noun}");
        assert!(names.is_sorted(), "{noun}");
        assert_eq!(
            app.does(&format!("{noun} list")).lines().count(),
            2500,
            "{noun}"
        );
    }
}
