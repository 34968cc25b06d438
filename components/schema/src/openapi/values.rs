//! The values that fields may have, where there are but a few, and what each means.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::OnceLock;

const TEXT: &str = include_str!("values.txt");

/// A value, and what it means; the latter is empty where nothing is said of it.
type Meant = (&'static str, &'static str);

/// A field's values.
pub struct Values {
    all: &'static [Meant],
    /// Whether an empty line more stands before them.
    apart: bool,
}

/// The values of a type's field in the order of the alphabet, by the type's definition and the field's JSON name; nothing
/// where it may have any.
pub fn of(definition: &str, field: &str) -> Option<Values> {
    type Lists = (Vec<Vec<Meant>>, HashMap<(&'static str, &'static str), (usize, bool)>);
    static LISTS: OnceLock<Lists> = OnceLock::new();
    let (lists, fields) = LISTS.get_or_init(|| {
        let (mut lists, mut fields) = (Vec::<Vec<Meant>>::new(), HashMap::new());
        let mut is_open = false;
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            if let (Some(line), Some(list)) = (line.strip_prefix("  "), lists.last_mut()) {
                let (value, meaning) = line.split_once(": ").unwrap_or((line, ""));
                list.push((if value == "''" { "" } else { value }, meaning));
                is_open = false;
            } else if let Some(name) = line.split_once(' ') {
                if !is_open {
                    lists.push(Vec::new());
                    is_open = true;
                }
                let (definition, field) = name;
                let short = field.strip_suffix(" +");
                fields.insert((definition, short.unwrap_or(field)), (lists.len() - 1, short.is_some()));
            }
        }
        (lists, fields)
    });
    fields.get(&(definition, field)).map(|(at, apart)| Values { all: &lists[*at], apart: *apart })
}

impl Values {
    pub fn names(&self) -> Vec<&'static str> {
        self.all.iter().map(|(name, _)| *name).collect()
    }

    /// A field's description with what documents say of its values at the end, in upstream's form.
    pub fn after(&self, description: &str) -> String {
        let apart = if self.apart { "\n" } else { "" };
        let mut text = format!("{description}{apart}\n\nPossible enum values:");
        for (value, meaning) in self.all {
            let space = if meaning.is_empty() { "" } else { " " };
            let _ = write!(text, "\n - `\"{value}\"`{space}{}", meaning.replace("\\n", "\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_values() {
        let of = |kind: &str, field: &str| of(&format!("io.k8s.api.core.v1.{kind}"), field);
        let names = |kind: &str, field: &str| of(kind, field).unwrap().names();
        assert_eq!(names("PodSpec", "restartPolicy"), ["Always", "Never", "OnFailure"]);
        assert_eq!(names("Container", "imagePullPolicy"), ["Always", "IfNotPresent", "Never"]);
        assert_eq!(names("EphemeralContainer", "imagePullPolicy"), ["Always", "IfNotPresent", "Never"]);
        assert_eq!(names("HostPathVolumeSource", "type")[0], "");
        assert!(of("PodSpec", "nodeName").is_none());
        let status = of("NamespaceStatus", "phase").unwrap().after("It.");
        assert_eq!(
            status,
            "It.\n\nPossible enum values:\n - `\"Active\"` in normal use, open to new objects\n - `\"Terminating\"` being deleted, together with what it holds"
        );
        let protocol = of("ServicePort", "protocol").unwrap().after("It.");
        assert_eq!(protocol, "It.\n\nPossible enum values:\n - `\"SCTP\"`\n - `\"TCP\"`\n - `\"UDP\"`");
        assert!(of("PodSpec", "restartPolicy").unwrap().after("").ends_with("\n - `\"OnFailure\"`"));
    }

    /// Every line is of a field of strings that there is, and every list has values.
    #[test]
    fn every_line_is_of_a_field() {
        let mut seen = 0;
        for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', ' '])) {
            let (definition, field) = line.trim_end_matches(" +").split_once(' ').unwrap();
            let found = crate::kinds().map(|(_, _, found)| found).flat_map(reached);
            let is = |found: &&crate::Type| {
                super::super::names::definition(found.package, found.name) == definition
                    && found.json_fields().iter().any(|own| own.name == field)
            };
            assert!(found.into_iter().any(|found| is(&found)), "{line}");
            let values = of(definition, field).unwrap().names();
            assert!(!values.is_empty() && values.is_sorted(), "{line}");
            seen += 1;
        }
        assert!(seen > 90, "{seen}");
    }

    /// A type and all that it has in it.
    fn reached(found: &'static crate::Type) -> Vec<&'static crate::Type> {
        let (mut all, mut open) = (Vec::<&crate::Type>::new(), vec![found]);
        while let Some(next) = open.pop() {
            if all.iter().any(|known| std::ptr::eq(*known, next)) {
                continue;
            }
            all.push(next);
            open.extend(next.json_fields().into_iter().filter_map(|field| match field.element {
                crate::Element::Message(reference) => Some(reference.get()),
                crate::Element::Scalar(_) => None,
            }));
        }
        all
    }
}
