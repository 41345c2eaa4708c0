//! Staff tokens: whom they may be issued for, and how long they are good.

use contract::role::ROLES;
use domain::FieldError;
use domain::access::StaffRole;
use domain::customer::NAME_MAX;
use domain::text::line;
use time::Duration;

use super::{change_order, reconcile};
use crate::ports::Source;
use crate::ports::access::StaffToken;

/// How long a token is good unless its maker says otherwise: a long working day.
pub const LIFE: Duration = Duration::hours(12);

/// Names of processes that are neither a role nor a part of one.
const PROCESSES: [&str; 4] = ["payment-gateway", "system", "memory", "haven"];

/// Makes the record of a new token.
///
/// # Errors
/// Refuses names that are not a person's; see [`actor_name`].
pub fn new_token(
    source: &impl Source,
    name: &str,
    role: StaffRole,
    life: Duration,
) -> Result<StaffToken, FieldError> {
    let name = actor_name("name", name)?;
    let now = source.now();
    // Tokens carry whole seconds.
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

/// Checks the name under which a person's acts are recorded.
///
/// # Errors
/// Refuses a name that cannot be seen or that the system records its own acts under: `customer`,
/// the slug of a role, `reconcile`, and whatever begins with `haven`.
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
        let message = format!(
            "{name:?} is a name that the system records its own acts under; use a person's name"
        );
        return Err(FieldError::new(field, message));
    }
    Ok(name)
}

/// Characters without a shape of their own: zero-width, bidirectional controls, fillers.
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
    fn a_person_s_name_is_taken_and_the_system_s_are_refused() {
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
