//! The container image of the roles, run with the settings of a task definition.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use contract::role::ORDER_WORKER;
use uuid::Uuid;

const BINARY: &str = "/usr/local/bin/order-worker";

/// A container and its image. Dropping the value removes both.
struct Container {
    tag: String,
    id: String,
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.id]);
        docker(&["image", "rm", "--force", &self.tag]);
    }
}

fn docker(arguments: &[&str]) -> Output {
    Command::new("docker")
        .args(arguments)
        .output()
        .expect("docker runs")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn build(tag: &str, binary: &Path) {
    // Without a database, any certificate is sufficient.
    let roots = servers::Certificates::new();
    let build = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/image/build"))
        .args(["--tag", tag, "--rds-roots"])
        .arg(&roots.root)
        .arg("--binaries")
        .arg(binary.parent().expect("a directory"))
        .arg(ORDER_WORKER.slug)
        .output()
        .expect("it runs");
    assert!(build.status.success(), "{}", said(&build));
}

/// Starts the role without a network. Without a database it is alive but never ready.
fn start(tag: &str) -> String {
    let mut run = Command::new("docker");
    run.args([
        "run",
        "--detach",
        "--init",
        "--network",
        "none",
        "--read-only",
        "--user",
        "10001:10001",
    ]);
    run.args([
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--entrypoint",
        BINARY,
    ]);
    for setting in [
        "HAVEN_ENV=dev",
        "AWS_REGION=eu-central-1",
        // Static credentials, so that the SDK does not look for others on the network.
        "AWS_ACCESS_KEY_ID=none",
        "AWS_SECRET_ACCESS_KEY=none",
        "HAVEN_HEALTH_BIND=127.0.0.1:9000",
        "DATABASE_URL=postgres://127.0.0.1:5432/brewhaven?sslmode=verify-full",
        "PGUSER=nobody",
        "PGPASSWORD=s3cret",
        // The role reads the login from this secret again, if there is a network.
        "HAVEN_DATABASE_LOGIN_ARN=arn:aws:secretsmanager:eu-central-1:111122223333:secret:login",
    ] {
        run.args(["--env", setting]);
    }
    for address in ORDER_WORKER.addresses() {
        run.args(["--env", &format!("{}=nowhere", address.variable())]);
    }
    let started = run.arg(tag).output().expect("docker runs");
    assert!(started.status.success(), "{}", said(&started));
    String::from_utf8_lossy(&started.stdout).trim().to_owned()
}

#[test]
fn a_role_runs_in_its_image_as_user_nobody_and_reports_its_health() {
    if !servers::has("docker") {
        return;
    }
    let binary = e2e::built("binaries", ORDER_WORKER.slug);
    let tag = format!("brew-haven/roles:test-{}", Uuid::now_v7().simple());
    build(&tag, &binary);
    let container = Container {
        id: start(&tag),
        tag,
    };

    let exec = |argument: &str| docker(&["exec", &container.id, BINARY, argument]);
    let begun = Instant::now();
    let mut health = exec("health");
    while !health.status.success() {
        let log = said(&docker(&["logs", &container.id]));
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{}\n{log}",
            said(&health)
        );
        std::thread::sleep(Duration::from_millis(100));
        health = exec("health");
    }
    assert_eq!(said(&health), "", "healthy is no news");
    let unknown = exec("helth");
    assert_eq!(unknown.status.code(), Some(64));
    assert_eq!(
        said(&unknown),
        "order-worker: unknown argument \"helth\" (see --help)\n"
    );
    // `docker top` requires the column of pids.
    let processes = docker(&["top", &container.id, "-eo", "pid,uid,args"]);
    let said_of = |line: &str| {
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let running = said(&processes)
        .lines()
        .filter(|line| said_of(line) == ["10001", BINARY])
        .count();
    assert_eq!(
        running,
        1,
        "a health check starts no second role: {}",
        said(&processes)
    );

    // ECS sends SIGTERM, and SIGKILL after the stop timeout.
    let stopped = docker(&["stop", "-t", "20", &container.id]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container.id]);
    let log = said(&docker(&["logs", &container.id]));
    assert_eq!(said(&code).trim(), "0", "{log}");
    assert!(
        log.contains("The database cannot be reached yet") && !log.contains("s3cret"),
        "{log}"
    );
}
