//! How long a text message is: the alphabet of phones (3GPP TS 23.038 section 6.2.1, the old GSM
//! 03.38).

/// Septets in one text message; a longer one is split, and each part is paid for.
pub const SEPTETS_MAX: usize = 160;

/// Of one septet each.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§\
    ¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Of two: an escape comes first.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// Septets that the text takes; `None` when a letter is not in the alphabet. The whole message
/// would then be sent in sixteen bits a letter, and 70 letters be all that fit.
pub fn septets(text: &str) -> Option<usize> {
    text.chars()
        .map(
            |letter| match (BASIC.contains(letter), EXTENDED.contains(letter)) {
                (true, _) => Some(1),
                (false, true) => Some(2),
                (false, false) => None,
            },
        )
        .sum()
}

/// Whether the text is one message.
pub fn fits(text: &str) -> bool {
    septets(text).is_some_and(|septets| septets <= SEPTETS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_its_two_times_letters() {
        // 128 places, of which one is the escape.
        assert_eq!(BASIC.chars().count(), 127);
        assert_eq!(EXTENDED.chars().count(), 10);
    }

    #[test]
    fn a_bracket_counts_twice_and_a_cup_of_coffee_is_no_letter() {
        assert_eq!(septets("Order A-047 is ready"), Some(20));
        assert_eq!(septets("[5 €]"), Some(8));
        assert_eq!(septets("caffè"), Some(5));
        assert_eq!(septets("Your \u{2615} is ready"), None);
        assert!(fits(&"a".repeat(160)) && !fits(&"a".repeat(161)) && !fits(&"~".repeat(81)));
    }
}
