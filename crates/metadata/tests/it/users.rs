//! What changes of users and organizations, and who must be left.

use crate::access::user;
use crate::support::{Db, aside, commit, router};
use portolan_metadata::accounts::{self, AccountKind, AccountName, Superuser};
use portolan_metadata::credentials::SecretHash;
use portolan_metadata::{Error, Noun, Refused, external_identities, migrate, recovery};
use portolan_testkit::pg_cluster::PgCluster;
use std::time::Duration;

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, why: &Refused) {
    match outcome {
        Err(Error::Refused(refused)) if refused == *why => {}
        other => panic!("{other:?}, and not {why:?}"),
    }
}

async fn find(db: &Db, text: &str) -> accounts::AccountRow {
    let reader = db.router.read_list();
    accounts::find(&reader, &name(text)).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_address_is_one_accounts_whatever_its_case() {
    let db = Db::new().await;
    user(&db, "alice", false).await;
    user(&db, "bob", false).await;
    let set = async |tx: &portolan_pg::Tx, of: &str, email: Option<&str>| {
        let user = accounts::lock(tx, &name(of), AccountKind::User).await?;
        let email = email.map(|text| text.parse().unwrap());
        accounts::set_email(tx, user.id, email.as_ref()).await
    };
    db.write(async |tx| set(tx, "alice", Some("Alice@example.com")).await)
        .await;
    db.run("UPDATE account SET email_verified = true").await;
    let tx = db.begin().await;
    let taken = set(&tx, "bob", Some("alice@EXAMPLE.com")).await;
    refused(taken, &Refused::EmailTaken);
    tx.rollback().await.unwrap();
    assert_eq!(
        find(&db, "alice").await.email.as_deref(),
        Some("Alice@example.com")
    );

    db.write(async |tx| set(tx, "alice", None).await).await;
    assert_eq!(
        db.number("SELECT count(*) FROM account WHERE name = 'alice' AND email_verified")
            .await,
        0,
        "nobody has shown a new address to be his"
    );
    db.write(async |tx| set(tx, "bob", Some("alice@EXAMPLE.com")).await)
        .await;
}

/// Where the database's own locale knows more letters than the index does: there KELVIN SIGN is a capital `k`.
#[tokio::test]
async fn nobody_has_anothers_address_by_letters_that_some_locale_takes_for_the_same() {
    let database = PgCluster::shared().create_database_of("C.UTF-8").await;
    migrate::up(database.url()).await.unwrap();
    let router = router(&database, 2);
    let sql = database.session().await;
    sql.batch_execute(
        "INSERT INTO account (kind, name, email, email_verified, password_hash)
         VALUES ('user', 'kim', 'Kim@example.com', true, 'hash')",
    )
    .await
    .unwrap();
    let folded = sql.query_one("SELECT lower(U&'\\212A') = 'k'", &[]);
    assert!(
        folded.await.unwrap().get::<_, bool>(0),
        "it is one of those"
    );
    let tx = router.begin().await.unwrap();
    for (address, is_hers) in [("kIM@example.com", true), ("\u{212a}im@example.com", false)] {
        let found = external_identities::lock_by_email(&tx, address).await;
        assert_eq!(found.unwrap().is_some(), is_hers, "{address}");
        let secret = SecretHash::new([u8::from(is_hers); 32]);
        let begun = recovery::begin(&tx, address, &secret, Duration::from_hours(1), 3).await;
        assert_eq!(begun.unwrap().is_some(), is_hers, "{address}");
    }
    tx.rollback().await.unwrap();
    router.close().await;
}

#[tokio::test]
async fn the_last_superuser_stays_one_and_stays_in() {
    let db = Db::new().await;
    user(&db, "root", true).await;
    user(&db, "other", true).await;
    user(&db, "alice", false).await;
    // One who is shut out can undo nothing.
    db.write(async |tx| accounts::set_active(tx, &name("other"), false).await)
        .await;
    let root = name("root");
    for step in 0..4 {
        let tx = db.begin().await;
        let outcome = match step {
            0 => accounts::set_active(&tx, &root, false).await.map(drop),
            1 => accounts::set_superuser(&tx, &root, Superuser::Off)
                .await
                .map(drop),
            2 => accounts::set_superuser(&tx, &root, Superuser::ReadOnly)
                .await
                .map(drop),
            _ => accounts::remove(&tx, &root, AccountKind::User)
                .await
                .map(drop),
        };
        refused(outcome, &Refused::LastSuperuser);
        tx.rollback().await.unwrap();
    }
    // Others come and go.
    db.write(async |tx| accounts::set_active(tx, &name("alice"), false).await)
        .await;
    db.write(async |tx| accounts::set_active(tx, &name("alice"), true).await)
        .await;
    let before = db
        .write(async |tx| accounts::set_superuser(tx, &name("alice"), Superuser::On).await)
        .await;
    assert_eq!(before.superuser, Superuser::Off);
    db.write(async |tx| accounts::set_superuser(tx, &root, Superuser::ReadOnly).await)
        .await;
    assert_eq!(find(&db, "root").await.superuser, Superuser::ReadOnly);
    assert_eq!(find(&db, "alice").await.superuser, Superuser::On);
}

#[tokio::test]
async fn of_two_superusers_who_demote_each_other_at_once_one_is_left() {
    for way in 0..3 {
        let db = Db::new().await;
        user(&db, "one", true).await;
        user(&db, "two", true).await;
        let first = db.begin().await;
        accounts::set_superuser(&first, &name("two"), Superuser::Off)
            .await
            .unwrap();
        let second = db.begin().await;
        let other = aside(async move {
            let one = name("one");
            let outcome = match way {
                0 => accounts::set_superuser(&second, &one, Superuser::Off)
                    .await
                    .map(drop),
                1 => accounts::set_active(&second, &one, false).await.map(drop),
                _ => accounts::remove(&second, &one, AccountKind::User)
                    .await
                    .map(drop),
            };
            second.rollback().await.unwrap();
            outcome
        });
        db.until_blocked().await;
        commit(first).await;
        refused(other.await.unwrap(), &Refused::LastSuperuser);
        assert_eq!(find(&db, "one").await.superuser, Superuser::On);
    }
}

#[tokio::test]
async fn accounts_are_of_the_kind_that_is_asked_for() {
    let db = Db::new().await;
    user(&db, "alice", false).await;
    let acme = name("acme");
    db.write(async |tx| accounts::create_organization(tx, &acme, "Anvils").await)
        .await;
    for taken in ["acme", "alice", "acme+ci"] {
        let tx = db.begin().await;
        let outcome = accounts::create_organization(&tx, &name(taken), "").await;
        assert!(
            matches!(outcome, Err(Error::NameTaken)),
            "{taken}: {outcome:?}"
        );
        tx.rollback().await.unwrap();
    }
    let tx = db.begin().await;
    let user = accounts::lock(&tx, &acme, AccountKind::User).await;
    refused(user, &Refused::missing(Noun::User, "acme"));
    let promoted = accounts::set_superuser(&tx, &acme, Superuser::On).await;
    refused(promoted, &Refused::missing(Noun::User, "acme"));
    let alice = accounts::lock(&tx, &name("alice"), AccountKind::Organization).await;
    refused(alice, &Refused::missing(Noun::Organization, "alice"));
    let organization = accounts::lock(&tx, &acme, AccountKind::Organization)
        .await
        .unwrap();
    assert_eq!(organization.description, "Anvils");
    accounts::describe(&tx, organization.id, "Rockets")
        .await
        .unwrap();
    commit(tx).await;
    let found = find(&db, "acme").await;
    assert_eq!(
        (found.kind, found.description.as_str()),
        (AccountKind::Organization, "Rockets")
    );
    assert!(
        db.holds(&format!(
            "SELECT id = {} FROM namespace WHERE name = 'acme'",
            found.namespace.unwrap()
        ))
        .await
    );
}

#[tokio::test]
async fn accounts_are_listed_by_kind_and_name_a_page_at_a_time() {
    let db = Db::new().await;
    for user_name in ["carol", "alice", "bob"] {
        user(&db, user_name, false).await;
    }
    db.write(async |tx| accounts::create_organization(tx, &name("bbb"), "").await)
        .await;
    db.write(async |tx| accounts::remove(tx, &name("bob"), AccountKind::User).await)
        .await;
    let reader = db.router.read_list();
    let list = async |kind, last: Option<&str>, rows| {
        let last = last.map(name);
        let found = accounts::list(&reader, kind, last.as_ref(), rows).await;
        let names = found.unwrap().into_iter().map(|row| row.name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(list(AccountKind::User, None, 9).await, ["alice", "carol"]);
    assert_eq!(list(AccountKind::User, None, 1).await, ["alice"]);
    assert_eq!(list(AccountKind::User, Some("alice"), 9).await, ["carol"]);
    assert_eq!(list(AccountKind::Organization, None, 9).await, ["bbb"]);
}
