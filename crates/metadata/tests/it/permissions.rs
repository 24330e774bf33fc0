//! Rights in repositories, those that new ones give, and what takes no changes whoever has them.

use crate::access::user;
use crate::support::{Db, commit, path};
use crate::teams::{add, make, robot};
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::default_permissions::{self, DefaultPermission};
use portolan_metadata::namespaces::{self, NamespaceMode};
use portolan_metadata::permissions::{self, Granted, Holder};
use portolan_metadata::repositories::{self, RepositoryMode};
use portolan_metadata::teams::TeamRole;
use portolan_metadata::{Access, Error, Noun, Principal, Refused, Role, Writable};

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

fn account(text: &str) -> Holder {
    Holder::Account(name(text))
}

fn team(text: &str) -> Holder {
    Holder::Team(text.parse().unwrap())
}

async fn set(
    db: &Db,
    repository: &str,
    holder: &Holder,
    role: Granted,
) -> Result<Option<Granted>, Error> {
    let tx = db.begin().await;
    let row = repositories::lock_for_change(&tx, &path(repository)).await?;
    let outcome = permissions::set(&tx, &row, holder, role).await;
    match outcome {
        Ok(_) => commit(tx).await,
        Err(_) => tx.rollback().await.unwrap(),
    }
    outcome
}

async fn access(db: &Db, repository: &str, principal: Principal) -> Access {
    let key = AccessKey {
        path: path(repository),
        principal,
    };
    let served = db.router.read_fresh::<ResolveAccess>(key).await.unwrap();
    served.value.unwrap()
}

/// The organizations `acme` and `zoo` with a team `dev`, a robot and a repository `app` each; `alice` is in `acme/dev`.
async fn world() -> (Db, Principal) {
    let db = Db::new().await;
    let alice = user(&db, "alice", false).await;
    for organization in ["acme", "zoo"] {
        make(&db, &format!("{organization}/dev"), TeamRole::Member).await;
        db.repository(&format!("{organization}/app")).await;
        robot(&db, &format!("{organization}+ci")).await;
    }
    add(&db, "acme/dev", "alice").await.unwrap();
    (db, alice)
}

#[tokio::test]
async fn a_right_is_given_replaced_and_taken() {
    let (db, alice) = world().await;
    let dev = team("acme/dev");
    assert_eq!(access(&db, "acme/app", alice).await.role, Role::None);
    assert_eq!(
        set(&db, "acme/app", &dev, Granted::Write).await.unwrap(),
        None
    );
    assert_eq!(access(&db, "acme/app", alice).await.role, Role::Write);
    assert_eq!(
        set(&db, "acme/app", &account("alice"), Granted::Admin)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        set(&db, "acme/app", &account("alice"), Granted::Read)
            .await
            .unwrap(),
        Some(Granted::Admin)
    );
    set(&db, "acme/app", &account("acme+ci"), Granted::Write)
        .await
        .unwrap();
    // The one that gives most counts.
    assert_eq!(access(&db, "acme/app", alice).await.role, Role::Write);

    let list = async || {
        let reader = db.router.read_list();
        let rows = permissions::list(&reader, &path("acme/app"), 9).await;
        let rows = rows.unwrap().into_iter();
        rows.map(|row| format!("{}:{}", row.holder, row.role))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        list().await,
        ["alice:read", "acme+ci:write", "acme/dev:write"]
    );
    let remove = async |holder: Holder| {
        db.write(async |tx| {
            let row = repositories::lock_for_change(tx, &path("acme/app")).await?;
            permissions::remove(tx, &row, &holder).await
        })
        .await
    };
    assert_eq!(remove(dev.clone()).await, Some(Granted::Write));
    assert_eq!(remove(dev).await, None);
    assert_eq!(access(&db, "acme/app", alice).await.role, Role::Read);
    assert_eq!(remove(account("alice")).await, Some(Granted::Read));
    assert_eq!(remove(account("nobody")).await, None);
    assert_eq!(remove(team("zoo/dev")).await, None);
    assert_eq!(access(&db, "acme/app", alice).await.role, Role::None);
    assert_eq!(list().await, ["acme+ci:write"]);
}

