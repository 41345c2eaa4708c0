//! Values of statements and columns whose types differ between the databases.
//!
//! SQLite has no type for ids, times, lists and JSON, so they are text there. A row can have the
//! fields [`Id`], [`domain::Timestamp`] and [`time::Date`]; sqlx decodes the last two from both.

use domain::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::types::Json;
use sqlx::{Decode, Encode, Postgres, Sqlite, Type};
use time::UtcOffset;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// UTC with a fixed width, so that text sorts as the times do.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// A UUID: `uuid` in PostgreSQL, text in SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(pub Uuid);

/// A time: `timestamptz` in PostgreSQL, text in SQLite.
#[derive(Debug, Clone, Copy)]
pub struct At(pub Timestamp);

/// A list for `= ANY($n)`: an array in PostgreSQL, a JSON array in SQLite.
pub struct List<T>(pub Vec<T>);

/// JSON objects for `jsonb_to_recordset($n)`, encoded once for all statements that use them.
pub struct Records(String);

impl FromIterator<Value> for Records {
    fn from_iter<I: IntoIterator<Item = Value>>(rows: I) -> Records {
        Records(Value::Array(rows.into_iter().collect()).to_string())
    }
}

/// Formats a time as in SQLite's columns and in [`Records`].
pub fn text_of(at: Timestamp) -> String {
    // Formatting fails only for a component that the value lacks, and a timestamp has all of these.
    at.to_offset(UtcOffset::UTC)
        .format(TIME)
        .unwrap_or_default()
}

/// Gives a value the database type of another one.
macro_rules! typed_as {
    ($($database:ident: $name:ty = $other:ty, $info:ty;)*) => {
        $(impl Type<$database> for $name {
            fn type_info() -> $info {
                <$other as Type<$database>>::type_info()
            }
        })*
    };
}

typed_as! {
    Postgres: Id = Uuid, PgTypeInfo;
    Sqlite: Id = Hyphenated, SqliteTypeInfo;
    Postgres: At = Timestamp, PgTypeInfo;
    Sqlite: At = String, SqliteTypeInfo;
    Postgres: Records = Json<Value>, PgTypeInfo;
    Sqlite: Records = String, SqliteTypeInfo;
}

impl Encode<'_, Postgres> for Id {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.0, buffer)
    }
}

impl Decode<'_, Postgres> for Id {
    fn decode(value: PgValueRef<'_>) -> Result<Id, BoxDynError> {
        <Uuid as Decode<Postgres>>::decode(value).map(Id)
    }
}

impl Encode<'_, Sqlite> for Id {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.0.hyphenated(), buffer)
    }
}

impl Decode<'_, Sqlite> for Id {
    fn decode(value: SqliteValueRef<'_>) -> Result<Id, BoxDynError> {
        <Hyphenated as Decode<Sqlite>>::decode(value).map(|id| Id(id.into_uuid()))
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.0, buffer)
    }
}

impl Encode<'_, Sqlite> for At {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(text_of(self.0), buffer)
    }
}

impl<T> Type<Postgres> for List<T>
where
    Vec<T>: Type<Postgres>,
{
    fn type_info() -> PgTypeInfo {
        <Vec<T> as Type<Postgres>>::type_info()
    }
}

impl<'q, T> Encode<'q, Postgres> for List<T>
where
    Vec<T>: Encode<'q, Postgres>,
{
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.0, buffer)
    }
}

impl<T> Type<Sqlite> for List<T> {
    fn type_info() -> SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl<T: Serialize> Encode<'_, Sqlite> for List<T> {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(serde_json::to_string(&self.0)?, buffer)
    }
}

impl Encode<'_, Postgres> for Records {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // The version of `jsonb`'s binary format comes before the text.
        buffer.push(1);
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl Encode<'_, Sqlite> for Records {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.0.clone(), buffer)
    }
}
