//! Help screens. clap has no headings for groups of commands (clap #1553), so the template of the
//! root command is filled from a table of groups.

use clap::Command;

use crate::style::{Meaning, of_clap};
use crate::width::wrap;

/// A heading of the list of commands, and the commands below it.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub heading: &'static str,
    pub commands: &'static [&'static str],
}

/// Examples come first after the usage: they answer more questions than the list of options.
const OF_COMMAND: &str = "{about-with-newline}\n{usage-heading} {usage}{after-help}\n\n{all-args}";

/// Returns the command with grouped help, in our styles and wrapped at the columns.
///
/// ```
/// use clap::Command;
/// use haven_console::help::{Group, grouped};
/// const GROUPS: [Group; 1] = [Group { heading: "Run", commands: &["up"] }];
/// let root = Command::new("haven").subcommand(Command::new("up").about("Start the platform"));
/// let help = grouped(root, &GROUPS, 80).render_help().to_string();
/// assert!(help.contains("\nRun\n  up  Start the platform\n"), "{help}");
/// ```
pub fn grouped(root: Command, groups: &[Group], columns: usize) -> Command {
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}\n{{options}}{{after-help}}",
        groups_text(&root, groups, columns),
        Meaning::Heading.paint("Options:"),
    );
    let root = root.mut_subcommands(of_command);
    root.help_template(template)
        .styles(of_clap())
        .term_width(columns)
}

/// Sets the template. `-h` shows the first paragraph after the usage, which has the examples, and
/// `--help` all of them.
fn of_command(mut command: Command) -> Command {
    if let Some(all) = command.get_after_help().map(ToString::to_string) {
        let examples = all.split("\n\n").next().unwrap_or_default().to_owned();
        command = command.after_help(examples).after_long_help(all);
    }
    command
        .help_template(OF_COMMAND)
        .mut_subcommands(of_command)
}

fn groups_text(root: &Command, groups: &[Group], columns: usize) -> String {
    let names = groups.iter().flat_map(|group| group.commands);
    let widest = names.map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for group in groups {
        text += &Meaning::Heading.paint(group.heading);
        text.push('\n');
        for name in group.commands {
            // A test of the caller holds that each name is a command.
            let about = root.find_subcommand(name).map(about_of).unwrap_or_default();
            text += &line(name, &about, widest, columns);
        }
        text.push('\n');
    }
    text
}

fn about_of(command: &Command) -> String {
    let about = command.get_about();
    about.map(ToString::to_string).unwrap_or_default()
}

/// Returns one line of a list: a command, and what it does.
fn line(command: &str, about: &str, widest: usize, columns: usize) -> String {
    let padding = " ".repeat(widest - command.len());
    let first = format!("  {}{padding}  ", Meaning::Name.paint(command));
    wrap(about, columns, &first, &" ".repeat(widest + 4)) + "\n"
}

/// A heading of the first screen, with command lines and what they do.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    pub heading: &'static str,
    pub lines: &'static [(&'static str, &'static str)],
}

