//! Progress of a command that takes longer than a second, on standard error. On a terminal each
//! running step is one line at the bottom, in the order in which the steps began, and is redrawn
//! with its elapsed time; a step that ends leaves its line above them. Elsewhere, and with
//! `HAVEN_PROGRESS=plain`, each step prints one line when it ends, and a heartbeat says every minute
//! what is running. `-q` and `--json` turn progress off.
//!
//! Whatever [`crate::output`] prints stays above the lines that are redrawn.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::text::printable;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output::REDRAWN;
use crate::style::{Meaning, for_stderr};
use crate::table::shortened;
use crate::time::duration;
use crate::width::{MAX_TEXT, of_text};

const REDRAWN_EVERY: Duration = Duration::from_millis(125);
const REDRAWN_HZ: u8 = 8;
const HEARTBEAT: Duration = Duration::from_secs(60);
const FRAMES: [&str; 4] = ["|", "/", "-", "\\"];

/// Prints one line somewhere else than on a terminal.
type Print = Arc<dyn Fn(&str) + Send + Sync>;

/// The steps of a command. Clones show the same steps.
///
/// A command with one step, whose answer follows at once, ends the step by dropping it.
///
/// ```
/// use haven_console::progress::Steps;
/// let steps = Steps::new("up");
/// let step = steps.begin("Stacks");
/// step.doing("Stacks: 3 of 4");
/// step.ok("Stacks: 4 created");
/// ```
#[derive(Clone)]
pub struct Steps(Arc<Shared>);

struct Shared {
    command: String,
    shown: Shown,
    running: Arc<Mutex<Vec<Arc<Line>>>>,
    /// Ends the heartbeat when it is dropped.
    _heartbeat: Option<Sender<()>>,
}

enum Shown {
    Nothing,
    Redrawn { leaves_lines: bool },
    Lines(Print),
}

/// A step that has begun. Without an end, as on an error, its line disappears.
#[derive(Debug)]
pub struct Step {
    steps: Steps,
    line: Arc<Line>,
    bar: Option<ProgressBar>,
}

/// The content of the line of a step.
#[derive(Debug)]
struct Line {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Clone)]
struct State {
    text: String,
    /// The result and the duration, once the step has ended.
    ended: Option<(Meaning, Duration)>,
}

impl State {
    /// Makes the state of one line, whatever is in the text.
    fn new(text: &str, ended: Option<(Meaning, Duration)>) -> State {
        let text = printable(text);
        State { text, ended }
    }
}

impl Steps {
    /// Begins the progress of a command, such as `up`.
    pub fn new(command: &str) -> Steps {
        Steps::on_stderr(command, true)
    }

    /// Begins the progress of a command whose answer repeats its steps: on a terminal, a step that
    /// ends leaves no line.
    pub fn vanishing(command: &str) -> Steps {
        Steps::on_stderr(command, false)
    }

    /// Begins the progress of a command in lines for `print`, as off a terminal.
    ///
    /// ```
    /// use haven_console::progress::Steps;
    /// let steps = Steps::in_lines("up", |line| assert!(line.starts_with("up: Stacks: 4 created (")));
    /// steps.begin("Stacks").ok("Stacks: 4 created");
    /// ```
    pub fn in_lines(command: &str, print: impl Fn(&str) + Send + Sync + 'static) -> Steps {
        Steps::shown(command, Shown::Lines(Arc::new(print)))
    }

    fn on_stderr(command: &str, leaves_lines: bool) -> Steps {
        let settings = crate::settings::get();
        if settings.quiet || settings.json {
            return Steps::shown(command, Shown::Nothing);
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWN_HZ);
        if settings.plain_progress || target.is_hidden() {
            return Steps::in_lines(command, |line| eprintln!("{line}"));
        }
        REDRAWN.get_or_init(|| MultiProgress::with_draw_target(target));
        Steps::shown(command, Shown::Redrawn { leaves_lines })
    }

    fn shown(command: &str, shown: Shown) -> Steps {
        let running = Arc::default();
        let heartbeat = match &shown {
            Shown::Lines(print) => {
                let (command, running) = (command.to_owned(), Arc::clone(&running));
                Some(beat(command, running, HEARTBEAT, Arc::clone(print)))
            }
            Shown::Nothing | Shown::Redrawn { .. } => None,
        };
        Steps(Arc::new(Shared {
            command: command.to_owned(),
            shown,
            running,
            _heartbeat: heartbeat,
        }))
    }

