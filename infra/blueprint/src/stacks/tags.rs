//! Tags for owner and cost center.
//!
//! CloudFormation passes the tags of a stack to nearly every resource. `haven` sets them from
//! [`Environment::tags`](crate::Environment::tags). Repeating them would make up a seventh of the
//! templates. This module tags only the resources that may not inherit them.

use crate::kind::{self, Kind};
use crate::template::Template;

/// Types whose schemas say that they do not take CloudFormation's own stack tags
/// (`cloudFormationSystemTags`). For roles and replication groups, users report that other stack
/// tags are missing too (issues 277 and 1196 of AWS's `cloudformation-coverage-roadmap`). For the
/// others no source guarantees that the tags arrive.
const OF_THEIR_OWN: [Kind; 9] = [
    kind::SCALABLE_TARGET,
    kind::DYNAMODB_TABLE,
    kind::ECS_SERVICE,
    kind::ELASTICACHE_PARAMETER_GROUP,
    kind::ELASTICACHE_REPLICATION_GROUP,
    kind::ELASTICACHE_SUBNET_GROUP,
    kind::IAM_ROLE,
    kind::KMS_KEY,
    kind::SQS_QUEUE,
];

/// Adds the environment's tags to resources of these types.
pub fn tag(template: &mut Template<'_>) {
    template.set_all(&OF_THEIR_OWN, "Tags", &template.environment.tags());
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::{Environment, schema, stacks};

    /// A new resource type that does not inherit stack tags must be added to the list.
    #[test]
    fn resources_that_inherit_no_stack_tags_have_their_own() {
        for name in ["local", "dev", "staging", "prod"] {
            let environment = Environment::named(name).expect("known");
            for stack in stacks(&environment) {
                for (id, resource) in stack.template["Resources"].as_object().expect("resources") {
                    let kind = resource["Type"].as_str().expect("a type");
                    let known = schema::of(kind).expect("in the table");
                    let Some(property) = known.tags() else {
                        continue;
                    };
                    let tags = &resource["Properties"][property];
                    if known.takes_stack_tags() {
                        // The tag `Name` is for the console.
                        let own = tags.as_array().into_iter().flatten();
                        assert!(
                            own.map(|tag| &tag["Key"]).all(|key| key == "Name"),
                            "{name} {id} ({kind}): {tags}"
                        );
                        assert!(
                            tags.is_array() || *tags == Value::Null,
                            "{name} {id} ({kind}): {tags}"
                        );
                    } else {
                        assert_eq!(*tags, environment.tags(), "{name} {id} ({kind})");
                    }
                }
            }
        }
    }
}
