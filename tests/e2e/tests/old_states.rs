//! State directories of older releases (`tests/e2e/states`, packed by `states/pack`), with orders
//! in every state, messages in every queue, dead letters, carts and stock holds. The current build
//! must adopt them and bring every order to its end.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use adapter_sql::Login;
use app::location::Location;
use app::ports::orders::OrderStore as _;
use app::ports::scope::Scope;
use e2e::World;
use reqwest::Method;
use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;
use worker::stores::Store;

/// Number of migrations in revision dd24681.
const MIGRATIONS: usize = 16;
/// How long all orders may take to end. Replies that were lost with the old processes are requested
/// again within a minute.
const ENDS_WITHIN: Duration = Duration::from_secs(150);

/// Unpacks a state directory that every account can read, as an older haven with a wide umask
/// created it.
fn unpacked(pack: &str) -> PathBuf {
    let pack = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("states")
        .join(pack);
    let folder = std::env::temp_dir().join(format!("haven-old-{}", Uuid::now_v7()));
    let script = "import sys, tarfile\ntarfile.open(sys.argv[1]).extractall(sys.argv[2])";
    let run = Command::new("python3")
        .args(["-c", script])
        .arg(&pack)
        .arg(&folder)
        .status();
    assert!(
        run.expect("python3 runs").success(),
        "{} cannot be unpacked",
        pack.display()
    );
    let state = folder.join("state");
    open_to_all(&state);
    // The test deletes only the state directory, so it must not be inside another one.
    let place = folder.with_extension("state");
    fs::rename(&state, &place).expect("moved");
    fs::remove_dir(&folder).expect("empty");
    place
}

