//! The rotation of the database's password under load, on a real PostgreSQL: no order is lost or
//! refused, and no process is restarted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_sql::{ConnectError, Login};
use app::laws::orders::new_order;
use app::ports::orders::OrderStore as _;
use app::ports::scope::Scope;
use servers::Server;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use worker::renewal::Renewal;
use worker::stores::Store;

/// Time between the change in the database and the change of the secret, as in a rotation.
const GAP: Duration = Duration::from_millis(700);

struct Guarded {
    url: String,
    owner: PgConnection,
    /// The value of the secret in Secrets Manager.
    secret: Arc<Mutex<String>>,
    _server: Server,
}

fn login(password: &str) -> Login {
    let (user, password) = (Some("barista".to_owned()), Some(password.to_owned()));
    Login {
        user,
        password,
        root_certificates: None,
    }
}

impl Guarded {
    /// Starts a database that requires a password from the login `barista`.
    async fn start() -> Option<Guarded> {
        let server = servers::migrated_postgres().await?;
        let owner = PgConnection::connect(&server.logins.admin)
            .await
            .expect("the database answers");
        let rest = server
            .url
            .rsplit('@')
            .next()
            .expect("a URL")
            .trim_start_matches("postgres://")
            .to_owned();
        let secret = Arc::new(Mutex::new("of-monday".to_owned()));
        let mut guarded = Guarded {
            url: format!("postgres://{rest}"),
            owner,
            secret,
            _server: server,
        };
        // With the permissions of the roles, like the login that AWS rotates.
        guarded
            .execute("CREATE ROLE barista LOGIN PASSWORD 'of-monday' IN ROLE haven_write")
            .await;
        assert!(
            guarded.refuses("wrong").await,
            "the server requires a password"
        );
        Some(guarded)
    }

    async fn execute(&mut self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.owner)
            .await
            .expect("done");
    }

    async fn refuses(&self, password: &str) -> bool {
        matches!(
            Store::connect(&self.url, &login(password)).await,
            Err(ConnectError::LoginRefused { .. })
        )
    }

    async fn rotate(&mut self, password: &str) {
        self.execute(&format!("ALTER ROLE barista PASSWORD '{password}'"))
            .await;
        tokio::time::sleep(GAP).await;
        *self.secret.lock().expect("not poisoned") = password.to_owned();
    }

    async fn store(&self) -> Store {
        let secret = self.secret.clone();
        let renewal = Renewal::new(move || {
            let login = login(&secret.lock().expect("not poisoned"));
            async move { Ok(login) }
        });
        Store::connect(&self.url, &login("of-monday"))
            .await
            .expect("the login is accepted")
            .renewing(Some(renewal))
    }
}

#[derive(Default)]
struct Load {
    placed: AtomicUsize,
    stop: AtomicBool,
    failed: Mutex<Vec<String>>,
}

fn order_on(store: &Store, load: &Arc<Load>) -> tokio::task::JoinHandle<()> {
    let (store, load) = (store.clone(), load.clone());
    tokio::spawn(async move {
        while !load.stop.load(Ordering::Relaxed) {
            match store.place(&[new_order()]).await.pop().expect("a result") {
                Ok(_) => {
                    load.placed.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => load
                    .failed
                    .lock()
                    .expect("not poisoned")
                    .push(error.to_string()),
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_load_loses_no_order_and_needs_no_restart() {
    let Some(mut guarded) = Guarded::start().await else {
        return;
    };
    let store = guarded.store().await;
    let load = Arc::new(Load::default());
    let mut customers = vec![order_on(&store, &load)];
    for password in ["of-tuesday", "of-wednesday"] {
        let store = store.clone();
        // More customers than open connections, so that new connections are opened while only the
        // database has the new password.
        let arriving = async {
            tokio::time::sleep(GAP / 2).await;
            (0..3).map(|_| order_on(&store, &load)).collect::<Vec<_>>()
        };
        let ((), more) = tokio::join!(guarded.rotate(password), arriving);
        customers.extend(more);
        let so_far = load.placed.load(Ordering::Relaxed);
        while load.placed.load(Ordering::Relaxed) < so_far + 50 {
            assert_eq!(*load.failed.lock().expect("not poisoned"), [""; 0]);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    load.stop.store(true, Ordering::Relaxed);
    for customer in customers {
        customer.await.expect("no panic");
    }
    assert_eq!(*load.failed.lock().expect("not poisoned"), [""; 0]);
    assert_eq!(
        store.pending_orders(&Scope::Everything).await,
        Ok(load.placed.load(Ordering::Relaxed) as u64),
        "each order exists once"
    );
    assert!(
        guarded.refuses("of-monday").await && guarded.refuses("of-tuesday").await,
        "the old passwords are refused"
    );
    store
        .check_login()
        .await
        .expect("new connections are accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permanently_wrong_secret_is_reported_as_a_refused_login() {
    let Some(mut guarded) = Guarded::start().await else {
        return;
    };
    let store = guarded.store().await;
    guarded
        .execute("ALTER ROLE barista PASSWORD 'nobody-knows'")
        .await;
    let checked = store.check_login().await;
    assert!(
        matches!(checked, Err(ConnectError::LoginRefused { .. })),
        "{checked:?}"
    );
    assert_eq!(
        store.pending_orders(&Scope::Everything).await,
        Ok(0),
        "open connections continue to work"
    );
}
