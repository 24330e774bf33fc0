//! The rules by which machines' ID tokens stand for robots.

use super::robots::record;
use super::{Actor, Identity};
use crate::{Error, Freshness};
use portolan_auth::{FederationRule, Pattern, PatternError};
use portolan_metadata::accounts::AccountName;
use portolan_metadata::federation::{self, LockedRobot, NewRule, RULES_MAX, RuleRow};
use portolan_metadata::{AccountId, Noun, Refused};
use portolan_pg::Tx;
use serde_json::{Map, Value, json};

/// A robot, and what its rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedRobot {
    /// Its account.
    pub account: AccountId,
    /// Its generation, for the token.
    pub generation: i64,
    /// Whether it may log in at all.
    pub active: bool,
    /// Its rules with their numbers, the oldest first.
    pub rules: Vec<(i64, FederationRule)>,
    /// How current that is.
    pub freshness: Freshness,
}

impl Identity {
    /// The robot of that name with its rules; `None`: there is none.
    pub async fn federated_robot(
        &self,
        name: &AccountName,
    ) -> Result<Option<FederatedRobot>, Error> {
        let reader = self.reader();
        let Some(found) = federation::of_robot(&reader, name).await? else {
            return Ok(None);
        };
        let mut rules = Vec::with_capacity(found.rules.len());
        for row in found.rules {
            let id = row.id;
            match rule(row) {
                Ok(rule) => rules.push((id, rule)),
                // It admits nobody.
                Err(cause) => {
                    tracing::error!(rule = id, %cause, "rule {id} cannot be read: {cause}");
                }
            }
        }
        Ok(Some(FederatedRobot {
            account: found.account,
            generation: found.generation,
            active: found.active,
            rules,
            freshness: Freshness::of(&reader),
        }))
    }

    /// Gives a robot a rule; returns its number.
    ///
    /// # Errors
    /// [`Refused::Missing`], [`Refused::TooManyRules`]
    pub async fn add_federation_rule(
        &self,
        actor: &Actor,
        robot: &AccountName,
        rule: &FederationRule,
    ) -> Result<i64, Error> {
        self.change(|tx| async move {
            let locked = locked(&tx, robot).await?;
            if usize::try_from(locked.rules).is_ok_and(|rules| rules >= RULES_MAX) {
                return Err(Error::Refused(Refused::TooManyRules));
            }
            let patterns = rule.claims.iter();
            let claims: Map<String, Value> = patterns
                .map(|(name, pattern)| (name.clone(), pattern.as_str().into()))
                .collect();
            let new = NewRule {
                issuer: &rule.issuer,
                audience: &rule.audience,
                subject: rule.subject.as_str(),
                claims: Value::Object(claims),
            };
            let id = federation::insert(&tx, locked.account, &new).await?;
            let detail = json!({ "rule": id, "issuer": new.issuer, "audience": new.audience,
            "subject": new.subject, "claims": new.claims });
            record(&tx, actor, "robot.add_rule", robot, detail).await?;
            Ok(id)
        })
        .await
    }

    /// Takes a robot's rule away; what was given for it, and all other tokens of the robot, end at once.
    ///
    /// # Errors
    /// [`Refused::Missing`]
    pub async fn remove_federation_rule(
        &self,
        actor: &Actor,
        robot: &AccountName,
        rule: i64,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            let locked = locked(&tx, robot).await?;
            if !federation::delete(&tx, locked.account, rule).await? {
                return Err(Error::Refused(Refused::missing(Noun::Rule, rule)));
            }
            let detail = json!({ "rule": rule });
            record(&tx, actor, "robot.remove_rule", robot, detail).await
        })
        .await
    }
}

async fn locked(tx: &Tx, robot: &AccountName) -> Result<LockedRobot, Error> {
    let found = federation::lock(tx, robot).await?;
    found.ok_or_else(|| Error::Refused(Refused::missing(Noun::Robot, robot)))
}

/// Why a rule in the database is none.
#[derive(Debug, thiserror::Error)]
enum RuleBroken {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("its claims are not an object of texts")]
    Claims,
}

fn rule(row: RuleRow) -> Result<FederationRule, RuleBroken> {
    let Value::Object(claims) = row.claims else {
        return Err(RuleBroken::Claims);
    };
    let claim = |(name, pattern): (String, Value)| {
        let pattern: Pattern = pattern.as_str().ok_or(RuleBroken::Claims)?.parse()?;
        Ok((name, pattern))
    };
    Ok(FederationRule {
        issuer: row.issuer,
        audience: row.audience,
        subject: row.subject.parse()?,
        claims: claims
            .into_iter()
            .map(claim)
            .collect::<Result<_, RuleBroken>>()?,
    })
}
