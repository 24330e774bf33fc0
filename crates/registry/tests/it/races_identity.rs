//! Changes of who there is that meet: each of them happens, whatever order their locks come in.

use crate::support::{Client, Kind, Site};
use futures::future::{join, join3};
use portolan_auth::{Method, SealKey};
use portolan_metadata::Refused;
use portolan_metadata::accounts::{AccountName, EmailAddress, NewUser, StoredPassword};
use portolan_metadata::credentials::SecretHash;
use portolan_metadata::default_permissions::DefaultPermission;
use portolan_metadata::permissions::{Granted, Holder};
use portolan_metadata::repositories::RepositoryMode;
use portolan_metadata::teams::{Group, TeamRole};
use portolan_oci::RepositoryName;
use portolan_registry::Error;
use portolan_registry::identity::{
    Actor, ExternalPerson, From, Identity, KeyPolicy, Repositories, Rotation, SignIn,
    SignInRefusal, SignUp,
};
use portolan_testkit::children::eventually;
use portolan_testkit::image::Image;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use secrecy::SecretBox;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn actor() -> Actor {
    Actor::system("test")
}

fn named(text: &str) -> AccountName {
    text.parse().unwrap()
}

/// Somebody with an address.
async fn reachable(identity: &Identity, name: &str, address: &str) {
    user(identity, name).await;
    let address: EmailAddress = address.parse().unwrap();
    let (actor, name) = (actor(), named(name));
    identity
        .set_email(&actor, &name, Some(&address))
        .await
        .unwrap();
}

/// The secret of a mail to this address.
async fn mail(identity: &Identity, address: &str, seed: u64) -> SecretHash {
    let mut rng = StdRng::seed_from_u64(seed);
    let begun = identity
        .begin_recovery(&actor(), &address.parse().unwrap(), &mut rng)
        .await
        .unwrap();
    let (_, secret) = begun.expect("somebody has the address");
    SecretHash::new(secret.hash())
}

/// Somebody chooses a password with it.
async fn recover(identity: &Identity, secret: &SecretHash) -> Result<AccountName, Error> {
    let chosen = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let chosen = chosen.parse().unwrap();
    identity.finish_recovery(|_| actor(), secret, &chosen).await
}

async fn user(identity: &Identity, name: &str) {
    let new = NewUser {
        name: named(name),
        password_hash: StoredPassword::new("$argon2id$none"),
        superuser: false,
    };
    identity.create_user(&actor(), &new, None).await.unwrap();
}

/// A site whose new connections find a deadlock soon.
async fn impatient() -> Site {
    let site = Site::new(Kind::Directory).await;
    let database = "SELECT current_database()::text";
    let database: String = site.sql.query_one(database, &[]).await.unwrap().get(0);
    site.run(&format!(
        "ALTER DATABASE {database} SET deadlock_timeout = '50ms'"
    ))
    .await;
    site
}

/// Makes the first `times` rows of `table` fail with this SQLSTATE; a sequence does not roll back.
async fn rows_fail(site: &Site, table: &str, times: u32, state: &str) {
    site.run(&format!(
        "CREATE SEQUENCE failures;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('failures') <= {times} THEN
                 RAISE EXCEPTION 'on purpose' USING ERRCODE = '{state}';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail()"
    ))
    .await;
}

