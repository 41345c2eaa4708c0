//! Makes links and addresses in user input harmless before the text appears in a mail or a text
//! message.
//!
//! Mail programs turn everything that looks like a link into a link. Without this module, a
//! customer with the name `win.example.com` and the e-mail address of a victim could send a link
//! from our servers.

/// Returns the text with brackets wherever a mail program or a phone would create a link.
///
/// `example.com` becomes `example[.]com`, `ana@example.com` becomes `ana[@]example[.]com`, and
/// `https://` becomes `https[:]//`. Abbreviations (`J.R.`), prices and quantities do not change.
pub fn defang(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut written = String::with_capacity(text.len());
    for (index, &letter) in letters.iter().enumerate() {
        let (before, after) = (&letters[..index], &letters[index + 1..]);
        let links = match letter {
            _ if is_dot(letter) => is_within_host(before, after),
            '@' | '\u{ff20}' => {
                before.last().is_some_and(|one| !one.is_whitespace()) && starts_word(after)
            }
            ':' | '\u{ff1a}' => {
                after.starts_with(&['/', '/']) || (names_scheme(before) && starts_word(after))
            }
            _ => false,
        };
        if links {
            written.extend(['[', letter, ']']);
        } else {
            written.push(letter);
        }
    }
    written
}

/// Returns whether browsers treat the character as a full stop in a host name (RFC 3490 section
/// 3.1).
fn is_dot(letter: char) -> bool {
    matches!(letter, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
}

/// Returns whether the character can be part of a label of a host name.
fn is_label(letter: &char) -> bool {
    letter.is_alphanumeric() || *letter == '-'
}

/// Returns whether the text starts with a letter or a digit.
fn starts_word(after: &[char]) -> bool {
    after.first().is_some_and(|letter| letter.is_alphanumeric())
}

/// Returns whether a dot at this position separates the labels of a host name or the parts of an
/// IPv4 address.
fn is_within_host(before: &[char], after: &[char]) -> bool {
    if !before.last().is_some_and(is_label) || !starts_word(after) {
        return false;
    }
    let label: Vec<&char> = after.iter().take_while(|letter| is_label(letter)).collect();
    // No top-level domain has only one letter, and none consists of digits.
    let is_name = label.len() >= 2 && label.iter().any(|letter| letter.is_alphabetic());
    let is_part = |letter: &&char| letter.is_ascii_digit() || is_dot(**letter);
    let numbers = before
        .iter()
        .rev()
        .take_while(is_part)
        .chain(after.iter().take_while(is_part));
    is_name || numbers.filter(|letter| is_dot(**letter)).count() == 2
}

/// Returns whether the text before a colon ends with a URL scheme that needs no slashes.
fn names_scheme(before: &[char]) -> bool {
    const SCHEMES: [&str; 6] = ["mailto", "tel", "sms", "javascript", "data", "facetime"];
    let word: String = before
        .iter()
        .rev()
        .take_while(|letter| letter.is_ascii_alphabetic())
        .collect();
    let word: String = word.chars().rev().collect::<String>().to_ascii_lowercase();
    SCHEMES.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_look_like_links_are_defanged() {
        for (typed, written) in [
            ("example.com", "example[.]com"),
            (
                "Win at https://win.example.com/now?x=1",
                "Win at https[:]//win[.]example[.]com/now?x=1",
            ),
            ("ana@example.com", "ana[@]example[.]com"),
            ("www.example.co.uk.", "www[.]example[.]co[.]uk."),
            ("mailto:ana", "mailto[:]ana"),
            (
                "TEL:+15550100123 tel:15550100123",
                "TEL:+15550100123 tel[:]15550100123",
            ),
            ("192.168.0.1/x", "192[.]168[.]0[.]1/x"),
            ("b\u{fc}cher.example", "b\u{fc}cher[.]example"),
            (
                "\u{4f8b}\u{3048}\u{3002}\u{30c6}\u{30b9}\u{30c8}",
                "\u{4f8b}\u{3048}[\u{3002}]\u{30c6}\u{30b9}\u{30c8}",
            ),
            ("xn--bcher-kva.xn--zckzah", "xn--bcher-kva[.]xn--zckzah"),
            ("//example.com:443", "//example[.]com:443"),
        ] {
            assert_eq!(defang(typed), written, "{typed}");
        }
    }

    #[test]
    fn words_stay_as_they_are() {
        for text in [
            "Ana",
            "J.R. Smith",
            "Dr. No",
            "2.5 shots, 1.50 more",
            "no sugar... thanks",
            "milk: oat",
            "Zo\u{eb} & co.",
            "@ 8:30",
            "3 p.m.",
        ] {
            assert_eq!(defang(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_host_survives(name in "[a-z]{1,10}", tld in "[a-z]{2,6}", around in "[ ,(]?") {
            let host = format!("{name}.{tld}");
            let written = defang(&format!("{around}{host}{around} http://{host} x@{host}"));
            prop_assert!(!written.contains(&host) && !written.contains("://") && !written.contains("x@"), "{written}");
        }
    }
}
