//! PATCH: bytes added to an upload.

use super::body::BodyReader;
use super::claim::Purpose;
use super::notes::Then;
use super::session::Session;
use super::{Request, UploadStatus};
use crate::{Error, Registry};

impl Registry {
    /// Claims, receives, writes down what is stored, and lets go, however it ends.
    pub(super) async fn append(
        &self,
        request: &Request,
        start: Option<u64>,
        mut body: BodyReader,
    ) -> Result<UploadStatus, Error> {
        let mut session = self.claim_upload(request, Purpose::Append, start).await?;
        let held = session.held;
        // Boxed: an upload's future holds the store's largest, and most tasks are short.
        let receive = Box::pin(self.receive(request, &mut session, &mut body));
        let received = self.while_held(request, held, receive).await;
        // What was not stored is dropped, and its memory given back before anything else is waited for.
        session.filling = None;
        if let Err(Error::Store(portolan_blobs::Error::MultipartUnknown)) = received {
            // Somebody else's hand in the bucket, or a lifecycle rule: its parts are gone.
            self.remove_upload(request).await?;
            return Err(Error::UploadUnknown);
        }
        let noted = self.note(request, &mut session, Then::Release).await;
        received.and(noted)?;
        Ok(UploadStatus {
            id: request.scope.id,
            received: session.stored(),
        })
    }

    async fn receive(
        &self,
        request: &Request,
        session: &mut Session,
        body: &mut BodyReader,
    ) -> Result<(), Error> {
        let renew = self.uploads().settings().claims.renew;
        while let Some(bytes) = body.next().await? {
            session
                .write(self, request, bytes, body.remaining())
                .await?;
            // So that a process that dies in the middle of a large body loses seconds of it.
            if session.noted_at.elapsed() >= renew && !session.new_parts.is_empty() {
                self.note(request, session, Then::Hold).await?;
            }
        }
        session.set_aside(self, request).await
    }
}
