//! How messages tell what differs between two states: the lines of both that changed, with three around, in the form of a
//! unified diff. Which lines count as kept is found as Python's `difflib` finds it, whose port upstream's server uses: the
//! longest run that both have, and then the same to its left and to its right.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use kinit_schema::internal::Tree;
use serde_json::Value;

/// Lines that are shown around a change.
const AROUND: usize = 3;
/// From this many lines on, those that come often are no anchors.
const MANY: usize = 200;

/// What differs between two values of the type `name` in `package`, as upstream's own types have them; empty if nothing does.
pub fn of(package: &str, name: &str, before: &Value, after: &Value) -> String {
    let shown = |value: &Value| match kinit_schema::named(package, name) {
        Some(kind) => Tree::of(kind, value).indented(),
        None => Tree::Plain(value.clone()).indented(),
    };
    unified(&shown(before), &shown(after))
}

/// Lines of both texts: those at `before` in the first are those at `after` in the second, or became them.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    kept: bool,
    before: Range<usize>,
    after: Range<usize>,
}

/// The changes from one text to another.
pub fn unified(before: &str, after: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.split('\n').collect(), after.split('\n').collect());
    let mut text = String::new();
    for group in groups(steps(&a, &b)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old = range(first.before.start..last.before.end);
        let new = range(first.after.start..last.after.end);
        // Writing to a string does not fail.
        let _ = writeln!(text, "@@ -{old} +{new} @@");
        for step in &group {
            let lines = |sign: char, lines: &[&str], text: &mut String| {
                for line in lines {
                    let _ = writeln!(text, "{sign}{line}");
                }
            };
            if step.kept {
                lines(' ', &a[step.before.clone()], &mut text);
            } else {
                lines('-', &a[step.before.clone()], &mut text);
                lines('+', &b[step.after.clone()], &mut text);
            }
        }
    }
    text
}

/// Lines as a hunk's head says them: the first, counted from 1, and how many, unless it is one.
fn range(lines: Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => (lines.start + 1).to_string(),
        count => format!("{},{count}", lines.start + 1),
    }
}

/// The steps in groups that have no more than [`AROUND`] kept lines at each end.
fn groups(mut steps: Vec<Step>) -> Vec<Vec<Step>> {
    if let Some(first) = steps.first_mut().filter(|step| step.kept) {
        shorten_start(first);
    }
    if let Some(last) = steps.last_mut().filter(|step| step.kept) {
        shorten_end(last);
    }
    let (mut groups, mut group) = (Vec::new(), Vec::new());
    for mut step in steps {
        if step.kept && step.before.len() > 2 * AROUND {
            let mut end = step.clone();
            shorten_end(&mut end);
            group.push(end);
            groups.push(std::mem::take(&mut group));
            shorten_start(&mut step);
        }
        group.push(step);
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|step| !step.kept));
    groups
}

fn shorten_start(step: &mut Step) {
    step.before.start = step.before.start.max(step.before.end.saturating_sub(AROUND));
    step.after.start = step.after.start.max(step.after.end.saturating_sub(AROUND));
}

fn shorten_end(step: &mut Step) {
    step.before.end = step.before.end.min(step.before.start + AROUND);
    step.after.end = step.after.end.min(step.after.start + AROUND);
}

/// The way from one list of lines to the other.
fn steps(a: &[&str], b: &[&str]) -> Vec<Step> {
    let matcher = Matcher::new(a, b);
    let mut kept = Vec::new();
    matcher.kept(0..a.len(), 0..b.len(), &mut kept);
    let (mut steps, mut i, mut j) = (Vec::<Step>::new(), 0, 0);
    for (at, own, size) in kept.into_iter().chain([(a.len(), b.len(), 0)]) {
        if i < at || j < own {
            steps.push(Step { kept: false, before: i..at, after: j..own });
        }
        (i, j) = (at + size, own + size);
        match steps.last_mut() {
            _ if size == 0 => {}
            // Runs that touch are one.
            Some(last) if last.kept => (last.before.end, last.after.end) = (i, j),
            _ => steps.push(Step { kept: true, before: at..i, after: own..j }),
        }
    }
    steps
}

