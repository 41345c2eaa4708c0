//! Decodes the authorization failure messages of AWS. Some services encode the details, so that
//! only callers with the right to `sts:DecodeAuthorizationMessage` can read them.

use serde_json::Value;

use crate::aws_failure::AwsFailure;
use crate::target::Target;

const MARK: &str = "Encoded authorization failure message:";

/// Returns the reason with its encoded part decoded, if these credentials allow that.
pub async fn decoded(target: &Target, reason: &str) -> String {
    let Some(encoded) = encoded(reason) else {
        return reason.to_owned();
    };
    let client = aws_sdk_sts::Client::new(&target.config);
    let words = match client
        .decode_authorization_message()
        .encoded_message(encoded)
        .send()
        .await
    {
        Ok(said) => {
            let said = said.decoded_message().unwrap_or_default().to_owned();
            in_words(&said).unwrap_or(said)
        }
        Err(error) => format!(
            "the refused call is encoded, and could not be decoded: {}",
            AwsFailure::of(&error)
        ),
    };
    reason
        .replace(encoded, "")
        .replace(MARK, "")
        .trim()
        .to_owned()
        + " "
        + &words
}

fn encoded(reason: &str) -> Option<&str> {
    reason.split_once(MARK)?.1.split_whitespace().next()
}

/// Describes a decoded message: the principal, the action, the resource and the reason.
fn in_words(decoded: &str) -> Option<String> {
    let decoded: Value = serde_json::from_str(decoded).ok()?;
    let context = &decoded["context"];
    let (action, resource) = (
        context["action"].as_str()?,
        context["resource"].as_str().unwrap_or("*"),
    );
    let who = context["principal"]["arn"].as_str().unwrap_or("the caller");
    let because = match decoded["explicitDeny"].as_bool() {
        Some(true) => "a policy denies it",
        _ => "no policy allows it",
    };
    Some(format!("({who} may not {action} on {resource}: {because})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoded_message_is_found() {
        let reason = "You are not authorized. Encoded authorization failure message: abc-_123 (Service: Ec2)";
        assert_eq!(encoded(reason), Some("abc-_123"));
        assert_eq!(encoded("You are not authorized."), None);
    }

    #[test]
    fn a_denied_call_is_reported_with_principal_action_and_reason() {
        let decoded = r#"{"allowed":false,"explicitDeny":false,"context":{"principal":{"arn":"arn:aws:iam::1:role/r"},
            "action":"ec2:CreateVpc","resource":"arn:aws:ec2:eu-west-1:1:vpc/*"}}"#;
        let words = in_words(decoded).expect("it is one");
        assert_eq!(
            words,
            "(arn:aws:iam::1:role/r may not ec2:CreateVpc on arn:aws:ec2:eu-west-1:1:vpc/*: no policy allows it)"
        );
        assert!(
            in_words(&decoded.replace(
                "t\":false,\"explicitDeny\":false",
                "\":0,\"explicitDeny\":true"
            ))
            .is_some()
        );
        assert_eq!(in_words("no JSON"), None);
    }
}