    /// Begins a step. On a terminal its line shows `text` until [`Step::doing`] replaces it.
    pub fn begin(&self, text: &str) -> Step {
        let line = Arc::new(Line {
            began: Instant::now(),
            state: Mutex::new(State::new(text, None)),
        });
        let bar = match &self.0.shown {
            Shown::Redrawn { .. } => REDRAWN.get().map(|bars| add_bar(bars, &line)),
            Shown::Nothing | Shown::Lines(_) => None,
        };
        locked(&self.0.running).push(Arc::clone(&line));
        Step {
            steps: self.clone(),
            line,
            bar,
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Steps").field(&self.0.command).finish()
    }
}

impl Step {
    /// Replaces the text of the step, which only a terminal and the heartbeat show.
    pub fn doing(&self, text: &str) {
        *locked(&self.line.state) = State::new(text, None);
    }

    /// Ends the step with its result.
    pub fn ok(self, text: &str) {
        self.end(Meaning::Ok, text);
    }

    /// Ends a step that failed. The error itself is printed at the end of the command.
    pub fn failed(self, text: &str) {
        self.end(Meaning::Fail, text);
    }

    /// Ends the step with any result: [`Meaning::Ok`], `Warn`, `Fail` or `Skip`.
    pub fn end(self, result: Meaning, text: &str) {
        let took = self.line.began.elapsed();
        let state = State::new(text, Some((result, took)));
        let Shared { command, shown, .. } = &*self.steps.0;
        match shown {
            Shown::Nothing => {}
            Shown::Lines(print) => print(&plain(command, result, &state.text, took)),
            Shown::Redrawn { leaves_lines } => {
                self.clear();
                if *leaves_lines {
                    eprintln!("{}", redrawn(&state, took, crate::width::stderr()));
                }
            }
        }
    }

