//! Suggests the right name for a misspelled one.

use super::table::{Row, TABLE};

/// Returns the setting that a name resembles, or that has a flag of this name.
pub(super) fn similar_setting(name: &str) -> Option<&'static Row> {
    let spelled = name.to_ascii_lowercase().replace('-', "_");
    let is_flag = |flag: &str| flag.trim_start_matches('-').replace('-', "_") == spelled;
    let by_flag = TABLE.iter().find(|row| row.flags.iter().any(|flag| is_flag(flag)));
    by_flag.or_else(|| nearest(&spelled, TABLE.iter().map(|row| row.name)).and_then(Row::named))
}

/// Returns the one of `names` that is closest to `word`, if at most a third of its letters differ.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (distance(word, name), name))
        .filter(|(distance, name)| *distance * 3 <= name.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Returns at most three of `names`, the closest to `word` first.
pub fn closest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| distance(word, name));
    names.truncate(3);
    names
}

/// Joins candidates for "did you mean ...?": `a`, `a or b`, `a, b or c`.
pub fn one_of(candidates: &[&str]) -> String {
    match candidates {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Returns the edit distance of `a` and `b`, with swapped neighbours as one edit (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let changed = row[j] + usize::from(a[i] != b[j]);
            next[j + 1] = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        before = row;
        row = next;
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{closest, distance, nearest, one_of};

    #[test]
    fn letters_are_put_in_left_out_changed_and_swapped() {
        for (a, b, expected) in
            [("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "xbcd", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn at_most_three_candidates_are_named_and_the_closest_first() {
        let names = ["worker-tmp-dir", "workers-min", "worker-class", "workers"];
        let closest = closest("worker", names.into_iter());
        assert_eq!(closest, ["workers", "workers-min", "worker-class"]);
        assert_eq!(one_of(&closest), "workers, workers-min or worker-class");
        assert_eq!(one_of(&closest[..1]), "workers");
    }

    #[test]
    fn a_word_too_far_away_has_no_nearest() {
        let names = || ["bind", "workers"].into_iter();
        assert_eq!(nearest("worker", names()), Some("workers"));
        assert_eq!(nearest("colour", names()), None);
    }
}
