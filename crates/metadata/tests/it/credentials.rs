//! Robots, application tokens, and wrong passwords.

use crate::support::Db;
use portolan_metadata::accounts::{self, AccountName, NewUser, StoredPassword};
use portolan_metadata::credentials::{
    self, CredentialBySecret, CredentialKind, NewToken, SecretHash, SecretRow,
};
use portolan_metadata::lockouts::{self, LockoutRules, PasswordByName, PasswordKey};
use portolan_metadata::robots::{self, NewRobot};
use portolan_metadata::{AccountId, Error, Refused, Role, audit, passwords};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

async fn user(db: &Db, text: &str) -> AccountId {
    let new = NewUser {
        name: name(text),
        password_hash: StoredPassword::new("h1"),
        superuser: false,
    };
    db.write(async |tx| accounts::create_user(tx, &new).await)
        .await
}

fn robot(text: &str, secret: u8) -> NewRobot {
    NewRobot {
        name: name(text),
        description: "builds".into(),
        expires_at: None,
        secret: SecretHash::new([secret; 32]),
    }
}

async fn found(db: &Db, secret: u8) -> Option<SecretRow> {
    db.router
        .read_fresh::<CredentialBySecret>(SecretHash::new([secret; 32]))
        .await
        .unwrap()
        .value
}

#[tokio::test]
async fn a_robots_secret_finds_it_until_it_is_another() {
    let db = Db::new().await;
    user(&db, "alice").await;
    let id = db
        .write(async |tx| robots::create(tx, &robot("alice+ci", 1)).await)
        .await;
    let row = found(&db, 1).await.unwrap();
    assert_eq!((row.account, row.generation), (id, 1));
    assert_eq!(row.name.as_str(), "alice+ci");
    assert_eq!(row.kind, CredentialKind::Robot);
    assert!(found(&db, 2).await.is_none());

    let regenerate = async |who: &str, secret: u8| {
        let secret = SecretHash::new([secret; 32]);
        db.write(async |tx| robots::regenerate(tx, &name(who), &secret).await)
            .await
    };
    assert!(regenerate("alice+ci", 2).await);
    assert!(found(&db, 1).await.is_none());
    assert_eq!(found(&db, 2).await.unwrap().generation, 2);
    assert!(!regenerate("alice+other", 3).await);
    assert!(!regenerate("alice", 3).await, "a user is no robot");

    let hour = db
        .sql
        .query_one("SELECT date_trunc('hour', now())", &[])
        .await
        .unwrap();
    let used = [(row.credential, hour.get::<_, SystemTime>(0))];
    db.write(async |tx| audit::count(tx, &[], &used).await)
        .await;
    assert!(found(&db, 2).await.unwrap().used_this_hour);
    let list = robots::list(&db.router.read_list(), &name("alice"), None, 10)
        .await
        .unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].description, "builds");
    assert!(list[0].last_used_at.is_some() && list[0].active);
    let rest = robots::list(
        &db.router.read_list(),
        &name("alice"),
        Some(&list[0].name),
        10,
    )
    .await;
    assert!(rest.unwrap().is_empty());
}

