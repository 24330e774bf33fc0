//! What is explained is what is decided, and says why in words.

// The worlds and the model of `portolan-metadata`'s own tests.
#[expect(dead_code, reason = "what lists and mounts are held against")]
#[path = "../../../metadata/tests/it/worlds/model.rs"]
mod model;
#[expect(dead_code, reason = "who shows which credential")]
#[path = "../../../metadata/tests/it/worlds/world.rs"]
mod world;

use crate::support::{Kind, Site, name};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::{AccountId, Principal, Role, Writable, explain};
use portolan_registry::explain::{Explanation, Rule, Wanted, explained};
use portolan_registry::identity::Identity;
use std::fmt::Write as _;
use world::World;

/// As many as take a few seconds; the decision itself is held against the model in far more.
const WORLDS: u64 = 40;

#[tokio::test]
async fn an_explanation_never_disagrees_with_the_decision() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    let store = "INSERT INTO store (name, kind, ownership, bucket) VALUES ('default', 's3', 'owned', 'blobs')";
    site.sql.batch_execute(store).await.unwrap();
    site.sql.batch_execute(&world::contents()).await.unwrap();
    for seed in 0..WORLDS {
        let world = World::random(seed);
        site.sql.batch_execute(&world.sql()).await.unwrap();
        let mut asking: Vec<(Option<AccountName>, Principal)> = vec![(None, Principal::Anonymous)];
        for account in &world.accounts {
            // What is being removed has no name any more.
            let Ok(name) = account.name.parse() else {
                continue;
            };
            let principal = Principal::Account {
                id: AccountId::from(account.id),
                generation: account.generation,
                credential: None,
            };
            asking.push((Some(name), principal));
        }
        for (account, principal) in &asking {
            for path in world.paths() {
                let found = identity
                    .explain(account.as_ref(), &name(&path))
                    .await
                    .unwrap();
                let found = found.expect("there is such an account");
                let expected = world.decide(principal, &path);
                let about = format!("seed {seed}: {account:?} `{path}`\n{found:#?}\n{world:#?}");
                assert!(found.agrees(), "{about}");
                assert_eq!(found.decided, expected, "{about}");
                let writes = expected.writable == Writable::Yes;
                let there = expected.repository.is_some();
                let allowed = [
                    there && expected.role >= Role::Read,
                    writes
                        && if there {
                            expected.role >= Role::Write
                        } else {
                            expected.may_create
                        },
                    writes && there && expected.role >= Role::Write,
                    expected.may_create && expected.writable != Writable::NamespaceReadOnly,
                ];
                for (wanted, allowed) in Wanted::ALL.into_iter().zip(allowed) {
                    let verdict = found.verdict(wanted);
                    assert_eq!(verdict.allowed, allowed, "{wanted:?} {about}");
                    assert!(!verdict.reason.contains("no rule"), "{wanted:?} {about}");
                }
            }
        }
    }
}

/// An organization with a team, a user in it, a robot, and a private repository that only the team may read.
const SCENE: &str = "
    INSERT INTO account (kind, name) VALUES ('user', 'alice'), ('user', 'bob'), ('organization', 'acme');
    INSERT INTO account (kind, name, owner_id) SELECT 'robot', 'acme+ci', id FROM account WHERE name = 'acme';
    INSERT INTO namespace (name, owner_account_id) SELECT name, id FROM account WHERE name IN ('alice', 'acme');
    INSERT INTO repository (path, namespace_id) SELECT 'acme/app', id FROM namespace WHERE name = 'acme';
    INSERT INTO team (organization_id, role, name) SELECT id, 'member', 'devs' FROM account WHERE name = 'acme';
    INSERT INTO membership (account_id, team_id) SELECT a.id, t.id FROM account a, team t WHERE a.name = 'alice';
    INSERT INTO permission (repository_id, team_id, role) SELECT r.id, t.id, 1 FROM repository r, team t;";

async fn asked(site: &Site, account: &str, path: &str) -> Explanation {
    let account: Option<AccountName> = (account != "anonymous").then(|| account.parse().unwrap());
    let identity = Identity::new(site.router());
    let found = identity
        .explain(account.as_ref(), &name(path))
        .await
        .unwrap();
    found.expect("there is such an account")
}

