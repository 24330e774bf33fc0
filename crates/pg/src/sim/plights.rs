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

/// The primary at the beginning, the next one, and the standby.
const OLD: usize = 0;
const HEIR: usize = 1;
const OTHER: usize = 2;

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
    /// A failover has left a standby behind that follows the new primary late, and never restarts.
    FollowsLate,
    /// There is a member that nobody can reach, because nobody has it in his configuration.
    Unknown,
}

/// What happened until things should have settled, and after.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) before: Tally,
    pub(super) after: Tally,
    /// How many servers serve in the end.
    pub(super) serving: usize,
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
        Plight::Diverged => engine.spawn(fail_over(Rc::clone(&world), HEIR)),
        Plight::FollowsLate => engine.spawn(fail_over(Rc::clone(&world), OTHER)),
        Plight::Unknown => world.cluster.borrow_mut().add_unknown_member(),
    }
    engine.run(SETTLED);
    let before = std::mem::take(&mut world.history.borrow_mut().tally);
    engine.run(END);
    drop(processes);
    let serving = {
        let mut cluster = world.cluster.borrow_mut();
        let primary = cluster.primary().expect("there is a primary in the end");
        cluster.snapshot(primary).in_service().0.len()
    };
    engine.clear();
    let mut history = world.history.borrow_mut();
    assert_eq!(history.check(), None);
    Course {
        before,
        serving,
        after: std::mem::take(&mut history.tally),
    }
}

/// A failover; whoever is `deaf` before it has received less than the other standby. Ten seconds later both others
/// follow the new primary.
async fn fail_over(world: Rc<World>, deaf: usize) {
    world.engine.sleep(SECOND).await;
    world.cluster.borrow_mut().servers[deaf].deaf_until = 3 * SECOND;
    world.engine.sleep(SECOND).await;
    let fork = {
        let mut cluster = world.cluster.borrow_mut();
        cluster.fence();
        let last = cluster.last_version;
        for (key, kept) in cluster.promote(HEIR).into_iter().enumerate() {
            world.history.borrow_mut().lost(key, kept + 1, last);
        }
        cluster.end(HEIR)
    };
    world.engine.sleep(10 * SECOND).await;
    let mut cluster = world.cluster.borrow_mut();
    // Without a restart, if it has not diverged.
    cluster.follow(OTHER);
    cluster.rewind(OTHER, fork);
    cluster.rewind(OLD, fork);
}