#[tokio::test]
async fn teams_and_robots_have_rights_at_home_alone() {
    let (db, _) = world().await;
    let missing = |what, name: &str| Refused::missing(what, name);
    for (holder, why) in [
        (team("zoo/dev"), Refused::ForeignTeam),
        (account("zoo+ci"), Refused::ForeignRobot),
        (account("acme"), Refused::NotAPrincipal),
        (account("nobody"), missing(Noun::User, "nobody")),
        (account("acme+none"), missing(Noun::Robot, "acme+none")),
        (team("acme/none"), missing(Noun::Team, "acme/none")),
    ] {
        let outcome = set(&db, "acme/app", &holder, Granted::Read).await;
        assert!(
            matches!(&outcome, Err(Error::Refused(refused)) if *refused == why),
            "{holder}: {outcome:?}"
        );
        let tx = db.begin().await;
        let namespace = namespaces::lock(&tx, &name("acme")).await.unwrap();
        let new = DefaultPermission {
            creator: None,
            holder,
            role: Granted::Read,
        };
        let outcome = default_permissions::set(&tx, &namespace, &new).await;
        assert!(
            matches!(&outcome, Err(Error::Refused(refused)) if *refused == why),
            "{new:?}: {outcome:?}"
        );
        tx.rollback().await.unwrap();
    }
    assert_eq!(db.number("SELECT count(*) FROM permission").await, 0);
}

#[tokio::test]
async fn new_repositories_give_what_their_namespace_says() {
    let (db, alice) = world().await;
    let change = async |new: &DefaultPermission| {
        db.write(async |tx| {
            let namespace = namespaces::lock(tx, &name("acme")).await?;
            default_permissions::set(tx, &namespace, new).await
        })
        .await;
    };
    let for_all = DefaultPermission {
        creator: None,
        holder: team("acme/dev"),
        role: Granted::Read,
    };
    change(&for_all).await;
    let for_all = DefaultPermission {
        role: Granted::Write,
        ..for_all
    };
    change(&for_all).await;
    let of_robot = DefaultPermission {
        creator: Some(name("acme+ci")),
        holder: account("alice"),
        role: Granted::Admin,
    };
    change(&of_robot).await;
    let list = async || {
        let reader = db.router.read_list();
        default_permissions::list(&reader, &name("acme"), 9)
            .await
            .unwrap()
    };
    assert_eq!(list().await, [for_all.clone(), of_robot.clone()]);

    assert_eq!(
        access(&db, "acme/app", alice).await.role,
        Role::None,
        "what was there stays as it is"
    );
    db.repository("acme/new").await;
    assert_eq!(access(&db, "acme/new", alice).await.role, Role::Write);
    let ci = db
        .number("SELECT id FROM account WHERE name = 'acme+ci'")
        .await;
    let ci = crate::access::of(ci.into(), 1);
    db.write(async |tx| repositories::create(tx, &path("acme/built"), &ci).await)
        .await;
    assert_eq!(access(&db, "acme/built", alice).await.role, Role::Admin);

    let remove = async |creator: Option<&str>, holder: &Holder| {
        let creator = creator.map(name);
        db.write(async |tx| {
            let namespace = namespaces::lock(tx, &name("acme")).await?;
            default_permissions::remove(tx, &namespace, creator.as_ref(), holder).await
        })
        .await
    };
    assert!(!remove(Some("alice"), &for_all.holder).await);
    assert!(!remove(Some("nobody"), &for_all.holder).await);
    assert!(!remove(None, &of_robot.holder).await);
    assert!(remove(None, &for_all.holder).await);
    assert_eq!(list().await, std::slice::from_ref(&of_robot));
    assert!(remove(Some("acme+ci"), &of_robot.holder).await);
    assert_eq!(list().await, []);
}

