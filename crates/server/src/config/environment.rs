//! The environment as a layer: our own variables, and those of others that we understand.

use super::distribution;
use super::report::Report;
use super::tree::{Node, Raw, Source};
use std::ffi::OsString;

/// Variables that other commands of ours read themselves.
const OTHER_COMMANDS: &str = "PORTOLAN_BENCH_";
/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "PORTOLAN_";

/// Lays the environment over `tree`: Distribution's variables first, ours over them. Returns what an operator
/// should know of variables that have no effect.
pub(super) fn apply(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    tree: &mut Node,
    report: &mut Report,
) -> Vec<String> {
    let mut ours = Vec::new();
    let mut foreign = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let is_ours = name.starts_with(PREFIX);
        let is_setting = is_ours || distribution::claims(name);
        if !is_setting || name.starts_with(OTHER_COMMANDS) || is_service_link(name) {
            continue;
        }
        let Some(value) = value.to_str() else {
            report.bad(
                name,
                Source::Variable(name.to_owned()),
                "is not valid UTF-8",
            );
            continue;
        };
        let into = if is_ours { &mut ours } else { &mut foreign };
        into.push((name.to_owned(), value.to_owned()));
    }
    foreign.sort();
    let mut notes = Vec::new();
    for (name, value) in &foreign {
        match distribution::translate(name, value) {
            Ok(settings) => {
                for (key, value) in settings {
                    let path: Vec<&str> = key.split('.').collect();
                    tree.merge(leaf(&path, value, name));
                }
            }
            Err(distribution::Untranslatable::Ignored(why)) => {
                notes.push(format!(
                    "environment variable `{name}` has no effect: {why}"
                ));
            }
            Err(distribution::Untranslatable::Refused(why)) => {
                report.bad(name, Source::Variable(name.clone()), why);
            }
        }
    }
    let mut over = Node::empty();
    ours.sort();
    for (name, value) in ours {
        let path = name[PREFIX.len()..].to_ascii_lowercase();
        let path: Vec<&str> = path.split("__").collect();
        over.merge_beside(leaf(&path, value, &name));
    }
    tree.merge(over);
    notes
}

/// The variable of ours that sets `key`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn leaf(path: &[&str], value: String, name: &str) -> Node {
    Node::at(
        path,
        Node::Leaf(Raw::Text(value), Source::Variable(name.to_owned())),
    )
}

/// Whether Kubernetes made this variable for a Service that is called `portolan` or `registry`, such as
/// `PORTOLAN_PORT_5000_TCP_ADDR`: it does so in every pod of the namespace, and it is no setting.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str) -> bool {
    if name.contains("__") {
        return false;
    }
    let after = |marker: &str| name.find(marker).map(|start| &name[start + marker.len()..]);
    if name.ends_with("_SERVICE_HOST")
        || after("_SERVICE_PORT").is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    {
        return true;
    }
    after("_PORT").is_some_and(|rest| {
        let mut parts = rest.split('_').skip(1);
        rest.is_empty()
            || (rest.starts_with('_')
                && parts.next().is_some_and(|port| port.parse::<u16>().is_ok())
                && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
                && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
                && parts.next().is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_service_links_are_no_settings() {
        for name in [
            "PORTOLAN_SERVICE_HOST",
            "PORTOLAN_SERVICE_PORT",
            "PORTOLAN_SERVICE_PORT_HTTP",
            "PORTOLAN_PORT",
            "PORTOLAN_PORT_5000_TCP",
            "PORTOLAN_PORT_5000_TCP_ADDR",
            "PORTOLAN_PRIVATE_PORT_5001_TCP_PROTO",
            "PORTOLAN_PRIVATE_SERVICE_HOST",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in [
            "PORTOLAN_HTTP__LISTEN",
            "PORTOLAN_PORTS",
            "PORTOLAN_PORT_X",
            "PORTOLAN_ROLES",
        ] {
            assert!(!is_service_link(name), "{name}");
        }
    }

    #[test]
    fn names_follow_the_keys() {
        assert_eq!(variable_of("http.tls.cert"), "PORTOLAN_HTTP__TLS__CERT");
    }
}