/// Who is deleted holds himself and needs the repository that he mirrors; who gives him a right there needs them the other
/// way round.
#[tokio::test]
async fn a_user_is_deleted_while_a_right_is_given_to_him_and_neither_meets_a_deadlock() {
    let site = impatient().await;
    let router = site.router();
    let identity = Identity::new(router.clone());
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    client.push(&Image::random(1), "v1").await;
    let repository: RepositoryName = "acme/app".parse().unwrap();
    user(&identity, "alice").await;
    let (actor, alice) = (actor(), named("alice"));
    identity
        .set_repository_mode(&actor, &repository, RepositoryMode::Mirror, Some(&alice))
        .await
        .unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    identity
        .create_robot(&actor, &named("alice+ci"), "", None, &mut rng)
        .await
        .unwrap();

    // The deletion stops at the robot, after it has taken the account and before it needs the repository.
    site.run("BEGIN; SELECT FROM account WHERE name = 'alice+ci' FOR UPDATE")
        .await;
    let deletes = identity.delete_user(&actor, &alice, Repositories::Keep);
    let gives = async {
        blocked(&site, 1).await;
        let holder = Holder::Account(alice.clone());
        identity
            .set_permission(&actor, &repository, &holder, Granted::Write)
            .await
    };
    let lets_go = async {
        blocked(&site, 2).await;
        site.run("COMMIT").await;
    };
    let (removal, gift, ()) = join3(deletes, gives, lets_go).await;
    removal.unwrap();
    // Before him, or after him: whichever of the two Postgres gave up came again.
    let missing = |cause: &Error| matches!(cause, Error::Refused(Refused::Missing { .. }));
    assert!(gift.as_ref().err().is_none_or(missing), "{gift:?}");
    // Sessions that end say what they have met.
    router.close().await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let met = async || site.number(deadlocks).await > 0;
    eventually("the deadlock is counted", met).await;
    assert_eq!(
        site.number("SELECT count(*) FROM account WHERE name LIKE 'alice%'")
            .await,
        0
    );
    assert_eq!(site.number("SELECT count(*) FROM permission").await, 0);
}

/// As [`Site::until_blocked`], by a session that may be within a transaction.
async fn blocked(site: &Site, sessions: i64) {
    let watch = site.session().await;
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("somebody waits for a lock", async || {
        let waiting: i64 = watch.query_one(sql, &[]).await.unwrap().get(0);
        waiting >= sessions
    })
    .await;
}

#[tokio::test]
async fn a_change_that_loses_twice_is_not_noticed_and_is_written_down_once() {
    for state in ["40P01", "40001", "23503"] {
        let site = Site::new(Kind::Directory).await;
        let identity = Identity::new(site.router());
        rows_fail(&site, "namespace", 2, state).await;
        user(&identity, "alice").await;
        let written = "SELECT count(*) FROM audit_log WHERE action = 'user.create'";
        assert_eq!(site.number(written).await, 1, "{state}");
    }
}

#[tokio::test]
async fn a_change_that_always_loses_hears_that_it_may_come_again() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    rows_fail(&site, "namespace", 3, "40P01").await;
    let refused = identity
        .create_organization(&actor(), &named("acme"), "")
        .await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    let attempts = site.number("SELECT last_value FROM failures").await;
    assert_eq!(attempts, 3);
    identity
        .create_organization(&actor(), &named("acme"), "")
        .await
        .unwrap();
}

#[tokio::test]
async fn whoever_signs_in_does_not_notice_that_his_team_was_in_dispute() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    let team = "acme/developers".parse().unwrap();
    let group = Group {
        provider: "corp".to_owned(),
        name: "dev".to_owned(),
    };
    identity
        .create_organization(&actor(), &named("acme"), "")
        .await
        .unwrap();
    identity
        .create_team(&actor(), &team, TeamRole::Member, "")
        .await
        .unwrap();
    identity.add_group(&actor(), &team, &group).await.unwrap();
    rows_fail(&site, "membership", 2, "40P01").await;
    let person = ExternalPerson {
        provider: "corp".to_owned(),
        subject: "17".to_owned(),
        name: Some(named("alice")),
        email: None,
        groups: Some(vec!["dev".to_owned()]),
        superuser: None,
        told_at: SystemTime::UNIX_EPOCH,
    };
    let policy = SignUp {
        open: true,
        link_by_email: false,
    };
    let from = From {
        method: Method::Oidc,
        address: None,
        request: None,
    };
    let squatter = ExternalPerson {
        subject: "18".to_owned(),
        name: Some(named("library")),
        ..person.clone()
    };
    let refused = identity.sign_in(&squatter, policy, &from).await.unwrap();
    assert_eq!(refused, SignIn::Refused(SignInRefusal::NameTaken));
    let sign_in = identity.sign_in(&person, policy, &from).await.unwrap();
    assert!(matches!(sign_in, SignIn::As(_)), "{sign_in:?}");
    assert_eq!(site.number("SELECT count(*) FROM membership").await, 1);
    let written =
        "SELECT count(*) FROM audit_log WHERE action IN ('user.create', 'team.add_member')";
    assert_eq!(site.number(written).await, 2);
    let found =
        "SELECT count(*) FROM audit_log JOIN namespace ON namespace.id = audit_log.namespace_id
                 WHERE action = 'team.add_member' AND namespace.name = 'acme'";
    assert_eq!(site.number(found).await, 1);
}

