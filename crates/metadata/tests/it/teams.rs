//! Teams, their members and the groups they follow.

use crate::access::user;
use crate::support::{Db, commit, path};
use portolan_metadata::access::{AccessKey, ResolveAccess};
use portolan_metadata::accounts::{self, AccountName};
use portolan_metadata::teams::{self, Group, TeamPath, TeamRole};
use portolan_metadata::{Error, Noun, Principal, Refused, Role, TeamId};

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

fn team(text: &str) -> TeamPath {
    text.parse().unwrap()
}

/// Makes a team, and its organization where there is none.
pub(crate) async fn make(db: &Db, text: &str, role: TeamRole) -> TeamId {
    let path = team(text);
    db.write(async |tx| {
        let owner = path.organization();
        let id = match accounts::hold(tx, owner).await? {
            Some(row) => row.id,
            None => accounts::create_organization(tx, owner, "").await?,
        };
        teams::create(tx, id, path.team(), role, "").await
    })
    .await
}

pub(crate) async fn robot(db: &Db, text: &str) {
    let owner = text.split_once('+').unwrap().0;
    db.run(&format!(
        "INSERT INTO account (kind, name, owner_id) SELECT 'robot', '{text}', id FROM account WHERE name = '{owner}'"
    ))
    .await;
}

pub(crate) async fn add(db: &Db, text: &str, member: &str) -> Result<bool, Error> {
    let tx = db.begin().await;
    let team = teams::hold(&tx, &team(text)).await?;
    let account = accounts::hold(&tx, &name(member)).await?.unwrap();
    let outcome = teams::add_member(&tx, &team, &account).await;
    match outcome {
        Ok(_) => commit(tx).await,
        Err(_) => tx.rollback().await.unwrap(),
    }
    outcome
}

async fn members(db: &Db, id: TeamId) -> Vec<String> {
    let reader = db.router.read_list();
    let rows = teams::list_members(&reader, id, None, 100).await.unwrap();
    rows.iter().map(|row| row.name.to_string()).collect()
}

#[tokio::test]
async fn a_teams_name_is_its_own_in_its_organization() {
    let db = Db::new().await;
    let id = make(&db, "acme/dev", TeamRole::Member).await;
    make(&db, "zoo/dev", TeamRole::Member).await;
    let tx = db.begin().await;
    let first = teams::find(&tx, &team("acme/dev")).await.unwrap();
    assert_eq!(first.id, id);
    let second = teams::create(
        &tx,
        first.organization,
        first.path.team(),
        TeamRole::Admin,
        "",
    )
    .await;
    assert!(matches!(second, Err(Error::NameTaken)), "{second:?}");
    let missing = teams::lock(&tx, &team("acme/none")).await;
    assert!(
        matches!(&missing, Err(Error::Refused(refused)) if *refused == Refused::missing(Noun::Team, "acme/none")),
        "{missing:?}"
    );
    teams::set_role(&tx, id, TeamRole::Creator).await.unwrap();
    teams::describe(&tx, id, "Those who build").await.unwrap();
    commit(tx).await;
    make(&db, "acme/ops", TeamRole::Member).await;
    let reader = db.router.read_list();
    let acme = name("acme");
    let all = teams::list(&reader, &acme, None, 9).await.unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|row| (row.path.to_string(), row.role, row.description.as_str()))
        .collect();
    assert_eq!(
        all,
        [
            ("acme/dev".into(), TeamRole::Creator, "Those who build"),
            ("acme/ops".into(), TeamRole::Member, "")
        ]
    );
    let last = "dev".parse().unwrap();
    let rest = teams::list(&reader, &acme, Some(&last), 9).await.unwrap();
    assert_eq!(rest.len(), 1);
}

#[tokio::test]
async fn a_team_has_users_and_robots_of_its_own_organization() {
    let db = Db::new().await;
    user(&db, "alice", false).await;
    let id = make(&db, "acme/dev", TeamRole::Member).await;
    make(&db, "zoo/dev", TeamRole::Member).await;
    for one in ["acme+ci", "zoo+ci", "alice+ci"] {
        robot(&db, one).await;
    }
    assert!(add(&db, "acme/dev", "alice").await.unwrap());
    assert!(!add(&db, "acme/dev", "alice").await.unwrap());
    assert!(add(&db, "acme/dev", "acme+ci").await.unwrap());
    for stranger in ["zoo+ci", "alice+ci", "acme", "zoo"] {
        let outcome = add(&db, "acme/dev", stranger).await;
        assert!(
            matches!(outcome, Err(Error::Refused(Refused::NotAMember))),
            "{stranger}: {outcome:?}"
        );
    }
    assert_eq!(members(&db, id).await, ["alice", "acme+ci"]);
    let reader = db.router.read_list();
    let alice = accounts::find(&reader, &name("alice"))
        .await
        .unwrap()
        .unwrap();
    let page = teams::list_members(&reader, id, Some(alice.id), 9)
        .await
        .unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(
        teams::list_of_account(&reader, alice.id, 9).await.unwrap(),
        [(team("acme/dev"), TeamRole::Member)]
    );
    drop(reader);
    assert!(
        db.write(async |tx| teams::remove_member(tx, id, alice.id).await)
            .await
    );
    assert!(
        !db.write(async |tx| teams::remove_member(tx, id, alice.id).await)
            .await
    );
    assert_eq!(members(&db, id).await, ["acme+ci"]);
}

