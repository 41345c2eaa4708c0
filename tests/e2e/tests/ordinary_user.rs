//! `haven up` as an account other than root: with each usual umask, with a company's proxy, and
//! from a path with special characters.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Supervised, haven, order, processes_on};
use reqwest::StatusCode;
use uuid::Uuid;

/// The account `nobody`. PostgreSQL's programs require an account with a name.
const USER: u32 = 65_534;

/// A home directory of the account, with a copy of `haven`, because only root can read the build.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        let home = std::env::temp_dir().join(format!("haven-home-{}", Uuid::now_v7()));
        fs::create_dir(&home).expect("a home");
        fs::copy(haven(), home.join("haven")).expect("a copy");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(servers::python_folder())
            .arg(home.join("python"))
            .status();
        assert!(copied.expect("cp runs").success());
        // The tests' Python may also be readable by root only, but the system's is not.
        fs::remove_file(home.join("python/bin/python")).expect("a link");
        std::os::unix::fs::symlink("/usr/bin/python3", home.join("python/bin/python"))
            .expect("another link");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("its mode");
        chown(&home, Some(USER), Some(USER)).expect("root gives it away");
        Home(home)
    }

    /// Returns a command that runs `haven` as the account.
    fn command(&self, umask: &str, state: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args([
            &format!("--reuid={USER}"),
            &format!("--regid={USER}"),
            "--clear-groups",
            "sh",
            "-c",
        ]);
        command
            .args(["umask \"$0\" && exec \"$@\"", umask])
            .arg(self.0.join("haven"))
            .args(arguments);
        command
            .arg("--state")
            .arg(state)
            .env_clear()
            .current_dir(&self.0);
        command.envs([
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HTTP_PROXY", "http://127.0.0.1:1"),
        ]);
        command
            .env("HOME", &self.0)
            .env("HAVEN_PYTHON_ENV", self.0.join("python"));
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the files and directories, `path` included, that other accounts may use.
fn open_to_others(path: &Path) -> Vec<PathBuf> {
    let mut open = Vec::new();
    let metadata = fs::symlink_metadata(path).expect("it is there");
    if metadata.mode() & 0o077 != 0 && !metadata.is_symlink() {
        open.push(path.to_owned());
    }
    if metadata.is_dir() {
        open.extend(
            fs::read_dir(path)
                .expect("a list")
                .flatten()
                .flat_map(|entry| open_to_others(&entry.path())),
        );
    }
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_opens_a_shop_under_each_umask_and_from_a_path_that_needs_care() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another account; the other suites run as this one");
        return;
    }
    let home = Home::new();
    let servers = servers::has("postgres") && servers::has("redis");
    let runs = [
        (
            "022",
            if servers {
                &["--postgres", "--redis"][..]
            } else {
                &[]
            },
        ),
        ("002", &[]),
    ];
    for (umask, arguments) in runs {
        let mut run = Supervised::new().await;
        let state = home.0.join(format!("my shop {umask} at 100%"));
        run.start_as(home.command(umask, &state, &[&["up", "--port", "0"], arguments].concat()));
        run.wait_for("Ready in");
        let facts = fs::read_to_string(state.join("haven.json")).expect("facts");
        let facts: serde_json::Value = serde_json::from_str(&facts).expect("JSON");
        let storefront = facts["storefront"].as_str().expect("an address");

        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let placed = http
            .post(format!("{storefront}/api/v1/orders"))
            .header("Idempotency-Key", Uuid::now_v7().to_string());
        let placed = placed
            .json(&order("latte", 1, "tok_ok"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(placed.status(), StatusCode::ACCEPTED);
        let placed: serde_json::Value = placed.json().await.expect("JSON");
        let link = format!(
            "{storefront}{}",
            placed["links"]["self"].as_str().expect("a link")
        );
        let begun = std::time::Instant::now();
        loop {
            let seen: serde_json::Value = http
                .get(&link)
                .send()
                .await
                .expect("an answer")
                .json()
                .await
                .expect("JSON");
            if seen["status"] == "confirmed" {
                break;
            }
            assert!(begun.elapsed() < e2e::SETTLED_WITHIN, "{seen:#}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }

        assert_eq!(
            open_to_others(&state),
            Vec::<PathBuf>::new(),
            "umask {umask}"
        );
        let reconciled = home
            .command(umask, &state, &["reconcile"])
            .output()
            .expect("haven runs");
        assert!(reconciled.status.success(), "{reconciled:?}");
        let down = home
            .command(umask, &state, &["down"])
            .output()
            .expect("haven runs");
        assert!(down.status.success(), "{down:?}");
        assert!(run.wait_for_end().success(), "{}", run.said());
        assert_eq!(processes_on(&state), []);
        assert_eq!(
            open_to_others(&state),
            Vec::<PathBuf>::new(),
            "umask {umask}, stopped"
        );
    }
}
