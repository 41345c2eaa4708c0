//! The database and the cart store of `haven up`. The database is SQLite in the state directory
//! unless `--postgres` is given, and carts are in memory unless `--redis` is given. With these
//! flags, the servers are at a URL, or start from the machine's own binaries, or from container
//! images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chassis::config::ProcessEnvironment;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::children::Program;
use crate::containers::{Container, REDIS, Run};
use crate::emulator::free_port;
use crate::keep::StopSignal;
use crate::postgres::{self, Cluster, ContainerCluster};
use crate::secrets::{Logins, new_password};
use crate::server::{STOP_WITHIN, Server, until};
use crate::state::State;
use crate::tool::on_path;
use crate::{format, given, private_file};

/// The database and cart servers of the platform. Stops those that haven started.
pub struct Servers {
    /// The database with the login of the roles.
    pub database_url: String,
    /// The URLs of the same database with every login.
    pub logins: Logins,
    pub redis_url: Option<String>,
    /// Whether haven made the database. Only then does it copy the database before a migration.
    owned: bool,
    ours: Vec<Server>,
    containers: Vec<Container>,
}

/// The result of a migration of the schema.
#[derive(Debug)]
pub struct Migrated {
    /// The names of the migrations that were applied.
    pub applied: Vec<String>,
    /// The copy that was made before the migration: a file or a database.
    pub copy: Option<String>,
    /// Whether the migration changed data and no copy was made.
    pub uncopied: bool,
}

impl Migrated {
    /// Returns a line for people.
    pub fn describe(&self) -> String {
        let count = match self.applied.len() {
            0 => return "schema up to date".to_owned(),
            1 => "1 migration applied".to_owned(),
            count => format!("{count} migrations applied"),
        };
        match &self.copy {
            Some(copy) => format!("{count}; a copy of the previous database is in {copy}"),
            None if self.uncopied => {
                format!("{count}; no copy was made, because haven did not create this database")
            }
            None => count,
        }
    }
}

/// Where the database and the cart store are.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// PostgreSQL instead of SQLite: at this URL, or if empty from the machine's own binaries or a
    /// container.
    pub postgres: Option<String>,
    /// Carts in Redis instead of memory, in the same way.
    pub redis: Option<String>,
    /// Servers without a URL, and the local AWS, run in containers.
    pub containers: bool,
}

impl Servers {
    /// Starts the servers that the options ask for. After a failure, those that were started are
    /// stopped.
    ///
    /// # Errors
    /// When a URL is not usable, a server cannot be started, or it is not ready in time.
    pub async fn start(options: &ServerOptions, state: &State) -> anyhow::Result<Servers> {
        let database_url = migrations::sqlite_url(&state.path("orders.db"));
        let mut servers = Servers {
            logins: Logins::same(&database_url),
            database_url,
            redis_url: None,
            owned: true,
            ours: Vec::new(),
            containers: Vec::new(),
        };
        let ours = || options.containers.then(String::new);
        let postgres = given::POSTGRES
            .url(options.postgres.as_deref())?
            .or_else(ours);
        let redis = given::REDIS.url(options.redis.as_deref())?.or_else(ours);
        if let Err(error) = servers.start_all(postgres, redis, options, state).await {
            servers.stop().await;
            return Err(error);
        }
        Ok(servers)
    }

    async fn start_all(
        &mut self,
        postgres: Option<String>,
        redis: Option<String>,
        options: &ServerOptions,
        state: &State,
    ) -> anyhow::Result<()> {
        match postgres {
            None => {}
            Some(url) if url.is_empty() => {
                self.logins = self.postgres(options.containers, state).await?
            }
            Some(url) => {
                self.owned = false;
                self.logins = Logins::same(&url);
            }
        }
        self.database_url.clone_from(&self.logins.write);
        match redis {
            None => {}
            Some(url) if url.is_empty() => {
                self.redis_url = Some(self.redis(options.containers, state).await?)
            }
            Some(url) => self.redis_url = Some(url),
        }
        Ok(())
    }

