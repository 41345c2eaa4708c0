//! Parameters, secrets and addresses in Parameter Store and Secrets Manager.

use contract::address::Address;
use contract::parameter::{PARAMETERS, SECRETS};
use contract::parameter_root;
use serde_json::json;

use crate::environment::Environment;
use crate::kind;
use crate::names::{Shared, export_of};
use crate::template::{Keep, Template, reference};

/// Returns the stack with the parameters, secrets and addresses.
pub fn parameters(environment: &Environment) -> Template<'_> {
    let mut template = Template::new(environment, "Brew Haven: settings, secrets and addresses");
    let root = parameter_root(&environment.name);
    for parameter in PARAMETERS {
        let words = format!("{} setting", parameter.key.replace('_', "-"));
        let properties = json!({
            "Name": format!("{root}/{}", parameter.key),
            "Type": "String",
            "Value": parameter.default,
            "AllowedPattern": parameter.pattern,
            "Description": parameter.about,
        });
        template.add(&words, kind::SSM_PARAMETER, properties);
    }
    for secret in SECRETS {
        let properties = json!({
            "Name": format!("{root}/{}", secret.slug),
            "Description": secret.about,
            "KmsKeyId": Shared::SecretsKey.import(environment),
            "GenerateSecretString": { "PasswordLength": 48, "ExcludePunctuation": true },
        });
        let words = format!("{} secret", secret.slug);
        let id = template.add_kept(&words, kind::SECRET, properties, Keep::Data);
        let why = "Two parties share the secret and change it together, as a runbook describes";
        template.waive_public(&id, &["SECRETSMANAGER_ROTATION_ENABLED_CHECK"], why);
        template.waive(&id, &["SECRET-2"], why);
        Shared::export_secret(&mut template, secret, reference(&id));
    }
    for address in Address::all() {
        let words = format!("{} address", address.parameter());
        let properties = json!({
            "Name": format!("{root}/{}", address.parameter()),
            "Type": "String",
            "Value": { "Fn::ImportValue": export_of(environment, address) },
            "Description": format!("Passed to processes as {}", address.variable()),
        });
        template.add(&words, kind::SSM_PARAMETER, properties);
    }
    template
}
