//! Runs the laws of the ports on a real SQLite file. Two stores on one file stand for two
//! processes.

use std::path::PathBuf;
use std::time::Duration;

use adapter_sql::{Login, Store};
use app::laws;
use app::ports::orders::OrderStore as _;
use uuid::Uuid;

/// A migrated SQLite file in a directory of its own, which is deleted at the end.
struct Database(PathBuf);

impl Database {
    async fn new() -> Database {
        let folder = std::env::temp_dir().join(format!("haven-sqlite-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).expect("a directory");
        let database = Database(folder);
        migrations::migrate(&database.url())
            .await
            .expect("migrated");
        database
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.0.join("orders.db").display())
    }

    async fn store(&self) -> Store {
        Store::connect(&self.url(), &Login::default())
            .await
            .expect("it opens")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_laws_of_its_ports() {
    let database = Database::new().await;
    let (store, other) = (database.store().await, database.store().await);
    laws::orders::all(&store, &other).await;
    laws::notices::all(&store).await;
    laws::journey::all(&store).await;
    laws::payments::all(&store).await;
    laws::stock_watch::all(&store).await;
    laws::access::all(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_laws_of_slots_and_fulfilment() {
    let database = Database::new().await;
    let (store, other) = (database.store().await, database.store().await);
    laws::slots::all(&store, &other).await;
    laws::fulfilment::all(&store, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_laws_of_locations() {
    let database = Database::new().await;
    let file = sqlx::SqlitePool::connect(&database.url())
        .await
        .expect("it opens");
    let execute = async |sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&file)
            .await
            .expect("done");
    };
    laws::locations::all(&database.store().await, execute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_laws_of_tenants_and_locations() {
    let database = Database::new().await;
    let file = sqlx::SqlitePool::connect(&database.url())
        .await
        .expect("it opens");
    for row in laws::scope::rows() {
        sqlx::query(sqlx::AssertSqlSafe(row))
            .execute(&file)
            .await
            .expect("inserted");
    }
    laws::scope::all(&database.store().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_keep_each_order_in_order() {
    let database = Database::new().await;
    let relays = [
        database.store().await,
        database.store().await,
        database.store().await,
        database.store().await,
    ];
    laws::orders::relays_keep_each_order_in_order(&relays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_row_does_not_block_other_rows() {
    let database = Database::new().await;
    let store = database.store().await;
    let file = sqlx::SqlitePool::connect(&database.url())
        .await
        .expect("it opens");
    let execute = async |sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&file)
            .await
            .expect("done");
    };
    laws::orders::an_unreadable_row_does_not_block_other_rows(&store, execute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_relay_detects_messages_of_another_process() {
    let database = Database::new().await;
    let (relay, storefront) = (database.store().await, database.store().await);
    let placing = async {
        loop {
            let placed = storefront.place(&[laws::orders::new_order()]).await;
            assert!(placed.iter().all(Result::is_ok), "{placed:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(30), async {
        tokio::select! {
            () = relay.outbox_changed(Duration::from_secs(3600)) => {}
            () = placing => {}
        }
    });
    assert!(heard.await.is_ok(), "it did not hear of one order in 30 s");
}

#[tokio::test]
async fn a_missing_file_is_not_created() {
    let missing = format!(
        "sqlite://{}",
        std::env::temp_dir()
            .join(format!("{}.db", Uuid::now_v7()))
            .display()
    );
    assert!(Store::connect(&missing, &Login::default()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_refuses_every_change() {
    let database = Database::new().await;
    laws::access::all(&database.store().await).await;
    let file = sqlx::SqlitePool::connect(&database.url())
        .await
        .expect("it opens");
    let count = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM audit")
            .fetch_one(&file)
            .await
            .expect("read")
    };
    let before = count().await;
    assert!(before > 0, "the laws have written some");
    for change in [
        "UPDATE audit SET actor = 'somebody else'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit (audit_id, at, actor, action, subject) VALUES (1, '', '', '', '')",
    ] {
        let refused = sqlx::query(change).execute(&file).await.expect_err(change);
        assert!(
            refused.to_string().contains("audit is insert-only"),
            "{change}: {refused}"
        );
    }
    assert_eq!(count().await, before);
}
