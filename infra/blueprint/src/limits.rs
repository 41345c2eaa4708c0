//! Limits of CloudFormation and CloudWatch that no schema contains. Sources: the CloudFormation
//! quotas and the reference of `PutMetricAlarm`.

use serde_json::Value;

use crate::schema::Violation;

/// Maximum bytes of a template in the request; a longer one must be uploaded to a bucket first.
pub const INLINE_BYTES_MAX: usize = 51_200;
/// Maximum resources of a template.
pub const RESOURCES_MAX: usize = 500;
/// Maximum outputs of a template.
pub const OUTPUTS_MAX: usize = 200;
/// Maximum parameters of a template.
pub const PARAMETERS_MAX: usize = 200;
/// Maximum `{{resolve:...}}` references of a template.
pub const DYNAMIC_REFERENCES_MAX: usize = 60;
/// Maximum characters of an alarm's description.
pub const ALARM_DESCRIPTION_MAX: usize = 1_024;

/// Returns the template as it is sent: minified.
pub fn text(template: &Value) -> String {
    // A value with text keys always serializes.
    serde_json::to_string(template).unwrap_or_default()
}

/// Returns every limit that a template, or the text that is sent, exceeds.
pub fn check(template: &Value, text: &str) -> Vec<Violation> {
    let of = |path: &'static str, most, what| (path, length(&template[path]), most, what);
    let references = text.matches("{{resolve:").count();
    let sizes = [
        ("", text.len(), INLINE_BYTES_MAX, "bytes"),
        of("Resources", RESOURCES_MAX, "resources"),
        of("Outputs", OUTPUTS_MAX, "outputs"),
        of("Parameters", PARAMETERS_MAX, "parameters"),
        ("", references, DYNAMIC_REFERENCES_MAX, "dynamic references"),
    ];
    let too_much = sizes
        .into_iter()
        .filter(|(_, size, most, _)| size > most)
        .map(|(path, size, most, what)| Violation {
            resource: String::new(),
            path: path.to_owned(),
            message: format!(
                "has {size} {what}; CloudFormation accepts at most {most}: move some to another stack"
            ),
        });
    let resources = template["Resources"].as_object().into_iter().flatten();
    let alarms = resources.filter_map(|(id, resource)| {
        let size = characters(&resource["Properties"]["AlarmDescription"]);
        (size > ALARM_DESCRIPTION_MAX).then(|| Violation {
            resource: id.clone(),
            path: "Properties.AlarmDescription".to_owned(),
            message: format!(
                "is {size} characters long; CloudWatch accepts at most {ALARM_DESCRIPTION_MAX}: move details to the runbook"
            ),
        })
    });
    too_much.chain(alarms).collect()
}

fn length(object: &Value) -> usize {
    object.as_object().map_or(0, serde_json::Map::len)
}

/// Returns the number of characters of a text, before any substitution.
fn characters(text: &Value) -> usize {
    let written = text
        .as_str()
        .or_else(|| text["Fn::Sub"].as_str())
        .or_else(|| text["Fn::Sub"][0].as_str());
    written.map_or(0, |text| text.chars().count())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(template: &Value) -> Vec<(String, String)> {
        check(template, &text(template))
            .into_iter()
            .map(|wrong| (wrong.path, wrong.message))
            .collect()
    }

    fn many(count: usize, value: &Value) -> Value {
        (0..count)
            .map(|number| (format!("N{number}"), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    #[test]
    fn each_limit_is_reported_only_when_exceeded() {
        let alarm = |length: usize| json!({ "Resources": { "Alarm": { "Properties": { "AlarmDescription": "é".repeat(length) } } } });
        let password = json!("{{resolve:secretsmanager:a}}");
        let cases = [
            (
                json!({ "Description": "x".repeat(51_181) }),
                json!({ "Description": "x".repeat(51_183) }),
                "51201 bytes",
            ),
            (
                json!({ "Resources": many(500, &json!({})) }),
                json!({ "Resources": many(501, &json!({})) }),
                "501 resources",
            ),
            (
                json!({ "Outputs": many(200, &json!({})) }),
                json!({ "Outputs": many(201, &json!({})) }),
                "201 outputs",
            ),
            (
                json!({ "Parameters": many(200, &json!({})) }),
                json!({ "Parameters": many(201, &json!({})) }),
                "201 param",
            ),
            (
                many(60, &password),
                many(61, &password),
                "61 dynamic references",
            ),
            (alarm(1_024), alarm(1_025), "1025 characters"),
        ];
        for (enough, too_much, message) in cases {
            assert_eq!(told(&enough), [], "{message}");
            let told = told(&too_much);
            assert!(
                told.len() == 1 && told[0].1.contains(message),
                "{message}: {told:?}"
            );
        }
    }
}
