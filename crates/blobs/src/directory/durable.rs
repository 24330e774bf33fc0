//! File work that is on the disk when it returns.

use crate::{Content, Error};
use portolan_oci::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// How much of a spooled part is copied at once.
const COPY_SIZE: usize = 1 << 20;

/// Makes the entries of a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Error> {
    let sync = || File::open(folder)?.sync_all();
    sync().map_err(|cause| Error::io("sync", cause))
}

/// Gives the file `aside` the name `target` under `root`, unless that name is taken by another file.
pub(super) fn publish(root: &Path, aside: &Path, target: &Path) -> Result<(), Error> {
    let folder = target.parent().unwrap_or(root);
    make_folders(root, folder)?;
    match fs::hard_link(aside, target) {
        Ok(()) => {}
        // Done by an attempt that was killed before it could say so.
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            if !same_file(aside, target).map_err(|cause| Error::io("publish", cause))? {
                return Err(Error::KeyTaken);
            }
        }
        Err(cause) => return Err(Error::io("publish", cause)),
    }
    sync_folder(folder)
}

/// Makes `folder` and what is missing above it, each entry synced; all lie under `root`.
fn make_folders(root: &Path, folder: &Path) -> Result<(), Error> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(root);
    make_folders(root, parent)?;
    match fs::create_dir(folder) {
        // Another process may have made it a moment ago and not have synced it yet: sync anyway.
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("make folder", cause))
        }
        _ => sync_folder(parent),
    }
}

fn same_file(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (fs::metadata(a)?, fs::metadata(b)?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// Removes a file for good; none is success.
pub(super) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(Error::io("delete", cause)),
    }
}

/// Removes a folder with all that is in it; none is success.
pub(super) fn remove_all(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", cause)),
        _ => Ok(()),
    }
}

/// Writes all of `content` at `offset`.
pub(super) fn write_at(file: &File, offset: u64, content: &Content) -> io::Result<()> {
    match content {
        Content::Bytes(bytes) => file.write_all_at(bytes, offset),
        Content::Spooled(_) => pieces(content, |at, piece| file.write_all_at(piece, offset + at)),
    }
}

/// Whether `content` has the sha256 `digest`.
pub(super) fn has_digest(content: &Content, digest: &Digest) -> bool {
    let mut hash = Sha256::new();
    let read = pieces(content, |_, piece| {
        hash.update(piece);
        Ok(())
    });
    read.is_ok() && hash.finalize().as_slice() == digest.as_bytes()
}

fn pieces(content: &Content, mut take: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    match content {
        Content::Bytes(bytes) => take(0, bytes),
        Content::Spooled(spooled) => {
            let mut piece = vec![0; COPY_SIZE];
            let mut at = 0;
            while at < spooled.len {
                let left = usize::try_from(spooled.len - at).unwrap_or(COPY_SIZE);
                let piece = &mut piece[..left.min(COPY_SIZE)];
                spooled.file.read_exact_at(piece, at)?;
                take(at, piece)?;
                at += piece.len() as u64;
            }
            Ok(())
        }
    }
}
