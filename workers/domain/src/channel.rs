//! The ways in which a customer can be told something, and which of them the customer wants.

use serde::{Deserialize, Serialize};

/// A way to reach one person. The order's page is none: nobody knows whether it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Email,
    /// A text message to a phone.
    Sms,
}

impl Channel {
    pub const ALL: [Channel; 2] = [Channel::Email, Channel::Sms];

    pub const fn code(self) -> &'static str {
        match self {
            Channel::Email => "email",
            Channel::Sms => "sms",
        }
    }

    pub fn from_code(code: &str) -> Option<Channel> {
        Channel::ALL
            .into_iter()
            .find(|channel| channel.code() == code)
    }
}

/// What a customer asked for with an order. It stays as it was then.
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
    /// The channels that a notice may take, best first; it takes one. Who asked for texts gets
    /// texts, and an e-mail only in place of one: it is about their own order, and better than
    /// nothing. Who did not ask for texts gets none: that takes consent. Who wants neither is told
    /// nothing.
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
    fn nobody_is_texted_who_did_not_ask_for_it() {
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
