//! What changes of users: their address, what they may everywhere, whether they may log in.

use super::row::{AccountKind, AccountRow, Superuser, lock};
use super::{AccountName, EmailAddress};
use crate::refused::Refused;
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read as _, Statement, Tx};

static SET_EMAIL: Statement = statement!(
    "accounts.set_email",
    [INT8, TEXT],
    // What was sent to the old address shows nothing of the new one, and its reader may be why it was changed.
    "WITH mails AS (DELETE FROM recovery WHERE recovery.account_id = $1)
     UPDATE account SET email = $2, email_verified = false WHERE account.id = $1",
);

/// The index that lets no two accounts have one address.
const EMAIL_INDEX: &str = "account_email";

/// Sets or takes a user's address, which nobody has shown to be his yet, and ends the mails that went to the one before.
/// The account is locked.
///
/// # Errors
/// [`Refused::EmailTaken`], after which the transaction can only be rolled back.
pub async fn set_email(
    tx: &Tx,
    user: AccountId,
    email: Option<&EmailAddress>,
) -> Result<(), Error> {
    let email = email.map(EmailAddress::as_str);
    match tx.execute_one(&SET_EMAIL, &[&user, &email]).await {
        Err(cause) if cause.constraint() == Some(EMAIL_INDEX) => Err(Refused::EmailTaken.into()),
        done => Ok(done?),
    }
}

static LOCK_SUPERUSERS: Statement = statement!(
    "accounts.lock_superusers",
    [],
    "SELECT account.name FROM account
     WHERE account.superuser AND account.state = 'active'
     ORDER BY account.id
     FOR NO KEY UPDATE",
);

/// Makes sure that there is a superuser who can log in beside this account. Before the account itself is locked.
///
/// Two who would each leave the other as the last one wait for each other here: the second finds the first gone.
///
/// # Errors
/// [`Refused::LastSuperuser`]
pub async fn keep_a_superuser(tx: &Tx, without: &AccountName) -> Result<(), Error> {
    let rows = tx.query(&LOCK_SUPERUSERS, &[]).await?;
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(Error::decoding("account"))?;
    if names == [without.as_str()] {
        return Err(Refused::LastSuperuser.into());
    }
    Ok(())
}

static SET_ACTIVE: Statement = statement!(
    "accounts.set_active",
    [TEXT, BOOL],
    "UPDATE account
     SET state = CASE WHEN $2 THEN 'active' ELSE 'disabled' END, generation = generation + 1
     WHERE account.name = $1 AND account.state <> 'removing'",
);

/// Lets an account log in, or shuts it out; either ends all its tokens. False: there is no such account.
///
/// # Errors
/// [`Refused::LastSuperuser`]
pub async fn set_active(tx: &Tx, name: &AccountName, active: bool) -> Result<bool, Error> {
    if !active {
        keep_a_superuser(tx, name).await?;
    }
    Ok(tx.execute(&SET_ACTIVE, &[&name.as_str(), &active]).await? == 1)
}

static SET_SUPERUSER: Statement = statement!(
    "accounts.set_superuser",
    [INT8, BOOL, BOOL],
    "UPDATE account SET superuser = $2, read_only_superuser = $3 WHERE account.id = $1",
);

/// Sets what a user may everywhere; returns the user as he was.
///
/// # Errors
/// [`Refused::Missing`], [`Refused::LastSuperuser`]
pub async fn set_superuser(
    tx: &Tx,
    name: &AccountName,
    superuser: Superuser,
) -> Result<AccountRow, Error> {
    if superuser != Superuser::On {
        keep_a_superuser(tx, name).await?;
    }
    let user = lock(tx, name, AccountKind::User).await?;
    let (everything, reads) = (superuser == Superuser::On, superuser == Superuser::ReadOnly);
    tx.execute_one(&SET_SUPERUSER, &[&user.id, &everything, &reads])
        .await?;
    Ok(user)
}

pub(crate) static STATEMENTS: &[&Statement] =
    &[&SET_EMAIL, &LOCK_SUPERUSERS, &SET_ACTIVE, &SET_SUPERUSER];
