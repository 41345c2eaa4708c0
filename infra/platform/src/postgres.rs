//! PostgreSQL of `haven up --postgres`: a cluster in the state directory, which runs from the
//! machine's own binaries or in a container. The server listens on loopback and requires a password
//! (SCRAM-SHA-256) from everybody.
//!
//! The superuser `haven` and the logins of `migrations/sql/postgres-logins.sql` have random
//! passwords in a file of the state directory. A cluster of an older haven trusted every local
//! account. Such a cluster keeps its data and gets passwords before it listens: PostgreSQL's
//! single-user mode, which opens no port, sets the password of the superuser.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use adapter_sql::{ConnectError, Login, Store};
use anyhow::{Context as _, bail};
use chassis::config::ProcessEnvironment;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::containers::{POSTGRES, Run};
use crate::emulator::free_port;
use crate::secrets::{Logins, Passwords};
use crate::server::{self, until};
use crate::state::State;
use crate::{private_file, tool};

const SUPERUSER: &str = "haven";
/// All logins with a password.
const LOGINS: [&str; 5] = [
    SUPERUSER,
    migrations::MIGRATE,
    migrations::WRITE,
    migrations::OUTBOX,
    migrations::READ,
];
/// The superuser's password in the containers of an older haven.
const OLD_CONTAINER_PASSWORD: &str = "haven";
/// The rules of `pg_hba.conf`. No Unix socket is opened, so the file has no rule for one.
const HBA: &str = "# Written by haven up: passwords alone, on loopback alone.
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
host replication haven 127.0.0.1/32 scram-sha-256
";

/// A cluster that is ready to be started.
pub struct Cluster {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    pub access: Access,
}

/// The address and the passwords of a cluster.
pub struct Access {
    port: u16,
    database: &'static str,
    file: PathBuf,
    passwords: Passwords,
    /// The superuser's current password if all passwords must be set again, or `None` if the server
    /// has them already.
    to_set: Option<String>,
}

impl Cluster {
    /// Prepares the cluster of the state directory: makes it, or sets passwords in one that trusts
    /// local accounts.
    ///
    /// # Errors
    /// When PostgreSQL's programs fail, or a file cannot be read or written.
    pub async fn prepare(binaries: &Path, state: &State) -> anyhow::Result<Cluster> {
        let folder = state.path("postgres");
        let file = state.path("postgres-passwords.json");
        let kept = Passwords::read(&file, &LOGINS)?;
        let (passwords, is_new) = match kept {
            Some(kept) => (kept, false),
            None => (Passwords::new(&LOGINS)?, true),
        };
        if !folder.join("PG_VERSION").exists() {
            make(binaries, state, &folder, &passwords).await?;
        } else if is_new {
            write_hba(&folder)?;
            set_superuser_password(binaries, state, &folder, &passwords).await?;
        } else if trusts_somebody(&folder)? {
            write_hba(&folder)?;
        }
        let port = free_port()?;
        let (path, mut arguments) = user_prefix(&binaries.join("postgres"));
        let own = [
            "-D",
            &folder.display().to_string(),
            "-p",
            &port.to_string(),
            "-h",
            "127.0.0.1",
            "-k",
            "",
        ];
        arguments.extend(own.map(str::to_owned));
        let to_set = is_new.then(|| passwords.of(SUPERUSER).to_owned());
        Ok(Cluster {
            path,
            arguments,
            access: Access {
                port,
                database: "postgres",
                file,
                passwords,
                to_set,
            },
        })
    }
}

/// A container that is ready to be started.
pub struct ContainerCluster {
    pub access: Access,
    data: PathBuf,
}

