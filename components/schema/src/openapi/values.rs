//! The values that fields may have, where there are but a few.

use std::collections::HashMap;
use std::sync::OnceLock;

const TEXT: &str = include_str!("values.txt");

/// The values of a type's field, by the type's definition and the field's JSON name; nothing where it may have any.
pub fn of(definition: &str, field: &str) -> Option<Vec<&'static str>> {
    type Fields = HashMap<(&'static str, &'static str), &'static str>;
    static FIELDS: OnceLock<Fields> = OnceLock::new();
    let fields = FIELDS.get_or_init(|| {
        let lines = || TEXT.lines().filter(|line| !line.starts_with('#'));
        let lists: HashMap<&str, &str> =
            lines().filter(|line| line.starts_with('$')).filter_map(|line| line.split_once(' ')).collect();
        let rows = lines().filter(|line| !line.starts_with('$'));
        rows.filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let (definition, field, values) = (words.next()?, words.next()?, words.next()?);
            Some(((definition, field), lists.get(values).copied().unwrap_or(values)))
        })
        .collect()
    });
    let values = fields.get(&(definition, field))?;
    Some(values.split('|').map(|value| if value == "''" { "" } else { value }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_values() {
        let of = |kind: &str, field: &str| of(&format!("io.k8s.api.core.v1.{kind}"), field);
        assert_eq!(of("PodSpec", "restartPolicy").unwrap(), ["Always", "Never", "OnFailure"]);
        assert_eq!(of("Container", "imagePullPolicy").unwrap(), ["Always", "IfNotPresent", "Never"]);
        assert_eq!(of("HostPathVolumeSource", "type").unwrap()[0], "");
        assert_eq!(of("PodSpec", "nodeName"), None);
    }

    /// Every line is of a field of strings that there is.
    #[test]
    fn every_line_is_of_a_field() {
        let mut seen = 0;
        for line in TEXT.lines().filter(|line| !line.starts_with(['#', '$'])) {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            let found = crate::kinds().map(|(_, _, found)| found).flat_map(reached);
            let is = |found: &&crate::Type| {
                super::super::names::definition(found.package, found.name) == words[0]
                    && found.json_fields().iter().any(|field| field.name == words[1])
            };
            assert!(found.into_iter().any(|found| is(&found)), "{line}");
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
