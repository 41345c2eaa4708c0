//! Live parameters and secrets: their names, meaning, defaults and permitted values.

/// A live parameter: a value in Parameter Store that roles read again while they run.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The key below the environment's parameter root.
    pub key: &'static str,
    /// One sentence for templates and help texts, with the unit.
    pub about: &'static str,
    /// The value of a new environment.
    pub default: &'static str,
    /// A regular expression that CloudFormation requires the value to match.
    pub pattern: &'static str,
}

/// The limit of unconfirmed orders.
pub const MAX_QUEUE_SIZE: Parameter = Parameter {
    key: "order/max_queue_size",
    about: "Unconfirmed orders at which the shop refuses new orders",
    default: "1000",
    pattern: "^[0-9]{1,6}$",
};
/// The pause before the sweeper sends a command again.
pub const PROCESSING_TIMEOUT: Parameter = Parameter {
    key: "order/processing_timeout",
    about: "Seconds after which the sweeper repeats the pending command of an unfinished order",
    default: "20",
    pattern: "^[0-9]{1,4}$",
};
/// The time after which staff are notified of an order.
pub const PREPARATION_TIMEOUT: Parameter = Parameter {
    key: "order/preparation_timeout",
    about: "Seconds that an order may wait, first to be started and then to be ready, before staff are notified",
    default: "600",
    pattern: "^[0-9]{1,6}$",
};
/// The time after which a customer is notified to collect an order.
pub const COLLECTION_TIMEOUT: Parameter = Parameter {
    key: "order/collection_timeout",
    about: "Seconds that a ready order may wait for pickup before its customer is notified",
    default: "900",
    pattern: "^[0-9]{1,6}$",
};
/// The further time after which an order that was not collected is completed.
pub const UNCOLLECTED_TIMEOUT: Parameter = Parameter {
    key: "order/uncollected_timeout",
    about: "Further seconds after which an order that was not picked up is completed",
    default: "7200",
    pattern: "^[0-9]{1,6}$",
};
/// The switch for e-mails.
pub const EMAIL_ENABLED: Parameter = Parameter {
    key: "notification/email_enabled",
    about: "Whether emails are sent",
    default: "true",
    pattern: "^(true|false)$",
};
/// The switch for text messages.
pub const SMS_ENABLED: Parameter = Parameter {
    key: "notification/sms_enabled",
    about: "Whether text messages are sent to customers who chose them; otherwise they get an email",
    default: "false",
    pattern: "^(true|false)$",
};

/// Every live parameter.
pub const PARAMETERS: &[&Parameter] = &[
    &MAX_QUEUE_SIZE,
    &PROCESSING_TIMEOUT,
    &PREPARATION_TIMEOUT,
    &COLLECTION_TIMEOUT,
    &UNCOLLECTED_TIMEOUT,
    &EMAIL_ENABLED,
    &SMS_ENABLED,
];

/// A secret that Secrets Manager generates and stores. A container receives it by reference.
#[derive(Debug, PartialEq, Eq)]
pub struct Secret {
    /// The name below the environment's parameter root.
    pub slug: &'static str,
    /// The purpose of the secret.
    pub about: &'static str,
    /// The environment variable of the process.
    pub variable: &'static str,
}

impl Secret {
    /// Returns the name of the secret in Secrets Manager.
    pub fn id(&self, environment: &str) -> String {
        format!("{}/{}", crate::parameter_root(environment), self.slug)
    }
}

/// The key of the signatures on webhooks.
pub const PAYMENT_WEBHOOK: Secret = Secret {
    slug: "payment-webhook",
    about: "Signs the webhooks of the payment gateway",
    variable: "PAYMENT_WEBHOOK_SECRET",
};
/// The key of the signatures on staff tokens.
pub const SIGNING_KEY: Secret = Secret {
    slug: "signing-key",
    about: "Signs staff tokens",
    variable: "HAVEN_SIGNING_KEY",
};

/// The API key of the payment gateway. Secrets Manager generates a value for the simulated gateway.
/// With a real card processor, an operator replaces the value by the processor's key. Roles read
/// the new value within a minute.
pub const PAYMENT_API: Secret = Secret {
    slug: "payment-api-key",
    about: "Authenticates the roles to the payment gateway",
    variable: "PAYMENT_API_KEY",
};

/// Every secret.
pub const SECRETS: &[&Secret] = &[&PAYMENT_WEBHOOK, &SIGNING_KEY, &PAYMENT_API];
