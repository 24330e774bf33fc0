//! What the router knows, for people: `portolan doctor` and the private listener.

use std::time::Duration;

use crate::{
    error::DialError,
    freshness::{
        floor::ServerId,
        membership::{Member, Service, Vote, found_fit},
    },
    metrics::{Need, PrimaryReason, Share},
    protocol::{self, MEMBERS, VOTES},
    router::{FreshnessMode, Router, Servers, replica::Replica},
};

/// Everything the router knows at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// How freshness is proven.
    pub mode: FreshnessMode,
    /// How long a write waits at most for a replica in service.
    pub silence: Duration,
    /// Whether the primary said who is in service.
    pub members_known: bool,
    /// The history of the database, once the primary has told it.
    pub epoch: Option<String>,
    /// How old the newest floor is; `None`: there is none, because nobody has read for a while.
    pub floor_age: Option<Duration>,
    /// For how long the primary has not answered, if it does not.
    pub primary_failing: Option<Duration>,
    /// For how long reads have been served without the primary.
    pub stale_for: Option<Duration>,
    /// The replicas of the configuration, in its order.
    pub replicas: Vec<ReplicaStatus>,
    /// Servers that other processes read from and this one does not know; writes wait for these by the timer.
    pub unknown_members: Vec<String>,
    /// Who would serve each kind of read now.
    pub reads: Vec<ReadStatus>,
}

/// One replica.
#[derive(Debug, Clone)]
pub struct ReplicaStatus {
    /// Its address in the configuration.
    pub endpoint: String,
    /// What it reports of itself; `None`: it has not answered yet, and is not known by its address either.
    pub server: Option<String>,
    /// `serving`, `draining` or `out` in the cluster; `None`: not registered, or the primary does not answer.
    pub state: Option<&'static str>,
    /// Whether no other server is in service. One that is merely out of reach stays then.
    pub is_last: bool,
    /// How many other processes find it fit.
    pub fit_elsewhere: usize,
    /// What this process finds of it: `fit`, or what is wrong.
    pub fitness: &'static str,
    /// For how long it has been late, at least: before this process began nothing is known.
    pub lag: Option<Duration>,
    /// By how many bytes of the log, or beats of the beacon.
    pub distance: Option<u64>,
    /// Why no read is sent to it now, if none is.
    pub resting: Option<PrimaryReason>,
}

/// Who would serve a kind of read.
#[derive(Debug, Clone)]
pub struct ReadStatus {
    /// Which kind.
    pub need: &'static str,
    /// The replica's address; `None`: the primary.
    pub replica: Option<String>,
    /// Why the primary.
    pub reason: Option<PrimaryReason>,
}

/// What came of connecting to a replica of the configuration.
#[derive(Debug, Clone)]
pub struct ReplicaContact {
    /// Its address in the configuration.
    pub endpoint: String,
    /// What the server that answered reports of itself; one name for two addresses is one server.
    pub server: Result<String, crate::Error>,
}

impl Router {
    /// Connects to every replica, side by side, each for no longer than a dial may take.
    ///
    /// Ask the primary for something first: only then is a replica of another cluster known as such. Cancel safe.
    pub async fn reach_replicas(&self) -> Vec<ReplicaContact> {
        let contacts = self.servers.replicas.iter().map(|replica| replica.reach());
        futures::future::join_all(contacts).await
    }

    /// What is known now. Asks the replicas how far they are and the primary who serves, each within its bound, so that
    /// the answer does not depend on whether somebody has read lately.
    ///
    /// Cancel safe: what was asked is answered for nobody, and the connection goes back.
    pub async fn status(&self) -> Status {
        let servers = &self.servers;
        servers.poller.read_arrived();
        let deadline = tokio::time::Instant::now() + servers.floors.probe_timeout;
        let began = servers.knowledge.now();
        if !servers.replicas.is_empty() {
            servers.poller.floor_after(began, deadline).await;
            servers.look(servers.knowledge.silence()).await;
        }
        servers.status(servers.membership().await.ok())
    }
}

