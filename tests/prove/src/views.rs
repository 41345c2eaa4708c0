//! Reads the views of the public contract in PostgreSQL or SQLite.

use std::time::Duration;

use adapter_sql::row;
use anyhow::{Context as _, bail};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Connection as _};

/// A connection to the contract's SQL views.
pub enum Views {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

row! {
    /// A row of the view `orders`.
    #[derive(Debug, Clone)]
    pub struct OrderRow {
        pub order_id: String,
        pub key_hash: String,
        pub status: String,
        pub total_minor: i64,
    }
}

row! {
    /// A row of the view `order_history`.
    #[derive(Debug, Clone)]
    pub struct HistoryRow {
        pub order_id: String,
        pub seq: i64,
        pub from_status: Option<String>,
        pub to_status: String,
        pub actor: String,
    }
}

row! {
    /// A row of the view `payments`.
    #[derive(Debug, Clone)]
    pub struct PaymentRow {
        pub order_id: String,
        pub kind: String,
        pub amount_minor: i64,
        pub state: String,
    }
}

row! {
    /// A row of the view `notifications`.
    #[derive(Debug, Clone)]
    pub struct NoticeRow {
        pub order_id: String,
        pub kind: String,
        pub state: String,
    }
}

row! {
    /// Units of a product in sold orders.
    #[derive(Debug, Clone)]
    pub struct Sold {
        pub product_id: String,
        pub units: i64,
    }
}

/// Runs one statement on either database. `{}` stands for the prefix of the contract's views.
macro_rules! rows {
    ($self:ident, $sql:expr, $row:ty) => {{
        let sql = |prefix: &str| AssertSqlSafe($sql.replace("{}", prefix));
        match $self {
            Views::Postgres(pool) => {
                sqlx::query_as::<_, $row>(sql("contract."))
                    .fetch_all(pool)
                    .await
            }
            Views::Sqlite(pool) => {
                sqlx::query_as::<_, $row>(sql("contract_"))
                    .fetch_all(pool)
                    .await
            }
        }
        .context("read the contract's views")
    }};
}

impl Views {
    /// Connects to the database at `url`.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached.
    pub async fn connect(url: &str) -> anyhow::Result<Views> {
        Ok(if url.starts_with("sqlite:") {
            Views::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(2)
                    .connect(url)
                    .await
                    .context("open the orders")?,
            )
        } else {
            Views::Postgres(
                PgPoolOptions::new()
                    .max_connections(2)
                    .connect(url)
                    .await
                    .context("open the database of orders")?,
            )
        })
    }

    /// Returns the orders that match the condition `of`; an empty condition matches all.
    ///
    /// # Errors
    /// Returns an error if the view cannot be read.
    pub async fn orders(&self, of: &str) -> anyhow::Result<Vec<OrderRow>> {
        let sql = "SELECT CAST(order_id AS TEXT) AS order_id, CAST(idempotency_key_hash AS TEXT) AS key_hash,
            CAST(status AS TEXT) AS status, CAST(total_minor AS BIGINT) AS total_minor FROM {}orders"
            .to_owned()
            + of;
        rows!(self, sql, OrderRow)
    }

    /// Returns the history entries that match the condition, by order and sequence.
    ///
    /// # Errors
    /// Returns an error if the view cannot be read.
    pub async fn history(&self, of: &str) -> anyhow::Result<Vec<HistoryRow>> {
        let sql = "SELECT CAST(order_id AS TEXT) AS order_id, CAST(seq AS BIGINT) AS seq,
            CAST(from_status AS TEXT) AS from_status, CAST(to_status AS TEXT) AS to_status, CAST(actor AS TEXT) AS actor
            FROM {}order_history"
            .to_owned()
            + of
            + " ORDER BY order_id, seq";
        rows!(self, sql, HistoryRow)
    }

    /// Returns the payments that match the condition.
    ///
    /// # Errors
    /// Returns an error if the view cannot be read.
    pub async fn payments(&self, of: &str) -> anyhow::Result<Vec<PaymentRow>> {
        let sql = "SELECT CAST(order_id AS TEXT) AS order_id, CAST(kind AS TEXT) AS kind,
            CAST(amount_minor AS BIGINT) AS amount_minor, CAST(state AS TEXT) AS state FROM {}payments"
            .to_owned()
            + of;
        rows!(self, sql, PaymentRow)
    }

    /// Returns the notifications about orders that match the condition.
    ///
    /// # Errors
    /// Returns an error if the view cannot be read.
    pub async fn notices(&self, of: &str) -> anyhow::Result<Vec<NoticeRow>> {
        let all = "SELECT CAST(order_id AS TEXT) AS order_id, CAST(kind AS TEXT) AS kind, CAST(state AS TEXT) AS state
            FROM {}notifications";
        // Notifications about stock have no order.
        let sql = if of.is_empty() {
            format!("{all} WHERE order_id IS NOT NULL")
        } else {
            format!("{all}{of}")
        };
        rows!(self, sql, NoticeRow)
    }

