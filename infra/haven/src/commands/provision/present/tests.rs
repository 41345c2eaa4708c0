use serde_json::json;

use super::*;
use crate::commands::provision::testing::plain;

fn change(resource: &str, action: Action, rung: Rung) -> Change {
    Change {
        resource: resource.to_owned(),
        kind: "AWS::SQS::Queue".to_owned(),
        action,
        rung,
        consequence: "is updated in place".to_owned(),
        stateful: false,
        properties: Vec::new(),
    }
}

fn replaced_database() -> Change {
    Change {
        kind: "AWS::RDS::DBInstance".to_owned(),
        consequence: "is replaced by an EMPTY one because of Engine; the old one stays outside the stack with its data"
            .to_owned(),
        stateful: true,
        properties: vec![PropertyChange {
            path: "Engine".to_owned(),
            before: json!("postgres"),
            after: json!("aurora-postgresql"),
            rung: Rung::Replacement,
        }],
        ..change("Database", Action::Replace, Rung::Replacement)
    }
}

#[test]
fn lost_data_comes_first_and_created_resources_last() {
    let (new, alarm) = (
        change("Reader", Action::Add, Rung::InPlace),
        change("Alarm", Action::Change, Rung::InPlace),
    );
    let database = replaced_database();
    let changes = [("data", &new), ("alarms", &alarm), ("data", &database)];
    let text = |columns| {
        plain(
            &sections(&changes, &Named::default(), columns, false),
            columns,
        )
    };
    let expected = "\nDeletes or replaces data (1)\n\
        -/+ data/Database  AWS::RDS::DBInstance\n\
        \x20     is replaced by an EMPTY one because of Engine; the old one stays outside\n\
        \x20       the stack with its data\n\
        \x20     Engine: \"postgres\" -> \"aurora-postgresql\"\n\
        \x20     allow  --allow data/Database\n\
        \nChanged in place (1)\n\
        \x20 ~ alarms/Alarm  AWS::SQS::Queue\n\
        \nCreated (1)\n\
        \x20 + data: Reader\n";
    assert_eq!(text(80), expected);
    for columns in [60, 120] {
        assert!(text(columns).contains("allow  --allow data/Database\n"));
    }
    assert_eq!(
        count(&changes),
        "1 to create, 1 to change, 1 to replace, 0 to delete"
    );
    let allowed = Named::new(&["data/Database".to_owned()]);
    assert!(!sections(&changes, &allowed, 80, false).contains("--allow"));
}

#[test]
fn a_plan_with_many_creations_is_short_and_names_the_database_first() {
    let new: Vec<Change> = (0..196)
        .map(|number| change(&format!("New{number}"), Action::Add, Rung::InPlace))
        .collect();
    let slugs = ["network", "security", "messaging", "edge"];
    let database = replaced_database();
    let new = new.iter().enumerate();
    let mut changes: Vec<(&str, &Change)> = new
        .map(|(index, change)| (slugs[index % slugs.len()], change))
        .collect();
    changes.push(("data", &database));
    let text = plain(&sections(&changes, &Named::default(), 80, false), 80);
    assert!(text.lines().count() <= 40, "{text}");
    let first = text.lines().position(|line| line.contains("data/Database"));
    assert!(first.is_some_and(|line| line < 10), "{text}");
    assert!(
        text.contains("\n  + network: 49 resources  (list: -v)\n"),
        "{text}"
    );
    let verbose = sections(&changes, &Named::default(), 80, true);
    assert!(verbose.contains("network/New0") && verbose.contains("edge/New195"));
}
