//! Which account Postgres runs as: ours, or, since it refuses to run as root, one without rights.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use tokio::process::Command;

use super::error::Error;

/// The account of every process of the private Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The one that runs the quickstart.
    Own,
    /// Another one, taken because the quickstart runs as root.
    Other {
        /// Its number.
        user: u32,
        /// Its first group.
        group: u32,
    },
}

impl Account {
    /// The account that owns `cluster`; for one that does not exist yet, `postgres` or else `nobody` in root's place.
    pub(super) fn choose(cluster: &Path) -> Result<Self, Error> {
        let own = rustix::process::geteuid().as_raw();
        let Ok(metadata) = fs::metadata(cluster) else {
            if own != 0 {
                return Ok(Self::Own);
            }
            let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
            return unprivileged(&accounts).ok_or(Error::NoUser);
        };
        match (own, metadata.uid()) {
            (0, 1..) => Ok(Self::Other {
                user: metadata.uid(),
                group: metadata.gid(),
            }),
            (1.., owner) if owner == own => Ok(Self::Own),
            (_, owner) => Err(Error::WrongUser {
                path: cluster.to_path_buf(),
                owner,
            }),
        }
    }

    /// Gives a file or folder to the account.
    pub(super) fn give(self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Own => Ok(()),
            Self::Other { user, group } => {
                chown(path, Some(user), Some(group)).map_err(Error::io("give away", path))
            }
        }
    }

    /// A command that runs as the account, from `/`, with nothing of our environment but a plain one: neither the
    /// language of the user (a locale that is not installed stops `initdb`) nor a `PG…` variable reaches Postgres.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs([("LC_ALL", "C"), ("TZ", "UTC"), ("PATH", "/usr/bin:/bin")])
            .current_dir("/")
            .stdin(std::process::Stdio::null());
        if let Self::Other { user, group } = self {
            // With a user set, the standard library drops root's supplementary groups as well.
            command.uid(user).gid(group);
        }
        command
    }
}

/// `postgres`, which Debian's package makes, else `nobody`.
fn unprivileged(passwd: &str) -> Option<Account> {
    ["postgres", "nobody"].iter().find_map(|name| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next()? == *name;
            let user: u32 = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            (found && user != 0).then_some(Account::Other { user, group })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_hands_postgres_to_an_account_without_rights() {
        let debian = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:n:/:/bin/false\n\
                      postgres:x:105:110::/var/lib/postgresql:/bin/bash\n";
        assert_eq!(
            unprivileged(debian),
            Some(Account::Other {
                user: 105,
                group: 110
            })
        );
        let (bare, _) = debian.split_once("postgres").unwrap();
        assert_eq!(
            unprivileged(bare),
            Some(Account::Other {
                user: 65534,
                group: 65533
            })
        );
        assert_eq!(unprivileged("postgres:x:0:0::/:/bin/sh\nbroken\n"), None);
    }
}
