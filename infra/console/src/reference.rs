//! Names that people shorten: causes of dead letters, order ids and traces, by a unique prefix.

use crate::error::{Failure, nearest};

/// At most this many candidates are listed.
const LISTED: usize = 10;

/// Returns the one item whose name is `given` or starts with it. Letters count in either case.
///
/// # Errors
/// A failure that exits with 2 when no name matches, with the most similar one; a usage failure
/// with the candidates when several match, or when `given` is empty.
///
/// ```
/// use haven_console::reference::resolve;
/// let causes = ["177750fb39f3", "d9d61c00811e"];
/// assert_eq!(resolve("cause", "d9d6", &causes, |cause| cause).expect("unique"), &causes[1]);
/// ```
pub fn resolve<'a, T>(
    kind: &str,
    given: &str,
    items: &'a [T],
    name: impl Fn(&T) -> &str,
) -> Result<&'a T, Failure> {
    let wanted = given.to_ascii_lowercase();
    let matching = |item: &&T| name(item).to_ascii_lowercase().starts_with(&wanted);
    if let Some(exact) = items
        .iter()
        .find(|item| name(item).eq_ignore_ascii_case(given))
    {
        return Ok(exact);
    }
    if given.is_empty() {
        let message = format!("`{given}` is too short for a prefix of a {kind}");
        return Err(Failure::usage(message).tip("give at least 1 characters"));
    }
    let found: Vec<&T> = items.iter().filter(matching).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let failure = Failure::not_found(format!("no {kind} matches `{given}`"));
            Err(match nearest(given, items.iter().map(&name)) {
                Some(alike) => failure.tip(format!("did you mean `{alike}`?")),
                None => failure,
            })
        }
        several => {
            let message = format!("`{given}` matches {} {kind}s", several.len());
            let listed = several.iter().take(LISTED).map(|item| name(item));
            let mut listed = listed.collect::<Vec<_>>().join(", ");
            if several.len() > LISTED {
                listed += &format!(", and {} more", several.len() - LISTED);
            }
            Err(Failure::usage(message)
                .code("ambiguous")
                .tip(format!("give more of one of {listed}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(given: &str) -> Result<&'static str, Failure> {
        const CAUSES: [&str; 3] = ["d9d61c00811e", "d9d6ffffffff", "177750fb39f3"];
        resolve("cause", given, &CAUSES, |cause| cause).copied()
    }

    #[test]
    fn a_unique_prefix_or_the_whole_name_is_enough() {
        for (given, expected) in [
            ("17", "177750fb39f3"),
            ("D9D61", "d9d61c00811e"),
            ("d9d6ffffffff", "d9d6ffffffff"),
        ] {
            assert_eq!(cause(given).expect("unique"), expected);
        }
        // A whole name that is also the prefix of another one.
        assert_eq!(
            *resolve("queue", "a", &["ab", "a"], |name| name).expect("exact"),
            "a"
        );
    }

    #[test]
    fn failures_suggest_the_nearest_name() {
        let of = |given| {
            let failure = cause(given).expect_err("none");
            (
                failure.exit.code(),
                failure.to_string(),
                failure.tip.unwrap_or_default(),
            )
        };
        assert_eq!(
            of("d9d6"),
            (
                64,
                "`d9d6` matches 2 causes".to_owned(),
                "give more of one of d9d61c00811e, d9d6ffffffff".to_owned()
            )
        );
        assert_eq!(
            of("177750fb39f4"),
            (
                2,
                "no cause matches `177750fb39f4`".to_owned(),
                "did you mean `177750fb39f3`?".to_owned()
            )
        );
        assert_eq!(
            of("zz"),
            (2, "no cause matches `zz`".to_owned(), String::new())
        );
        assert_eq!(
            of(""),
            (
                64,
                "`` is too short for a prefix of a cause".to_owned(),
                "give at least 1 characters".to_owned()
            )
        );
    }
}
