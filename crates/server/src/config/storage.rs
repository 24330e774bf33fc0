//! `[storage]`: where the bytes of blobs lie.

use super::report::Report;
use super::setting::settings;
use super::values::{ByteSize, words};
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

settings! {
    /// Where the bytes of blobs lie.
    pub(crate) struct Storage {
        /// `s3` for any S3-compatible store, `directory` for a folder of this machine.
        pub(crate) kind: Option<StoreKind> = None,
        /// Whether pulls of blobs are sent to the store by a signed URL. Off, every byte goes through this process; a folder always does.
        pub(crate) redirect: bool = true,
        /// For `kind = "directory"`.
        pub(crate) directory: Directory = Directory::default(),
        /// For `kind = "s3"`.
        pub(crate) s3: S3 = S3::default(),
        /// How uploads are taken in.
        pub(crate) uploads: Uploads = Uploads::default(),
    }
}

words! {
    /// The kinds of stores.
    pub(crate) enum StoreKind wants "`s3` or `directory`" {
        /// S3-compatible.
        S3 = "s3",
        /// A folder.
        Directory = "directory",
    }
}

settings! {
    /// A folder. Several processes of one machine may share it; several machines may not.
    pub(crate) struct Directory {
        /// The folder; it is made if it is missing.
        pub(crate) path: Option<PathBuf> = None,
    }
}

settings! {
    /// An S3-compatible store.
    pub(crate) struct S3 {
        /// The bucket; it must exist.
        pub(crate) bucket: Option<String> = None,
        /// The store's URL; without it, AWS's own of the region.
        pub(crate) endpoint: Option<String> = None,
        /// The store's URL as clients reach it, for signed URLs; without it, `endpoint`.
        pub(crate) public_endpoint: Option<String> = None,
        /// The region; without it, what the environment of the AWS tools says, else `us-east-1`.
        pub(crate) region: Option<String> = None,
        /// The access key; without it, the ambient credentials of the AWS tools (environment, web identity, instance).
        pub(crate) access_key: Option<String> = None,
        /// The secret key to `access_key`.
        pub(crate) secret_key: Option<SecretString> = None,
        /// Whether the bucket stands in the path instead of the host name. Most stores other than AWS need it.
        pub(crate) path_style: bool = false,
        /// What every key begins with, so that several registries can share a bucket.
        pub(crate) prefix: Option<String> = None,
        /// Server-side encryption asked for with each write; without it, the bucket's own default.
        pub(crate) encryption: Option<Encryption> = None,
        /// The KMS key for `encryption = "aws:kms"`; without it, the account's default key.
        pub(crate) kms_key: Option<String> = None,
    }
}

words! {
    /// Server-side encryption.
    pub(crate) enum Encryption wants "`AES256` or `aws:kms`" {
        /// With the store's keys.
        Aes256 = "AES256",
        /// With a key of AWS KMS.
        Kms = "aws:kms",
    }
}

settings! {
    /// How uploads are taken in.
    pub(crate) struct Uploads {
        /// Bytes of upload bodies that one process holds in memory at a time, over all uploads; beyond it, clients wait.
        pub(crate) memory: ByteSize = ByteSize::mib(192),
        /// Folder for parts above 16 MiB on their way to the store, which begin at 8 GiB of a layer; without it, the system's temporary
        /// folder. Where that is memory (`tmpfs`), so are these parts: name a folder on a disk.
        pub(crate) spool: Option<PathBuf> = None,
        /// Bytes that those parts may take there, over all uploads; beyond it, clients wait. Two of the largest parts by default, which only
        /// layers above 2.2 TiB reach.
        pub(crate) spool_space: ByteSize = ByteSize::mib(2_560),
        /// One size for every part, for stores that demand it (Cloudflare R2). Without it parts grow with the upload: 8 MiB, 64 MiB, 256 MiB,
        /// 1,280 MiB, which reaches 5.7 TiB. A layer can have at most 10,000 parts of this size.
        pub(crate) part_size: Option<ByteSize> = None,
        /// How long an upload that is not touched may be continued.
        pub(crate) expire: Duration = Duration::from_hours(24),
    }
}

impl Storage {
    /// What the types alone do not say.
    pub(super) fn check(&self, report: &mut Report) {
        match self.kind {
            None => report.about("storage.kind", "is required: `s3` or `directory`"),
            Some(StoreKind::Directory) if self.directory.path.is_none() => {
                report.about(
                    "storage.directory.path",
                    "is required for `storage.kind = \"directory\"`",
                );
            }
            Some(StoreKind::S3) if self.s3.bucket.is_none() => {
                report.about(
                    "storage.s3.bucket",
                    "is required for `storage.kind = \"s3\"`",
                );
            }
            Some(_) => {}
        }
        self.s3.check(report);
        // S3 takes no smaller part but the last, and none above 5 GiB.
        if self
            .uploads
            .part_size
            .is_some_and(|size| size < ByteSize::mib(5) || size > ByteSize::mib(5 << 10))
        {
            report.about(
                "storage.uploads.part_size",
                "must lie between `5MiB` and `5GiB`",
            );
        }
        for (key, size) in [
            ("storage.uploads.memory", self.uploads.memory),
            ("storage.uploads.spool_space", self.uploads.spool_space),
        ] {
            // Two parts of the smallest size; and counted in 32 bits.
            if size < ByteSize::mib(16) || size.bytes() > u64::from(u32::MAX) {
                report.about(key, "must lie between `16MiB` and `4095MiB`");
            }
        }
        if self.uploads.expire < Duration::from_hours(1) {
            report.about(
                "storage.uploads.expire",
                "must be at least `1h`: slow clients pause",
            );
        }
    }
}

impl S3 {
    fn check(&self, report: &mut Report) {
        match (&self.access_key, &self.secret_key) {
            (Some(_), None) => {
                report.about(
                    "storage.s3.secret_key",
                    "is missing, but `storage.s3.access_key` is set",
                );
            }
            (None, Some(_)) => {
                report.about(
                    "storage.s3.access_key",
                    "is missing, but `storage.s3.secret_key` is set",
                );
            }
            _ => {}
        }
        for (key, url) in [
            ("storage.s3.endpoint", &self.endpoint),
            ("storage.s3.public_endpoint", &self.public_endpoint),
        ] {
            let usable = |url: &String| {
                let scheme = url
                    .parse::<http::Uri>()
                    .ok()
                    .and_then(|uri| uri.scheme_str().map(str::to_owned));
                matches!(scheme.as_deref(), Some("http" | "https"))
            };
            if url.as_ref().is_some_and(|url| !usable(url)) {
                report.about(key, "wants a URL such as `https://s3.example.com`");
            }
        }
        if self.kms_key.is_some() && self.encryption != Some(Encryption::Kms) {
            report.about(
                "storage.s3.kms_key",
                "needs `storage.s3.encryption = \"aws:kms\"`",
            );
        }
    }
}
