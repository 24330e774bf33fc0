//! What to do about a database that cannot be used: the one place that says so, for the start and for the doctor.

use portolan_pg::{DialError, Error, Router, Survey};

/// Which of the configured servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `database.primary`
    Primary,
    /// One of `database.replicas`
    Replica,
}

impl Place {
    const fn key(self) -> &'static str {
        match self {
            Self::Primary => "database.primary",
            Self::Replica => "database.replicas",
        }
    }
}

/// What went wrong, with what led to it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // The driver repeats its cause in its own words.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

/// What to do about it.
pub(crate) fn advice(error: &Error, place: Place, grantee: &Grantee) -> String {
    match error {
        Error::Unavailable { source, .. } => about_dial(source, place, grantee),
        error if error.is_overload() => {
            "the connections that there may be are all busy: see the budget above, and what holds them".to_owned()
        }
        error => match error.sqlstate() {
            Some(state) if state.code() == "42501" => grantee.grants(),
            _ => format!("see the server's log; `{}` leads there", place.key()),
        },
    }
}

/// Whom rights are granted to, and where.
#[derive(Debug, Clone)]
pub(crate) struct Grantee {
    role: String,
    schema: String,
}

impl Grantee {
    /// By the configuration, while the database lets nobody ask.
    pub(crate) fn of(router: &Router) -> Self {
        Self {
            role: router.primary_role().map_or("…".to_owned(), quoted),
            schema: quoted("public"),
        }
    }

    /// As the database says.
    pub(crate) fn surveyed(survey: &Survey) -> Self {
        Self {
            role: quoted(&survey.role),
            schema: quoted(&survey.schema),
        }
    }

    /// Everything that the registry needs.
    pub(crate) fn grants(&self) -> String {
        let Self { role, schema } = self;
        format!(
            "grant the role what the registry needs: `GRANT USAGE ON SCHEMA {schema}, portolan_pg TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema}, portolan_pg TO {role}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}; \
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}`, or run `portolan migrate up` as this role"
        )
    }
}

/// A name as SQL takes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn about_dial(error: &DialError, place: Place, grantee: &Grantee) -> String {
    let key = place.key();
    match error {
        DialError::Refused(_) => about_refusal(error, place, grantee),
        DialError::TimedOut { .. } | DialError::Slow { .. } => format!(
            "nothing answers in time: see whether the address in `{key}` is right and a firewall lets this machine through"
        ),
        DialError::WrongRole { .. } => match place {
            Place::Primary => "`database.primary` leads to a standby: name the server that takes writes. After a fail-over that is the new primary".to_owned(),
            Place::Replica => "this server is a primary, not a standby: take it out of `database.replicas`, or make it follow the primary".to_owned(),
        },
        DialError::OtherCluster => {
            "this standby does not follow `database.primary`: take it out of `database.replicas`, or correct which of the two is meant".to_owned()
        }
        DialError::Unidentified => format!("reach it over TCP, directly: correct `{key}`"),
        DialError::Pooled => {
            format!("name the server's own address in `{key}`: a pooler may stand before the primary only")
        }
        DialError::WrongIsolation => {
            "`ALTER ROLE … SET default_transaction_isolation = 'read committed'` for the role, or for the database".to_owned()
        }
        DialError::TooOld { .. } => "upgrade the server: PostgreSQL 15 is the oldest that works".to_owned(),
    }
}

/// By the code that the server refused with.
fn about_refusal(error: &DialError, place: Place, grantee: &Grantee) -> String {
    let key = place.key();
    let code = match error.sqlstate() {
        Some(state) => state.code(),
        None => "",
    };
    match code {
        code if code.starts_with("28") => format!(
            "correct the user or the password in `{key}`; or the server's `pg_hba.conf` lets this role not in from here"
        ),
        "3D000" => format!("correct the database's name in `{key}`, or create it"),
        "42501" => format!(
            "`GRANT CONNECT ON DATABASE … TO {}`; and {}",
            grantee.role,
            grantee.grants()
        ),
        "53300" => "no connection is left for this role: end sessions of other programs, raise `max_connections` or the \
             role's `CONNECTION LIMIT`, or lower `database.pool.max` times `database.pool.processes`"
            .to_owned(),
        "57P01" | "57P02" | "57P03" => "the server is starting or stopping: wait, or see its log".to_owned(),
        _ => format!(
            "see whether the server runs, the address and `sslmode` in `{key}` are right, and a firewall lets this machine through"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_pg::Role;
    use std::time::Duration;

    #[test]
    fn an_old_server_and_one_in_the_wrong_place_are_explained() {
        let nobody = Grantee {
            role: quoted("a-b"),
            schema: quoted("public"),
        };
        assert!(
            nobody
                .grants()
                .contains("SCHEMA \"public\", portolan_pg TO \"a-b\";")
        );
        let of = |source| Error::Unavailable {
            retry_after: Duration::from_secs(1),
            source,
        };
        let old = of(DialError::TooOld {
            version: 140_009,
            oldest: 150_000,
        });
        assert!(advice(&old, Place::Primary, &nobody).starts_with("upgrade the server"));
        assert!(chain(&old).contains("140009"), "{}", chain(&old));
        let standby = of(DialError::WrongRole {
            expected: Role::Primary,
        });
        assert!(advice(&standby, Place::Primary, &nobody).contains("leads to a standby"));
    }
}
