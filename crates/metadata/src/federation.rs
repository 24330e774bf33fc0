//! Whose ID tokens are as good as a robot's secret.

use crate::accounts::AccountName;
use crate::columns::limit;
use crate::statements::statement;
use crate::{AccountId, Error};
use portolan_pg::{Read, Statement, Tx};
use serde_json::Value;
use tokio_postgres::Row;

/// Most rules of one robot: each login judges all of them.
pub const RULES_MAX: usize = 100;

/// A rule as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRow {
    /// Its number.
    pub id: i64,
    /// Who makes the token.
    pub issuer: String,
    /// For whom.
    pub audience: String,
    /// Of whom: a pattern.
    pub subject: String,
    /// What else it says: an object of patterns.
    pub claims: Value,
}

/// A rule to make.
#[derive(Debug, Clone)]
pub struct NewRule<'a> {
    /// Who makes the token.
    pub issuer: &'a str,
    /// For whom.
    pub audience: &'a str,
    /// Of whom: a pattern.
    pub subject: &'a str,
    /// What else it says: an object of patterns.
    pub claims: Value,
}

/// A robot and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedRobot {
    /// The robot's account.
    pub account: AccountId,
    /// Its generation, for the token.
    pub generation: i64,
    /// Whether it may log in: it is not disabled, has not expired, and neither is its owner.
    pub active: bool,
    /// Its rules, the oldest first.
    pub rules: Vec<RuleRow>,
}

static OF_ROBOT: Statement = statement!(
    "federation.of_robot",
    [TEXT, INT8],
    "SELECT robot.id, robot.generation,
         robot.state = 'active' AND owner.state = 'active' AND (robot.expires_at IS NULL OR robot.expires_at > now()),
         rule.id, rule.issuer, rule.audience, rule.subject, rule.claims
     FROM account AS robot
     JOIN account AS owner ON owner.id = robot.owner_id
     LEFT JOIN federation_rule AS rule ON rule.account_id = robot.id
     WHERE robot.name = $1 AND robot.kind = 'robot'
     ORDER BY rule.id
     LIMIT $2",
);

/// The robot of that name with its rules.
pub async fn of_robot(db: &impl Read, name: &AccountName) -> Result<Option<FederatedRobot>, Error> {
    let rows = db
        .query(&OF_ROBOT, &[&name.as_str(), &limit(RULES_MAX)])
        .await?;
    robot(&rows).map_err(Error::decoding("federation_rule"))
}

fn robot(rows: &[Row]) -> Result<Option<FederatedRobot>, tokio_postgres::Error> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let mut robot = FederatedRobot {
        account: first.try_get(0)?,
        generation: first.try_get(1)?,
        active: first.try_get(2)?,
        rules: Vec::with_capacity(rows.len()),
    };
    for row in rows {
        let Some(id) = row.try_get::<_, Option<i64>>(3)? else {
            // A robot without rules.
            break;
        };
        robot.rules.push(RuleRow {
            id,
            issuer: row.try_get(4)?,
            audience: row.try_get(5)?,
            subject: row.try_get(6)?,
            claims: row.try_get(7)?,
        });
    }
    Ok(Some(robot))
}

// Locked, so that two who add at once do not go beyond the bound together.
static LOCK: Statement = statement!(
    "federation.lock",
    [TEXT],
    "SELECT account.id, (SELECT count(*) FROM federation_rule WHERE federation_rule.account_id = account.id)
     FROM account
     WHERE account.name = $1 AND account.kind = 'robot' AND account.state <> 'removing'
     FOR NO KEY UPDATE",
);

/// A robot that is about to get a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockedRobot {
    /// Its account.
    pub account: AccountId,
    /// How many rules it has.
    pub rules: i64,
}

/// The robot of that name, for as long as the transaction lasts.
pub async fn lock(tx: &Tx, name: &AccountName) -> Result<Option<LockedRobot>, Error> {
    let row = tx.query_opt(&LOCK, &[&name.as_str()]).await?;
    let decode = |row: Row| {
        Ok(LockedRobot {
            account: row.try_get(0)?,
            rules: row.try_get(1)?,
        })
    };
    row.map(decode)
        .transpose()
        .map_err(Error::decoding("account"))
}

static INSERT: Statement = statement!(
    "federation.insert",
    [INT8, TEXT, TEXT, TEXT, JSONB],
    "INSERT INTO federation_rule (account_id, issuer, audience, subject, claims) VALUES ($1, $2, $3, $4, $5)
     RETURNING federation_rule.id",
);

/// Gives a robot a rule; returns its number.
pub async fn insert(tx: &Tx, robot: AccountId, rule: &NewRule<'_>) -> Result<i64, Error> {
    let row = tx
        .query_one(
            &INSERT,
            &[
                &robot,
                &rule.issuer,
                &rule.audience,
                &rule.subject,
                &rule.claims,
            ],
        )
        .await?;
    row.try_get(0).map_err(Error::decoding("federation_rule"))
}

static DELETE: Statement = statement!(
    "federation.delete",
    [INT8, INT8],
    // Which tokens were given by it nobody knows, so all end: whoever has another rule, or the secret, gets another.
    "WITH gone AS (
         DELETE FROM federation_rule
         WHERE federation_rule.id = $2 AND federation_rule.account_id = $1
         RETURNING federation_rule.account_id
     )
     UPDATE account SET generation = generation + 1
     FROM gone
     WHERE account.id = gone.account_id",
);

/// Takes a rule of a robot that is locked away, and ends the robot's tokens; false: it has none of that number.
pub async fn delete(tx: &Tx, robot: AccountId, rule: i64) -> Result<bool, Error> {
    Ok(tx.execute(&DELETE, &[&robot, &rule]).await? == 1)
}

pub(crate) static STATEMENTS: &[&Statement] = &[&OF_ROBOT, &LOCK, &INSERT, &DELETE];
