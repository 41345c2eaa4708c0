use contract::alarm::{ALARMS, Severity, Signal};

use super::*;

fn environments() -> Vec<Environment> {
    ["dev", "staging", "prod"].into_iter().filter_map(Environment::named).collect()
}

#[test]
fn write_out() {
    if let Ok(folder) = std::env::var("OUT") {
        for environment in environments() {
            for (name, t) in [("alarms", alarms::alarms(&environment)), ("observability", observability(&environment))] {
                std::fs::write(format!("{folder}/{}-{name}.json", environment.name), t.into_json().to_string()).unwrap();
            }
        }
    }
}
