//! The data folder: who may use it now, and whether this program knows its format.
//!
//! ```text
//! DIR/lock               held while a quickstart runs; its text is the process id
//! DIR/version            the format of everything beside it
//! DIR/credentials.json   url, username, password (0600)
//! DIR/secrets.key        what seals the signing keys in the database (0600)
//! DIR/postgres/          the cluster; owned by the account that Postgres runs as
//! DIR/postgres.log       what Postgres has to say
//! DIR/blobs/             the blob store
//! ```
//! Other files in the folder are left alone.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::Error;

/// The format this program writes, and the newest it knows. Raise it when an older program would misread the folder.
const FORMAT: u32 = 1;

/// A folder that is ours while this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    // Closing it gives the lock back; the kernel does so for a process that was killed.
    lock: File,
    made: bool,
}

impl Folder {
    /// Takes the folder, making it when it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let made = make_if_missing(path)?;
        let path = fs::canonicalize(path).map_err(Error::io("open the folder", path))?;
        let lock = take_lock(&path)?;
        let folder = Self { path, lock, made };
        folder.check_stamp()?;
        Ok(folder)
    }

    /// Where it is, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes what `open` made, for a start that ended before anything was put into it.
    pub(super) fn discard_if_made(self) {
        if self.made {
            // Nothing is lost when this fails: the next start finds an empty folder of ours.
            let _ = fs::remove_file(self.file("lock"));
            let _ = fs::remove_file(self.file("version"));
            let _ = fs::remove_dir(&self.path);
        }
    }

    fn check_stamp(&self) -> Result<(), Error> {
        let stamp = self.file("version");
        let text = match fs::read_to_string(&stamp) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.stamp_if_vacant();
            }
            Err(error) => return Err(Error::io("read", stamp)(error)),
        };
        match text.trim().parse::<u32>() {
            Ok(format) if format <= FORMAT => Ok(()),
            // Whatever a later program writes here, it is not ours to guess at.
            _ => Err(Error::FolderNewer {
                path: self.path.clone(),
                found: text.trim().chars().take(20).collect(),
                known: FORMAT,
            }),
        }
    }

    fn stamp_if_vacant(&self) -> Result<(), Error> {
        for name in ["postgres", "blobs", "credentials.json", "secrets.key"] {
            if self.file(name).symlink_metadata().is_ok() {
                return Err(Error::FolderForeign {
                    path: self.path.clone(),
                    name,
                });
            }
        }
        write_whole(
            &self.file("version"),
            format!("{FORMAT}\n").as_bytes(),
            0o644,
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // So that the next holder's message never names us; the lock itself goes with the file.
        let _ = self.lock.set_len(0);
    }
}

/// Writes a file so that after a crash it is either absent or whole.
pub(super) fn write_whole(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut staged = tempfile::NamedTempFile::new_in(folder).map_err(Error::io("write", path))?;
    staged
        .as_file()
        .set_permissions(Permissions::from_mode(mode))
        .and_then(|()| staged.write_all(content))
        .and_then(|()| staged.as_file().sync_all())
        .map_err(Error::io("write", path))?;
    staged
        .persist(path)
        .map_err(|error| Error::io("write", path)(error.error))?;
    sync_folder(folder)
}

/// Makes renames and removals in `folder` survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(Error::io("sync", folder))
}

fn make_if_missing(path: &Path) -> Result<bool, Error> {
    if path.is_dir() {
        return Ok(false);
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("make the folder", path))?;
    Ok(true)
}

fn take_lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&path)
        .map_err(Error::io("write into the folder with", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The id is a courtesy of the message: a lock without one is as good.
            let _ = file.read_to_string(&mut text);
            return Err(Error::FolderBusy {
                path: folder.to_path_buf(),
                process: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(Error::io("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        let held = Folder::open(&path).unwrap();
        let error = Folder::open(&path).unwrap_err();
        assert!(
            matches!(error, Error::FolderBusy { process: Some(id), .. } if id == std::process::id())
        );
        drop(held);
        Folder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_of_a_newer_format_is_left_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        drop(Folder::open(place.path()).unwrap());
        for stamp in ["2\n", "1.5\n", "later"] {
            fs::write(place.path().join("version"), stamp).unwrap();
            let error = Folder::open(place.path()).unwrap_err();
            assert!(
                matches!(error, Error::FolderNewer { known: 1, .. }),
                "{error}"
            );
            assert_eq!(
                fs::read_to_string(place.path().join("version")).unwrap(),
                stamp
            );
        }
    }

    #[test]
    fn files_of_somebody_else_are_not_taken_over() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("notes.txt"), "mine").unwrap();
        fs::create_dir(place.path().join("postgres")).unwrap();
        let error = Folder::open(place.path()).unwrap_err();
        assert!(matches!(
            error,
            Error::FolderForeign {
                name: "postgres",
                ..
            }
        ));
        fs::remove_dir(place.path().join("postgres")).unwrap();
        Folder::open(place.path()).unwrap();
        assert_eq!(
            fs::read_to_string(place.path().join("notes.txt")).unwrap(),
            "mine"
        );
    }

    #[test]
    fn a_folder_that_was_only_made_can_be_given_up() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        Folder::open(&path).unwrap().discard_if_made();
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        Folder::open(&path).unwrap().discard_if_made();
        assert!(path.exists(), "a folder that was there stays");
    }
}
