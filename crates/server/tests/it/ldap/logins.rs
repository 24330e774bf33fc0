//! Who is logged in by the directory, as whom, and who is not.

use super::stage::{binds, directory, login, over, shared, subject, team};
use crate::app::{ADMIN, PASSWORD, push};
use crate::logins::{admin, secret};
use http::Method;
use portolan_testkit::children::{eventually, run};
use portolan_testkit::image::Image;
use portolan_testkit::slapd::Slapd;
use serde_json::json;
use std::net::TcpListener;

#[tokio::test]
async fn a_name_and_a_password_of_the_directory_pull_what_the_teams_of_its_groups_may() {
    let directory = shared();
    directory.person("anna", "anna's secret");
    directory.group("anna-dev", &["anna"]);
    let app = over(directory).start().await;
    team(&app, "acme", "anna-dev");
    push(&app.admin(), "acme/app", "v1", &Image::random(71)).await;
    admin(
        &app,
        &[
            "permission",
            "set",
            "acme/app",
            "read",
            "--team",
            "acme/anna-dev",
        ],
    );
    let scopes = [
        "repository:acme/app:pull,push",
        "repository:anna/own:pull,push",
    ];
    let anna = app.anonymous().basic("anna", "anna's secret");
    let pulls = async |status: u16| {
        let token = app.token(&anna, &scopes).await;
        let client = app.anonymous().bearer(&token);
        client.get("/v2/acme/app/manifests/v1").await.expect(status);
        token
    };
    let token = pulls(200).await;
    let claims = crate::token::claims(&token);
    assert_eq!(
        (&claims["sub"], &claims["via"]),
        (&json!("anna"), &json!("ldap"))
    );
    assert_eq!(
        claims["access"],
        json!([
            { "type": "repository", "name": "acme/app", "actions": ["pull"] },
            { "type": "repository", "name": "anna/own", "actions": ["pull", "push"] },
        ])
    );
    // Without a token too.
    anna.get("/v2/acme/app/manifests/v1").await.expect(200);
    assert_eq!(
        app.count("SELECT count(*) FROM account WHERE email = 'anna@example.test' AND password_hash IS NULL")
            .await,
        1
    );
    let written = "SELECT count(*) FROM audit_log WHERE credential = 'ldap' AND action IN ('user.create', 'team.add_member')";
    assert_eq!(app.count(written).await, 2);

    directory.leave("anna-dev", "anna");
    // What she is given now has no right in it, and what she was given before is worth nothing at once.
    pulls(401).await;
    app.anonymous()
        .bearer(&token)
        .get("/v2/acme/app/manifests/v1")
        .await
        .expect(401);
    app.settled().await;
}

#[tokio::test]
async fn whom_a_person_added_stays_in_the_team() {
    let directory = shared();
    directory.person("bert", "bert's secret");
    let app = over(directory).start().await;
    team(&app, "acme", "bert-dev");
    subject(login(&app, "bert", "bert's secret").await);
    admin(&app, &["team", "add-member", "acme/bert-dev", "bert"]);
    subject(login(&app, "bert", "bert's secret").await);
    let members = "SELECT count(*) FROM membership";
    assert_eq!(app.count(members).await, 1);
}

