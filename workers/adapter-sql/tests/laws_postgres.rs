//! Runs the laws of the ports on a real PostgreSQL. Two stores stand for two processes.

use std::time::Duration;

use adapter_sql::{Login, Store};
use app::laws;
use app::ports::orders::OrderStore as _;
use servers::Server;

async fn stores() -> Option<(Server, Store, Store)> {
    let server = servers::migrated_postgres().await?;
    let store = Store::connect_with(&server.url, &Login::default(), 8)
        .await
        .expect("it answers");
    let other = Store::connect_with(&server.url, &Login::default(), 8)
        .await
        .expect("it answers");
    Some((server, store, other))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_laws_of_its_ports() {
    let Some((_server, store, other)) = stores().await else {
        return;
    };
    laws::orders::all(&store, &other).await;
    laws::notices::all(&store).await;
    laws::journey::all(&store).await;
    laws::payments::all(&store).await;
    laws::stock_watch::all(&store).await;
    laws::access::all(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_laws_of_slots_and_fulfilment() {
    let Some((_server, store, other)) = stores().await else {
        return;
    };
    laws::slots::all(&store, &other).await;
    laws::fulfilment::all(&store, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_laws_of_locations() {
    let Some((server, store, _)) = stores().await else {
        return;
    };
    let database = sqlx::PgPool::connect(&server.url)
        .await
        .expect("it answers");
    let execute = async |sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&database)
            .await
            .expect("done");
    };
    laws::locations::all(&store, execute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_laws_of_tenants_and_locations() {
    let Some((server, store, _)) = stores().await else {
        return;
    };
    let database = sqlx::PgPool::connect(&server.url)
        .await
        .expect("it answers");
    for row in laws::scope::rows() {
        sqlx::query(sqlx::AssertSqlSafe(row))
            .execute(&database)
            .await
            .expect("inserted");
    }
    laws::scope::all(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_keep_each_order_in_order() {
    let Some(server) = servers::migrated_postgres().await else {
        return;
    };
    let login = Login::default();
    let relays = (0..8).map(|_| Store::connect_with(&server.url, &login, 1));
    let relays: Vec<Store> = futures::future::try_join_all(relays)
        .await
        .expect("it answers");
    laws::orders::relays_keep_each_order_in_order(&relays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_row_does_not_block_other_rows() {
    let Some((server, store, _)) = stores().await else {
        return;
    };
    let database = sqlx::PgPool::connect(&server.url)
        .await
        .expect("it answers");
    let execute = async |sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&database)
            .await
            .expect("done");
    };
    laws::orders::an_unreadable_row_does_not_block_other_rows(&store, execute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_relay_detects_messages_of_another_process() {
    let Some((_server, relay, storefront)) = stores().await else {
        return;
    };
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_refuses_every_change() {
    let Some((server, store, _)) = stores().await else {
        return;
    };
    laws::access::all(&store).await;
    // The superuser: the roles' own login has no permission for these statements.
    let database = sqlx::PgPool::connect(&server.logins.admin)
        .await
        .expect("it answers");
    let count = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM audit")
            .fetch_one(&database)
            .await
            .expect("read")
    };
    let before = count().await;
    assert!(before > 0, "the laws have written some");
    for change in [
        "UPDATE audit SET actor = 'somebody else'",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ] {
        let refused = sqlx::query(change)
            .execute(&database)
            .await
            .expect_err(change);
        assert!(
            refused.to_string().contains("audit is insert-only"),
            "{change}: {refused}"
        );
    }
    assert_eq!(count().await, before);
}
