//! Row ids, one type per table, so that none can stand in for another.

use bytes::BytesMut;
use std::error::Error;
use std::fmt;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// The id as stored.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl From<i64> for $name {
            fn from(id: i64) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ToSql for $name {
            fn to_sql(
                &self,
                ty: &Type,
                out: &mut BytesMut,
            ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
                self.0.to_sql(ty, out)
            }

            fn accepts(ty: &Type) -> bool {
                <i64 as ToSql>::accepts(ty)
            }

            to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $name {
            fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
                i64::from_sql(ty, raw).map(Self)
            }

            fn accepts(ty: &Type) -> bool {
                <i64 as FromSql>::accepts(ty)
            }
        }
    };
}

id! {
    /// A user, an organization or a robot.
    AccountId
}
id! {
    /// An application token, or a robot's secret.
    CredentialId
}
id! {
    /// A team of an organization.
    TeamId
}
id! {
    /// The first segment of repositories' paths.
    NamespaceId
}
id! {
    /// A repository. Lives for one transaction or one answer: a deleted repository's name is free at once.
    RepositoryId
}
id! {
    /// A manifest of one repository.
    ManifestId
}
id! {
    /// A blob, whichever repositories have it.
    BlobId
}
id! {
    /// A bucket or folder.
    StoreId
}
id! {
    /// A job.
    JobId
}
