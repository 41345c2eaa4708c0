//! Statements and transactions that run on either database.
//!
//! A statement is written once, in PostgreSQL's SQL, and its values and rows are written once;
//! [`translate`] makes SQLite's text of it. Errors and the outcome for the circuit breaker are
//! handled here, in one place for all ports.

use std::borrow::Cow;

use app::ports::StoreError;
use app::ports::scope::Scope;
use contract::cause::chain;
use sqlx::error::{BoxDynError, ErrorKind};
use sqlx::pool::MaybePoolConnection;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{
    Acquire as _, Arguments, AssertSqlSafe, Encode, FromRow, IntoArguments, Pool, Postgres, Sqlite,
    Type,
};

use crate::sqlite::{self, translate};
use crate::values::{List, Records};
use crate::{Database, Store, store_error};

/// Maximum number of attempts to connect while the login is renewed.
const LOGINS_TRIED: u32 = 4;

/// Condition that an order is in a scope: $1 is the tenant, or NULL for every order, and $2 the
/// locations ([`Query::scope`]).
pub const IN_SCOPE: &str = "($1 IS NULL OR (tenant_id = $1 AND location_id = ANY($2)))";
/// [`IN_SCOPE`] for a scope with locations. Without the `OR`, the databases can use an index.
const IN_SHOPS: &str = "tenant_id = $1 AND location_id = ANY($2)";

/// Returns the condition for statements that must use an index.
pub fn in_scope(scope: &Scope) -> &'static str {
    match scope {
        Scope::Everything => IN_SCOPE,
        Scope::Shops { .. } => IN_SHOPS,
    }
}

/// A value that both databases can store.
pub trait Bind<'q>:
    Encode<'q, Postgres> + Type<Postgres> + Encode<'q, Sqlite> + Type<Sqlite>
{
}

impl<'q, T> Bind<'q> for T where
    T: Encode<'q, Postgres> + Type<Postgres> + Encode<'q, Sqlite> + Type<Sqlite>
{
}

/// A row that can be read from both databases.
pub trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> {}

impl<T> Row for T where T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> {}

/// A statement for one of the databases, with its values.
struct Statement<'c, DB: sqlx::Database> {
    pool: &'c Pool<DB>,
    /// The connection of the transaction, or `None` for a statement of its own.
    connection: Option<&'c mut DB::Connection>,
    sql: Cow<'static, str>,
    values: DB::Arguments,
}

impl<'c, DB: sqlx::Database> Statement<'c, DB>
where
    DB::Arguments: IntoArguments<DB>,
{
    fn new(
        pool: &'c Pool<DB>,
        connection: Option<&'c mut DB::Connection>,
        sql: Cow<'static, str>,
    ) -> Statement<'c, DB> {
        Statement {
            pool,
            connection,
            sql,
            values: DB::Arguments::default(),
        }
    }

    /// Takes a connection from the pool if the statement does not run in a transaction.
    async fn ready(self, store: &Store) -> Result<Ready<'c, DB>, sqlx::Error> {
        let connection = match self.connection {
            Some(connection) => MaybePoolConnection::Connection(connection),
            None => store.connected(|| self.pool.acquire()).await?.into(),
        };
        let query = sqlx::query_with(AssertSqlSafe(self.sql), self.values);
        Ok((connection, query))
    }
}

type Ready<'c, DB> = (
    MaybePoolConnection<'c, DB>,
    sqlx::query::Query<'static, DB, <DB as sqlx::Database>::Arguments>,
);

enum Either<'c> {
    Postgres(Statement<'c, Postgres>),
    Sqlite(Statement<'c, Sqlite>),
}

/// Runs the same code for a statement of either database, with its query and its connection.
macro_rules! on_either {
    ($statement:ident, $store:ident, |$query:ident, $connection:ident| $run:block) => {
        match $statement {
            Either::Postgres(statement) => {
                let (mut connection, $query) = statement.ready($store).await?;
                let $connection = &mut *connection;
                $run
            }
            Either::Sqlite(statement) => {
                let (mut connection, $query) = statement.ready($store).await?;
                let $connection = &mut *connection;
                $run
            }
        }
    };
}

/// A statement with its values.
#[must_use]
pub struct Query<'c> {
    store: &'c Store,
    statement: Either<'c>,
    /// Whether the statement is a transaction of its own.
    alone: bool,
    /// The reason why a value cannot be encoded.
    invalid: Option<BoxDynError>,
}

