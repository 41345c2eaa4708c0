//! Sets `HAVEN_VERSION` for `haven --version`: the version, and the commit with its date if the
//! sources are those of a Git repository.

use std::path::Path;
use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Sources from an archive can be in a foreign repository, which does not track them.
    let is_tracked = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    let commit = git(&["log", "-1", "--abbrev=7", "--format=%h %cs"]).filter(|_| is_tracked);
    if is_tracked {
        // The log of HEAD grows with each commit and checkout.
        let paths = ["HEAD", "logs/HEAD"];
        let paths = paths
            .iter()
            .filter_map(|path| git(&["rev-parse", "--git-path", path]));
        for path in paths.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    };
    println!("cargo::rustc-env=HAVEN_VERSION={version}");
}
