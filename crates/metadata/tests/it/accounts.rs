//! Accounts, their credentials, and the keys that tokens are signed with.

use crate::support::{Db, aside, commit, router};
use portolan_metadata::accounts::{self, AccountName, NewUser, StoredPassword};
use portolan_metadata::lockouts::{PasswordByName, PasswordKey, PasswordRow};
use portolan_metadata::{Error, signing_keys};

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

fn new_user(text: &str) -> NewUser {
    NewUser {
        name: name(text),
        password_hash: StoredPassword::new("h1"),
        superuser: false,
    }
}

async fn credential(db: &Db, text: &str) -> Option<PasswordRow> {
    let key = PasswordKey {
        name: name(text),
        network: [203, 0, 113, 9].into(),
    };
    db.router
        .read_fresh::<PasswordByName>(key)
        .await
        .unwrap()
        .value
}

fn hash(row: &PasswordRow) -> &str {
    row.password_hash.as_ref().unwrap().as_str()
}

#[tokio::test]
async fn a_user_has_a_namespace_and_a_credential() {
    let db = Db::new().await;
    let id = db
        .write(async |tx| accounts::create_user(tx, &new_user("alice")).await)
        .await;
    let found = credential(&db, "alice").await.unwrap();
    assert_eq!((found.account, found.generation), (id, 1));
    assert!((found.locked_for, found.failed_before) == (None, false));
    assert_eq!(hash(&found), "h1");
    assert!(
        !format!("{found:?}").contains("h1"),
        "a hash is never shown"
    );
    assert!(
        db.holds(&format!(
            "SELECT owner_account_id = {id} FROM namespace WHERE name = 'alice'"
        ))
        .await
    );
    assert!(credential(&db, "bob").await.is_none());

    assert!(
        db.write(
            async |tx| accounts::set_password(tx, &name("alice"), &StoredPassword::new("h2")).await
        )
        .await
    );
    let found = credential(&db, "alice").await.unwrap();
    assert_eq!((found.generation, hash(&found)), (2, "h2"));
    assert!(
        !db.write(
            async |tx| accounts::set_password(tx, &name("bob"), &StoredPassword::new("h")).await
        )
        .await
    );

    assert!(
        db.write(async |tx| accounts::set_active(tx, &name("alice"), false).await)
            .await
    );
    assert!(
        credential(&db, "alice").await.is_none(),
        "a disabled account has no credential"
    );
    assert!(
        !db.write(async |tx| Ok(accounts::find(tx, &name("alice")).await?.unwrap().active))
            .await
    );
    assert!(
        db.write(async |tx| accounts::set_active(tx, &name("alice"), true).await)
            .await
    );
    assert_eq!(credential(&db, "alice").await.unwrap().generation, 4);
}

#[tokio::test]
async fn a_name_that_is_taken_stays_its_owners() {
    let db = Db::new().await;
    // An organization that a superuser's push made.
    db.repository("acme/app").await;
    db.write(async |tx| accounts::create_user(tx, &new_user("alice")).await)
        .await;
    for taken in ["acme", "alice", "acme+ci"] {
        let tx = db.begin().await;
        let refused = accounts::create_user(&tx, &new_user(taken)).await;
        assert!(
            matches!(refused, Err(Error::NameTaken)),
            "{taken}: {refused:?}"
        );
        tx.rollback().await.unwrap();
    }
    assert!(
        credential(&db, "acme").await.is_none(),
        "an organization does not log in"
    );
}

#[tokio::test]
async fn the_administrator_is_made_once_and_keeps_the_password() {
    let db = Db::new().await;
    let ensure = async |hash: &str| {
        db.write(async |tx| {
            accounts::ensure_admin(tx, &name("admin"), &StoredPassword::new(hash)).await
        })
        .await
    };
    assert!(ensure("first").await);
    assert!(!ensure("second").await);
    let found = credential(&db, "admin").await.unwrap();
    assert_eq!(hash(&found), "first");
    assert!(
        db.holds("SELECT superuser FROM account WHERE name = 'admin'")
            .await
    );
}

#[tokio::test]
async fn processes_that_start_together_make_one_administrator_and_one_key() {
    let db = Db::new().await;
    let starts: Vec<_> = (0..6)
        .map(|number| {
            let router = router(&db.database, 1);
            aside(async move {
                let tx = router.begin().await.unwrap();
                let hash = StoredPassword::new(format!("hash{number}"));
                let made = accounts::ensure_admin(&tx, &name("admin"), &hash)
                    .await
                    .unwrap();
                let kid = format!("key{number}");
                let first = signing_keys::insert_if_none(&tx, &kid, b"sealed")
                    .await
                    .unwrap();
                commit(tx).await;
                (made, first)
            })
        })
        .collect();
    let mut made = (0, 0);
    for start in starts {
        let (admin, key) = start.await.unwrap();
        made.0 += u32::from(admin);
        made.1 += u32::from(key);
    }
    assert_eq!(made, (1, 1));
    let reader = db.router.read_primary().await.unwrap();
    let keys = signing_keys::list(&reader).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].signs);
    assert_eq!(keys[0].sealed, b"sealed");
}

#[tokio::test]
async fn the_signing_key_comes_first_and_a_retired_one_verifies_until_its_end() {
    let db = Db::new().await;
    db.write(async |tx| signing_keys::insert_if_none(tx, "old", b"1").await)
        .await;
    db.run(
        "UPDATE signing_key SET state = 'retired', verifies_until = now() + interval '10 minutes'",
    )
    .await;
    assert!(
        db.write(async |tx| signing_keys::insert_if_none(tx, "new", b"2").await)
            .await
    );
    assert!(
        !db.write(async |tx| signing_keys::insert_if_none(tx, "third", b"3").await)
            .await
    );
    db.run("INSERT INTO signing_key (kid, sealed, algorithm, state) VALUES ('next', '', 'ES256', 'next')").await;
    let reader = db.router.read_primary().await.unwrap();
    let kids = async || {
        let keys = signing_keys::list(&reader).await.unwrap();
        keys.into_iter()
            .map(|key| (key.kid, key.signs))
            .collect::<Vec<_>>()
    };
    let found = kids().await;
    assert_eq!(found[0], ("new".to_owned(), true));
    assert_eq!(found.len(), 3);
    db.run("UPDATE signing_key SET verifies_until = now() WHERE state = 'retired'")
        .await;
    assert_eq!(kids().await.len(), 2);
}