impl<'c> Query<'c> {
    /// Adds the value of the next parameter.
    pub fn bind<'q>(mut self, value: impl Bind<'q>) -> Query<'c> {
        let added = match &mut self.statement {
            Either::Postgres(statement) => Arguments::add(&mut statement.values, value),
            Either::Sqlite(statement) => Arguments::add(&mut statement.values, value),
        };
        self.invalid = self.invalid.or(added.err());
        self
    }

    /// Adds the two values of [`IN_SCOPE`].
    pub fn scope(self, scope: &Scope) -> Query<'c> {
        self.bind(scope.tenant()).bind(List(scope.locations()))
    }

    /// Adds the values of several parameters.
    pub fn bind_all(self, values: &[Records]) -> Query<'c> {
        values.iter().fold(self, |query, value| query.bind(value))
    }

    /// Marks the statement as the first one of a call. The circuit breaker counts its failure, and
    /// not its success.
    pub fn first_of_call(mut self) -> Query<'c> {
        self.alone = false;
        self
    }

    /// Returns the number of changed rows.
    ///
    /// # Errors
    /// Returns an error if the statement fails. The same holds for the functions below.
    pub async fn execute(self) -> Result<u64, StoreError> {
        let (store, alone, statement) = self.checked()?;
        let done = async {
            Ok(on_either!(statement, store, |query, connection| {
                query.execute(connection).await?.rows_affected()
            }))
        };
        store.answered(done.await, alone)
    }

    /// Returns the first row, if there is one.
    pub async fn fetch_optional<T: Row>(self) -> Result<Option<T>, StoreError> {
        let (store, alone, statement) = self.checked()?;
        let row = async {
            Ok(on_either!(statement, store, |query, connection| {
                let row = query.fetch_optional(connection).await?;
                row.map(|row| T::from_row(&row))
            }))
        };
        store
            .answered(row.await, alone)?
            .transpose()
            .map_err(store_error)
    }

    /// Returns the first row. It is an error if there is none.
    pub async fn fetch_one<T: Row>(self) -> Result<T, StoreError> {
        let row = self.fetch_optional().await?;
        row.ok_or_else(|| store_error(sqlx::Error::RowNotFound))
    }

    /// Returns all rows. A row that cannot be read is an error of its own.
    pub async fn fetch_each<T: Row>(self) -> Result<Vec<Result<T, StoreError>>, StoreError> {
        let (store, alone, statement) = self.checked()?;
        let rows = async {
            Ok(on_either!(statement, store, |query, connection| {
                let rows = query.fetch_all(connection).await?;
                rows.iter().map(T::from_row).collect::<Vec<_>>()
            }))
        };
        let rows = store.answered(rows.await, alone)?;
        Ok(rows
            .into_iter()
            .map(|row| row.map_err(store_error))
            .collect())
    }

    /// Returns all rows.
    pub async fn fetch_all<T: Row>(self) -> Result<Vec<T>, StoreError> {
        self.fetch_each().await?.into_iter().collect()
    }

    fn checked(self) -> Result<(&'c Store, bool, Either<'c>), StoreError> {
        match self.invalid {
            Some(error) => Err(store_error(sqlx::Error::Encode(error))),
            None => Ok((self.store, self.alone, self.statement)),
        }
    }
}

impl Store {
    /// Returns a statement that only reads.
    pub(crate) fn read(&self, sql: impl Into<Cow<'static, str>>) -> Query<'_> {
        self.query(sql.into(), |file| &file.readers)
    }

    /// Returns a statement that writes, and is a transaction of its own.
    pub(crate) fn write(&self, sql: impl Into<Cow<'static, str>>) -> Query<'_> {
        self.query(sql.into(), |file| &file.writer)
    }

    fn query<'c>(
        &'c self,
        sql: Cow<'static, str>,
        pool: impl FnOnce(&'c sqlite::File) -> &'c SqlitePool,
    ) -> Query<'c> {
        let statement = match &self.database {
            Database::Postgres(server) => Either::Postgres(Statement::new(&server.pool, None, sql)),
            Database::Sqlite(file) => {
                Either::Sqlite(Statement::new(pool(file), None, translate(sql)))
            }
        };
        Query {
            store: self,
            statement,
            alone: true,
            invalid: None,
        }
    }

    /// Begins a transaction. In SQLite it holds the file's write lock from its start, so that it
    /// does not fail halfway because another process holds the lock.
    pub(crate) async fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        let begun = match &self.database {
            Database::Postgres(server) => self
                .connected(|| server.pool.begin())
                .await
                .map(|begun| Open::Postgres(&server.pool, begun)),
            Database::Sqlite(file) => file
                .writer
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map(|begun| Open::Sqlite(&file.writer, begun)),
        };
        Ok(Transaction {
            store: self,
            open: self.answered(begun, false)?,
            outermost: true,
        })
    }

