//! Suggestions for mistyped names.

/// Returns the nearest known name, if it is near enough to be the intended one.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let mistakes = known
        .into_iter()
        .map(|known| (distance(&name.to_lowercase(), &known.to_lowercase()), known));
    mistakes
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Returns the Levenshtein distance: the number of letters to change, add or remove.
pub fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, candidate) in other.iter().enumerate() {
            let changed = diagonal + usize::from(*candidate != letter);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_something_else_is_not() {
        assert_eq!(
            nearest("OrderQueue", ["OrdersQueue", "PaymentsQueue"]),
            Some("OrdersQueue")
        );
        assert_eq!(nearest("prd", ["dev", "prod"]), Some("prod"));
        assert_eq!(nearest("kitchen", ["dev", "prod"]), None);
    }
}