    /// Returns a description of the database and the cart store, without passwords.
    pub fn describe(&self) -> String {
        let database = match migrations::sqlite_path(&self.database_url) {
            Some(path) => format!("SQLite at {}", path.display()),
            None => "PostgreSQL".to_owned(),
        };
        let carts = if self.redis_url.is_some() {
            "Redis"
        } else {
            "the storefront's memory"
        };
        format!("{database}; carts in {carts}")
    }

    /// Applies missing migrations. If a migration changes data, haven first copies the database,
    /// provided that haven made it.
    ///
    /// # Errors
    /// When the copy or a migration fails. If the copy fails, no migration is applied.
    pub async fn migrate(&self) -> anyhow::Result<Migrated> {
        let of_the_url = migrations::Login::default();
        let sqlite = migrations::sqlite_path(&self.database_url);
        let standing = migrations::standing(&self.logins.migrate, &of_the_url)
            .await
            .context("read the schema version")?;
        let mut copy = None;
        if standing.changes_data() && self.owned {
            let copied = match &sqlite {
                Some(path) => migrations::copy_sqlite(path, format::VERSION)
                    .await
                    .map(|path| path.display().to_string()),
                None => migrations::copy_postgres(&self.logins.admin, &of_the_url, format::VERSION)
                    .await
                    .map(|name| format!("the database {name}")),
            };
            copy = Some(copied.context(
                "copy the database before the migration (is another client connected to it?)",
            )?);
        }
        let report = migrations::migrate(&self.logins.migrate)
            .await
            .context("migrate the schema")?;
        if !report.applied.is_empty() && self.owned && sqlite.is_none() {
            // New tables need grants for the logins.
            let passwords = migrations::Passwords(Vec::new());
            let made = migrations::make_logins(
                &self.logins.admin,
                &of_the_url,
                &passwords,
                migrations::Set::Missing,
            )
            .await;
            made.context("grant the logins their privileges")?;
        }
        let uncopied = standing.changes_data() && copy.is_none();
        Ok(Migrated {
            applied: report.applied,
            copy,
            uncopied,
        })
    }

    /// Stops the servers that haven started.
    pub async fn stop(self) {
        for server in self.ours {
            server.stop().await;
        }
        for container in self.containers {
            container.stop().await;
        }
    }

    async fn postgres(&mut self, containers: bool, state: &State) -> anyhow::Result<Logins> {
        let access = if let (false, Some(binaries)) = (containers, postgres::binaries()) {
            let cluster = Cluster::prepare(&binaries, state).await?;
            let (path, arguments) = (cluster.path, cluster.arguments);
            self.ours
                .push(spawn("postgres", path, arguments, StopSignal::Int, state)?);
            cluster.access
        } else {
            let cluster = ContainerCluster::prepare(state)?;
            let needs = "--postgres needs a URL, PostgreSQL's binaries (on Debian: apt install postgresql), or a container";
            self.run(cluster.run(), state)
                .await
                .context(if containers {
                    "start PostgreSQL"
                } else {
                    needs
                })?;
            cluster.access
        };
        let opened = access.open().await;
        opened.with_context(|| state.log_hint("postgres"))
    }

