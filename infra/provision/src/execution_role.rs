//! The role that the bootstrap stack makes, with which CloudFormation deploys.

use blueprint::{BOOTSTRAP, Stack};

use crate::stack::find;
use crate::target::Target;

/// Returns the role with which CloudFormation deploys a stack. With `None`, CloudFormation uses the
/// permissions of the caller.
///
/// # Errors
/// When the bootstrap stack cannot be read.
pub(crate) async fn role_for(target: &Target, stack: &Stack) -> anyhow::Result<Option<String>> {
    match stack.slug {
        // The execution role must not change itself or its permissions boundaries.
        BOOTSTRAP | "security" => Ok(None),
        _ => role(target).await,
    }
}

/// Returns the role of the bootstrap stack, if it was deployed.
///
/// # Errors
/// When the bootstrap stack cannot be read.
pub async fn role(target: &Target) -> anyhow::Result<Option<String>> {
    let export = blueprint::execution_role_export(&target.environment);
    let found = find(
        &target.cloudformation,
        &target.environment.stack_name(BOOTSTRAP),
    )
    .await?;
    let output = found
        .iter()
        .flat_map(|stack| stack.outputs())
        .find(|output| output.export_name() == Some(&export));
    Ok(output.and_then(|output| output.output_value().map(str::to_owned)))
}
