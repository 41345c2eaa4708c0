//! Containers of `haven up`, from the images of `localstack/images`. They publish ports on loopback
//! only, and keep their data below the state directory. A label finds the containers that a killed
//! `haven up` left running.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chassis::config::{Environment as _, ProcessEnvironment};
use tokio::process::Command;

use crate::children::Program;
use crate::private_file;
use crate::server::{Server, Stopped};
use crate::state::State;

/// An image of `localstack/images/build`, and the environment variable that replaces it.
#[derive(Debug)]
pub struct Image {
    /// The beginning of the container's name, and the name of its log.
    name: &'static str,
    variable: &'static str,
    default: &'static str,
}

/// PostgreSQL.
pub const POSTGRES: Image = Image {
    name: "postgres",
    variable: "HAVEN_IMAGE_POSTGRES",
    default: "brew-haven/postgres:local",
};
/// Redis.
pub const REDIS: Image = Image {
    name: "redis",
    variable: "HAVEN_IMAGE_REDIS",
    default: "brew-haven/redis:local",
};
/// MiniStack.
pub const AWS: Image = Image {
    name: "local-aws",
    variable: "HAVEN_IMAGE_AWS",
    default: "brew-haven/ministack:local",
};

/// The label of every container of haven. Its value is the path of the state directory.
const LABEL: &str = "brew-haven.state";
/// The directory in which the images keep their data.
const DATA: &str = "/data";
/// The directory, below the state directory, that exists once a container was started. Without it
/// `end_leftovers` does not call Docker, so that shops without containers do not need Docker.
const FOLDER: &str = "containers";
/// The time that a leftover container may take to write its state.
const LEFTOVER_STOPS_WITHIN: Duration = Duration::from_secs(30);

/// The parameters of a container.
#[derive(Debug)]
pub struct Run<'a> {
    pub image: &'a Image,
    /// The port on loopback and the port of the container. With `None`, the container has no
    /// network.
    pub publish: Option<(u16, u16)>,
    pub stop_within: Duration,
    pub environment: BTreeMap<String, String>,
    /// The directory of this machine for the container's data. With `None`, no data is kept.
    pub data: Option<PathBuf>,
    /// More directories of this machine, each with its path in the container.
    pub mounts: Vec<(PathBuf, &'static str)>,
    /// The command that replaces the image's own. Empty for the image's own command.
    pub instead: Vec<String>,
    pub arguments: Vec<String>,
}

/// A running container. Docker's client runs as long as the container, and its output is the log.
#[derive(Debug)]
pub struct Container {
    name: String,
    client: Server,
    stop_within: Duration,
}

impl Container {
    /// Starts a container. No image is fetched from a registry.
    ///
    /// # Errors
    /// When Docker or the image is missing, or the container cannot be started.
    pub async fn start(run: Run<'_>, state: &State) -> anyhow::Result<Container> {
        let image = run.image.reference();
        run.image.must_exist(&image).await?;
        let kept = state.path(FOLDER);
        private_file::private_folder(&kept)?;

        let name = format!(
            "brew-haven-{}-{}",
            run.image.name,
            uuid::Uuid::now_v7().simple()
        );
        let mut arguments = ["run", "--rm", "--pull", "never", "--name", &name]
            .map(str::to_owned)
            .to_vec();
        let mut option = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        option("--label", format!("{LABEL}={}", state.folder().display()));
        match run.publish {
            Some((ours, theirs)) => option("--publish", format!("127.0.0.1:{ours}:{theirs}")),
            None => option("--network", "none".to_owned()),
        }
        let data = run.data.map(|folder| (folder, DATA));
        for (folder, target) in data.into_iter().chain(run.mounts) {
            // Docker would make a missing directory as root.
            private_file::private_folder(&folder)?;
            option("--mount", mount(&folder, target));
        }
        let mut instead = run.instead.into_iter();
        if let Some(command) = instead.next() {
            option("--entrypoint", command);
        }
        // Only the names are arguments, because every account of this machine can read arguments.
        // Docker takes the values from its environment.
        for key in run.environment.keys() {
            option("--env", key.clone());
        }
        arguments.push(image);
        arguments.extend(instead.chain(run.arguments));
        let mut environment = run.environment;
        environment.extend(for_docker());
        let program = Program {
            name: run.image.name.to_owned(),
            path: PathBuf::from("docker"),
            arguments,
            environment,
            stop_within: run.stop_within,
        };
        let client = Server::start(&program, state)?;
        state.records().add_container(&name);
        Ok(Container {
            name,
            client,
            stop_within: run.stop_within,
        })
    }