impl ContainerCluster {
    /// Chooses the port and the passwords of the container.
    ///
    /// # Errors
    /// When the password file cannot be read or written, or no port is free.
    pub fn prepare(state: &State) -> anyhow::Result<ContainerCluster> {
        let data = state.path("containers/postgres");
        let file = state.path("postgres-container-passwords.json");
        let port = free_port()?;
        let access = |passwords, to_set| Access {
            port,
            database: "haven",
            file: file.clone(),
            passwords,
            to_set,
        };
        let access = match Passwords::read(&file, &LOGINS)? {
            Some(kept) => access(kept, None),
            None if data.join("cluster").exists() => access(
                Passwords::new(&LOGINS)?,
                Some(OLD_CONTAINER_PASSWORD.to_owned()),
            ),
            // The image creates a new cluster with the superuser's password from its environment.
            None => {
                let passwords = Passwords::new(&LOGINS)?;
                passwords.write(&file)?;
                access(passwords, None)
            }
        };
        Ok(ContainerCluster { access, data })
    }

    /// Returns the container's parameters.
    pub fn run(&self) -> Run<'static> {
        let password = self.access.passwords.of(SUPERUSER).to_owned();
        Run {
            image: &POSTGRES,
            publish: Some((self.access.port, 5432)),
            stop_within: server::STOP_WITHIN,
            environment: BTreeMap::from([("POSTGRES_PASSWORD".to_owned(), password)]),
            data: Some(self.data.clone()),
            mounts: Vec::new(),
            instead: Vec::new(),
            arguments: Vec::new(),
        }
    }
}

impl Access {
    /// Waits until the server answers, and makes the missing logins with their grants.
    ///
    /// # Errors
    /// When the server does not answer in time, or refuses the superuser's password.
    pub async fn open(self) -> anyhow::Result<Logins> {
        let Access { port, database, .. } = self;
        let url = |login: &str, password: &str| {
            format!("postgres://{login}:{password}@127.0.0.1:{port}/{database}")
        };
        let password = self
            .to_set
            .as_deref()
            .unwrap_or_else(|| self.passwords.of(SUPERUSER));
        let admin = url(SUPERUSER, password);
        wait_until_it_answers(&admin).await?;
        let set = if self.to_set.is_some() {
            migrations::Set::All
        } else {
            migrations::Set::Missing
        };
        let passwords = migrations::Passwords(
            LOGINS
                .map(|login| (login, self.passwords.of(login).to_owned()))
                .into(),
        );
        let made =
            migrations::make_logins(&admin, &migrations::Login::default(), &passwords, set).await;
        made.context("make the logins of the database")?;
        // Write the file last: if the start is interrupted before, the next start sets new
        // passwords.
        if set == migrations::Set::All {
            self.passwords.write(&self.file)?;
        }
        let url = |login: &str| url(login, self.passwords.of(login));
        Ok(Logins {
            write: url(migrations::WRITE),
            outbox: url(migrations::OUTBOX),
            migrate: url(migrations::MIGRATE),
            read: url(migrations::READ),
            admin: url(SUPERUSER),
        })
    }
}

async fn wait_until_it_answers(url: &str) -> anyhow::Result<()> {
    let refused = until("PostgreSQL", || async {
        match Store::connect_with(url, &Login::default(), 1).await {
            Ok(_) => Ok(None),
            // A refused login cannot succeed later, so do not retry.
            Err(refused @ ConnectError::LoginRefused { .. }) => Ok(Some(refused)),
            Err(error) => Err(error.into()),
        }
    });
    match refused.await? {
        None => Ok(()),
        Some(refused) => {
            Err(refused).context("its cluster has other passwords than the state directory: delete the file of the passwords, and `haven up` sets new ones")
        }
    }
}

/// Makes a cluster in a temporary directory and renames it, so that an interrupted start leaves
/// nothing that looks like a cluster.
async fn make(
    binaries: &Path,
    state: &State,
    folder: &Path,
    passwords: &Passwords,
) -> anyhow::Result<()> {
    let fresh = state.path("postgres-unfinished");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)
            .with_context(|| format!("remove the unfinished {}", fresh.display()))?;
    }
    let (path, arguments) = user_prefix(&binaries.join("initdb"));
    let mut initdb = tool::command(path);
    initdb.args(arguments);
    without_settings(&mut initdb);
    // The rules reject every connection until `write_hba` replaces them.
    initdb
        .args([
            "--username",
            SUPERUSER,
            "--auth=reject",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ])
        .arg(&fresh);
    let made = tool::output(initdb, "initdb")
        .await
        .context("start initdb")?;
    if !made.status.success() {
        bail!(
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr).trim()
        );
    }
    write_hba(&fresh)?;
    set_superuser_password(binaries, state, &fresh, passwords).await?;
    fs::rename(&fresh, folder).with_context(|| {
        format!(
            "put the new cluster in {}: a directory that haven did not make may be there",
            folder.display()
        )
    })
}

