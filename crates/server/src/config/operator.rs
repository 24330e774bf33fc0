//! Who runs a command, by the name that he has on this machine.

use std::ffi::OsString;

/// Where a shell says it. After `sudo` the name of whoever used it tells more than that of whom he became.
const VARIABLES: [&str; 3] = ["SUDO_USER", "USER", "LOGNAME"];
/// Longest name that is written down; Linux has 32.
const MAX_LEN: usize = 64;

/// The operator's name, or `root`, whom containers run as and say nothing of. It tells, and guards nothing: whoever has the
/// configuration may do everything.
pub(crate) fn operator() -> String {
    named(|name| std::env::var_os(name))
}

fn named(variable: impl Fn(&str) -> Option<OsString>) -> String {
    let is_name =
        |text: &String| (1..=MAX_LEN).contains(&text.len()) && !text.chars().any(char::is_control);
    VARIABLES
        .iter()
        .filter_map(|name| variable(name)?.into_string().ok())
        .find(is_name)
        .unwrap_or_else(|| "root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn whoever_used_sudo_is_told_and_nobody_is_root() {
        let of = |pairs: &'static [(&str, &str)]| {
            named(|name| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).into())
            })
        };
        assert_eq!(of(&[("USER", "root"), ("SUDO_USER", "alice")]), "alice");
        assert_eq!(of(&[("USER", ""), ("LOGNAME", "bob")]), "bob");
        assert_eq!(of(&[("USER", "a\nb")]), "root");
        assert_eq!(of(&[]), "root");
    }
}
