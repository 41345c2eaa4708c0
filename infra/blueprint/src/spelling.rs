//! Suggestions for mistyped names.

use strsim::levenshtein;

/// Returns the nearest known name, if it is near enough to be the intended one.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let mistakes = known.into_iter().map(|known| {
        (
            levenshtein(&name.to_lowercase(), &known.to_lowercase()),
            known,
        )
    });
    mistakes
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_similar_names_are_suggested() {
        assert_eq!(
            nearest("OrderQueue", ["OrdersQueue", "PaymentsQueue"]),
            Some("OrdersQueue")
        );
        assert_eq!(nearest("prd", ["dev", "prod"]), Some("prod"));
        assert_eq!(nearest("kitchen", ["dev", "prod"]), None);
    }
}
