//! What the audit log says of changes of content: a row for the manifest and one for each tag, in the change's own transaction.
//!
//! Blobs that come, and mounts, are no rows: a blob alone is nothing that anybody can pull by name, and the manifest that
//! makes it so has one.

use portolan_metadata::RepositoryId;
use portolan_metadata::audit::Change;
use portolan_oci::{Digest, RepositoryName, TagName};
use serde_json::json;

/// The changes of one transaction in one repository.
#[derive(Debug)]
pub(crate) struct Changes<'a> {
    name: &'a RepositoryName,
    repository: RepositoryId,
    list: Vec<Change<'a>>,
}

impl<'a> Changes<'a> {
    /// None yet.
    pub(crate) fn of(name: &'a RepositoryName, repository: RepositoryId) -> Self {
        Self {
            name,
            repository,
            list: Vec::new(),
        }
    }

    /// The repository was made.
    pub(crate) fn made(&mut self) {
        let target = self.name.as_str();
        self.add(Change::of("repository.create", target));
    }

    /// A manifest was pushed; `again` where it was here already.
    pub(crate) fn pushed(
        &mut self,
        digest: &Digest,
        media_type: &str,
        tags: &[TagName],
        again: bool,
    ) {
        let tags: Vec<&str> = tags.iter().map(TagName::as_str).collect();
        let detail =
            json!({"digest": digest, "media_type": media_type, "tags": tags, "again": again});
        let target = self.content(digest);
        self.add(Change::of("manifest.push", target).with(detail));
    }

    /// A tag was set that pointed to `previous`; one that pointed to the same is no change.
    pub(crate) fn tagged(&mut self, tag: &TagName, previous: Option<&Digest>, digest: &Digest) {
        let change = match previous {
            Some(previous) if previous == digest => return,
            Some(previous) => Change::of("tag.move", self.tag(tag))
                .with(json!({"digest": digest, "previous": previous})),
            None => Change::of("tag.create", self.tag(tag)).with(json!({"digest": digest})),
        };
        self.add(change);
    }

    /// A tag was removed.
    pub(crate) fn untagged(&mut self, tag: &TagName, previous: &Digest) {
        let change = Change::of("tag.delete", self.tag(tag)).with(json!({"previous": previous}));
        self.add(change);
    }

    /// A manifest was removed, and these tags with it.
    pub(crate) fn removed(&mut self, digest: &Digest, tags: &[TagName]) {
        let names: Vec<&str> = tags.iter().map(TagName::as_str).collect();
        let detail = json!({"digest": digest, "tags": names});
        let target = self.content(digest);
        self.add(Change::of("manifest.delete", target).with(detail));
        for tag in tags {
            self.untagged(tag, digest);
        }
    }

    /// A blob was taken out.
    pub(crate) fn unlinked(&mut self, digest: &Digest) {
        let target = self.content(digest);
        self.add(Change::of("blob.delete", target).with(json!({"digest": digest})));
    }

    /// All of them, in their order.
    pub(crate) fn list(&self) -> &[Change<'a>] {
        &self.list
    }

    fn add(&mut self, change: Change<'a>) {
        self.list.push(change.in_repository(self.repository));
    }

    fn content(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name.as_str())
    }

    fn tag(&self, tag: &TagName) -> String {
        format!("{}:{}", self.name.as_str(), tag.as_str())
    }
}
