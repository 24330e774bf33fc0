//! An object being put together in place: every part is written at its offset of one file, so
//! that completing it copies nothing.
//!
//! Beside the file lies one record for each part with its tag, as S3 keeps an `ETag`. It matters
//! when a process that was thought dead wakes up and writes its part over the one its successor
//! put: the record then has another tag than the successor's row, and completion refuses. So a
//! record goes before its bytes are touched and comes back after they are synced, under a lock
//! on the whole object, which the system releases when its holder dies.

use super::durable;
use crate::error::Cause;
use crate::store::{MultipartId, Part, PartNumber, PartTag};
use crate::{Content, Error};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The bytes.
const DATA: &str = "data";
/// Held while anybody writes.
const LOCK: &str = "lock";
/// Random characters in an id and in a tag: 62^16 is beyond any chance of a repetition.
const RANDOM: usize = 16;

/// All that is unfinished under one key.
pub(super) struct PartialObject {
    folder: PathBuf,
}

impl PartialObject {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(super) fn begin(&self) -> Result<MultipartId, Error> {
        let begin = || -> io::Result<PathBuf> {
            fs::create_dir_all(&self.folder)?;
            let folder = tempfile::Builder::new()
                .prefix("m")
                .rand_bytes(RANDOM)
                .tempdir_in(&self.folder)?;
            File::create_new(folder.path().join(DATA))?;
            File::create_new(folder.path().join(LOCK))?;
            Ok(folder.keep())
        };
        let folder = begin().map_err(|cause| Error::io("begin", cause))?;
        durable::sync_folder(&folder)?;
        durable::sync_folder(&self.folder)?;
        if let Some(above) = self.folder.parent() {
            durable::sync_folder(above)?;
        }
        let name = folder.file_name().and_then(|name| name.to_str());
        Ok(MultipartId::new(
            name.expect("the name was made of letters and digits")
                .to_owned(),
        ))
    }

    pub(super) fn put_part(
        &self,
        id: &MultipartId,
        number: PartNumber,
        offset: u64,
        content: &Content,
    ) -> Result<PartTag, Error> {
        let folder = self.folder_of(id)?;
        let _lock = lock(&folder)?;
        let failed = |cause: io::Error| Error::io("put part", cause);
        let record = folder.join(record_name(number));
        // Before the first byte: whoever put this part earlier must not complete over ours.
        durable::remove_file(&record)?;
        let data = OpenOptions::new()
            .write(true)
            .open(folder.join(DATA))
            .map_err(failed)?;
        durable::write_at(&data, offset, content).map_err(failed)?;
        data.sync_data().map_err(failed)?;
        let write_record = || -> io::Result<String> {
            let mut file = tempfile::Builder::new()
                .prefix("t")
                .rand_bytes(RANDOM)
                .tempfile_in(&folder)?;
            let name = file.path().file_name().and_then(|name| name.to_str());
            let tag = name
                .expect("the name was made of letters and digits")
                .to_owned();
            file.write_all(record_text(&tag, offset, content.len()).as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&record)?;
            Ok(tag)
        };
        let tag = write_record().map_err(failed)?;
        durable::sync_folder(&folder)?;
        Ok(PartTag::new(tag))
    }

    pub(super) fn complete(
        &self,
        id: &MultipartId,
        parts: &[Part],
        root: &Path,
        target: &Path,
    ) -> Result<(), Error> {
        let folder = self.folder_of(id)?;
        let lock = lock(&folder)?;
        let mut total = 0;
        for part in parts {
            let record = fs::read_to_string(folder.join(record_name(part.number)));
            if record.ok() != Some(record_text(part.tag.as_str(), total, part.size)) {
                return Err(Error::PartMismatch);
            }
            total += part.size;
        }
        let data = folder.join(DATA);
        let finish = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(&data)?;
            // Parts that were put and then not named lie behind the end.
            file.set_len(total)?;
            file.sync_all()
        };
        finish().map_err(|cause| Error::io("complete", cause))?;
        durable::publish(root, &data, target)?;
        durable::remove_all(&self.folder)?;
        drop(lock);
        Ok(())
    }

    pub(super) fn abort(&self, id: Option<&MultipartId>) -> Result<(), Error> {
        let Some(id) = id else {
            return durable::remove_all(&self.folder);
        };
        durable::remove_all(&self.folder_of(id)?)?;
        match fs::remove_dir(&self.folder) {
            // Not empty: another one was begun under this key.
            Err(cause)
                if !matches!(
                    cause.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(Error::io("abort", cause))
            }
            _ => Ok(()),
        }
    }

    /// An id comes back from a row, so it is checked as if a stranger had sent it.
    fn folder_of(&self, id: &MultipartId) -> Result<PathBuf, Error> {
        let id = id.as_str();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::MultipartUnknown);
        }
        Ok(self.folder.join(id))
    }
}

/// The lock of an unfinished object, given back when dropped.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Said, and not left to the end of the descriptor: a program that is being started has a copy of each until it
        // runs, and would hold the lock so long.
        let _ = self.0.unlock();
    }
}

/// Takes the lock of an unfinished object, without waiting.
fn lock(folder: &Path) -> Result<Lock, Error> {
    let path = folder.join(LOCK);
    let open = || File::open(&path);
    let file = open().map_err(unknown)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Unavailable(Cause::Bound(
                "another process writes this object",
            )));
        }
        Err(TryLockError::Error(cause)) => return Err(Error::io("lock", cause)),
    }
    // The object may have been completed or given up between opening and locking.
    let file = Lock(file);
    let here = fs::metadata(&path).map_err(unknown)?;
    let held = file
        .0
        .metadata()
        .map_err(|cause| Error::io("lock", cause))?;
    if (here.dev(), here.ino()) == (held.dev(), held.ino()) {
        Ok(file)
    } else {
        Err(Error::MultipartUnknown)
    }
}

fn unknown(cause: io::Error) -> Error {
    match Error::io("lock", cause) {
        Error::NotFound => Error::MultipartUnknown,
        other => other,
    }
}

fn record_name(number: PartNumber) -> String {
    format!("part-{number}")
}

fn record_text(tag: &str, offset: u64, size: u64) -> String {
    format!("{tag} {offset} {size}\n")
}
