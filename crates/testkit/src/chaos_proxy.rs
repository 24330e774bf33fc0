//! A TCP proxy that misbehaves on command: slow, silent, broken, or not there at all.
//!
//! Stands between the code under test and a server, or several in turn. What it does to new connections and to those
//! that exist is one [`Mood`]; it can change at any time and acts at once.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, PoisonError, RwLock,
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

/// A proxy to one server or to several in turn, gone when dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    breaks: watch::Sender<Break>,
    servers: Arc<Servers>,
    counts: Arc<Counts>,
    _task: JoinSet<()>,
}

/// Where it leads, each new connection to the next.
#[derive(Debug)]
struct Servers {
    addresses: RwLock<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Servers {
    fn next(&self) -> SocketAddr {
        let addresses = self
            .addresses
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        addresses[turn % addresses.len()]
    }
}

/// What it has seen.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    unanswered: AtomicUsize,
    most_unanswered: AtomicUsize,
}

/// A connection whose server has said nothing yet; the end of that is the end of this.
struct Unanswered(Arc<Counts>);

impl Unanswered {
    fn begin(counts: &Arc<Counts>) -> Self {
        let now = counts.unanswered.fetch_add(1, Ordering::AcqRel) + 1;
        counts.most_unanswered.fetch_max(now, Ordering::AcqRel);
        Self(Arc::clone(counts))
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::AcqRel);
    }
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
        Self::round_robin(&[server]).await
    }

    /// Starts a proxy that leads each new connection to the next of `servers`, as a load balancer does.
    pub async fn round_robin(servers: &[SocketAddr]) -> Self {
        let servers = Arc::new(Servers {
            addresses: RwLock::new(servers.to_vec()),
            next: AtomicUsize::new(0),
        });
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
        let counts = Arc::<Counts>::default();
        let door = Door {
            servers: Arc::clone(&servers),
            mood: mood.subscribe(),
            breaks: breaks.subscribe(),
            counts: Arc::clone(&counts),
        };
        let mut task = JoinSet::new();
        task.spawn(serve(listener, door));
        Self {
            address,
            mood,
            breaks,
            servers,
            counts,
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

    /// Leads new connections to `server` from now on, as a name does that moved to a promoted server.
    pub fn lead_to(&self, server: SocketAddr) {
        let addresses = self.servers.addresses.write();
        *addresses.unwrap_or_else(PoisonError::into_inner) = vec![server];
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
        self.counts.accepted.load(Ordering::Acquire)
    }

    /// Connections that exist now.
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Acquire)
    }

    /// The most connections there have been at once whose server had not said a word yet: attempts to log in.
    pub fn most_unanswered(&self) -> usize {
        self.counts.most_unanswered.load(Ordering::Acquire)
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
    servers: Arc<Servers>,
    mood: watch::Receiver<Mood>,
    breaks: watch::Receiver<Break>,
    counts: Arc<Counts>,
}

async fn serve(listener: TcpListener, door: Door) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                door.counts.accepted.fetch_add(1, Ordering::AcqRel);
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
        let counts = Arc::clone(&self.counts);
        counts.open.fetch_add(1, Ordering::AcqRel);
        self.pass(client).await;
        counts.open.fetch_sub(1, Ordering::AcqRel);
    }

    async fn pass(&mut self, client: TcpStream) {
        let unanswered = Unanswered::begin(&self.counts);
        if *self.mood.borrow() == Mood::Cut {
            let _ = client.set_zero_linger();
            return;
        }
        let Ok(server) = TcpStream::connect(self.servers.next()).await else {
            let _ = client.set_zero_linger();
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut upwards = Flow::new(from_client, to_server, self.mood.clone());
        let mut downwards = Flow::new(from_server, to_client, self.mood.clone());
        downwards.unanswered = Some(unanswered);
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
    /// Until the first piece has been passed on.
    unanswered: Option<Unanswered>,
}

impl Flow {
    fn new(from: OwnedReadHalf, to: OwnedWriteHalf, mood: watch::Receiver<Mood>) -> Self {
        Self {
            from,
            to,
            mood,
            unanswered: None,
        }
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
            self.unanswered = None;
            self.to.write_all(&buffer[..length]).await?;
        }
    }
}
