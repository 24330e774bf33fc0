//! Which server is at the other end: the questions every new connection begins with.
//!
//! A name that still leads to the old primary after a failover, to a standby by mistake, or to a server of another
//! cluster, must not be taken for what it should be. On the primary this is also where a failover is noticed: the
//! first connection to a server of another timeline draws a new epoch before anybody uses it.

use std::sync::{Arc, OnceLock};

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::{
    error::DialError,
    freshness::{clock::Moment, floor::ServerId},
    metrics::Role,
};

/// The oldest server that works: 15 has everything the statements use, and is the oldest that is tested.
const OLDEST_SERVER: u32 = 150_000;

/// Everything about the server in one round trip. The address is the server's own, whatever leads to it.
const WHO: &str = "SELECT pg_is_in_recovery(), pg_backend_pid(), \
    coalesce(host(inet_server_addr()) || ':' || inet_server_port(), ''), \
    (SELECT c.system_identifier FROM pg_control_system() AS c), \
    current_setting('server_version_num'), \
    to_regclass('portolan_pg.standing') IS NOT NULL, \
    current_setting('default_transaction_isolation') = 'read committed'";

/// Whether the epoch belongs to the server's timeline.
const SAME_HISTORY: &str = "SELECT s.same_history FROM portolan_pg.standing AS s";

/// A new epoch for a new timeline. Of two processes that notice together one draws it: the other's finds no row.
const NEW_EPOCH: &str = "UPDATE portolan_pg.cluster_epoch \
    SET epoch = gen_random_uuid(), timeline = left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) \
    WHERE one AND timeline <> '' AND timeline <> left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";

/// The server at the other end of a connection, as found after the handshake.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// What it reports of itself.
    pub(crate) server: ServerId,
    /// When the handshake had completed.
    pub(crate) opened_at: Moment,
    /// The process that serves this connection; another one later means that a pooler is in between.
    pub(crate) backend: i32,
}

/// The system identifier of the cluster, once the primary has told it. Replicas are held against it.
pub(crate) type ClusterId = Arc<OnceLock<String>>;

/// Asks a server who it is, and refuses one that is not what it should be.
///
/// Cancel safe: a half-made epoch is none, the UPDATE is one statement.
pub(crate) async fn identify(
    client: &Client,
    role: Role,
    opened_at: Moment,
    cluster: &ClusterId,
) -> Result<Peer, DialError> {
    let refused = |error| DialError::Refused(Arc::new(error));
    let answer = client.simple_query(WHO).await.map_err(refused)?;
    let row = first_row(&answer).ok_or(DialError::Unidentified)?;
    let text = |column| row.get(column).unwrap_or_default();
    let is = |column| text(column) == "t";

    let version = text(4).parse().unwrap_or(0);
    if version < OLDEST_SERVER {
        return Err(DialError::TooOld {
            version,
            oldest: OLDEST_SERVER,
        });
    }
    let in_recovery = is(0);
    if in_recovery != (role == Role::Replica) {
        return Err(DialError::WrongRole { expected: role });
    }
    if !is(6) {
        return Err(DialError::WrongIsolation);
    }
    let (address, system) = (text(2), text(3));
    match role {
        Role::Primary => {
            // After a failover the identifier is the same; a database moved elsewhere is another process's business.
            let _ = cluster.set(system.to_owned());
            if is(5) {
                keep_epoch(client).await.map_err(refused)?;
            }
        }
        Role::Replica => {
            // A socket says nothing of whose it is: two servers would have one name.
            if address.is_empty() {
                return Err(DialError::Unidentified);
            }
            if cluster.get().is_some_and(|known| known != system) {
                return Err(DialError::OtherCluster);
            }
        }
    }
    Ok(Peer {
        server: ServerId::new(&format!("{address}/{system}")),
        opened_at,
        backend: text(1).parse().map_err(|_| DialError::Unidentified)?,
    })
}

/// Draws a new epoch where the server's timeline is another one than the epoch's. Cancel safe as [`identify`].
pub(crate) async fn keep_epoch(client: &Client) -> Result<(), tokio_postgres::Error> {
    let answer = client.simple_query(SAME_HISTORY).await?;
    if first_row(&answer).is_some_and(|row| row.get(0) == Some("f")) {
        // The session's own settings say that it is durable before it is used.
        client.batch_execute(NEW_EPOCH).await?;
        tracing::warn!("the database has a new timeline: a new epoch begins");
    }
    Ok(())
}

fn first_row(answer: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}
