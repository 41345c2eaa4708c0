//! `haven destroy`: deletes the stacks of an environment after a confirmation.

use blueprint::cost::MicroUsd;
use clap::Args;
use haven_console::exit::Exit;
use haven_console::settings;
use haven_console::style::Meaning;
use haven_console::table::{Column, Table};
use haven_console::time::{counted, decimal, thousands};
use haven_console::verdict::Verdict;
use haven_console::width::{self, wrap};
use platform::history::History;
use provision::Reporter;
use provision::account;
use provision::deploy::destroy::{Destroyed, Doom, Fate, Preview, check, destroy, doomed, preview};
use provision::guard::Named;
use serde_json::json;

use crate::agreement::{Agreement, Answer};
use crate::arguments::{ALLOW, DRY_RUN, Target, stack_and_resource};
use crate::target;

const SCHEMA: &str = "haven.destroy/1";

#[derive(Debug, Args)]
pub struct Destroy {
    #[command(flatten)]
    pub target: Target,
    #[arg(long, value_name = "STACK/RESOURCE", value_parser = stack_and_resource, help = ALLOW)]
    pub allow: Vec<String>,
    #[arg(long, help = DRY_RUN)]
    pub dry_run: bool,
    #[command(flatten)]
    pub answer: Answer,
}

/// Deletes the stacks of an environment after a confirmation, or shows what a deletion would do.
///
/// # Errors
/// When a resource with data would be lost without `--allow`, or a stack cannot be deleted.
pub async fn command(options: &Destroy) -> anyhow::Result<Exit> {
    let which = &options.target.which;
    let agreement = Agreement {
        command: "haven destroy",
        review: format!("haven destroy {} --dry-run", which.environment),
        environment: &target::environment(which)?,
        answer: &options.answer,
    };
    if !options.dry_run {
        agreement.check()?;
    }
    let (aws, environment) = target::resolve(&options.target).await?;
    let target = aws.target(environment);
    let account = account::expected_account(&target).await?;
    let doomed = doomed(&target).await?;
    let named = Named::new(&options.allow);
    let name = &target.environment.name;
    let region = &target.environment.settings.account.region;
    let place = match target.environment.local {
        true => "this machine".to_owned(),
        false => format!("account {account}, {region}"),
    };
    if options.dry_run {
        let preview = preview(&target.environment, &doomed, &named);
        return Ok(show(name, &place, &preview));
    }
    check(&target.environment, &doomed, &named)?;
    let text = format!("Delete the stacks of {name} ({place})?");
    if !agreement.ask(&text, &account)? {
        let verdict = Verdict::neutral("Not deleted: nothing was changed.");
        return Ok(verdict.end_lines(SCHEMA, json!({}), || {}));
    }
    let destroyed = destroy(&target, doomed, &Reporter::new(settings::get().json)).await?;
    History::of(&options.target.place.state, name).forget();
    let verdict = verdict(name, &destroyed);
    Ok(verdict.end_lines(SCHEMA, json!(destroyed), || {
        let kept = destroyed.retained.iter();
        kept.for_each(|name| println!("kept  {name}"));
        println!();
    }))
}

/// Prints what a deletion would do. The exit code says whether it would be accepted.
fn show(environment: &str, place: &str, preview: &Preview) -> Exit {
    let mut fields = json!(preview);
    // The fields of a deletion, which removed and retained nothing.
    fields["dry_run"] = json!(true);
    fields["removed"] = json!([]);
    fields["retained"] = json!([]);
    fields["kept_total_micro_usd"] = json!(kept_total(preview));
    of_preview(environment, preview).end_lines(SCHEMA, fields, || {
        println!("{environment}, {place}");
        let text = text(preview, width::stdout_text(), settings::get().verbose);
        println!("{text}");
    })
}

/// Returns what a deletion would do: lost data first, then what stays and what that costs.
fn text(preview: &Preview, columns: usize, verbose: bool) -> String {
    let of = |fate: Fate| -> Vec<&Doom> {
        let resources = preview.resources.iter();
        resources.filter(|doom| doom.fate == fate).collect()
    };
    let mut text = String::new();
    for (fate, heading) in [
        (Fate::Deleted, "Deleted with its data"),
        (Fate::Snapshot, "Deleted after a final snapshot"),
    ] {
        let lost = of(fate);
        if !lost.is_empty() {
            text += &self::heading(heading, lost.len());
            text.extend(lost.iter().map(|doom| line(doom, columns)));
        }
    }
    let kept = of(Fate::Kept);
    if !kept.is_empty() {
        text += &heading("Kept outside the stacks, with its data", kept.len());
        text += &of_kept(&kept, preview, columns, verbose);
    }
    if preview.without_data > 0 {
        let (count, stacks) = (
            counted(preview.without_data, "resource"),
            counted(preview.stacks.len(), "stack"),
        );
        text += &format!("\nDeleted, no data lost: {count} in {stacks}\n");
    }
    if !kept.is_empty() {
        let cost = match kept_total(preview) {
            Some(total) => format!(
                "Cost of what is kept: {} USD a month, at the usage in the settings",
                decimal(total.usd(), 2)
            ),
            None => {
                "Cost of what is kept: not known, there are no prices for this place".to_owned()
            }
        };
        text += &(wrap(&cost, columns, "", "  ") + "\n");
    }
    text
}

