//! Processes that a test starts, and that must not outlive it: not a failed test, and not one that was killed.
//!
//! Destructors do not run for statics, nor after `kill -9`. So each process, or each folder of processes, has a
//! [`Watchdog`]: a shell that waits for the end of a pipe whose other end only the test process holds.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to begin or end before the test fails: a hundred times what it takes here.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a shell script when this process ends, however it ends, or when this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// `script` sees `argument` as `$1`.
    pub fn start(script: &str, argument: &Path) -> Self {
        let shell = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("cat >/dev/null\n{script}"))
            .arg("watchdog")
            .arg(argument)
            // The pipe's writing end is closed on exec, so that no other child of ours keeps it open.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // A Ctrl-C in the terminal must not reach it before it has done its work.
            .process_group(0)
            .spawn()
            .expect("/bin/sh starts");
        Self { shell }
    }

    /// Calls it off: the script will not run.
    pub fn call_off(mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A process that is killed when this is dropped, or when the test process ends.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    name: String,
    watchdog: Option<Watchdog>,
}

impl Guarded {
    /// Starts `command` in a process group of its own. Panics, naming it, if it cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let child = command
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("`{name}` does not start: {error}"));
        let script = format!("kill -KILL {}", child.id());
        Self {
            child,
            name: name.to_owned(),
            watchdog: Some(Watchdog::start(&script, Path::new("/"))),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal)
            .unwrap_or_else(|error| panic!("`{}` cannot be signalled: {error}", self.name));
    }

    /// Waits until it has ended. Panics if it takes longer than [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_for(&format!("`{name}` to end"), || self.ended())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Only now, and before anything else may be given its process id.
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.call_off();
        }
    }
}

/// Sends a signal to a process.
pub fn signal_process(id: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("not a process id"))?;
    Ok(kill_process(pid, signal)?)
}

/// Runs a command to its end. Panics with what it printed if it fails.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// Asks again and again, blocking the thread, until there is an answer. Panics after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks again and again until it is so. Panics after [`PATIENCE`], naming what was waited for.
pub async fn eventually<F>(what: &str, mut is_so: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
