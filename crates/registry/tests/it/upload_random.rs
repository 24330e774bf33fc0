//! Random uploads against the one sentence that describes them: what was acknowledged is a prefix
//! of what was sent, and the blob is what was sent.

use crate::support::{
    Client, Kind, Site, body, broken, bytes, name, range, sha256, streamed, unit,
};
use portolan_registry::Error;
use portolan_registry::upload::UploadBody;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Uploads a run makes; `PORTOLAN_SOAK_UPLOADS` makes it more.
const UPLOADS: u64 = 60;

#[expect(
    clippy::disallowed_methods,
    reason = "the soak tells a test how long to run; it has no configuration"
)]
fn uploads() -> u64 {
    std::env::var("PORTOLAN_SOAK_UPLOADS").map_or(UPLOADS, |count| count.parse().unwrap())
}

#[tokio::test]
async fn random_requests_on_random_processes_make_exactly_the_blob() {
    let site = Site::new(Kind::Directory).await;
    let processes = [
        site.process().await,
        site.process().await,
        site.process().await,
    ];
    for seed in 0..uploads() {
        let mut random = StdRng::seed_from_u64(seed);
        let length = random.random_range(0..=unit(Kind::Directory) * 12);
        let content = bytes(seed, length);
        let digest = sha256(&content);
        let client = |random: &mut StdRng| Client {
            registry: &processes[random.random_range(0..processes.len())],
            caller: &site.caller,
            name: name("a/b"),
        };
        let id = client(&mut random).start().await;
        let mut stored = 0;
        loop {
            let client = client(&mut random);
            let rest = content.slice(stored..);
            let cut = random.random_range(0..=rest.len().min(100_000));
            let piece = rest.slice(..cut);
            match random.random_range(0..10) {
                0..4 => stored += cut,
                4 if cut > 0 => stored += cut,
                5 => {
                    client.append(id, broken(&piece)).await.unwrap_err();
                    let received = usize::try_from(client.received(id).await.unwrap()).unwrap();
                    assert!((stored..=stored + cut).contains(&received), "seed {seed}");
                    stored = received;
                    continue;
                }
                6 => {
                    let wrong = client
                        .finish(id, sha256(b"wrong"), body(&piece))
                        .await
                        .unwrap_err();
                    assert!(
                        matches!(wrong, Error::DigestMismatch { .. }),
                        "seed {seed}: {wrong:?}"
                    );
                    continue;
                }
                7 => {
                    let wrong = Some(range(stored as u64 + 1, &bytes(0, 1)));
                    let refused = client.registry.append_upload(
                        &site.caller,
                        &client.name,
                        id,
                        wrong,
                        body(&bytes(0, 1)),
                    );
                    let refused = refused.await.unwrap_err();
                    assert!(
                        matches!(refused, Error::RangeOutOfOrder { .. }),
                        "seed {seed}: {refused:?}"
                    );
                    continue;
                }
                8 if rest.len() < 200_000 => {
                    client.finish(id, digest, streamed(&rest)).await.unwrap();
                    break;
                }
                _ if rest.is_empty() => {
                    client
                        .finish(id, digest, UploadBody::empty())
                        .await
                        .unwrap();
                    break;
                }
                _ => continue,
            }
            let sized = random.random_bool(0.5);
            let body = if sized {
                body(&piece)
            } else {
                streamed(&piece)
            };
            assert_eq!(
                client.append(id, body).await.unwrap(),
                stored as u64,
                "seed {seed}"
            );
        }
        assert!(
            client(&mut random).pull(digest).await == content,
            "seed {seed}"
        );
    }
    site.nothing_is_left_over(&processes[0]).await;
}