    /// Waits until the container has ended by itself. Returns how it ended.
    pub async fn ended(&mut self) -> String {
        self.client.ended().await
    }

    /// Stops the container and waits until it has ended.
    pub async fn stop(self) -> Stopped {
        let _ = docker(&[
            "stop",
            "--time",
            &self.stop_within.as_secs().to_string(),
            &self.name,
        ])
        .await;
        // Docker's client exits with the status of its container: 137 for one that was killed.
        self.client.stop().await
    }
}

/// Returns the value of `--mount` for a directory. Docker parses it as a line of CSV, so the field
/// is quoted and its quotes are doubled.
fn mount(folder: &Path, target: &str) -> String {
    format!(
        "type=bind,\"source={}\",target={target}",
        folder.display().to_string().replace('"', "\"\"")
    )
}

impl Image {
    /// Returns the name of the image: the default, or the value of the environment variable.
    pub fn reference(&self) -> String {
        ProcessEnvironment
            .get(self.variable)
            .unwrap_or_else(|| self.default.to_owned())
    }

    async fn must_exist(&self, image: &str) -> anyhow::Result<()> {
        let asked = docker(&["image", "inspect", image]).await?;
        if asked.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&asked.stderr).trim().to_owned();
        if !said.to_lowercase().contains("no such image") {
            bail!("Docker does not answer: {said}");
        }
        if image == self.default {
            bail!("the image {image} is not on this machine: run localstack/images/build");
        }
        bail!(
            "the image {image} ({}) is not on this machine: fetch it with docker pull",
            self.variable
        )
    }
}

/// Stops the containers that an interrupted `haven up` left on a state directory, and waits until
/// they are removed.
pub async fn end_leftovers(folder: &Path) {
    let Ok(folder) = folder.canonicalize() else {
        return;
    };
    if !folder.join(FOLDER).is_dir() {
        return;
    }
    let label = format!("label={LABEL}={}", folder.display());
    let begun = Instant::now();
    loop {
        // `--all` includes containers that were created and never started.
        let Ok(listed) = docker(&["ps", "--all", "--quiet", "--filter", &label]).await else {
            return;
        };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let left: Vec<&str> = listed.split_whitespace().collect();
        if left.is_empty() {
            return;
        }
        if begun.elapsed() > 3 * LEFTOVER_STOPS_WITHIN {
            eprintln!(
                "  containers of an earlier start cannot be removed: {}",
                left.join(", ")
            );
            return;
        }
        let within = LEFTOVER_STOPS_WITHIN.as_secs().to_string();
        let _ = docker(&[&["stop", "--time", &within], left.as_slice()].concat()).await;
        // `--rm` has removed most containers with the stop, so an error is ignored.
        let _ = docker(&[&["rm", "--force"], left.as_slice()].concat()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kills containers by name. They cannot save anything.
pub async fn kill(names: &[String]) {
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _ = docker(&[&["rm", "--force"], names.as_slice()].concat()).await;
    }
}

async fn docker(arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new("docker");
    // Ctrl-C in the terminal must not interrupt a `docker stop` that it has caused.
    command
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0);
    command
        .output()
        .await
        .context("Docker is needed, and was not found on the PATH")
}

/// Returns the environment variables of Docker's client: which Docker, and whose configuration.
fn for_docker() -> impl Iterator<Item = (String, String)> {
    let docker = ProcessEnvironment
        .names()
        .into_iter()
        .filter(|name| name.starts_with("DOCKER_") || name == "HOME");
    let values = docker.filter_map(|name| ProcessEnvironment.get(&name).map(|value| (name, value)));
    values.chain([("PATH".to_owned(), ProcessEnvironment.search_path())])
}
