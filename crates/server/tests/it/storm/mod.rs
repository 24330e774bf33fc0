//! Twenty processes under load whose database goes away and comes back.
//!
//! A steady rate of pulls by tag, with a token, from a private repository, and a few pushes, is spread over twenty real
//! processes. First their Postgres is stopped and started under them, then every line to it is cut. What must hold:
//! - nobody storms: at most two logins under way per process, at most twenty connections per process in ten seconds by
//!   the server's own log, never more sessions than the budget;
//! - nobody falls: no process ends, and every request that is refused hears 429 or 503 and when to come again;
//! - everybody is back: the former rate within two seconds of the first login that somebody else succeeds with;
//! - and when the last request is over, every session is closed within 75 seconds.
//!
//! | variable | is |
//! | --- | --- |
//! | `STORM_RATE` | requests per second, all processes together |
//! | `STORM_SECONDS` | how long each calm lasts: before, between and after the two outages |
//! | `STORM_RECOVERY_MS` | how soon the former rate must be back |
//! | `STORM_REST` | looks at the sessions this many seconds after the last request, instead of as soon as none is left |

mod fleet;
mod load;
mod witness;

use std::time::{Duration, Instant};

use portolan_testkit::{chaos_proxy::ChaosProxy, children::eventually, pg_cluster::Session};
use tokio::task::JoinSet;

use self::fleet::{Fleet, PROCESSES};
use self::load::{Load, Tally};
use self::witness::Witness;

/// Without `STORM_RATE`: what two slow cores carry with the debug binary, the clients and Postgres beside each other.
const RATE: u64 = 300;

/// Without `STORM_SECONDS`.
const CALM_SECONDS: u64 = 6;

/// How long the database is away: longer than all deadlines of requests, so that all of them run out.
const OUTAGE: Duration = Duration::from_secs(3);

/// Without `STORM_RECOVERY_MS`. The promise is two seconds, and `make soak` holds it to that; here the clients, the
/// processes and whatever else is tested share the cores just when everybody dials.
const RECOVERY_MS: u64 = 4_000;

/// The part of the former rate that counts as being back.
const BACK: f64 = 0.95;

/// How long the sessions of a process without requests may last.
const REST: Duration = Duration::from_secs(75);

/// Most logins under way from one process to one server.
const LOGINS_AT_ONCE: usize = 2;

/// Most connections of one process in ten seconds.
const CONNECTIONS_IN_TEN_SECONDS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_survives_the_loss_of_its_database_and_does_not_storm_it() {
    let rate = number("STORM_RATE").unwrap_or(RATE);
    let calm = Duration::from_secs(number("STORM_SECONDS").unwrap_or(CALM_SECONDS));
    let mut fleet = Fleet::start().await;
    let witness = Witness::start(fleet.cluster.primary().socket_url("postgres"));
    let load = Load::start(fleet.pullers().await, rate);

    calmly(calm / 2).await;
    let (sent, half) = (load.sent(), Instant::now());
    calmly(calm / 2).await;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let offered = (load.sent() - sent) as f64 / half.elapsed().as_secs_f64();
    let began = load.since_start();
    // What had piled up while the connections were made is not usual.
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let usual = began.rate_of_the_last(calm / 2).min(rate as f64);
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let least = rate as f64 * part_of_the_rate();
    assert!(
        usual >= least && offered >= least,
        "this machine offers {offered:.0} and serves {usual:.0} of {rate} per second: {began}"
    );

    let restart = load.mark();
    let database = fleet.cluster.primary();
    tokio::task::block_in_place(|| fleet.cluster.shutdown());
    calmly(OUTAGE).await;
    let mut probe = JoinSet::new();
    probe.spawn(first_login(database.socket_url("postgres")));
    tokio::task::block_in_place(|| database.start_again());
    let back = probe.join_all().await[0];
    calmly(calm).await;
    let restarted = load.since(restart);

    let cut = load.mark();
    fleet.proxies.iter().for_each(ChaosProxy::cut);
    calmly(OUTAGE).await;
    fleet.proxies.iter().for_each(ChaosProxy::restore);
    let reachable = first_login(fleet.through_the_first_proxy()).await;
    calmly(calm).await;
    let was_cut = load.since(cut);

    let last_request = Instant::now();
    let all = load.stop().await;
    eprintln!("{rate} per second wanted, {offered:.0} offered, {usual:.0} served");
    for (what, tally, since) in [("restart", &restarted, back), ("cut", &was_cut, reachable)] {
        assert_back_in_time(what, tally, since, usual);
    }
    assert_refusals_are_polite(&all);
    assert_nobody_stormed(&fleet, &witness);
    for process in &mut fleet.processes {
        assert!(process.runs(), "a process ended:\n{}", process.log());
    }
    assert_the_calm_holds_no_session(&fleet, last_request).await;
}

