//! Reading the files of types.

use crate::types::{ListType, Shape};

/// A file's types, with references still as names.
pub struct Package {
    pub name: &'static str,
    pub group: &'static str,
    pub types: Vec<Block>,
}

/// A type as it is written.
pub struct Block {
    pub name: &'static str,
    pub kind: bool,
    pub atomic: bool,
    pub union: Option<&'static str>,
    pub fields: Vec<Line>,
}

/// A field as it is written.
pub struct Line {
    pub name: &'static str,
    pub number: u32,
    pub shape: Shape,
    pub element: &'static str,
    pub pointer: bool,
    pub omit_empty: bool,
    pub omit_zero: bool,
    pub required: bool,
    pub list: ListType,
    pub atomic: bool,
    pub granular: bool,
    pub merge: bool,
    pub merge_key: &'static str,
    pub retain_keys: bool,
    pub replace: bool,
    pub default: Option<&'static str>,
}

/// Reads one file. `None` is a mistake in it, which the tests find.
pub fn package(text: &'static str) -> Option<Package> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let (name, group) = lines.next()?.strip_prefix("package ")?.split_once(' ')?;
    let mut package = Package { name, group: if group == "core" { "" } else { group }, types: Vec::new() };
    for line in lines {
        if let Some(line) = line.strip_prefix("  ") {
            package.types.last_mut()?.fields.push(field(line)?);
        } else {
            let mut words = line.split(' ');
            let mut block = Block { name: words.next()?, kind: false, atomic: false, union: None, fields: Vec::new() };
            for word in words {
                match word {
                    "kind" => block.kind = true,
                    "atomic" => block.atomic = true,
                    word => block.union = Some(word.strip_prefix("union=")?),
                }
            }
            package.types.push(block);
        }
    }
    Some(package)
}

fn field(line: &'static str) -> Option<Line> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let name = words.next()?;
    let written = words.next()?;
    let (pointer, written) = match written.strip_prefix('*') {
        Some(rest) => (true, rest),
        None => (false, written),
    };
    let (shape, element) = match (written.strip_prefix("[]"), written.strip_prefix("{}")) {
        (Some(element), _) => (Shape::List, element),
        (_, Some(element)) => (Shape::Map, element),
        _ => (Shape::One, written),
    };
    let mut field = Line {
        name: if name == "." { "" } else { name },
        number,
        shape,
        element,
        pointer,
        omit_empty: false,
        omit_zero: false,
        required: false,
        list: ListType::Atomic,
        atomic: false,
        granular: false,
        merge: false,
        merge_key: "",
        retain_keys: false,
        replace: false,
        default: None,
    };
    for word in words {
        match word {
            "?" => field.omit_empty = true,
            "??" => (field.omit_empty, field.omit_zero) = (true, true),
            "!" => field.required = true,
            "set" => field.list = ListType::Set,
            "atomic" => field.atomic = true,
            "granular" => field.granular = true,
            "merge" => field.merge = true,
            "retainKeys" => field.retain_keys = true,
            "replace" => field.replace = true,
            word => {
                if let Some(keys) = word.strip_prefix("map=") {
                    field.list = ListType::Map(keys.split(',').collect::<Vec<_>>().leak());
                } else if let Some(key) = word.strip_prefix("merge=") {
                    (field.merge, field.merge_key) = (true, key);
                } else {
                    field.default = Some(word.strip_prefix('=')?);
                }
            }
        }
    }
    Some(field)
}
