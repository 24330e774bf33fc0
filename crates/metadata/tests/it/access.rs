//! Who may do what: one table, asked of every statement that decides.

use crate::support::{Db, Push, digest, path, tag};
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::accounts::{self, NewUser, StoredPassword};
use portolan_metadata::blobs::{BlobKey, ResolveBlob};
use portolan_metadata::manifests::{DigestKey, ResolveDigest, ResolveDigestHead};
use portolan_metadata::tags::{ResolveTag, TagKey};
use portolan_metadata::{
    Access, AccountId, Principal, PrincipalState, Role, Visibility, repositories,
};

pub(crate) async fn user(db: &Db, name: &str, superuser: bool) -> Principal {
    let new = NewUser {
        name: name.parse().unwrap(),
        password_hash: StoredPassword::new("hash"),
        superuser,
    };
    let id: AccountId = db
        .write(async |tx| accounts::create_user(tx, &new).await)
        .await;
    of(id, 1)
}

/// An account that showed a password.
pub(crate) const fn of(id: AccountId, generation: i64) -> Principal {
    Principal::Account {
        id,
        generation,
        credential: None,
    }
}

/// The same question to every statement that resolves a name.
async fn decided(db: &Db, name: &str, principal: Principal) -> Access {
    let path = path(name);
    let key = AccessKey {
        path: path.clone(),
        principal,
    };
    let access = db
        .router
        .read_fresh::<ResolveAccess>(key)
        .await
        .unwrap()
        .value
        .unwrap();

    let key = TagKey {
        path: path.clone(),
        tag: tag("latest"),
        principal,
    };
    let (by_tag, found) = db
        .router
        .read_fresh::<ResolveTag>(key)
        .await
        .unwrap()
        .value
        .unwrap();
    assert_eq!(by_tag, access);
    assert!(found.is_none() || access.role >= Role::Read);

    let one = digest(b"one");
    let key = DigestKey {
        path: path.clone(),
        digest: one,
        principal,
    };
    let get = db
        .router
        .read_fresh::<ResolveDigest>(key.clone())
        .await
        .unwrap()
        .value
        .unwrap();
    let head = db
        .router
        .read_fresh::<ResolveDigestHead>(key)
        .await
        .unwrap()
        .value
        .unwrap();
    for (by_digest, found) in [get, head] {
        assert_eq!(by_digest, access);
        let present = access.repository.is_some() && access.role >= Role::Read;
        assert_eq!(found.is_some(), present, "{name} {principal:?}");
    }

    let key = BlobKey {
        path: path.clone(),
        digest: digest(b"layer"),
        principal,
        for_seconds: 0,
    };
    let (of_blob, found) = db
        .router
        .read_fresh::<ResolveBlob>(key)
        .await
        .unwrap()
        .value
        .unwrap();
    assert_eq!(of_blob, access);
    assert!(found.is_none() || access.role >= Role::Read);

    let tx = db.begin().await;
    assert_eq!(
        repositories::lock(&tx, &path, &principal).await.unwrap(),
        access
    );
    tx.rollback().await.unwrap();
    access
}