/// Returns the kept resources by type, the most expensive first, and with `-v` their names.
fn of_kept(kept: &[&Doom], preview: &Preview, columns: usize, verbose: bool) -> String {
    let cost = |kind: &str| {
        let costs = preview.kept_cost.as_ref()?;
        Some(costs.get(kind).copied().unwrap_or_default())
    };
    let mut kinds: Vec<(&str, u64)> = Vec::new();
    for doom in kept {
        match kinds.iter_mut().find(|(kind, _)| *kind == doom.kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((doom.kind.as_str(), 1)),
        }
    }
    kinds.sort_by_key(|(kind, _)| std::cmp::Reverse(cost(kind)));
    let mut header = vec![Column::text("Type").shortened(), Column::number("Kept")];
    if preview.kept_cost.is_some() {
        header.push(Column::number("USD/month"));
    }
    let mut table = Table::new(header);
    for (kind, count) in kinds {
        let usd = cost(kind).map(|amount| decimal(amount.usd(), 2));
        let cells = [Some(kind.to_owned()), Some(thousands(count)), usd];
        table.row(cells.into_iter().flatten());
    }
    let mut text = table.render(columns).text;
    if verbose {
        text.extend(kept.iter().map(|doom| line(doom, columns)));
    }
    text
}

fn heading(heading: &str, count: usize) -> String {
    let heading = Meaning::Heading.paint(format!("{heading} ({count})"));
    format!("\n{heading}\n")
}

fn line(doom: &Doom, columns: usize) -> String {
    let Doom { resource, kind, .. } = doom;
    let sign = match doom.fate {
        Fate::Deleted | Fate::Snapshot => Meaning::Delete.mark(2),
        Fate::Kept => "  ".to_owned(),
    };
    let mut text = wrap(&format!("{resource}  {kind}"), columns, &sign, "    ") + "\n";
    if doom.refused {
        // One word, since a flag must be copied whole.
        let allow = format!("allow  --allow\u{a0}{resource}");
        text += &(wrap(&allow, columns, "    ", "      ") + "\n");
    }
    text
}

fn kept_total(preview: &Preview) -> Option<MicroUsd> {
    let costs = preview.kept_cost.as_ref()?;
    Some(costs.values().copied().sum())
}

/// Returns the verdict of a preview: no if the deletion would be refused.
fn of_preview(environment: &str, preview: &Preview) -> Verdict {
    if preview.stacks.is_empty() {
        let nothing = format!("Nothing to delete: {environment} has no stacks.");
        return Verdict::good(nothing);
    }
    let kept = preview.resources.iter();
    let kept = kept.filter(|doom| doom.fate == Fate::Kept).count();
    let deleted = preview.without_data + preview.resources.len() - kept;
    let stacks = counted(preview.stacks.len(), "stack");
    let counts = format!("{} to delete, {kept} to keep", counted(deleted, "resource"));
    let refused = preview.resources.iter().filter(|doom| doom.refused).count();
    match refused {
        0 => Verdict::good(format!(
            "Dry run: {stacks} of {environment}, {counts}. Nothing was changed."
        ))
        .next("run the same command without --dry-run"),
        refused => {
            let names = preview.resources.iter().filter(|doom| doom.refused);
            let flags = names.map(|doom| format!(" --allow {}", doom.resource));
            let flags: String = flags.collect();
            let refused = counted(refused, "resource");
            Verdict::no(format!(
                "Dry run: refused, {refused} would lose data. Nothing was changed."
            ))
            .next(format!("add{flags}, if that data may be lost"))
        }
    }
}