#[tokio::test]
async fn a_robot_works_while_it_and_its_owner_do() {
    let db = Db::new().await;
    user(&db, "alice").await;
    let ci = name("alice+ci");
    db.write(async |tx| robots::create(tx, &robot("alice+ci", 1)).await)
        .await;
    assert!(
        db.write(async |tx| robots::set_active(tx, &ci, false).await)
            .await
    );
    assert!(found(&db, 1).await.is_none());
    assert!(
        db.write(async |tx| robots::set_active(tx, &ci, true).await)
            .await
    );
    assert!(found(&db, 1).await.is_some());

    for (expiry, works) in [("- interval '1 s'", false), ("+ interval '1 h'", true)] {
        let sql = format!("SELECT now() {expiry}");
        let at = Some(db.sql.query_one(&sql, &[]).await.unwrap().get(0));
        assert!(
            db.write(async |tx| robots::set_expiry(tx, &ci, at).await)
                .await
        );
        assert_eq!(found(&db, 1).await.is_some(), works);
    }
    db.write(async |tx| accounts::set_active(tx, &name("alice"), false).await)
        .await;
    assert!(found(&db, 1).await.is_none(), "its owner is disabled");
    db.write(async |tx| accounts::set_active(tx, &name("alice"), true).await)
        .await;
    assert!(found(&db, 1).await.is_some());

    assert!(db.write(async |tx| robots::delete(tx, &ci).await).await);
    assert!(found(&db, 1).await.is_none());
    assert!(!db.write(async |tx| robots::delete(tx, &ci).await).await);
    let reader = db.router.read_list();
    assert!(robots::find(&reader, &ci).await.unwrap().is_none());
    let again = db
        .write(async |tx| robots::create(tx, &robot("alice+ci", 1)).await)
        .await;
    assert_eq!(
        found(&db, 1).await.map(|row| row.account),
        Some(again),
        "the name is free, and the secret"
    );
}

#[tokio::test]
async fn a_robot_needs_an_owner_and_a_name_of_its_own() {
    let db = Db::new().await;
    user(&db, "alice").await;
    let make = async |who: &str| {
        let tx = db.begin().await;
        let made = robots::create(&tx, &robot(who, 1)).await;
        match &made {
            Ok(_) => drop(tx.commit().await.unwrap()),
            Err(_) => tx.rollback().await.unwrap(),
        }
        made
    };
    assert!(matches!(
        make("nobody+ci").await,
        Err(Error::Refused(Refused::Missing { .. }))
    ));
    assert!(make("alice+ci").await.is_ok());
    assert!(matches!(make("alice+ci").await, Err(Error::NameTaken)));
    assert!(matches!(make("alice").await, Err(Error::NameTaken)));
}

#[tokio::test]
async fn an_application_token_is_its_owners_until_it_is_deleted() {
    let db = Db::new().await;
    let alice = user(&db, "alice").await;
    user(&db, "bob").await;
    let new = |owner: &str, secret: u8| NewToken {
        owner: name(owner),
        title: "laptop".into(),
        expires_at: None,
        max_role: Some(Role::Read),
        secret: SecretHash::new([secret; 32]),
    };
    let id = db
        .write(async |tx| credentials::create_token(tx, &new("alice", 1)).await)
        .await
        .unwrap();
    let nobody = db
        .write(async |tx| credentials::create_token(tx, &new("nobody", 2)).await)
        .await;
    assert!(nobody.is_none());
    let row = found(&db, 1).await.unwrap();
    assert_eq!((row.account, row.credential), (alice, id));
    assert_eq!(row.kind, CredentialKind::Application);
    assert!(!row.used_this_hour);

    let list = credentials::list_tokens(&db.router.read_list(), &name("alice"), None, 10)
        .await
        .unwrap();
    assert_eq!((list.len(), list[0].title.as_str()), (1, "laptop"));
    assert_eq!(list[0].max_role, Some(Role::Read));

    let delete = async |who: &str| {
        db.write(async |tx| credentials::delete_token(tx, &name(who), id).await)
            .await
    };
    assert_eq!(delete("bob").await, None, "it is not his");
    assert!(found(&db, 1).await.is_some());
    assert_eq!(delete("alice").await.as_deref(), Some("laptop"));
    assert!(found(&db, 1).await.is_none());

    assert!(
        db.write(async |tx| credentials::revoke(tx, &name("alice")).await)
            .await
    );
    assert!(
        !db.write(async |tx| credentials::revoke(tx, &name("eve")).await)
            .await
    );
    assert!(
        db.holds("SELECT generation = 2 FROM account WHERE name = 'alice'")
            .await
    );
}

