//! Containers of `haven up`: from the images of `localstack/images`, published on loopback alone,
//! what they keep kept below the state folder. One that a killed `haven up` left behind is found
//! again by its label.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chassis::config::{Environment as _, ProcessEnvironment};
use tokio::process::Command;

use super::children::Program;
use super::guard;
use super::server::{Server, Stopped};
use super::state::State;

/// An image of `localstack/images/build`, and the variable that names another one.
#[derive(Debug)]
pub struct Image {
    /// The container's own name begins with it, and its log is called so.
    name: &'static str,
    variable: &'static str,
    default: &'static str,
}

pub const POSTGRES: Image = Image {
    name: "postgres",
    variable: "HAVEN_IMAGE_POSTGRES",
    default: "brew-haven/postgres:local",
};
pub const REDIS: Image = Image {
    name: "redis",
    variable: "HAVEN_IMAGE_REDIS",
    default: "brew-haven/redis:local",
};
pub const AWS: Image = Image {
    name: "local-aws",
    variable: "HAVEN_IMAGE_AWS",
    default: "brew-haven/ministack:local",
};

/// Every container of ours carries it; its value is the state folder.
const LABEL: &str = "brew-haven.state";
/// Where the images keep what is to be kept.
const DATA: &str = "/data";
/// Below the state folder: there as soon as it has ever had a container. Without it nobody is asked
/// about leftovers, so that a shop without containers needs no Docker.
const FOLDER: &str = "containers";
/// A leftover gets so long to write its state down.
const LEFTOVER_STOPS_WITHIN: Duration = Duration::from_secs(30);

/// What to run, and how.
#[derive(Debug)]
pub struct Run<'a> {
    pub image: &'a Image,
    /// The port on loopback, and the container's own. Without one the container has no network.
    pub publish: Option<(u16, u16)>,
    pub stop_within: Duration,
    pub environment: BTreeMap<String, String>,
    /// The folder of this machine that it keeps its data in; without one it keeps nothing.
    pub data: Option<PathBuf>,
    /// More folders of this machine, and where the container has them.
    pub mounts: Vec<(PathBuf, &'static str)>,
    /// The command in place of the image's own; empty for the image's own.
    pub instead: Vec<String>,
    pub arguments: Vec<String>,
}

/// A running container. Docker's client stays with it: it writes the log, and ends when the
/// container does.
#[derive(Debug)]
pub struct Container {
    name: String,
    client: Server,
    stop_within: Duration,
}

impl Container {
    /// # Errors
    /// No Docker, or no such image: nothing is ever fetched from a registry.
    pub async fn start(run: Run<'_>, state: &State) -> anyhow::Result<Container> {
        let image = run.image.reference();
        run.image.must_exist(&image).await?;
        let kept = state.path(FOLDER);
        guard::private_folder(&kept)?;

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
            // Docker itself would make it as root.
            guard::private_folder(&folder)?;
            option("--mount", mount(&folder, target));
        }
        let mut instead = run.instead.into_iter();
        if let Some(command) = instead.next() {
            option("--entrypoint", command);
        }
        // By name alone: a value in the arguments could be read by every user of this machine.
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

    /// Returns when it has ended by itself.
    pub async fn ended(&mut self) -> String {
        self.client.ended().await
    }

    /// Stops it and waits until it is gone.
    pub async fn stop(self) -> Stopped {
        let _ = docker(&[
            "stop",
            "--time",
            &self.stop_within.as_secs().to_string(),
            &self.name,
        ])
        .await;
        // Docker's client ends with its container, and as it did: 137 for one that was killed.
        self.client.stop().await
    }
}

/// Returns the option that mounts a folder. Docker reads it as a line of CSV: a comma or a quote
/// stands in quotes.
fn mount(folder: &Path, target: &str) -> String {
    format!(
        "type=bind,\"source={}\",target={target}",
        folder.display().to_string().replace('"', "\"\"")
    )
}

impl Image {
    /// Returns the image that is used: the default, or the one that the variable names.
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

/// Stops the containers that a killed or broken off `haven up` left on a state folder, and waits
/// until they are gone.
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
        // Those too that were made and never started.
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
        // Most have gone with the stop: refused is as good as removed.
        let _ = docker(&[&["rm", "--force"], left.as_slice()].concat()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kills containers by name. Nothing of theirs is saved.
pub async fn kill(names: &[String]) {
    if !names.is_empty() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _ = docker(&[&["rm", "--force"], names.as_slice()].concat()).await;
    }
}

async fn docker(arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new("docker");
    // A Ctrl-C in the terminal is for us: it must not break off the stop that follows it.
    command
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0);
    command
        .output()
        .await
        .context("Docker is needed, and was not found on the PATH")
}

/// Which Docker, and as whom.
fn for_docker() -> impl Iterator<Item = (String, String)> {
    let docker = ProcessEnvironment
        .names()
        .into_iter()
        .filter(|name| name.starts_with("DOCKER_") || name == "HOME");
    let values = docker.filter_map(|name| ProcessEnvironment.get(&name).map(|value| (name, value)));
    values.chain([("PATH".to_owned(), ProcessEnvironment.search_path())])
}
