//! A storm: many clients of two processes, on a few digests, tags and repositories, while time goes by and a collector
//! runs. Some clients go away in the middle of a request.
//!
//! Whatever happens, a caller hears a refusal that tells the truth and never a failure; and in the calm after it, the
//! rows and the objects agree ([`crate::storm_check`]). The choices come from a seed; how they interleave does not.

use crate::storm_check::Calm;
use crate::support::{Client, Kind, Site, body, name as repository, unit};
use crate::support_images::{request, tag};
use futures::future::{FutureExt as _, LocalBoxFuture, join_all};
use futures::poll;
use portolan_metadata::tags::Expect;
use portolan_oci::{Algorithm, Digest, media_type};
use portolan_registry::{Error, PutManifest, Registry};
use portolan_testkit::image::{Blob, Image, ManifestFile};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SEED: u64 = 20_261_123;
/// More than there are connections for writes, and well below what may wait for one.
const CLIENTS: u64 = 8;
/// Between two calms.
const STEPS: usize = 30;
/// `PORTOLAN_SOAK_SECONDS` makes it longer.
const SECONDS: u64 = 10;

const REPOSITORIES: [&str; 3] = ["acme/one", "acme/two", "other/three"];
const TAGS: [&str; 3] = ["a", "b", "c"];

/// What there is to push: layers shared by images, images by indexes.
struct World {
    blobs: Vec<Blob>,
    manifests: Vec<ManifestFile>,
    /// The blobs of each manifest, and then its children, as places in the lists above.
    parts: Vec<(Vec<usize>, Vec<usize>)>,
}

impl World {
    fn new() -> Self {
        // As long as fits into the row, and longer.
        let mut blobs: Vec<Blob> = [1_000, 2_048, 2_049, 5_000]
            .into_iter()
            .zip(0..)
            .map(|(size, seed)| Blob::random(seed, size))
            .collect();
        // One of several parts.
        blobs.push(Blob::random(
            4,
            usize::try_from(unit(Kind::Directory)).unwrap() * 5 / 2,
        ));
        blobs.push(Blob::new("{}"));
        let config = blobs.len() - 1;
        let image = |layers: &[usize], subject: Option<&ManifestFile>| {
            let layers: Vec<_> = layers
                .iter()
                .map(|layer| blobs[*layer].descriptor(media_type::OCI_LAYER_GZIP))
                .collect();
            let mut document = json!({
                "schemaVersion": 2,
                "mediaType": media_type::OCI_IMAGE,
                "artifactType": "application/vnd.example",
                "config": blobs[config].descriptor(media_type::OCI_EMPTY),
                "layers": layers,
            });
            if let Some(subject) = subject {
                document["subject"] = subject.descriptor();
            }
            ManifestFile::of(&document)
        };
        let mut manifests = Vec::new();
        let mut parts = Vec::new();
        for layers in [[0, 1], [1, 2], [2, 3], [3, 4]] {
            manifests.push(image(&layers, None));
            parts.push((vec![layers[0], layers[1], config], vec![]));
        }
        for children in [[0, 1], [1, 2], [3, 4]] {
            manifests.push(ManifestFile::index(
                &children.map(|child| manifests[child].clone()),
            ));
            parts.push((vec![], children.to_vec()));
        }
        for (layer, subject) in [(0, 1), (1, 4)] {
            manifests.push(image(&[layer], Some(&manifests[subject])));
            parts.push((vec![layer, config], vec![]));
        }
        manifests.push(manifests[0].clone().hashed(Algorithm::Sha512));
        parts.push(parts[0].clone());
        Self {
            blobs,
            manifests,
            parts,
        }
    }
}

/// One client.
struct Sailor<'a> {
    world: &'a World,
    site: &'a Site,
    processes: &'a [Registry; 2],
    random: StdRng,
    number: u64,
    own: u64,
    tally: BTreeMap<&'static str, [u32; 3]>,
}

