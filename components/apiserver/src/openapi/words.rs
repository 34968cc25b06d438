//! Descriptions of types and fields, packed into the binary when it is built.

use std::collections::HashMap;
use std::io::Read;

use kinit_schema::openapi::Words;

const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.gz"));

/// The descriptions, unpacked for as long as a document is being written.
pub struct Packed {
    types: HashMap<String, Described>,
}

#[derive(Default)]
struct Described {
    text: String,
    fields: HashMap<String, String>,
}

impl Packed {
    pub fn open() -> Self {
        let mut text = String::new();
        flate2::read::GzDecoder::new(PACKED).read_to_string(&mut text).expect("the build script packed it");
        let mut types = HashMap::new();
        let mut lines = text.lines().peekable();
        while let Some(name) = lines.next().and_then(|line| line.strip_prefix('=')) {
            let mut described = Described { text: unescaped(lines.next().unwrap_or_default()), ..Default::default() };
            while let Some(line) = lines.next_if(|line| !line.starts_with('=')) {
                if let Some((field, text)) = line.split_once(": ") {
                    described.fields.insert(field.to_owned(), unescaped(text));
                }
            }
            types.insert(name.to_owned(), described);
        }
        Self { types }
    }
}

impl Words for Packed {
    fn of_type(&self, definition: &str) -> Option<&str> {
        self.types.get(definition).map(|described| described.text.as_str()).filter(|text| !text.is_empty())
    }

    fn of_field(&self, definition: &str, field: &str) -> Option<&str> {
        self.types.get(definition)?.fields.get(field).map(String::as_str).filter(|text| !text.is_empty())
    }
}

fn unescaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.push(if letters.next() == Some('n') { '\n' } else { '\\' }),
            other => text.push(other),
        }
    }
    text
}