fn hba(folder: &Path) -> PathBuf {
    folder.join("pg_hba.conf")
}

fn write_hba(folder: &Path) -> anyhow::Result<()> {
    private_file::write(&hba(folder), HBA.as_bytes())
}

/// Returns whether a rule of the cluster accepts connections without a password.
fn trusts_somebody(folder: &Path) -> anyhow::Result<bool> {
    let path = hba(folder);
    let rules = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let active = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    Ok(active
        .flat_map(str::split_whitespace)
        .any(|word| word == "trust"))
}

/// Sets the superuser's password while no server runs. PostgreSQL's single-user mode executes
/// statements from its standard input. It exits at the end of the input, also when this process
/// ends.
async fn set_superuser_password(
    binaries: &Path,
    state: &State,
    folder: &Path,
    passwords: &Passwords,
) -> anyhow::Result<()> {
    const NAME: &str = "postgres-single";
    let (path, arguments) = user_prefix(&binaries.join("postgres"));
    let mut single = Command::new(path);
    single.args(arguments);
    without_settings(&mut single);
    single.args(["--single", "-D"]).arg(folder).arg("postgres");
    single
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut single = single
        .process_group(0)
        .spawn()
        .context("start PostgreSQL in single-user mode")?;
    let pid = single.id().unwrap_or_default();
    state.records().started(NAME, pid, "--single");
    let statement = migrations::set_password(SUPERUSER, passwords.of(SUPERUSER))? + "\n";
    let mut input = single.stdin.take().context("its standard input")?;
    // If the process has exited already, its output contains the reason.
    let _ = input.write_all(statement.as_bytes()).await;
    drop(input);
    let output = single
        .wait_with_output()
        .await
        .context("wait for PostgreSQL in single-user mode")?;
    state.records().ended(pid);
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    let failed = printed
        .lines()
        .find(|line| line.contains("ERROR:") || line.contains("FATAL:"));
    match failed {
        Some(failed) => bail!("the password of PostgreSQL's superuser cannot be set: {failed}"),
        None if !output.status.success() => {
            bail!("PostgreSQL in single-user mode failed: {}", printed.trim())
        }
        None => Ok(()),
    }
}

/// Returns the program and the arguments that run a PostgreSQL program. PostgreSQL refuses to run
/// as root, so for root the program runs in a user namespace as another user. The owner of the
/// files stays the same.
fn user_prefix(program: &Path) -> (PathBuf, Vec<String>) {
    if !rustix::process::geteuid().is_root() {
        return (program.to_owned(), Vec::new());
    }
    let arguments = [
        "--user",
        "--map-user=1000",
        "--map-group=1000",
        &program.display().to_string(),
    ];
    (
        PathBuf::from("unshare"),
        arguments.map(str::to_owned).into(),
    )
}

/// Removes `PGDATA`, `PGOPTIONS` and similar variables, which the user has set for other servers.
fn without_settings(command: &mut Command) {
    for name in ProcessEnvironment.names_with_prefix("PG") {
        command.env_remove(name);
    }
}

/// Returns the directory with the programs of the newest installed PostgreSQL.
pub fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, folder)| folder.join("postgres").exists() && folder.join("initdb").exists())
        .collect();
    versions.sort();
    let packaged = versions.pop().map(|(_, folder)| folder);
    packaged.or_else(|| tool::on_path("postgres")?.parent().map(Path::to_owned))
}
