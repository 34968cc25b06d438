//! Descriptions of types and fields, packed into the binary when it is built.

use std::io::Read;
use std::ops::Range;

use kinit_schema::openapi::Words;

const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.gz"));
/// What ends a record; see `build/descriptions.rs`.
const END: char = '\0';

/// The descriptions, unpacked for as long as a document is being written: one text, and where each type's part of it is.
pub struct Packed {
    text: String,
    /// A type's name and its records, sorted by name as the text is.
    types: Vec<(Range<usize>, Range<usize>)>,
}

impl Packed {
    pub fn open() -> Self {
        let mut text = String::new();
        flate2::read::GzDecoder::new(PACKED).read_to_string(&mut text).expect("the build script packed it");
        let mut types: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        let mut at = 0;
        for record in text.split_inclusive(END) {
            let end = at + record.len();
            if record.starts_with('=') {
                types.push((at + 1..end - 1, end..end));
            } else if let Some((_, records)) = types.last_mut() {
                records.end = end;
            }
            at = end;
        }
        Self { text, types }
    }

    /// A type's description, and then its fields' as `name: description`.
    fn records(&self, definition: &str) -> Option<impl Iterator<Item = &str>> {
        let at = self.types.binary_search_by(|(name, _)| self.text[name.clone()].cmp(definition)).ok()?;
        Some(self.text[self.types[at].1.clone()].split_terminator(END))
    }
}

impl Words for Packed {
    fn of_type(&self, definition: &str) -> Option<&str> {
        self.records(definition)?.next().filter(|text| !text.is_empty())
    }

    fn of_field(&self, definition: &str, field: &str) -> Option<&str> {
        let mut fields = self.records(definition)?.skip(1);
        fields.find_map(|record| record.strip_prefix(field)?.strip_prefix(": ")).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        let words = Packed::open();
        let pod = "io.k8s.api.core.v1.PodSpec";
        assert!(words.of_type(pod).unwrap().contains("pod"));
        let name = words.of_field(pod, "nodeName").unwrap();
        assert!(name.len() > 20 && !name.starts_with("nodeName"));
        assert_ne!(words.of_field(pod, "hostname"), words.of_field(pod, "hostnameOverride"));
        assert_eq!(words.of_field(pod, "nothing"), None);
        assert_eq!(words.of_type("Nothing"), None);
    }
}
