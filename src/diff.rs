//! What differs between two texts, in the form that `diff -u` gives it.

/// Beyond this many pairs of lines the middle is shown as replaced whole: to compare them all would take too long.
const PAIRS: usize = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The differences with `context` lines around each; empty when the texts are the same.
pub fn unified(old_name: &str, new_name: &str, old: &str, new: &str, context: usize) -> String {
    if old == new {
        return String::new();
    }
    let lines = compare(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let mut out = format!("--- {old_name}\n+++ {new_name}\n");
    let changed: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_))).map(|(at, _)| at).collect();
    let mut hunks: Vec<(usize, usize)> = Vec::new();
    for at in changed {
        let (begin, end) = (at.saturating_sub(context), (at + context + 1).min(lines.len()));
        match hunks.last_mut() {
            Some((_, last)) if begin <= *last => *last = end,
            _ => hunks.push((begin, end)),
        }
    }
    for (begin, end) in hunks {
        let before = |wanted: fn(&Line<'_>) -> bool, upto: &[Line<'_>]| upto.iter().filter(|line| wanted(line)).count();
        let is_old = |line: &Line<'_>| !matches!(line, Line::New(_));
        let is_new = |line: &Line<'_>| !matches!(line, Line::Gone(_));
        let (old_count, new_count) = (before(is_old, &lines[begin..end]), before(is_new, &lines[begin..end]));
        // A side without lines is said to be at the line before.
        let first = |before: usize, count: usize| if count == 0 { before } else { before + 1 };
        out.push_str(&format!(
            "@@ -{},{old_count} +{},{new_count} @@\n",
            first(before(is_old, &lines[..begin]), old_count),
            first(before(is_new, &lines[..begin]), new_count),
        ));
        for line in &lines[begin..end] {
            let (mark, text) = match line {
                Line::Same(text) => (' ', text),
                Line::Gone(text) => ('-', text),
                Line::New(text) => ('+', text),
            };
            out.push_str(&format!("{mark}{text}\n"));
        }
    }
    out
}

/// The longest common subsequence, after what is the same at both ends was taken off.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(left, right)| left == right).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(left, right)| left == right).count();
    let (left, right) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut out: Vec<Line<'a>> = old[..head].iter().map(|line| Line::Same(line)).collect();
    if left.len().saturating_mul(right.len()) > PAIRS {
        out.extend(left.iter().map(|line| Line::Gone(line)));
        out.extend(right.iter().map(|line| Line::New(line)));
    } else {
        // lengths[i][j]: the longest common subsequence of what follows i and j.
        let mut lengths = vec![vec![0u32; right.len() + 1]; left.len() + 1];
        for i in (0..left.len()).rev() {
            for j in (0..right.len()).rev() {
                lengths[i][j] = if left[i] == right[j] {
                    lengths[i + 1][j + 1] + 1
                } else {
                    lengths[i + 1][j].max(lengths[i][j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < left.len() || j < right.len() {
            if i < left.len() && j < right.len() && left[i] == right[j] {
                out.push(Line::Same(left[i]));
                (i, j) = (i + 1, j + 1);
            } else if j == right.len() || (i < left.len() && lengths[i + 1][j] >= lengths[i][j + 1]) {
                out.push(Line::Gone(left[i]));
                i += 1;
            } else {
                out.push(Line::New(right[j]));
                j += 1;
            }
        }
    }
    out.extend(old[old.len() - tail..].iter().map(|line| Line::Same(line)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_as_diff_shows_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        for (new, wanted) in [
            (old, ""),
            ("a\nb\nc\nd\ne\nf\ng\nX\n", "--- o\n+++ n\n@@ -7,2 +7,2 @@\n g\n-h\n+X\n"),
            ("a\nc\nd\ne\nf\ng\nh\ni\n", "--- o\n+++ n\n@@ -1,3 +1,2 @@\n a\n-b\n c\n@@ -8,1 +7,2 @@\n h\n+i\n"),
        ] {
            assert_eq!(unified("o", "n", old, new, 1), wanted);
        }
        assert_eq!(unified("o", "n", "", "x\ny\n", 3), "--- o\n+++ n\n@@ -0,0 +1,2 @@\n+x\n+y\n");
    }
}
