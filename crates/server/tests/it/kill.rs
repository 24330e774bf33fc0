//! The server killed at random moments of pushes.
//!
//! Each round several clients push images in every way the specification has, until the server is killed. Then it is
//! started again over what is left, and:
//! - every push it acknowledged is whole: manifest and every byte of every blob;
//! - every other push succeeds when it is made again, or is carried on from where an upload says it stands.
//!
//! After the last round the uploads that were cut off expire (by SQL: a day is long), the sweeper and the deletion of
//! objects run, and then there is neither a row without its object nor an object without its row.
//!
//! `KILL_ROUNDS` sets the number of rounds for each store, `KILL_SEED` what they are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use portolan_testkit::children::eventually;
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::{Blob, ManifestFile};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::task::JoinSet;

use crate::app::{Store, TestApp};

/// Without `KILL_ROUNDS`: enough to notice a change that breaks it, few enough for every run.
const ROUNDS: u64 = 3;

/// Clients at once: so that a kill finds pushes at different steps.
const PUSHERS: u64 = 4;

/// Pushes of one client in a round; the kill comes first nearly always.
const PUSHES: u64 = 40;

/// The longest time the pushes of a round go on: a client has made some ten pushes by then.
const LONGEST_ROUND: u64 = 900;

/// Where a shared blob may be mounted from.
const COMMON: &str = "kill/common";

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_a_folder_survive_kills() {
    survive(Store::Directory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_to_s3_survive_kills() {
    survive(Store::S3).await;
}

fn number(variable: &str) -> Option<u64> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}

async fn survive(store: Store) {
    let rounds = number("KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("KILL_SEED").unwrap_or(1);
    let mut app = TestApp::options(store).start().await;
    let mut history = Vec::new();
    for round in 0..rounds {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(round));
        let kill_after = Duration::from_millis(rng.random_range(0..LONGEST_ROUND));
        let attempts = push_until_killed(&mut app, round, &mut rng, kill_after).await;
        app.restart();
        let client = app.admin();
        let acknowledged = attempts
            .iter()
            .filter(|attempt| attempt.acknowledged)
            .count();
        eprintln!(
            "{store:?}, seed {seed}, round {round}: killed after {kill_after:?}, {acknowledged} of {} pushes acknowledged",
            attempts.len()
        );
        for attempt in attempts {
            attempt.check_what_was_acknowledged(&client).await;
            attempt.carry_on(&client).await;
            attempt.push_again(&client).await;
            history.push((attempt.repository, attempt.tag, attempt.image));
        }
    }
    let client = app.admin();
    for (repository, tag, image) in &history {
        image.pull(&client, repository, tag).await;
    }
    sweep(&mut app).await;
    let client = app.admin();
    for (repository, tag, image) in &history {
        image.pull(&client, repository, tag).await;
    }
}

async fn push_until_killed(
    app: &mut TestApp,
    round: u64,
    rng: &mut StdRng,
    kill_after: Duration,
) -> Vec<Attempt> {
    // The same bytes from everybody: one of them wins, the others' objects are left over.
    let shared = Arc::new(Blob::random(rng.random(), 300_000));
    let mut pushers = JoinSet::new();
    for pusher in 0..PUSHERS {
        let client = app.admin();
        let shared = Arc::clone(&shared);
        let seed = rng.random();
        pushers.spawn(async move {
            push_many(&client, &format!("{round}-{pusher}"), &shared, seed).await
        });
    }
    let deadline = Instant::now() + kill_after;
    eventually("it is time to kill the server", || async {
        Instant::now() >= deadline
    })
    .await;
    app.kill();
    let attempts = pushers.join_all().await;
    attempts.into_iter().flatten().collect()
}

async fn push_many(client: &Client, name: &str, shared: &Blob, seed: u64) -> Vec<Attempt> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut attempts = Vec::new();
    for number in 0..PUSHES {
        let repository = if rng.random_bool(0.5) {
            COMMON.to_owned()
        } else {
            format!("kill/r{name}")
        };
        let mut attempt = Attempt {
            repository,
            tag: format!("t{name}-{number}"),
            image: Image::random(&mut rng, shared),
            acknowledged: false,
            stored: Vec::new(),
            unfinished: None,
        };
        let outcome = attempt.push(client, &mut rng).await;
        let killed = outcome.is_err();
        attempts.push(attempt);
        if killed {
            break;
        }
    }
    attempts
}

/// The connection broke: the server is gone.
#[derive(Debug)]
struct Gone;

/// An image with blobs of many sizes.
struct Image {
    blobs: Vec<Blob>,
    manifest: ManifestFile,
}

