//! Plights that last: what writes cost and who serves reads when a rule about membership is broken, or kept.
//!
//! Nothing is wrong with the answers here. A replica that should leave service and stays makes every push wait for the
//! timer; one that should stay and leaves is a replica less.

use std::rc::Rc;

use super::{
    checker::Tally,
    cluster::PROCESSES,
    engine::{Engine, Instant, MS},
    mutants::Mutant,
    process::Process,
    settings::Settings,
    world::World,
};

const SECOND: Instant = 1_000 * MS;
/// By then every plight is over, if it is dealt with: 30 s until a replica that nobody knows is given up, 10 s until
/// one that has come back is trusted, and rounds of 2 s.
const SETTLED: Instant = 45 * SECOND;
const END: Instant = 55 * SECOND;

/// Something that is wrong, and stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plight {
    /// One process of three reaches no replica.
    CutOff,
    /// A failover has left a standby behind that follows the old history, and is made anew late.
    Diverged,
    /// There is a member that nobody can reach, because nobody has it in his configuration.
    Unknown,
}

/// What happened until things should have settled, and after.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) before: Tally,
    pub(super) after: Tally,
}

/// A run under one plight and in no other trouble.
pub(super) fn bear(seed: u64, plight: Plight, mutant: Option<Mutant>) -> Course {
    let engine = Rc::new(Engine::new(seed));
    let settings = Settings::calm(mutant);
    let world = World::new(Rc::clone(&engine), settings);
    let processes: Vec<Rc<Process>> = (0..PROCESSES)
        .map(|number| Process::start(&world, number))
        .collect();
    match plight {
        Plight::CutOff => world.cut_off.set(Some(0)),
        Plight::Diverged => engine.spawn(diverge(Rc::clone(&world))),
        Plight::Unknown => world.cluster.borrow_mut().add_unknown_member(),
    }
    engine.run(SETTLED);
    let before = std::mem::take(&mut world.history.borrow_mut().tally);
    engine.run(END);
    drop(processes);
    engine.clear();
    let mut history = world.history.borrow_mut();
    assert_eq!(history.check(), None);
    Course {
        before,
        after: std::mem::take(&mut history.tally),
    }
}

/// The standby that takes over has received less than the other one.
async fn diverge(world: Rc<World>) {
    let (old, heir, other) = (0, 1, 2);
    world.engine.sleep(SECOND).await;
    world.cluster.borrow_mut().servers[heir].deaf_until = 3 * SECOND;
    world.engine.sleep(SECOND).await;
    let fork = {
        let mut cluster = world.cluster.borrow_mut();
        cluster.fence();
        let last = cluster.last_version;
        for (key, kept) in cluster.promote(heir).into_iter().enumerate() {
            world.history.borrow_mut().lost(key, kept + 1, last);
        }
        cluster.end(heir)
    };
    world.engine.sleep(10 * SECOND).await;
    for place in [old, other] {
        world.cluster.borrow_mut().rewind(place, fork);
    }
}
