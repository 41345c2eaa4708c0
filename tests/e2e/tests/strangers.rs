//! Access to a running shop from another account of the machine: every port of the run, every file
//! of its state, and the output of `ps`.
//!
//! Public by design are the menu, and an order for a client with its tracking token. The health
//! ports of the roles (`/healthz`, `/readyz`, `/metrics`) are open too, because they contain no
//! customer data and no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::World;
use serde_json::{Value, json};

/// The account `nobody`, which owns no files.
const STRANGER: &str = "65534";

/// The other account's script. Every machine for tests has Python. The script prints its results as
/// JSON.
const ATTEMPT: &str = r#"
import json, os, socket, struct, sys
asked = json.load(sys.stdin)

def talk(port, message):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.settimeout(2)
            connection.sendall(message)
            answer = b""
            while len(answer) < 1 << 20:
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
    except socket.timeout:
        pass
    except OSError as error:
        return "error: " + str(error)
    return answer.decode("latin-1")

def read(path):
    try:
        with open(path, "rb") as file:
            return "read %d bytes" % len(file.read())
    except OSError as error:
        return type(error).__name__

def listed(path):
    try:
        return "listed %d" % len(os.listdir(path))
    except OSError as error:
        return type(error).__name__

def connected(path):
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            return "connected"
    except OSError as error:
        return type(error).__name__

paths = ["/", "/metrics", "/healthz", "/readyz", "/_ministack/ses/messages", "/_ministack/health", "/v1/ledger",
    "/v1/charges", "/api/v1/admin/orders", "/api/v1/admin/inventory", "/staff", "/staff/mailbox", "/haven.json",
    "/?Action=ListQueues&Version=2012-11-05"]
head = "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"
key = "AWS4-HMAC-SHA256 Credential=%s/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=" + "0" * 64
startup = b"user\0haven\0database\0postgres\0\0"
startup = struct.pack("!II", len(startup) + 8, 196608) + startup
print(json.dumps({
    "uid": os.getuid(),
    "http": {port: {path: talk(port, (head % (path, port)).encode()) for path in paths} for port in asked["ports"]},
    "guessed": {port: talk(port, (head % ("/", port)).replace("Connection", "Authorization: " + key % "test"
        + "\r\nConnection").encode()) for port in asked["ports"]},
    "postgres": {port: talk(port, startup) for port in asked["ports"]},
    "redis": {port: talk(port, b"KEYS *\r\nQUIT\r\n") for port in asked["ports"]},
    "files": {path: read(path) for path in asked["files"]},
    "folders": {path: listed(path) for path in asked["folders"]},
    "sockets": {path: connected(path) for path in asked["sockets"]},
    "processes": {pid: {name: open("/proc/%s/%s" % (pid, name), "rb").read().decode("latin-1")
        if os.access("/proc/%s/%s" % (pid, name), os.R_OK) else "" for name in ["cmdline", "environ"]}
        for pid in asked["pids"] if os.path.exists("/proc/%s" % pid)},
}))
"#;

/// The files, directories and sockets below a directory, itself included.
#[derive(Default)]
struct Tree {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    sockets: Vec<PathBuf>,
}

impl Tree {
    fn walk(&mut self, folder: &Path) {
        use std::os::unix::fs::FileTypeExt as _;
        self.folders.push(folder.to_owned());
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.walk(&entry.path()),
                Ok(kind) if kind.is_socket() => self.sockets.push(entry.path()),
                Ok(_) => self.files.push(entry.path()),
                Err(_) => {}
            }
        }
    }
}

/// Returns the pids of `haven up` and of all its descendants.
fn processes_of(parent: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The process name in parentheses can contain spaces. State and parent follow it.
        let parent = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        children
            .entry(parent.unwrap_or_default())
            .or_default()
            .push(pid);
    }
    let (mut found, mut next) = (BTreeSet::new(), vec![parent]);
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// Returns the ports on which the processes listen, with addresses as in /proc/net/tcp.
fn listeners(pids: &BTreeSet<u32>) -> BTreeMap<u16, String> {
    let mut sockets = BTreeSet::new();
    for pid in pids {
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|target| {
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            });
            sockets.extend(inode.map(|inode: u64| inode.to_string()));
        }
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"]
        .map(|table| fs::read_to_string(table).unwrap_or_default());
    let mut found = BTreeMap::new();
    for line in tables.iter().flat_map(|table| table.lines().skip(1)) {
        const LISTEN: &str = "0A";
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
            continue;
        };
        if *state == LISTEN && sockets.contains(*inode) {
            let (address, port) = local.rsplit_once(':').expect("an address");
            found.insert(
                u16::from_str_radix(port, 16).expect("a port"),
                address.to_owned(),
            );
        }
    }
    found
}

fn port_of(url: &str) -> String {
    let rest = url
        .rsplit('@')
        .next()
        .unwrap_or(url)
        .trim_start_matches("http://");
    let rest = rest.split("://").last().unwrap_or(rest);
    rest.split('/')
        .next()
        .and_then(|address| address.rsplit(':').next())
        .unwrap_or_default()
        .to_owned()
}

/// Returns the password in a URL, if it is long enough to search for.
fn password(url: &str) -> Option<String> {
    let login = url.split("://").nth(1)?.rsplit_once('@')?.0;
    login
        .split_once(':')
        .map(|(_, password)| password.to_owned())
        .filter(|password| password.len() > 7)
}

