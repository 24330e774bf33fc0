//! The task that tells the other processes what this one sees of the replicas, and moves members where a majority
//! agrees. It works while this process reads, and holds a connection for a few statements every other second.

use std::{sync::Weak, time::Duration};

use rand::{Rng, RngExt, rngs::StdRng};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    dashboards::EventLabels,
    error::Error,
    freshness::{
        floor::ServerId,
        membership::{Fitness, Member, Move, Vote, moves},
    },
    metrics::{MemberEvent, MemberLabels, Share},
    policy::FloorPolicy,
    protocol::{
        self, ADOPT, DRAIN, FORGET_VOTES, LOCK_MEMBERS, MEMBERS, OUT, REGISTER, RETURN, VOTE,
        VOTES, silence,
    },
    router::Servers,
    statement::Read,
    tx::Tx,
};

/// Tells, and moves, until `shutdown`. Dropped in the middle of a round, it leaves whole transactions, and perhaps a drain
/// that another process adopts.
pub(crate) async fn run(
    servers: Weak<Servers>,
    policy: FloorPolicy,
    mut rng: StdRng,
    shutdown: CancellationToken,
) {
    loop {
        // Not in step with the other processes.
        let pause = policy.vote_every.mul_f64(rng.random_range(0.8..=1.2));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause) => {}
        }
        let Some(servers) = servers.upgrade() else {
            return;
        };
        if !servers.poller.has_read_within(policy.vote_for) {
            continue;
        }
        let round = async {
            if let Err(error) = servers.vote_and_move(&mut rng).await {
                tracing::debug!(%error, "the replicas' membership could not be looked after");
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = round => {}
        }
    }
}

/// A drain that this process has begun or taken over.
struct Drain {
    server: ServerId,
    token: Uuid,
}

impl Servers {
    /// One round. Cancel safe: each transaction is whole or not there, and a drain without its end is adopted.
    async fn vote_and_move(&self, rng: &mut StdRng) -> Result<(), Error> {
        let silence = self.knowledge.silence();
        let seen = self.look(silence).await;
        let (members, votes) = self.tell(&seen).await?;
        let planned = moves(&members, &votes, silence);
        if planned.is_empty() {
            return Ok(());
        }
        let Some((drains, silence)) = self.carry_out(&planned, rng).await? else {
            return Ok(());
        };
        if drains.is_empty() {
            return Ok(());
        }
        // By this process's own clock, from the COMMIT that began them. No connection is held meanwhile.
        sleep(silence).await;
        self.finish(&drains).await
    }

    /// Has each replica asked, over a new connection where it is not known yet to how many servers the address leads, and
    /// says what came of it. Cancel safe: it may be asked for nobody.
    pub(crate) async fn look(&self, silence: Duration) -> Vec<(ServerId, Fitness)> {
        let asked = self.replicas.iter().map(|replica| async {
            let sight = &replica.guard.sight;
            if sight.is_doubtful() {
                replica.pool.shared.make_anew();
            }
            replica.probe(self.floors.probe_timeout).await;
            if sight.leads_to_several() || replica.guard.is_ambiguous() {
                // Of which of them would it be said?
                return None;
            }
            Some((sight.server()?, sight.fitness(silence)))
        });
        let found = futures::future::join_all(asked).await;
        found.into_iter().flatten().collect()
    }

    /// Writes what was found, registers what is new and fit, and reads what everybody found. Cancel safe: one
    /// transaction.
    async fn tell(&self, seen: &[(ServerId, Fitness)]) -> Result<(Vec<Member>, Vec<Vote>), Error> {
        let tx = self.begin_control().await?;
        let names: Vec<&str> = seen.iter().map(|(server, _)| server.as_str()).collect();
        let words: Vec<&str> = seen.iter().map(|(_, fitness)| fitness.as_str()).collect();
        tx.execute(&VOTE, &[&self.process, &names, &words]).await?;
        // Where every batch asks for a floor of its own nobody needs to wait for a replica.
        if self.mode.keeps_floors() {
            let fit: Vec<&str> = seen
                .iter()
                .filter(|(_, fitness)| *fitness == Fitness::Fit)
                .map(|(server, _)| server.as_str())
                .collect();
            let registered = tx.execute(&REGISTER, &[&fit]).await?;
            if registered > 0 {
                self.count_members(MemberEvent::Registered, registered);
            }
        }
        tx.execute(&FORGET_VOTES, &[]).await?;
        let members = tx.query(&MEMBERS, &[]).await?;
        let votes = tx.query(&VOTES, &[]).await?;
        drop(tx.commit().await?);
        Ok((protocol::members(&members)?, protocol::votes(&votes)?))
    }

    /// Makes the moves, one process at a time; returns the drains that this one must end, and how long it must wait:
    /// what was known of that before may have been raised. `None` while another process moves. Cancel safe: one
    /// transaction, and if it was committed somebody adopts its drains.
    async fn carry_out(
        &self,
        planned: &[Move],
        rng: &mut StdRng,
    ) -> Result<Option<(Vec<Drain>, Duration)>, Error> {
        let mut drains = Vec::new();
        let tx = self.begin_control().await?;
        // Two that drain at the same time must not both think that another one is left.
        let Some(row) = tx.query_opt(&LOCK_MEMBERS, &[]).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        let silence = silence(&row)?;
        for planned in planned {
            let fresh = random_token(rng);
            let (server, event, moved) = match planned {
                Move::Drain {
                    server,
                    even_the_last,
                } => {
                    let moved = tx
                        .execute(&DRAIN, &[&server.as_str(), &fresh, even_the_last])
                        .await?;
                    (server, MemberEvent::Draining, moved)
                }
                Move::Adopt { server, token } => {
                    let moved = tx
                        .execute(&ADOPT, &[&server.as_str(), token, &fresh])
                        .await?;
                    (server, MemberEvent::Adopted, moved)
                }
                Move::Return { server } => {
                    let moved = tx.execute(&RETURN, &[&server.as_str()]).await?;
                    (server, MemberEvent::Returned, moved)
                }
            };
            if moved == 0 {
                continue;
            }
            tracing::warn!(%server, event = event.as_str(), "replica {server}: {event}");
            self.count_members(event, moved);
            if !matches!(planned, Move::Return { .. }) {
                drains.push(Drain {
                    server: server.clone(),
                    token: fresh,
                });
            }
        }
        drop(tx.commit().await?);
        Ok(Some((drains, silence)))
    }

    /// Ends the drains whose wait is over; one that somebody has adopted meanwhile is theirs. Cancel
    /// safe: one transaction.
    async fn finish(&self, drains: &[Drain]) -> Result<(), Error> {
        let tx = self.begin_control().await?;
        for drain in drains {
            let ended = tx
                .execute(&OUT, &[&drain.server.as_str(), &drain.token])
                .await?;
            self.count_members(MemberEvent::Out, ended);
        }
        drop(tx.commit().await?);
        Ok(())
    }

    /// Cancel safe as [`crate::Router::begin`].
    async fn begin_control(&self) -> Result<Tx, Error> {
        self.begin(Share::Control, &self.begin_control).await
    }

    fn count_members(&self, event: MemberEvent, count: u64) {
        let labels = MemberLabels { event };
        self.metrics.members.get_or_create(&labels).inc_by(count);
        if let Some(labels) = EventLabels::of(event) {
            let events = &self.metrics.dashboards.pool_events;
            events.get_or_create(&labels).inc_by(count);
        }
    }
}

fn random_token(rng: &mut impl Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}