impl Image {
    fn random(rng: &mut StdRng, shared: &Blob) -> Self {
        let config = Blob::new(format!(
            r#"{{"architecture":"amd64","os":"linux","seed":{}}}"#,
            rng.random::<u64>()
        ));
        let mut blobs = vec![config];
        for _ in 0..rng.random_range(1..=2) {
            // Mostly small; one in eight has more than one part (8 MiB).
            let size = if rng.random_bool(0.12) {
                8_500_000..10_000_000
            } else {
                1..200_000
            };
            blobs.push(Blob::random(rng.random(), rng.random_range(size)));
        }
        if rng.random_bool(0.3) {
            blobs.push(shared.clone());
        }
        let layers: Vec<_> = blobs[1..]
            .iter()
            .map(|blob| blob.descriptor("application/vnd.oci.image.layer.v1.tar+gzip"))
            .collect();
        let manifest = ManifestFile::of(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blobs[0].descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": layers,
        }));
        Self { blobs, manifest }
    }

    /// Everything comes back as it was pushed.
    async fn pull(&self, client: &Client, repository: &str, tag: &str) {
        let answer = client
            .get(&format!("/v2/{repository}/manifests/{tag}"))
            .await
            .expect(200);
        assert_eq!(answer.body, self.manifest.payload, "{repository}:{tag}");
        for blob in &self.blobs {
            check_blob(client, repository, blob).await;
        }
    }
}

async fn check_blob(client: &Client, repository: &str, blob: &Blob) {
    let mut answer = client
        .get(&format!("/v2/{repository}/blobs/{}", blob.digest))
        .await;
    if answer.status == StatusCode::TEMPORARY_REDIRECT {
        let location = answer.header("location").to_owned();
        answer = client.anonymous().get(&location).await;
    }
    let answer = answer.expect(200);
    assert!(
        answer.body == blob.content,
        "{repository}: {} came back otherwise",
        blob.digest
    );
}

/// An upload that was cut off.
struct Unfinished {
    location: String,
    blob: usize,
}

/// One push, and how far it came.
struct Attempt {
    repository: String,
    tag: String,
    image: Image,
    /// The manifest's 201 was seen.
    acknowledged: bool,
    /// The blobs whose 201 was seen.
    stored: Vec<usize>,
    unfinished: Option<Unfinished>,
}

impl Attempt {
    async fn push(&mut self, client: &Client, rng: &mut StdRng) -> Result<(), Gone> {
        for index in 0..self.image.blobs.len() {
            self.push_blob(client, index, rng).await?;
            self.stored.push(index);
            self.unfinished = None;
        }
        let manifest = &self.image.manifest;
        let target = format!("/v2/{}/manifests/{}", self.repository, self.tag);
        let asking = client
            .request(Method::PUT, &target)
            .header("content-type", &manifest.media_type);
        answered(asking.body(manifest.payload.clone()).try_send().await, 201)?;
        self.acknowledged = true;
        Ok(())
    }

    /// One of the ways that clients have.
    async fn push_blob(
        &mut self,
        client: &Client,
        index: usize,
        rng: &mut StdRng,
    ) -> Result<(), Gone> {
        let blob = self.image.blobs[index].clone();
        let uploads = format!("/v2/{}/blobs/uploads/", self.repository);
        let digest = format!("digest={}", blob.digest);
        match rng.random_range(0..5) {
            // crane's and the specification's single request.
            0 => {
                let asking = client.request(Method::POST, &format!("{uploads}?{digest}"));
                answered(asking.body(blob.content).try_send().await, 201)?;
                return Ok(());
            }
            // A mount, declined for what is not there.
            1 => {
                let target = format!("{uploads}?mount={}&from={COMMON}", blob.digest);
                let answer = client
                    .request(Method::POST, &target)
                    .try_send()
                    .await
                    .map_err(|_| Gone)?;
                if answer.status == StatusCode::CREATED {
                    return Ok(());
                }
                self.unfinished = Some(Unfinished {
                    location: answer.clone().expect(202).location().to_owned(),
                    blob: index,
                });
                let asking = client.request(Method::PUT, &answer.location_with(&digest));
                answered(asking.body(blob.content).try_send().await, 201)?;
                return Ok(());
            }
            _ => {}
        }
        let answer = answered(client.request(Method::POST, &uploads).try_send().await, 202)?;
        self.unfinished = Some(Unfinished {
            location: answer.location().to_owned(),
            blob: index,
        });
        let last = match rng.random_range(0..3) {
            // containerd: the whole body with the PUT.
            0 => answered(
                client
                    .request(Method::PUT, &answer.location_with(&digest))
                    .body(blob.content)
                    .try_send()
                    .await,
                201,
            )?,
            // docker: a stream of unknown length, then an empty PUT.
            1 => {
                let pieces: Vec<_> = pieces(blob.content.len(), 100_000)
                    .map(|range| Ok(blob.content.slice(range)))
                    .collect();
                let asking = client
                    .request(Method::PATCH, answer.location())
                    .pieces(pieces);
                let answer = answered(asking.try_send().await, 202)?;
                answered(
                    client
                        .request(Method::PUT, &answer.location_with(&digest))
                        .try_send()
                        .await,
                    201,
                )?
            }
            // regctl: chunks.
            _ => {
                let size = rng.random_range(50_000..6_000_000);
                let mut location = answer.location().to_owned();
                for range in pieces(blob.content.len(), size) {
                    let asking = client
                        .request(Method::PATCH, &location)
                        .header(
                            "content-range",
                            format!("{}-{}", range.start, range.end - 1),
                        )
                        .body(blob.content.slice(range));
                    location = answered(asking.try_send().await, 202)?
                        .location()
                        .to_owned();
                }
                let separator = if location.contains('?') { '&' } else { '?' };
                let target = format!("{location}{separator}{digest}");
                answered(client.request(Method::PUT, &target).try_send().await, 201)?
            }
        };
        drop(last);
        Ok(())
    }

