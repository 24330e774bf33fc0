//! CPU time and memory of the server's processes, read from `/proc`.

use anyhow::Context as _;
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How often memory is looked at; a peak shorter than this is missed for children, not for the
/// named processes, whose peak the kernel keeps.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// What the server used while it was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time of the processes and all their descendants.
    pub(crate) cpu: Duration,
    /// The largest sum of the resident sets of the named processes (not their children) in bytes.
    pub(crate) peak_resident: u64,
}

/// Looks at the processes until it is told to stop.
pub(crate) struct Sampler {
    before: Duration,
    pids: Vec<u32>,
    stop: oneshot::Sender<()>,
    peak: JoinHandle<u64>,
}

impl Sampler {
    pub(crate) fn start(pids: &[u32]) -> anyhow::Result<Self> {
        let (stop, mut stopped) = oneshot::channel();
        let watched = pids.to_vec();
        let sampling = async move {
            let mut peak = 0;
            let mut tick = tokio::time::interval(SAMPLE_EVERY);
            loop {
                tokio::select! {
                    _ = tick.tick() => peak = peak.max(resident(&watched)),
                    _ = &mut stopped => return peak,
                }
            }
        };
        let peak = tokio::runtime::Handle::current().spawn(sampling);
        Ok(Self {
            before: cpu(pids)?,
            pids: pids.to_vec(),
            stop,
            peak,
        })
    }

    pub(crate) async fn finish(self) -> anyhow::Result<Option<Usage>> {
        let after = cpu(&self.pids)?;
        // The sampler may only be gone because the runtime is going down.
        let _ = self.stop.send(());
        let peak_resident = self.peak.await?;
        let cpu = after.saturating_sub(self.before);
        Ok((!self.pids.is_empty()).then_some(Usage { cpu, peak_resident }))
    }
}

/// CPU time of whole process trees. A child that ends moves its time to its parent's account, which
/// is read as well, so that the sum never loses any.
fn cpu(roots: &[u32]) -> anyhow::Result<Duration> {
    let mut tree: HashSet<u32> = roots.iter().copied().collect();
    let stats = all_stats();
    loop {
        let children = stats.iter().filter(|stat| tree.contains(&stat.parent));
        let grown: HashSet<u32> = children
            .map(|stat| stat.pid)
            .chain(tree.iter().copied())
            .collect();
        if grown.len() == tree.len() {
            break;
        }
        tree = grown;
    }
    for root in roots {
        let found = stats.iter().any(|stat| stat.pid == *root);
        anyhow::ensure!(found, "there is no process {root}");
    }
    let ticks: u64 = stats
        .iter()
        .filter(|stat| tree.contains(&stat.pid))
        .map(|s| s.ticks)
        .sum();
    Ok(Duration::from_micros(
        ticks * MICROS / rustix::param::clock_ticks_per_second(),
    ))
}

/// Microseconds in a second.
const MICROS: u64 = 1_000_000;

struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

fn all_stats() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| read_stat(pid).ok())
        .collect()
}

/// proc(5): the command is in parentheses and may hold anything, so fields count from the last `)`.
fn read_stat(pid: u32) -> anyhow::Result<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("no command in stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).context("a short stat line");
    let parent = field(4)?.parse()?;
    let mut ticks = 0;
    for number in 14..=17 {
        ticks += field(number)?.parse::<u64>()?;
    }
    Ok(Stat { pid, parent, ticks })
}

fn resident(pids: &[u32]) -> u64 {
    let one = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    pids.iter().filter_map(one).sum::<u64>() * 1024
}
