//! How a statement is declared, and the list of all of them for the tests that prepare and explain each.

use portolan_pg::Statement;

/// A statement beside the function that runs it: its name, the types of its parameters, its text.
macro_rules! statement {
    ($name:literal, [$($type:ident),*], $sql:expr $(,)?) => {
        portolan_pg::Statement {
            name: $name,
            sql: $sql,
            types: &[$(tokio_postgres::types::Type::$type),*],
        }
    };
}
pub(crate) use statement;

/// Every statement of this crate, point reads included.
///
/// A test prepares each against the migrated schema and asks for its plan: one that scans a table is a
/// missing index.
pub fn statements() -> impl Iterator<Item = &'static Statement> {
    [
        crate::access::STATEMENTS,
        crate::accounts::STATEMENTS,
        crate::accounts::ORGANIZATION_STATEMENTS,
        crate::accounts::REMOVAL_STATEMENTS,
        crate::accounts::ROW_STATEMENTS,
        crate::accounts::USER_STATEMENTS,
        crate::audit::STATEMENTS,
        crate::blobs::STATEMENTS,
        crate::browser_sessions::STATEMENTS,
        crate::catalog::STATEMENTS,
        crate::credentials::STATEMENTS,
        crate::external_identities::STATEMENTS,
        crate::federation::STATEMENTS,
        crate::default_permissions::STATEMENTS,
        crate::explain::STATEMENTS,
        crate::gc::STATEMENTS,
        crate::jobs::STATEMENTS,
        crate::lockouts::STATEMENTS,
        crate::manifest_contents::STATEMENTS,
        crate::manifests::STATEMENTS,
        crate::manifests::REMOVAL_STATEMENTS,
        crate::migrate::STATEMENTS,
        crate::namespaces::STATEMENTS,
        crate::object_delete::STATEMENTS,
        crate::passwords::STATEMENTS,
        crate::permissions::STATEMENTS,
        crate::read_only::STATEMENTS,
        crate::recovery::STATEMENTS,
        crate::referrers::STATEMENTS,
        crate::repositories::STATEMENTS,
        crate::repositories::CHANGE_STATEMENTS,
        crate::repositories::REMOVAL_STATEMENTS,
        crate::repositories::ROW_STATEMENTS,
        crate::rights::STATEMENTS,
        crate::robots::STATEMENTS,
        crate::sessions::STATEMENTS,
        crate::signing_keys::STATEMENTS,
        crate::stores::STATEMENTS,
        crate::tags::STATEMENTS,
        crate::teams::STATEMENTS,
        crate::teams::GROUP_STATEMENTS,
        crate::teams::MEMBER_STATEMENTS,
        crate::uploads::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}