/// The part of the rate that must be offered and served before anything happens. Who names a rate makes a statement about
/// that rate; without one the test says what it can about whatever machine it is on.
fn part_of_the_rate() -> f64 {
    match number("STORM_RATE") {
        Some(_) => BACK,
        None => 0.5,
    }
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}

/// Lets time pass: the load is what happens meanwhile.
async fn calmly(time: Duration) {
    tokio::time::sleep(time).await;
}

/// When a login succeeded for the first time, tried every few milliseconds.
async fn first_login(url: String) -> Instant {
    eventually("somebody can log in", async || {
        Session::open(&url).await.is_ok()
    })
    .await;
    Instant::now()
}

fn assert_back_in_time(what: &str, tally: &Tally, since: Instant, usual: f64) {
    let limit = Duration::from_millis(number("STORM_RECOVERY_MS").unwrap_or(RECOVERY_MS));
    let (first, back) = tally.back_after(since, usual * BACK);
    eprintln!(
        "{what}: first answer {first:?} after the first login, {BACK} of the rate after {back:?}; {tally}"
    );
    assert!(
        back.is_some_and(|back| back <= limit),
        "{what}: the former rate of {usual:.0} is not back in {limit:?}: {}",
        tally.by_tenth(since)
    );
}

fn assert_refusals_are_polite(all: &Tally) {
    assert_eq!(all.impolite(), Vec::<String>::new());
    assert!(
        all.refused() > 0,
        "nothing was refused: there was no outage"
    );
}

fn assert_nobody_stormed(fleet: &Fleet, witness: &Witness) {
    for (number, proxy) in fleet.proxies.iter().enumerate() {
        let most = proxy.most_unanswered();
        assert!(most <= LOGINS_AT_ONCE, "process {number}: {most} logins");
    }
    let log = fleet.cluster.primary().log();
    let most = witness::most_connections_in_ten_seconds(&log);
    let sessions = witness.most_sessions();
    eprintln!("at most {most} connections in ten seconds, {sessions} sessions at once");
    assert!(most <= CONNECTIONS_IN_TEN_SECONDS * PROCESSES, "{most}");
    assert!(sessions > 0, "the witness saw nobody");
    assert!(sessions <= fleet::SESSIONS_EACH * PROCESSES, "{sessions}");
}

async fn assert_the_calm_holds_no_session(fleet: &Fleet, last_request: Instant) {
    if let Some(seconds) = number("STORM_REST") {
        let until = last_request + Duration::from_secs(seconds);
        tokio::time::sleep_until(until.into()).await;
        assert_eq!(fleet.sessions().await, 0);
        return;
    }
    eventually("no session is left", async || {
        let left = fleet.sessions().await;
        assert!(
            left == 0 || last_request.elapsed() < REST,
            "{left} sessions are left after {REST:?}"
        );
        left == 0
    })
    .await;
    eprintln!(
        "no session {:?} after the last request",
        last_request.elapsed()
    );
}
