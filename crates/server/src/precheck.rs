//! What a process makes of its database before it serves: whether the fleet's connections fit, and whether its
//! sessions are as they must be.

use anyhow::ensure;
use portolan_pg::{Budget, Durability, Survey, Verdict};

/// Says what an operator should know, and ends where serving would end in an outage: if the configured processes can
/// never all have their connections, some of them will fail at the worst time.
pub(crate) fn judge(survey: &Survey) -> anyhow::Result<()> {
    let Budget { verdict, .. } = survey.budget;
    ensure!(
        !matches!(verdict, Verdict::Exceeds { .. }),
        "{} (`database.pool.processes` and `database.pool.max`)",
        survey.budget
    );
    if let Verdict::Tight(_) = verdict {
        tracing::warn!("{}", survey.budget);
    } else {
        tracing::info!("{}", survey.budget);
    }
    for wrong in &survey.wrong_settings {
        tracing::warn!("{wrong}");
    }
    if survey.durability == Durability::PrimaryAlone {
        tracing::info!(
            "PostgreSQL {} has no synchronous standby: a fail-over may lose the last changes",
            survey.version
        );
    }
    Ok(())
}
