//! Measures how many pages the staff board reads in a database that has taken orders for a year:
//! half a million closed orders and ten open ones at each location.

use adapter_sql::{Login, Store, list_of_shops};
use app::location::Location;
use app::ports::orders::{OrderFilter, OrderStore as _};
use app::ports::scope::Scope;
use domain::order::Status;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

/// Inserts orders like those of `place_order`, but within seconds. $1 is the status, $2 the number.
/// Every second order belongs to another location, and the ids increase as UUIDv7 do.
const ORDERS: &str = "
    INSERT INTO orders (order_id, tenant_id, location_id, order_number, order_type, customer_name, customer_phone,
        customer_email, special_instructions, subtotal_minor, tax_minor, total_minor, currency, state, status, step, version,
        tracking_token, idempotency_key_hash, request_hash, created_at, updated_at)
    SELECT (lpad(to_hex(1700000000000 + nextval('order_numbers') * 100), 12, '0') || '7000' || substr(md5(n::text || $1), 1, 16))::uuid,
        'brew-haven', CASE WHEN n % 2 = 0 THEN 'main-street' ELSE 'airport' END, 'A-' || n, 'pickup', 'Ana',
        '+15550100123', 'ana@example.com', repeat('oat milk ', 5), 460, 41, 501, 'USD', 'completed', $1, 'done', 5,
        't', $1 || lpad(n::text, 9, '0'), 'r', now() - interval '1 year', now()
    FROM generate_series(1, $2) AS n";

/// Maximum number of pages that one read of the board may touch.
const BUFFERS_MAX: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_board_reads_open_orders_alone() {
    let Some(server) = servers::migrated_postgres().await else {
        return;
    };
    // Only the owner of a table may vacuum it.
    let mut database = PgConnection::connect(&server.logins.migrate)
        .await
        .expect("it answers");
    let database = &mut database;
    let airport = "INSERT INTO locations (tenant_id, location_id, name, currency, tax_basis_points)
        VALUES ('brew-haven', 'airport', 'Airport', 'USD', 888)";
    sqlx::query(airport)
        .execute(&mut *database)
        .await
        .expect("a location");
    // Closed orders in the sequence of their statuses, and ten open orders at each location.
    for (status, count) in [
        ("cancelled", 50_000),
        ("completed", 450_000),
        ("confirmed", 8),
        ("preparing", 6),
        ("ready", 6),
    ] {
        let orders = sqlx::query(ORDERS)
            .bind(status)
            .bind(count)
            .execute(&mut *database)
            .await
            .expect("orders");
        assert_eq!(
            orders.rows_affected(),
            u64::try_from(count).expect("a count")
        );
    }

    let store = Store::connect_with(&server.url, &Login::default(), 2)
        .await
        .expect("it answers");
    let statuses = vec![Status::Confirmed, Status::Preparing, Status::Ready];
    let filter = OrderFilter {
        statuses: statuses.clone(),
        limit: 200,
        ..OrderFilter::default()
    };
    let shown = store
        .list(&Scope::of(&Location::initial()), &filter)
        .await
        .expect("the board");
    assert_eq!(shown.len(), 10);

    let codes: Vec<_> = statuses.iter().map(|status| status.code()).collect();
    for state in ["as it was filled", "ANALYZE", "VACUUM"] {
        if state.chars().all(char::is_uppercase) {
            sqlx::query(sqlx::AssertSqlSafe(format!("{state} orders")))
                .execute(&mut *database)
                .await
                .expect(state);
        }
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let (plan, buffers) = explained(database, mode, &codes).await;
            assert!(plan.contains("orders_by_status"), "{state}, {mode}: {plan}");
            assert!(
                buffers <= BUFFERS_MAX,
                "{state}, {mode}: {buffers} buffers\n{plan}"
            );
        }
    }
}

/// Returns the plan of the board's statement, and the number of pages that it read.
async fn explained(database: &mut PgConnection, mode: &str, statuses: &[&str]) -> (String, u64) {
    let list = statuses
        .iter()
        .map(|status| format!("'{status}'"))
        .collect::<Vec<_>>()
        .join(", ");
    let execute = format!(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
         EXECUTE board (NULL, ARRAY[{list}], 'brew-haven', ARRAY['main-street'])"
    );
    for statement in [
        format!("SET plan_cache_mode = {mode}"),
        "DEALLOCATE ALL".to_owned(),
        format!(
            "PREPARE board (uuid, text[], text, text[]) AS {}",
            list_of_shops(200)
        ),
        // The first execution also reads the system catalog.
        execute.clone(),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut *database)
            .await
            .expect("executed");
    }
    let row = sqlx::raw_sql(sqlx::AssertSqlSafe(execute))
        .fetch_one(&mut *database)
        .await
        .expect("explained");
    let text: Value = sqlx::Row::try_get::<String, _>(&row, 0)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .or_else(|| sqlx::Row::try_get::<Value, _>(&row, 0).ok())
        .expect("a plan");
    let plan = &text[0]["Plan"];
    let pages = |name: &str| plan[name].as_u64().expect("a count");
    (
        format!("{plan:#}"),
        pages("Shared Hit Blocks") + pages("Shared Read Blocks"),
    )
}