impl Sailor<'_> {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.random).unwrap()
    }

    fn client<'a>(&mut self, site: &'a Site, processes: &'a [Registry; 2]) -> Client<'a> {
        let path = self.pick(&REPOSITORIES);
        site.client(&processes[self.random.random_range(0..2)], path)
    }

    /// One request or a few; sometimes its client goes away at some point.
    async fn step(&mut self) {
        let (site, processes, world) = (self.site, self.processes, self.world);
        let client = self.client(site, processes);
        let kind = self.random.random_range(0..100);
        let leaves = (self.random.random_range(0..8) == 0).then(|| self.random.random_range(1..60));
        let blob = &world.blobs[self.random.random_range(0..world.blobs.len())];
        let which = self.random.random_range(0..world.manifests.len());
        let manifest = &world.manifests[which];
        let name = self.pick(&TAGS);
        let (label, request): (_, LocalBoxFuture<'_, Result<(), Error>>) = match kind {
            0..14 => ("push blob", push_blob(&client, blob).boxed_local()),
            14..34 => {
                let put = self.put(manifest, which);
                let pushed = async { client.put_request(put).await.map(drop) };
                ("push manifest", pushed.boxed_local())
            }
            34..48 => (
                "push all",
                push_all(&client, world, which, name).boxed_local(),
            ),
            48..56 => {
                let source = self.pick(&[None, Some("acme/one"), Some("other/three")]);
                ("mount", mount(&client, blob, source).boxed_local())
            }
            56..62 => ("delete tag", client.delete_tag(name).boxed_local()),
            62..68 => (
                "delete manifest",
                client.delete_manifest(manifest).boxed_local(),
            ),
            68..74 => ("delete blob", client.delete_blob(blob.digest).boxed_local()),
            74..84 => ("pull", pull(&client, name).boxed_local()),
            84..88 => (
                "chunks",
                chunks(&client, blob, self.random.random()).boxed_local(),
            ),
            88..90 => ("sweep", sweep(&client).boxed_local()),
            90..96 => ("time", time_goes_by(site).boxed_local()),
            _ => {
                self.own += 1;
                let image = Image::random(1_000 * (self.number + 1) + self.own);
                let path = format!("own/{}", self.number);
                let here = site.client(&processes[0], &path);
                let there = site.client(&processes[1], &path);
                ("own", own(here, there, image).boxed_local())
            }
        };
        let leaves = leaves.filter(|_| !matches!(label, "own" | "time" | "sweep"));
        let outcome = until(leaves, request).await;
        let count = self.tally.entry(label).or_default();
        match outcome {
            Some(Ok(())) => count[0] += 1,
            Some(Err(refusal)) if is_true_refusal(&refusal) => count[1] += 1,
            Some(Err(failure)) => panic!("{label}: {failure:?}"),
            None => count[2] += 1,
        }
    }

    fn put(&mut self, manifest: &ManifestFile, which: usize) -> PutManifest {
        let reference = manifest.digest.to_string();
        let count = self.random.random_range(0..=3);
        let tags = TAGS
            .sample(&mut self.random, count)
            .map(|name| tag(name))
            .collect();
        let expect = match self.random.random_range(0..12) {
            0 => Some(Expect::Absent),
            1 => Some(Expect::Exists),
            2 => Some(Expect::AnyOf(vec![
                self.world.manifests[(which + 1) % 4].digest,
            ])),
            _ => None,
        };
        PutManifest {
            tags,
            expect,
            ..request(manifest, &reference)
        }
    }
}

/// What nobody else touches is there, from any process, as soon as it is acknowledged; and gone as soon.
async fn own(here: Client<'_>, there: Client<'_>, image: Image) -> Result<(), Error> {
    for blob in image.blobs() {
        push_blob(&here, blob).await?;
    }
    here.put(&image.manifest, "latest").await?;
    there.pulls("latest", &image.manifest).await;
    there.delete_tag("latest").await?;
    assert!(matches!(
        here.get("latest").await,
        Err(Error::ManifestUnknown)
    ));
    Ok(())
}

