//! Named formats of strings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinit_api::validate::text;

use super::{Cost, Row, f, row};
use crate::time;
use crate::value::Value::{Opaque, Optional, String as Str};
use crate::value::{Opaque as Kind, Value};

const ONE: Cost = Cost::Fixed(1);

/// A format: what its values may look like.
pub struct Format {
    pub name: &'static str,
    /// How long its regular expression is taken to be when its cost is worked out.
    pub regex: u64,
    complaints: fn(&str) -> Vec<String>,
}

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", regex: 30, complaints: text::dns_label },
    Format { name: "dns1123Subdomain", regex: 60, complaints: text::dns_subdomain },
    Format { name: "dns1035Label", regex: 30, complaints: dns1035 },
    Format { name: "qualifiedName", regex: 60, complaints: text::qualified_name },
    Format { name: "dns1123LabelPrefix", regex: 30, complaints: |source| text::dns_label(&unprefixed(source)) },
    Format { name: "dns1123SubdomainPrefix", regex: 60, complaints: |source| text::dns_subdomain(&unprefixed(source)) },
    Format { name: "dns1035LabelPrefix", regex: 30, complaints: |source| dns1035(&unprefixed(source)) },
    Format { name: "labelValue", regex: 40, complaints: text::label_value },
    Format { name: "uri", regex: 1201, complaints: |source| unless(is_uri(source), "invalid URI for request") },
    Format { name: "uuid", regex: 76, complaints: |source| unless(is_uuid(source), "does not match the UUID format") },
    Format {
        name: "byte",
        regex: 84,
        complaints: |source| unless(!source.is_empty() && STANDARD.decode(source).is_ok(), "invalid base64"),
    },
    Format {
        name: "date",
        regex: 97,
        complaints: |source| unless(source.parse::<jiff::civil::Date>().is_ok() && source.len() == 10, "invalid date"),
    },
    Format {
        name: "datetime",
        regex: 97,
        complaints: |source| unless(time::timestamp(source).is_ok(), "invalid datetime"),
    },
];

macro_rules! named {
    ($rows:ident, $($name:literal),+) => {
        $($rows.push(row(concat!("format.", $name, "()->format"), ONE, f!([] => {
            find($name).map(|format| Opaque(Kind::Format(format))).ok_or(crate::error::EvalError::NoSuchOverload)
        })));)+
    };
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(
            "format.named(string)->optional<format>",
            ONE,
            f!([Str(name)] => {
                Ok(find(name).map_or(Optional(None), |format| Value::some(Opaque(Kind::Format(format)))))
            }),
        ),
        row(
            "format:validate(string)->optional<list<string>>",
            Cost::Format,
            f!([Opaque(Kind::Format(format)), Str(source)] => {
                let complaints = (format.complaints)(source);
                Ok(if complaints.is_empty() {
                    Optional(None)
                } else {
                    Value::some(Value::list(complaints.into_iter().map(Value::from).collect()))
                })
            }),
        ),
    ];
    named!(rows, "dns1123Label", "dns1123Subdomain", "dns1035Label", "qualifiedName", "dns1123LabelPrefix");
    named!(
        rows,
        "dns1123SubdomainPrefix",
        "dns1035LabelPrefix",
        "labelValue",
        "uri",
        "uuid",
        "byte",
        "date",
        "datetime"
    );
    rows
}

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

fn unless(good: bool, complaint: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![complaint.to_owned()] }
}

/// What is checked of a prefix: a dash or dot at its end will not be the end of the name.
fn unprefixed(source: &str) -> String {
    match source.strip_suffix('-') {
        Some(start) => format!("{start}a"),
        None => source.to_owned(),
    }
}

fn dns1035(source: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if source.len() > 63 {
        complaints.push("must be no more than 63 bytes".to_owned());
    }
    let good = source.starts_with(|first: char| first.is_ascii_lowercase())
        && !source.ends_with('-')
        && source.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !good {
        complaints.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    complaints
}

fn is_uri(source: &str) -> bool {
    source.starts_with('/') || url::Url::parse(source).is_ok()
}

fn is_uuid(source: &str) -> bool {
    let digits: String = source.chars().filter(|c| *c != '-').collect();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
