use std::os::unix::fs::PermissionsExt as _;

use super::interpreter::{OLDEST, version};
use super::*;
use crate::python_marks::{REQUIREMENTS_FILE, REQUIREMENTS_TITLE, pinned};

/// A directory of one test. Removed when the value is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("haven-python-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).expect("a directory");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn only_valid_versions_are_read() {
    assert_eq!(
        version("3 11\n/usr/bin/python3\n"),
        Some(((3, 11), "/usr/bin/python3"))
    );
    assert_eq!(version("Python was not found"), None);
    assert!((3, 9) < OLDEST && (3, 10) >= OLDEST && (4, 0) >= OLDEST);
}

#[test]
fn the_pinned_packages_are_read() {
    assert!(REQUIREMENTS.starts_with(REQUIREMENTS_TITLE));
    let pinned: Vec<&str> = pinned().collect();
    assert!(
        pinned.iter().any(|one| one.starts_with("ministack==")),
        "{pinned:?}"
    );
    assert!(pinned.iter().all(|one| !one.contains(' ')), "{pinned:?}");
}

#[test]
fn pip_reads_only_index_settings_of_the_user() {
    let listed = ":env:.cert='/etc/ssl/ca.pem'\n:env:.index-url='https://env/simple'\n:env:.target='/tmp/x'\n\
                  global.index-url='https://global/simple'\nglobal.user='true'\ninstall.find-links='/a\\n/b'\n\
                  install.prefix='/opt'\n";
    let settings = install::read_settings(listed);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        settings,
        [
            ("PIP_FIND_LINKS", "/a /b"),
            ("PIP_CERT", "/etc/ssl/ca.pem"),
            ("PIP_INDEX_URL", "https://env/simple")
        ]
    );
}

#[tokio::test]
async fn a_directory_of_the_user_is_refused_and_not_changed() {
    let folder = Folder::new();
    let named = folder.0.join("important");
    fs::create_dir(&named).expect("a directory");
    fs::write(named.join("thesis.txt"), "three years").expect("written");
    fs::write(folder.0.join("important.lock"), "mine").expect("written");
    let environment = folder.0.join("a-venv");
    fs::create_dir_all(environment.join("bin")).expect("a directory");
    fs::write(environment.join("pyvenv.cfg"), "home = /usr/bin\n").expect("written");
    let file = folder.0.join("file");
    fs::write(&file, "text").expect("written");
    let dangling = folder.0.join("dangling");
    std::os::unix::fs::symlink(folder.0.join("nothing"), &dangling).expect("a link");

    // A virtual environment of the user's, with our requirements installed by hand.
    let lab = folder.0.join("lab");
    fs::create_dir(&lab).expect("a directory");
    fs::write(lab.join("pyvenv.cfg"), "home = /usr/bin\n").expect("written");
    fs::write(lab.join(REQUIREMENTS_FILE), REQUIREMENTS).expect("written");
    fs::write(lab.join("notes.ipynb"), "{}").expect("written");
    for path in [&named, &environment, &lab] {
        open_to_all(path);
    }
    let before = modes(&folder.0);

    let refused = ensure(&Place::Shared(lab.clone()))
        .await
        .expect_err("the user's")
        .to_string();
    assert!(refused.contains("haven made"), "{refused}");
    for place in [&named, &environment, &file, &dangling] {
        for place in [Place::Shared(place.clone()), Place::InState(place.clone())] {
            let refused = ensure(&place)
                .await
                .expect_err("not made by haven")
                .to_string();
            assert!(
                refused.contains(&place.folder().display().to_string()),
                "{refused}"
            );
            assert!(
                refused.contains("haven made") && refused.contains("HAVEN_PYTHON_ENV"),
                "{refused}"
            );
        }
    }
    assert_eq!(
        fs::read_to_string(named.join("thesis.txt")).expect("it is there"),
        "three years"
    );
    assert_eq!(
        fs::read_to_string(folder.0.join("important.lock")).expect("it is there"),
        "mine"
    );
    assert_eq!(
        modes(&folder.0),
        before,
        "nothing was made, and no mode was changed"
    );
}

/// Returns every path below `path` with its mode.
fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
    let mut below: Vec<_> = fs::read_dir(path)
        .expect("a list")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    below.sort();
    let mut found = Vec::new();
    for path in below {
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        found.push((path.clone(), metadata.mode() & 0o7777));
        if metadata.is_dir() {
            found.extend(modes(&path));
        }
    }
    found
}

/// Sets the modes that a team's directory has under umask 002.
fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o2777)).expect("changed");
    for (path, _) in modes(path) {
        let open = if path.is_dir() { 0o2777 } else { 0o666 };
        fs::set_permissions(path, fs::Permissions::from_mode(open)).expect("changed");
    }
}

#[test]
fn an_environment_below_a_path_with_a_colon_is_kept_in_the_cache_directory() {
    let folder = Folder::new();
    let state = folder.0.join("a:b");
    for place in [
        Place::InState(state.join("python")),
        Place::Shared(state.join("shared")),
    ] {
        match (usable(&place), in_cache()) {
            (Ok(found), Some(cache)) => assert_eq!(found, cache),
            // An account without a home directory.
            (refused, _) => assert!(
                refused
                    .expect_err("nowhere else")
                    .to_string()
                    .contains("contains ':'")
            ),
        }
    }
    let plain = Place::InState(fs::canonicalize(&folder.0).expect("there").join("python"));
    assert_eq!(usable(&plain).expect("a plain path"), plain);
}

#[tokio::test]
async fn an_environment_that_others_may_write_to_becomes_private() {
    let folder = Folder::new();
    let made = folder.0.join("python");
    fs::create_dir(&made).expect("a directory");
    fs::write(made.join("file"), "").expect("written");
    let place = Place::Shared(made.clone());
    // The mode of the top directory must not decide about the files in it.
    for top in [0o777, 0o755] {
        fs::set_permissions(&made, fs::Permissions::from_mode(top)).expect("changed");
        fs::set_permissions(made.join("file"), fs::Permissions::from_mode(0o777)).expect("changed");
        let metadata = fs::symlink_metadata(&made).expect("metadata");
        assert_eq!(
            trust::examine(&place, &metadata).expect("ours"),
            trust::Owner::Us
        );
        for path in [&made, &made.join("file")] {
            let mode = fs::metadata(path).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "{}", path.display());
        }
    }

    if std::os::unix::fs::chown(made.join("file"), Some(65534), Some(65534)).is_err() {
        println!("skipped: only root can give a file to another user");
        return;
    }
    let metadata = fs::symlink_metadata(&made).expect("metadata");
    let refused = trust::examine(&place, &metadata)
        .expect_err("somebody else wrote it")
        .to_string();
    assert!(
        refused.contains("file in the Python environment") && refused.contains("id 65534"),
        "{refused}"
    );
}
