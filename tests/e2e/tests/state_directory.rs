//! The state directory and the Python environment of a running shop: unusual paths, hostile
//! settings, and file permissions.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Supervised, World};
use uuid::Uuid;

/// A directory for one test, deleted when the value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("haven-odd-{}", Uuid::now_v7()));
        fs::create_dir(&folder).expect("a directory");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_with_an_odd_path_and_hostile_python_settings_sells_coffee_and_keeps_its_state_to_itself()
 {
    let folder = Folder::new();
    let odd = format!(
        "100% of #1? {{K\u{e4}fer}}, 'caf\u{e9} %20\" {}",
        "long ".repeat(20)
    );
    let state = folder.0.join(odd).join("state");
    // Settings that install packages elsewhere or keep Python from starting.
    let elsewhere = folder.0.join("elsewhere");
    let evil = folder.0.join("evil");
    fs::create_dir(&evil).expect("a directory");
    for module in [
        "ministack",
        "hypercorn",
        "pip",
        "sitecustomize",
        "usercustomize",
    ] {
        fs::write(
            evil.join(format!("{module}.py")),
            "raise SystemExit('evil')",
        )
        .expect("written");
    }
    let python = folder.0.join("class room").join("python \u{fc}%20");
    let environment: Vec<(&str, OsString)> = vec![
        ("HAVEN_PYTHON_ENV", python.clone().into()),
        ("PIP_TARGET", elsewhere.clone().into()),
        ("PIP_PREFIX", elsewhere.clone().into()),
        ("PIP_ROOT", elsewhere.clone().into()),
        ("PIP_USER", "1".into()),
        ("PIP_DRY_RUN", "1".into()),
        ("PIP_NO_DEPS", "1".into()),
        ("PYTHONHOME", "/nonexistent".into()),
        ("PYTHONPATH", evil.into()),
        ("PYTHONSTARTUP", "/nonexistent".into()),
    ];
    let with_servers = servers::has("postgres") && servers::has("redis");
    let arguments: &[&str] = if with_servers {
        &["--postgres", "--redis"]
    } else {
        &[]
    };
    let mut world = World::open_on(state, arguments, environment).await;
    no_argument_carries_a_password(&world);
    let accepted = world.order("espresso", 1, "tok_ok").await;
    world.until(&accepted, &["confirmed"]).await;
    // A command in another process must handle the same path.
    assert!(world.haven(&["reconcile"]).status.success());

    assert!(!elsewhere.exists(), "packages were installed elsewhere");
    only_ours(world.state());
    readable_by_all(&python);

    // A moved environment is used without a new installation.
    world.close();
    let moved = folder.0.join("moved");
    let marker = |folder: &Path| {
        fs::metadata(folder.join("requirements.installed"))
            .expect("finished")
            .ino()
    };
    let before = marker(&python);
    fs::rename(&python, &moved).expect("moved");
    world.environment[0].1 = moved.clone().into();
    world.reopen_closed(arguments).await;
    assert_eq!(
        marker(&moved),
        before,
        "the moved environment was used as it is"
    );
    assert_eq!(
        world.until(&accepted, &["confirmed"]).await["order_number"],
        accepted.body["order_number"]
    );
    world.close();

    // An environment of another user is used as it is, unless other accounts can write to it.
    let class = folder.0.join("class");
    fs::create_dir(&class).expect("a directory");
    let theirs = class.join("python");
    fs::rename(&moved, &theirs).expect("moved");
    let given = Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(&class)
        .status()
        .expect("chown runs");
    if !given.success() {
        println!("skipped: only root can give an environment to another user");
        return;
    }
    world.environment[0].1 = theirs.clone().into();
    world.reopen_closed(arguments).await;
    world.close();
    assert_eq!(marker(&theirs), before);
    let library = theirs.join("lib");
    fs::set_permissions(&library, fs::Permissions::from_mode(0o777)).expect("changed");
    let mut up = e2e::haven_command();
    up.args(["up", "--port", "0", "--state"])
        .arg(world.state())
        .env("HAVEN_PYTHON_ENV", &theirs);
    let refused = up.output().expect("haven runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains(&library.display().to_string()),
        "{said}"
    );
}

/// Many users install a link, and the link's name is in the command line.
#[tokio::test(flavor = "multi_thread")]
async fn a_shop_under_another_name_can_be_stopped() {
    let folder = Folder::new();
    let link = folder.0.join("bh");
    std::os::unix::fs::symlink(e2e::haven(), &link).expect("a link");
    let mut run = Supervised::new().await;
    let mut up = Command::new(&link);
    up.args(["up", "--port", "0", "--state"])
        .arg(&run.state)
        .env("HAVEN_PYTHON_ENV", servers::python_folder());
    run.start_as(up);
    run.wait_until_ready();
    let second = run
        .command(&["up", "--port", "0"])
        .output()
        .expect("haven runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(64), "{said}");
    assert!(said.contains(&format!("(pid {})", run.pid())), "{said}");
    let down = run.command(&["down"]).output().expect("haven runs");
    assert!(down.status.success(), "{down:?}");
    assert!(run.wait_for_end().success(), "{}", run.said());
    run.wait_until_nothing_runs();
}

/// Checks that no command line contains a password, because every account can read command lines.
fn no_argument_carries_a_password(world: &World) {
    let mut secrets = vec![
        world.facts["staff_token"]
            .as_str()
            .expect("a token")
            .to_owned(),
    ];
    for name in ["database_url", "redis_url"] {
        let url = world.facts[name].as_str().unwrap_or_default();
        let login = url
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'));
        secrets.extend(
            login
                .and_then(|(login, _)| login.split_once(':'))
                .map(|(_, password)| password.to_owned()),
        );
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        assert!(
            secrets.iter().all(|secret| !line.contains(secret)),
            "{line}"
        );
    }
}

/// Checks that only the owner can access the state directory. `said` is the test's own file.
fn only_ours(path: &Path) {
    let metadata = fs::symlink_metadata(path).expect("metadata");
    if path.file_name().is_some_and(|name| name == "said") || metadata.is_symlink() {
        return;
    }
    assert_eq!(
        metadata.mode() & 0o077,
        0,
        "{} has mode {:o}",
        path.display(),
        metadata.mode() & 0o7777
    );
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("a list").flatten() {
            only_ours(&entry.path());
        }
    }
}

/// Checks that every account can read a shared environment, as in a classroom. It holds no secret.
fn readable_by_all(path: &Path) {
    let metadata = fs::symlink_metadata(path).expect("metadata");
    if metadata.is_symlink() {
        return;
    }
    let (mode, needed) = (
        metadata.mode() & 0o7777,
        if metadata.is_dir() { 0o055 } else { 0o044 },
    );
    assert_eq!(
        mode & needed,
        needed,
        "{} has mode {mode:o}",
        path.display()
    );
    assert_eq!(mode & 0o022, 0, "{} has mode {mode:o}", path.display());
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("a list").flatten() {
            readable_by_all(&entry.path());
        }
    }
}
