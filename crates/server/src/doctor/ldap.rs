//! The directory: whether each of its servers answers to who looks people up.

use super::finding::Finding;
use crate::config::Config;
use crate::ldap::{Directory, Trouble};
use crate::wire;
use portolan_auth::SystemClock;
use std::sync::Arc;

/// Asks every server.
pub(super) async fn examine(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let seal = wire::key_policy(config)?.seal;
    let directory = match Directory::new(&config.ldap, &seal, Arc::new(SystemClock)) {
        Ok(None) => return Ok(Vec::new()),
        Ok(Some(directory)) => directory,
        Err(cause) => {
            let advice = "correct the section `ldap` of the configuration";
            return Ok(vec![Finding::problem(
                "directory",
                format!("{cause:#}"),
                advice,
            )]);
        }
    };
    let found = directory.examine().await;
    Ok(found
        .into_iter()
        .map(|(url, outcome)| finding(&url, outcome))
        .collect())
}

fn finding(url: &str, outcome: Result<(), Trouble>) -> Finding {
    let about = format!("directory {url}");
    match outcome {
        Ok(()) => Finding::good(
            about,
            "it answers, and lets in who looks people up; the bases are there",
        ),
        Err(trouble) => Finding::problem(about, trouble.to_string(), advice(&trouble)),
    }
}

fn advice(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Lost(_) => {
            "see whether it runs, and is reached under this name: a certificate must be of that name, and signed by one of `ldap.ca_file` (or of the system's)"
        }
        Trouble::Silent | Trouble::GroupsLate => {
            "see whether it runs, and whether a firewall drops what is sent there"
        }
        Trouble::NotLetIn(_) => "correct `ldap.bind_dn` and `ldap.bind_password`",
        Trouble::Refused(..) => {
            "correct `ldap.users.base` and `ldap.groups.base`, and see what `ldap.bind_dn` may read"
        }
        Trouble::Broken => {
            "see whether this is the port of LDAP (389), or that of LDAP over TLS (636)"
        }
    }
}
