//! TLS to a server with a certificate of its own making: each `sslmode` accepts what it should and no more.

use std::io::Write;

use portolan_pg::{Error, Read, Router, Statement};
use portolan_testkit::pg_cluster::{PgCluster, TLS_AUTHORITY};

use crate::support::{policy, router_to};

static IS_TLS: Statement = Statement {
    name: "test.is_tls",
    sql: "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    types: &[],
};

async fn is_encrypted(router: &Router) -> Result<bool, Error> {
    let primary = router.read_primary().await?;
    Ok(primary.query_one(&IS_TLS, &[]).await?.get(0))
}

#[tokio::test]
async fn each_mode_accepts_what_it_should() {
    let cluster = PgCluster::options().with_tls().start();
    let mut authority = tempfile::NamedTempFile::new().unwrap();
    authority.write_all(TLS_AUTHORITY.as_bytes()).unwrap();
    let port = cluster.primary().address().port();
    let root = format!("sslrootcert={}", authority.path().display());
    // The certificate is for `localhost`, not for `127.0.0.1`.
    for (host, parameters, expected) in [
        ("127.0.0.1", "sslmode=disable", Some(false)),
        ("127.0.0.1", "sslmode=prefer", Some(true)),
        ("127.0.0.1", "sslmode=require", Some(true)),
        ("127.0.0.1", &format!("sslmode=require&{root}"), Some(true)),
        (
            "127.0.0.1",
            &format!("sslmode=verify-ca&{root}"),
            Some(true),
        ),
        (
            "localhost",
            &format!("sslmode=verify-full&{root}"),
            Some(true),
        ),
        ("127.0.0.1", &format!("sslmode=verify-full&{root}"), None),
        // The system's authorities have never heard of ours.
        ("localhost", "sslmode=verify-full", None),
        ("localhost", "sslmode=verify-ca", None),
    ] {
        let url = format!("postgres://postgres@{host}:{port}/postgres?{parameters}");
        let (router, _) = router_to(&url, policy());
        let answer = is_encrypted(&router).await;
        match (&answer, expected) {
            (Ok(encrypted), Some(expected)) => assert_eq!(*encrypted, expected, "{url}"),
            (Err(Error::Unavailable { .. }), None) => {}
            _ => panic!("{url}: {answer:?}"),
        }
        router.close().await;
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required_and_used_where_it_is_preferred() {
    let port = PgCluster::shared().primary().address().port();
    for (mode, expected) in [("prefer", Some(false)), ("require", None)] {
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode={mode}");
        let (router, _) = router_to(&url, policy());
        assert_eq!(is_encrypted(&router).await.ok(), expected, "{mode}");
        router.close().await;
    }
}
