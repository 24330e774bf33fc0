//! Changes of one's own password.

use crate::accounts::StoredPassword;
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read as _, Statement, Tx};

static UPGRADE: Statement = statement!(
    "passwords.upgrade",
    [INT8, TEXT, TEXT],
    "UPDATE account SET password_hash = $3 WHERE account.id = $1 AND account.password_hash = $2",
);

/// Keeps the same password in another form. Its owner's tokens go on, for nothing has changed for anybody. False: the
/// password is another by now.
pub async fn upgrade(
    tx: &Tx,
    account: AccountId,
    old: &StoredPassword,
    new: &StoredPassword,
) -> Result<bool, Error> {
    let changed = tx
        .execute(&UPGRADE, &[&account, &old.as_str(), &new.as_str()])
        .await?;
    Ok(changed == 1)
}

static CHANGE: Statement = statement!(
    "passwords.change",
    [INT8, INT8, TEXT],
    "UPDATE account SET password_hash = $3, generation = generation + 1
     WHERE account.id = $1 AND account.generation = $2 AND account.kind = 'user' AND account.state = 'active'
     RETURNING account.name",
);

/// Gives an account of that generation another password, ends all its tokens, and returns its name. `None`: its
/// credentials have ended meanwhile.
pub async fn change(
    tx: &Tx,
    account: AccountId,
    generation: i64,
    new: &StoredPassword,
) -> Result<Option<String>, Error> {
    let row = tx
        .query_opt(&CHANGE, &[&account, &generation, &new.as_str()])
        .await?;
    row.map(|row| row.try_get(0))
        .transpose()
        .map_err(Error::decoding("account"))
}

pub(crate) static STATEMENTS: &[&Statement] = &[&UPGRADE, &CHANGE];