    /// Removes the line from the terminal.
    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        locked(&self.steps.0.running).retain(|line| !Arc::ptr_eq(line, &self.line));
        self.clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds the bar that redraws a line.
fn add_bar(bars: &MultiProgress, line: &Arc<Line>) -> ProgressBar {
    let line = Arc::clone(line);
    let draw = move |_: &ProgressState, out: &mut dyn fmt::Write| {
        let state = locked(&line.state).clone();
        let text = redrawn(&state, line.began.elapsed(), crate::width::stderr());
        // indicatif's buffer is a string.
        let _ = out.write_str(&for_stderr(text));
    };
    let style = ProgressStyle::with_template("{line}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("line", draw);
    // The bar draws from its own thread, so it must belong to the others before it begins.
    let bar = bars.add(ProgressBar::new_spinner().with_style(style));
    bar.enable_steady_tick(REDRAWN_EVERY);
    bar
}

/// Returns the line of a step on a terminal: sign, text, and the time at its right end.
fn redrawn(state: &State, elapsed: Duration, columns: usize) -> String {
    const MARGIN: usize = 2;
    const SIGN: usize = 6;
    let (sign, took) = match state.ended {
        Some((result, took)) => (result.mark(SIGN), took),
        None => {
            let frame = elapsed.as_millis() / REDRAWN_EVERY.as_millis() % FRAMES.len() as u128;
            let frame = Meaning::Running.paint(FRAMES[frame as usize]);
            (frame + &" ".repeat(SIGN - 1), elapsed)
        }
    };
    let took = duration(took);
    let room = columns.min(MAX_TEXT) - 2 * MARGIN - SIGN - took.len() - 1;
    let text = shortened(&state.text, room);
    let gap = " ".repeat(room - of_text(&text) + 1);
    format!("{}{sign}{text}{gap}{took}", " ".repeat(MARGIN))
}

/// Returns the line of a step that has ended, off a terminal.
fn plain(command: &str, result: Meaning, text: &str, took: Duration) -> String {
    let sign = match result {
        Meaning::Ok => String::new(),
        other => other.sign().to_owned() + " ",
    };
    format!("{command}: {sign}{text} ({})", duration(took))
}

/// Starts the thread that prints a heartbeat until the returned sender is dropped.
fn beat(
    command: String,
    running: Arc<Mutex<Vec<Arc<Line>>>>,
    every: Duration,
    print: Print,
) -> Sender<()> {
    let (sender, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let texts: Vec<String> = locked(&running)
                .iter()
                .map(|line| line.heartbeat())
                .collect();
            if !texts.is_empty() {
                print(&format!("{command}: still running: {}", texts.join("; ")));
            }
        }
    });
    sender
}

impl Line {
    fn heartbeat(&self) -> String {
        let text = locked(&self.state).text.clone();
        format!("{text} ({})", duration(self.began.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::width::assert_fits;

    fn line(text: &str, ended: Option<(Meaning, Duration)>, columns: usize) -> String {
        let state = State::new(text, ended);
        let line = redrawn(&state, Duration::from_millis(130), columns);
        assert_fits(&line, columns);
        anstream::adapter::strip_str(&line).to_string()
    }

    /// The steps of a command off a terminal, and the lines that they print.
    fn in_lines() -> (Steps, Arc<Mutex<Vec<String>>>) {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let printed = Arc::clone(&lines);
        let print = move |line: &str| locked(&lines).push(line.to_owned());
        (Steps::in_lines("test", print), printed)
    }

    #[test]
    fn a_line_has_the_time_at_its_right_end() {
        let took = Some((Meaning::Ok, Duration::from_millis(9_130)));
        assert_eq!(
            line("Python environment created", took, 60),
            "  ok    Python environment created                   9.1 s"
        );
        assert_eq!(
            line("Python environment created", took, 80),
            "  ok    Python environment created                                       9.1 s"
        );
        assert_eq!(
            line("x", took, 120),
            line("x", took, 100),
            "text is at most 100 wide"
        );
        assert_eq!(
            line("Roles: 7 of 10 ready", None, 60),
            "  /     Roles: 7 of 10 ready                         0.1 s"
        );
        let long = line(&"Database is creating ".repeat(9), None, 60);
        assert!(long.ends_with("... 0.1 s"), "{long}");
    }

    #[test]
    fn without_a_terminal_a_step_is_one_plain_line() {
        let took = Duration::from_millis(1_500);
        assert_eq!(
            plain("up", Meaning::Ok, "Stacks: 4 created", took),
            "up: Stacks: 4 created (1.5 s)"
        );
        assert_eq!(
            plain("deploy", Meaning::Fail, "compute rolled back", took),
            "deploy: FAIL compute rolled back (1.5 s)"
        );
    }

    #[test]
    fn off_a_terminal_only_a_step_that_ends_prints_and_only_once() {
        let (steps, lines) = in_lines();
        let printed = || std::mem::take(&mut *locked(&lines));
        let (one, two, three) = (steps.begin("1"), steps.begin("2"), steps.begin("3"));
        one.doing("1: half");
        drop(two);
        assert_eq!(printed(), [""; 0], "nothing has ended");
        for (step, meaning, expected) in [
            (one, Meaning::Ok, "test: one (0.0 s)"),
            (three, Meaning::Warn, "test: warn one (0.0 s)"),
            (steps.begin("4"), Meaning::Fail, "test: FAIL one (0.0 s)"),
            (steps.begin("5"), Meaning::Skip, "test: skip one (0.0 s)"),
        ] {
            step.end(meaning, "one");
            let lines = printed();
            let [line] = lines.as_slice() else {
                panic!("{lines:?}")
            };
            let (words, _) = expected.rsplit_once('(').expect("a duration");
            assert!(line.starts_with(words), "{line}");
        }
    }

    #[test]
    fn the_heartbeat_names_what_runs_and_ends_with_the_steps() {
        let (sent, received) = mpsc::channel();
        let print: Print = Arc::new(move |line: &str| {
            let _ = sent.send(line.to_owned());
        });
        let (steps, _) = in_lines();
        let running = Arc::clone(&steps.0.running);
        let _one = steps.begin("one\r\u{1b}[2K");
        let _two = steps.begin("two");
        let heartbeat = beat("test".to_owned(), running, Duration::from_millis(1), print);
        let line = received.recv().expect("it beats");
        assert!(line.starts_with("test: still running: one"), "{line}");
        assert!(line.contains("; two ("), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        drop(heartbeat);
        // The channel closes when the thread ends.
        while received.recv().is_ok() {}
    }

    #[test]
    fn a_step_runs_until_it_ends_or_is_dropped() {
        let (steps, _) = in_lines();
        let running = || locked(&steps.0.running).len();
        let (one, two) = (steps.begin("one"), steps.begin("two"));
        one.doing("one: half");
        assert!(one.line.heartbeat().starts_with("one: half ("));
        assert_eq!(running(), 2);
        one.ok("one is done");
        drop(two);
        assert_eq!(running(), 0);
    }

    proptest! {
        #[test]
        fn no_text_animates_or_adds_a_line(text in "\\PC*|[\\x00-\\x7f]{0,40}") {
            let (steps, lines) = in_lines();
            steps.begin(&text).ok(&text);
            let lines = locked(&lines).clone();
            prop_assert_eq!(lines.len(), 1);
            prop_assert!(!lines[0].chars().any(char::is_control), "{:?}", lines);
            let line = line(&text, None, 80);
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
        }
    }
}
