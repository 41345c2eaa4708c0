//! A login that is not part of the URL, on a real PostgreSQL that requires TLS and a password, like
//! RDS with `rds.force_ssl`.

use adapter_sql::{ConnectError, Login, Store};
use app::ports::orders::OrderStore as _;
use app::ports::scope::Scope;
use servers::{Certificates, Server};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

const PASSWORD: &str = "correct-horse-battery";

struct Guarded {
    /// Address and TLS mode, without a login.
    url: String,
    login: Login,
    /// A connection that was opened before the server required a login.
    owner: PgConnection,
    _certificates: Certificates,
    _server: Server,
}

async fn guarded() -> Option<Guarded> {
    let server = servers::postgres().await?;
    let certificates = Certificates::new();
    let mut owner = PgConnection::connect(&server.logins.admin)
        .await
        .expect("it answers");
    let (certificate, key) = (
        certificates.certificate.display(),
        certificates.key.display(),
    );
    for sql in [
        format!("CREATE ROLE barista LOGIN SUPERUSER PASSWORD '{PASSWORD}'"),
        format!("ALTER SYSTEM SET ssl_cert_file = '{certificate}'"),
        format!("ALTER SYSTEM SET ssl_key_file = '{key}'"),
        "ALTER SYSTEM SET ssl = on".to_owned(),
    ] {
        execute(&mut owner, sql).await;
    }
    let row = sqlx::query("SHOW hba_file")
        .fetch_one(&mut owner)
        .await
        .expect("a file");
    std::fs::write(
        row.get::<String, _>(0),
        "hostssl all all all scram-sha-256\n",
    )
    .expect("written");
    execute(&mut owner, "SELECT pg_reload_conf()".to_owned()).await;
    let port = server
        .url
        .rsplit(':')
        .next()
        .and_then(|rest| rest.split('/').next())
        .expect("a port");
    let url = format!("postgres://localhost:{port}/postgres?sslmode=verify-full");
    let login = Login {
        user: Some("barista".to_owned()),
        password: Some(PASSWORD.to_owned()),
        root_certificates: Some(certificates.root.clone()),
    };
    // The server reloads its settings asynchronously.
    for _ in 0..200 {
        if Store::connect_with(&url, &login, 1).await.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    Some(Guarded {
        url,
        login,
        owner,
        _certificates: certificates,
        _server: server,
    })
}

async fn execute(connection: &mut PgConnection, sql: String) {
    sqlx::query(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .expect("done");
}

fn for_migrations(login: &Login) -> migrations::Login {
    let Login {
        user,
        password,
        root_certificates,
    } = login.clone();
    migrations::Login {
        user,
        password,
        root_certificates,
    }
}

async fn refused(guarded: &Guarded, login: &Login) -> String {
    match Store::connect_with(&guarded.url, login, 1).await {
        Err(refused @ ConnectError::LoginRefused { .. }) => refused.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it let us in"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_password_and_roots_are_passed_beside_the_url() {
    let Some(guarded) = guarded().await else {
        return;
    };
    let plain = guarded
        .url
        .replace("?sslmode=verify-full", "?sslmode=disable");
    assert!(
        Store::connect_with(&plain, &guarded.login, 1)
            .await
            .is_err(),
        "the server wants TLS"
    );
    assert!(
        migrations::migrate_as(&plain, &for_migrations(&guarded.login))
            .await
            .is_err(),
        "the server wants TLS"
    );
    let migrated = migrations::migrate_as(&guarded.url, &for_migrations(&guarded.login))
        .await
        .expect("migrated");
    assert!(!migrated.applied.is_empty());
    let store = Store::connect_with(&guarded.url, &guarded.login, 1)
        .await
        .expect("it lets us in");
    assert_eq!(store.pending_orders(&Scope::Everything).await, Ok(0));

    // A host name that the certificate does not contain, and roots that did not sign it.
    let address = guarded.url.replace("localhost", "127.0.0.1");
    let strange = Login {
        root_certificates: Some(Certificates::new().root.clone()),
        ..guarded.login.clone()
    };
    for (url, login) in [(&address, &guarded.login), (&guarded.url, &strange)] {
        let told = Store::connect_with(url, login, 1)
            .await
            .map(|_| ())
            .expect_err("not verified");
        assert!(matches!(told, ConnectError::Unavailable(_)), "{told}");
        let told = migrations::migrate_as(url, &for_migrations(login))
            .await
            .expect_err("not verified");
        assert!(
            matches!(
                told,
                migrations::MigrateError::Postgres(_) | migrations::MigrateError::Roots(..)
            ),
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_of_a_wrong_password_does_not_contain_it() {
    let Some(guarded) = guarded().await else {
        return;
    };
    let wrong = Login {
        password: Some("wrong-horse".to_owned()),
        ..guarded.login.clone()
    };
    let told = refused(&guarded, &wrong).await;
    assert_eq!(
        told,
        "PostgreSQL refuses the login of barista: password authentication failed for user \"barista\""
    );
    let migration = migrations::migrate_as(&guarded.url, &for_migrations(&wrong))
        .await
        .expect_err("refused");
    assert!(!format!("{migration:?}").contains("horse"), "{migration:?}");
    assert!(!format!("{wrong:?} {:?}", for_migrations(&wrong)).contains("horse"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_password_change_only_new_connections_need_the_new_one() {
    let Some(mut guarded) = guarded().await else {
        return;
    };
    migrations::migrate_as(&guarded.url, &for_migrations(&guarded.login))
        .await
        .expect("migrated");
    let store = Store::connect_with(&guarded.url, &guarded.login, 1)
        .await
        .expect("it lets us in");
    store
        .check_login()
        .await
        .expect("the password is still the one");
    execute(
        &mut guarded.owner,
        "ALTER ROLE barista PASSWORD 'of-today'".to_owned(),
    )
    .await;
    assert_eq!(
        store.pending_orders(&Scope::Everything).await,
        Ok(0),
        "an open connection goes on"
    );
    assert!(matches!(
        store.check_login().await,
        Err(ConnectError::LoginRefused { .. })
    ));
    refused(&guarded, &guarded.login).await;
    let today = Login {
        password: Some("of-today".to_owned()),
        ..guarded.login.clone()
    };
    Store::connect_with(&guarded.url, &today, 1)
        .await
        .expect("it lets us in");
}