    /// Returns the units of each product in orders that are sold and not cancelled.
    ///
    /// # Errors
    /// Returns an error if the views cannot be read.
    pub async fn sold(&self) -> anyhow::Result<Vec<Sold>> {
        let sql = "SELECT CAST(i.product_id AS TEXT) AS product_id, CAST(SUM(i.quantity) AS BIGINT) AS units
            FROM {}order_items AS i JOIN {}orders AS o ON o.order_id = i.order_id
            WHERE o.status IN ('confirmed', 'preparing', 'ready', 'completed') GROUP BY i.product_id"
            .to_owned();
        rows!(self, sql, Sold)
    }

    /// Returns the number of messages in the outbox.
    ///
    /// # Errors
    /// Returns an error if the view cannot be read.
    pub async fn unpublished(&self) -> anyhow::Result<i64> {
        let sql =
            "SELECT CAST(COUNT(*) AS BIGINT) FROM {}outbox WHERE published_at IS NULL".to_owned();
        let rows: Vec<(i64,)> = rows!(self, sql, (i64,))?;
        Ok(rows.first().map_or(0, |row| row.0))
    }

    /// Returns the number of pending orders.
    ///
    /// # Errors
    /// Returns an error if the view cannot be read.
    pub async fn pending(&self) -> anyhow::Result<i64> {
        let sql =
            "SELECT CAST(COUNT(*) AS BIGINT) FROM {}orders WHERE status = 'pending'".to_owned();
        let rows: Vec<(i64,)> = rows!(self, sql, (i64,))?;
        Ok(rows.first().map_or(0, |row| row.0))
    }

    /// Runs a statement that is not part of the contract: it ends claims or causes a fault.
    ///
    /// # Errors
    /// Returns an error if the statement fails.
    pub async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        match self {
            Views::Postgres(pool) => sqlx::query(AssertSqlSafe(sql))
                .execute(pool)
                .await
                .map(|_| ()),
            Views::Sqlite(pool) => sqlx::query(AssertSqlSafe(sql))
                .execute(pool)
                .await
                .map(|_| ()),
        }
        .with_context(|| format!("run {sql}"))
    }

    /// Returns the number of synchronous standbys.
    ///
    /// # Errors
    /// Returns an error if the shop runs on SQLite or the query fails.
    pub async fn standbys_in_step(&self) -> anyhow::Result<i64> {
        let Views::Postgres(pool) = self else {
            bail!("this fault is PostgreSQL's: --database postgres")
        };
        const STANDBYS: &str = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        sqlx::query_scalar(STANDBYS)
            .fetch_one(pool)
            .await
            .context("look at the standbys")
    }

    /// Terminates the sessions of all roles and returns their number.
    ///
    /// # Errors
    /// Returns an error if the shop runs on SQLite or the query fails.
    pub async fn terminate_backends(&self) -> anyhow::Result<u64> {
        let Views::Postgres(pool) = self else {
            bail!("this fault is PostgreSQL's: --database postgres")
        };
        const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND application_name = 'brew-haven'";
        let ended: Vec<(bool,)> = sqlx::query_as(TERMINATE)
            .fetch_all(pool)
            .await
            .context("end the sessions")?;
        Ok(ended.len() as u64)
    }

    /// Locks the orders for a while: no other session can read or write them.
    ///
    /// # Errors
    /// Returns an error if the shop runs on SQLite or the lock fails.
    pub async fn hold_lock(&self, time: Duration) -> anyhow::Result<()> {
        let Views::Postgres(pool) = self else {
            bail!("this fault is PostgreSQL's: --database postgres")
        };
        let mut transaction = pool.begin().await.context("begin")?;
        let lock = sqlx::query("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
        lock.execute(&mut *transaction)
            .await
            .context("lock the orders")?;
        tokio::time::sleep(time).await;
        transaction.rollback().await.context("give the lock back")
    }

    /// Opens connections until the server refuses more. Dropping the value closes them.
    ///
    /// # Errors
    /// Never: a refused connection ends the list.
    pub async fn take_connections(&self, url: &str) -> anyhow::Result<Vec<PgConnection>> {
        let mut taken = Vec::new();
        while let Ok(connection) = PgConnection::connect(url).await {
            taken.push(connection);
        }
        Ok(taken)
    }
}

/// Returns an SQL condition for some orders. Only UUIDs are inserted, so no other text can become
/// SQL.
pub fn of_orders(ids: &[String]) -> String {
    let listed: Vec<String> = ids
        .iter()
        .filter_map(|id| id.parse::<uuid::Uuid>().ok())
        .map(|id| format!("'{id}'"))
        .collect();
    format!(" WHERE CAST(order_id AS TEXT) IN ({})", listed.join(", "))
}
