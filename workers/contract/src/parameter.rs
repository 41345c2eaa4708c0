//! Settings and secrets: which there are, what they mean, and what they must look like.

/// A setting that may change while the system runs; read from Parameter Store again and again.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Below the environment's parameter root.
    pub key: &'static str,
    pub about: &'static str,
    pub default: &'static str,
    /// A regular expression that CloudFormation holds the value to.
    pub pattern: &'static str,
}

pub const MAX_QUEUE_SIZE: Parameter = Parameter {
    key: "order/max_queue_size",
    about: "Orders that may wait to be confirmed before new ones are turned away",
    default: "1000",
    pattern: "^[0-9]{1,6}$",
};
pub const PROCESSING_TIMEOUT: Parameter = Parameter {
    key: "order/processing_timeout",
    about: "Seconds between two askings after an order that machines are still working on",
    default: "20",
    pattern: "^[0-9]{1,4}$",
};
pub const PREPARATION_TIMEOUT: Parameter = Parameter {
    key: "order/preparation_timeout",
    about: "Seconds that an order may wait for the bar, first to be begun and then to be ready, before staff are told",
    default: "600",
    pattern: "^[0-9]{1,6}$",
};
pub const COLLECTION_TIMEOUT: Parameter = Parameter {
    key: "order/collection_timeout",
    about: "Seconds that a ready order may wait to be collected before its customer is told",
    default: "900",
    pattern: "^[0-9]{1,6}$",
};
pub const UNCOLLECTED_TIMEOUT: Parameter = Parameter {
    key: "order/uncollected_timeout",
    about: "Seconds after that until an order that nobody has collected is closed",
    default: "7200",
    pattern: "^[0-9]{1,6}$",
};
pub const EMAIL_ENABLED: Parameter = Parameter {
    key: "notification/email_enabled",
    about: "Whether e-mails are sent",
    default: "true",
    pattern: "^(true|false)$",
};
pub const SMS_ENABLED: Parameter = Parameter {
    key: "notification/sms_enabled",
    about: "Whether text messages are sent to customers who want them; else they get an e-mail",
    default: "false",
    pattern: "^(true|false)$",
};

pub const PARAMETERS: &[&Parameter] = &[
    &MAX_QUEUE_SIZE,
    &PROCESSING_TIMEOUT,
    &PREPARATION_TIMEOUT,
    &COLLECTION_TIMEOUT,
    &UNCOLLECTED_TIMEOUT,
    &EMAIL_ENABLED,
    &SMS_ENABLED,
];

/// A secret that Secrets Manager makes and keeps; a container gets it by reference.
#[derive(Debug, PartialEq, Eq)]
pub struct Secret {
    pub slug: &'static str,
    pub about: &'static str,
    /// The environment variable a process finds it in.
    pub variable: &'static str,
}

impl Secret {
    /// Returns the secret's name in Secrets Manager.
    pub fn id(&self, environment: &str) -> String {
        format!("{}/{}", crate::parameter_root(environment), self.slug)
    }
}

pub const PAYMENT_WEBHOOK: Secret = Secret {
    slug: "payment-webhook",
    about: "Signs what the payment gateway tells us",
    variable: "PAYMENT_WEBHOOK_SECRET",
};
pub const SIGNING_KEY: Secret = Secret {
    slug: "signing-key",
    about: "Signs the tokens of staff",
    variable: "HAVEN_SIGNING_KEY",
};

/// Generated like every secret here, for the simulated gateway. With a real card processor its
/// value is replaced by the key that the processor issued; the roles read the new value within a
/// minute.
pub const PAYMENT_API: Secret = Secret {
    slug: "payment-api-key",
    about: "Authenticates us to the payment gateway",
    variable: "PAYMENT_API_KEY",
};

pub const SECRETS: &[&Secret] = &[&PAYMENT_WEBHOOK, &SIGNING_KEY, &PAYMENT_API];
