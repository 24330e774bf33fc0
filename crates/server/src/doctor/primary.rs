//! The primary: who it is, whether the fleet fits, and whether everything of ours in it is as it must be.

use super::advice::{Grantee, Place, advice, chain};
use super::finding::Finding;
use portolan_metadata::{Error, migrate, read_only, rights};
use portolan_pg::{Durability, Router, Survey, Verdict};
use std::num::NonZeroU32;

/// How many missing rights are named; who lacks one usually lacks all.
const NAMED_RIGHTS: usize = 5;

/// Looks at it. Where it cannot be reached, that is all there is to say.
pub(crate) async fn examine(router: &Router, processes: NonZeroU32) -> Vec<Finding> {
    let survey = match router.survey(processes).await {
        Ok(survey) => survey,
        Err(error) => {
            let advice = advice(&error, Place::Primary, &Grantee::of(router));
            return vec![Finding::problem("primary", chain(&error), advice)];
        }
    };
    let mut findings = judge(&survey);
    let grantee = Grantee::surveyed(&survey);
    match inside(router, &grantee).await {
        Ok(more) => findings.extend(more),
        Err(error) => {
            let advice = match &error {
                Error::Pg(error) => advice(error, Place::Primary, &grantee),
                _ => "see the message".to_owned(),
            };
            findings.push(Finding::problem("primary", chain(&error), advice));
        }
    }
    findings
}

/// What follows from the survey; the start judges by the same.
pub(crate) fn judge(survey: &Survey) -> Vec<Finding> {
    let limit = survey
        .role_limit
        .map_or("without a limit".to_owned(), |limit| {
            format!("limited to {limit} connections")
        });
    let who = format!(
        "PostgreSQL {}, database `{}`, role `{}` {limit}",
        survey.version, survey.database, survey.role
    );
    let mut findings = vec![Finding::good("primary", who), budget(survey)];
    if survey.wrong_settings.is_empty() {
        findings.push(Finding::good(
            "settings",
            "sessions have `synchronous_commit = on`, take writes, and have the limits they must have",
        ));
    }
    for wrong in &survey.wrong_settings {
        let found = format!(
            "`{}` is `{}` and must be `{}`",
            wrong.name, wrong.found, wrong.needed
        );
        findings.push(Finding::problem("settings", found, wrong.mend.clone()));
    }
    findings.push(match survey.durability {
        Durability::SynchronousStandby => Finding::good(
            "durability",
            "a change is on a standby before it is acknowledged",
        ),
        Durability::PrimaryAlone => Finding::warning(
            "durability",
            "no standby is synchronous: a fail-over may lose the last changes",
            "set `synchronous_standby_names` to one standby if that must not be",
        ),
    });
    findings
}

fn budget(survey: &Survey) -> Finding {
    let budget = &survey.budget;
    let found = budget.to_string();
    let advice =
        "lower `database.pool.max` or `database.pool.processes`, or allow more connections";
    match budget.verdict {
        Verdict::Fits | Verdict::Pooled => Finding::good("connections", found),
        Verdict::Tight(_) => Finding::warning("connections", found, advice),
        Verdict::Exceeds { .. } => Finding::problem("connections", found, advice),
    }
}

/// What needs the registry's own tables.
async fn inside(router: &Router, grantee: &Grantee) -> Result<Vec<Finding>, Error> {
    let primary = router.read_primary().await?;
    let step = match migrate::check(&primary).await {
        Ok(step) => step,
        Err(error @ Error::Pg(_)) => return Err(error),
        Err(error) => {
            let advice = "run `portolan migrate up` of the version that is to serve";
            return Ok(vec![Finding::problem("schema", chain(&error), advice)]);
        }
    };
    let mut findings = vec![Finding::good("schema", format!("at step {step}"))];
    let missing = rights::missing(&primary).await?;
    findings.push(if missing.is_empty() {
        Finding::good("rights", "the role has all that it needs")
    } else {
        let named = missing.iter().take(NAMED_RIGHTS);
        let named: Vec<String> = named
            .map(|missing| format!("{} on {}", missing.right, missing.on))
            .collect();
        let found = format!(
            "the role lacks {} rights: {}{}",
            missing.len(),
            named.join(", "),
            if missing.len() > NAMED_RIGHTS {
                ", …"
            } else {
                ""
            }
        );
        Finding::problem("rights", found, grantee.grants())
    });
    if read_only::current(&primary).await?.is_some() {
        findings.push(Finding::warning(
            "mode",
            "the registry is in read-only mode: every change is refused",
            "`portolan read-only off` ends it",
        ));
    }
    Ok(findings)
}
