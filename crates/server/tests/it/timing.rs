//! What one may not know is not told by the clock either.
//!
//! Each pair of requests differs in whether something is there that who asks may not see. Their medians, of requests that
//! take turns, must lie close together. A machine that does something else now and then makes a median wander, and never
//! two of the same distribution lastingly apart: where they differ, more samples are added, up to a bound.
//!
//! ```text
//! PORTOLAN_TIMING_SAMPLES=2000 cargo test -p portolan-server --test it timing:: --release
//! ```

use crate::app::{PASSWORD, Store, TestApp, push};
use crate::token::claims;
use crate::token_attacks::Forger;
use http::Method;
use portolan_oci::Digest;
use portolan_testkit::client::Client;
use portolan_testkit::image::Image;
use serde_json::json;
use std::time::{Duration, Instant};

/// Of each of a pair, unless told: a few seconds for all pairs.
const SAMPLES: usize = 200;

/// From so many on the bound is the one that is promised; below, medians of nothing but noise lie further apart.
const SAMPLES_OF_THE_PROMISE: usize = 2_000;

/// How often as many again are added before a difference is believed.
const ROUNDS: usize = 6;

#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test binary, not of the server"
)]
fn samples() -> usize {
    let text = std::env::var("PORTOLAN_TIMING_SAMPLES").ok();
    text.map_or(SAMPLES, |text| text.parse().expect("a whole number"))
}

/// How far the medians may lie apart, as a part of the smaller.
fn bound() -> f64 {
    if samples() >= SAMPLES_OF_THE_PROMISE {
        0.05
    } else {
        0.2
    }
}

/// A request, and what it is answered with.
struct Ask {
    client: Client,
    method: Method,
    target: String,
    form: Option<String>,
    status: u16,
}

impl Ask {
    fn new(client: &Client, method: Method, target: impl Into<String>, status: u16) -> Self {
        Self {
            client: client.clone(),
            method,
            target: target.into(),
            form: None,
            status,
        }
    }

    async fn time(&self) -> Duration {
        let mut asking = self.client.request(self.method.clone(), &self.target);
        if let Some(form) = &self.form {
            asking = asking
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.clone());
        }
        let began = Instant::now();
        let answer = asking.send().await;
        let taken = began.elapsed();
        answer.expect(self.status);
        taken
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How far two medians lie apart, as a part of the smaller.
fn apart(one: Duration, other: Duration) -> f64 {
    let (less, more) = if one < other {
        (one, other)
    } else {
        (other, one)
    };
    more.abs_diff(less).as_secs_f64() / less.as_secs_f64()
}

/// Asks in turns, `count` times each; the nth request is made from its number.
async fn alike(what: &str, count: usize, one: impl Fn(usize) -> Ask, other: impl Fn(usize) -> Ask) {
    // Connections, caches and prepared statements are made by neither.
    for nth in 0..5 {
        one(nth).time().await;
        other(nth).time().await;
    }
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        for _ in 0..count {
            let nth = ones.len() + 5;
            // Each is first as often as second.
            if nth % 2 == 0 {
                ones.push(one(nth).time().await);
                others.push(other(nth).time().await);
            } else {
                others.push(other(nth).time().await);
                ones.push(one(nth).time().await);
            }
        }
        let (a, b) = (median(&mut ones), median(&mut others));
        let apart = apart(a, b);
        eprintln!(
            "{what}: {a:?} and {b:?} of {} each, {:.1} % apart",
            ones.len(),
            apart * 100.0
        );
        if apart < bound() {
            return;
        }
        seen.push(apart);
    }
    panic!("{what}: apart by {seen:?}, more than {}", bound());
}

/// A private repository, the name of one that is not there, as long, and a user's own; all three are in the scope of the
/// user's token, so that nothing but the database decides.
struct Scene {
    app: TestApp,
    image: Image,
    client: Client,
    private: String,
    missing: String,
    own: String,
}

impl Scene {
    async fn new() -> Self {
        let app = TestApp::start().await;
        let image = Image::random(940);
        let (private, missing, own) = (
            "foreign/there".to_owned(),
            "foreign/other".to_owned(),
            "eve/own".to_owned(),
        );
        push(&app.admin(), &private, "tag", &image).await;
        let session = app.database().session().await;
        let made = "WITH made AS (
                INSERT INTO account (kind, name, password_hash)
                SELECT 'user', 'eve', password_hash FROM account WHERE name = 'admin' RETURNING id
            )
            INSERT INTO namespace (name, owner_account_id) SELECT 'eve', id FROM made";
        session.batch_execute(made).await.expect("an account");
        let eve = app.anonymous().basic("eve", PASSWORD);
        push(&eve, &own, "tag", &Image::random(941)).await;
        let mut claims = claims(
            &app.token(&eve, &[&format!("repository:{own}:pull,push")])
                .await,
        );
        let access = [&private, &missing, &own]
            .map(|name| json!({ "type": "repository", "name": name, "actions": ["pull", "push", "delete"] }));
        claims["access"] = json!(access);
        // Long enough for all the samples there may be.
        claims["exp"] = json!(claims["exp"].as_u64().expect("a number") + 86_400);
        let forger = Forger::of(&app).await;
        let client = app
            .anonymous()
            .bearer(&forger.sign(&forger.header(), &claims));
        Self {
            app,
            image,
            client,
            private,
            missing,
            own,
        }
    }
}

