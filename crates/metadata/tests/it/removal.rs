//! The end of users, organizations and repositories: what goes with them, and who has to be waited for.

use crate::access::user;
use crate::support::{Db, Push, aside, commit, digest, path};
use portolan_metadata::accounts::{self, AccountKind, AccountName};
use portolan_metadata::{Error, Principal, Refused, repositories};
use std::time::Duration;

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

/// An organization `acme` with a team, a robot and rights of theirs, and a user `alice` with everything that a user has.
async fn world() -> Db {
    let db = Db::new().await;
    user(&db, "root", true).await;
    user(&db, "alice", false).await;
    db.write(async |tx| accounts::create_organization(tx, &name("acme"), "").await)
        .await;
    db.repository("other/app").await;
    db.sql
        .batch_execute(
            "INSERT INTO account (kind, name, owner_id) SELECT 'robot', 'acme+ci', id FROM account WHERE name = 'acme';
             INSERT INTO account (kind, name, owner_id) SELECT 'robot', 'alice+ci', id FROM account WHERE name = 'alice';
             INSERT INTO team (organization_id, role, name) SELECT id, 'admin', 'dev' FROM account WHERE name = 'acme';
             INSERT INTO membership (account_id, team_id)
                 SELECT account.id, team.id FROM account, team WHERE account.name IN ('alice', 'acme+ci');
             INSERT INTO team_group SELECT id, 'corp', 'devs' FROM team;
             INSERT INTO permission (repository_id, account_id, role)
                 SELECT repository.id, account.id, 1 FROM repository, account WHERE account.kind <> 'organization';
             INSERT INTO permission (repository_id, team_id, role) SELECT repository.id, team.id, 1 FROM repository, team;
             INSERT INTO default_permission (namespace_id, account_id, role)
                 SELECT namespace.id, account.id, 1 FROM namespace, account
                 WHERE namespace.name = 'other' AND account.kind <> 'organization';
             INSERT INTO default_permission (namespace_id, creator_id, account_id, role)
                 SELECT namespace.id, account.id, root.id, 1 FROM namespace, account, account AS root
                 WHERE namespace.name = 'other' AND account.name = 'alice' AND root.name = 'root';
             INSERT INTO credential (account_id, kind, secret_hash)
                 SELECT id, 'application', sha256(name::bytea) FROM account WHERE name <> 'root';
             INSERT INTO external_identity (account_id, provider, subject) SELECT id, 'corp', name FROM account WHERE name = 'alice';
             INSERT INTO federation_rule (account_id, issuer, audience, subject)
                 SELECT id, 'i', 'a', '*' FROM account WHERE kind = 'robot';
             INSERT INTO session (account_id, generation, expires_at, secret_hash)
                 SELECT id, 1, now(), sha256(name::bytea) FROM account WHERE name = 'alice';
             INSERT INTO recovery (account_id, generation, expires_at, secret_hash)
                 SELECT id, 1, now(), sha256(name::bytea) FROM account WHERE name = 'alice';
             INSERT INTO lockout (account_id, address, last_attempt) SELECT id, '::1', '' FROM account WHERE name = 'alice';
             UPDATE account SET email = 'alice@example.com' WHERE name = 'alice';
             UPDATE repository SET mode = 'mirror', mirror_account_id = (SELECT id FROM account WHERE name = 'alice')",
        )
        .await
        .unwrap();
    db
}

/// How many rows of every table that refers to accounts are of these.
async fn left(db: &Db, names: &str) -> i64 {
    let tables = [
        "credential",
        "membership",
        "permission",
        "default_permission",
        "external_identity",
        "federation_rule",
        "session",
        "lockout",
        "recovery",
    ];
    let mut rows = 0;
    for table in tables {
        rows += db
            .number(&format!(
                "SELECT count(*) FROM {table} WHERE account_id IN (SELECT id FROM account WHERE {names})"
            ))
            .await;
    }
    rows
}

#[tokio::test]
async fn a_user_who_ends_leaves_a_free_name_and_no_right_of_anybodys() {
    let db = world().await;
    assert!(left(&db, "name LIKE 'alice%'").await >= 10);
    let gone = db
        .write(async |tx| accounts::remove(tx, &name("alice"), AccountKind::User).await)
        .await;
    assert_eq!((gone.robots, gone.teams), (1, 0));
    let id = gone.account.id;
    assert_eq!(left(&db, "state = 'removing'").await, 0);
    assert_eq!(
        db.number("SELECT count(*) FROM default_permission WHERE creator_id IS NOT NULL")
            .await,
        0
    );
    assert!(
        db.holds(&format!(
            "SELECT state = 'removing' AND name = '~{id}' AND generation = 2 AND password_hash IS NULL AND email IS NULL
             FROM account WHERE id = {id}"
        ))
        .await
    );
    assert!(
        db.holds("SELECT mode = 'mirror' AND mirror_account_id IS NULL FROM repository")
            .await,
        "a mirror without its account takes nothing"
    );
    // The organization's are still there.
    assert_eq!(left(&db, "name = 'acme+ci'").await, 5);

    let new = user(&db, "alice", false).await;
    assert_ne!(new.account(), Some(id));
    assert_eq!(
        db.number("SELECT count(*) FROM namespace WHERE name = 'alice' OR name LIKE '~%'")
            .await,
        2
    );
}