#[tokio::test]
async fn whom_a_person_adds_no_group_takes_out() {
    let db = Db::new().await;
    user(&db, "alice", false).await;
    let id = make(&db, "acme/dev", TeamRole::Member).await;
    db.run(&format!(
        "INSERT INTO membership (account_id, team_id, provider) SELECT id, {id}, 'corp' FROM account WHERE name = 'alice'"
    ))
    .await;
    assert!(add(&db, "acme/dev", "alice").await.unwrap());
    assert_eq!(
        db.number("SELECT count(*) FROM membership WHERE provider IS NULL")
            .await,
        1
    );
}

#[tokio::test]
async fn a_teams_role_counts_in_its_organization_and_nowhere_else() {
    let db = Db::new().await;
    let alice = user(&db, "alice", false).await;
    let id = make(&db, "acme/dev", TeamRole::Member).await;
    make(&db, "zoo/dev", TeamRole::Member).await;
    for name in ["acme/app", "zoo/app"] {
        db.repository(name).await;
    }
    add(&db, "acme/dev", "alice").await.unwrap();
    let may = async |path_text: &str, principal: Principal| {
        let key = AccessKey {
            path: path(path_text),
            principal,
        };
        let served = db.router.read_fresh::<ResolveAccess>(key).await.unwrap();
        let access = served.value.unwrap();
        (access.role, access.may_create)
    };
    let steps = [
        (TeamRole::Member, (Role::None, false)),
        (TeamRole::Creator, (Role::None, true)),
        (TeamRole::Admin, (Role::Admin, true)),
        (TeamRole::Member, (Role::None, false)),
    ];
    for (role, expected) in steps {
        db.write(async |tx| teams::set_role(tx, id, role).await)
            .await;
        assert_eq!(may("acme/app", alice).await, expected, "{role}");
        assert_eq!(may("zoo/app", alice).await, (Role::None, false), "{role}");
    }
    db.write(async |tx| teams::set_role(tx, id, TeamRole::Admin).await)
        .await;
    db.write(async |tx| teams::delete(tx, id).await).await;
    assert_eq!(may("acme/app", alice).await, (Role::None, false));
    assert_eq!(db.number("SELECT count(*) FROM membership").await, 0);
}

#[tokio::test]
async fn groups_are_followed_once_each() {
    let db = Db::new().await;
    let id = make(&db, "acme/dev", TeamRole::Member).await;
    let group = |provider: &str, name: &str| Group {
        provider: provider.to_owned(),
        name: name.to_owned(),
    };
    for (group, new) in [
        (group("corp", "b"), true),
        (group("corp", "a"), true),
        (group("corp", "a"), false),
        (group("other", "a"), true),
    ] {
        assert_eq!(
            db.write(async |tx| teams::add_group(tx, id, &group).await)
                .await,
            new,
            "{group:?}"
        );
    }
    let gone = group("corp", "b");
    for went in [Some(0), None] {
        let removed = db.write(async |tx| teams::remove_group(tx, id, &gone).await);
        assert_eq!(removed.await, went);
    }
    let reader = db.router.read_list();
    assert_eq!(
        teams::list_groups(&reader, id, 9).await.unwrap(),
        [group("corp", "a"), group("other", "a")]
    );
}

#[tokio::test]
async fn who_came_by_a_group_goes_with_the_last_one_of_its_provider() {
    let db = Db::new().await;
    let id = make(&db, "acme/dev", TeamRole::Admin).await;
    let group = |name: &str| Group {
        provider: "corp".to_owned(),
        name: name.to_owned(),
    };
    let (dev, ops) = (group("dev"), group("ops"));
    for group in [&dev, &ops] {
        db.write(async |tx| teams::add_group(tx, id, group).await)
            .await;
    }
    for (name, provider) in [("alice", "'corp'"), ("bob", "'other'"), ("carol", "NULL")] {
        let account = user(&db, name, false).await.account().unwrap();
        db.run(&format!(
            "INSERT INTO membership (account_id, team_id, provider) VALUES ({account}, {id}, {provider})"
        ))
        .await;
    }
    let remove = async |group: &Group| {
        let removed = db.write(async |tx| teams::remove_group(tx, id, group).await);
        removed.await
    };
    assert_eq!(remove(&dev).await, Some(0), "she may be in the other one");
    assert_eq!(remove(&ops).await, Some(1));
    let reader = db.router.read_list();
    let left = teams::list_members(&reader, id, None, 9).await.unwrap();
    let left: Vec<&str> = left.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(left, ["bob", "carol"], "neither is that provider's");
}
