//! The private Python environment that the local AWS runs in: found or made, from pinned versions with hashes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, bail};
use chassis::config::{Environment as _, ProcessEnvironment};
use tokio::process::Command;

/// What is installed: exact versions and the hashes of their files.
const REQUIREMENTS: &str = include_str!("../../../../localstack/requirements.txt");
/// The oldest Python that the local AWS runs on.
const OLDEST: (u32, u32) = (3, 10);
const CANDIDATES: [&str; 6] = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];

/// The environment's folder: `HAVEN_PYTHON_ENV`, so that several state folders can share one, or one of their own.
pub fn folder(state: &Path) -> PathBuf {
    ProcessEnvironment.get_os("HAVEN_PYTHON_ENV").map_or_else(|| state.join("python"), PathBuf::from)
}

/// The program that starts the local AWS, installed if it is not there yet. Says whether it had to be installed.
///
/// # Errors
/// No Python, or the package index cannot be reached: each in one line with what to do.
pub async fn ensure(folder: &Path) -> anyhow::Result<(PathBuf, bool)> {
    let _turn = turn(folder).await?;
    let program = folder.join("bin").join("ministack");
    let stamp = folder.join("requirements.installed");
    if program.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok((program, false));
    }
    let python = find().await?;
    // A folder that was begun and not finished is made anew.
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove the unfinished {}", folder.display()))?;
    }
    let made = run(Command::new(&python).args(["-m", "venv"]).arg(folder)).await?;
    if !made.status.success() {
        bail!(
            "{python} cannot make a virtual environment: install its venv module (on Debian and Ubuntu: apt install python3-venv)\n{}",
            last_lines(&made)
        );
    }
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).with_context(|| format!("write {}", requirements.display()))?;
    let mut install = Command::new(folder.join("bin").join("python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"]);
    let installed = run(install.arg(&requirements)).await?;
    if !installed.status.success() {
        bail!(
            "the local AWS could not be installed from the Python package index: check the network (behind a proxy, set HTTPS_PROXY or PIP_INDEX_URL) and try again\n{}",
            last_lines(&installed)
        );
    }
    fs::write(&stamp, REQUIREMENTS).with_context(|| format!("write {}", stamp.display()))?;
    Ok((program, true))
}

/// One at a time: two that start at once must not make the same folder. Given back with the value.
async fn turn(folder: &Path) -> anyhow::Result<fs::File> {
    let path = folder.with_extension("lock");
    let shown = path.display().to_string();
    let locked = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let file = fs::File::create(&path)?;
        file.lock().map(|()| file)
    });
    locked.await.context("wait for the lock")?.with_context(|| format!("lock {shown}"))
}

/// The first Python that is new enough; `HAVEN_PYTHON` names one to use.
async fn find() -> anyhow::Result<String> {
    let named = ProcessEnvironment.get("HAVEN_PYTHON");
    let candidates: Vec<String> = match named {
        Some(named) => vec![named],
        None => CANDIDATES.iter().map(ToString::to_string).collect(),
    };
    let mut too_old = None;
    for candidate in candidates {
        let asked = Command::new(&candidate)
            .args(["-c", "import sys; print(*sys.version_info[:2])"])
            .stdin(Stdio::null())
            .output()
            .await;
        let Ok(answer) = asked else { continue };
        let Some(version) = version(&String::from_utf8_lossy(&answer.stdout)) else { continue };
        if version >= OLDEST {
            return Ok(candidate);
        }
        too_old = Some(format!("{candidate} is {}.{}", version.0, version.1));
    }
    let found = too_old.map(|old| format!(" ({old})")).unwrap_or_default();
    bail!(
        "Python {}.{} or newer is needed for the local AWS and was not found{found}: install it, or name one with HAVEN_PYTHON=/path/to/python3",
        OLDEST.0,
        OLDEST.1
    )
}

fn version(answer: &str) -> Option<(u32, u32)> {
    let mut numbers = answer.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

async fn run(command: &mut Command) -> anyhow::Result<Output> {
    let shown = format!("{:?}", command.as_std().get_program());
    command.stdin(Stdio::null()).output().await.with_context(|| format!("start {shown}"))
}

fn last_lines(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_and_nonsense_is_not() {
        assert_eq!(version("3 11\n"), Some((3, 11)));
        assert_eq!(version("Python was not found"), None);
        assert!((3, 9) < OLDEST && (3, 10) >= OLDEST && (4, 0) >= OLDEST);
    }
}