fn open_to_all(path: &Path) {
    let metadata = fs::symlink_metadata(path).expect("metadata");
    // The archive has the owner of the machine that packed it.
    let _ = std::os::unix::fs::lchown(path, Some(id("-u")), Some(id("-g")));
    let mode = metadata.mode() & 0o7777 | if metadata.is_dir() { 0o777 } else { 0o666 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    if metadata.is_dir() {
        fs::read_dir(path)
            .expect("a list")
            .flatten()
            .for_each(|entry| open_to_all(&entry.path()));
    }
}

fn id(what: &str) -> u32 {
    let printed = Command::new("id")
        .arg(what)
        .output()
        .expect("id runs")
        .stdout;
    String::from_utf8_lossy(&printed)
        .trim()
        .parse()
        .expect("a number")
}

/// Returns the orders in the archive by name, each with id and tracking token.
fn packed(state: &Path) -> BTreeMap<String, [String; 2]> {
    let text = fs::read_to_string(state.join("packed.json")).expect("packed");
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    all.into_iter()
        .filter_map(|(name, order)| Some((name, serde_json::from_value(order).ok()?)))
        .collect()
}

/// Moves every order to its end, as staff would. Returns the final statuses.
async fn serve(world: &World, orders: &BTreeMap<String, [String; 2]>) -> BTreeMap<String, String> {
    let (begun, mut ended) = (Instant::now(), BTreeMap::new());
    while ended.len() < orders.len() {
        let mut open = Vec::new();
        for (name, [id, _]) in orders
            .iter()
            .filter(|(name, _)| !ended.contains_key(*name))
            .collect::<Vec<_>>()
        {
            let seen = world
                .as_staff(Method::GET, &format!("/api/v1/orders/{id}"), &[], None)
                .await;
            let status = seen.body["status"]
                .as_str()
                .unwrap_or_else(|| panic!("{name}: {seen:?}"))
                .to_owned();
            let next = match status.as_str() {
                "completed" | "cancelled" | "failed" => {
                    ended.insert(name.clone(), status);
                    continue;
                }
                "confirmed" => Some("preparing"),
                "preparing" => Some("ready"),
                "ready" => Some("completed"),
                _ => None,
            };
            if let Some(next) = next {
                // A delivery can move on at the same time, so a conflict is fine.
                world.staff_sets(id, next).await;
            }
            open.push(format!("{name}: {status}"));
        }
        assert!(begun.elapsed() < ENDS_WITHIN, "still open: {open:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ended
}

async fn is_taken_over(pack: &str, arguments: &[&str]) -> World {
    let state = unpacked(pack);
    let orders = packed(&state);
    assert!(orders.len() >= 14, "{orders:?}");
    let world = World::open_on(state, arguments, Vec::new()).await;
    assert_eq!(
        fs::read_to_string(world.state().join("format"))
            .expect("a number")
            .trim(),
        "2"
    );
    for name in [
        "",
        "aws",
        "aws/sqs.json",
        "payment-ledger.jsonl",
        "lock",
        "haven.json",
    ] {
        let mode = fs::metadata(world.state().join(name)).expect(name).mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }

    let ended = serve(&world, &orders).await;
    for (name, status) in [
        ("completed", "completed"),
        ("cancelled", "cancelled"),
        ("declined", "failed"),
    ] {
        assert_eq!(
            ended[name], status,
            "what had ended is as it was: {ended:?}"
        );
    }
    let url = world.facts["database_url"].as_str().expect("a URL");
    let store = Store::connect(url, &Login::default())
        .await
        .expect("it answers");
    let shop = Scope::of(&Location::initial());
    let begun = Instant::now();
    loop {
        let (pending, reconciled) = (
            store.pending_orders(&shop).await.expect("a number"),
            world.haven(&["reconcile"]),
        );
        if pending == 0 && reconciled.status.success() {
            break;
        }
        let differences = String::from_utf8_lossy(&reconciled.stdout).into_owned();
        assert!(
            begun.elapsed() < ENDS_WITHIN,
            "{pending} orders are pending; {differences}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world
        .until(&world.order("espresso", 1, "tok_ok").await, &["confirmed"])
        .await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_of_dd24681_is_upgraded_and_every_order_ends() {
    let world = is_taken_over("dd24681.tar.xz", &[]).await;
    let url = world.facts["database_url"].as_str().expect("a URL");
    let standing = migrations::standing(url, &migrations::Login::default())
        .await
        .expect("readable");
    let copy = world
        .state()
        .join(format!("orders.db.before-{}", platform::format::VERSION));
    assert_eq!(copy.exists(), standing.applied > MIGRATIONS, "{standing:?}");
    if copy.exists() {
        let before = migrations::sqlite_url(&copy);
        let before = migrations::standing(&before, &migrations::Login::default())
            .await
            .expect("readable");
        assert_eq!(before.applied, MIGRATIONS, "as it was");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_of_dd24681_with_postgresql_and_redis_is_upgraded_and_requires_passwords()
{
    if !servers::has("postgres") || !servers::has("redis") {
        return;
    }
    let binaries = platform::postgres::binaries().expect("PostgreSQL is here");
    if !binaries.ends_with("15/bin") {
        println!(
            "skipped: the cluster is one of PostgreSQL 15, and this machine has {}",
            binaries.display()
        );
        return;
    }
    let world = is_taken_over("dd24681-servers.tar.xz", &["--postgres", "--redis"]).await;
    let url = world.facts["database_url"].as_str().expect("a URL");
    let address = url.rsplit('@').next().expect("an address");
    assert!(
        PgConnection::connect(&format!("postgres://haven@{address}"))
            .await
            .is_err(),
        "trusted before"
    );

    let passwords =
        fs::read_to_string(world.state().join("postgres-passwords.json")).expect("passwords");
    let passwords: BTreeMap<String, String> = serde_json::from_str(&passwords).expect("JSON");
    let mut admin = PgConnection::connect(&format!(
        "postgres://haven:{}@{address}",
        passwords["haven"]
    ))
    .await
    .expect("in");
    let migrations = "SELECT count(*) FROM refinery_schema_history";
    let applied: i64 = sqlx::query(migrations)
        .fetch_one(&mut admin)
        .await
        .expect("a row")
        .get(0);
    let copies = "SELECT count(*) FROM pg_database WHERE datname LIKE 'postgres.before-%'";
    let copies: i64 = sqlx::query(copies)
        .fetch_one(&mut admin)
        .await
        .expect("a row")
        .get(0);
    assert_eq!(
        copies == 1,
        applied > MIGRATIONS as i64,
        "{applied} migrations, {copies} copies"
    );
}
