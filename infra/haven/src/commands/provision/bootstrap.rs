//! `haven bootstrap`: prepares an account once for deployments.

use anyhow::Context as _;
use haven_console::exit::Exit;
use haven_console::settings;
use haven_console::table::{Column, Table};
use haven_console::verdict::Verdict;
use haven_console::width::{self, wrap};
use provision::change_set::{Outcome, apply};
use provision::execution_role::role;
use provision::guard::Named;
use provision::stack::resources;
use provision::{Reporter, Target, account};
use serde::Serialize;
use serde_json::json;

use crate::arguments;
use crate::target;

/// The result, for the JSON output.
#[derive(Debug, Serialize)]
struct Bootstrapped {
    environment: String,
    account: String,
    region: String,
    stack: String,
    /// `created`, `updated` or `unchanged`.
    outcome: &'static str,
    execution_role: String,
    resources: Vec<Resource>,
}

#[derive(Debug, Serialize)]
struct Resource {
    id: String,
    kind: String,
    name: String,
}

/// Creates or updates the bootstrap stack, and prints the result.
///
/// # Errors
/// When the account differs from the settings, or the stack fails.
pub async fn command(options: &arguments::Target) -> anyhow::Result<Exit> {
    let (aws, environment) = target::resolve(options).await?;
    let target = aws.target(environment);
    let account = account::expected_account(&target).await?;
    let stack = blueprint::bootstrap(&target.environment);
    let line = Reporter::aside(settings::get().json).begin(&stack.name, stack.about);
    let changed = apply(&target, &stack, &Named::default(), &line).await;
    match changed {
        Ok(_) => line.end("done"),
        Err(_) => line.failed(),
    }
    let outcome = match changed? {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Unchanged => "unchanged",
    };
    let made = Bootstrapped {
        environment: target.environment.name.clone(),
        account,
        region: target.environment.settings.account.region.clone(),
        outcome,
        execution_role: role(&target)
            .await?
            .context("the stack exists, but exports no role")?,
        resources: made_of(&target, &stack.name).await?,
        stack: stack.name,
    };
    Ok(verdict(&made).end("haven.bootstrap/1", json!(made), || {
        println!("{}", text(&made, width::stdout_text()));
    }))
}

/// Returns the place, the resources, and how CloudFormation deploys from now on.
fn text(made: &Bootstrapped, columns: usize) -> String {
    let mut table = Table::new([
        Column::text("Resource"),
        Column::text("Type").optional(1),
        Column::text("Name").shortened(),
    ]);
    for Resource { id, kind, name } in &made.resources {
        table.row([id.as_str(), kind, name]);
    }
    let role = format!(
        "CloudFormation now deploys every stack except `security` with {} instead of your own \
         permissions. You need iam:PassRole for that role.",
        made.execution_role
    );
    format!(
        "{}, account {}, {}\n\n{}\n{}\n",
        made.environment,
        made.account,
        made.region,
        table.render(columns).text,
        wrap(&role, columns, "", "")
    )
}

fn verdict(made: &Bootstrapped) -> Verdict {
    let (stack, outcome) = (&made.stack, made.outcome);
    Verdict::good(format!("{stack} is {outcome}; the stack costs nothing."))
        .next(format!("haven plan {}", made.environment))
}

async fn made_of(target: &Target, stack: &str) -> anyhow::Result<Vec<Resource>> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let resources = resources(&target.cloudformation, stack).await?;
    let of = resources.iter().map(|resource| Resource {
        id: text(resource.logical_resource_id()),
        kind: text(resource.resource_type()),
        name: text(resource.physical_resource_id()),
    });
    Ok(of.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::provision::testing::plain;
    use crate::schemas::testing::valid;

    #[test]
    fn the_role_is_named_and_the_stack_is_the_verdict() {
        let made = Bootstrapped {
            environment: "dev".to_owned(),
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            stack: "brew-haven-dev-bootstrap".to_owned(),
            outcome: "created",
            execution_role: "arn:aws:iam::123456789012:role/brew-haven-dev-deployer".to_owned(),
            resources: vec![Resource {
                id: "Deployer".to_owned(),
                kind: "AWS::IAM::Role".to_owned(),
                name: "brew-haven-dev-deployer".to_owned(),
            }],
        };
        let shown = "dev, account 123456789012, us-east-1\n\n\
            Resource  Type            Name\n\
            Deployer  AWS::IAM::Role  brew-haven-dev-deployer\n\n\
            CloudFormation now deploys every stack except `security` with\n";
        for columns in [60, 80, 120] {
            let text = plain(&text(&made, columns), columns);
            assert!(columns != 80 || text.starts_with(shown), "{text}");
        }
        let verdict = verdict(&made);
        assert_eq!(
            verdict,
            Verdict::good("brew-haven-dev-bootstrap is created; the stack costs nothing.")
                .next("haven plan dev")
        );
        let fields = serde_json::to_value(&made).expect("JSON");
        valid(verdict.document("haven.bootstrap/1", fields));
    }
}
