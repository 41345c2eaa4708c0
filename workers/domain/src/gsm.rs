//! Counts the length of a text message in the GSM 7-bit default alphabet (3GPP TS 23.038 section
//! 6.2.1, formerly GSM 03.38).

/// Septets in one text message. A longer message is split, and each part is billed.
pub const SEPTETS_MAX: usize = 160;

/// Characters that take one septet.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§\
    ¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Characters that take two septets, the first of which is an escape.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// Returns the number of septets that the text takes. `None` when a character is not in the
/// alphabet: the whole message would then be sent as UCS-2, with at most 70 characters.
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

/// Returns whether the text fits into one text message.
pub fn fits(text: &str) -> bool {
    septets(text).is_some_and(|septets| septets <= SEPTETS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_its_two_times_letters() {
        // The alphabet has 128 positions, and one of them is the escape.
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