    async fn redis(&mut self, containers: bool, state: &State) -> anyhow::Result<String> {
        let binary = on_path("redis-server").or_else(|| on_path("valkey-server"));
        let (port, password) = (free_port()?, new_password()?);
        if let (false, Some(binary)) = (containers, binary) {
            let folder = state.path("redis");
            private_file::private_folder(&folder)?;
            // The password is not an argument, because every account of the machine can read
            // arguments.
            let file = folder.join("redis.conf");
            private_file::write(&file, redis_settings(port, &folder, &password).as_bytes())?;
            let arguments = vec![file.display().to_string()];
            let server = spawn("redis", binary, arguments, StopSignal::Term, state)?;
            self.ours.push(server);
        } else {
            let run = Run {
                image: &REDIS,
                publish: Some((port, 6379)),
                stop_within: STOP_WITHIN,
                environment: BTreeMap::from([("REDIS_PASSWORD".to_owned(), password.clone())]),
                data: None,
                mounts: Vec::new(),
                instead: Vec::new(),
                arguments: Vec::new(),
            };
            let needs = "--redis needs a URL, redis-server on the PATH (on Debian: apt install redis-server), or a container";
            self.run(run, state)
                .await
                .context(if containers { "start Redis" } else { needs })?;
        }
        until_redis_answers(port, &password)
            .await
            .with_context(|| state.log_hint("redis"))?;
        Ok(format!("redis://:{password}@127.0.0.1:{port}"))
    }

    async fn run(&mut self, run: Run<'_>, state: &State) -> anyhow::Result<()> {
        self.containers.push(Container::start(run, state).await?);
        Ok(())
    }
}

/// Waits until Redis accepts its password.
///
/// # Errors
/// When Redis does not answer in time. Without waiting when Redis requires no password: the image
/// is older than `REDIS_PASSWORD`, or it is another image.
async fn until_redis_answers(port: u16, password: &str) -> anyhow::Result<()> {
    let answered = until("Redis", || async {
        let answer = answer_to_password(port, password).await?;
        match answer.as_str() {
            "+OK" => Ok(true),
            answer if asks_for_no_password(answer) => Ok(false),
            answer => anyhow::bail!("it answers {answer:?} to its password"),
        }
    });
    if !answered.await? {
        let image = REDIS.reference();
        anyhow::bail!(
            "Redis of the image {image} requires no password, so every account of this machine could read the carts: \
             rebuild the image with localstack/images/build, or set HAVEN_IMAGE_REDIS to one that reads REDIS_PASSWORD"
        );
    }
    Ok(())
}

/// Sends a password and returns the line that Redis answers. The error of the Redis client does not
/// distinguish a wrong password from one that Redis does not require.
async fn answer_to_password(port: u16, password: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let command = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len());
    stream.write_all(command.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

/// Returns whether this is the answer of a Redis without a password, in the words of version 6 and
/// later or of older versions.
fn asks_for_no_password(error: &str) -> bool {
    const ANSWERS: [&str; 2] = ["without any password configured", "no password is set"];
    ANSWERS.iter().any(|answer| error.contains(answer))
}

fn spawn(
    name: &str,
    path: PathBuf,
    arguments: Vec<String>,
    signal: StopSignal,
    state: &State,
) -> anyhow::Result<Server> {
    let environment = BTreeMap::from([("PATH".to_owned(), ProcessEnvironment.search_path())]);
    let program = Program {
        name: name.to_owned(),
        path,
        arguments,
        environment,
        stop_within: STOP_WITHIN,
    };
    Server::start_with(&program, signal, state)
}

/// Returns the configuration file of Redis. Backslashes and quotes in the path are escaped. `guard`
/// refuses paths with line breaks.
fn redis_settings(port: u16, folder: &Path, password: &str) -> String {
    let folder = folder
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    format!("bind 127.0.0.1\nport {port}\ndir \"{folder}\"\nrequirepass {password}\n")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_redis_without_a_password_fails_at_once() {
        let answers = [
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?\r\n",
            "-ERR Client sent AUTH, but no password is set\r\n",
        ];
        for answer in answers {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("a client");
                stream.write_all(answer.as_bytes()).await.expect("answered");
            });
            let begun = std::time::Instant::now();
            let refused = until_redis_answers(port, "secret")
                .await
                .expect_err("it has no password")
                .to_string();
            assert!(
                refused.contains("localstack/images/build") && refused.contains("REDIS_PASSWORD"),
                "{refused}"
            );
            assert!(
                begun.elapsed() < std::time::Duration::from_secs(10),
                "{:?}",
                begun.elapsed()
            );
        }
    }
}
