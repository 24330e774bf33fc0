//! The checks: the protocol holds in each configuration, and no rule of it can be left out.

use std::sync::atomic::Ordering;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{
    actions::Action,
    config::Config,
    freshness::barrier::{Acknowledge, Verdict},
    log::Log,
    mutant::{Group, Mutant},
    rules::Protocol,
    state::{Clocks, Connection, Reader, Replica, Stage, State, Used, Writer},
};

const FRESH: &str = "a read returns what was acknowledged before it began, or something newer";
const SERVES: &str = "a replica serves a read";
const SERVES_AFTER: &str = "a replica of the new primary serves a read";
const BY_OBSERVATION: &str = "a write is acknowledged by observation";
const BY_TIMER: &str = "a write is acknowledged by the timer";

/// What the clocks show at first: later than any connection or knowledge that was there before.
const START: u8 = 4;

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let connection = if self.config.connected {
            Connection::Open { opened_at: 0 }
        } else {
            Connection::None
        };
        vec![State {
            logs: [Log::default(); 2],
            replicas: [Replica::default(); 2],
            failed_over: false,
            writers: [Writer::NEW; 2],
            drains: [None; 2],
            reader: Reader {
                connections: [connection; 2],
                poll: None,
                floors: [None; 2],
                batch: None,
                cache: None,
            },
            clocks: Clocks {
                writers: START,
                reader: START,
                steady: 2,
            },
            acknowledged: 0,
            stale: None,
            used: Used::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.try_all(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.next(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![Property::always(FRESH, |protocol: &Self, state: &State| {
            state.stale.is_none() || protocol.is_caught.swap(true, Ordering::Relaxed)
        })];
        if self.mutant.is_some() {
            return properties;
        }
        properties.push(Property::sometimes(SERVES, Self::is_about_to_serve));
        // Where no replica is registered there is nothing to wait for.
        if !self.config.read_index {
            properties.push(Property::sometimes(BY_TIMER, |protocol, state| {
                protocol.is_about_to_acknowledge(state, false)
            }));
        }
        if self.config.limits.failover {
            properties.push(Property::sometimes(
                SERVES_AFTER,
                |protocol: &Self, state: &State| {
                    state.replicas[1].history == 1 && protocol.is_about_to_serve(state)
                },
            ));
        }
        if self.config.acknowledge == Acknowledge::Observe {
            properties.push(Property::sometimes(BY_OBSERVATION, |protocol, state| {
                protocol.is_about_to_acknowledge(state, true)
            }));
        }
        properties
    }
}

impl Protocol {
    fn is_about_to_serve(&self, state: &State) -> bool {
        let is_served = |action| {
            self.next(state, action).is_some_and(|next| {
                let after = next.reader.batch.map(|batch| batch.stage);
                matches!(after, None | Some(Stage::Accepted { .. }))
            })
        };
        match state.reader.batch.map(|batch| batch.stage) {
            Some(Stage::Proven { .. }) => is_served(Action::Query),
            Some(Stage::Closed) if self.config.pooled_replicas => is_served(Action::Claim(0, 0)),
            _ => false,
        }
    }

    fn is_about_to_acknowledge(&self, state: &State, by_observation: bool) -> bool {
        state.writers.iter().any(|writer| {
            let verdict = self.verdict(state, writer);
            verdict.is_some_and(|(verdict, is_shown)| {
                verdict == Verdict::Acknowledged && is_shown == by_observation
            })
        })
    }
}

/// Goes through everything that can happen in the group's configuration.
fn check(group: Group, mutant: Option<Mutant>) -> impl Checker<Protocol> {
    Protocol::new(Config::of(group), mutant)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join()
}

/// The protocol holds in the configuration of `group`, where each broken rule of the group is caught.
fn holds_and_each_rule_is_needed(group: Group) {
    let whole = check(group, None);
    if let Some(path) = whole.discovery(FRESH) {
        panic!("{group:?}: the protocol itself fails: {path}");
    }
    for property in Protocol::new(Config::of(group), None).properties() {
        let is_seen = property.name == FRESH || whole.discovery(property.name).is_some();
        assert!(is_seen, "{group:?}: never seen: {}", property.name);
    }
    eprintln!(
        "{group:?}: holds in all of {} states",
        whole.unique_state_count()
    );

    let mut missed = Vec::new();
    for mutant in Mutant::ALL.iter().filter(|mutant| mutant.group() == group) {
        let broken = check(group, Some(*mutant));
        let Some(path) = broken.discovery(FRESH) else {
            missed.push(*mutant);
            continue;
        };
        let actions = path.into_actions();
        eprintln!(
            "{group:?}: {mutant:?} is caught in {} steps, after {} states: {actions:?}",
            actions.len(),
            broken.unique_state_count(),
        );
    }
    assert!(missed.is_empty(), "{group:?}: not caught: {missed:?}");
}

/// One test for each configuration, so that they run side by side.
macro_rules! checks {
    ($($name:ident: $group:ident;)*) => {
        $(#[test]
        fn $name() {
            holds_and_each_rule_is_needed(Group::$group);
        })*

        #[test]
        fn every_rule_is_in_a_group_that_is_checked() {
            let checked = [$(Group::$group),*];
            for mutant in Mutant::ALL {
                assert!(checked.contains(&mutant.group()), "{mutant:?}");
            }
        }
    };
}

checks! {
    lease_age: LeaseAge;
    opened_at: OpenedAt;
    failover: Failover;
    pooled_primary: PooledPrimary;
    lost_row: LostRow;
    positions: Positions;
    members: Members;
    drains: Drains;
    tokens: Tokens;
    barrier: Barrier;
    batches: Batches;
    read_any: ReadAny;
    pooled_beacon: PooledBeacon;
    beacon_failover: BeaconFailover;
    beacon_restart: BeaconRestart;
    read_index: ReadIndex;
}
