//! A simulated cluster, and processes of ours that read and write it, in virtual time and from one seed.
//!
//! What a process knows and decides is the router's own code: `Knowledge`, `Sight`, `AfterCommit`, `moves`, and `Now`
//! with what is made of it. What it sends and waits for is written here once more, step by step as the router does it,
//! because there it is woven into connections. Everything else is made up: servers, logs, replay, networks, clocks.
//!
//! | module | holds |
//! | --- | --- |
//! | `engine` | time, chance, tasks, clocks that drift |
//! | `settings` | what a seed decides beforehand |
//! | `cluster`, `tables` | the servers, and what a statement on them says |
//! | `world` | all of it, and how a commit comes about |
//! | `chaos` | what goes wrong |
//! | `process` | a process: reads, polls, writes, members |
//! | `plights` | what membership is for: trouble that lasts |
//! | `checker` | whether anybody was told something old |
//! | `mutants` | the rules, broken one at a time |
//! | `tests` | many seeds |

mod chaos;
mod checker;
mod cluster;
mod engine;
mod mutants;
mod plights;
mod process;
mod settings;
mod tables;
mod tests;
mod world;

use std::rc::Rc;

use self::{
    checker::{Tally, Violation},
    cluster::PROCESSES,
    engine::Engine,
    mutants::Mutant,
    process::Process,
    settings::Settings,
    world::World,
};

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    settings: Settings,
    tally: Tally,
    violation: Option<Violation>,
}

/// Says which run has panicked: the panic itself knows of no seed.
struct Replay {
    seed: u64,
    mutant: Option<Mutant>,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let seed = self.seed;
        if let Some(mutant) = self.mutant {
            eprintln!("a panic with {mutant:?} broken, in the run of seed {seed}");
        } else {
            eprintln!("a panic; replay with PORTOLAN_SEED={seed} cargo test -p portolan-pg sim");
        }
    }
}

/// One run, decided by `seed` alone.
fn run(seed: u64, mutant: Option<Mutant>) -> Outcome {
    let _replay = Replay { seed, mutant };
    let mut engine = Engine::new(seed);
    let settings = Settings::draw(&engine, seed, mutant);
    engine.set_tick(settings.tick);
    let engine = Rc::new(engine);
    let world = World::new(Rc::clone(&engine), settings.clone());
    let processes: Vec<Rc<Process>> = (0..PROCESSES)
        .map(|number| Process::start(&world, number))
        .collect();
    engine.spawn(chaos::strikes(Rc::clone(&world), processes));
    let steps = engine.run(settings.duration);
    engine.clear();
    let mut history = world.history.borrow_mut();
    history.tally.steps = steps;
    Outcome {
        settings,
        tally: history.tally,
        violation: history.check(),
    }
}
