//! A TCP proxy that misbehaves on command: slow, silent, broken, or not there at all.
//!
//! Stands between the code under test and a server. What it does to new connections and to those that exist is one
//! [`Mood`]; it can change at any time and acts at once.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// How the proxy behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Passes everything on, each piece this much later.
    Forward {
        /// Zero for at once.
        delay: Duration,
    },
    /// Accepts, and passes nothing on in either direction: a half-open line, or a server that hangs.
    Stall,
    /// Resets what exists and every new connection: a host that is up with nothing listening.
    Cut,
}

/// A proxy to one server, gone when dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    breaks: watch::Sender<Break>,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

/// The last order to end the connections that exist; a new number is a new order.
#[derive(Debug, Clone, Copy)]
struct Break {
    number: u64,
    with_reset: bool,
}

impl ChaosProxy {
    /// Starts a proxy to `server` on a port of its own. Must run in the runtime of the test.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let mood = watch::Sender::new(Mood::Forward {
            delay: Duration::ZERO,
        });
        let breaks = watch::Sender::new(Break {
            number: 0,
            with_reset: false,
        });
        let (accepted, open) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let door = Door {
            server,
            mood: mood.subscribe(),
            breaks: breaks.subscribe(),
            open: Arc::clone(&open),
        };
        let mut task = JoinSet::new();
        task.spawn(serve(listener, door, Arc::clone(&accepted)));
        Self {
            address,
            mood,
            breaks,
            accepted,
            open,
            _task: task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same URL, through the proxy.
    pub fn through(&self, url: &str) -> String {
        let (before, after) = url.split_once('@').expect("the URL names a user");
        let path = after.find('/').expect("the URL names a database");
        format!("{before}@{}{}", self.address, &after[path..])
    }

    /// Passes everything on `delay` later.
    pub fn delay(&self, delay: Duration) {
        self.mood.send_replace(Mood::Forward { delay });
    }

    /// Passes nothing on any more, and closes nothing.
    pub fn stall(&self) {
        self.mood.send_replace(Mood::Stall);
    }

    /// Resets what exists and refuses what comes.
    pub fn cut(&self) {
        self.mood.send_replace(Mood::Cut);
    }

    /// Behaves again. What was stalled flows on; what was cut stays cut.
    pub fn restore(&self) {
        self.delay(Duration::ZERO);
    }

    /// Closes the connections that exist in order, as a load balancer does that has had enough of them.
    pub fn drop_connections(&self) {
        self.break_all(false);
    }

    /// Resets the connections that exist.
    pub fn reset_connections(&self) {
        self.break_all(true);
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Acquire)
    }

    /// Connections that exist now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn break_all(&self, with_reset: bool) {
        self.breaks.send_modify(|order| {
            order.number += 1;
            order.with_reset = with_reset;
        });
    }
}

/// What each connection needs.
#[derive(Debug, Clone)]
struct Door {
    server: SocketAddr,
    mood: watch::Receiver<Mood>,
    breaks: watch::Receiver<Break>,
    open: Arc<AtomicUsize>,
}

async fn serve(listener: TcpListener, door: Door, accepted: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                accepted.fetch_add(1, Ordering::AcqRel);
                let mut door = door.clone();
                // Orders given before it came do not concern it.
                door.breaks.mark_unchanged();
                connections.spawn(door.handle(client));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Door {
    async fn handle(mut self, client: TcpStream) {
        let open = Arc::clone(&self.open);
        open.fetch_add(1, Ordering::AcqRel);
        self.pass(client).await;
        open.fetch_sub(1, Ordering::AcqRel);
    }

    async fn pass(&mut self, client: TcpStream) {
        if *self.mood.borrow() == Mood::Cut {
            let _ = client.set_zero_linger();
            return;
        }
        let Ok(server) = TcpStream::connect(self.server).await else {
            let _ = client.set_zero_linger();
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut upwards = Flow::new(from_client, to_server, self.mood.clone());
        let mut downwards = Flow::new(from_server, to_client, self.mood.clone());
        let mut mood = self.mood.clone();
        let with_reset = tokio::select! {
            // Either side ended: so does the other, in order.
            _ = upwards.run() => false,
            _ = downwards.run() => false,
            _ = mood.wait_for(|mood| *mood == Mood::Cut) => true,
            _ = self.breaks.changed() => self.breaks.borrow().with_reset,
        };
        if with_reset {
            for half in [&upwards.to, &downwards.to] {
                let _ = half.as_ref().set_zero_linger();
            }
        }
    }
}

/// One direction of a connection.
struct Flow {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    mood: watch::Receiver<Mood>,
}

impl Flow {
    fn new(from: OwnedReadHalf, to: OwnedWriteHalf, mood: watch::Receiver<Mood>) -> Self {
        Self { from, to, mood }
    }

    async fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = self.from.read(&mut buffer).await?;
            let mood = *self
                .mood
                .wait_for(|mood| *mood != Mood::Stall)
                .await
                .map_err(io::Error::other)?;
            if let Mood::Forward { delay } = mood
                && !delay.is_zero()
            {
                sleep(delay).await;
            }
            if length == 0 {
                return self.to.shutdown().await;
            }
            self.to.write_all(&buffer[..length]).await?;
        }
    }
}
