//! Notification channels, and which of them a customer wants.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

/// A way to notify one person. The page of the order is not a channel, because nothing shows
/// whether the customer looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Channel {
    Email,
    /// A text message to a phone.
    Sms,
}

crate::named_variants!(Channel);

/// The channels that a customer chose with an order. They do not change after the order is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    pub email: bool,
    pub sms: bool,
}

impl Default for Preferences {
    fn default() -> Self {
        Preferences {
            email: true,
            sms: false,
        }
    }
}

impl Preferences {
    /// Returns the channels for a notification, the preferred one first. One of them is used.
    ///
    /// A customer who asked for texts gets texts. E-mail is the fallback even when it was not asked
    /// for, because the notification is about the customer's own order. A customer who did not ask
    /// for texts gets none, because texts need consent. The list is empty when the customer wants
    /// neither.
    pub const fn channels(self) -> &'static [Channel] {
        match (self.email, self.sms) {
            (_, true) => &[Channel::Sms, Channel::Email],
            (true, false) => &[Channel::Email],
            (false, false) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_messages_need_the_consent_of_the_customer() {
        for email in [true, false] {
            let without = Preferences { email, sms: false };
            assert!(!without.channels().contains(&Channel::Sms));
            let with = Preferences { email, sms: true };
            assert_eq!(with.channels(), [Channel::Sms, Channel::Email]);
        }
        assert_eq!(Preferences::default().channels(), [Channel::Email]);
    }

    #[test]
    fn a_channel_is_found_by_its_code() {
        assert!(
            Channel::ALL
                .iter()
                .all(|channel| Channel::from_code(channel.code()) == Some(*channel))
        );
        assert_eq!(Channel::from_code("pigeon"), None);
    }
}
