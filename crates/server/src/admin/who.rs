//! Who runs the command line, for the audit log.

use portolan_registry::identity::Actor;

/// Whoever runs this command, by the name that he has on this machine.
pub(super) fn actor() -> Actor {
    Actor::command_line(whoami::username().unwrap_or_else(|_| "unknown".to_owned()))
}