#[tokio::test]
async fn what_is_not_the_password_is_refused_alike_whether_or_not_there_is_such_a_name() {
    let directory = shared();
    directory.person("carl", "carl's secret");
    directory.person("carla", "carla's secret");
    let app = over(directory).start().await;
    let mut bodies = Vec::new();
    for (name, password) in [
        ("carl", "a guess"),
        ("carl", "carla's secret"),
        ("carl", ""),
        ("nobody", "a guess"),
        ("nobody", ""),
        ("", "a guess"),
        ("", ""),
        ("*", "carl's secret"),
        ("carl*", "carl's secret"),
        ("*)(uid=carl", "carl's secret"),
        ("*)(uid=*", "carl's secret"),
        ("carl)(|(uid=*", "carl's secret"),
        ("carl\\2a", "carl's secret"),
        ("uid=carl,ou=people,dc=example,dc=test", "carl's secret"),
        ("carl,dc=example", "carl's secret"),
        ("carl\0", "carl's secret"),
        // Who may read there, and who may everything there, are none of those who may log in here.
        ("reader", Slapd::READER_PASSWORD),
        (Slapd::READER, Slapd::READER_PASSWORD),
        ("root", "root of the tests"),
        (ADMIN, "a guess"),
    ] {
        let answer = login(&app, name, password).await;
        let answer = answer.refused(401, "UNAUTHORIZED");
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(
        app.count("SELECT count(*) FROM account WHERE kind = 'user'")
            .await,
        1
    );
    // Nobody was bound without a password, which a directory lets in as nobody.
    assert_eq!(binds(directory, "carl"), 2);
    let log = directory.log();
    assert!(
        !log.contains("(uid=*)") && log.contains("(uid=\\2A)"),
        "{log}"
    );
    assert_eq!(subject(login(&app, "carl", "carl's secret").await), "carl");
    // A directory knows no capital letters in names.
    assert_eq!(subject(login(&app, "Carl", "carl's secret").await), "carl");
}

/// What the directory was asked after so many bytes of its log: searches, and binds but those of the reader.
fn asked(directory: &Slapd, from: usize) -> (usize, usize) {
    let log = directory.log();
    let log = &log[from..];
    let reader = format!("BIND dn=\"{}\" method=128", Slapd::READER);
    let binds = log.matches("\" method=128").count() - log.matches(&reader).count();
    (log.matches(" SRCH base=").count(), binds)
}

#[tokio::test]
async fn the_directory_is_asked_as_much_for_a_name_that_is_not_its_own() {
    // Its log is compared, so nobody else may ask it.
    let directory = directory();
    directory.person("theo", "theo's secret");
    let app = over(&directory).start().await;
    app.user("local");
    for (name, password) in [
        ("theo", "a guess"),
        ("theo", ""),
        ("nobody", "a guess"),
        ("nobody", ""),
        ("local", "a guess"),
        ("no\u{ef}body", "a guess"),
        (ADMIN, ""),
    ] {
        let before = directory.log().len();
        login(&app, name, password)
            .await
            .refused(401, "UNAUTHORIZED");
        eventually("the directory has said goodbye", || async {
            let log = directory.log();
            log[before..].contains(" closed")
        })
        .await;
        assert_eq!(asked(&directory, before), (1, 1), "{name} {password}");
    }
    let before = directory.log().len();
    login(&app, "local", PASSWORD).await.expect(200);
    assert_eq!(asked(&directory, before), (0, 0));
}

#[tokio::test]
async fn what_lies_on_another_server_is_not_there_and_nobody_goes_to_look() {
    let directory = directory();
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a free port");
    elsewhere.set_nonblocking(true).expect("a socket");
    let address = elsewhere.local_addr().expect("it is bound");
    directory.change(&format!(
        "dn: ou=branch,{people}
changetype: add
objectClass: referral
objectClass: extensibleObject
ou: branch
ref: ldap://{address}/ou=branch,{people}
",
        people = Slapd::PEOPLE
    ));
    let found = run(std::process::Command::new("ldapsearch")
        .args(["-x", "-H", &directory.url(), "-D", Slapd::READER])
        .args([
            "-w",
            Slapd::READER_PASSWORD,
            "-b",
            Slapd::PEOPLE,
            "(uid=udo)",
        ]));
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.contains(&format!("ref: ldap://{address}")), "{found}");
    let app = over(&directory).start().await;
    login(&app, "udo", "udo's secret")
        .await
        .refused(401, "UNAUTHORIZED");
    let came = elsewhere.accept().expect_err("nobody comes");
    assert_eq!(came.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn an_empty_password_is_no_password_though_the_directory_lets_it_in() {
    let directory = shared();
    directory.person("dina", "dina's secret");
    let app = over(directory).start().await;
    // As the directory sees it, all is well with a bind without a password.
    run(std::process::Command::new("ldapwhoami")
        .args(["-x", "-H", &directory.url(), "-w", "", "-D"])
        .arg(format!("uid=dina,{}", Slapd::PEOPLE)));
    login(&app, "dina", "").await.refused(401, "UNAUTHORIZED");
    let basic = app.anonymous().basic("dina", "");
    basic.get("/v2/").await.refused(401, "UNAUTHORIZED");
    app.anonymous()
        .request(Method::POST, "/v2/auth")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=password&username=dina&password=&service=portolan")
        .send()
        .await
        .refused(401, "UNAUTHORIZED");
    assert_eq!(binds(directory, "dina"), 1, "that of the test itself");
    assert_eq!(subject(login(&app, "dina", "dina's secret").await), "dina");
}

#[tokio::test]
async fn a_name_that_two_entries_have_is_nobodys() {
    let directory = shared();
    directory.person("eva", "one secret");
    directory.person("eva2", "other secret");
    directory.change(&format!(
        "dn: uid=eva2,{}\nchangetype: modify\nadd: uid\nuid: eva\n",
        Slapd::PEOPLE
    ));
    let app = over(directory).start().await;
    for password in ["one secret", "other secret"] {
        login(&app, "eva", password)
            .await
            .refused(401, "UNAUTHORIZED");
    }
    assert_eq!((binds(directory, "eva"), binds(directory, "eva2")), (0, 0));
    assert!(app.log().contains("finds more than one person"));
    // By the name that only she has; the one that was typed is what she is called.
    assert_eq!(subject(login(&app, "eva2", "other secret").await), "eva2");
}

#[tokio::test]
async fn a_name_that_is_taken_here_stays_who_it_was() {
    let directory = shared();
    directory.person("frida", "frida's secret");
    directory.person(ADMIN, "the directory's administrator");
    directory.person("gina", "gina's secret");
    let app = over(directory).start().await;
    app.user("frida");
    // An account that has a password here is asked for that one, and what is typed goes nowhere else.
    login(&app, "frida", "frida's secret")
        .await
        .refused(401, "UNAUTHORIZED");
    login(&app, ADMIN, "the directory's administrator")
        .await
        .refused(401, "UNAUTHORIZED");
    login(&app, "frida", PASSWORD).await.expect(200);
    login(&app, ADMIN, PASSWORD).await.expect(200);
    // Where there is a directory names have no capital letters.
    login(&app, "Admin", PASSWORD).await.expect(200);
    login(&app, "ADMIN", "the directory's administrator")
        .await
        .refused(401, "UNAUTHORIZED");
    assert_eq!((binds(directory, "frida"), binds(directory, ADMIN)), (0, 0));
    // Without one it is another's all the same.
    let session = app.database().session().await;
    let sql = "UPDATE account SET password_hash = NULL WHERE name = 'frida'";
    session.batch_execute(sql).await.expect("a row");
    admin(&app, &["org", "create", "gina"]);
    for (name, password) in [("frida", "frida's secret"), ("gina", "gina's secret")] {
        login(&app, name, password)
            .await
            .refused(401, "UNAUTHORIZED");
    }
    assert_eq!(app.count("SELECT count(*) FROM external_identity").await, 0);
    assert!(app.log().contains("your name is taken here"));
}

#[tokio::test]
async fn an_account_that_is_disabled_stays_out() {
    let directory = shared();
    directory.person("hans", "hans's secret");
    let app = over(directory).start().await;
    let token = app
        .token(&app.anonymous().basic("hans", "hans's secret"), &[])
        .await;
    run(app.command().args(["admin", "user", "disable", "hans"]));
    login(&app, "hans", "hans's secret")
        .await
        .refused(401, "UNAUTHORIZED");
    app.anonymous()
        .bearer(&token)
        .get("/v2/hans/app/tags/list")
        .await
        .refused(401, "UNAUTHORIZED");
    run(app.command().args(["admin", "user", "enable", "hans"]));
    assert_eq!(subject(login(&app, "hans", "hans's secret").await), "hans");
}

#[tokio::test]
async fn nobody_gets_an_account_where_none_are_made() {
    let directory = shared();
    directory.person("ilse", "ilse's secret");
    let app = over(directory).with("LDAP__SIGN_UP", "false").start().await;
    login(&app, "ilse", "ilse's secret")
        .await
        .refused(401, "UNAUTHORIZED");
    assert!(app.log().contains("there is no account for you here"));
    assert_eq!(app.count("SELECT count(*) FROM external_identity").await, 0);
}

#[tokio::test]
async fn wrong_passwords_of_the_directory_shut_out_on_every_process_as_those_kept_here_do() {
    let directory = shared();
    directory.person("jana", "jana's secret");
    let app = over(directory)
        .with("LOGIN__LOCKOUT_AFTER", 3)
        .start()
        .await;
    let another = app.another();
    subject(login(&app, "jana", "jana's secret").await);
    for name in ["jana", "nobody"] {
        let capitals = name.to_ascii_uppercase();
        for (name, guess) in [(name, "a"), (&capitals, "a"), (&capitals, "b"), (name, "c")] {
            login(&app, name, guess).await.refused(401, "UNAUTHORIZED");
        }
        // No spelling is another name.
        login(&app, &capitals, "jana's secret")
            .await
            .refused(429, "TOOMANYREQUESTS");
        login(&app, name, "jana's secret")
            .await
            .refused(429, "TOOMANYREQUESTS");
    }
    eventually("three wrong passwords are counted", || async {
        app.count("SELECT coalesce(max(failures), 0)::bigint FROM lockout")
            .await
            == 3
    })
    .await;
    let before = binds(directory, "jana");
    for name in ["jana", "Jana"] {
        login(&another, name, "jana's secret")
            .await
            .refused(401, "UNAUTHORIZED");
    }
    assert_eq!(binds(directory, "jana"), before, "it is not even tried");
    let session = app.database().session().await;
    let over = "UPDATE lockout SET locked_until = now() - interval '1 second'";
    session.batch_execute(over).await.expect("a row");
    subject(login(&another, "jana", "jana's secret").await);
    eventually("a right password ends the count", || async {
        app.count("SELECT count(*) FROM lockout").await == 0
    })
    .await;
}

#[tokio::test]
async fn groups_are_found_by_an_attribute_and_decide_who_may_log_in_and_who_may_everything() {
    let directory = shared();
    for name in ["kurt", "lisa"] {
        directory.person(name, "the secret");
    }
    directory.group("staff", &["kurt", "lisa"]);
    directory.group("chiefs", &["kurt"]);
    let app = over(directory)
        .with("LDAP__GROUPS__FILTER", "")
        .with("LDAP__GROUPS__MEMBER_OF", "memberOf")
        .with("LDAP__REQUIRED_GROUP", "staff")
        .with("LDAP__SUPERUSER_GROUP", "chiefs")
        .start()
        .await;
    team(&app, "acme", "staff");
    subject(login(&app, "kurt", "the secret").await);
    subject(login(&app, "lisa", "the secret").await);
    let supers = "SELECT count(*) FROM account WHERE superuser AND name = 'kurt'";
    assert_eq!(app.count(supers).await, 1);
    let lisas = "SELECT count(*) FROM membership JOIN account ON account.id = account_id WHERE name = 'lisa'";
    assert_eq!(app.count(lisas).await, 1);
    // Who may no longer log in loses by the attempt what the groups gave.
    directory.leave("staff", "lisa");
    directory.leave("chiefs", "kurt");
    login(&app, "lisa", "the secret")
        .await
        .refused(401, "UNAUTHORIZED");
    assert_eq!(app.count(lisas).await, 0);
    subject(login(&app, "kurt", "the secret").await);
    assert_eq!(app.count(supers).await, 0);
}

#[tokio::test]
async fn somebody_who_is_called_otherwise_there_is_the_same_here_and_a_namesake_is_not() {
    let directory = shared();
    directory.person("maria", "maria's secret");
    let app = over(directory).start().await;
    subject(login(&app, "maria", "maria's secret").await);
    directory.change(&format!(
        "dn: uid=maria,{}\nchangetype: modrdn\nnewrdn: uid=maria-new\ndeleteoldrdn: 1\n",
        Slapd::PEOPLE
    ));
    directory.person("maria", "another maria's");
    assert_eq!(
        subject(login(&app, "maria-new", "maria's secret").await),
        "maria"
    );
    login(&app, "maria", "another maria's")
        .await
        .refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_right_password_is_remembered_for_as_long_as_is_set_and_a_wrong_one_never() {
    let directory = shared();
    directory.person("nils", "nils's secret");
    let app = over(directory)
        .with("LDAP__BOUNDS__REMEMBER", "5m")
        .start()
        .await;
    for _ in 0..3 {
        subject(login(&app, "nils", "nils's secret").await);
    }
    assert_eq!(binds(directory, "nils"), 1);
    login(&app, "nils", "a guess").await.expect(401);
    login(&app, "nils", "a guess").await.expect(401);
    assert_eq!(binds(directory, "nils"), 3);
    run(app.command().args(["admin", "user", "disable", "nils"]));
    login(&app, "nils", "nils's secret").await.expect(401);
}

#[tokio::test]
async fn a_password_of_the_directory_is_not_changed_here_and_application_tokens_go_with_it() {
    let directory = shared();
    directory.person("olga", "olga's secret");
    let app = over(directory).start().await;
    subject(login(&app, "olga", "olga's secret").await);
    let client = app.anonymous().basic("olga", "olga's secret");
    let answer = client
        .request(Method::PUT, "/api/v1/user/")
        .header("content-type", "application/json")
        .body(json!({ "password": "another secret" }).to_string())
        .send()
        .await
        .expect(403);
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("directory")
    );
    let token = secret(&app, &["token", "create", "olga"]);
    login(&app, "olga", &token).await.expect(200);
    assert!(!app.log().contains("olga's secret"));
}

#[tokio::test]
async fn people_and_groups_are_found_by_the_filters_that_are_set_whatever_their_names_hold() {
    let directory = shared();
    // Of a branch whose name would end a filter.
    directory.change(&format!(
        "dn: ou=a(b)*\\5c,{people}
changetype: add
objectClass: organizationalUnit
ou: a(b)*\\

dn: uid=xaver,ou=a(b)*\\5c,{people}
changetype: add
objectClass: inetOrgPerson
uid: xaver
cn: Xaver
sn: Xaver
mail: x@example.test
userPassword: xaver's secret

dn: cn=xaver-dev,{groups}
changetype: add
objectClass: groupOfNames
cn: xaver-dev
member: uid=xaver,ou=a(b)*\\5c,{people}

dn: cn=xaver-unix,{groups}
changetype: add
objectClass: posixGroup
cn: xaver-unix
gidNumber: 1000
memberUid: xaver
",
        people = Slapd::PEOPLE,
        groups = Slapd::GROUPS
    ));
    let app = over(directory)
        .with("LDAP__USERS__FILTER", "(|(mail=%s)(cn=%s))")
        .with("LDAP__GROUPS__FILTER", "(|(member={})(memberUid={name}))")
        .start()
        .await;
    team(&app, "acme", "xaver-dev");
    admin(&app, &["team", "create", "acme/unix"]);
    admin(
        &app,
        &["team", "add-group", "acme/unix", "ldap", "xaver-unix"],
    );
    for name in ["x@example.test", "Xaver"] {
        assert_eq!(subject(login(&app, name, "xaver's secret").await), "xaver");
    }
    assert_eq!(app.count("SELECT count(*) FROM membership").await, 2);
}

#[tokio::test]
async fn who_has_the_verified_address_of_an_account_is_that_account_where_that_is_wanted() {
    let directory = shared();
    directory.person("yvonne", "yvonne's secret");
    directory.person("zoe", "zoe's secret");
    let app = over(directory)
        .with("LDAP__SIGN_UP", "false")
        .with("LDAP__LINK_BY", "email")
        .start()
        .await;
    for name in ["yv", "zz"] {
        app.user(name);
    }
    let session = app.database().session().await;
    let sql =
        "UPDATE account SET email = 'Yvonne@example.test', email_verified = true WHERE name = 'yv';
        UPDATE account SET email = 'zoe@example.test' WHERE name = 'zz'";
    session.batch_execute(sql).await.expect("two rows");
    assert_eq!(
        subject(login(&app, "yvonne", "yvonne's secret").await),
        "yv"
    );
    // An address that nobody has shown to be his is nobody's.
    login(&app, "zoe", "zoe's secret")
        .await
        .refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn secrets_of_this_registry_never_go_to_the_directory_however_their_names_are_written() {
    let directory = shared();
    directory.person("rosa", "rosa's secret");
    let app = over(directory).start().await;
    subject(login(&app, "rosa", "rosa's secret").await);
    let token = secret(&app, &["token", "create", "rosa"]);
    let robot = secret(&app, &["robot", "create", "rosa+ci"]);
    let searches = |name: &str| directory.log().matches(&format!("(uid={name})")).count();
    for name in ["Rosa", "rosa"] {
        login(&app, name, &token).await.expect(200);
    }
    login(&app, "Rosa+CI", &robot).await.expect(200);
    login(&app, "Rosa+CI", "from elsewhere").await.expect(401);
    assert_eq!(searches("Rosa+CI") + searches("rosa+ci"), 0);
}

#[tokio::test]
async fn nobody_logs_in_as_who_looks_people_up_or_has_the_directory_lock_him_out() {
    let directory = directory();
    let app = over(&directory)
        .with("LDAP__USERS__BASE", "dc=example,dc=test")
        .with("LDAP__USERS__FILTER", "(cn={})")
        .start()
        .await;
    for password in ["a guess", Slapd::READER_PASSWORD] {
        login(&app, "reader", password).await.expect(401);
    }
    let bind = format!("BIND dn=\"{}\" method=128", Slapd::READER);
    let binds = directory.log().matches(&bind).count();
    assert_eq!(binds, 2, "only the registry has tried to be who it is");
}

#[tokio::test]
async fn guesses_that_come_at_once_are_no_more_to_the_directory_than_may_be_wrong() {
    let directory = directory();
    directory.person("urs", "urs's secret");
    let app = over(&directory)
        .with("LOGIN__LOCKOUT_AFTER", 3)
        .start()
        .await;
    let guesses: Vec<String> = (0..20).map(|n| format!("guess {n}")).collect();
    let tried = guesses.iter().map(|guess| login(&app, "urs", guess));
    let answers = futures::future::join_all(tried).await;
    let refused = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(refused, 3);
    assert_eq!(binds(&directory, "urs"), 3);
}
