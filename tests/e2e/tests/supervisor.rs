//! The supervisor of a state directory. However it ends, everything that it started ends too, and
//! the local AWS saves its state if possible. A second supervisor cannot use the directory
//! meanwhile.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use app::ports::access::AuditEntry;
use e2e::{SETTLED_WITHIN, Supervised, World, haven, processes_on};
use platform::audit::operator;
use platform::state::{Held, State};
use serde_json::{Value, json};

/// Returns whether the local AWS has saved its state, and deletes that state.
fn saved(run: &Supervised) -> bool {
    let saved = run.state.join("aws/sqs.json").exists();
    std::fs::remove_dir_all(run.state.join("aws")).expect("removed");
    saved
}

fn down(run: &Supervised) -> String {
    let down = run.command(&["down"]).output().expect("haven runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&down.stdout),
        String::from_utf8_lossy(&down.stderr)
    );
    assert!(down.status.success(), "{text}");
    text
}

fn number(facts: &Value, name: &str) -> u32 {
    facts[name]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .expect("a pid")
}

fn kill(pid: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &pid.to_string()])
            .status()
            .expect("kill runs")
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_the_start_and_afterwards_ends_everything_that_was_started() {
    let mut run = Supervised::new().await;
    // Before any process runs, while the local AWS starts, while the stacks are deployed, and when
    // all roles run.
    let moments = [
        "Starting Brew Haven",
        "Python environment",
        "Local AWS started",
        "Ready in",
    ];
    for (moment, name) in moments.into_iter().zip(["-INT", "-TERM", "-INT", "-HUP"]) {
        run.start(&[], &[]);
        run.wait_for(moment);
        run.signal(name);
        let ended = run.wait_for_end();
        assert!(
            ended.success(),
            "{name} at {moment:?}: {ended}\n{}",
            run.said()
        );
        assert_eq!(run.processes(), [], "{name} at {moment:?}");
        assert!(run.said().contains("Stopped."), "{}", run.said());
        assert_eq!(State::holder(&run.state).expect("ours"), Held::No);
        assert!(
            run.facts().is_none(),
            "haven.json names nothing that is gone"
        );
    }
    assert!(saved(&run));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_everything_at_once() {
    let mut run = Supervised::new().await;
    run.start(&[], &[]);
    let facts = run.wait_until_ready();
    // The stopped local AWS cannot exit, so the first signal alone would take the longest drain.
    kill(number(&facts, "aws_pid"), "-STOP");
    run.signal("-INT");
    run.wait_for("Stopping on SIGINT");
    let begun = Instant::now();
    let mut ended = None;
    // A second signal that follows too soon counts as the same key press.
    run.wait_until("its end", |run| {
        run.signal("-INT");
        std::thread::sleep(Duration::from_millis(50));
        ended = ended.or_else(|| (!alive(run.pid())).then(|| run.wait_for_end()));
        ended.is_some()
    });
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        ended.and_then(|status| status.code()),
        Some(130),
        "{}",
        run.said()
    );
    run.wait_until_nothing_runs();
    assert!(
        run.said().contains("did not save its state"),
        "{}",
        run.said()
    );
}

