//! What the table is made of.

use crate::table;

/// A built-in type.
#[derive(Debug, PartialEq, Eq)]
pub struct Type {
    pub name: &'static str,
    /// The package of the type: `core/v1`, `meta/v1`.
    pub package: &'static str,
    /// Whether objects of this type have `apiVersion` and `kind`.
    pub kind: bool,
    /// Whether server-side apply owns values of this type as a whole.
    pub atomic: bool,
    /// Which of the fields stand for each other, as `discriminator:field,field`; only documents tell it.
    pub union: Option<&'static str>,
    /// The fields in the order of the Go type, embedded types among them.
    pub fields: Box<[Field]>,
    /// Which of the fields protobuf has, in the order of their numbers, in which upstream writes them.
    pub(crate) numbered: Box<[usize]>,
}

/// A field of a type.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// The name in JSON; empty for an embedded type, whose fields are inline in JSON.
    pub name: &'static str,
    /// The number in protobuf; 0 where protobuf has no such field.
    pub number: u32,
    pub shape: Shape,
    pub element: Element,
    /// A pointer in Go: absent and zero differ.
    pub pointer: bool,
    /// Go leaves it out of JSON when it is the zero value (structs that are no pointers stay nevertheless).
    pub omit_empty: bool,
    /// Go leaves it out also when it is a zero struct.
    pub omit_zero: bool,
    pub required: bool,
    /// How server-side apply owns the elements of a list.
    pub list: ListType,
    /// Whether server-side apply owns the map or the object as a whole.
    pub atomic: bool,
    /// Whether server-side apply owns the fields one by one though the type is owned as a whole elsewhere.
    pub granular: bool,
    /// Whether strategic merge patches merge the list rather than replace it.
    pub merge: bool,
    /// The field by which strategic merge patches tell elements apart; empty for lists of plain values.
    pub merge_key: &'static str,
    /// Whether strategic merge patches drop the fields that the patch does not name.
    pub retain_keys: bool,
    /// Whether strategic merge patches replace an object as a whole.
    pub replace: bool,
    /// The default that the field's schema states, as written in JSON (strings without quotes).
    pub default: Option<&'static str>,
}

/// How many elements a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    One,
    List,
    /// With string keys.
    Map,
}

/// What a field holds, or each element of its list or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Scalar(Scalar),
    Message(TypeRef),
}

/// The values that are no types of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Bool,
    I32,
    I64,
    F64,
    U8,
    U64,
    String,
    /// base64 in JSON.
    Bytes,
    /// A string in JSON, and a message with the string as field 1 in protobuf.
    Quantity,
    /// A number or a string; a message of type (1), number (2) and string (3) in protobuf.
    IntOrString,
    /// RFC 3339 to the second, or null; a message of seconds (1) and nanoseconds (2) in protobuf.
    Time,
    /// RFC 3339 to the microsecond, or null; as `Time` in protobuf.
    MicroTime,
    /// Go's form of a duration (`1m30s`); a message with nanoseconds as field 1 in protobuf.
    Duration,
    /// Any object; a message with its bytes as field 1 in protobuf.
    Raw,
    /// A set of fields as an object; a message with its JSON as field 1 in protobuf.
    FieldsV1,
    /// Any JSON; a message with its text as field 1 in protobuf.
    Json,
    /// A list of strings, which protobuf wraps in a message as field 1.
    Strings,
    /// A `JSONSchemaProps` or a boolean.
    PropsOrBool,
    /// A `JSONSchemaProps` or a list of them.
    PropsOrArray,
    /// A `JSONSchemaProps` or a list of strings.
    PropsOrStrings,
}

/// How server-side apply owns a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// As a whole.
    Atomic,
    /// By each value.
    Set,
    /// By each element, told apart by these fields.
    Map(&'static [&'static str]),
}

/// A reference to a type of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeRef(pub(crate) u16);

impl TypeRef {
    pub fn get(self) -> &'static Type {
        table::by_number(self.0)
    }
}

impl Type {
    /// A field by its JSON name, also through embedded types.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find_map(|field| match field.embedded() {
            Some(inner) => inner.field(name),
            None => (field.name == name).then_some(field),
        })
    }

    /// The fields that protobuf has, in the order of their numbers, in which upstream writes them.
    pub fn numbered_fields(&self) -> impl Iterator<Item = &Field> {
        self.numbered.iter().map(|&at| &self.fields[at])
    }

    /// All fields as JSON shows them: embedded types' in their place.
    pub fn json_fields(&self) -> Vec<&Field> {
        let mut all = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            match field.embedded() {
                Some(inner) => all.extend(inner.json_fields()),
                None => all.push(field),
            }
        }
        all
    }
}

impl Field {
    /// The type whose fields are inline here.
    pub fn embedded(&self) -> Option<&'static Type> {
        if self.name.is_empty() { self.message() } else { None }
    }

    /// The type of the value, or of the elements.
    pub fn message(&self) -> Option<&'static Type> {
        match self.element {
            Element::Message(reference) => Some(reference.get()),
            Element::Scalar(_) => None,
        }
    }
}

impl Scalar {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "bool" => Self::Bool,
            "i32" => Self::I32,
            "i64" => Self::I64,
            "f64" => Self::F64,
            "u8" => Self::U8,
            "u64" => Self::U64,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "Quantity" => Self::Quantity,
            "IntOrString" => Self::IntOrString,
            "Time" => Self::Time,
            "MicroTime" => Self::MicroTime,
            "Duration" => Self::Duration,
            "Raw" => Self::Raw,
            "FieldsV1" => Self::FieldsV1,
            "Json" => Self::Json,
            "Strings" => Self::Strings,
            "PropsOrBool" => Self::PropsOrBool,
            "PropsOrArray" => Self::PropsOrArray,
            "PropsOrStrings" => Self::PropsOrStrings,
            _ => return None,
        })
    }
}