#[tokio::test]
async fn an_organization_ends_with_its_teams_and_robots() {
    let db = world().await;
    let gone = db
        .write(async |tx| accounts::remove(tx, &name("acme"), AccountKind::Organization).await)
        .await;
    assert_eq!((gone.robots, gone.teams), (1, 1));
    for table in ["team", "team_group", "membership"] {
        assert_eq!(db.number(&format!("SELECT count(*) FROM {table}")).await, 0);
    }
    assert_eq!(
        db.number("SELECT count(*) FROM permission WHERE team_id IS NOT NULL")
            .await,
        0
    );
    assert_eq!(left(&db, "state = 'removing'").await, 0);
    // A superuser's push makes another one.
    db.repository("acme/app").await;
}

#[tokio::test]
async fn an_account_that_has_repositories_stays_until_they_are_gone() {
    let db = world().await;
    for repository in ["alice/c", "alice/a", "alice/b"] {
        db.repository(repository).await;
    }
    db.run(
        "INSERT INTO permission (repository_id, account_id, role)
         SELECT repository.id, account.id, 2 FROM repository, account
         WHERE repository.path LIKE 'alice/%' AND account.name = 'root'",
    )
    .await;
    let tx = db.begin().await;
    let outcome = accounts::remove(&tx, &name("alice"), AccountKind::User).await;
    assert!(
        matches!(outcome, Err(Error::Refused(Refused::HasRepositories))),
        "{outcome:?}"
    );
    tx.rollback().await.unwrap();

    let alice = {
        let reader = db.router.read_list();
        accounts::find(&reader, &name("alice")).await.unwrap()
    };
    let namespace = alice.unwrap().namespace.unwrap();
    let mark = async || {
        let marked = db
            .write(async |tx| repositories::mark_deleted_in(tx, namespace, 2).await)
            .await;
        let mut names: Vec<String> = marked
            .iter()
            .map(|(_, name)| name.as_str().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(mark().await, ["alice/a", "alice/b"]);
    assert_eq!(mark().await, ["alice/c"]);
    assert_eq!(mark().await, [""; 0]);
    assert_eq!(
        db.number("SELECT count(*) FROM permission WHERE role = 2")
            .await,
        0,
        "rights in what is gone are gone"
    );
    db.write(async |tx| accounts::remove(tx, &name("alice"), AccountKind::User).await)
        .await;
    // What is being removed is in the namespace still, and the name makes a new one.
    user(&db, "alice", false).await;
    db.repository("alice/a").await;
    assert_eq!(
        db.number("SELECT count(DISTINCT namespace_id) FROM repository WHERE path = 'alice/a' OR removed_path = 'alice/a'")
            .await,
        2
    );
}

#[tokio::test]
async fn the_end_of_an_account_waits_for_a_first_push_into_its_namespace() {
    let db = world().await;
    let push = db.begin().await;
    repositories::create(&push, &path("alice/new"), &Principal::Anonymous)
        .await
        .unwrap();
    let remover = db.begin().await;
    let removal = aside(async move {
        let outcome = accounts::remove(&remover, &name("alice"), AccountKind::User).await;
        remover.rollback().await.unwrap();
        outcome
    });
    db.until_blocked().await;
    commit(push).await;
    let outcome = removal.await.unwrap();
    assert!(
        matches!(outcome, Err(Error::Refused(Refused::HasRepositories))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_first_push_that_waited_for_the_end_of_its_namespace_makes_nothing() {
    let db = world().await;
    let alice = {
        let reader = db.router.read_list();
        accounts::find(&reader, &name("alice")).await.unwrap()
    };
    let principal = crate::access::of(alice.unwrap().id, 1);
    let remover = db.begin().await;
    accounts::remove(&remover, &name("alice"), AccountKind::User)
        .await
        .unwrap();
    let push = db.begin().await;
    let pushing = aside(async move {
        let access = repositories::lock(&push, &path("alice/new"), &principal)
            .await
            .unwrap();
        assert!(access.may_create, "the end is not committed yet");
        let outcome = repositories::create(&push, &path("alice/new"), &principal).await;
        push.rollback().await.unwrap();
        outcome
    });
    db.until_blocked().await;
    commit(remover).await;
    let outcome = pushing.await.unwrap();
    let retried = outcome.as_ref().is_err_and(Error::is_retryable);
    assert!(retried, "{outcome:?}");
    assert_eq!(
        db.number("SELECT count(*) FROM account WHERE name = 'alice'")
            .await,
        0
    );
}

#[tokio::test]
async fn what_is_given_to_somebody_while_he_ends_is_not_given() {
    let db = world().await;
    let remover = db.begin().await;
    accounts::remove(&remover, &name("alice"), AccountKind::User)
        .await
        .unwrap();
    let tx = db.begin().await;
    let holding = aside(async move {
        let found = accounts::hold(&tx, &name("alice")).await;
        tx.rollback().await.unwrap();
        found
    });
    db.until_blocked().await;
    commit(remover).await;
    assert!(holding.await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn a_change_of_an_account_keeps_no_push_waiting() {
    let db = world().await;
    let changer = db.begin().await;
    let alice = accounts::lock(&changer, &name("alice"), AccountKind::User)
        .await
        .unwrap();
    // A first push refers to whoever makes it, as the one who administers it.
    let principal = crate::access::of(alice.id, 1);
    db.write(async |tx| repositories::create(tx, &path("other/new"), &principal).await)
        .await;
    commit(changer).await;
}

#[tokio::test]
async fn the_rows_of_a_deleted_repository_go_a_few_at_a_time_and_nobody_elses_do() {
    let db = Db::new().await;
    let layers: [&[u8]; 3] = [b"l0", b"l1", b"l2"];
    for name in ["acme/old", "acme/kept"] {
        let repository = db.repository(name).await;
        for layer in layers {
            db.blob(repository, layer).await;
        }
        for payload in [b"m0", b"m1"] {
            let push = Push {
                blobs: &layers.map(digest),
                tag: Some("latest"),
                ..Push::of(payload)
            };
            db.manifest(repository, &push).await;
        }
        let push = Push {
            children: &[digest(b"m0"), digest(b"m1")],
            tag: Some("index"),
            ..Push::of(b"index")
        };
        db.manifest(repository, &push).await;
    }
    let old = db
        .write(async |tx| repositories::mark_deleted(tx, &path("acme/old")).await)
        .await
        .unwrap();
    db.run("UPDATE gc_queue SET review_after = now() + interval '99 hours' WHERE kind = 'blob'")
        .await;
    let day = repositories::KEPT;
    let step = async |kept, rows| {
        db.write(async |tx| repositories::remove_step(tx, kept, rows).await)
            .await
    };
    assert_eq!(step(day, 2).await, None, "it was deleted just now");
    db.run("UPDATE repository SET removed_at = removed_at - interval '25 hours' WHERE state = 'removing'")
        .await;
    let mut steps = Vec::new();
    while let Some(rows) = step(day, 2).await {
        assert!((1..=2).contains(&rows));
        steps.push(rows);
    }
    // Two tags, two children, six references, three links, three manifests, and the repository.
    assert_eq!(steps.iter().sum::<u64>(), 17, "{steps:?}");
    assert_eq!(
        db.number(&format!("SELECT count(*) FROM repository WHERE id = {old}"))
            .await,
        0
    );
    for (table, rows) in [
        ("tag", 2),
        ("manifest", 3),
        ("manifest_child", 2),
        ("manifest_blob", 6),
        ("repository_blob", 3),
        ("blob", 3),
        ("gc_queue WHERE kind = 'manifest'", 3),
    ] {
        assert_eq!(
            db.number(&format!("SELECT count(*) FROM {table}")).await,
            rows,
            "{table}"
        );
    }
    assert_eq!(
        db.number("SELECT count(*) FROM tag_history").await,
        db.number("SELECT 2 * count(*) FROM tag_history JOIN repository ON repository.id = tag_history.repository_id")
            .await,
        "what was is still told"
    );
    assert_eq!(step(Duration::ZERO, 2).await, None);
}

#[tokio::test]
async fn two_workers_are_not_at_one_repository() {
    let db = Db::new().await;
    db.repository("acme/old").await;
    db.write(async |tx| repositories::mark_deleted(tx, &path("acme/old")).await)
        .await;
    let one = db.begin().await;
    let first = repositories::remove_step(&one, Duration::ZERO, 10).await;
    assert_eq!(first.unwrap(), Some(1));
    assert_eq!(
        db.write(async |tx| repositories::remove_step(tx, Duration::ZERO, 10).await)
            .await,
        None
    );
    commit(one).await;
}
