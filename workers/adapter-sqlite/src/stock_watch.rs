//! `StockWatch` on SQLite: the last stock level of each product, changed together with its alert.

use app::ports::Unavailable;
use app::ports::stock_watch::{Seen, StockWatch};
use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::ProductId;
use domain::stock::Availability;

use crate::orders::add_outbox;
use crate::rows::{corrupt, text_of};
use crate::{SqliteStore, unavailable};

impl SqliteStore {
    async fn remember_level(
        &self,
        product_id: &ProductId,
        before: Option<Seen>,
        now: Seen,
        alert: Option<&Envelope>,
        at: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        const ADD: &str = "INSERT INTO stock_levels (product_id, version, level, received, at)
            VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        const CHANGE: &str =
            "UPDATE stock_levels SET version = ?2, level = ?3, received = ?4, at = ?5
            WHERE product_id = ?1 AND version = ?6 AND level = ?7";
        let mut transaction = self.write().await?;
        let query = sqlx::query(if before.is_some() { CHANGE } else { ADD })
            .bind(product_id.as_str())
            .bind(now.version)
            .bind(now.level.code())
            .bind(now.received)
            .bind(text_of(at));
        let query = match before {
            Some(before) => query.bind(before.version).bind(before.level.code()),
            None => query,
        };
        if query.execute(&mut *transaction).await?.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        add_outbox(
            &mut transaction,
            alert.map(std::slice::from_ref).unwrap_or_default(),
            at,
        )
        .await?;
        self.committed(transaction).await?;
        Ok(true)
    }
}

impl StockWatch for SqliteStore {
    async fn seen(&self, product_id: &ProductId) -> Result<Option<Seen>, Unavailable> {
        const SELECT: &str =
            "SELECT version, level, received FROM stock_levels WHERE product_id = ?";
        let row: Option<(i64, String, i64)> = sqlx::query_as(SELECT)
            .bind(product_id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(|(version, level, received)| {
            let level =
                Availability::from_code(&level).ok_or_else(|| corrupt("a level", &level))?;
            Ok(Seen {
                version,
                level,
                received,
            })
        })
        .transpose()
    }

    async fn remember(
        &self,
        product_id: &ProductId,
        before: Option<Seen>,
        now: Seen,
        alert: Option<&Envelope>,
        at: Timestamp,
    ) -> Result<bool, Unavailable> {
        self.remember_level(product_id, before, now, alert, at)
            .await
            .map_err(unavailable)
    }
}
