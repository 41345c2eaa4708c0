//! Real servers for tests. Each server is started for one test on a port of its own and stops when
//! its value is dropped. The code of `haven up` starts them.

mod certificates;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use adapter_aws::LocalAccess;
pub use certificates::Certificates;
use platform::database::{ServerOptions, Servers};
use platform::emulator::{Emulator, Settings, Source};
use platform::python::{self, Place};
use platform::secrets::Logins;
use platform::state::State;
use uuid::Uuid;

/// Images that `localstack/images/build` builds.
const IMAGES: [&str; 3] = [
    "brew-haven/postgres:local",
    "brew-haven/redis:local",
    "brew-haven/ministack:local",
];

/// A state directory for one test, deleted when the value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(std::env::temp_dir().join(format!("haven-servers-{}", Uuid::now_v7())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A PostgreSQL or Redis server. Dropping the value kills the process and then deletes the state
/// directory.
pub struct Server {
    /// The URL of the server. For PostgreSQL it has the login of the roles, which may change rows
    /// but not tables.
    pub url: String,
    /// For PostgreSQL: URLs of the same database with each login.
    pub logins: Logins,
    process: Servers,
    _folder: Folder,
}

impl Server {
    /// Applies all migrations with the login for migrations, as `haven up` does.
    ///
    /// # Panics
    /// If a migration fails.
    pub async fn migrate(&self) {
        self.process.migrate().await.expect("migrated");
    }
}

/// Starts a PostgreSQL server without a schema. Returns `None` and prints one line if PostgreSQL is
/// not installed.
pub async fn postgres() -> Option<Server> {
    let (process, folder) =
        start("postgres", |options| options.postgres = Some(String::new())).await?;
    Some(Server {
        url: process.database_url.clone(),
        logins: process.logins.clone(),
        process,
        _folder: folder,
    })
}

/// Starts a PostgreSQL server with the current schema. Returns `None` if it is not installed.
pub async fn migrated_postgres() -> Option<Server> {
    let server = postgres().await?;
    server.migrate().await;
    Some(server)
}

/// Starts a Redis server. Returns `None` and prints one line if Redis is not installed.
pub async fn redis() -> Option<Server> {
    let (process, folder) = start("redis", |options| options.redis = Some(String::new())).await?;
    let url = process.redis_url.clone().expect("it was asked for");
    Some(Server {
        url,
        logins: process.logins.clone(),
        process,
        _folder: folder,
    })
}

async fn start(what: &str, ask: impl FnOnce(&mut ServerOptions)) -> Option<(Servers, Folder)> {
    if !has(what) {
        return None;
    }
    let folder = Folder::new();
    let mut options = ServerOptions::default();
    ask(&mut options);
    let state = State::open(&folder.0).expect("a state directory");
    Some((
        Servers::start(&options, &state)
            .await
            .expect("the server starts"),
        folder,
    ))
}

/// An empty local AWS. Dropping the value kills the process.
pub struct LocalAws {
    pub access: LocalAccess,
    _process: Emulator,
    _folder: Folder,
}

impl LocalAws {
    /// Returns the credentials of another account: one of the access key ids that [`local_aws_of`]
    /// received.
    pub fn access_of(&self, account: &str) -> LocalAccess {
        LocalAccess {
            access_key_id: account.to_owned(),
            ..self.access.clone()
        }
    }

    /// Returns a function that signs requests which a fault proxy changed.
    pub fn signer(&self) -> faults::Sign {
        signer(&self.access)
    }
}

/// Returns a function that signs requests to a local AWS which a fault proxy changed.
pub fn signer(access: &LocalAccess) -> faults::Sign {
    let (access_key_id, secret_access_key) = (
        access.access_key_id.clone(),
        access.secret_access_key.clone(),
    );
    let keys = front::Keys {
        access_key_id,
        secret_access_key,
    };
    Arc::new(move |request| front::resign(&keys, request))
}

/// Starts an empty local AWS.
///
/// # Panics
/// If Python is not installed, because every machine for tests must have the local AWS.
pub async fn local_aws() -> LocalAws {
    local_aws_of(&[]).await
}

/// Starts an empty local AWS with additional accounts. Each account is an access key id of twelve
/// digits.
///
/// # Panics
/// As [`local_aws`].
pub async fn local_aws_of(accounts: &[&str]) -> LocalAws {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (python, _) = python::ensure(&python_place())
        .await
        .expect("the local AWS is installed");
    let folder = Folder::new();
    let state = State::open(&folder.0).expect("a state directory");
    let accounts = accounts.iter().map(ToString::to_string).collect();
    let settings = Settings {
        accounts,
        ..Settings::default()
    };
    let process = Emulator::start_with(&Source::Python(python), &state, None, settings).await;
    let process = process.expect("the local AWS starts");
    LocalAws {
        access: process.access.clone(),
        _process: process,
        _folder: folder,
    }
}

/// Returns the Python environment of all tests: `HAVEN_PYTHON_ENV`, or one in the checkout.
#[expect(clippy::disallowed_methods, reason = "HAVEN_PYTHON_ENV is for tests")]
pub fn python_folder() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.haven/python-for-tests");
    std::env::var_os("HAVEN_PYTHON_ENV")
        .filter(|named| !named.is_empty())
        .map_or(ours, PathBuf::from)
}

/// Returns [`python_folder`] as an argument for `haven`.
pub fn python_place() -> Place {
    Place::Shared(python_folder())
}

/// Returns whether the servers that a test suite needs are on this machine, and prints one line if
/// not.
///
/// # Panics
/// If `HAVEN_REQUIRE`, such as `postgres,redis,docker`, names a server that is missing.
#[expect(clippy::disallowed_methods, reason = "HAVEN_REQUIRE is for tests")]
pub fn has(what: &str) -> bool {
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let there = match what {
        "postgres" => Path::new("/usr/lib/postgresql").is_dir() || on_path("postgres"),
        "redis" => on_path("redis-server") || on_path("valkey-server"),
        "docker" => {
            docker(&["info"])
                && IMAGES
                    .iter()
                    .all(|image| docker(&["image", "inspect", image]))
        }
        other => panic!("nobody knows how to look for {other}"),
    };
    if !there {
        let required = std::env::var("HAVEN_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == what),
            "{what} is required and was not found"
        );
        println!("skipped: {what} was not found on this machine");
    }
    there
}

/// Returns whether a `docker` command succeeds.
fn docker(arguments: &[&str]) -> bool {
    let asked = Command::new("docker")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}
