//! A folder for what a test starts: gone with the test, also where no destructor runs.
//!
//! `tempfile` removes a folder when its value is dropped, which never happens to what is kept in a static, nor
//! after `kill -9`.

use std::path::{Path, PathBuf};

use crate::children::Watchdog;

/// A process that is being killed at the same time may still write: once more, then.
const REMOVE: &str = r#"rm -rf "$1" 2>/dev/null || { sleep 1; rm -rf "$1"; }"#;

/// A folder with everything in it, removed when this is dropped or the test process ends. Declare it after the
/// processes that write to it, so that they are gone first.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _cleaner: Watchdog,
}

impl Folder {
    /// Makes one whose name begins with `prefix`.
    ///
    /// # Panics
    /// When the system's folder for temporary files takes none.
    pub fn new(prefix: &str) -> Self {
        let path = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .expect("a temporary folder can be made")
            .keep();
        let cleaner = Watchdog::start(REMOVE, &path);
        Self {
            path,
            _cleaner: cleaner,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
