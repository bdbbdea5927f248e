//! The name somebody probably meant.

/// The one of `names` that is nearest to `word`; `None` when all are too far away to be meant.
pub(crate) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(WORD_CHARACTERS_MAX).collect();
    let near = |name: &&str| (distance(&word, name), name.len());
    let nearest = names.into_iter().min_by_key(near)?;
    (distance(&word, nearest) <= word.len().max(3) / 3).then_some(nearest)
}

/// Longer words are cut: nobody's name is longer.
const WORD_CHARACTERS_MAX: usize = 64;

/// Characters to put in, leave out or replace, and neighbours to exchange, to get from one to the other.
fn distance(word: &[char], name: &str) -> usize {
    let name: Vec<char> = name.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=word.len()).collect();
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    for (line, there) in name.iter().enumerate() {
        let mut next = vec![line + 1];
        for (column, here) in word.iter().enumerate() {
            let replaced = at(&row, column) + usize::from(here != there);
            let mut least = replaced.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            let is_exchanged =
                column > 0 && line > 0 && word.get(column - 1) == Some(there) && name.get(line - 1) == Some(here);
            if is_exchanged {
                least = least.min(at(&before, column - 1) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    at(&row, word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slips_are_understood_and_other_words_are_not() {
        let names = ["tag", "grant", "rfm.monetary", "rfm.frequency", "and"];
        for (word, meant) in
            [("tags", "tag"), ("AND", "and"), ("rfm.monetry", "rfm.monetary"), ("gratn", "grant"), ("an", "and")]
        {
            assert_eq!(nearest(word, names), Some(meant), "{word}");
        }
        for word in ["", "city", "xyz", &"a".repeat(1_000)] {
            assert_eq!(nearest(word, names), None, "{word}");
        }
    }
}