#[tokio::test]
async fn every_statement_decides_alike() {
    let db = Db::new().await;
    let alice = user(&db, "alice", false).await;
    let bob = user(&db, "bob", false).await;
    let root = user(&db, "root", true).await;
    for name in ["alice/private", "alice/public", "acme/private"] {
        let repository = db.repository(name).await;
        db.blob(repository, b"layer").await;
        let push = Push {
            blobs: &[digest(b"layer")],
            tag: Some("latest"),
            ..Push::of(b"one")
        };
        db.manifest(repository, &push).await;
    }
    db.write(async |tx| {
        repositories::set_visibility(tx, &path("alice/public"), Visibility::Public).await
    })
    .await;

    let anonymous = Principal::Anonymous;
    let table = [
        ("alice/private", anonymous, Role::None, false),
        ("alice/private", alice, Role::Admin, true),
        ("alice/private", bob, Role::None, false),
        ("alice/private", root, Role::Admin, true),
        ("alice/public", anonymous, Role::Read, false),
        ("alice/public", alice, Role::Admin, true),
        ("alice/public", bob, Role::Read, false),
        ("alice/public", root, Role::Admin, true),
        ("acme/private", anonymous, Role::None, false),
        ("acme/private", alice, Role::None, false),
        ("acme/private", root, Role::Admin, true),
        // Not there: what they could do if it were.
        ("alice/missing", anonymous, Role::None, false),
        ("alice/missing", alice, Role::Admin, true),
        ("alice/missing", bob, Role::None, false),
        ("alice/missing", root, Role::Admin, true),
        ("nobody/missing", alice, Role::None, false),
        ("nobody/missing", root, Role::Admin, true),
    ];
    for (name, principal, role, may_create) in table {
        let access = decided(&db, name, principal).await;
        assert_eq!(
            (access.role, access.may_create),
            (role, may_create),
            "{name} {principal:?}"
        );
        assert_eq!(
            access.repository.is_some(),
            !name.ends_with("missing"),
            "{name}"
        );
        let state = match principal {
            Principal::Anonymous => PrincipalState::Anonymous,
            Principal::Account { .. } => PrincipalState::Valid,
        };
        assert_eq!(access.principal, state);
    }
}

#[tokio::test]
async fn a_void_token_opens_nothing_not_even_what_is_public() {
    let db = Db::new().await;
    let alice = user(&db, "alice", false).await;
    let repository = db.repository("alice/app").await;
    db.manifest(
        repository,
        &Push {
            tag: Some("latest"),
            ..Push::of(b"one")
        },
    )
    .await;
    let name = path("alice/app");
    db.write(async |tx| repositories::set_visibility(tx, &name, Visibility::Public).await)
        .await;
    assert_eq!(decided(&db, "alice/app", alice).await.role, Role::Admin);

    let Principal::Account { id, .. } = alice else {
        unreachable!()
    };
    let ended = [of(id, 2), of(id, 0), of(AccountId::from(id.get() + 100), 1)];
    for principal in ended {
        let access = decided(&db, "alice/app", principal).await;
        assert_eq!(access.principal, PrincipalState::Ended, "{principal:?}");
        assert_eq!(
            (access.role, access.may_create),
            (Role::None, false),
            "{principal:?}"
        );
    }

    // A new password, and a disabled account, end the tokens there are.
    let (login, hash) = ("alice".parse().unwrap(), StoredPassword::new("new"));
    assert!(
        db.write(async |tx| accounts::set_password(tx, &login, &hash).await)
            .await
    );
    assert_eq!(
        decided(&db, "alice/app", alice).await.principal,
        PrincipalState::Ended
    );
    let renewed = of(id, 2);
    assert_eq!(decided(&db, "alice/app", renewed).await.role, Role::Admin);
    assert!(
        db.write(async |tx| accounts::set_active(tx, &login, false).await)
            .await
    );
    for generation in 1..4 {
        let principal = of(id, generation);
        assert_eq!(
            decided(&db, "alice/app", principal).await.principal,
            PrincipalState::Ended
        );
    }
}

#[tokio::test]
async fn a_removed_repository_is_gone_at_once_and_its_name_is_free() {
    let db = Db::new().await;
    let root = user(&db, "root", true).await;
    let old = db.repository("acme/app").await;
    db.manifest(
        old,
        &Push {
            tag: Some("latest"),
            ..Push::of(b"one")
        },
    )
    .await;
    let name = path("acme/app");
    let removed = db
        .write(async |tx| repositories::mark_deleted(tx, &name).await)
        .await;
    assert_eq!(removed, Some(old));
    assert_eq!(decided(&db, "acme/app", root).await.repository, None);
    assert_eq!(
        db.write(async |tx| repositories::mark_deleted(tx, &name).await)
            .await,
        None
    );

    let new = db.repository("acme/app").await;
    assert_ne!(new, old);
    let key = TagKey {
        path: name,
        tag: tag("latest"),
        principal: root,
    };
    let (access, found) = db
        .router
        .read_fresh::<ResolveTag>(key)
        .await
        .unwrap()
        .value
        .unwrap();
    assert_eq!(access.repository, Some(new));
    assert!(
        found.is_none(),
        "what was in the old one is not in the new one"
    );
}
