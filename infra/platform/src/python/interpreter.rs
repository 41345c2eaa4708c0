//! Finds and runs Python interpreters.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::bail;
use chassis::config::ProcessEnvironment;
use tokio::process::Command;

use crate::python::place::named;
use crate::tool;

/// The oldest Python version that the local AWS supports.
pub const OLDEST: (u32, u32) = (3, 10);
const CANDIDATES: [&str; 6] = [
    "python3",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python",
];

/// Returns the path of the interpreter in an environment.
pub fn interpreter(folder: &Path) -> PathBuf {
    folder.join("bin").join("python")
}

/// The reason why a Python environment does not work.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("its Python does not start: {0}")]
    DoesNotStart(std::io::Error),
    /// The last line that the interpreter printed.
    #[error("{0}")]
    Refused(String),
    #[error("it was made for other requirements")]
    OtherRequirements,
}

/// Checks that the interpreter of the environment runs and finds the modules that the local AWS
/// needs, and the versions in `installed` (`NAME==VERSION`). With a warm file cache this takes
/// about 50 ms.
pub async fn examine(folder: &Path, installed: &[&str]) -> Result<(), Broken> {
    const LOOK: &str = r#"
import importlib.metadata, importlib.util, sys
import cbor2
for module in ("ministack", "hypercorn", "botocore"):
    if importlib.util.find_spec(module) is None:
        sys.exit(f"{module} is missing")
for requirement in sys.argv[1:]:
    name, version = requirement.split("==")
    found = importlib.metadata.version(name)
    if found != version:
        sys.exit(f"{name} is {found} and not {version}")
print("well")
"#;
    let mut command = tool::command(interpreter(folder));
    command.args(["-I", "-B", "-c", LOOK]).args(installed);
    clean(&mut command);
    let output = tool::output(command, "python")
        .await
        .map_err(Broken::DoesNotStart)?;
    match output.status.success() && output.stdout == b"well\n" {
        true => Ok(()),
        false => Err(Broken::Refused(last_line(&output))),
    }
}

/// Clears the environment of a command, so that the user's Python and pip settings have no effect.
/// With `PYTHONHOME` the interpreter would not start, and with `PIP_TARGET` or a pip.conf packages
/// would be installed elsewhere.
pub fn clean(command: &mut Command) -> &mut Command {
    command.env_clear();
    for variable in ["PATH", "TMPDIR", "LANG", "LC_ALL"] {
        if let Some(value) = named(variable) {
            command.env(variable, value);
        }
    }
    command
}

/// Returns the first Python that is new enough, as an absolute path if possible. `HAVEN_PYTHON`
/// replaces the candidates.
pub async fn find() -> anyhow::Result<PathBuf> {
    let candidates: Vec<_> = match named("HAVEN_PYTHON") {
        Some(named) => vec![named],
        None => CANDIDATES.iter().map(Into::into).collect(),
    };
    let mut too_old = None;
    for candidate in candidates {
        let mut command = tool::command(&candidate);
        command.args([
            "-I",
            "-c",
            "import sys; print(*sys.version_info[:2]); print(sys.executable)",
        ]);
        // A version manager's shim needs its own variables, but Python must not see the user's.
        for name in ProcessEnvironment.names_with_prefix("PYTHON") {
            command.env_remove(name);
        }
        let Ok(answer) = tool::output(command, "python").await else {
            continue;
        };
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        let Some((version, path)) = version(&answer) else {
            continue;
        };
        if version >= OLDEST {
            return Ok(if Path::new(path).is_absolute() {
                path.into()
            } else {
                candidate.into()
            });
        }
        too_old = Some(format!(
            "{} is {}.{}",
            candidate.display(),
            version.0,
            version.1
        ));
    }
    let found = too_old.map(|old| format!(" ({old})")).unwrap_or_default();
    bail!(
        "Python {}.{} or newer is needed for the local AWS and was not found{found}: install it, or name one with HAVEN_PYTHON=/path/to/python3",
        OLDEST.0,
        OLDEST.1
    )
}

/// Parses the version and the path that the interpreter printed.
pub fn version(answer: &str) -> Option<((u32, u32), &str)> {
    let (numbers, path) = answer.split_once('\n')?;
    let mut numbers = numbers.split_whitespace().map(str::parse);
    Some((
        (numbers.next()?.ok()?, numbers.next()?.ok()?),
        path.trim_end(),
    ))
}

/// Returns the last line that a program printed to standard error, or its status if there is none.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned())
}
