//! Normalizes free text before it is counted, validated or stored.
//!
//! In normalized text, line ends are `\n` and characters are composed (Unicode NFC). Characters
//! that are invisible or that reorder their neighbors are removed. Normalization keeps control
//! characters; [`line`] and [`paragraph`] reject them.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

use crate::FieldError;
use crate::card::refuse_card_number;

const ZWNJ: char = '\u{200c}';
const ZWJ: char = '\u{200d}';
/// The base of the flags of regions such as Scotland, which are spelled in tag characters (UTS #51
/// annex C).
const BLACK_FLAG: char = '\u{1f3f4}';
const TAG_END: char = '\u{e007f}';

/// Returns `text` in normalized form, without white space at its ends. The function is idempotent.
pub fn normalize(text: &str) -> String {
    visible(text).trim().to_owned()
}

/// Returns text that was stored before texts were normalized, in the form in which it may be
/// displayed. Normalized text is not copied.
pub fn shown(text: String) -> String {
    match visible(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => shown,
    }
}

/// Returns one line for a terminal: normalized text with a space for every control character. The
/// text cannot move the cursor, change a color or start a line.
pub fn printable(text: &str) -> String {
    visible(text)
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// Returns whether a terminal displays the character. Control characters, invisible characters and
/// characters that reorder their neighbors are not printable.
pub fn is_printable(letter: char) -> bool {
    !letter.is_control() && !is_invisible(letter)
}

/// Validates one line of 1 to `max` characters, of which at least one is visible.
///
/// # Errors
/// A field error for `field` when the text is empty or too long, or has control characters or a
/// card number. A line break could otherwise add a header to a mail.
pub fn line(field: &str, text: &str, max: usize) -> Result<String, FieldError> {
    let text = normalize(text);
    if !text.chars().any(leaves_ink) {
        return Err(FieldError::new(
            field,
            if text.is_empty() {
                "is required"
            } else {
                "must have a visible character"
            },
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(FieldError::new(
            field,
            "must not contain control characters",
        ));
    }
    refuse_card_number(field, &text)?;
    counted(field, text, max)
}

/// Validates text of at most `max` characters. The text may be empty and may have line breaks and
/// tabs.
///
/// # Errors
/// A field error for `field` when the text is too long, or has other control characters or a card
/// number.
pub fn paragraph(field: &str, text: &str, max: usize) -> Result<String, FieldError> {
    let text = normalize(text);
    if text
        .chars()
        .any(|letter| letter.is_control() && !matches!(letter, '\n' | '\t'))
    {
        return Err(FieldError::new(
            field,
            "must not contain control characters",
        ));
    }
    refuse_card_number(field, &text)?;
    counted(field, text, max)
}

/// Returns the text when it has at most `max` characters.
fn counted(field: &str, text: String, max: usize) -> Result<String, FieldError> {
    if text.chars().count() > max {
        return Err(FieldError::new(
            field,
            format!("must be at most {max} characters"),
        ));
    }
    Ok(text)
}

/// Returns the normalized text without trimming. Text that is already normalized is borrowed.
fn visible(text: &str) -> Cow<'_, str> {
    // ASCII text is composed, and its only invisible characters are control characters.
    if text.is_ascii() && !text.contains('\r') {
        return Cow::Borrowed(text);
    }
    let letters = without_invisible(&with_line_feeds(text));
    let formed = if is_nfc(&letters) {
        letters
    } else {
        letters.nfc().collect()
    };
    if formed == text {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(formed)
    }
}

/// Replaces CRLF, CR, NEL and Unicode's line and paragraph separators by line feeds.
fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n")
        .replace(['\r', '\u{85}', '\u{2028}', '\u{2029}'], "\n")
}

/// Removes invisible characters. A joiner is kept between two characters that it joins, a variation
/// selector after a visible character, and tags within the flag that they spell.
fn without_invisible(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    // Joiners, selectors and flags depend on their neighbors, so other invisible characters are
    // removed first.
    let letters: Vec<char> = text
        .chars()
        .filter(|letter| is_contextual(*letter) || !is_invisible(*letter))
        .collect();
    let (mut before, mut index) = (None, 0);
    while let Some(&letter) = letters.get(index) {
        let after = letters.get(index + 1).copied();
        if letter == BLACK_FLAG {
            let tags = region_tags(&letters[index + 1..]);
            kept.extend(&letters[index..=index + tags]);
            (before, index) = (Some(letter), index + 1 + tags);
            continue;
        }
        let stays = match letter {
            // A selector after a joiner has no effect and is removed below, so this joiner would
            // join nothing.
            ZWNJ | ZWJ => {
                before.is_some_and(joins)
                    && after.is_some_and(|next| joins(next) && !is_selector(next))
            }
            // At most one selector is kept, because a run of them can hide a message.
            letter if is_selector(letter) => before.is_some_and(leaves_ink),
            letter => !is_tag(letter),
        };
        if stays {
            kept.push(letter);
            before = Some(letter);
        }
        index += 1;
    }
    kept
}

/// Returns the number of tag characters, including the end tag, that spell a region directly after
/// a black flag. Returns 0 when they spell none.
fn region_tags(behind: &[char]) -> usize {
    let spelled = behind
        .iter()
        .take_while(|letter| is_tag(**letter) && **letter != TAG_END)
        .count();
    let ends = behind.get(spelled) == Some(&TAG_END);
    if ends && (3..=6).contains(&spelled) {
        spelled + 1
    } else {
        0
    }
}

/// Returns whether a joiner may be next to the character. Joiners connect letters, marks, digits
/// and symbols, such as an emoji with its selector.
fn joins(letter: char) -> bool {
    let group = letter.general_category_group();
    let visible = matches!(
        group,
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number | GeneralCategoryGroup::Symbol
    );
    (visible && !is_blank(letter)) || group == GeneralCategoryGroup::Mark
}

/// Returns whether the character is visible by itself: a letter, a digit, punctuation or a symbol.
fn leaves_ink(letter: char) -> bool {
    let visible = matches!(
        letter.general_category_group(),
        GeneralCategoryGroup::Letter
            | GeneralCategoryGroup::Number
            | GeneralCategoryGroup::Punctuation
            | GeneralCategoryGroup::Symbol
    );
    // Private-use characters are visible with a suitable font, and people use them in their names.
    (visible && !is_blank(letter)) || letter.general_category() == GeneralCategory::PrivateUse
}

/// Returns whether the character is invisible by itself but can be part of another; see
/// [`without_invisible`].
fn is_contextual(letter: char) -> bool {
    matches!(letter, ZWNJ | ZWJ) || is_selector(letter) || is_tag(letter)
}

fn is_selector(letter: char) -> bool {
    matches!(letter, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

fn is_tag(letter: char) -> bool {
    matches!(letter, '\u{e0020}'..='\u{e007f}')
}

/// Returns whether the character is a letter or symbol without a visible shape: the fillers of
/// Hangul and Khmer, and the empty Braille pattern.
fn is_blank(letter: char) -> bool {
    matches!(
        letter,
        '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{ffa0}'
            | '\u{fffc}'
    )
}

/// Returns whether the character is invisible or only reorders others. These are Unicode's format
/// characters (with the bidirectional controls), default ignorable code points, blanks, and
/// noncharacters.
fn is_invisible(letter: char) -> bool {
    // Signs such as ARABIC NUMBER SIGN, which have the category Format but are visible before a
    // number.
    const SIGNS: [char; 11] = [
        '\u{600}', '\u{601}', '\u{602}', '\u{603}', '\u{604}', '\u{605}', '\u{6dd}', '\u{70f}',
        '\u{890}', '\u{891}', '\u{8e2}',
    ];
    if letter.is_ascii() {
        return false;
    }
    let format = letter.general_category() == GeneralCategory::Format && !SIGNS.contains(&letter);
    let ignorable = matches!(
        letter,
        '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{2065}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}'
    );
    let no_character =
        (u32::from(letter) & 0xfffe) == 0xfffe || matches!(letter, '\u{fdd0}'..='\u{fdef}');
    format || ignorable || is_selector(letter) || is_blank(letter) || no_character
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_ends_and_letters_have_one_form_before_they_are_counted() {
        assert_eq!(
            normalize("oat milk\r\nno sugar\rhot\u{2028}now"),
            "oat milk\nno sugar\nhot\nnow"
        );
        assert_eq!(normalize(" Zoe\u{308} "), "Zoë");
        assert_eq!(line("name", &"e\u{301}".repeat(10), 10), Ok("é".repeat(10)));
        assert_eq!(
            paragraph("note", &"\r\n".repeat(3), 0),
            Ok(String::new()),
            "white space at the ends does not count"
        );
        assert_eq!(paragraph("note", "a\r\nb", 3), Ok("a\nb".to_owned()));
    }

    #[test]
    fn invisible_and_reordering_characters_are_removed() {
        for hidden in [
            "\u{202e}",
            "\u{202a}",
            "\u{2066}",
            "\u{2069}",
            "\u{200e}",
            "\u{200f}",
            "\u{61c}",
            "\u{200b}",
            "\u{2060}",
            "\u{feff}",
            "\u{ad}",
            "\u{34f}",
            "\u{180e}",
            "\u{3164}",
            "\u{2800}",
            "\u{e0041}\u{e007f}",
            "\u{fe0f}\u{fe0f}",
            "\u{ffff}",
            "\u{e0001}",
            "\u{fffc}",
        ] {
            assert_eq!(
                normalize(&format!("{hidden}A{hidden} na{hidden}")).replace('\u{fe0f}', ""),
                "A na",
                "{hidden:?}"
            );
            let error = line("name", hidden, 10).expect_err("nothing to see");
            assert_eq!(error.to_string(), "name: is required", "{hidden:?}");
        }
        for unseen in ["\u{301}", "\u{301} \u{302}"] {
            assert_eq!(
                line("name", unseen, 10).expect_err(unseen).message,
                "must have a visible character"
            );
        }
    }

    #[test]
    fn joiners_selectors_and_flags_stay_where_they_mean_something() {
        for meant in [
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "\u{1f926}\u{1f3fd}\u{200d}\u{2642}\u{fe0f}",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{915}\u{94d}\u{200d}\u{937}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "\u{1f1eb}\u{1f1f7}",
            "5\u{fe0f}\u{20e3}",
        ] {
            assert_eq!(line("name", meant, 100).as_deref(), Ok(meant));
        }
        assert_eq!(
            normalize("\u{200d}Ana\u{200c} \u{200d}B\u{200d}\u{200d}o\u{200d}"),
            "Ana B\u{200d}o"
        );
        assert_eq!(
            normalize("\u{ae}\u{200c}\u{fe00}."),
            "\u{ae}\u{fe00}.",
            "a selector is nothing to join"
        );
    }

    #[test]
    fn a_terminal_gets_no_control_character() {
        let printed = printable("\u{1b}[31mred\u{9b}2J\r\nnext\u{202e}tfel\u{7f}\0");
        assert_eq!(printed, " [31mred 2J nexttfel  ");
        assert!(
            !['\u{1b}', '\u{9b}', '\u{202e}', '\n']
                .into_iter()
                .any(is_printable)
        );
        assert!("Zoë ☕ 日本".chars().all(is_printable));
    }

    #[test]
    fn stored_text_is_shown_without_harmful_characters() {
        assert_eq!(shown("Zoë\tO'Neill\n".to_owned()), "Zoë\tO'Neill\n");
        assert_eq!(shown("evil\u{202e}txt".to_owned()), "eviltxt");
    }

    proptest! {
        #[test]
        fn normalizing_again_changes_nothing(text in "\\PC*|[\u{0}-\u{2ff}\u{300}-\u{36f}\u{1100}-\u{11ff}\u{200b}-\u{2069}\u{fe00}-\u{fe0f}\u{1f300}-\u{1f3ff}\u{e0020}-\u{e0080}]{0,40}") {
            let once = normalize(&text);
            prop_assert_eq!(&normalize(&once), &once);
            prop_assert!(is_nfc(&once));
            prop_assert!(!once.chars().any(|letter| is_invisible(letter) && !is_contextual(letter)));
        }

        #[test]
        fn a_legal_line_is_shown_as_it_is(text in any::<String>()) {
            if let Ok(line) = line("name", &text, 100) {
                prop_assert!(!line.chars().any(char::is_control));
                prop_assert_eq!(printable(&line), line.clone());
                prop_assert_eq!(shown(line.clone()), line);
            }
        }
    }
}