#[tokio::test]
async fn of_two_mails_that_are_used_at_once_one_is_good() {
    let site = impatient().await;
    let identity = Identity::new(site.router());
    reachable(&identity, "alice", "alice@example.com").await;
    let one = mail(&identity, "alice@example.com", 1).await;
    let two = mail(&identity, "alice@example.com", 2).await;
    site.run("BEGIN; SELECT FROM account WHERE name = 'alice' FOR UPDATE")
        .await;
    let lets_go = async {
        blocked(&site, 2).await;
        site.run("COMMIT").await;
    };
    let (one, two, ()) = join3(recover(&identity, &one), recover(&identity, &two), lets_go).await;
    let refused: Vec<Error> = [one, two].into_iter().filter_map(Result::err).collect();
    assert!(
        matches!(refused[..], [Error::CredentialsVoid]),
        "{refused:?}"
    );
    let written = "SELECT count(*) FROM audit_log WHERE action = 'user.recover'";
    assert_eq!(site.number(written).await, 1);
    assert_eq!(site.number("SELECT count(*) FROM recovery").await, 0);
}

#[tokio::test]
async fn a_mail_that_is_used_while_the_password_is_changed_changes_it_no_more() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    reachable(&identity, "alice", "alice@example.com").await;
    let secret = mail(&identity, "alice@example.com", 1).await;
    site.run(
        "BEGIN;
         UPDATE account SET generation = generation + 1, password_hash = 'hers' WHERE name = 'alice'",
    )
    .await;
    let lets_go = async {
        blocked(&site, 1).await;
        site.run("COMMIT").await;
    };
    let (recovered, ()) = join(recover(&identity, &secret), lets_go).await;
    assert!(
        matches!(recovered, Err(Error::CredentialsVoid)),
        "{recovered:?}"
    );
    let hers = "SELECT count(*) FROM account WHERE password_hash = 'hers'";
    assert_eq!(site.number(hers).await, 1);
}

#[tokio::test]
async fn a_mail_to_an_address_that_was_changed_shows_nothing_of_the_new_one() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    reachable(&identity, "alice", "old@example.com").await;
    let secret = mail(&identity, "old@example.com", 1).await;
    let (actor, alice) = (actor(), named("alice"));
    let new: EmailAddress = "new@example.com".parse().unwrap();
    identity
        .set_email(&actor, &alice, Some(&new))
        .await
        .unwrap();
    let late = recover(&identity, &secret).await;
    assert!(matches!(late, Err(Error::CredentialsVoid)), "{late:?}");
    let shown = "SELECT count(*) FROM account WHERE email_verified";
    assert_eq!(site.number(shown).await, 0);

    // Also one that was under way when it was changed.
    site.run(
        "BEGIN; UPDATE account SET email = 'third@example.com' WHERE name = 'alice';
         DELETE FROM recovery",
    )
    .await;
    let mut rng = StdRng::seed_from_u64(2);
    let asks = identity.begin_recovery(&actor, &new, &mut rng);
    let lets_go = async {
        blocked(&site, 1).await;
        site.run("COMMIT").await;
    };
    let (begun, ()) = join(asks, lets_go).await;
    assert!(begun.unwrap().is_none());
}

