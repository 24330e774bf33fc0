//! From columns to the words of the domain, and back.
//!
//! A value that the database holds and the domain refuses is not a client's fault: it fails the decoding
//! of its row, with the column and the reason, and never becomes a default.

use portolan_oci::Digest;
use serde::de::DeserializeOwned;
use std::error::Error as StdError;
use std::str::FromStr;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

type Cause = Box<dyn StdError + Sync + Send>;

/// A text column that holds something with a grammar.
pub(crate) struct Parsed<T>(pub(crate) T);

impl<'a, T> FromSql<'a> for Parsed<T>
where
    T: FromStr,
    T::Err: StdError + Send + Sync + 'static,
{
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        Ok(Self(<&str>::from_sql(ty, raw)?.parse()?))
    }

    fn accepts(ty: &Type) -> bool {
        <&str as FromSql>::accepts(ty)
    }
}

/// A digest's raw bytes.
pub(crate) struct Hash(pub(crate) Digest);

impl<'a> FromSql<'a> for Hash {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        Ok(Self(Digest::from_bytes(<&[u8]>::from_sql(ty, raw)?)?))
    }

    fn accepts(ty: &Type) -> bool {
        <&[u8] as FromSql>::accepts(ty)
    }
}

/// A text column that holds JSON of a known shape.
pub(crate) struct FromJson<T>(pub(crate) T);

impl<'a, T: DeserializeOwned> FromSql<'a> for FromJson<T> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        Ok(Self(serde_json::from_str(<&str>::from_sql(ty, raw)?)?))
    }

    fn accepts(ty: &Type) -> bool {
        <&str as FromSql>::accepts(ty)
    }
}

/// A number of bytes or rows, which a CHECK keeps from being negative.
pub(crate) struct Count(pub(crate) u64);

impl<'a> FromSql<'a> for Count {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        let number = if *ty == Type::INT4 {
            i32::from_sql(ty, raw)?.into()
        } else {
            i64::from_sql(ty, raw)?
        };
        Ok(Self(number.try_into()?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::INT4 || *ty == Type::INT8
    }
}

/// A text column with a grammar.
pub(crate) fn parsed<T>(row: &Row, column: usize) -> Result<T, tokio_postgres::Error>
where
    T: FromStr,
    T::Err: StdError + Send + Sync + 'static,
{
    row.try_get::<_, Parsed<T>>(column).map(|value| value.0)
}

/// A text column with a grammar, or NULL.
pub(crate) fn parsed_opt<T>(row: &Row, column: usize) -> Result<Option<T>, tokio_postgres::Error>
where
    T: FromStr,
    T::Err: StdError + Send + Sync + 'static,
{
    row.try_get::<_, Option<Parsed<T>>>(column)
        .map(|value| value.map(|value| value.0))
}

/// A digest column.
pub(crate) fn digest(row: &Row, column: usize) -> Result<Digest, tokio_postgres::Error> {
    row.try_get::<_, Hash>(column).map(|value| value.0)
}

/// A digest column, or NULL.
pub(crate) fn digest_opt(
    row: &Row,
    column: usize,
) -> Result<Option<Digest>, tokio_postgres::Error> {
    row.try_get::<_, Option<Hash>>(column)
        .map(|value| value.map(|value| value.0))
}

/// A size or count column.
pub(crate) fn count(row: &Row, column: usize) -> Result<u64, tokio_postgres::Error> {
    row.try_get::<_, Count>(column).map(|value| value.0)
}

/// A size column, or NULL.
pub(crate) fn count_opt(row: &Row, column: usize) -> Result<Option<u64>, tokio_postgres::Error> {
    row.try_get::<_, Option<Count>>(column)
        .map(|value| value.map(|value| value.0))
}

/// The digests as an array parameter.
pub(crate) fn bytes_of(digests: &[Digest]) -> Vec<&[u8]> {
    digests.iter().map(Digest::as_bytes).collect()
}

/// The digests, where there are any, as an array parameter.
pub(crate) fn bytes_of_opt<'a>(
    digests: impl Iterator<Item = Option<&'a Digest>>,
) -> Vec<Option<&'a [u8]>> {
    digests.map(|digest| digest.map(Digest::as_bytes)).collect()
}

/// A size as the database counts. Saturates: no object of 8 EiB exists, and a CHECK or the comparison
/// with what was received refuses such a claim.
pub(crate) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A duration in the seconds that `make_interval` takes.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// A bound for LIMIT.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Text from outside up to the first NUL, which no text column can hold or equal.
pub(crate) fn before_nul(text: &str) -> &str {
    text.split_once('\0').map_or(text, |(before, _)| before)
}
