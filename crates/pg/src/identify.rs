//! Which server is at the other end: the questions every new connection begins with.
//!
//! A name that still leads to the old primary after a failover, to a standby by mistake, or to a server of another
//! cluster, must not be taken for what it should be. On the primary this is also where a failover is noticed: the
//! first connection to a server of another timeline draws a new epoch before anybody uses it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::{
    connect::Surroundings,
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
    current_setting('default_transaction_isolation') = 'read committed', \
    coalesce(current_setting('portolan.process', true), '')";

/// Whether the epoch belongs to the server's timeline.
const SAME_HISTORY: &str = "SELECT s.same_history FROM portolan_pg.standing AS s";

/// A new epoch for a new timeline. Of two processes that notice together one draws it: the other's finds no row. It is
/// flushed before it is used, and waits for no standby: after a failover there may be none yet, and nobody could connect.
/// Another failover draws another one.
const NEW_EPOCH: &str = "BEGIN; SET LOCAL synchronous_commit = local; UPDATE portolan_pg.cluster_epoch \
    SET epoch = gen_random_uuid(), timeline = left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) \
    WHERE one AND timeline <> '' AND timeline <> left(pg_walfile_name(pg_current_wal_insert_lsn()), 8); COMMIT";

/// The server at the other end of a connection, as it said itself.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// What it reports of itself.
    pub(crate) server: ServerId,
    /// When it had said so: the process that serves this connection runs since before. The handshake would be too early,
    /// as a pooler completes it by itself, and the server may restart before it is asked anything.
    pub(crate) opened_at: Moment,
    /// The process that serves this connection; another one later means that a pooler is in between.
    pub(crate) backend: i32,
}

/// What all connections of a router have found of the servers.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// The system identifier, once the primary has told it. Replicas are held against it.
    system: OnceLock<String>,
    /// By which addresses each replica was reached, and when last.
    reached: Mutex<HashMap<ServerId, HashMap<String, Moment>>>,
    /// Whether any was reached by several: every read asks, and hardly ever is there one.
    any_ambiguous: AtomicBool,
}

/// A connection does not live longer (30 minutes, and a fifth): what was reached by an address before that is not any
/// more, unless it was reached again.
const REACHED_FOR: Duration = Duration::from_mins(40);

impl Cluster {
    fn reach(&self, server: &ServerId, address: &str, now: Moment) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.retain(|_, addresses| {
            addresses.retain(|_, at| now.since(*at) < REACHED_FOR);
            !addresses.is_empty()
        });
        let addresses = reached.entry(server.clone()).or_default();
        let is_new = addresses.insert(address.to_owned(), now).is_none();
        let is_ambiguous = addresses.len() > 1;
        let any = reached.values().any(|addresses| addresses.len() > 1);
        self.any_ambiguous.store(any, Ordering::Release);
        if is_new && is_ambiguous {
            tracing::error!(
                %server,
                "several addresses in the list of replicas lead to servers that report one and the same name; none of \
                 them is read from: list each server once, at an address that it has for itself"
            );
        }
    }

    /// Whether several addresses lead to servers of this name. They may be one server, or two that report the address
    /// of a network of their own: what one of the two has replayed says nothing of the other.
    pub(crate) fn is_ambiguous(&self, server: &ServerId) -> bool {
        if !self.any_ambiguous.load(Ordering::Acquire) {
            return false;
        }
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached
            .get(server)
            .is_some_and(|addresses| addresses.len() > 1)
    }
}

/// Asks a server who it is, and refuses one that is not what it should be.
///
/// Cancel safe: a half-made epoch is none, the UPDATE is one statement.
pub(crate) async fn identify(
    client: &Client,
    role: Role,
    surroundings: &Surroundings,
    address: &str,
) -> Result<Peer, DialError> {
    let refused = |error| DialError::Refused(Arc::new(error));
    let cluster = &surroundings.cluster;
    let answer = client.simple_query(WHO).await.map_err(refused)?;
    // Whatever the server did before it answered is older than this.
    let opened_at = surroundings.knowledge.now();
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
    let (own_address, system) = (text(2), text(3));
    let server = ServerId::new(&format!("{own_address}/{system}"));
    match role {
        Role::Primary => {
            // After a failover the identifier is the same. A database moved to another cluster has taken the list of
            // replicas along, and those are still the old one's: another process begins with it, not this one.
            if cluster.system.get_or_init(|| system.to_owned()) != system {
                return Err(DialError::OtherCluster);
            }
            if is(5) {
                keep_epoch(client).await.map_err(refused)?;
            }
        }
        Role::Replica => {
            // A socket says nothing of whose it is: two servers would have one name.
            if own_address.is_empty() {
                return Err(DialError::Unidentified);
            }
            // Every session of ours with a replica begins with this. One that does not have it was made by somebody
            // else and is lent to us: the next statement may run on another server.
            if text(7) != surroundings.process.to_string() {
                return Err(DialError::Pooled);
            }
            if cluster.system.get().is_some_and(|known| known != system) {
                return Err(DialError::OtherCluster);
            }
            cluster.reach(&server, address, opened_at);
        }
    }
    Ok(Peer {
        server,
        opened_at,
        backend: text(1).parse().map_err(|_| DialError::Unidentified)?,
    })
}

/// Draws a new epoch where the server's timeline is another one than the epoch's. Cancel safe as [`identify`].
pub(crate) async fn keep_epoch(client: &Client) -> Result<(), tokio_postgres::Error> {
    let answer = client.simple_query(SAME_HISTORY).await?;
    if first_row(&answer).is_some_and(|row| row.get(0) == Some("f")) {
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
