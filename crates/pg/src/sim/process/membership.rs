//! Who is in service: the round of `router::membership`, and an operator who moves servers in and out at any time by
//! the same steps. The promise must hold whoever is drained, and when.

use std::rc::Rc;

use uuid::Uuid;

use super::{
    Process,
    connection::{Connection, Line},
};
use crate::{
    freshness::{
        floor::ServerId,
        membership::{Fitness, Member, Move, Service, Vote, moves},
    },
    sim::{
        cluster::{Lost, Snapshot},
        engine::{Instant, MS},
        mutants::Mutant,
        settings::Weather,
    },
};

/// A drain that this process has begun or taken over.
struct Drain {
    server: ServerId,
    token: Uuid,
    /// Ends at once, against the rule.
    at_once: bool,
}

impl Process {
    pub(super) async fn looks_after_members(self: Rc<Self>) {
        let line = Line::default();
        loop {
            self.pause(1_600 * MS, 2_400 * MS).await;
            if self.round(&line).await.is_err() {
                line.close();
            }
        }
    }

    /// `Servers::vote_and_move`.
    async fn round(&self, line: &Line) -> Result<(), Lost> {
        for place in 0..self.replicas.len() {
            self.probe(place).await;
        }
        let silence = self.knowledge.silence();
        let seen: Vec<(ServerId, Fitness)> = self
            .replicas
            .iter()
            .filter_map(|replica| Some((replica.sight.server()?, replica.sight.fitness(silence))))
            .collect();
        let connection = self.to_primary(line).await?;
        let keeps_floors = self.world.settings.mode.keeps_floors();
        let (mut members, mut votes) = self
            .on_primary(&connection, |state, now| {
                state.vote(self.name, &seen, now);
                if keeps_floors {
                    let fit = seen.iter().filter(|(_, fitness)| *fitness == Fitness::Fit);
                    let fit: Vec<ServerId> = fit.map(|(server, _)| server.clone()).collect();
                    state.register(&fit, now);
                }
                (state.members(now), state.votes(now))
            })
            .await?;
        self.bend_votes(&mut members, &mut votes);
        let planned = moves(&members, &votes, silence);
        if planned.is_empty() {
            return Ok(());
        }
        let drains = self.carry_out(&connection, &planned).await?;
        self.finish(&connection, drains).await
    }

    /// Breaks rules about who is heard, and of whom.
    fn bend_votes(&self, members: &mut Vec<Member>, votes: &mut Vec<Vote>) {
        if self.is(Mutant::DrainByMinority) {
            // Its own vote is enough.
            votes.retain(|vote| vote.process == self.name);
        } else if self.is(Mutant::WrongServersStay) {
            for vote in votes {
                if matches!(vote.fitness, Fitness::NotInRecovery | Fitness::OtherEpoch) {
                    vote.fitness = Fitness::Fit;
                }
            }
        } else if self.is(Mutant::UnknownServersStay) {
            members.retain(|member| votes.iter().any(|vote| vote.server == member.server));
        }
    }

    /// Somebody who moves servers as he likes.
    pub(super) async fn operates(self: Rc<Self>) {
        let weather = self.world.settings.weather;
        if !matches!(
            weather,
            Weather::Membership | Weather::Upheaval | Weather::Everything
        ) {
            return;
        }
        let line = Line::default();
        loop {
            match weather {
                Weather::Membership | Weather::Upheaval => self.pause(50 * MS, 700 * MS).await,
                _ => self.pause(300 * MS, 4_000 * MS).await,
            }
            if self.operate(&line).await.is_err() {
                line.close();
            }
        }
    }

    async fn operate(&self, line: &Line) -> Result<(), Lost> {
        let connection = self.to_primary(line).await?;
        let members = self
            .on_primary(&connection, |state, now| state.members(now))
            .await?;
        if members.is_empty() {
            return Ok(());
        }
        let place = self.world.engine.place(members.len());
        let Member {
            server, service, ..
        } = members[place].clone();
        let planned = match service {
            Service::Serving => Move::Drain {
                server,
                even_the_last: self.world.engine.chance(50),
            },
            Service::Draining { token } => Move::Adopt { server, token },
            Service::Out => Move::Return { server },
        };
        let drains = self.carry_out(&connection, &[planned]).await?;
        self.finish(&connection, drains).await
    }

    async fn carry_out(
        &self,
        connection: &Connection,
        planned: &[Move],
    ) -> Result<Vec<Drain>, Lost> {
        let tokens: Vec<Uuid> = planned.iter().map(|_| self.world.engine.token()).collect();
        let skipped = self.is(Mutant::DrainSkipped);
        let drains = self.on_primary(connection, |state, now| {
            let mut drains = Vec::new();
            for (planned, token) in planned.iter().zip(&tokens) {
                let (server, moved) = match planned {
                    Move::Drain {
                        server,
                        even_the_last,
                    } => {
                        let moved = state.drain(server, *token, *even_the_last, now);
                        if moved && skipped {
                            state.out(server, Some(*token), now);
                        }
                        (server, moved)
                    }
                    Move::Adopt { server, token: had } => {
                        (server, state.adopt(server, *had, *token, now))
                    }
                    Move::Return { server } => {
                        state.bring_back(server, now);
                        continue;
                    }
                };
                if moved {
                    drains.push(Drain {
                        server: server.clone(),
                        token: *token,
                        at_once: matches!(planned, Move::Adopt { .. }),
                    });
                }
            }
            drains
        });
        let drains = drains.await?;
        self.world.history.borrow_mut().tally.moves += planned.len() as u64;
        Ok(drains)
    }

    async fn finish(&self, connection: &Connection, drains: Vec<Drain>) -> Result<(), Lost> {
        if drains.is_empty() {
            return Ok(());
        }
        let unwaited = self.is(Mutant::AdoptedWithoutWait);
        if !(unwaited && drains.iter().all(|drain| drain.at_once)) {
            self.sleep(self.knowledge.silence()).await;
        }
        let any_token = self.is(Mutant::OutWithoutToken);
        let ended = self.on_primary(connection, |state, now| {
            let mut ended = 0;
            for drain in &drains {
                let token = (!any_token).then_some(drain.token);
                ended += u64::from(state.out(&drain.server, token, now));
            }
            ended
        });
        let ended = ended.await?;
        self.world.history.borrow_mut().tally.outs += ended;
        Ok(())
    }

    /// A transaction of the control share, whose answer the standing vouches for.
    async fn on_primary<R>(
        &self,
        connection: &Connection,
        change: impl FnOnce(&mut Snapshot, Instant) -> R,
    ) -> Result<R, Lost> {
        let world = &self.world;
        world.travel().await;
        let server = world.primary_of(connection.session)?;
        let standing = world.cluster.borrow_mut().standing(server);
        if !standing.is_primary() && !self.is(Mutant::EpochInTheHookAlone) {
            return Err(Lost);
        }
        let now = world.now();
        let result = world.commit(server, |state| change(state, now)).await?;
        world.travel().await;
        self.step().await;
        Ok(result)
    }
}