#[tokio::test]
async fn the_clock_does_not_tell_a_private_repository_from_one_that_is_not_there() {
    let scene = Scene::new().await;
    let Scene {
        app,
        image,
        client,
        private,
        missing,
        own,
    } = &scene;
    let count = samples();
    let layer = image.layers[0].digest;

    let get = |name: &str| {
        Ask::new(
            client,
            Method::GET,
            format!("/v2/{name}/manifests/tag"),
            401,
        )
    };
    alike(
        "GET of a manifest",
        count,
        |_| get(private),
        |_| get(missing),
    )
    .await;

    let head = |name: &str| {
        Ask::new(
            client,
            Method::HEAD,
            format!("/v2/{name}/blobs/{layer}"),
            401,
        )
    };
    alike(
        "HEAD of a blob",
        count,
        |_| head(private),
        |_| head(missing),
    )
    .await;

    let delete = |name: &str| {
        Ask::new(
            client,
            Method::DELETE,
            format!("/v2/{name}/manifests/tag"),
            403,
        )
    };
    alike(
        "DELETE of a tag",
        count,
        |_| delete(private),
        |_| delete(missing),
    )
    .await;

    let anonymous = app.anonymous();
    let token = |name: &str| {
        let target = format!("/v2/auth?service=portolan&scope=repository:{name}:pull");
        Ask::new(&anonymous, Method::GET, target, 200)
    };
    alike("a token", count, |_| token(private), |_| token(missing)).await;

    let mount = |from: &str| {
        let target = format!("/v2/{own}/blobs/uploads/?mount={layer}&from={from}");
        Ask::new(client, Method::POST, target, 202)
    };
    alike(
        "a mount from a repository",
        count,
        |_| mount(private),
        |_| mount(missing),
    )
    .await;

    let unknown = Digest::sha256(b"nowhere");
    let mount = |digest: Digest| {
        let target = format!("/v2/{own}/blobs/uploads/?mount={digest}");
        Ask::new(client, Method::POST, target, 202)
    };
    alike(
        "a mount that names no repository",
        count,
        |_| mount(layer),
        |_| mount(unknown),
    )
    .await;
}

#[tokio::test]
async fn the_clock_does_not_tell_who_has_an_account() {
    let app = TestApp::options(Store::Directory)
        .with("LOGIN__FAILURES_PER_NETWORK", 0)
        .start()
        .await;
    // Argon2 takes most of the time, and hundreds of them are enough for a median; each name is tried once, as one that is
    // tried often would be shut out.
    let count = (samples() / 10).max(20);
    let names = count * ROUNDS + 5;
    let session = app.database().session().await;
    let users = format!(
        "INSERT INTO account (kind, name, password_hash)
         SELECT 'user', 'there' || n, (SELECT password_hash FROM account WHERE name = 'admin')
         FROM generate_series(0, {names}) AS n"
    );
    session.batch_execute(&users).await.expect("users");
    let login = |name: String| {
        let form = format!("grant_type=password&username={name}&password=wrong&service=portolan");
        Ask {
            form: Some(form),
            ..Ask::new(&app.anonymous(), Method::POST, "/v2/auth", 401)
        }
    };
    alike(
        "a login by form",
        count,
        |nth| login(format!("there{nth}")),
        |nth| login(format!("other{nth}")),
    )
    .await;
    let basic = |name: String| {
        let client = app.anonymous().basic(&name, &format!("not {PASSWORD}"));
        Ask::new(&client, Method::GET, "/v2/auth?service=portolan", 401)
    };
    alike(
        "a login by header",
        count,
        |nth| basic(format!("there{nth}")),
        |nth| basic(format!("other{nth}")),
    )
    .await;
}

#[test]
fn medians_that_differ_are_seen_to() {
    let times = |by: u64| {
        (0..101)
            .map(|nth| Duration::from_micros(1_000 + by + nth % 7))
            .collect::<Vec<_>>()
    };
    let (mut one, mut same, mut other) = (times(0), times(0), times(100));
    // One that took long is no matter.
    one[50] = Duration::from_secs(1);
    assert!(apart(median(&mut one), median(&mut same)) < 0.01);
    let apart = apart(median(&mut one), median(&mut other));
    assert!((0.09..0.11).contains(&apart), "{apart}");
}
