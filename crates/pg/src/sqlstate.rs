//! What a SQLSTATE means to a caller. The codes are those of PostgreSQL's Appendix A.

use tokio_postgres::error::SqlState;

/// Whether running the whole transaction again may succeed: a deadlock or a serialization failure, or a row it refers
/// to was removed between two statements (a foreign key), or the server has forgotten or outgrown a prepared plan.
pub fn is_retryable(code: &SqlState) -> bool {
    [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::FOREIGN_KEY_VIOLATION,
    ]
    .contains(code)
        || is_stale_plan(code)
}

/// Whether the server refused a write because it is, or has become, read-only: a standby, or `default_transaction_read_only`.
pub fn is_read_only(code: &SqlState) -> bool {
    *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

/// Whether the server is out of room on its disk.
pub fn is_disk_full(code: &SqlState) -> bool {
    *code == SqlState::DISK_FULL
}

/// Whether the server, or the role's `CONNECTION LIMIT`, has no connection left for us.
pub fn is_too_many_connections(code: &SqlState) -> bool {
    *code == SqlState::TOO_MANY_CONNECTIONS
}

/// Whether the server is ending, has ended or has not yet begun its work: `57P01` to `57P03`, and `57P05` for a
/// session it found idle for too long.
pub fn is_shutting_down(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_SESSION_TIMEOUT,
    ]
    .contains(code)
}

/// Whether the server ended a statement that took too long, or that somebody cancelled.
pub fn is_cancelled(code: &SqlState) -> bool {
    *code == SqlState::QUERY_CANCELED
}

/// Whether a standby may have ended a statement because of what it had to replay. Cancelled statements look the same.
pub fn is_recovery_conflict(code: &SqlState) -> bool {
    *code == SqlState::T_R_SERIALIZATION_FAILURE || is_cancelled(code)
}

/// Whether no number of attempts to connect will help before somebody changes the configuration: a wrong password or
/// role (class 28), a database that does not exist, or one whose CONNECT privilege the role has not.
pub fn is_refused_for_good(code: &SqlState) -> bool {
    code.code().starts_with("28")
        || [
            SqlState::UNDEFINED_DATABASE,
            SqlState::INSUFFICIENT_PRIVILEGE,
        ]
        .contains(code)
}

/// Whether a prepared statement is gone (`DISCARD` by a pooler) or its result has changed shape (a migration).
pub fn is_stale_plan(code: &SqlState) -> bool {
    [
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::FEATURE_NOT_SUPPORTED,
    ]
    .contains(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_run_again_for_deadlock_serialization_and_vanished_references() {
        for code in ["40P01", "40001", "23503"] {
            assert!(is_retryable(&SqlState::from_code(code)), "{code}");
        }
        for code in ["23505", "57014", "25006", "53100", "42601"] {
            assert!(!is_retryable(&SqlState::from_code(code)), "{code}");
        }
    }

    #[test]
    fn a_wrong_password_is_not_tried_again_soon() {
        for code in ["28P01", "28000", "3D000", "42501"] {
            assert!(is_refused_for_good(&SqlState::from_code(code)), "{code}");
        }
        for code in ["53300", "57P03", "08006"] {
            assert!(!is_refused_for_good(&SqlState::from_code(code)), "{code}");
        }
    }
}