fn verdict(environment: &str, destroyed: &Destroyed) -> Verdict {
    let stacks = counted(destroyed.removed.len(), "stack");
    let kept = match destroyed.retained.len() {
        0 => "no resource was kept".to_owned(),
        1 => "1 resource with data was kept and still costs money".to_owned(),
        count => format!("{count} resources with data were kept and still cost money"),
    };
    Verdict::good(format!("Deleted {stacks} of {environment}; {kept}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::provision::testing::plain;

    fn doom(resource: &str, kind: &str, fate: Fate, refused: bool) -> Doom {
        Doom {
            resource: resource.to_owned(),
            kind: kind.to_owned(),
            fate,
            refused,
        }
    }

    fn of_dev() -> Preview {
        let key = |name: &str| doom(name, "AWS::KMS::Key", Fate::Kept, false);
        let resources = vec![
            key("security/DataKey"),
            doom("messaging/Orders", "AWS::SQS::Queue", Fate::Deleted, true),
            doom(
                "data/Database",
                "AWS::RDS::DBInstance",
                Fate::Snapshot,
                false,
            ),
            doom("data/Products", "AWS::DynamoDB::Table", Fate::Kept, false),
            key("security/MessagesKey"),
        ];
        let costs = [
            ("AWS::KMS::Key", 2_000_000),
            ("AWS::DynamoDB::Table", 310_000),
        ];
        let costs = costs.map(|(kind, micro)| (kind.to_owned(), MicroUsd(micro)));
        Preview {
            stacks: vec!["brew-haven-dev-data".to_owned(); 11],
            without_data: 1_340,
            resources,
            kept_cost: Some(costs.into_iter().collect()),
        }
    }

    #[test]
    fn a_dry_run_shows_lost_data_first_and_what_is_kept_with_its_cost() {
        let expected = "\nDeleted with its data (1)\n\
            - messaging/Orders  AWS::SQS::Queue\n\
            \x20   allow  --allow messaging/Orders\n\
            \nDeleted after a final snapshot (1)\n\
            - data/Database  AWS::RDS::DBInstance\n\
            \nKept outside the stacks, with its data (3)\n\
            Type                  Kept  USD/month\n\
            AWS::KMS::Key            2       2.00\n\
            AWS::DynamoDB::Table     1       0.31\n\
            \nDeleted, no data lost: 1,340 resources in 11 stacks\n\
            Cost of what is kept: 2.31 USD a month, at the usage in the settings\n";
        for columns in [80, 120] {
            assert_eq!(plain(&text(&of_dev(), columns, false), columns), expected);
        }
        plain(&text(&of_dev(), 60, false), 60);
        let verbose = plain(&text(&of_dev(), 80, true), 80);
        assert!(
            verbose.contains("\n  security/DataKey  AWS::KMS::Key\n"),
            "{verbose}"
        );
        let unpriced = Preview {
            kept_cost: None,
            ..of_dev()
        };
        let unpriced = plain(&text(&unpriced, 80, false), 80);
        assert!(!unpriced.contains("USD"), "{unpriced}");
    }

    #[test]
    fn a_dry_run_is_no_exactly_if_the_deletion_would_be_refused() {
        let mut preview = of_dev();
        let refused = of_preview("dev", &preview);
        let expected = "Dry run: refused, 1 resource would lose data. Nothing was changed.";
        let next = "add --allow messaging/Orders, if that data may be lost";
        assert_eq!(refused, Verdict::no(expected).next(next));
        assert_eq!(refused.exit(), Exit::No);
        for doom in &mut preview.resources {
            doom.refused = false;
        }
        let accepted = of_preview("dev", &preview);
        let expected = "Dry run: 11 stacks of dev, 1,342 resources to delete, 3 to keep. \
            Nothing was changed.";
        let next = "run the same command without --dry-run";
        assert_eq!(accepted, Verdict::good(expected).next(next));
        assert_eq!(accepted.exit(), Exit::Done);
        preview.stacks.clear();
        let nothing = Verdict::good("Nothing to delete: dev has no stacks.");
        assert_eq!(of_preview("dev", &preview), nothing);
    }

    #[test]
    fn kept_resources_are_counted() {
        let destroyed = |retained: &[&str]| Destroyed {
            removed: vec!["brew-haven-dev-data".to_owned()],
            retained: retained.iter().map(ToString::to_string).collect(),
        };
        let all = verdict("dev", &destroyed(&[]));
        assert_eq!(
            all,
            Verdict::good("Deleted 1 stack of dev; no resource was kept.")
        );
        assert_eq!(all.exit(), Exit::Done);
        let expected =
            "Deleted 1 stack of dev; 2 resources with data were kept and still cost money.";
        assert_eq!(
            verdict("dev", &destroyed(&["a", "b"])),
            Verdict::good(expected)
        );
    }
}
