//! The shop on containers: those that a test starts, and those of `haven up --containers`.

use e2e::World;
use reqwest::{Method, StatusCode};
use serde_json::json;
use testcontainers::core::{IntoContainerPort as _, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{GenericImage, ImageExt as _};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_confirmed_on_external_postgresql_and_redis() {
    if !servers::has("docker") {
        return;
    }
    let password = Uuid::now_v7().simple().to_string();
    let postgres = GenericImage::new("brew-haven/postgres", "local")
        .with_exposed_port(5432.tcp())
        .with_wait_for(WaitFor::message_on_stderr(
            "database system is ready to accept connections",
        ))
        .with_env_var("POSTGRES_PASSWORD", &password);
    let postgres = postgres.start().await.expect("PostgreSQL starts");
    let redis = GenericImage::new("brew-haven/redis", "local")
        .with_exposed_port(6379.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"));
    let redis = redis.start().await.expect("Redis starts");
    let database_port = postgres
        .get_host_port_ipv4(5432)
        .await
        .expect("a published port");
    let database_url = format!("postgres://haven:{password}@127.0.0.1:{database_port}/haven");
    let redis_url = format!(
        "redis://127.0.0.1:{}",
        redis
            .get_host_port_ipv4(6379)
            .await
            .expect("a published port")
    );

    let world = World::open(&["--postgres", &database_url, "--redis", &redis_url]).await;
    assert_eq!(world.facts["database_url"], json!(database_url));
    put_into_the_cart(&world).await;
    world
        .until(&world.order("espresso", 1, "tok_ok").await, &["confirmed"])
        .await;
    assert_eq!(world.stock_of("espresso").await["sold"], json!(1));
    assert!(
        world.containers().is_empty(),
        "a URL needs no container of ours"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_in_containers_keeps_its_data_and_removes_its_containers() {
    if !servers::has("docker") {
        return;
    }
    let mut world = World::open(&["--containers"]).await;
    assert_eq!(
        world.containers().len(),
        3,
        "PostgreSQL, Redis and the local AWS"
    );
    assert!(
        world.facts["aws_pid"].is_null(),
        "the local AWS is no process of ours"
    );
    put_into_the_cart(&world).await;
    let accepted = world.order("espresso", 2, "tok_ok").await;
    let confirmed = world.until(&accepted, &["confirmed"]).await;

    world.reopen(&["--containers"]).await;
    assert_eq!(
        world.until(&accepted, &["confirmed"]).await["order_id"],
        confirmed["order_id"]
    );
    let stock = world.stock_of("espresso").await;
    assert_eq!(
        (&stock["sold"], &stock["reserved"]),
        (&json!(2), &json!(0)),
        "{stock:#}"
    );
    world
        .until(&world.order("espresso", 1, "tok_ok").await, &["confirmed"])
        .await;

    // A killed `haven up` cannot stop its containers. The next one stops them and loses no data.
    let before = world.containers();
    world.reopen_after_kill(&["--containers"]).await;
    let after = world.containers();
    assert!(
        after.len() == 3 && after.iter().all(|id| !before.contains(id)),
        "{before:?} {after:?}"
    );
    assert_eq!(
        world.until(&accepted, &["confirmed"]).await["order_id"],
        confirmed["order_id"]
    );
    assert_eq!(world.stock_of("espresso").await["sold"], json!(3));

    world.close();
    assert_eq!(world.containers(), Vec::<String>::new());
}

async fn put_into_the_cart(world: &World) {
    let line = json!({ "product_id": "latte", "quantity": 2 });
    let cart = world
        .ask(Method::POST, "/api/v1/cart/items", &[], Some(&line))
        .await;
    assert_eq!(
        (cart.status, &cart.body["units"]),
        (StatusCode::OK, &json!(2)),
        "{cart:?}"
    );
}
