//! Staff tokens: the names for which they may be issued, and their lifetime.

use contract::role::ROLES;
use domain::FieldError;
use domain::access::StaffRole;
use domain::customer::NAME_MAX;
use domain::text::line;
use time::Duration;

use super::{change_order, reconcile};
use crate::ports::Source;
use crate::ports::access::StaffToken;

/// The default lifetime of a token: a long working day.
pub const LIFE: Duration = Duration::hours(12);

/// Names of processes that are not roles. No person may have such a name.
const PROCESSES: [&str; 4] = ["payment-gateway", "system", "memory", "haven"];

/// Creates the record of a new token.
///
/// # Errors
/// A field error when [`actor_name`] rejects the name.
pub fn new_token(
    source: &impl Source,
    name: &str,
    role: StaffRole,
    life: Duration,
) -> Result<StaffToken, FieldError> {
    let name = actor_name("name", name)?;
    let now = source.now();
    // Tokens contain times in whole seconds.
    let issued_at = now.replace_nanosecond(0).unwrap_or(now);
    Ok(StaffToken {
        id: source.uuid(),
        name,
        role,
        issued_at,
        expires_at: issued_at + life,
        revoked_at: None,
    })
}

/// Validates the name under which a person's acts are recorded.
///
/// # Errors
/// A field error for a name with invisible characters, and for a name under which the system
/// records its own acts. These are `customer`, `reconcile`, the slugs of roles, the names of other
/// processes, and names whose first word is `haven`.
pub fn actor_name(field: &str, text: &str) -> Result<String, FieldError> {
    let name = line(field, text, NAME_MAX)?;
    if name.chars().any(is_invisible) {
        return Err(FieldError::new(
            field,
            "must not contain invisible characters",
        ));
    }
    let plain = name
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase();
    let is_systems = plain == change_order::CUSTOMER
        || plain == reconcile::ACTOR
        || PROCESSES.contains(&plain.as_str())
        || plain.starts_with("haven ")
        || ROLES
            .iter()
            .any(|role| role.slug == plain.replace(' ', "-"));
    if is_systems {
        let message = format!("{name:?} is reserved for the system; use the name of a person");
        return Err(FieldError::new(field, message));
    }
    Ok(name)
}

/// Returns whether the character is invisible: zero-width characters, bidirectional controls,
/// fillers.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{2800}'
    ) || matches!(letter, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}')
        || matches!(letter, '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_accepted_and_names_of_the_system_refused() {
        for name in [
            "Ana",
            " Ana Lima ",
            "local staff",
            "barista at the door",
            "Zoë",
            "Haveneer",
            "customer care",
        ] {
            assert_eq!(
                actor_name("name", name).as_deref(),
                Ok(name.trim()),
                "{name}"
            );
        }
        let roles = ROLES.iter().map(|role| role.slug.to_owned());
        let others = [
            "customer",
            "reconcile",
            "haven up",
            "haven dlq",
            "Haven Up",
            "haven",
            "CUSTOMER",
            "Order Worker",
        ];
        let invisible = [
            "",
            "   ",
            "\u{200b}",
            "\u{2800}\u{3164}",
            "A\nna",
            "cust\u{200d}omer",
        ];
        for name in roles.chain(others.into_iter().chain(invisible).map(str::to_owned)) {
            assert_eq!(
                actor_name("name", &name).map_err(|error| error.field),
                Err("name".to_owned()),
                "{name:?}"
            );
        }
    }
}
