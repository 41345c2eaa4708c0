//! `StockWatch`: the last stock level of each product, changed together with its alert.

use app::ports::StoreError;
use app::ports::stock_watch::{Seen, StockWatch};
use contract::messages::Envelope;
use domain::Timestamp;
use domain::ids::ProductId;
use domain::stock::Availability;

use crate::apply::{ADD_MESSAGES, add_messages, messages};
use crate::query::Query;
use crate::rows::corrupt;
use crate::values::{At, Records};
use crate::{Database, Store};

/// Stores the level in $2 to $6 if there is no row.
const ADD: &str = "
    INSERT INTO stock_levels (product_id, version, level, received, at)
    SELECT $2, $3, $4, $5, $6 WHERE $7 IS NULL ON CONFLICT DO NOTHING RETURNING 1";

/// Stores the level in $2 to $6 if the row still is as it was read ($7 and $8).
const CHANGE: &str = "
    UPDATE stock_levels SET version = $3, level = $4, received = $5, at = $6
    WHERE product_id = $2 AND version = $7 AND level = $8 RETURNING 1";

/// Adds the values of [`ADD_MESSAGES`], [`ADD`] and [`CHANGE`].
fn bind<'c>(
    query: Query<'c>,
    alerts: &Records,
    product_id: &ProductId,
    before: Option<Seen>,
    now: Seen,
    at: Timestamp,
) -> Query<'c> {
    query
        .bind(alerts)
        .bind(product_id.as_str())
        .bind(now.version)
        .bind(now.level.code())
        .bind(now.received)
        .bind(At(at))
        .bind(before.map(|before| before.version))
        .bind(before.map(|before| before.level.code()))
}

impl StockWatch for Store {
    async fn seen(&self, product_id: &ProductId) -> Result<Option<Seen>, StoreError> {
        const SELECT: &str =
            "SELECT version, level, received FROM stock_levels WHERE product_id = $1";
        let query = self.read(SELECT).bind(product_id.as_str());
        let row: Option<(i64, String, i64)> = query.fetch_optional().await?;
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
    ) -> Result<bool, StoreError> {
        let alerts = messages(alert.map(|alert| (alert, at)).into_iter());
        if matches!(self.database, Database::Postgres(_)) {
            let sql = format!(
                "WITH added AS ({ADD}), changed AS ({CHANGE}),
                    remembered AS (SELECT * FROM added UNION ALL SELECT * FROM changed),
                    owed AS ({ADD_MESSAGES} WHERE EXISTS (SELECT 1 FROM remembered) ORDER BY n RETURNING 1)
                SELECT EXISTS (SELECT 1 FROM remembered),
                    (SELECT count(pg_notify('outbox', '')::text) FROM (SELECT 1 FROM owed LIMIT 1) AS any_owed)"
            );
            let (remembered, _): (bool, i64) =
                bind(self.write(sql), &alerts, product_id, before, now, at)
                    .fetch_one()
                    .await?;
            return Ok(remembered);
        }
        let mut transaction = self.begin().await?;
        let remember = transaction.query(if before.is_some() { CHANGE } else { ADD });
        let remembered = bind(remember, &alerts, product_id, before, now, at)
            .execute()
            .await?
            == 1;
        if remembered && alert.is_some() {
            add_messages(&mut transaction, &alerts).await?;
        }
        transaction.end(remembered).await?;
        Ok(remembered)
    }
}