impl Replica {
    /// Borrows a connection and gives it back. Cancel safe: whoever goes away leaves the queue; the dial goes on for the next.
    async fn reach(&self) -> ReplicaContact {
        let deadline = tokio::time::Instant::now() + self.pool.shared.policy.dial.timeout;
        let server = loop {
            match self.pool.acquire(Share::Lists).await {
                Ok(lease) => {
                    self.guard.sight.meet(lease.peer());
                    break Ok(lease.peer().server.to_string());
                }
                // Still under way: nobody knows yet.
                Err(crate::Error::Unavailable {
                    source: DialError::Slow { .. },
                    ..
                }) if tokio::time::Instant::now() < deadline => {}
                Err(error) => break Err(error),
            }
        };
        ReplicaContact {
            endpoint: self.name.clone(),
            server,
        }
    }
}

/// What the primary says of the servers.
#[derive(Debug, Default)]
struct Membership {
    members: Vec<Member>,
    votes: Vec<Vote>,
}

impl Membership {
    /// The row of a replica; of one that has not answered, by the address in its row.
    fn of(&self, server: Option<&ServerId>, endpoint: &str) -> Option<&Member> {
        let address = |member: &Member| {
            let address = member.server.as_str().rsplit_once('/');
            address.is_some_and(|(address, _)| address == endpoint)
        };
        self.members.iter().find(|member| {
            server.map_or_else(|| address(member), |server| member.server == *server)
        })
    }
}

impl Servers {
    /// Cancel safe as [`crate::Router::read_primary`].
    async fn membership(&self) -> Result<Membership, crate::Error> {
        let lease = self.primary.pool.acquire(Share::Control).await?;
        let members = lease.query(&MEMBERS, &[]).await?;
        let votes = lease.query(&VOTES, &[]).await?;
        Ok(Membership {
            members: protocol::members(&members)?,
            votes: protocol::votes(&votes)?,
        })
    }

    fn status(&self, membership: Option<Membership>) -> Status {
        let now = self.knowledge.now();
        let members_known = membership.is_some();
        let membership = membership.unwrap_or_default();
        let replicas: Vec<ReplicaStatus> = self
            .replicas
            .iter()
            .map(|replica| self.replica_status(replica, &membership))
            .collect();
        let unknown_members = membership
            .members
            .iter()
            .filter(|member| member.service != Service::Out)
            .map(|member| member.server.to_string())
            .filter(|server| {
                let known = |replica: &ReplicaStatus| replica.server.as_ref() == Some(server);
                !replicas.iter().any(known)
            })
            .collect();
        Status {
            mode: self.floors.mode,
            silence: self.knowledge.silence(),
            members_known,
            epoch: self.knowledge.epoch().map(|epoch| epoch.0.to_string()),
            floor_age: self
                .knowledge
                .newest_floor()
                .map(|floor| now.since(floor.sent_at)),
            primary_failing: self.knowledge.primary_failing(),
            stale_for: self.stale_for(),
            replicas,
            unknown_members,
            reads: [Need::Fresh, Need::Any, Need::List, Need::ListOfNew]
                .map(|need| self.read_status(need))
                .to_vec(),
        }
    }

    fn replica_status(&self, replica: &Replica, membership: &Membership) -> ReplicaStatus {
        let sight = &replica.guard.sight;
        let lag = sight
            .observation()
            .and_then(|seen| self.knowledge.lag(&seen));
        let server = sight.server();
        let member = membership.of(server.as_ref(), &replica.name);
        let is_other = |other: &&Member| Some(&other.server) != member.map(|own| &own.server);
        let mut others = membership.members.iter().filter(is_other);
        let server = server.or(member.map(|member| member.server.clone()));
        let resting = sight.resting();
        ReplicaStatus {
            endpoint: replica.name.clone(),
            server: server.map(|server| server.to_string()),
            state: member.map(|member| match member.service {
                Service::Serving => "serving",
                Service::Draining { .. } => "draining",
                Service::Out => "out",
            }),
            is_last: !others.any(|other| other.service == Service::Serving),
            fit_elsewhere: member.map_or(0, |member| {
                found_fit(&membership.votes, &member.server, self.process)
            }),
            fitness: if resting == Some(PrimaryReason::SeveralServers) {
                PrimaryReason::SeveralServers.as_str()
            } else {
                sight.fitness(self.knowledge.silence()).as_str()
            },
            lag: lag.map(|lag| lag.time),
            distance: lag.map(|lag| lag.distance),
            resting,
        }
    }

    fn read_status(&self, need: Need) -> ReadStatus {
        let picked = self.pick(need);
        ReadStatus {
            need: need.as_str(),
            replica: picked.ok().map(|replica| replica.name.clone()),
            reason: picked.err(),
        }
    }
}