#[tokio::test]
async fn a_refusal_says_what_is_missing() {
    let site = Site::new(Kind::Directory).await;
    site.sql.batch_execute(SCENE).await.unwrap();
    let mut said = String::new();
    for (account, path, wanted) in [
        ("alice", "acme/app", Wanted::Pull),
        ("alice", "acme/app", Wanted::Push),
        ("bob", "acme/app", Wanted::Pull),
        ("bob", "acme/app", Wanted::Delete),
        ("acme+ci", "acme/app", Wanted::Push),
        ("anonymous", "acme/app", Wanted::Pull),
        ("alice", "alice/new", Wanted::Push),
        ("alice", "alice/new", Wanted::Pull),
        ("bob", "acme/new", Wanted::Push),
        ("bob", "acme/new", Wanted::Pull),
        ("bob", "nowhere/new", Wanted::Create),
        ("admin", "nowhere/new", Wanted::Create),
        ("admin", "acme/app", Wanted::Create),
    ] {
        let explanation = asked(&site, account, path).await;
        let verdict = explanation.verdict(wanted);
        let word = if verdict.allowed { "yes" } else { "no" };
        writeln!(
            said,
            "{account} {} {path}: {word}: {}",
            wanted.as_str(),
            verdict.reason
        )
        .unwrap();
    }
    assert_eq!(
        said,
        "\
alice pull acme/app: yes: permission: read for team `acme/devs`
alice push acme/app: no: `alice` may only read here: no permission to write names `alice` or a team it is in
bob pull acme/app: no: no permission names `bob` or a team it is in; the repository is private
bob delete acme/app: no: no permission names `bob` or a team it is in
acme+ci push acme/app: no: no permission names `acme+ci` or a team it is in
anonymous pull acme/app: no: not logged in, and the repository is private
alice push alice/new: yes: owner of the namespace: namespace `alice` is `alice`'s; there is no repository yet
alice pull alice/new: no: there is no repository `alice/new`
bob push acme/new: no: there is no repository `acme/new`, and `bob` may not make it: namespace `acme` is `acme`'s, and `bob` is in no team of its that makes repositories
bob pull acme/new: no: there is no repository `acme/new`, and `bob` may not make it: namespace `acme` is `acme`'s, and `bob` is in no team of its that makes repositories
bob create nowhere/new: no: there is no repository `nowhere/new`, and `bob` may not make it: only a superuser makes namespaces by pushing
admin create nowhere/new: yes: superuser: `admin` is one; there is no repository yet
admin create acme/app: yes: superuser: `admin` is one; the repository is there already
"
    );
    let sql = &site.sql;
    for (change, account, wanted, reason) in [
        (
            "UPDATE repository SET mode = 'read_only'",
            "admin",
            Wanted::Push,
            "this repository is read-only",
        ),
        (
            "UPDATE repository SET mode = 'mirror'",
            "admin",
            Wanted::Delete,
            "this repository is a mirror: only its mirror writes to it",
        ),
        (
            "UPDATE namespace SET mode = 'read_only'",
            "admin",
            Wanted::Push,
            "this namespace is read-only",
        ),
        (
            "UPDATE account SET expires_at = now() - interval '1 hour' WHERE kind = 'robot'",
            "acme+ci",
            Wanted::Pull,
            "`acme+ci` has expired: its credentials open nothing, not even what is public",
        ),
        (
            "UPDATE account SET expires_at = NULL WHERE kind = 'robot';
             UPDATE account SET state = 'disabled' WHERE name = 'acme'",
            "acme+ci",
            Wanted::Pull,
            "`acme+ci` belongs to `acme`, who is disabled: its credentials open nothing, not even what is public",
        ),
        (
            "UPDATE account SET state = 'disabled' WHERE name = 'alice'",
            "alice",
            Wanted::Pull,
            "`alice` is disabled: its credentials open nothing, not even what is public",
        ),
    ] {
        sql.batch_execute(change).await.unwrap();
        let explanation = asked(&site, account, "acme/app").await;
        let verdict = explanation.verdict(wanted);
        assert_eq!(
            (verdict.allowed, verdict.reason.as_str()),
            (false, reason),
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_decision_that_is_not_what_the_rules_come_to_is_said_to_differ() {
    let site = Site::new(Kind::Directory).await;
    site.sql.batch_execute(SCENE).await.unwrap();
    let router = site.router();
    let path = name("acme/app");
    let alice = "alice".parse().unwrap();
    let mut facts = {
        let reader = router.read_primary().await.unwrap();
        explain::facts(&reader, Some(&alice), &path)
            .await
            .unwrap()
            .unwrap()
    };
    assert!(explained(&facts, &path).agrees());
    facts.access.role = Role::Admin;
    let explanation = explained(&facts, &path);
    assert!(!explanation.agrees());
    // What is answered is the decision; what is shown beside it are the rules.
    assert!(explanation.verdict(Wanted::Push).allowed);
    let permission = explanation
        .rules
        .iter()
        .find(|finding| finding.rule == Rule::Permission)
        .unwrap();
    assert_eq!(permission.gives, Role::Read);
}

#[tokio::test]
async fn nobody_is_explained_who_is_not_there() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    let nobody = "nobody".parse().unwrap();
    let found = identity
        .explain(Some(&nobody), &name("acme/app"))
        .await
        .unwrap();
    assert!(found.is_none());
}
