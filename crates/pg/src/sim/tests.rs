//! Many seeds, for the protocol as it is; then for each of its rules broken.

use std::ops::Range;

use super::{
    Outcome, Tally,
    mutants::Mutant,
    plights::{Course, Plight, bear},
    run,
    settings::mode_of,
};
use crate::router::FreshnessMode;

/// Seeds in `make test`: a third for each mode. `make soak` takes a hundred times as many.
const SEEDS: u64 = 1_002;

/// What must have happened in every hundred runs of a mode, else they prove little. About half of what is usual.
struct Floors {
    reads_of_replicas: u64,
    behind_but_right: u64,
    observed: u64,
    timed: u64,
    moves: u64,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var_os(variable)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{variable} is not a number")))
}

/// The seeds to run: the one that is to be replayed, or the first so many.
fn seeds() -> Range<u64> {
    match number("PORTOLAN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PORTOLAN_SEEDS").unwrap_or(SEEDS),
    }
}

fn explore(mode: FreshnessMode, floors: &Floors) {
    let mut all = Tally::default();
    let mut runs = 0;
    for seed in seeds().filter(|seed| mode_of(*seed) == mode) {
        let Outcome {
            settings,
            tally,
            violation,
        } = run(seed, None);
        if let Some(violation) = violation {
            panic!(
                "an old answer: {violation:?}\n{settings:?}\n\
                 replay with PORTOLAN_SEED={seed} cargo test -p portolan-pg sim"
            );
        }
        all.add(&tally);
        runs += 1;
    }
    eprintln!("{mode}, {runs} runs: {all:?}");
    if runs < 100 {
        return;
    }
    let enough = |what: &str, found: u64, floor: u64| {
        assert!(
            found * 100 >= floor * runs,
            "{mode}: {found} {what} in {runs} runs"
        );
    };
    enough(
        "reads of replicas",
        all.reads_of_replicas,
        floors.reads_of_replicas,
    );
    enough(
        "old but right answers",
        all.behind_but_right,
        floors.behind_but_right,
    );
    enough("writes seen everywhere", all.observed, floors.observed);
    enough("writes that waited", all.timed, floors.timed);
    enough("moves", all.moves, floors.moves);
    enough("reads of the primary", all.reads_of_primary, 5_000);
    enough("repeated writes", all.confirmed, 200);
    enough("writes that may be lost", all.perhaps_lost, 20);
    enough("failovers", all.failovers, 40);
    enough("restarts", all.restarts, 30);
    enough("stopped processes", all.pauses, 100);
    enough("refused answers", all.refused, 100);
}

#[test]
fn with_positions_of_the_log_no_read_misses_what_was_acknowledged() {
    let floors = Floors {
        reads_of_replicas: 15_000,
        behind_but_right: 2_000,
        observed: 1_000,
        timed: 300,
        moves: 100,
    };
    explore(FreshnessMode::Wal, &floors);
}

#[test]
fn with_a_beacon_no_read_misses_what_was_acknowledged() {
    let floors = Floors {
        reads_of_replicas: 15_000,
        behind_but_right: 2_000,
        observed: 800,
        timed: 300,
        moves: 100,
    };
    explore(FreshnessMode::Beacon, &floors);
}

#[test]
fn with_a_poll_for_each_batch_no_read_misses_what_was_acknowledged() {
    let floors = Floors {
        reads_of_replicas: 12_000,
        behind_but_right: 1_500,
        observed: 2_500,
        timed: 100,
        moves: 0,
    };
    explore(FreshnessMode::ReadIndex, &floors);
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..3 {
        let of = |outcome: Outcome| format!("{outcome:?}");
        assert_eq!(of(run(seed, None)), of(run(seed, None)));
    }
}

/// Runs in which a broken rule must show. The slowest needs a thousand, and that changes with whatever changes the order
/// of draws; those that are found soon cost nothing.
const RUNS_OF_MUTANT: usize = 3_000;

fn find(mutants: &[Mutant]) {
    for mutant in mutants {
        let mut seeds = (0..).filter(|seed| mutant.shows_in(mode_of(*seed)));
        let found = seeds
            .by_ref()
            .take(RUNS_OF_MUTANT)
            .position(|seed| run(seed, Some(*mutant)).violation.is_some());
        let found = found.unwrap_or_else(|| panic!("nobody notices {mutant:?}"));
        eprintln!("{mutant:?} shows in run {}", found + 1);
    }
}

#[test]
fn each_broken_rule_of_floors_and_reads_is_found() {
    find(&Mutant::UNSAFE[..Mutant::OF_READS]);
}

#[test]
fn each_broken_rule_of_writes_members_and_beacons_is_found() {
    find(&Mutant::UNSAFE[Mutant::OF_READS..]);
}

/// Whether pushes hardly ever wait for the timer.
fn pushes_are_fast(course: &Course) -> bool {
    course.after.observed > 20 * course.after.timed.max(1)
}

fn replicas_serve(course: &Course) -> bool {
    course.serving == 2 && course.after.reads_of_replicas > 2 * course.after.reads_of_primary
}

#[test]
fn a_process_alone_takes_no_replica_from_the_others() {
    let course = bear(1, Plight::CutOff, None);
    assert_eq!(course.before.moves + course.after.moves, 0);
    assert!(
        course.after.reads_of_replicas > course.after.reads_of_primary,
        "{course:?}"
    );
    let course = bear(1, Plight::CutOff, Some(Mutant::DrainByMinority));
    assert!(course.before.outs > 0, "{course:?}");
}

#[test]
fn after_a_failover_pushes_do_not_wait_for_replicas_of_the_old_history_and_they_come_back() {
    for plight in [Plight::Diverged, Plight::FollowsLate] {
        let course = bear(1, plight, None);
        assert!(pushes_are_fast(&course), "{plight:?} {course:?}");
        assert!(replicas_serve(&course), "{plight:?} {course:?}");
    }
    let course = bear(1, Plight::Diverged, Some(Mutant::WrongServersStay));
    assert!(!pushes_are_fast(&course), "{course:?}");
}

#[test]
fn a_member_that_nobody_knows_is_given_up() {
    let course = bear(1, Plight::Unknown, None);
    assert!(pushes_are_fast(&course), "{course:?}");
    assert!(replicas_serve(&course), "{course:?}");
    let course = bear(1, Plight::Unknown, Some(Mutant::UnknownServersStay));
    assert!(!pushes_are_fast(&course), "{course:?}");
}
