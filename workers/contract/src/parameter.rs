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

/// Declares the live parameters, and the list of them. A parameter is one row: its key, its
/// default, its pattern and its meaning.
macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident $key:literal $default:literal $pattern:literal
        $about:literal;)*) => {
        $($(#[$doc])*
        pub const $name: Parameter = Parameter {
            key: $key,
            about: $about,
            default: $default,
            pattern: $pattern,
        };)*

        /// Every live parameter.
        pub const PARAMETERS: &[&Parameter] = &[$(&$name),*];
    };
}

parameters! {
    /// The limit of unconfirmed orders.
    MAX_QUEUE_SIZE "order/max_queue_size" "1000" "^[0-9]{1,6}$"
        "Unconfirmed orders at which the shop refuses new orders";
    /// The pause before the sweeper sends a command again.
    PROCESSING_TIMEOUT "order/processing_timeout" "20" "^[0-9]{1,4}$"
        "Seconds after which the sweeper repeats the pending command of an unfinished order";
    /// The time after which staff are notified of an order.
    PREPARATION_TIMEOUT "order/preparation_timeout" "600" "^[0-9]{1,6}$"
        "Seconds that an order may wait, first to be started and then to be ready, before staff are notified";
    /// The time after which a customer is notified to collect an order.
    COLLECTION_TIMEOUT "order/collection_timeout" "900" "^[0-9]{1,6}$"
        "Seconds that a ready order may wait for pickup before its customer is notified";
    /// The further time after which an order that was not collected is completed.
    UNCOLLECTED_TIMEOUT "order/uncollected_timeout" "7200" "^[0-9]{1,6}$"
        "Further seconds after which an order that was not picked up is completed";
    /// The switch for e-mails.
    EMAIL_ENABLED "notification/email_enabled" "true" "^(true|false)$"
        "Whether emails are sent";
    /// The switch for text messages.
    SMS_ENABLED "notification/sms_enabled" "false" "^(true|false)$"
        "Whether text messages are sent to customers who chose them; otherwise they get an email";
}

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