struct Matcher<'a> {
    a: &'a [&'a str],
    b: &'a [&'a str],
    /// Where each line of `b` is, without those that come too often.
    places: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Matcher<'a> {
    fn new(a: &'a [&'a str], b: &'a [&'a str]) -> Self {
        let mut places = HashMap::<&str, Vec<usize>>::new();
        for (at, line) in b.iter().enumerate() {
            places.entry(line).or_default().push(at);
        }
        if b.len() >= MANY {
            places.retain(|_, all| all.len() <= b.len() / 100 + 1);
        }
        Self { a, b, places }
    }

    /// The runs that both have within these lines, in their order: where in each, and how long.
    fn kept(&self, a: Range<usize>, b: Range<usize>, found: &mut Vec<(usize, usize, usize)>) {
        let (i, j, size) = self.longest(a.clone(), b.clone());
        if size == 0 {
            return;
        }
        self.kept(a.start..i, b.start..j, found);
        found.push((i, j, size));
        self.kept(i + size..a.end, j + size..b.end, found);
    }

    /// The longest run that both have; of several, the first in `a`, and of those the first in `b`.
    fn longest(&self, a: Range<usize>, b: Range<usize>) -> (usize, usize, usize) {
        let mut best = (a.start, b.start, 0);
        // How long the run is that ends at each line of `b` and the line of `a` before.
        let mut lengths = HashMap::<usize, usize>::new();
        for i in a.clone() {
            let mut next = HashMap::new();
            for &j in self.places.get(self.a[i]).into_iter().flatten().filter(|j| b.contains(*j)) {
                let length = 1 + j.checked_sub(1).and_then(|before| lengths.get(&before)).copied().unwrap_or(0);
                next.insert(j, length);
                if length > best.2 {
                    best = (i + 1 - length, j + 1 - length, length);
                }
            }
            lengths = next;
        }
        // Lines that come often are no anchors, and yet belong to a run that they touch.
        let (mut i, mut j, mut size) = best;
        while i > a.start && j > b.start && self.a[i - 1] == self.b[j - 1] {
            (i, j, size) = (i - 1, j - 1, size + 1);
        }
        while i + size < a.end && j + size < b.end && self.a[i + size] == self.b[j + size] {
            size += 1;
        }
        (i, j, size)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_shown_with_what_is_around() {
        let lines = |range: Range<usize>| range.map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(unified("a\nb", "a\nb"), "");
        assert_eq!(unified("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
        assert_eq!(unified("a\nb\nc", "a\nc"), "@@ -1,3 +1,2 @@\n a\n-b\n c\n");
        let far =
            unified(&lines(0..20), &lines(0..20).replacen("\n3\n", "\nx\n", 1).replacen("\n15\n", "\n15\ny\n", 1));
        assert_eq!(
            far,
            "@@ -1,7 +1,7 @@\n 0\n 1\n 2\n-3\n+x\n 4\n 5\n 6\n@@ -14,6 +14,7 @@\n 13\n 14\n 15\n+y\n 16\n 17\n 18\n"
        );
        let near = unified(&lines(0..9), &lines(0..9).replace('1', "x").replace('8', "y"));
        assert_eq!(near, "@@ -1,9 +1,9 @@\n 0\n-1\n+x\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+y\n");
    }

    /// What `difflib.unified_diff` says of the same texts.
    #[test]
    fn lines_that_come_often_are_no_anchors_in_long_texts() {
        let text = |changed: usize| {
            let line = |n: usize| {
                if n == changed {
                    "changed".to_owned()
                } else if n.is_multiple_of(2) {
                    "often".to_owned()
                } else {
                    n.to_string()
                }
            };
            (0..300).map(line).collect::<Vec<_>>().join("\n")
        };
        let expected = "@@ -99,7 +99,7 @@\n often\n 99\n often\n-101\n+changed\n often\n 103\n often\n";
        assert_eq!(unified(&text(1000), &text(101)), expected);
        let swapped = unified("x\na\nb\nc\ny", "y\nb\nc\na\nx");
        assert_eq!(swapped, "@@ -1,5 +1,5 @@\n-x\n-a\n+y\n b\n c\n-y\n+a\n+x\n");
    }

    #[test]
    fn values_are_told_by_their_types() {
        let (before, after) = (json!({"name": "a", "hostPath": {"path": "/x"}}), json!({"name": "a"}));
        let text = of("core/v1", "Volume", &before, &after);
        let expected = "@@ -1,9 +1,6 @@\n {\n  \"Name\": \"a\",\n- \"HostPath\": {\n-  \"Path\": \"/x\",\n-  \"Type\": null\n- },\n+ \"HostPath\": null,\n  \
                        \"EmptyDir\": null,\n  \"GCEPersistentDisk\": null,\n  \"AWSElasticBlockStore\": null,\n";
        assert_eq!(text, expected);
    }
}
