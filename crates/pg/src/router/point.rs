//! Point reads: a replica's lanes where one is expected to serve, else the primary's.

use tokio::time::Instant;

use crate::{
    error::Error,
    lane::Refused,
    metrics::{Need, PrimaryReason},
    point_read::PointRead,
    router::{Served, ServedBy, Servers, replica::Replica},
};

impl Servers {
    /// Cancel safe: the key leaves whichever line it waits in.
    pub(crate) async fn point_read<R: PointRead>(
        &self,
        need: Need,
        key: R::Key,
    ) -> Result<Served<Option<R::Row>>, Error> {
        let began = Instant::now();
        let half = self.acquire.read / 2;
        let reason = match self.pick(need) {
            // So that there is time left for the primary.
            Ok(replica) => match self
                .ask_replica::<R>(replica, need, &key, began + half)
                .await
            {
                Ok(served) => return Ok(served),
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        // A replica that hung with the key in flight may have taken all there was.
        let deadline = (began + self.acquire.read).max(Instant::now() + half);
        self.ask_primary::<R>(need, key, deadline, reason).await
    }

    /// Asks the primary, for this reason. Cancel safe as [`Lanes::ask`].
    ///
    /// [`Lanes::ask`]: crate::lane::Lanes::ask
    pub(crate) async fn ask_primary<R: PointRead>(
        &self,
        need: Need,
        key: R::Key,
        deadline: Instant,
        reason: PrimaryReason,
    ) -> Result<Served<Option<R::Row>>, Error> {
        let (value, _) = match self.primary.lanes.ask::<R>(need, key, deadline).await {
            Ok(answer) => answer,
            Err(Refused::Failed(error)) => return Err(self.blamed(error)),
            Err(Refused::Elsewhere(_)) => return Err(Error::NotPrimary),
        };
        let by = ServedBy::Primary { reason };
        self.count_read(need, by);
        Ok(Served { value, by })
    }

    /// Asks one replica. `Err` sends the caller to the primary. Cancel safe as [`Lanes::ask`].
    async fn ask_replica<R: PointRead>(
        &self,
        replica: &Replica,
        need: Need,
        key: &R::Key,
        deadline: Instant,
    ) -> Result<Served<Option<R::Row>>, PrimaryReason> {
        let asked = replica.lanes.ask::<R>(need, key.clone(), deadline);
        let (value, by) = match asked.await {
            Ok(answer) => answer,
            Err(Refused::Elsewhere(reason)) => return Err(reason),
            Err(Refused::Failed(error)) => {
                tracing::debug!(%error, replica = replica.index, "a replica did not answer; asking the primary");
                replica.guard.sight.failed(&error);
                return Err(PrimaryReason::ReplicaFailed);
            }
        };
        let absent = match need {
            Need::Any => value.is_none(),
            Need::Fresh | Need::List | Need::ListOfNew => R::is_absent(value.as_ref()),
        };
        // What only turns "unknown" into "here" does not wait for the replicas, so "unknown" is the primary's to say.
        if absent && !matches!(by, ServedBy::Stale { .. }) {
            return Err(PrimaryReason::Absent);
        }
        self.count_read(need, by);
        Ok(Served { value, by })
    }
}
