//! What a session must be like, and how to make it so.
//!
//! On a direct connection we set it ourselves ([`crate::connect`]). A pooler lends the sessions of others, where the
//! role's own settings are all there is; so they are compared, and each that is wrong comes with the line that mends it.

use std::{fmt, time::Duration};

use crate::policy::StatementLimits;

/// A setting of our sessions that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// Which.
    pub name: &'static str,
    /// What it is.
    pub found: String,
    /// What it must be; a shorter time is good as well.
    pub needed: String,
    /// The statement that makes it so for the sessions that begin afterwards.
    pub mend: String,
}

impl fmt::Display for WrongSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            found,
            needed,
            mend,
        } = self;
        write!(
            f,
            "`{name}` is `{found}` in our sessions and must be `{needed}`: {mend}"
        )
    }
}

/// What the planner is told. Our statements look up keys, and each has an index for it; what the statistics make of a table
/// that is nearly empty yet, or whose rows are all alike, must not make it read the whole of one. A plan is kept until the
/// table is analysed again, however much it grows meanwhile.
pub const PLANNER: [(&str, &str); 3] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    // A scan that cannot be avoided is priced so high that each run of it would be compiled.
    ("jit", "off"),
];

/// What a setting must be.
#[derive(Debug, Clone, Copy)]
enum Need {
    Word(&'static str),
    /// A time in milliseconds; not zero, which is none.
    AtMost(Duration),
}

/// The settings, with what each must be. Another isolation than ours is refused when a connection is made
/// ([`crate::identify`]).
fn needs(limits: &StatementLimits) -> Vec<(&'static str, Need)> {
    let planner = PLANNER.map(|(name, value)| (name, Need::Word(value)));
    let others = [
        // A lane that waits longer holds up everybody behind it.
        ("statement_timeout", Need::AtMost(limits.lane)),
        // What was acknowledged must be on disk.
        ("synchronous_commit", Need::Word("on")),
        // A process that was stopped must not keep its locks.
        (
            "idle_in_transaction_session_timeout",
            Need::AtMost(limits.idle_in_transaction),
        ),
        // Some make a server read-only this way.
        ("default_transaction_read_only", Need::Word("off")),
    ];
    planner.into_iter().chain(others).collect()
}

/// Compares what a session of ours has with what it must have. `setting` gives the value of one by its name.
pub(crate) fn wrong_settings(
    limits: &StatementLimits,
    role: &str,
    database: &str,
    setting: impl Fn(&str) -> Option<String>,
) -> Vec<WrongSetting> {
    let mut wrong = Vec::new();
    for (name, need) in needs(limits) {
        let Some(found) = setting(name) else {
            continue;
        };
        if need.is_met_by(&found) {
            continue;
        }
        wrong.push(WrongSetting {
            name,
            found,
            needed: need.to_string(),
            // For this database: that is what wins over the role's other settings.
            mend: format!(
                "ALTER ROLE {} IN DATABASE {} SET {name} = '{need}';",
                quoted(role),
                quoted(database)
            ),
        });
    }
    wrong
}

impl Need {
    fn is_met_by(self, found: &str) -> bool {
        match self {
            Self::Word(word) => found == word,
            Self::AtMost(limit) => found
                .parse()
                .is_ok_and(|found: u128| (1..=limit.as_millis()).contains(&found)),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::AtMost(limit) => write!(f, "{}ms", limit.as_millis()),
        }
    }
}

/// An identifier as SQL writes it, whatever is in it.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(session: &[(&str, &str)]) -> Vec<WrongSetting> {
        let limits = StatementLimits::default();
        wrong_settings(&limits, "registry", "my\"db", |name| {
            let found = session.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const GOOD: [(&str, &str); 7] = [
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
        ("statement_timeout", "400"),
        ("synchronous_commit", "on"),
        ("idle_in_transaction_session_timeout", "10000"),
        ("default_transaction_read_only", "off"),
    ];

    #[test]
    fn a_session_that_is_as_it_must_be_needs_nothing() {
        assert_eq!(wrong(&GOOD), []);
    }

    #[test]
    fn each_wrong_setting_comes_with_the_line_that_mends_it() {
        let session = [
            ("plan_cache_mode", "auto"),
            ("enable_seqscan", "on"),
            ("jit", "on"),
            ("statement_timeout", "0"),
            ("synchronous_commit", "off"),
            ("idle_in_transaction_session_timeout", "60000"),
            ("default_transaction_read_only", "on"),
        ];
        let mends: Vec<String> = wrong(&session).into_iter().map(|w| w.mend).collect();
        let line = |set: &str| format!(r#"ALTER ROLE "registry" IN DATABASE "my""db" SET {set};"#);
        assert_eq!(
            mends,
            [
                line("plan_cache_mode = 'force_generic_plan'"),
                line("enable_seqscan = 'off'"),
                line("jit = 'off'"),
                line("statement_timeout = '500ms'"),
                line("synchronous_commit = 'on'"),
                line("idle_in_transaction_session_timeout = '10000ms'"),
                line("default_transaction_read_only = 'off'"),
            ]
        );
    }
}