#[tokio::test]
async fn what_is_read_only_or_a_mirror_says_so_to_those_who_could_write() {
    let (db, alice) = world().await;
    let bob = user(&db, "bob", false).await;
    for holder in ["alice", "bob"] {
        set(&db, "acme/app", &account(holder), Granted::Write)
            .await
            .unwrap();
    }
    let mode = async |mode, mirror: Option<&str>| {
        let mirror = mirror.map(name);
        db.write(async |tx| {
            let row = repositories::lock_for_change(tx, &path("acme/app")).await?;
            repositories::set_mode(tx, &row, mode, mirror.as_ref()).await
        })
        .await;
    };
    let writable = async |principal| access(&db, "acme/app", principal).await.writable;
    mode(RepositoryMode::ReadOnly, None).await;
    assert_eq!(writable(alice).await, Writable::RepositoryReadOnly);
    mode(RepositoryMode::Mirror, Some("bob")).await;
    assert_eq!(writable(alice).await, Writable::Mirror);
    assert_eq!(writable(bob).await, Writable::Yes);
    let found = {
        let reader = db.router.read_list();
        repositories::find(&reader, &path("acme/app"))
            .await
            .unwrap()
    };
    assert_eq!(
        (found.mode, found.mirror),
        (RepositoryMode::Mirror, Some(name("bob")))
    );
    let tx = db.begin().await;
    let row = repositories::lock_for_change(&tx, &path("acme/app"))
        .await
        .unwrap();
    let foreign =
        repositories::set_mode(&tx, &row, RepositoryMode::Mirror, Some(&name("zoo+ci"))).await;
    assert!(
        matches!(foreign, Err(Error::Refused(Refused::ForeignRobot))),
        "{foreign:?}"
    );
    tx.rollback().await.unwrap();
    mode(RepositoryMode::Mirror, None).await;
    assert_eq!(writable(bob).await, Writable::Mirror);
    mode(RepositoryMode::Normal, None).await;
    assert_eq!(writable(alice).await, Writable::Yes);

    let namespace = async |mode| {
        db.write(async |tx| {
            let row = namespaces::lock(tx, &name("acme")).await?;
            namespaces::set_mode(tx, row.id, mode).await
        })
        .await;
    };
    namespace(NamespaceMode::ReadOnly).await;
    assert_eq!(writable(alice).await, Writable::NamespaceReadOnly);
    assert_eq!(access(&db, "zoo/app", alice).await.writable, Writable::Yes);
    namespace(NamespaceMode::Normal).await;
    assert_eq!(writable(alice).await, Writable::Yes);
}

#[tokio::test]
async fn a_deleted_repository_leaves_no_rights_and_cannot_be_given_any() {
    let (db, alice) = world().await;
    set(&db, "acme/app", &account("alice"), Granted::Write)
        .await
        .unwrap();
    db.write(async |tx| repositories::mark_deleted(tx, &path("acme/app")).await)
        .await
        .unwrap();
    assert_eq!(db.number("SELECT count(*) FROM permission").await, 0);
    let outcome = set(&db, "acme/app", &account("alice"), Granted::Write).await;
    let missing = Refused::missing(Noun::Repository, "acme/app");
    assert!(
        matches!(&outcome, Err(Error::Refused(refused)) if *refused == missing),
        "{outcome:?}"
    );
    db.repository("acme/app").await;
    assert_eq!(access(&db, "acme/app", alice).await.role, Role::None);
}

#[tokio::test]
async fn the_repositories_of_one_namespace_are_listed_by_themselves() {
    let (db, _) = world().await;
    for repository in ["acme/b", "acme-x/a", "acme/a/z", "acme0/a"] {
        db.repository(repository).await;
    }
    let reader = db.router.read_list();
    let list = async |last: Option<&str>, rows| {
        let found = repositories::list_in(&reader, &name("acme"), last, rows).await;
        let found = found.unwrap().into_iter();
        found
            .map(|row| row.name.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, 9).await, ["acme/a/z", "acme/app", "acme/b"]);
    assert_eq!(list(None, 1).await, ["acme/a/z"]);
    assert_eq!(list(Some("acme/a/z"), 9).await, ["acme/app", "acme/b"]);
}