const RULES: LockoutRules = LockoutRules {
    after: 3,
    first: Duration::from_mins(1),
    longest: Duration::from_mins(3),
    forget: Duration::from_hours(24),
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

#[tokio::test]
async fn wrong_passwords_shut_out_one_network_for_longer_and_longer() {
    let db = Db::new().await;
    let alice = user(&db, "alice").await;
    let failed = async |attempt: &[u8]| {
        db.write(async |tx| lockouts::failed(tx, alice, HERE, attempt, &RULES).await)
            .await;
    };
    let standing = async |network: IpAddr| {
        let name = name("alice");
        let key = PasswordKey { name, network };
        let row = db.router.read_fresh::<PasswordByName>(key).await.unwrap();
        let row = row.value.unwrap();
        // To the minute, as the clock goes on.
        let minutes = row.locked_for.map(|rest| rest.as_secs().div_ceil(60));
        (row.failed_before, minutes)
    };
    assert_eq!(standing(HERE).await, (false, None));
    for attempt in [b"a", b"a", b"b", b"b"] {
        failed(attempt).await;
    }
    // The same twice is once.
    assert_eq!(standing(HERE).await, (true, None));
    failed(b"c").await;
    assert_eq!(standing(HERE).await, (true, Some(1)));
    failed(b"c").await;
    assert_eq!(standing(HERE).await, (true, Some(1)));
    failed(b"d").await;
    assert_eq!(standing(HERE).await, (true, Some(2)));
    for attempt in [b"e", b"f"] {
        failed(attempt).await;
        assert_eq!(standing(HERE).await, (true, Some(3)), "no longer than that");
    }
    let elsewhere = "198.51.100.7".parse().unwrap();
    assert_eq!(standing(elsewhere).await, (false, None));
    db.write(async |tx| lockouts::clear(tx, alice, HERE).await)
        .await;
    assert_eq!(standing(HERE).await, (false, None));
}

#[tokio::test]
async fn what_is_long_past_is_forgotten_and_swept() {
    let db = Db::new().await;
    let alice = user(&db, "alice").await;
    for attempt in [b"a", b"b"] {
        db.write(async |tx| lockouts::failed(tx, alice, HERE, attempt, &RULES).await)
            .await;
    }
    let sweep = async || {
        db.write(async |tx| lockouts::sweep(tx, RULES.forget, 10).await)
            .await
    };
    assert_eq!(sweep().await, 0);
    db.run("UPDATE lockout SET failed_at = now() - interval '25 hours'")
        .await;
    db.write(async |tx| lockouts::failed(tx, alice, HERE, b"c", &RULES).await)
        .await;
    assert!(
        db.holds("SELECT failures = 1 FROM lockout").await,
        "it begins anew"
    );
    db.run("UPDATE lockout SET failed_at = now() - interval '25 hours'")
        .await;
    assert_eq!(sweep().await, 1);
    assert_eq!(db.number("SELECT count(*) FROM lockout").await, 0);
}

#[tokio::test]
async fn a_password_is_upgraded_only_while_it_is_the_same() {
    let db = Db::new().await;
    let alice = user(&db, "alice").await;
    let upgrade = async |old: &str, new: &str| {
        let (old, new) = (StoredPassword::new(old), StoredPassword::new(new));
        db.write(async |tx| passwords::upgrade(tx, alice, &old, &new).await)
            .await
    };
    assert!(upgrade("h1", "h2").await);
    assert!(!upgrade("h1", "h3").await);
    assert!(
        db.holds(
            "SELECT password_hash = 'h2' AND generation = 1 FROM account WHERE name = 'alice'"
        )
        .await
    );
    let change = async |generation| {
        let new = StoredPassword::new("h4");
        db.write(async |tx| passwords::change(tx, alice, generation, &new).await)
            .await
    };
    assert_eq!(change(1).await.as_deref(), Some("alice"));
    assert_eq!(change(1).await, None, "its tokens have ended");
}