/// Returns whether a process runs. A process that has exited and was not waited for does not.
fn alive(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_that_was_ignored_at_the_start_stays_ignored() {
    let mut run = Supervised::new().await;
    let mut command = Command::new("env");
    command
        .arg("--ignore-signal=HUP")
        .arg(haven())
        .args(["up", "--port", "0", "--state"])
        .arg(&run.state);
    command
        .env("HAVEN_PYTHON_ENV", servers::python_folder())
        .stdin(Stdio::null());
    run.start_as(command);
    let aws = number(&run.wait_until_ready(), "aws_pid");
    // Sent to all processes, as some login managers do, keepers of servers included.
    let processes = run.processes();
    assert!(
        processes
            .iter()
            .any(|(_, command)| command.contains(" keep ")),
        "{processes:#?}"
    );
    for (pid, _) in processes {
        kill(pid, "-HUP");
    }
    // SIGTERM comes after SIGHUP, so all effects of SIGHUP are visible once each process has
    // handled SIGTERM.
    let text = down(&run);
    assert!(text.contains("Stopped."), "{text}");
    assert!(run.wait_for_end().success());
    assert!(
        run.said().contains("Stopping on SIGTERM"),
        "the hangup stopped it: {}",
        run.said()
    );
    assert!(
        !run.said().contains("restarting it in"),
        "the hangup stopped a role: {}",
        run.said()
    );
    assert!(
        !run.said().contains("The local AWS exited"),
        "the hangup stopped {aws}: {}",
        run.said()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_ends_with_a_supervisor_that_is_killed_and_the_local_aws_saves_its_state() {
    let mut run = Supervised::new().await;
    let mut started = vec![vec![]];
    if servers::has("postgres") && servers::has("redis") {
        started.push(vec!["--postgres", "--redis"]);
    }
    for arguments in started {
        run.start(&arguments, &[]);
        run.wait_until_ready();
        let expected = if arguments.is_empty() { 10 } else { 12 };
        assert!(run.processes().len() > expected, "{:#?}", run.processes());
        run.signal("-KILL");
        run.wait_for_end();
        run.wait_until_nothing_runs();
        assert!(saved(&run), "the local AWS was asked to stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_cluster_ends_with_a_killed_supervisor_and_the_next_start_creates_it_again() {
    if !servers::has("postgres") {
        return;
    }
    let mut run = Supervised::new().await;
    run.start(&["--postgres"], &[]);
    run.wait_until("initdb", |run| {
        run.processes()
            .iter()
            .any(|(_, command)| command.contains("postgres --boot"))
    });
    run.signal("-KILL");
    run.wait_for_end();
    run.start(&["--postgres"], &[]);
    run.wait_until_ready();
    let clusters = run
        .processes()
        .iter()
        .filter(|(_, command)| command.contains("initdb"))
        .count();
    assert_eq!(clusters, 0, "{:#?}", run.processes());
    down(&run);
    assert!(run.wait_for_end().success());
    assert_eq!(run.processes(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_aws_ends_with_its_keeper_and_is_started_again() {
    let mut run = Supervised::new().await;
    run.start(&[], &[]);
    let before = number(&run.wait_until_ready(), "aws_pid");
    let processes = run.processes();
    let keeper = processes
        .iter()
        .find(|(_, command)| command.contains(" keep ") && command.contains("local-aws"));
    kill(keeper.expect("it watches over the local AWS").0, "-KILL");
    run.wait_until("another local AWS", |run| {
        run.facts()
            .is_some_and(|facts| facts["ready"] == true && number(&facts, "aws_pid") != before)
    });
    assert!(!alive(before), "two would write to one directory");
    run.signal("-TERM");
    assert!(run.wait_for_end().success());
    assert_eq!(run.processes(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn down_stops_what_holds_the_directory_while_it_starts_and_without_its_haven_json() {
    let mut run = Supervised::new().await;
    run.start(&[], &[]);
    run.wait_until("a holder", |run| {
        matches!(State::holder(&run.state), Ok(Held::By(Some(_))))
    });
    assert!(down(&run).contains("Stopped."));
    assert!(run.wait_for_end().success());
    assert_eq!(run.processes(), []);

    run.start(&[], &[]);
    run.wait_until_ready();
    std::fs::remove_file(run.state.join("haven.json")).expect("removed");
    assert!(down(&run).contains("Stopped."));
    assert!(run.wait_for_end().success());
    assert_eq!(run.processes(), []);
    assert!(down(&run).contains("No platform is running"));
}

#[tokio::test(flavor = "multi_thread")]
async fn down_and_the_next_start_end_what_a_killed_supervisor_left_and_no_stranger() {
    let mut run = Supervised::new().await;
    let mut stranger = Command::new("sleep").arg("600").spawn().expect("it runs");
    for next in ["down", "up", "up --detach"] {
        run.start(&[], &[]);
        let facts = run.wait_until_ready();
        let roles = facts["roles"].as_array().expect("roles");
        let role = roles
            .iter()
            .find(|role| role["name"] == "order-worker")
            .expect("it runs");
        let left = number(role, "pid");
        run.signal("-KILL");
        // The role is stopped while it drains. If it were stopped earlier, the kernel would wake
        // it: a stopped process of an orphaned process group gets SIGHUP and SIGCONT.
        run.wait_for_end();
        kill(left, "-STOP");
        run.wait_until("the end of all others", |run| run.processes().len() == 1);
        assert!(alive(left));
        // The record names a pid that now belongs to another process.
        let record = run.state.join("run/sweeper.json");
        let text = std::fs::read_to_string(&record).expect("a record");
        let mut processes: Value = serde_json::from_str(&text).expect("JSON");
        processes[0]["pid"] = stranger.id().into();
        std::fs::write(&record, processes.to_string()).expect("written");
        match next {
            "down" => {
                let text = down(&run);
                assert!(text.contains("left running: order-worker."), "{text}");
            }
            "up" => {
                run.start(&[], &[]);
                run.wait_until_ready();
                assert!(
                    run.said().contains("left running: order-worker"),
                    "{}",
                    run.said()
                );
            }
            _ => {
                let up = run
                    .command(&["up", "--port", "0", "--detach"])
                    .output()
                    .expect("haven runs");
                assert!(up.status.success(), "{up:?}");
                let said = String::from_utf8_lossy(&up.stdout).into_owned();
                let token = run
                    .facts()
                    .and_then(|facts| facts["staff_token"].as_str().map(str::to_owned));
                assert!(
                    said.contains("Staff token") && !said.contains(&token.expect("a token")),
                    "{said}"
                );
            }
        }
        assert!(!alive(left), "{next}");
        if next != "down" {
            down(&run);
        }
        assert_eq!(run.processes(), [], "{next}");
    }
    assert!(
        stranger.try_wait().expect("a look").is_none(),
        "it was never ours"
    );
    stranger.kill().expect("it runs");
    stranger.wait().expect("it ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_one_supervisor_and_is_handed_over_without_a_gap() {
    let run = Supervised::new().await;
    let state = run.state.clone();
    let starts: Vec<_> = (0..3)
        .map(|_| {
            let mut up = run.command(&["up", "--port", "0", "--detach"]);
            up.stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("haven starts")
        })
        .collect();
    // The directory must be locked from now on.
    let begun = Instant::now();
    while !State::is_used(&state).expect("ours") {
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    let watching = std::thread::spawn({
        let state = state.clone();
        move || {
            let (mut looks, mut gaps) = (0, 0);
            while std::fs::read_to_string(state.join("haven.json"))
                .map_or(true, |facts| !facts.contains("\"ready\": true"))
            {
                looks += 1;
                gaps += u32::from(!State::is_used(&state).expect("ours"));
                assert!(begun.elapsed() < Duration::from_secs(120));
            }
            (looks, gaps)
        }
    });
    let ended: Vec<_> = starts
        .into_iter()
        .map(|start| start.wait_with_output().expect("it ends"))
        .collect();
    let (looks, gaps) = watching.join().expect("it looked");
    assert!(looks > 100 && gaps == 0, "{gaps} gaps in {looks} looks");
    assert_eq!(
        ended.iter().filter(|start| start.status.success()).count(),
        1,
        "{ended:#?}"
    );
    for refused in ended.iter().filter(|start| !start.status.success()) {
        let text = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(64), "{text}");
        assert!(
            text.contains("is in use by another `haven up` (pid "),
            "{text}"
        );
    }
    let servers = run
        .processes()
        .iter()
        .filter(|(_, command)| command.contains(" keep "))
        .count();
    // `haven keep` executes the server's program in its place on Linux.
    assert_eq!(servers, 1, "{:#?}", run.processes());
    down(&run);
    assert_eq!(processes_on(&state), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_whose_directory_is_deleted_or_replaced_stops_and_touches_no_other() {
    let mut run = Supervised::new().await;
    run.start(&[], &[]);
    run.wait_until_ready();
    // Repeated until no process has added a file during the deletion.
    run.wait_until("the directory is deleted", |run| {
        std::fs::remove_dir_all(&run.state).is_ok()
    });
    let begun = Instant::now();
    let ended = run.wait_for_end();
    assert_eq!(ended.code(), Some(1), "{}", run.said());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        run.said().contains("was deleted while the platform ran"),
        "{}",
        run.said()
    );
    run.wait_until_nothing_runs();
    assert!(!run.state.exists(), "nothing was written to where it was");

    run.start(&[], &[]);
    run.wait_until_ready();
    let aside = run.state.with_extension("aside");
    std::fs::rename(&run.state, &aside).expect("moved");
    std::fs::create_dir(&run.state).expect("another one");
    std::fs::write(run.state.join("lock"), "").expect("another one's");
    std::fs::write(run.state.join("haven.json"), "another one's").expect("written");
    assert_eq!(run.wait_for_end().code(), Some(1), "{}", run.said());
    assert!(
        run.said().contains("was replaced by another one"),
        "{}",
        run.said()
    );
    run.wait_until_nothing_runs();
    let theirs = std::fs::read_to_string(run.state.join("haven.json"));
    assert_eq!(theirs.ok().as_deref(), Some("another one's"));
    let entries = std::fs::read_dir(&run.state).expect("it is there").count();
    assert_eq!(entries, 2, "nothing was added");
    std::fs::remove_dir_all(aside).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_refuses_its_configuration_ends_the_start_with_its_message() {
    let mut run = Supervised::new().await;
    run.start(&[], &[("HAVEN_ORDERS_PER_MINUTE", "plenty")]);
    assert_eq!(run.wait_for_end().code(), Some(64), "{}", run.said());
    let said = run.said();
    assert!(
        said.contains(" refuses its configuration and was not started again"),
        "{said}"
    );
    assert!(
        said.contains("HAVEN_ORDERS_PER_MINUTE is no whole number"),
        "the role's own message: {said}"
    );
    assert!(!said.contains("restarting it in"), "{said}");
    assert_eq!(run.processes(), []);

    let mut detached = run.command(&["up", "--port", "0", "--detach"]);
    let detached = detached
        .env("HAVEN_ORDERS_PER_MINUTE", "plenty")
        .output()
        .expect("haven runs");
    assert_eq!(detached.status.code(), Some(64), "{detached:?}");
    assert!(
        String::from_utf8_lossy(&detached.stderr).contains("HAVEN_ORDERS_PER_MINUTE"),
        "{detached:?}"
    );
    assert_eq!(run.processes(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn down_says_when_the_local_aws_could_not_save() {
    let mut run = Supervised::new().await;
    run.start(&[], &[]);
    run.wait_until_ready();
    // The local AWS writes to this name before it renames the file.
    std::fs::create_dir_all(run.state.join("aws/sqs.json.tmp/in-the-way")).expect("made");
    let text = down(&run);
    assert!(
        text.contains("could not save part of its state: sqs"),
        "{text}"
    );
    assert!(run.wait_for_end().success());
    std::fs::remove_dir_all(run.state.join("aws/sqs.json.tmp")).expect("removed");

    run.start(&[], &[]);
    let facts = run.wait_until_ready();
    kill(number(&facts, "aws_pid"), "-STOP");
    let text = down(&run);
    assert!(
        text.contains("was killed, so it did not save its state")
            && text.contains("the sweeper asks"),
        "{text}"
    );
    assert!(run.wait_for_end().success());
    assert_eq!(run.processes(), []);

    run.start(&[], &[]);
    let aws = number(&run.wait_until_ready(), "aws_pid");
    // Stopped, so that it cannot save its state before it crashes.
    kill(aws, "-STOP");
    let mut down = run.command(&["down"]);
    let down = down
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("haven runs");
    run.wait_for("Stopping on SIGTERM");
    kill(aws, "-SEGV");
    kill(aws, "-CONT");
    let down = down.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&down.stdout).into_owned();
    assert!(
        text.contains("failed (killed by signal 11) and may not have saved its state"),
        "{down:?}"
    );
    assert!(run.wait_for_end().success());
}

/// Returns actor, subject, and the values before and after.
fn act(entry: &AuditEntry) -> (String, String, Value, Value) {
    let parsed = |text: &Option<String>| {
        text.as_deref().map_or(Value::Null, |text| {
            serde_json::from_str(text).expect("the log holds JSON")
        })
    };
    (
        entry.actor.clone(),
        entry.subject.clone(),
        parsed(&entry.before),
        parsed(&entry.after),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_of_the_local_aws_are_moved_and_restored_from_the_database() {
    let mut world = World::open(&[]).await;
    let damages: [&[(&str, usize)]; 4] = [
        &[("sqs", 4), ("sns", 0)],
        &[("dynamodb", 2), ("eventbridge", 0), ("cloudwatch", 3)],
        &[("cloudformation", 3)],
        &[("ssm", 5), ("secretsmanager", 2)],
    ];
    for (round, damage) in damages.into_iter().enumerate() {
        let services: Vec<&str> = damage.iter().map(|(service, _)| *service).collect();
        let before = world.stock_of("latte").await;
        // One order waits for a stopped worker, so that its message is in a queue.
        let first = world.order("latte", 1, "tok_ok").await;
        world.until(&first, &["confirmed"]).await;
        world.pause("payment-worker");
        let (second, declined) = (
            world.order("latte", 2, "tok_ok").await,
            world.order("latte", 1, "tok_declined").await,
        );
        let waiting = world.until(&second, &["pending"]).await;
        assert_eq!(waiting["status"], "pending");
        // Both orders hold stock, which the start has to restore too.
        let begun = Instant::now();
        while world.stock_of("latte").await["reserved"] != 3 {
            assert!(
                begun.elapsed() < SETTLED_WITHIN,
                "{}",
                world.stock_of("latte").await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world.close();
        for (service, kept) in damage {
            let file = world.state().join(format!("aws/{service}.json"));
            let length = std::fs::metadata(&file).expect("it was saved").len();
            let file = std::fs::File::options()
                .write(true)
                .open(file)
                .expect("a file");
            // Empty, a part of the file, or everything but the last byte.
            let torn = [0, length / 3, length / 2, length.saturating_sub(1)];
            match torn.get(*kept) {
                Some(torn) => file.set_len(*torn).expect("torn"),
                // A byte that is invalid in UTF-8, or a service without any data.
                None if *kept == 4 => file.write_all_at(b"\xff", length / 2).expect("written"),
                None => {
                    let nothing = br#"{"__ministack_format__": 2, "payload": {}}"#;
                    file.write_all_at(nothing, 0).expect("written");
                    file.set_len(nothing.len() as u64).expect("torn");
                }
            }
        }
        world.reopen_closed(&[]).await;
        let said = world.said();
        for service in &services {
            let named = said.contains(&format!("{service}.json is "));
            let lost = said.contains(&format!("Lost with {service}.json: "));
            assert!(
                named && lost && said.contains("aws.torn-"),
                "{service}: {said}"
            );
        }
        let rebuilt = world.audit("local_aws.rebuild").await;
        assert_eq!(
            rebuilt.len(),
            round + 1,
            "one act for each rebuild: {rebuilt:?}"
        );
        let (actor, subject, found, made) = act(&rebuilt[round]);
        assert_eq!((actor, subject), (operator(), "local-aws".to_owned()));
        let damaged: BTreeSet<&str> = found["damaged"]
            .as_object()
            .expect("services")
            .keys()
            .map(String::as_str)
            .collect();
        let torn: BTreeSet<&str> = services.iter().copied().collect();
        assert_eq!(damaged, torn, "{found}");
        assert!(
            made["old_files"]
                .as_str()
                .is_some_and(|folder| folder.starts_with("aws.torn-")),
            "{made}"
        );
        assert!(
            !world.state().join("aws-rebuilt.json").exists(),
            "it is in the audit log"
        );
        // The menu and the stock are only in DynamoDB. A start with an intact file changes neither
        // and adds no entry.
        assert_eq!(
            world.audit("menu.seed").await.len(),
            if round == 0 { 1 } else { 2 }
        );
        let repaired: Vec<_> = world.audit("stock.repair").await.iter().map(act).collect();
        if round == 0 {
            assert_eq!(repaired, []);
        } else {
            // By then three orders are sold and two hold stock.
            let after = json!({ "orders": 5, "units_received": 0 });
            assert_eq!(
                repaired,
                [(operator(), "stock".to_owned(), Value::Null, after)]
            );
        }
        world.until(&second, &["confirmed"]).await;
        world.until(&declined, &["failed", "cancelled"]).await;
        let reconciled = world.haven(&["reconcile"]);
        assert!(reconciled.status.success(), "{services:?}: {reconciled:?}");
        let after = world.stock_of("latte").await;
        if !services.contains(&"dynamodb") {
            let sold = |stock: &Value| stock["sold"].as_i64().expect("a number");
            assert_eq!(sold(&after), sold(&before) + 3, "{services:?}: {after}");
        }
        assert_eq!(after["reserved"], 0, "{services:?}: {after}");
    }
    let torn = std::fs::read_dir(world.state())
        .expect("it is there")
        .flatten();
    let torn = torn
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("aws.torn-"))
        .count();
    assert_eq!(torn, damages.len(), "every old directory is kept");
}
