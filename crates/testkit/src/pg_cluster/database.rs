//! A database of a test's own, and a plain session to look at it without the code under test.

use std::{ops::Deref, time::Instant};

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, error::SqlState};

use super::server::PgServer;
use crate::children::PATIENCE;

/// A database that only one test uses. It goes with its cluster.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    name: String,
    url: String,
    socket_url: String,
}

impl TestDatabase {
    pub(super) fn new(server: &PgServer, name: String) -> Self {
        Self {
            url: server.url(&name),
            socket_url: server.socket_url(&name),
            name,
        }
    }

    /// Its name: what a copy is made from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `postgres://…` over TCP.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `postgres://…` over the Unix socket.
    pub fn socket_url(&self) -> &str {
        &self.socket_url
    }

    /// A session beside the code under test. Panics if there is no connection.
    pub async fn session(&self) -> Session {
        Session::open(&self.socket_url)
            .await
            .unwrap_or_else(|error| panic!("no session to `{}`: {error:?}", self.name))
    }
}

/// A plain session, closed when this is dropped.
#[derive(Debug)]
pub struct Session {
    client: Client,
    _driver: JoinSet<()>,
}

impl Session {
    /// Connects without TLS.
    pub async fn open(url: &str) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The client sees how it ended.
            let _ = connection.await;
        });
        Ok(Self {
            client,
            _driver: driver,
        })
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// `like` is what `CREATE DATABASE` has behind the name.
pub(super) async fn create(server: &PgServer, name: &str, like: &str) {
    let session = Session::open(&server.socket_url("postgres"))
        .await
        .unwrap_or_else(|error| panic!("no session: {error:?}\n{}", server.log()));
    let sql = format!("CREATE DATABASE \"{name}\" {like}");
    let began = Instant::now();
    loop {
        let Err(error) = session.batch_execute(&sql).await else {
            return;
        };
        // A session to the template that was closed a moment ago may not have ended yet.
        let in_use = error.code() == Some(&SqlState::OBJECT_IN_USE);
        assert!(
            in_use && began.elapsed() < PATIENCE,
            "`{sql}` failed: {error:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
