//! The proxy misbehaves exactly as told.

use std::time::{Duration, Instant};

use portolan_testkit::{chaos_proxy::ChaosProxy, children::eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// An echo server and a proxy before it.
async fn echo() -> (ChaosProxy, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = ChaosProxy::start(listener.local_addr().unwrap()).await;
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            sessions.spawn(async move {
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    (proxy, server)
}

async fn say(socket: &mut TcpStream) -> std::io::Result<u8> {
    socket.write_all(b"x").await?;
    socket.read_u8().await
}

#[tokio::test]
async fn each_connection_goes_to_the_next_server_until_there_is_only_one() {
    let (one, _one) = echo().await;
    let (two, _two) = echo().await;
    let proxy = ChaosProxy::round_robin(&[one.address(), two.address()]).await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut socket).await.unwrap();
        sockets.push(socket);
    }
    assert_eq!((one.accepted(), two.accepted()), (2, 2));
    proxy.lead_to(two.address());
    for _ in 0..2 {
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut socket).await.unwrap();
    }
    assert_eq!((one.accepted(), two.accepted()), (2, 4));
}

#[tokio::test]
async fn it_counts_who_has_not_been_answered_yet() {
    let (proxy, _server) = echo().await;
    for _ in 0..2 {
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut socket).await.unwrap();
    }
    assert_eq!(proxy.most_unanswered(), 1, "one after the other");
    proxy.stall();
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    eventually("all three wait", async || proxy.most_unanswered() == 3).await;
}

#[tokio::test]
async fn it_passes_on_and_delays() {
    let (proxy, _server) = echo().await;
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut socket).await.unwrap(), b'x');
    proxy.delay(Duration::from_millis(50));
    let began = Instant::now();
    assert_eq!(say(&mut socket).await.unwrap(), b'x');
    assert!(began.elapsed() >= Duration::from_millis(100), "both ways");
    assert_eq!((proxy.accepted(), proxy.open()), (1, 1));
}

#[tokio::test]
async fn a_stalled_line_is_silent_and_then_goes_on() {
    let (proxy, _server) = echo().await;
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut socket).await.unwrap();
    proxy.stall();
    socket.write_all(b"y").await.unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(50), socket.read_u8()).await;
    assert!(silence.is_err());
    proxy.restore();
    assert_eq!(socket.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn a_cut_line_is_reset_and_new_ones_with_it() {
    let (proxy, _server) = echo().await;
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut socket).await.unwrap();
    proxy.cut();
    assert!(socket.read_u8().await.is_err());
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(say(&mut late).await.is_err());
    proxy.restore();
    let mut later = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut later).await.unwrap(), b'x');
    eventually("only the last is open", async || proxy.open() == 1).await;
}

#[tokio::test]
async fn lines_are_dropped_or_reset_and_the_proxy_goes_on() {
    let (proxy, _server) = echo().await;
    for reset in [false, true] {
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        say(&mut socket).await.unwrap();
        if reset {
            proxy.reset_connections();
            assert!(socket.read_u8().await.is_err());
        } else {
            proxy.drop_connections();
            assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
        }
    }
}