/// A first push gives what its namespace gives to new repositories, and waits for nobody who is in it but by reference.
#[tokio::test]
async fn a_right_that_is_given_by_default_to_somebody_who_is_being_deleted_is_nobodys() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    let (actor, acme, alice) = (actor(), named("acme"), named("alice"));
    identity
        .create_organization(&actor, &acme, "")
        .await
        .unwrap();
    user(&identity, "alice").await;
    let given = DefaultPermission {
        creator: None,
        holder: Holder::Account(alice.clone()),
        role: Granted::Write,
    };
    identity
        .set_default_permission(&actor, &acme, &given)
        .await
        .unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    identity
        .create_robot(&actor, &named("alice+ci"), "", None, &mut rng)
        .await
        .unwrap();
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");

    site.run("BEGIN; SELECT FROM account WHERE name = 'alice+ci' FOR UPDATE")
        .await;
    let deletes = identity.delete_user(&actor, &alice, Repositories::Keep);
    let image = Image::random(1);
    let pushes = async {
        blocked(&site, 1).await;
        client.push(&image, "v1").await;
    };
    let lets_go = async {
        blocked(&site, 2).await;
        site.run("COMMIT").await;
    };
    let (removal, (), ()) = join3(deletes, pushes, lets_go).await;
    removal.unwrap();
    let repository: RepositoryName = "acme/app".parse().unwrap();
    let listed = identity.permissions(&repository).await.unwrap();
    assert_eq!(listed, []);
}

#[tokio::test]
async fn of_two_who_rotate_the_keys_at_once_one_publishes_and_the_other_hears_of_it() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    site.run(
        "INSERT INTO signing_key (kid, sealed, algorithm, state) VALUES (repeat('a', 16), '', 'ES256', 'signing')",
    )
    .await;
    let seal = SealKey::from_bytes(&SecretBox::new(Box::new([1; 32]))).unwrap();
    let policy = KeyPolicy {
        seal: Arc::new(seal),
        lifetime: Duration::from_mins(5),
        rotation: None,
    };
    let rotate = async |seed: u64| {
        let mut rng = StdRng::seed_from_u64(seed);
        identity
            .rotate_keys(&actor(), &policy, true, &mut rng)
            .await
    };
    site.run("BEGIN; SELECT FROM signing_key FOR UPDATE").await;
    let lets_go = async {
        blocked(&site, 2).await;
        site.run("COMMIT").await;
    };
    let (one, two, ()) = join3(rotate(1), rotate(2), lets_go).await;
    let mut steps = [one.unwrap(), two.unwrap()];
    if matches!(steps[1], Rotation::Published { .. }) {
        steps.swap(0, 1);
    }
    let [
        Rotation::Published { kid, .. },
        Rotation::Waiting { kid: same, .. },
    ] = &steps
    else {
        panic!("{steps:?}")
    };
    assert_eq!(kid, same);
    let written = "SELECT count(*) FROM audit_log WHERE action = 'key.create'";
    assert_eq!(site.number(written).await, 1);
}

/// The right to make something is decided before the namespace is held, and a deletion may be what it is waited for.
#[tokio::test]
async fn who_could_make_repositories_makes_none_in_a_namespace_that_is_anothers_by_then() {
    let site = Site::new(Kind::Directory).await;
    let identity = Identity::new(site.router());
    let (actor, acme) = (actor(), named("acme"));
    identity
        .create_organization(&actor, &acme, "")
        .await
        .unwrap();
    let team = "acme/makers".parse().unwrap();
    identity
        .create_team(&actor, &team, TeamRole::Creator, "")
        .await
        .unwrap();
    let bob = site.user("bob").await;
    identity
        .add_member(&actor, &team, &named("bob"))
        .await
        .unwrap();
    let registry = site.process().await;
    site.run(
        "BEGIN;
         UPDATE namespace SET name = '~' || id WHERE name = 'acme';
         UPDATE account SET name = '~' || id, state = 'removing' WHERE name = 'acme';
         WITH made AS (INSERT INTO account (kind, name) VALUES ('organization', 'acme') RETURNING id)
         INSERT INTO namespace (name, owner_account_id) SELECT 'acme', made.id FROM made",
    )
    .await;
    let lets_go = async {
        blocked(&site, 1).await;
        site.run("COMMIT").await;
    };
    let client = Client {
        registry: &registry,
        caller: &bob,
        name: "acme/app".parse().unwrap(),
    };
    let image = Image::random(1);
    let (pushed, ()) = join(client.put(&image.manifest, "v1"), lets_go).await;
    assert!(matches!(pushed, Err(Error::Denied { .. })), "{pushed:?}");
    assert_eq!(site.number("SELECT count(*) FROM repository").await, 0);
}
