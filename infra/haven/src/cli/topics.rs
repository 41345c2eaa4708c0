//! The topics of `haven help` beside its commands: `exit-codes` and `json`.

use std::ffi::OsString;

use haven_console::error::unknown;
use haven_console::exit::Exit;
use haven_console::table::{Column, Table};
use haven_console::verdict::Verdict;

use crate::schemas::{SCHEMAS, Schema};

/// Prints a topic if the arguments ask for one. Returns the exit code.
pub fn print(arguments: &[OsString]) -> Option<Exit> {
    let arguments: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match arguments[..] {
        ["help", "exit-codes"] => {
            exit_codes().print();
            Some(Exit::Done)
        }
        ["help", "json"] => {
            let note = list().print();
            println!();
            let verdict = Verdict::neutral(format!("{} schemas.", SCHEMAS.len())).note(note);
            Some(verdict.next("haven help json status").print())
        }
        ["help", "json", name] => match SCHEMAS.iter().find(|schema| schema.name == name) {
            Some(schema) => {
                print!("{}", schema.text);
                Some(Exit::Done)
            }
            None => {
                let known: Vec<&str> = SCHEMAS.iter().map(|schema| schema.name).collect();
                Some(unknown("schema", name, &known).print())
            }
        },
        _ => None,
    }
}

fn exit_codes() -> Table {
    let mut table = Table::new([Column::number("Exit"), Column::text("Meaning")]);
    for exit in Exit::ALL {
        table.row([exit.code().to_string(), exit.meaning().to_owned()]);
    }
    table
}

fn list() -> Table {
    let mut table = Table::new([
        Column::text("Schema"),
        Column::text("Output with --json of").shortened(),
    ]);
    for Schema { name, commands, .. } in SCHEMAS {
        let commands = commands.iter().map(|command| format!("haven {command}"));
        let commands: Vec<String> = commands.collect();
        let commands = match commands[..] {
            [] => "every command that fails, on standard error".to_owned(),
            _ => commands.join(", "),
        };
        table.row([(*name).to_owned(), commands]);
    }
    table
}
