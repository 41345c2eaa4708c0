//! Log groups of the stacks.

use serde_json::{Value, json};

use crate::kind;
use crate::names::Shared;
use crate::template::{Keep, LogicalId, Template, sub};

/// Adds a log group with the logs' retention and key. The group outlives its stack, so a fixed name
/// could block the next stack. Without `name`, CloudFormation assigns the name.
pub fn log_group(template: &mut Template<'_>, words: &str, name: Option<Value>) -> LogicalId {
    let environment = template.environment;
    let mut properties = json!({
        "LogGroupClass": "STANDARD",
        "RetentionInDays": environment.settings.observability.log_days,
        "KmsKeyId": Shared::LogsKey.import(environment),
    });
    if let Some(name) = name {
        properties["LogGroupName"] = name;
    }
    template.add_kept(words, kind::LOG_GROUP, properties, Keep::Data)
}

/// Returns the ARN without the `:*` at the end of `Arn`, which API Gateway and WAF do not accept.
pub fn log_group_arn(group: &LogicalId) -> Value {
    let name = group.as_str();
    sub(&format!(
        "arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:${{{name}}}"
    ))
}
