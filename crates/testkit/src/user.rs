//! As whom servers run that a test starts as root: as in production, not as root.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A user of the system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The first of `names` that there is, if this is root.
    pub(crate) fn other_than_root(names: &[&str]) -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        is_root.then(|| {
            let found = names.iter().find_map(|name| Self::named(name));
            found.unwrap_or_else(|| panic!("root has none of the users {names:?}"))
        })
    }

    fn named(name: &str) -> Option<Self> {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Self {
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    }

    /// Lets `command` run as this user.
    pub(crate) fn run(self, command: &mut Command) {
        command.gid(self.gid).uid(self.uid);
    }

    /// Gives a file or folder to the user.
    pub(crate) fn own(self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).expect("root may give its files away");
    }
}
