//! Who may do what: one table, asked of every statement that decides.

use crate::support::{Db, Push, digest, path, tag};
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::accounts::{self, NewUser, StoredPassword};
use portolan_metadata::blobs::{BlobKey, ResolveBlob};
use portolan_metadata::manifests::{DigestKey, ResolveDigest, ResolveDigestHead};
use portolan_metadata::tags::{ResolveTag, TagKey};
use portolan_metadata::{
    Access, AccountId, CredentialId, Principal, PrincipalState, Role, Visibility, Writable,
    repositories,
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

/// An organization with a team of each role, whoever is in one of them, and robots.
const ORGANIZATION: &str = "
    INSERT INTO account (kind, name) VALUES
        ('organization', 'acme'), ('organization', 'other'), ('user', 'member'), ('user', 'maker'), ('user', 'boss'),
        ('user', 'stranger'), ('user', 'reader'), ('user', 'writer'), ('user', 'keeper'), ('user', 'elsewhere');
    INSERT INTO account (kind, name, read_only_superuser) VALUES ('user', 'auditor', true);
    INSERT INTO account (kind, name, owner_id)
        SELECT 'robot', 'acme+' || short, id FROM account, unnest(ARRAY['bot', 'idle', 'mirror']) AS short
        WHERE name = 'acme';
    INSERT INTO account (kind, name, owner_id) SELECT 'robot', 'keeper+bot', id FROM account WHERE name = 'keeper';
    INSERT INTO namespace (name, owner_account_id) SELECT name, id FROM account WHERE name IN ('acme', 'keeper');
    INSERT INTO team (organization_id, role, name)
        SELECT a.id, t.role, t.role || 's' FROM account a, unnest(ARRAY['member', 'creator', 'admin']) AS t(role)
        WHERE a.kind = 'organization';
    INSERT INTO membership (account_id, team_id)
        SELECT a.id, t.id FROM account a, team t, account o
        WHERE o.id = t.organization_id AND (a.name, o.name, t.role) IN (
            ('member', 'acme', 'member'), ('maker', 'acme', 'creator'), ('boss', 'acme', 'admin'),
            ('elsewhere', 'other', 'admin'), ('elsewhere', 'other', 'creator'), ('keeper+bot', 'acme', 'member')
        );";

/// What permissions say of `acme/app`, where the manifest is.
const PERMISSIONS: &str = "
    INSERT INTO permission (repository_id, account_id, role)
        SELECT r.id, a.id, g.role FROM repository r, account a, (VALUES
            ('reader', 1), ('writer', 2), ('keeper', 3), ('acme+bot', 2), ('acme+mirror', 2)
        ) AS g(name, role)
        WHERE a.name = g.name AND r.path LIKE 'acme/%' AND r.path <> 'acme/bare';
    INSERT INTO permission (repository_id, team_id, role)
        SELECT r.id, t.id, 2 FROM repository r, team t, account o
        WHERE t.role = 'member' AND o.id = t.organization_id AND o.name = 'acme'
            AND r.path LIKE 'acme/%' AND r.path <> 'acme/bare';
    UPDATE repository SET mode = 'read_only' WHERE path = 'acme/frozen';
    UPDATE repository SET mode = 'mirror', mirror_account_id = (SELECT id FROM account WHERE name = 'acme+mirror')
        WHERE path = 'acme/mirror';";

async fn organization() -> Db {
    let db = Db::new().await;
    db.sql.batch_execute(ORGANIZATION).await.unwrap();
    for name in ["acme/app", "acme/bare", "acme/frozen", "acme/mirror"] {
        let repository = db.repository(name).await;
        let push = Push {
            tag: Some("latest"),
            ..Push::of(b"one")
        };
        db.manifest(repository, &push).await;
    }
    db.sql.batch_execute(PERMISSIONS).await.unwrap();
    db
}

/// The account of that name, having shown a password.
async fn named(db: &Db, name: &str) -> Principal {
    let row = db
        .sql
        .query_one(
            "SELECT id, generation FROM account WHERE name = $1",
            &[&name],
        )
        .await
        .unwrap();
    of(AccountId::from(row.get::<_, i64>(0)), row.get(1))
}

/// The same, having shown that credential.
fn with(principal: Principal, credential: i64) -> Principal {
    let Principal::Account { id, generation, .. } = principal else {
        unreachable!()
    };
    Principal::Account {
        id,
        generation,
        credential: Some(CredentialId::from(credential)),
    }
}

#[tokio::test]
async fn teams_permissions_and_what_superusers_only_read() {
    let db = organization().await;
    let table = [
        ("acme/app", "stranger", Role::None, false),
        ("acme/app", "reader", Role::Read, false),
        ("acme/app", "writer", Role::Write, false),
        ("acme/app", "keeper", Role::Admin, false),
        ("acme/app", "member", Role::Write, false),
        ("acme/app", "maker", Role::None, true),
        ("acme/app", "boss", Role::Admin, true),
        // In teams of another organization.
        ("acme/app", "elsewhere", Role::None, false),
        ("acme/app", "auditor", Role::Read, false),
        ("acme/app", "acme+bot", Role::Write, false),
        ("acme/app", "acme+idle", Role::None, false),
        // A robot may be in a team; of its owner it has nothing.
        ("acme/app", "keeper+bot", Role::Write, false),
        // Permissions are of one repository.
        ("acme/bare", "keeper", Role::None, false),
        ("acme/bare", "member", Role::None, false),
        ("acme/bare", "boss", Role::Admin, true),
        ("acme/bare", "auditor", Role::Read, false),
        ("acme/missing", "keeper", Role::None, false),
        ("acme/missing", "member", Role::None, false),
        ("acme/missing", "maker", Role::None, true),
        ("acme/missing", "boss", Role::Admin, true),
        ("acme/missing", "auditor", Role::Read, false),
        ("acme/missing", "acme+bot", Role::None, false),
        ("keeper/missing", "keeper", Role::Admin, true),
        ("keeper/missing", "keeper+bot", Role::None, false),
    ];
    for (name, account, role, may_create) in table {
        let access = decided(&db, name, named(&db, account).await).await;
        assert_eq!(
            (access.role, access.may_create),
            (role, may_create),
            "{name} {account}"
        );
        assert_eq!(access.principal, PrincipalState::Valid, "{name} {account}");
    }
}

#[tokio::test]
async fn what_is_read_only_or_a_mirror_takes_writes_from_nobody_else() {
    let db = organization().await;
    let root = user(&db, "root", true).await;
    let mirror = named(&db, "acme+mirror").await;
    let bot = named(&db, "acme+bot").await;
    for (name, principal, writable) in [
        ("acme/app", bot, Writable::Yes),
        ("acme/frozen", bot, Writable::RepositoryReadOnly),
        ("acme/frozen", root, Writable::RepositoryReadOnly),
        ("acme/mirror", mirror, Writable::Yes),
        ("acme/mirror", bot, Writable::Mirror),
        ("acme/mirror", root, Writable::Mirror),
        ("acme/mirror", Principal::Anonymous, Writable::Mirror),
        ("acme/missing", root, Writable::Yes),
    ] {
        assert_eq!(
            decided(&db, name, principal).await.writable,
            writable,
            "{name} {principal:?}"
        );
    }
    // The namespace's state goes before its repositories'.
    db.run("UPDATE namespace SET mode = 'read_only' WHERE name = 'acme'")
        .await;
    for name in ["acme/app", "acme/frozen", "acme/mirror", "acme/missing"] {
        for principal in [root, mirror] {
            let access = decided(&db, name, principal).await;
            assert_eq!(
                access.writable,
                Writable::NamespaceReadOnly,
                "{name} {principal:?}"
            );
        }
    }
    assert_eq!(
        decided(&db, "keeper/missing", root).await.writable,
        Writable::Yes
    );
}

#[tokio::test]
async fn a_robot_ends_with_its_time_and_with_its_owner() {
    let db = organization().await;
    let bot = named(&db, "acme+bot").await;
    for (change, state) in [
        (
            "UPDATE account SET expires_at = now() + interval '1 hour' WHERE name = 'acme+bot'",
            PrincipalState::Valid,
        ),
        (
            "UPDATE account SET expires_at = now() - interval '1 second' WHERE name = 'acme+bot'",
            PrincipalState::Ended,
        ),
        (
            "UPDATE account SET expires_at = NULL WHERE name = 'acme+bot'",
            PrincipalState::Valid,
        ),
        (
            "UPDATE account SET state = 'disabled' WHERE name = 'acme'",
            PrincipalState::Ended,
        ),
        (
            "UPDATE account SET state = 'active' WHERE name = 'acme'",
            PrincipalState::Valid,
        ),
        (
            "UPDATE account SET state = 'disabled' WHERE name = 'acme+bot'",
            PrincipalState::Ended,
        ),
    ] {
        db.run(change).await;
        let access = decided(&db, "acme/app", bot).await;
        assert_eq!(access.principal, state, "{change}");
        let role = if state == PrincipalState::Valid {
            Role::Write
        } else {
            Role::None
        };
        assert_eq!(access.role, role, "{change}");
    }
}

#[tokio::test]
async fn a_credential_takes_away_what_is_above_it_and_ends_by_itself() {
    let db = organization().await;
    db.sql
        .batch_execute(
            "INSERT INTO credential (id, account_id, kind, max_role, expires_at, secret_hash)
             OVERRIDING SYSTEM VALUE
             SELECT c.id, a.id, 'application', c.most, c.until, sha256(c.id::text::bytea)
             FROM (VALUES
                 (1, 'keeper', NULL, NULL::timestamptz), (2, 'keeper', 1, NULL), (3, 'keeper', 2, NULL),
                 (4, 'keeper', NULL, now() + interval '1 hour'), (5, 'keeper', NULL, now() - interval '1 second'),
                 (6, 'writer', NULL, NULL), (7, 'boss', 1, NULL), (8, 'boss', 2, NULL), (9, 'maker', 1, NULL)
             ) AS c(id, name, most, until)
             JOIN account a ON a.name = c.name",
        )
        .await
        .unwrap();
    let [keeper, boss, maker] = [
        named(&db, "keeper").await,
        named(&db, "boss").await,
        named(&db, "maker").await,
    ];
    for (name, principal, credential, role, may_create) in [
        ("acme/app", keeper, 1, Role::Admin, false),
        ("acme/app", keeper, 2, Role::Read, false),
        ("acme/app", keeper, 3, Role::Write, false),
        ("acme/app", keeper, 4, Role::Admin, false),
        // In his own namespace too.
        ("keeper/missing", keeper, 1, Role::Admin, true),
        ("keeper/missing", keeper, 2, Role::Read, false),
        ("keeper/missing", keeper, 3, Role::Write, true),
        ("acme/bare", boss, 7, Role::Read, false),
        ("acme/bare", boss, 8, Role::Write, true),
        ("acme/bare", maker, 9, Role::None, false),
    ] {
        let access = decided(&db, name, with(principal, credential)).await;
        assert_eq!(
            (access.role, access.may_create, access.principal),
            (role, may_create, PrincipalState::Valid),
            "{name} {credential}"
        );
    }
    // Over, somebody else's, and one that never was.
    for credential in [5, 6, 100] {
        let access = decided(&db, "acme/app", with(keeper, credential)).await;
        assert_eq!(
            (access.role, access.principal),
            (Role::None, PrincipalState::Ended),
            "{credential}"
        );
    }
    db.run("DELETE FROM credential WHERE id = 1").await;
    assert_eq!(
        decided(&db, "acme/app", with(keeper, 1)).await.principal,
        PrincipalState::Ended
    );
    assert_eq!(decided(&db, "acme/app", keeper).await.role, Role::Admin);
}

#[tokio::test]
async fn a_new_repository_is_given_what_its_namespace_gives() {
    let db = organization().await;
    db.sql
        .batch_execute(
            "INSERT INTO default_permission (namespace_id, creator_id, account_id, team_id, role)
             SELECT n.id, c.id, a.id, t.id, d.role
             FROM (VALUES
                 (NULL, 'reader', NULL, 1), ('maker', 'writer', NULL, 2), ('boss', 'stranger', NULL, 3),
                 (NULL, NULL, 'members', 1), ('maker', 'maker', NULL, 1)
             ) AS d(creator, account, team, role)
             JOIN namespace n ON n.name = 'acme'
             LEFT JOIN account c ON c.name = d.creator
             LEFT JOIN account a ON a.name = d.account
             LEFT JOIN team t ON t.name = d.team AND t.organization_id = n.owner_account_id",
        )
        .await
        .unwrap();
    for (creator, path_of, expected) in [
        (
            "maker",
            "acme/by-maker",
            // Who makes it administers it, whatever less the namespace would give him.
            [
                ("maker", Role::Admin),
                ("reader", Role::Read),
                ("writer", Role::Write),
                ("stranger", Role::None),
            ],
        ),
        (
            "boss",
            "acme/by-boss",
            [
                ("maker", Role::None),
                ("reader", Role::Read),
                ("writer", Role::None),
                ("stranger", Role::Admin),
            ],
        ),
    ] {
        let principal = named(&db, creator).await;
        let name = path(path_of);
        let repository = db
            .write(async |tx| repositories::create(tx, &name, &principal).await)
            .await;
        let push = Push {
            tag: Some("latest"),
            ..Push::of(b"one")
        };
        db.manifest(repository, &push).await;
        for (account, role) in expected
            .into_iter()
            .chain([("member", Role::Read), ("boss", Role::Admin)])
        {
            let access = decided(&db, path_of, named(&db, account).await).await;
            assert_eq!(access.role, role, "{path_of} {account}");
        }
    }
}
