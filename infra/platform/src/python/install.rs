//! Builds a Python environment beside its final place, to be renamed when it is finished.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use uuid::Uuid;

use crate::python::interpreter::{clean, examine, find, interpreter};
use crate::python::place::{Place, named};
use crate::python_marks::{
    MARKER, REPLACED, REQUIREMENTS, REQUIREMENTS_FILE, UNFINISHED, beside, pinned,
};
use crate::{private_file, tool};

/// The age at which an unfinished directory counts as abandoned. A build takes about 20 s.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);
/// The pip settings about the connection to the package index, which are passed on. All other
/// settings are dropped, because several of them change where packages are installed. These
/// settings cannot change what is installed, because every file is checked against its hash.
const INDEX_SETTINGS: [&str; 11] = [
    "index-url",
    "extra-index-url",
    "find-links",
    "no-index",
    "trusted-host",
    "cert",
    "client-cert",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
];
/// The environment variables about network connections, which are passed on.
const NETWORK_VARIABLES: [&str; 11] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
];

/// A finished environment that is not at its final place yet. The directory is removed when the
/// value is dropped.
pub struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Fresh {
    /// Renames the environment to its place.
    ///
    /// # Errors
    /// When the place contains something other than an empty directory.
    pub(crate) fn move_to(&self, folder: &Path) -> anyhow::Result<()> {
        fs::rename(&self.0, folder)
            .with_context(|| format!("put the Python environment in {}", folder.display()))
    }

    /// Replaces an older environment that haven made, and removes it.
    ///
    /// # Errors
    /// When the old environment cannot be renamed, or the new one cannot be moved to its place.
    pub fn replace(&self, folder: &Path) -> anyhow::Result<()> {
        let replaced = beside(folder, &format!("{REPLACED}{}", Uuid::now_v7().simple()));
        fs::rename(folder, &replaced).with_context(|| format!("set {} aside", folder.display()))?;
        self.move_to(folder)?;
        // The next build removes what cannot be removed now.
        let _ = fs::remove_dir_all(replaced);
        Ok(())
    }
}

