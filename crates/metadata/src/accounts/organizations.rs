//! Organizations: names that repositories and teams belong to.

use super::{AccountName, INSERT_NAMESPACE};
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read as _, Statement, Tx};

static INSERT_ORGANIZATION: Statement = statement!(
    "accounts.insert_organization",
    [TEXT, TEXT],
    "INSERT INTO account (kind, name, description) VALUES ('organization', $1, $2)
     ON CONFLICT (name) DO NOTHING
     RETURNING id",
);

/// Makes an organization, and the namespace of the same name.
///
/// # Errors
/// [`Error::NameTaken`] where either is somebody's already, or the name is a robot's.
pub async fn create_organization(
    tx: &Tx,
    name: &AccountName,
    description: &str,
) -> Result<AccountId, Error> {
    if name.is_robot() {
        return Err(Error::NameTaken);
    }
    let made = tx
        .query_opt(&INSERT_ORGANIZATION, &[&name.as_str(), &description])
        .await?;
    let Some(row) = made else {
        return Err(Error::NameTaken);
    };
    let id: AccountId = row.try_get(0).map_err(Error::decoding("account"))?;
    let has_namespace = tx
        .execute(&INSERT_NAMESPACE, &[&name.as_str(), &id])
        .await?
        == 1;
    if has_namespace {
        Ok(id)
    } else {
        Err(Error::NameTaken)
    }
}

pub(crate) static STATEMENTS: &[&Statement] = &[&INSERT_ORGANIZATION];
