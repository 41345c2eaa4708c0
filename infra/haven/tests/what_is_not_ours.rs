//! Files and directories that haven did not create: each command refuses them by name, and changes
//! neither their content nor their modes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

/// A directory of one test. Removed when the value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("haven-not-ours-{}", Uuid::now_v7()));
        fs::create_dir(&folder).expect("a directory");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `haven` in a directory, with nothing of this process's environment.
fn haven(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haven"));
    command
        .args(arguments)
        .env_clear()
        // Messages are not wrapped, so that tests can search for phrases.
        .env("COLUMNS", "1000")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", folder.join("home"));
    command
        .env("TMPDIR", folder.join("tmp"))
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// Bad usage: another state directory is the remedy.
const EX_USAGE: i32 = 64;

/// Runs it to its failure, checks the exit code, and returns what it wrote to standard error.
#[track_caller]
fn refused(mut command: Command, code: i32) -> String {
    let output = command.output().expect("haven runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}: {said}\n{printed}"
    );
    for raw in [
        "panicked", "Failure(", "os error", "{ source", "\r", "\u{1b}",
    ] {
        assert!(!said.contains(raw), "{raw:?}: {said}");
    }
    said
}

/// Everything below, with its mode, its owner and its content.
fn snapshot(path: &Path) -> Vec<(PathBuf, u32, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let metadata = fs::symlink_metadata(path).expect("metadata");
    let content = if metadata.is_file() {
        fs::read(path).expect("content")
    } else {
        Vec::new()
    };
    found.push((path.to_owned(), metadata.mode(), metadata.uid(), content));
    if metadata.is_dir() {
        let mut below: Vec<_> = fs::read_dir(path)
            .expect("a list")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        below.sort();
        found.extend(below.iter().flat_map(|path| snapshot(path)));
    }
    found
}

/// A directory with these files that everybody may use.
fn folder(folder: &Folder, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = folder.0.join(name);
    fs::create_dir(&path).expect("a directory");
    for (file, content) in files {
        fs::write(path.join(file), content).expect("written");
        fs::set_permissions(path.join(file), Permissions::from_mode(0o666)).expect("changed");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("changed");
    path
}

#[test]
fn up_refuses_a_directory_of_the_user_and_changes_nothing() {
    let top = Folder::new();
    for (name, files) in [
        ("web", &[("index.html", "<p>")][..]),
        ("project", &[("lock", "pid 4711"), ("main.rs", "")]),
        ("packages", &[("lock", ""), ("status", "")]),
    ] {
        let theirs = folder(&top, name, files);
        let before = snapshot(&theirs);
        for more in [&[][..], &["--detach"]] {
            let said = refused(
                haven(
                    &top.0,
                    &[&["up", "--port", "0", "--state", name], more].concat(),
                ),
                EX_USAGE,
            );
            assert!(
                said.contains(&*theirs.to_string_lossy()) && said.contains("did not make it"),
                "{said}"
            );
        }
        assert_eq!(snapshot(&theirs), before, "{name}");
    }
}

#[test]
fn commands_refuse_a_state_directory_of_another_user() {
    let top = Folder::new();
    let state = top.0.join(".haven");
    let facts = r#"{"storefront":"http://127.0.0.1:1","aws_endpoint":"http://127.0.0.1:1","region":"us-east-1",
        "database_url":"sqlite:///nonexistent","redis_url":null,"payment_url":"","staff_token":"","roles":[],"pid":1,
        "aws_pid":null,"ready":true}"#;
    folder(&top, ".haven", &[("haven.json", facts), ("lock", "")]);
    let them = |path: &Path| chown(path, Some(65534), Some(65534));
    if them(&state).is_err() {
        println!("skipped: only root can give a directory to another user");
        return;
    }
    let commands: [&[&str]; 10] = [
        &["up", "--port", "0"],
        &["down"],
        &["env"],
        &["status"],
        &["seed"],
        &["reconcile"],
        &["dlq", "list"],
        &["staff", "token"],
        &["load", "--rate", "1", "--duration", "1s"],
        &["diff"],
    ];
    let before = snapshot(&state);
    for arguments in commands {
        let said = refused(haven(&top.0, arguments), EX_USAGE);
        assert!(
            said.contains("belongs to the user with id 65534"),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(snapshot(&state), before);

    // A directory of ours in which another user placed a file.
    chown(&state, Some(rustix::process::geteuid().as_raw()), None).expect("root");
    for (file, command) in [("lock", "down"), ("haven.json", "reconcile")] {
        them(&state.join(file)).expect("root");
        let said = refused(haven(&top.0, &[command]), EX_USAGE);
        assert!(
            said.contains("belongs to the user with id 65534"),
            "{command}: {said}"
        );
    }
}

#[test]
fn a_state_directory_that_cannot_be_used_is_bad_usage() {
    let top = Folder::new();
    let file = top.0.join("file");
    fs::write(&file, "").expect("written");
    folder(&top, "newer", &[("format", "99")]);
    folder(&top, "odd", &[("haven.json", "{}")]);
    let linked = folder(&top, "linked", &[("format", "2")]);
    symlink(&file, linked.join("haven.json")).expect("a link");
    for (state, why) in [
        ("file", "is a file"),
        ("file/below", "cannot be made"),
        ("newer", "has format 99"),
        ("linked", "symbolic link haven.json"),
    ] {
        let said = refused(
            haven(&top.0, &["up", "--port", "0", "--state", state]),
            EX_USAGE,
        );
        assert!(
            said.contains(why) && said.contains("--state DIR"),
            "{state}: {said}"
        );
    }
    for (state, why) in [("linked", "cannot be used"), ("odd", "cannot read")] {
        let said = refused(haven(&top.0, &["reconcile", "--state", state]), EX_USAGE);
        assert!(
            said.contains(why) && said.contains("--state DIR"),
            "{state}: {said}"
        );
    }
    // A directory without a platform is no wrong argument.
    let said = refused(haven(&top.0, &["reconcile", "--state", "nowhere"]), 1);
    assert!(said.contains("no platform is running in"), "{said}");
}

#[test]
fn a_rehearsal_uses_no_python_of_another_user_and_leaves_no_directory() {
    let top = Folder::new();
    let temporary = folder(&top, "tmp", &[]);
    let state = folder(&top, ".haven", &[]);
    let bin = state.join("python/bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::write(state.join("python/pyvenv.cfg"), "home = /usr/bin\n").expect("written");
    let requirements = include_str!("../../../localstack/requirements.txt");
    fs::write(state.join("python/requirements.installed"), requirements).expect("written");
    let ran = top.0.join("ran");
    fs::write(
        bin.join("python"),
        format!("#!/bin/sh\ntouch {}\necho well\n", ran.display()),
    )
    .expect("written");
    for path in [state.join("python"), bin.clone(), bin.join("python")] {
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("changed");
        if chown(&path, Some(65534), Some(65534)).is_err() {
            println!("skipped: only root can give a directory to another user");
            return;
        }
    }
    chown(&state, Some(65534), Some(65534)).expect("root");
    let before = snapshot(&state);
    // No Python to build an environment with: it ends there.
    let mut rehearse = haven(&top.0, &["rehearse", "dev"]);
    rehearse.env("HAVEN_PYTHON", "/nonexistent");
    let said = refused(rehearse, 1);
    assert!(said.contains("Python"), "{said}");
    assert!(!ran.exists(), "their program ran");
    assert_eq!(snapshot(&state), before);
    assert_eq!(
        fs::read_dir(temporary).expect("a list").count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn an_interrupted_rehearsal_leaves_no_directory() {
    let top = Folder::new();
    let temporary = folder(&top, "tmp", &[]);
    let python = top.0.join("slow-python");
    fs::write(&python, "#!/bin/sh\nexec sleep 60\n").expect("written");
    fs::set_permissions(&python, Permissions::from_mode(0o755)).expect("changed");
    let left = || fs::read_dir(&temporary).expect("a list").count();
    for signal in [Signal::INT, Signal::TERM] {
        let mut rehearse = haven(&top.0, &["rehearse", "dev"]);
        let mut rehearse = rehearse
            .env("HAVEN_PYTHON", &python)
            .stderr(Stdio::null())
            .spawn()
            .expect("haven runs");
        let begun = Instant::now();
        while left() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "it never began");
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = i32::try_from(rehearse.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("it runs");
        assert_eq!(
            rehearse.wait().expect("it ends").code(),
            Some(130),
            "{signal:?}"
        );
        assert_eq!(left(), 0, "{signal:?}");
    }
}

#[test]
fn files_that_commands_write_are_private() {
    let top = Folder::new();
    let done = haven(&top.0, &["synth", "dev", "--out", "templates"])
        .output()
        .expect("haven runs");
    assert!(done.status.success(), "{done:?}");
    let written = snapshot(&top.0.join("templates"));
    assert!(written.len() > 1);
    for (path, mode, _, _) in written {
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}