#[tokio::test(flavor = "multi_thread")]
async fn other_accounts_read_nothing_and_reach_only_the_shop() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another account");
        return;
    }
    let mut arguments = Vec::new();
    arguments.extend(servers::has("postgres").then_some("--postgres"));
    arguments.extend(servers::has("redis").then_some("--redis"));
    let world = World::open(&arguments).await;
    let accepted = world.order("espresso", 1, "tok_ok").await;
    world.until(&accepted, &["confirmed"]).await;
    let fact = |name: &str| world.facts[name].as_str().unwrap_or_default().to_owned();

    let pids =
        processes_of(u32::try_from(world.facts["pid"].as_u64().expect("a pid")).expect("a pid"));
    assert!(pids.len() > 9, "the roles are among them: {pids:?}");
    let listeners = listeners(&pids);
    assert!(listeners.len() > 9, "{listeners:?}");
    for (port, address) in &listeners {
        assert_eq!(
            address, "0100007F",
            "port {port} is reachable from elsewhere"
        );
    }
    let aws_pid = BTreeSet::from([
        u32::try_from(world.facts["aws_pid"].as_u64().expect("a pid")).expect("a pid"),
    ]);
    assert!(
        self::listeners(&aws_pid).is_empty(),
        "MiniStack itself listens on a Unix socket alone"
    );

    let mut tree = Tree::default();
    tree.walk(world.state());
    assert!(tree.files.len() > 5 && !tree.sockets.is_empty());
    let text = |paths: &[PathBuf]| -> Vec<String> {
        paths
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    };
    let question = json!({
        "ports": listeners.keys().collect::<Vec<_>>(), "pids": pids,
        "files": text(&tree.files), "folders": text(&tree.folders), "sockets": text(&tree.sockets),
    });
    let got = as_a_stranger(&question);
    assert_eq!(got["uid"].to_string(), STRANGER);

    // No file, directory or socket of the state directory is accessible.
    for kind in ["files", "folders", "sockets"] {
        for (path, outcome) in got[kind].as_object().expect("outcomes") {
            // The file was removed meanwhile.
            let refused = ["PermissionError", "FileNotFoundError"]
                .contains(&outcome.as_str().unwrap_or_default());
            let mode = fs::metadata(path).map_or(0, |found| found.mode());
            assert!(refused, "{path}: {outcome} (mode {mode:o})");
        }
    }

    // No response, command line or environment contains a secret or customer data.
    let mut secrets = [
        "staff_token",
        "aws_secret_access_key",
        "aws_access_key_id",
        "payment_api_key",
    ]
    .map(fact)
    .to_vec();
    secrets.extend(
        [fact("database_url"), fact("redis_url")]
            .iter()
            .filter_map(|url| password(url)),
    );
    secrets.push("ana@example.com".to_owned());
    assert!(secrets.iter().all(|secret| secret.len() > 7), "{secrets:?}");
    for kind in ["http", "guessed", "postgres", "redis", "processes"] {
        for (whose, answers) in got[kind].as_object().expect("answers") {
            let all = answers.to_string();
            for secret in &secrets {
                assert!(
                    !all.contains(secret.as_str()),
                    "{kind} of {whose} shows {secret}"
                );
            }
        }
    }
    for (pid, process) in got["processes"].as_object().expect("processes") {
        assert_eq!(process["environ"], "", "the environment of process {pid}");
    }

    // The local AWS refuses requests that are unsigned or signed with a guessed key.
    let aws = port_of(&fact("aws_endpoint"));
    for (path, answer) in got["http"][&aws].as_object().expect("answers") {
        assert!(status(answer) == 403, "{path}: {answer}");
    }
    assert!(
        got["guessed"][&aws]
            .as_str()
            .is_some_and(|answer| answer.starts_with("HTTP/1.1 4")),
        "{}",
        got["guessed"]
    );
    // The payment gateway requires its API key.
    let gateway = &got["http"][&port_of(&fact("payment_url"))];
    assert_eq!(status(&gateway["/v1/ledger"]), 401, "{gateway}");
    // The staff API and the staff pages require a sign-in.
    let shop = &got["http"][&port_of(&fact("storefront"))];
    assert_eq!(status(&shop["/"]), 200, "the menu is for everybody");
    for path in ["/api/v1/admin/orders", "/api/v1/admin/inventory"] {
        assert_eq!(status(&shop[path]), 401, "{path}: {}", shop[path]);
    }
    for path in ["/staff", "/staff/mailbox"] {
        assert_eq!(status(&shop[path]), 303, "{path}: {}", shop[path]);
    }
}

/// Runs [`ATTEMPT`] with another uid.
fn as_a_stranger(question: &Value) -> Value {
    use std::io::Write as _;
    let python = "/usr/bin/python3";
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        STRANGER,
        "--regid",
        STRANGER,
        "--clear-groups",
        python,
        "-I",
        "-c",
        ATTEMPT,
    ]);
    command
        .current_dir("/")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("setpriv and Python are there");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(question.to_string().as_bytes())
        .expect("asked");
    drop(stdin);
    let output = child.wait_with_output().expect("an answer");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn status(answer: &Value) -> u16 {
    let answer = answer.as_str().unwrap_or_default();
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or_default()
}
