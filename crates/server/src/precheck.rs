//! What a process makes of its database before it serves: whether the fleet's connections fit, and whether its
//! sessions are as they must be. In the doctor's words.

use crate::doctor::{self, Level};
use anyhow::ensure;
use portolan_pg::{Survey, Verdict};

/// Says what an operator should know, and ends where serving would end in an outage: if the configured processes can
/// never all have their connections, some of them will fail at the worst time.
pub(crate) fn judge(survey: &Survey) -> anyhow::Result<()> {
    ensure!(
        !matches!(survey.budget.verdict, Verdict::Exceeds { .. }),
        "{} (`database.pool.processes` and `database.pool.max`)",
        survey.budget
    );
    for finding in doctor::judge_primary(survey) {
        match finding.level {
            Level::Good => tracing::info!("{finding}"),
            Level::Warning | Level::Problem => tracing::warn!("{finding}"),
        }
    }
    Ok(())
}
