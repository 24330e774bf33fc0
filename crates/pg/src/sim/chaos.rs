//! What goes wrong: lag, restarts, failovers, poolers that change servers, processes that are stopped.

use std::rc::Rc;

use super::{
    cluster::{KEYS, Role, SERVERS},
    engine::MS,
    process::Process,
    settings::{Pooled, Weather},
    world::World,
};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Lag,
    Restart,
    RestartPrimary,
    Failover,
    Stop,
    Swap,
}

/// Makes trouble until the run ends.
pub(super) async fn strikes(world: Rc<World>, processes: Vec<Rc<Process>>) {
    use Trouble::{Failover, Lag, Restart, RestartPrimary, Stop, Swap};
    let these: &[Trouble] = match world.settings.weather {
        Weather::Everything => &[
            Lag,
            Lag,
            Restart,
            RestartPrimary,
            Failover,
            Stop,
            Stop,
            Swap,
        ],
        Weather::Restarts => &[
            Lag,
            Lag,
            Lag,
            Restart,
            Restart,
            Restart,
            Restart,
            RestartPrimary,
        ],
        Weather::Crashes => &[Restart],
        Weather::Failovers => &[Lag, Lag, Lag, Lag, Lag, Failover],
        Weather::Upheaval => &[Lag, Lag, Lag, Failover],
        Weather::Membership => &[Lag, Lag, Lag, Stop],
        Weather::Pauses => &[Lag, Lag, Stop, Stop, Stop],
        Weather::Calm => &[Lag],
    };
    loop {
        let pause = world
            .engine
            .between(20 * MS, world.settings.between_troubles);
        world.engine.sleep(pause).await;
        for _ in 0..world.engine.between(0, 20) {
            // In a coarse tick much has happened already when trouble comes.
            world.engine.sleep(0).await;
        }
        match world.engine.one_of(these) {
            Lag => lag(&world),
            Restart => restart(&world),
            RestartPrimary => restart_primary(&world),
            Failover => fail_over(&world).await,
            Stop => stop(&world, &processes),
            Swap => swap(&world),
        }
        if world.settings.pooled == Pooled::Replicas && world.engine.chance(50) {
            swap(&world);
        }
    }
}

fn any_server(world: &World) -> usize {
    world
        .engine
        .one_of(&std::array::from_fn::<usize, SERVERS, _>(|place| place))
}

fn lag(world: &World) {
    let engine = &world.engine;
    let place = any_server(world);
    let until = world.now() + engine.between(100, 1_500) * MS;
    let server = &mut world.cluster.borrow_mut().servers[place];
    match engine.between(0, 5) {
        0 | 1 => server.pace = (0, MS / 2),
        2 => server.pace = (0, 10 * MS),
        3 => server.pace = (5 * MS, 80 * MS),
        4 => server.stopped_until = until,
        _ => server.deaf_until = until,
    }
}

fn restart(world: &World) {
    let place = any_server(world);
    let down = world.engine.one_of(&[0, 0, MS, 30 * MS, 300 * MS]);
    let mut cluster = world.cluster.borrow_mut();
    if cluster.servers[place].role == Role::Standby {
        cluster.restart(place, down);
        let stops = world.engine.one_of(&[0, 0, 100 * MS, 600 * MS]);
        cluster.servers[place].stopped_until = world.now() + stops;
        drop(cluster);
        world.count(|tally| &mut tally.restarts);
    }
}

fn restart_primary(world: &World) {
    let down = world.engine.one_of(&[0, 30 * MS, 300 * MS]);
    let mut cluster = world.cluster.borrow_mut();
    if let Some(primary) = cluster.primary() {
        cluster.restart(primary, down);
    }
}

/// The primary is lost; one standby takes over; the others follow it, or have diverged and are made anew.
async fn fail_over(world: &Rc<World>) {
    let engine = &world.engine;
    let Some(old) = world.cluster.borrow_mut().fence() else {
        return;
    };
    engine.sleep(world.settings.gap).await;
    let Some(heir) = world.cluster.borrow_mut().heir() else {
        return;
    };
    let (kept, last, fork) = {
        let mut cluster = world.cluster.borrow_mut();
        let kept = cluster.promote(heir);
        (kept, cluster.last_version, cluster.end(heir))
    };
    for (key, version) in kept.into_iter().enumerate().take(KEYS) {
        world.history.borrow_mut().lost(key, version + 1, last);
    }
    world.count(|tally| &mut tally.failovers);
    for place in 0..SERVERS {
        if place == heir {
            continue;
        }
        let world = Rc::clone(world);
        let follows_after = engine.one_of(&[0, 50 * MS, 700 * MS]);
        let anew_after = engine.between(500, 2_500) * MS;
        engine.spawn({
            let engine = Rc::clone(engine);
            async move {
                if place != old {
                    engine.sleep(follows_after).await;
                    world.cluster.borrow_mut().follow(place);
                }
                engine.sleep(anew_after).await;
                world.cluster.borrow_mut().rewind(place, fork);
            }
        });
    }
}

fn stop(world: &World, processes: &[Rc<Process>]) {
    let place = world.engine.place(processes.len());
    processes[place].stop(world.engine.between(0, 900) * MS);
    world.count(|tally| &mut tally.pauses);
}

fn swap(world: &World) {
    let (place, server) = (any_server(world), any_server(world));
    world.pooler.borrow_mut()[place] = server;
    world.count(|tally| &mut tally.swaps);
}
