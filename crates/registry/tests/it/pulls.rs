//! Counts of pulls: each is written down once, whatever becomes of the line meanwhile.

use crate::support::{Kind, Site, router_by};
use portolan_auth::SystemClock;
use portolan_metadata::{AccountId, CredentialId, Principal, RepositoryId};
use portolan_oci::Digest;
use portolan_pg::Router;
use portolan_registry::pulls::Pulls;
use portolan_testkit::chaos_proxy::ChaosProxy;
use portolan_testkit::children::eventually;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn pulls() -> Pulls {
    Pulls::new(Arc::new(SystemClock))
}

async fn written(site: &Site) -> i64 {
    site.number("SELECT coalesce(sum(pulls), 0)::bigint FROM pull_count")
        .await
}

async fn proxy(site: &Site) -> (ChaosProxy, Router) {
    let at = site.url().split('@').next_back().unwrap();
    let server = at.split('/').next().unwrap();
    let server = server.to_socket_addrs().unwrap().next().unwrap();
    let proxy = ChaosProxy::start(server).await;
    let router = router_by(&proxy.through(site.url()));
    (proxy, router)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pull_is_counted_twice_or_lost_when_connections_break_at_any_moment() {
    let site = Site::new(Kind::Directory).await;
    let (proxy, router) = proxy(&site).await;
    let pulls = pulls();
    let mut random = StdRng::seed_from_u64(11);
    let (mut counted, mut failed) = (0, 0);
    for round in 0..150_u8 {
        for digest in 0..=(round % 7) {
            let digest = Digest::sha256(&[digest]);
            pulls.count(RepositoryId::from(1), digest, &Principal::Anonymous);
            counted += 1;
        }
        let wait = Duration::from_micros(random.random_range(0..4_000));
        let broken = async {
            tokio::time::sleep(wait).await;
            if round % 2 == 0 {
                proxy.reset_connections();
            } else {
                proxy.drop_connections();
            }
        };
        let (outcome, ()) = tokio::join!(pulls.flush(&router), broken);
        failed += u32::from(outcome.is_err());
    }
    assert!(failed > 10, "only {failed} of 150 broke");
    eventually("the rest is written down", || async {
        pulls.flush(&router).await.is_ok() && pulls.waits() == 0
    })
    .await;
    assert_eq!(written(&site).await, counted);
    router.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_asked_for_and_not_repeated() {
    let site = Site::new(Kind::Directory).await;
    let (proxy, router) = proxy(&site).await;
    let pulls = pulls();
    // The commit waits here until nobody is there to hear of it.
    site.run(
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER pause AFTER INSERT ON pull_count_default
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pause();
         SELECT pg_advisory_lock(7)",
    )
    .await;
    let digest = Digest::sha256(b"x");
    pulls.count(RepositoryId::from(1), digest, &Principal::Anonymous);
    let cut = async {
        site.until_blocked(1).await;
        proxy.reset_connections();
    };
    let (outcome, ()) = tokio::join!(pulls.flush(&router), cut);
    assert!(outcome.is_err());
    // It is not known yet: nothing else is written meanwhile.
    pulls.count(RepositoryId::from(1), digest, &Principal::Anonymous);
    assert_eq!(pulls.waits(), 2);
    site.run("SELECT pg_advisory_unlock(7)").await;
    eventually("its end is known", || async {
        pulls.flush(&router).await.is_ok() && pulls.waits() == 0
    })
    .await;
    assert_eq!(written(&site).await, 2);
    router.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_nothing_to_write_down_holds_no_connection() {
    let site = Site::new(Kind::Directory).await;
    let (proxy, router) = proxy(&site).await;
    let pulls = pulls();
    pulls.flush(&router).await.unwrap();
    let stopping = CancellationToken::new();
    #[expect(clippy::disallowed_methods, reason = "the test awaits the handle")]
    let task = tokio::spawn(pulls.clone().run(router.clone(), stopping.clone()));
    assert_eq!(proxy.accepted(), 0);
    pulls.count(
        RepositoryId::from(1),
        Digest::sha256(b"x"),
        &Principal::Anonymous,
    );
    // Ten seconds, in which more may come.
    eventually("it is written down", || async { written(&site).await == 1 }).await;
    assert_eq!(proxy.accepted(), 1);
    stopping.cancel();
    task.await.unwrap();
    router.close().await;
}

#[tokio::test]
async fn a_pull_tells_its_credential_when_it_was_used() {
    let site = Site::new(Kind::Directory).await;
    site.run(
        "INSERT INTO credential (account_id, kind, secret_hash)
         SELECT id, 'application', sha256('x') FROM account WHERE name = 'admin'",
    )
    .await;
    let account = site
        .number("SELECT id FROM account WHERE name = 'admin'")
        .await;
    let credential = site.number("SELECT id FROM credential").await;
    let principal = Principal::Account {
        id: AccountId::from(account),
        generation: 1,
        credential: Some(CredentialId::from(credential)),
    };
    let (pulls, router) = (pulls(), site.router());
    pulls.count(RepositoryId::from(1), Digest::sha256(b"x"), &principal);
    pulls.flush(&router).await.unwrap();
    let told = "SELECT count(*) FROM credential
                WHERE last_used_at = date_trunc('hour', last_used_at) AND last_used_at > now() - interval '2 hours'";
    assert_eq!(site.number(told).await, 1);
    let by_credential = format!(
        "SELECT count(*) FROM pull_count WHERE credential_id = {credential} AND account_id = {account}"
    );
    assert_eq!(site.number(&by_credential).await, 1);
    // Without a pull too.
    site.run("UPDATE credential SET last_used_at = NULL").await;
    pulls.used(CredentialId::from(credential));
    pulls.flush(&router).await.unwrap();
    assert_eq!(site.number(told).await, 1);
    router.close().await;
}