/// Returns the screen of the program without arguments: what it is, the first commands, and where
/// all others are listed.
///
/// ```
/// use clap::Command;
/// use haven_console::help::{Section, first_screen};
/// const START: [Section; 1] = [Section { heading: "Start here", lines: &[("haven up", "Start")] }];
/// let root = Command::new("haven").about("Brew Haven");
/// assert!(first_screen(&root, &START, "plan", 80).ends_with("One command: haven help plan.\n"));
/// ```
pub fn first_screen(root: &Command, sections: &[Section], example: &str, columns: usize) -> String {
    let name = root.get_name();
    let usage = Meaning::Heading.paint("Usage:");
    let mut text = format!(
        "{}\n\n{usage} {name} [OPTIONS] <COMMAND>\n",
        wrap(&about_of(root), columns, "", "")
    );
    let lines = sections.iter().flat_map(|section| section.lines);
    let widest = lines
        .map(|(command, _)| command.len())
        .max()
        .unwrap_or_default();
    for section in sections {
        text += &format!("\n{}\n", Meaning::Heading.paint(section.heading));
        for (command, about) in section.lines {
            text += &line(command, about, widest, columns);
        }
    }
    text + &format!("\nAll commands: {name} --help. One command: {name} help {example}.\n")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;
    use crate::width::assert_fits;

    const GROUPS: [Group; 2] = [
        Group {
            heading: "Run",
            commands: &["up", "status"],
        },
        Group {
            heading: "Provision",
            commands: &["plan"],
        },
    ];

    fn root() -> Command {
        let plan = Command::new("plan")
            .about("Show what a deployment would change; --out saves it for later")
            .after_help("Examples:\n  haven plan prod\n\nExit 2 if the plan is refused.")
            .arg(Arg::new("env").value_name("ENV").help("The environment"));
        Command::new("haven")
            .about("Brew Haven: a coffee-shop order platform, on this machine or on AWS")
            .subcommand(Command::new("up").about("Start the platform on this machine"))
            .subcommand(Command::new("status").about("Show whether everything is healthy"))
            .subcommand(plan)
            .arg(
                Arg::new("json")
                    .long("json")
                    .help("Print JSON")
                    .action(ArgAction::SetTrue),
            )
    }

    fn help_of(columns: usize) -> String {
        grouped(root(), &GROUPS, columns).render_help().to_string()
    }

    #[test]
    fn groups_are_listed_between_the_usage_and_the_options() {
        let help = help_of(80);
        let expected = "Usage: haven [OPTIONS] [COMMAND]\n\n\
            Run\n\
            \x20 up      Start the platform on this machine\n\
            \x20 status  Show whether everything is healthy\n\n\
            Provision\n\
            \x20 plan    Show what a deployment would change; --out saves it for later\n\n\
            Options:\n\
            \x20     --json  Print JSON\n";
        assert!(help.contains(expected), "{help}");
        for columns in [60, 80, 120] {
            assert_fits(help_of(columns).trim_end(), columns);
        }
        assert!(
            help_of(60).contains("saves\n          it for later\n"),
            "a long line hangs: {}",
            help_of(60)
        );
    }

    #[test]
    fn examples_come_first_after_the_usage() {
        let mut root = grouped(root(), &GROUPS, 80);
        let plan = root.find_subcommand_mut("plan").expect("plan");
        let help = plan.render_help().to_string();
        assert!(!help.contains("Exit 2"), "{help}");
        let help = plan.render_long_help().to_string();
        assert!(help.contains("Exit 2"), "{help}");
        let positions =
            ["Usage:", "Examples:", "Arguments:", "Options:"].map(|part| help.find(part));
        assert!(
            positions.iter().all(Option::is_some) && positions.is_sorted(),
            "{help}"
        );
    }

    #[test]
    fn the_first_screen_fits_and_has_every_line() {
        const SECTIONS: [Section; 2] = [
            Section {
                heading: "Start here",
                lines: &[("haven up", "Start the platform on this machine")],
            },
            Section {
                heading: "On AWS",
                lines: &[("haven plan prod", "Show what a deployment would change")],
            },
        ];
        for columns in [60, 80, 120] {
            assert_fits(&first_screen(&root(), &SECTIONS, "plan", columns), columns);
        }
        let screen = first_screen(&root(), &SECTIONS, "plan", 80);
        assert_eq!(
            anstream::adapter::strip_str(&screen).to_string(),
            "Brew Haven: a coffee-shop order platform, on this machine or on AWS\n\n\
             Usage: haven [OPTIONS] <COMMAND>\n\n\
             Start here\n\
            \x20 haven up         Start the platform on this machine\n\n\
             On AWS\n\
            \x20 haven plan prod  Show what a deployment would change\n\n\
             All commands: haven --help. One command: haven help plan.\n"
        );
    }
}
