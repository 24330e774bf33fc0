//! Sessions of people at browsers.

use super::{Actor, Identity};
use crate::Error;
use portolan_metadata::audit::{self, Change};
use portolan_metadata::browser_sessions::{self, SessionHash, SessionRow};
use portolan_metadata::external_identities::PersonRow;
use std::time::Duration;

impl Identity {
    /// Begins a session of `person`, whose secret has this hash.
    pub async fn begin_session(
        &self,
        actor: &Actor,
        person: &PersonRow,
        lifetime: Duration,
        hash: &SessionHash,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            browser_sessions::insert(&tx, person.account, person.generation, lifetime, hash)
                .await?;
            let change = Change::of("session.begin", person.name.as_str());
            audit::record(&tx, actor, &change).await?;
            Ok(())
        })
        .await
    }

    /// Whose session it is; `None` where it has ended.
    pub async fn session(&self, hash: &SessionHash) -> Result<Option<SessionRow>, Error> {
        let reader = self.reader();
        Ok(browser_sessions::find(&reader, hash).await?)
    }

    /// Ends a session.
    pub async fn end_session(
        &self,
        actor: &Actor,
        session: &SessionRow,
        hash: &SessionHash,
    ) -> Result<(), Error> {
        self.change(|tx| async move {
            if browser_sessions::delete(&tx, hash).await? {
                let change = Change::of("session.end", session.name.as_str());
                audit::record(&tx, actor, &change).await?;
            }
            Ok(())
        })
        .await
    }
}