    /// Connects, and connects again with a renewed login after a refused one. An attempt that began
    /// with the old login can be refused after another task has renewed it, so one repeat is not
    /// always enough. No statement has run at that time.
    async fn connected<T, F>(&self, connect: impl Fn() -> F) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        for _ in 1..LOGINS_TRIED {
            match connect().await {
                Err(error) if self.renewed_after(&error).await => {}
                connected => return connected,
            }
        }
        connect().await
    }

    /// Converts an error, and reports the outcome of a call to the circuit breaker. A statement of
    /// a transaction is no success yet: the commit is.
    pub(crate) fn answered<T>(
        &self,
        outcome: Result<T, sqlx::Error>,
        complete: bool,
    ) -> Result<T, StoreError> {
        // A violated constraint is an answer of a database that works.
        let violated = |error: &sqlx::Error| {
            let error = error.as_database_error();
            error.is_some_and(|error| !matches!(error.kind(), ErrorKind::Other))
        };
        if let Some(breaker) = &self.breaker {
            match &outcome {
                Err(error) if !violated(error) => breaker.failure(&chain(error).to_string()),
                Ok(_) if !complete => {}
                Ok(_) | Err(_) => breaker.success(),
            }
        }
        outcome.map_err(store_error)
    }

    /// Reports a batch to the circuit breaker as one call: one success shows that the database
    /// works.
    pub(crate) fn report_batch<T>(&self, batch: &[Result<T, StoreError>]) {
        let Some(breaker) = &self.breaker else {
            return;
        };
        match batch.iter().find_map(|one| one.as_ref().err()) {
            Some(error) if batch.iter().all(Result::is_err) => {
                breaker.failure(&chain(error).to_string());
            }
            Some(_) | None => breaker.success(),
        }
    }
}

/// A transaction or a savepoint. It is rolled back if it is dropped.
pub struct Transaction<'t> {
    store: &'t Store,
    open: Open<'t>,
    /// False for a savepoint.
    outermost: bool,
}

enum Open<'t> {
    Postgres(&'t PgPool, sqlx::Transaction<'t, Postgres>),
    Sqlite(&'t SqlitePool, sqlx::Transaction<'t, Sqlite>),
}

impl Transaction<'_> {
    /// Returns a statement of this transaction.
    pub fn query(&mut self, sql: impl Into<Cow<'static, str>>) -> Query<'_> {
        let sql = sql.into();
        let statement = match &mut self.open {
            Open::Postgres(pool, open) => {
                Either::Postgres(Statement::new(pool, Some(&mut *open), sql))
            }
            Open::Sqlite(pool, open) => {
                Either::Sqlite(Statement::new(pool, Some(&mut *open), translate(sql)))
            }
        };
        Query {
            store: self.store,
            statement,
            alone: false,
            invalid: None,
        }
    }

    /// Returns whether the database is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        matches!(self.open, Open::Postgres(..))
    }

    /// Begins a savepoint, which can be rolled back alone.
    pub async fn savepoint(&mut self) -> Result<Transaction<'_>, StoreError> {
        let begun = match &mut self.open {
            Open::Postgres(pool, open) => {
                open.begin().await.map(|begun| Open::Postgres(pool, begun))
            }
            Open::Sqlite(pool, open) => open.begin().await.map(|begun| Open::Sqlite(pool, begun)),
        };
        Ok(Transaction {
            store: self.store,
            open: self.store.answered(begun, false)?,
            outermost: false,
        })
    }

    /// Commits, and wakes the tasks of this process that wait for outbox rows.
    pub async fn commit(self) -> Result<(), StoreError> {
        let committed = match self.open {
            Open::Postgres(_, open) => open.commit().await,
            Open::Sqlite(_, open) => open.commit().await,
        };
        self.store.answered(committed, self.outermost)?;
        if let (Database::Sqlite(file), true) = (&self.store.database, self.outermost) {
            file.written.notify_waiters();
        }
        Ok(())
    }

    /// Commits if `keep`, and rolls back otherwise.
    pub async fn end(self, keep: bool) -> Result<(), StoreError> {
        if keep {
            self.commit().await
        } else {
            self.rollback().await
        }
    }

    async fn rollback(self) -> Result<(), StoreError> {
        let rolled_back = match self.open {
            Open::Postgres(_, open) => open.rollback().await,
            Open::Sqlite(_, open) => open.rollback().await,
        };
        self.store.answered(rolled_back, self.outermost)
    }
}