async fn mount(client: &Client<'_>, blob: &Blob, source: Option<&str>) -> Result<(), Error> {
    let from = source.map(repository);
    let (caller, to) = (client.caller, &client.name);
    client
        .registry
        .mount(caller, to, blob.digest, from.as_ref())
        .await
        .map(drop)
}

async fn sweep(client: &Client<'_>) -> Result<(), Error> {
    client.registry.sweep_uploads(3).await.map(drop)
}

/// Polls a request so often and then drops it; `None`: it was dropped.
async fn until<T>(polls: Option<u32>, mut request: LocalBoxFuture<'_, T>) -> Option<T> {
    let Some(polls) = polls else {
        return Some(request.await);
    };
    for _ in 0..polls {
        if let std::task::Poll::Ready(outcome) = poll!(&mut request) {
            return Some(outcome);
        }
        tokio::task::yield_now().await;
    }
    None
}

async fn push_blob(client: &Client<'_>, blob: &Blob) -> Result<(), Error> {
    let (caller, content) = (client.caller, body(&blob.content));
    client
        .registry
        .push_blob(caller, &client.name, blob.digest, content)
        .await
        .map(drop)
}

async fn push_all(
    client: &Client<'_>,
    world: &World,
    which: usize,
    name: &str,
) -> Result<(), Error> {
    let (blobs, children) = &world.parts[which];
    for blob in blobs {
        push_blob(client, &world.blobs[*blob]).await?;
    }
    for child in children {
        let child = Box::pin(push_all(client, world, *child, name));
        child.await?;
    }
    client
        .put(
            &world.manifests[which],
            &world.manifests[which].digest.to_string(),
        )
        .await?;
    if world.manifests[which].digest.algorithm() == Algorithm::Sha256 {
        client.put(&world.manifests[which], name).await?;
    }
    Ok(())
}

async fn pull(client: &Client<'_>, name: &str) -> Result<(), Error> {
    let found = client.get(name).await?;
    let payload = found.payload.unwrap();
    assert_eq!(Digest::of(found.digest.algorithm(), &payload), found.digest);
    Ok(())
}

/// An upload in two requests, which may be given up or forgotten.
async fn chunks(client: &Client<'_>, blob: &Blob, choice: u8) -> Result<(), Error> {
    let (caller, half) = (client.caller, blob.content.len() / 2);
    let id = client
        .registry
        .start_upload(caller, &client.name, None)
        .await?
        .id;
    client.append(id, body(&blob.content.slice(..half))).await?;
    match choice % 4 {
        0 => {
            client
                .registry
                .cancel_upload(caller, &client.name, id)
                .await
        }
        1 => Ok(()),
        _ => client
            .finish(id, blob.digest, body(&blob.content.slice(half..)))
            .await
            .map(drop),
    }
}

/// What a client may be told while others delete, and while days go by in no time.
fn is_true_refusal(refusal: &Error) -> bool {
    matches!(
        refusal,
        Error::NameUnknown
            | Error::ManifestUnknown
            | Error::BlobUnknown
            | Error::UploadUnknown
            | Error::UploadBusy { .. }
            | Error::ManifestBlobUnknown { .. }
            | Error::PreconditionFailed { .. }
            | Error::BlobReferenced
    )
}

