//! `StockWatch` on PostgreSQL: the last stock level of each product, changed together with its
//! alert.

use app::ports::Unavailable;
use app::ports::stock_watch::{Seen, StockWatch};
use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::ProductId;
use domain::stock::Availability;

use crate::orders::outbox_json;
use crate::rows::corrupt;
use crate::{PostgresStore, unavailable};

/// Stores the level in $1 to $5, if the row still is as it was read ($6 and $7, or NULL for no
/// row). If so, adds the messages in $8 to the outbox. Returns whether the level was stored.
const REMEMBER: &str = "
WITH added AS (
    INSERT INTO stock_levels (product_id, version, level, received, at)
    SELECT $1::text, $2::bigint, $3::text, $4::bigint, $5::timestamptz
    WHERE $6::bigint IS NULL ON CONFLICT DO NOTHING RETURNING 1
), changed AS (
    UPDATE stock_levels SET version = $2, level = $3, received = $4, at = $5
    WHERE product_id = $1 AND version = $6 AND level = $7 RETURNING 1
), remembered AS (SELECT * FROM added UNION ALL SELECT * FROM changed
), owed AS (
    INSERT INTO outbox (kind, order_id, route, envelope, created_at)
    SELECT kind, order_id, route, envelope, created_at
    FROM jsonb_to_recordset($8) AS m (n int, kind text, order_id uuid, route text, envelope text,
        created_at timestamptz) WHERE EXISTS (SELECT 1 FROM remembered) ORDER BY n
    RETURNING 1
)
SELECT EXISTS (SELECT 1 FROM remembered),
    (SELECT count(pg_notify('outbox', '')::text) FROM (SELECT 1 FROM owed LIMIT 1) AS any_owed)";

impl StockWatch for PostgresStore {
    async fn seen(&self, product_id: &ProductId) -> Result<Option<Seen>, Unavailable> {
        const SELECT: &str =
            "SELECT version, level, received FROM stock_levels WHERE product_id = $1";
        let row: Option<(i64, String, i64)> = sqlx::query_as(SELECT)
            .bind(product_id.as_str())
            .fetch_optional(&self.pool)
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
        let (remembered, _): (bool, i64) = sqlx::query_as(REMEMBER)
            .bind(product_id.as_str())
            .bind(now.version)
            .bind(now.level.code())
            .bind(now.received)
            .bind(at)
            .bind(before.map(|before| before.version))
            .bind(before.map(|before| before.level.code()))
            .bind(outbox_json(alert.map(|alert| (alert, at)).into_iter()))
            .fetch_one(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(remembered)
    }
}