    /// What got its 201 is there, whatever happened a moment later.
    async fn check_what_was_acknowledged(&self, client: &Client) {
        if self.acknowledged {
            self.image.pull(client, &self.repository, &self.tag).await;
        }
        for index in &self.stored {
            check_blob(client, &self.repository, &self.image.blobs[*index]).await;
        }
        if !self.acknowledged {
            // The answer may have been lost on the way; what is there must be whole then.
            let path = format!("/v2/{}/manifests/{}", self.repository, self.tag);
            if client.get(&path).await.status == StatusCode::OK {
                self.image.pull(client, &self.repository, &self.tag).await;
            }
        }
    }

    /// A client that asks where its upload stands may go on from there.
    async fn carry_on(&self, client: &Client) {
        let Some(unfinished) = &self.unfinished else {
            return;
        };
        let blob = &self.image.blobs[unfinished.blob];
        let answer = client.get(&unfinished.location).await;
        if answer.status == StatusCode::NOT_FOUND {
            // It was committed, or its start was never acknowledged.
            return;
        }
        let answer = answer.expect(204);
        let end: usize = answer
            .header("range")
            .split_once('-')
            .expect("a range")
            .1
            .parse()
            .expect("an offset");
        // `0-0` stands for nothing; chunks are larger than a byte.
        let received = if end == 0 { 0 } else { end + 1 };
        assert!(
            received <= blob.content.len(),
            "it says {received} of {}",
            blob.content.len()
        );
        let target = answer.location_with(&format!("digest={}", blob.digest));
        let rest = blob.content.slice(received..);
        // The claim of the killed process may last some seconds more; then the answer is to try later.
        let answer = client.request(Method::PUT, &target).body(rest).send().await;
        if answer.status != StatusCode::CREATED {
            assert!(
                [
                    StatusCode::CONFLICT,
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::RANGE_NOT_SATISFIABLE
                ]
                .contains(&answer.status),
                "{answer:?}"
            );
            return;
        }
        check_blob(client, &self.repository, blob).await;
    }

    /// Made again, every push succeeds.
    async fn push_again(&self, client: &Client) {
        if self.acknowledged {
            return;
        }
        for blob in &self.image.blobs {
            let target = format!(
                "/v2/{}/blobs/uploads/?digest={}",
                self.repository, blob.digest
            );
            client
                .request(Method::POST, &target)
                .body(blob.content.clone())
                .send()
                .await
                .expect(201);
        }
        let target = format!("/v2/{}/manifests/{}", self.repository, self.tag);
        let manifest = &self.image.manifest;
        let asking = client
            .request(Method::PUT, &target)
            .header("content-type", &manifest.media_type);
        asking
            .body(manifest.payload.clone())
            .send()
            .await
            .expect(201);
        self.image.pull(client, &self.repository, &self.tag).await;
    }
}

/// An answer must be the expected one; no answer means that the server is gone.
fn answered(
    outcome: Result<Answer, Box<dyn std::error::Error + Send + Sync>>,
    status: u16,
) -> Result<Answer, Gone> {
    outcome
        .map(|answer| answer.expect(status))
        .map_err(|_| Gone)
}

/// `0..length` in ranges of `size`.
fn pieces(length: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length)
        .step_by(size)
        .map(move |start| start..length.min(start + size))
}

/// Lets everything expire, runs what cleans up, and balances rows against objects.
async fn sweep(app: &mut TestApp) {
    app.kill();
    let session = app.database().session().await;
    let run = async |sql: &str| {
        session
            .execute(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    run("UPDATE upload SET expires_at = now() - interval '1 hour', lock_until = NULL").await;
    run("UPDATE job SET due_at = now()").await;
    app.restart();
    eventually("every upload that was cut off is swept", || async {
        app.count("SELECT count(*) FROM upload").await == 0
    })
    .await;
    app.kill();
    run("UPDATE object_delete SET not_before = now()").await;
    run("UPDATE job SET due_at = now()").await;
    app.restart();
    eventually("every object that nobody needs is deleted", || async {
        app.count("SELECT count(*) FROM object_delete").await == 0
    })
    .await;

    let rows = session
        .query("SELECT storage_key, size FROM blob", &[])
        .await
        .unwrap();
    let rows: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let objects: BTreeSet<String> = app.objects().into_iter().collect();
    let expected: BTreeSet<String> = rows.keys().cloned().collect();
    let leaked: Vec<_> = objects.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&objects).collect();
    assert!(leaked.is_empty(), "objects without a row: {leaked:?}");
    assert!(missing.is_empty(), "rows without an object: {missing:?}");
    assert_eq!(
        app.unfinished_uploads(),
        0,
        "multipart uploads that nobody finishes"
    );
    assert_eq!(app.count("SELECT count(*) FROM upload_part").await, 0);
}