/// A link ends, a review is due, an upload expires, a blob is reviewed; each in a transaction of its own, and passing
/// by whatever is locked.
async fn time_goes_by(site: &Site) -> Result<(), Error> {
    for sql in [
        "UPDATE repository_blob SET expires_at = now() WHERE (repository_id, blob_id) = (
             SELECT repository_id, blob_id FROM repository_blob ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)",
        "UPDATE gc_queue SET review_after = now() WHERE (kind, id) = (
             SELECT kind, id FROM gc_queue WHERE kind = 'blob' ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)",
        "UPDATE upload SET expires_at = now() WHERE id = (
             SELECT id FROM upload WHERE lock_until IS NULL ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)",
        "DELETE FROM repository_blob WHERE (repository_id, blob_id) = (
             SELECT repository_id, blob_id FROM repository_blob WHERE expires_at <= now()
             ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)",
        "SELECT review_a_blob()",
    ] {
        site.sql.execute(sql, &[]).await.unwrap_or_else(|failure| panic!("{sql}: {failure:?}"));
    }
    Ok(())
}

/// Phase 1 of the collection of blobs as the protocol has it; each statement sees what is committed by then.
const REVIEW: &str = "
CREATE FUNCTION review_a_blob() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    reviewed bigint;
BEGIN
    SELECT id INTO reviewed FROM gc_queue WHERE kind = 'blob' AND review_after <= now()
    ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN; END IF;
    PERFORM FROM blob WHERE id = reviewed FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN RETURN; END IF;
    PERFORM FROM manifest_blob WHERE blob_id = reviewed;
    IF FOUND THEN
        DELETE FROM gc_queue WHERE kind = 'blob' AND id = reviewed;
        RETURN;
    END IF;
    PERFORM FROM repository_blob WHERE blob_id = reviewed AND expires_at > now();
    IF FOUND THEN
        DELETE FROM gc_queue WHERE kind = 'blob' AND id = reviewed;
        RETURN;
    END IF;
    BEGIN
        DELETE FROM repository_blob WHERE (repository_id, blob_id) IN (
            SELECT repository_id, blob_id FROM repository_blob
            WHERE blob_id = reviewed AND expires_at <= now() FOR UPDATE SKIP LOCKED);
        WITH gone AS (DELETE FROM blob WHERE id = reviewed RETURNING store_id, storage_key, digest, size)
        INSERT INTO object_delete (store_id, storage_key, digest, size, reason, not_before)
        SELECT store_id, storage_key, digest, size, 'collected', now() + interval '24 hours' FROM gone;
        DELETE FROM gc_queue WHERE kind = 'blob' AND id = reviewed;
    EXCEPTION WHEN foreign_key_violation THEN NULL;
    END;
END $$";

#[tokio::test]
#[expect(clippy::print_stdout, reason = "says what a soak did")]
async fn a_storm_ends_in_a_calm_in_which_everything_is_accounted_for() {
    #[expect(clippy::disallowed_methods, reason = "a test is told how long to last")]
    let seconds =
        std::env::var("PORTOLAN_SOAK_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let site = Site::new(Kind::Directory).await;
    site.run(REVIEW).await;
    let processes = [site.process().await, site.process().await];
    let world = World::new();
    let mut sailors: Vec<Sailor<'_>> = (0..CLIENTS)
        .map(|number| Sailor {
            world: &world,
            site: &site,
            processes: &processes,
            random: StdRng::seed_from_u64(SEED + number),
            number,
            own: 0,
            tally: BTreeMap::new(),
        })
        .collect();
    let mut calms = 0;
    while calms == 0 || Instant::now() < end {
        join_all(sailors.iter_mut().map(|sailor| async {
            for _ in 0..STEPS {
                if calms > 0 && Instant::now() >= end {
                    break;
                }
                sailor.step().await;
            }
        }))
        .await;
        let calm = Calm {
            site: &site,
            processes: &processes,
        };
        calm.check().await;
        // A night: nobody is here, and every quarantine ends.
        calm.delete_what_is_due().await;
        calm.check().await;
        calms += 1;
    }
    let mut tally: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    for sailor in sailors {
        for (label, counts) in sailor.tally {
            let sums = tally.entry(label).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
    println!("{calms} calms; done, refused, gone away: {tally:?}");
    assert!(tally.values().all(|[done, ..]| *done > 0), "{tally:?}");
    site.nothing_is_left_over(&processes[0]).await;
}
