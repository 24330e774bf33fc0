//! A registry that must be the same after a table of refused requests as before.

use crate::app::{TestApp, push};
use portolan_testkit::client::Client;
use portolan_testkit::image::Image;

/// A registry with one image in `a/b`, whose content must be the same at the end.
pub(crate) struct Fixture {
    pub(crate) app: TestApp,
    pub(crate) client: Client,
    pub(crate) image: Image,
    before: Vec<(String, i64)>,
    objects: Vec<String>,
}

/// What a refused request must leave as it is.
const TABLES: [&str; 7] = [
    "repository",
    "manifest",
    "manifest_content",
    "tag",
    "blob",
    "upload",
    "manifest_blob",
];

async fn counts(app: &TestApp) -> Vec<(String, i64)> {
    let mut counts = Vec::new();
    for table in TABLES {
        counts.push((
            table.to_owned(),
            app.count(&format!("SELECT count(*) FROM {table}")).await,
        ));
    }
    counts
}

impl Fixture {
    /// Starts it.
    pub(crate) async fn new() -> Self {
        let app = TestApp::start().await;
        let client = app.admin();
        let image = Image::random(800);
        push(&client, "a/b", "tag", &image).await;
        let (before, objects) = (counts(&app).await, app.objects());
        Self {
            app,
            client,
            image,
            before,
            objects,
        }
    }

    /// Fails where anything is left of what was refused.
    pub(crate) async fn nothing_was_kept(&self) {
        assert_eq!(counts(&self.app).await, self.before);
        assert_eq!(self.app.objects(), self.objects);
        let tag = self.client.get("/v2/a/b/manifests/tag").await.expect(200);
        assert_eq!(tag.body, self.image.manifest.payload);
        self.app.settled().await;
    }
}
