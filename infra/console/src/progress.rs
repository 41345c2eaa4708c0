//! Progress of a command that takes longer than a second, on standard error. On a terminal each
//! step is one line, in the order in which the steps began, and is redrawn with its elapsed time.
//! Elsewhere, and with `HAVEN_PROGRESS=plain`, each step prints one line when it ends, and a
//! heartbeat says every minute what is running. `-q` and `--json` turn progress off.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::style::{Meaning, for_stderr};
use crate::table::shortened;
use crate::time::duration;
use crate::width::{MAX_TEXT, of_text};

const REDRAWN_EVERY: Duration = Duration::from_millis(125);
const REDRAWN_HZ: u8 = 8;
const HEARTBEAT: Duration = Duration::from_secs(60);
const FRAMES: [&str; 4] = ["|", "/", "-", "\\"];

/// The steps of a command. Clones show the same steps.
///
/// ```
/// use haven_console::progress::Steps;
/// let steps = Steps::new("up");
/// let step = steps.begin("Stacks");
/// step.doing("Stacks: 3 of 4");
/// step.ok("Stacks: 4 created");
/// ```
#[derive(Debug, Clone)]
pub struct Steps(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    command: String,
    shown: Shown,
    running: Arc<Mutex<Vec<Arc<Line>>>>,
    /// Ends the heartbeat when it is dropped.
    _heartbeat: Option<Sender<()>>,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Redrawn(MultiProgress),
    Lines,
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

impl Steps {
    /// Begins the progress of a command, such as `up`.
    pub fn new(command: &str) -> Steps {
        let settings = crate::settings::get();
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWN_HZ);
        let shown = if settings.quiet || settings.json {
            Shown::Nothing
        } else if settings.plain_progress || target.is_hidden() {
            Shown::Lines
        } else {
            Shown::Redrawn(MultiProgress::with_draw_target(target))
        };
        let running = Arc::default();
        let heartbeat = match shown {
            Shown::Lines => Some(beat(command.to_owned(), Arc::clone(&running))),
            Shown::Nothing | Shown::Redrawn(_) => None,
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
        let state = State {
            text: text.to_owned(),
            ended: None,
        };
        let line = Arc::new(Line {
            began: Instant::now(),
            state: Mutex::new(state),
        });
        let bar = match &self.0.shown {
            Shown::Redrawn(bars) => Some(bars.add(bar(&line))),
            Shown::Nothing | Shown::Lines => None,
        };
        locked(&self.0.running).push(Arc::clone(&line));
        Step {
            steps: self.clone(),
            line,
            bar,
        }
    }

    /// Runs `print` while the lines of the steps are off the terminal, so that output stays above
    /// them.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0.shown {
            Shown::Redrawn(bars) => bars.suspend(print),
            Shown::Nothing | Shown::Lines => print(),
        }
    }

    /// Removes the lines of all steps from a terminal, when a later line tells the same shorter.
    pub fn clear(&self) {
        if let Shown::Redrawn(bars) = &self.0.shown {
            // The terminal is gone: there is nothing to clear.
            let _ = bars.clear();
        }
    }
}

impl Step {
    /// Replaces the text of the step, which only a terminal and the heartbeat show.
    pub fn doing(&self, text: &str) {
        text.clone_into(&mut locked(&self.line.state).text);
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
        *locked(&self.line.state) = State {
            text: text.to_owned(),
            ended: Some((result, took)),
        };
        match &self.steps.0.shown {
            Shown::Nothing => {}
            Shown::Lines => eprintln!("{}", plain(&self.steps.0.command, result, text, took)),
            Shown::Redrawn(_) => {
                if let Some(bar) = &self.bar {
                    bar.finish();
                }
            }
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        locked(&self.steps.0.running).retain(|line| !Arc::ptr_eq(line, &self.line));
        let has_ended = locked(&self.line.state).ended.is_some();
        if let Some(bar) = self.bar.as_ref().filter(|_| !has_ended) {
            bar.finish_and_clear();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the bar that redraws a line.
fn bar(line: &Arc<Line>) -> ProgressBar {
    let line = Arc::clone(line);
    let draw = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
        let state = locked(&line.state).clone();
        let text = redrawn(&state, line.began.elapsed(), crate::width::stderr());
        // indicatif's buffer is a string.
        let _ = out.write_str(&for_stderr(text));
    };
    let style = ProgressStyle::with_template("{line}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("line", draw);
    let bar = ProgressBar::new_spinner().with_style(style);
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
fn beat(command: String, running: Arc<Mutex<Vec<Arc<Line>>>>) -> Sender<()> {
    let (sender, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        while ended.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
            let texts: Vec<String> = locked(&running)
                .iter()
                .map(|line| line.heartbeat())
                .collect();
            if !texts.is_empty() {
                eprintln!("{command}: still running: {}", texts.join("; "));
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
    use super::*;
    use crate::width::assert_fits;

    fn line(text: &str, ended: Option<(Meaning, Duration)>, columns: usize) -> String {
        let state = State {
            text: text.to_owned(),
            ended,
        };
        let line = redrawn(&state, Duration::from_millis(130), columns);
        assert_fits(&line, columns);
        anstream::adapter::strip_str(&line).to_string()
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
    fn a_step_runs_until_it_ends_or_is_dropped() {
        let steps = Steps::new("test");
        let running = || locked(&steps.0.running).len();
        let (one, two) = (steps.begin("one"), steps.begin("two"));
        one.doing("one: half");
        assert!(one.line.heartbeat().starts_with("one: half ("));
        assert_eq!(running(), 2);
        one.ok("one is done");
        drop(two);
        assert_eq!(running(), 0);
        steps.clear();
        assert_eq!(steps.suspend(|| 7), 7);
    }
}
