//! Rows that can be read from both databases.

/// Declares a struct whose fields are the columns of a row, read by their names. A struct after
/// `with` reads its own columns of the same row. For `Name(Port) { columns }`, the row is that
/// struct of a port; a field after `with` is not a column and gets this value.
///
/// The macro replaces `#[derive(sqlx::FromRow)]`, because the macro crate of sqlx compiles both
/// database drivers, and SQLite itself, a second time for the compiler (ADR 0018).
#[macro_export]
macro_rules! row {
    (
        $(#[$meta:meta])*
        $visible:vis struct $name:ident {
            $($field_visible:vis $field:ident: $type:ty),* $(,)?
        } $(with $part:ident: $part_type:ty)?
    ) => {
        $(#[$meta])*
        $visible struct $name {
            $($field_visible $field: $type,)*
            $($part: $part_type,)?
        }

        $crate::row!(@from sqlx::postgres::PgRow, $name { $($field)* } $($part: $part_type)?);
        $crate::row!(@from sqlx::sqlite::SqliteRow, $name { $($field)* } $($part: $part_type)?);
    };
    (struct $name:ident($port:ident) { $($field:ident),* } $(with $own:ident: $value:expr)?) => {
        struct $name($port);

        $crate::row!(@port sqlx::postgres::PgRow, $name($port) { $($field)* } $($own: $value)?);
        $crate::row!(@port sqlx::sqlite::SqliteRow, $name($port) { $($field)* } $($own: $value)?);
    };
    (@port $row:ty, $name:ident($port:ident) { $($field:ident)* } $($own:ident: $value:expr)?) => {
        impl sqlx::FromRow<'_, $row> for $name {
            fn from_row(row: &$row) -> sqlx::Result<Self> {
                use sqlx::Row as _;
                Ok($name($port {
                    $($field: row.try_get(stringify!($field))?,)*
                    $($own: $value,)?
                }))
            }
        }
    };
    (@from $row:ty, $name:ident { $($field:ident)* } $($part:ident: $part_type:ty)?) => {
        impl sqlx::FromRow<'_, $row> for $name {
            fn from_row(row: &$row) -> sqlx::Result<Self> {
                use sqlx::Row as _;
                Ok($name {
                    $($field: row.try_get(stringify!($field))?,)*
                    $($part: sqlx::FromRow::from_row(row)?,)?
                })
            }
        }
    };
}
