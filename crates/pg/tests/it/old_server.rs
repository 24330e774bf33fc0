//! A server that is older than any we can start: it says its version, and nothing else of it matters.

use std::time::Duration;

use portolan_pg::{DialError, DialOutcome, Error, Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::support::{policy, router_to};

/// A message of the protocol: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    let mut message = vec![kind];
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

/// The answer to a query: one row of text.
fn row(values: &[&str]) -> Vec<u8> {
    let count = u16::try_from(values.len()).unwrap().to_be_bytes();
    let (mut description, mut data) = (count.to_vec(), count.to_vec());
    for value in values {
        // A name without letters, no table, the type text, any length, as text.
        description.extend([
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0,
        ]);
        data.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        data.extend(value.as_bytes());
    }
    [
        message(b'T', &description),
        message(b'D', &data),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

async fn serve(mut client: TcpStream) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    let mut startup = vec![0; usize::try_from(length).unwrap() - 4];
    client.read_exact(&mut startup).await?;
    let welcome = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    client.write_all(&welcome).await?;
    while client.read_u8().await? == b'Q' {
        let length = client.read_u32().await?;
        let mut query = vec![0; usize::try_from(length).unwrap() - 4];
        client.read_exact(&mut query).await?;
        // Not in recovery, process 1, an address, an identifier, PostgreSQL 14.9, no schema of ours, read committed.
        let answer = row(&["f", "1", "127.0.0.1:5432", "7", "140009", "f", "t"]);
        client.write_all(&answer).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_older_than_supported_is_refused_by_its_version() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let _ = serve(client).await;
        }
    });
    let url = format!("postgres://me@{address}/registry?sslmode=disable");
    let (router, metrics) = router_to(&url, policy());
    let error = router.ping_primary().await.unwrap_err();
    let Error::Unavailable {
        source,
        retry_after,
    } = error
    else {
        panic!("{error:?}");
    };
    assert!(source.is_for_good());
    assert!(retry_after >= Duration::from_secs(1));
    let too_old = matches!(
        source,
        DialError::TooOld {
            version: 140_009,
            ..
        }
    );
    assert!(too_old, "{source:?}");
    assert_eq!(metrics.dials(Role::Primary, DialOutcome::RefusedForGood), 1);
    router.close().await;
}