/// Removes what interrupted builds left beside the place: directories with the names of a build
/// that belong to our user.
pub(crate) fn remove_abandoned(place: &Place) {
    let folder = place.folder();
    let names = [UNFINISHED, REPLACED].map(|purpose| beside(folder, purpose));
    let Some(above) = folder.parent() else { return };
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = names.iter().any(|name| {
            path.as_os_str()
                .as_encoded_bytes()
                .starts_with(name.as_os_str().as_encoded_bytes())
        });
        let Some(metadata) = entry
            .metadata()
            .ok()
            .filter(|metadata| ours && metadata.is_dir())
        else {
            continue;
        };
        let age = metadata
            .modified()
            .ok()
            .and_then(|at| at.elapsed().ok())
            .unwrap_or_default();
        let abandoned = matches!(place, Place::InState(_)) || age > ABANDONED_AFTER;
        if abandoned && metadata.uid() == rustix::process::geteuid().as_raw() {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Builds an environment beside its place.
///
/// # Errors
/// When Python or its venv module is missing, or the package index cannot be reached. Each message
/// says what to do.
pub async fn build(place: &Place) -> anyhow::Result<Fresh> {
    let python = find().await?;
    let folder = place.folder();
    if let Some(above) = folder.parent() {
        match place {
            Place::InState(_) => private_file::private_folder(above)?,
            Place::Shared(_) => make_parents(above)?,
        }
    }
    let fresh = beside(folder, &format!("{UNFINISHED}{}", Uuid::now_v7().simple()));
    let made = DirBuilder::new().mode(0o700).create(&fresh);
    made.with_context(|| format!("make a Python environment beside {}", folder.display()))?;
    let fresh = Fresh(fresh);

    let venv = run(
        place,
        "venv",
        Command::new(&python)
            .args(["-I", "-m", "venv"])
            .arg(&fresh.0),
        &[],
    )
    .await?;
    if !venv.status.success() {
        bail!(
            "{} cannot make a virtual environment: install its venv module (on Debian and Ubuntu: apt install python3-venv)\n{}",
            python.display(),
            last_lines(&venv)
        );
    }
    let requirements = fresh.0.join(REQUIREMENTS_FILE);
    fs::write(&requirements, REQUIREMENTS)
        .with_context(|| format!("write {}", requirements.display()))?;
    install(place, &fresh.0, &requirements).await?;
    let pinned: Vec<&str> = pinned().collect();
    if let Err(why) = examine(&fresh.0, &pinned).await {
        bail!(
            "the local AWS was installed and does not work ({why}): choose another Python with HAVEN_PYTHON"
        );
    }
    let marker = fresh.0.join(MARKER);
    fs::write(&marker, REQUIREMENTS).with_context(|| format!("write {}", marker.display()))?;
    if let Place::Shared(_) = place {
        // The directory was made with mode 0700, and these two files with the umask of `haven`.
        for (path, mode) in [(&fresh.0, 0o755), (&requirements, 0o644), (&marker, 0o644)] {
            let opened = fs::set_permissions(path, Permissions::from_mode(mode));
            opened.with_context(|| format!("open {} to others", path.display()))?;
        }
    }
    Ok(fresh)
}

/// Makes the parent directories of a shared environment, with mode 0755 whatever the umask is.
fn make_parents(above: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> = above
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    fs::create_dir_all(above).with_context(|| format!("make {}", above.display()))?;
    for folder in missing {
        let opened = fs::set_permissions(folder, Permissions::from_mode(0o755));
        opened.with_context(|| format!("open {} to others", folder.display()))?;
    }
    Ok(())
}

/// Installs the requirements with the user's index settings, and without them if that fails: a
/// mirror that is gone must not stop a machine that reaches the public index.
async fn install(place: &Place, fresh: &Path, requirements: &Path) -> anyhow::Result<()> {
    let settings = index_settings(fresh).await;
    let arguments = [
        "-I",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "-r",
    ];
    let pip = || {
        let mut command = Command::new(interpreter(fresh));
        command.args(arguments).arg(requirements);
        command
    };
    let mut installed = run(place, "pip", &mut pip(), &settings).await?;
    if !installed.status.success() && !settings.is_empty() {
        let again = run(place, "pip", &mut pip(), &[]).await?;
        if again.status.success() {
            installed = again;
        }
    }
    if !installed.status.success() {
        bail!(
            "the local AWS could not be installed from the Python package index: check the network (behind a proxy, set HTTPS_PROXY or PIP_INDEX_URL; for a certificate of your own, PIP_CERT) and try again\n{}",
            last_lines(&installed)
        );
    }
    Ok(())
}

/// Returns the user's index settings, from pip.conf and `PIP_*` variables, as variables for pip.
async fn index_settings(fresh: &Path) -> Vec<(String, String)> {
    let mut command = tool::command(interpreter(fresh));
    command.args(["-I", "-m", "pip", "config", "list"]);
    let listed = tool::output(command, "pip")
        .await
        .ok()
        .filter(|listed| listed.status.success());
    listed
        .map(|listed| read_settings(&String::from_utf8_lossy(&listed.stdout)))
        .unwrap_or_default()
}

/// Parses lines such as `global.index-url='https://mirror'`. pip lists environment variables under
/// `:env:`. They take precedence over `install.`, and `install.` over `global.`.
pub(crate) fn read_settings(listed: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for section in ["global", "install", ":env:"] {
        for line in listed.lines() {
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let Some(key) = name
                .strip_prefix(section)
                .and_then(|name| name.strip_prefix('.'))
            else {
                continue;
            };
            let value = value.trim().trim_matches(['\'', '"']).replace("\\n", " ");
            if INDEX_SETTINGS.contains(&key) && !value.trim().is_empty() {
                let variable = format!("PIP_{}", key.replace('-', "_").to_uppercase());
                settings.retain(|(known, _)| *known != variable);
                settings.push((variable, value.trim().to_owned()));
            }
        }
    }
    settings
}

/// Runs a program with the umask that the place needs and with a clean environment.
async fn run(
    place: &Place,
    name: &str,
    command: &mut Command,
    settings: &[(String, String)],
) -> anyhow::Result<Output> {
    let command = command.as_std();
    let shown = command.get_program().display().to_string();
    // The umask of this process applies to all its threads, so a shell sets it for the program
    // alone.
    let umask = match place {
        Place::InState(_) => "umask 077; exec \"$@\"",
        Place::Shared(_) => "umask 022; exec \"$@\"",
    };
    let mut shell = tool::command("/bin/sh");
    shell
        .args(["-c", umask, "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    clean(&mut shell).env("PIP_CONFIG_FILE", "/dev/null");
    for variable in NETWORK_VARIABLES {
        if let Some(value) = named(variable) {
            shell.env(variable, value);
        }
    }
    shell.envs(settings.iter().map(|(name, value)| (name, value)));
    tool::output(shell, name)
        .await
        .with_context(|| format!("start {shown}"))
}

fn last_lines(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}
