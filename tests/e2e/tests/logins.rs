//! The logins of PostgreSQL and Redis: the permissions of each, and that both refuse clients
//! without a password.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use platform::database::{ServerOptions, Servers};
use platform::emulator::free_port;
use platform::postgres;
use platform::state::State;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("let in")
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<u64, String> {
    let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await;
    done.map(|done| done.rows_affected())
        .map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_login_has_only_its_own_permissions() {
    let Some(server) = servers::migrated_postgres().await else {
        return;
    };
    let mut migrate = connect(&server.logins.migrate).await;
    // A table and a view that a later migration adds.
    run(
        &mut migrate,
        "CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, note text)",
    )
    .await
    .expect("made");
    run(
        &mut migrate,
        "CREATE VIEW contract.later AS SELECT id FROM later",
    )
    .await
    .expect("made");
    run(&mut migrate, "ALTER TABLE orders ADD COLUMN later text")
        .await
        .expect("changed");

    let logins = &server.logins;
    let [mut write, mut read, mut outbox] = [
        connect(&logins.write).await,
        connect(&logins.read).await,
        connect(&logins.outbox).await,
    ];
    for sql in [
        "INSERT INTO tenants (tenant_id, name) VALUES ('t', 'T')",
        "UPDATE tenants SET name = 'U' WHERE tenant_id = 't'",
        "DELETE FROM tenants WHERE tenant_id = 't'",
        "INSERT INTO later (note) VALUES ('by a role')",
        "SELECT * FROM contract.later",
        "SELECT nextval('order_numbers')",
    ] {
        run(&mut write, sql)
            .await
            .unwrap_or_else(|error| panic!("the roles: {sql}: {error}"));
    }
    for sql in [
        "CREATE TABLE mine (id int)",
        "ALTER TABLE orders ADD COLUMN mine text",
        "DROP TABLE inbox",
        "TRUNCATE orders CASCADE",
        "CREATE VIEW contract.mine AS SELECT 1",
        "DELETE FROM refinery_schema_history",
        "CREATE ROLE mine",
        "ALTER ROLE haven_write SUPERUSER",
        "SET ROLE haven_owner",
    ] {
        run(&mut write, sql).await.expect_err(sql);
    }
    for sql in [
        "SELECT * FROM contract.orders",
        "SELECT * FROM contract.payments",
        "SELECT * FROM contract.later",
    ] {
        run(&mut read, sql)
            .await
            .unwrap_or_else(|error| panic!("an outsider: {sql}: {error}"));
    }
    for sql in [
        "SELECT customer_email FROM orders",
        "SELECT * FROM later",
        "INSERT INTO tenants (tenant_id, name) VALUES ('t', 'T')",
        "UPDATE contract.orders SET status = 'failed'",
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
    ] {
        run(&mut read, sql).await.expect_err(sql);
    }
    for sql in [
        "SELECT envelope FROM outbox FOR UPDATE SKIP LOCKED",
        "UPDATE outbox SET attempts = 1",
        "LISTEN outbox",
    ] {
        run(&mut outbox, sql)
            .await
            .unwrap_or_else(|error| panic!("the relay: {sql}: {error}"));
    }
    for sql in [
        "SELECT * FROM orders",
        "DELETE FROM outbox",
        "SELECT * FROM payments",
        "CREATE TABLE mine (id int)",
    ] {
        run(&mut outbox, sql).await.expect_err(sql);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_copy_is_a_separate_database_and_replaces_no_copy() {
    let Some(server) = servers::migrated_postgres().await else {
        return;
    };
    for (number, name) in ["postgres.before-1.2.3", "postgres.before-1.2.3-2"]
        .into_iter()
        .enumerate()
    {
        let mut write = connect(&server.logins.write).await;
        let tenant = format!(
            "INSERT INTO tenants (tenant_id, name) VALUES ('t{number}', 'Before {number}')"
        );
        run(&mut write, &tenant).await.expect("written");
        write.close().await.expect("closed");
        // Twice, as when a start follows a failed migration: the copy is the same.
        for _ in 0..2 {
            let copied = migrations::copy_postgres(
                &server.logins.admin,
                &migrations::Login::default(),
                "1.2.3",
            )
            .await;
            assert_eq!(copied.expect("copied"), name);
            let mut migrate = connect(&server.logins.migrate).await;
            run(
                &mut migrate,
                "DO $$ BEGIN CREATE TABLE later (id int); RAISE 'a migration'; END $$",
            )
            .await
            .expect_err("it fails");
            migrate.close().await.expect("closed");
        }
        let mut copy = connect(
            &server
                .logins
                .admin
                .replace("/postgres", &format!("/{name}")),
        )
        .await;
        let tenants = sqlx::query(
            "SELECT name FROM tenants WHERE tenant_id LIKE 't%' ORDER BY 1 DESC LIMIT 1",
        );
        let newest = tenants
            .fetch_one(&mut copy)
            .await
            .expect("a row")
            .get::<String, _>(0);
        assert_eq!(newest, format!("Before {number}"));
    }
}

/// A state directory for one test, deleted when the value is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns a command for a program of PostgreSQL, which refuses to run as root.
fn as_user(program: &Path) -> Command {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout != b"0\n" {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-user=1000", "--map-group=1000"])
        .arg(program);
    command
}

/// Creates a cluster as haven did before it used passwords, with a row in it.
async fn trusting_cluster(folder: &Path) {
    let binaries = postgres::binaries().expect("PostgreSQL is here");
    let mut initdb = as_user(&binaries.join("initdb"));
    initdb
        .args([
            "--username=haven",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ])
        .arg(folder);
    assert!(
        initdb
            .stdout(Stdio::null())
            .status()
            .expect("initdb runs")
            .success()
    );
    let port = free_port().expect("a port").to_string();
    let mut server = as_user(&binaries.join("postgres"));
    server
        .arg("-D")
        .arg(folder)
        .args(["-p", &port, "-h", "127.0.0.1", "-k", ""]);
    let mut server = server
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let url = format!("postgres://haven@127.0.0.1:{port}/postgres");
    let mut connection = loop {
        match PgConnection::connect(&url).await {
            Ok(connection) => break connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    };
    migrations::migrate(&url)
        .await
        .expect("migrated as the superuser");
    run(
        &mut connection,
        "INSERT INTO tenants (tenant_id, name) VALUES ('old', 'Old')",
    )
    .await
    .expect("written");
    connection.close().await.expect("closed");
    let pid = std::fs::read_to_string(folder.join("postmaster.pid")).expect("it runs");
    let pid = pid.lines().next().expect("a pid").to_owned();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .expect("kill runs")
            .success()
    );
    server.wait().expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_trusted_every_account_requires_passwords_and_keeps_its_data() {
    if !servers::has("postgres") {
        return;
    }
    let folder = Folder(std::env::temp_dir().join(format!("haven-trusting-{}", Uuid::now_v7())));
    drop(State::open(&folder.0).expect("a state directory"));
    trusting_cluster(&folder.0.join("postgres")).await;

    let options = ServerOptions {
        postgres: Some(String::new()),
        redis: None,
        containers: false,
    };
    let mut passwords = Vec::new();
    // The cluster as it was found, again, and after its passwords were deleted.
    for round in ["found", "again", "lost", "again"] {
        if round == "lost" {
            std::fs::remove_file(folder.0.join("postgres-passwords.json")).expect("it is there");
        }
        let state = State::open(&folder.0).expect("a state directory");
        let servers = Servers::start(&options, &state)
            .await
            .unwrap_or_else(|error| panic!("{round}: {error:#}"));
        servers.migrate().await.expect("up to date");
        let mut write = connect(&servers.database_url).await;
        let old = sqlx::query("SELECT name FROM tenants WHERE tenant_id = 'old'")
            .fetch_one(&mut write)
            .await;
        assert_eq!(old.expect("a row").get::<String, _>(0), "Old", "{round}");
        let mut migrate = connect(&servers.logins.migrate).await;
        let table = format!("CREATE TABLE later_{} (id int)", passwords.len());
        run(&mut migrate, &table).await.expect("made");
        run(
            &mut migrate,
            &format!(
                "ALTER TABLE orders ADD COLUMN later_{} int",
                passwords.len()
            ),
        )
        .await
        .expect("changed");

        let address = servers
            .database_url
            .rsplit('@')
            .next()
            .expect("an address")
            .to_owned();
        for login in [
            "haven",
            "haven_write",
            "postgres",
            "haven:haven",
            "haven_write:",
        ] {
            let refused = PgConnection::connect(&format!("postgres://{login}@{address}")).await;
            assert!(
                refused.is_err(),
                "{round}: {login} got in without the password"
            );
        }
        // PostgreSQL waits for its clients before it stops.
        write.close().await.expect("closed");
        migrate.close().await.expect("closed");
        passwords.push(
            servers
                .database_url
                .split('@')
                .next()
                .expect("a login")
                .to_owned(),
        );
        servers.stop().await;
    }
    assert!(
        passwords[0] == passwords[1]
            && passwords[1] != passwords[2]
            && passwords[2] == passwords[3]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_requires_its_password() {
    let Some(server) = servers::redis().await else {
        return;
    };
    let address = server.url.rsplit('@').next().expect("an address");
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.write_all(b"KEYS *\r\n").expect("sent");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"-NOAUTH");
}
