//! What texts may look like: names, labels, keys, ports. Each rule gives the complaints about a text; none means that it is
//! well formed.

const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS_SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// The complaints about a text.
pub type Complaints = Vec<String>;

/// What finds them.
pub type Rule = fn(&str) -> Complaints;

/// What a text should be, with examples and the expression that stands for the rule.
fn explained(rule: &str, expression: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{expression}')", examples.join(" or "))
}

/// What upstream calls the bytes of names, and of keys and values of labels.
const CHARACTERS: &str = "characters";
const BYTES: &str = "bytes";

fn too_long(text: &str, most: usize, unit: &str) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} {unit}"))
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| lower_or_digit(*byte) || *byte == b'-')
        && bytes.first().is_some_and(|byte| lower_or_digit(*byte))
        && bytes.last().is_some_and(|byte| lower_or_digit(*byte))
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// A DNS label of RFC 1123.
pub fn dns_label(text: &str) -> Complaints {
    let mut complaints: Complaints = too_long(text, 63, CHARACTERS).into_iter().collect();
    if !is_label(text) {
        complaints.push(if is_subdomain(text) {
            "must not contain dots".into()
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                        start and end with an alphanumeric character";
            explained(rule, DNS_LABEL, &["my-name", "123-abc"])
        });
    }
    complaints
}

/// A DNS label of RFC 1035, which begins with a letter.
pub fn dns_label_of_old(text: &str) -> Complaints {
    let mut complaints: Complaints = too_long(text, 63, CHARACTERS).into_iter().collect();
    if !is_label(text) || !text.starts_with(|letter: char| letter.is_ascii_lowercase()) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                    character, and end with an alphanumeric character";
        complaints.push(explained(rule, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    complaints
}

/// DNS labels of RFC 1123, separated by dots.
pub fn dns_subdomain(text: &str) -> Complaints {
    too_long(text, 253, CHARACTERS).into_iter().chain(not_subdomain(text)).collect()
}

fn not_subdomain(text: &str) -> Option<String> {
    let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                start and end with an alphanumeric character";
    (!is_subdomain(text)).then(|| explained(rule, DNS_SUBDOMAIN, &["example.com"]))
}

/// All names below one, which a star stands for.
pub fn wildcard(text: &str) -> Complaints {
    let mut complaints: Complaints = too_long(text, 253, CHARACTERS).into_iter().collect();
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                    consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        complaints.push(explained(rule, &format!(r"\*\.{DNS_SUBDOMAIN}"), &["*.example.com"]));
    }
    complaints
}

/// DNS labels as of [`dns_subdomain`] that may have underscores, as names of services in DNS do.
pub fn dns_subdomain_or_service(text: &str) -> Complaints {
    let label = |label: &str| is_label(&label.strip_prefix('_').unwrap_or(label).replace('_', "-"));
    let mut complaints: Complaints = too_long(text, 253, CHARACTERS).into_iter().collect();
    if !text.split('.').all(label) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
                    and must start and end with an alphanumeric character";
        let part = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
        complaints.push(explained(rule, &format!("{part}(\\.{part})*"), &["example.com"]));
    }
    complaints
}

/// What the name of an object begins with that is a [`dns_subdomain`]: what follows makes up for a dash at its end.
pub fn dns_subdomain_prefix(text: &str) -> Complaints {
    dns_subdomain(&format!("{}a", text.strip_suffix('-').unwrap_or(text)))
}

/// The name of a header of HTTP.
pub fn header_name(text: &str) -> Complaints {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Complaints::new();
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![explained(rule, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// What can be a segment of a path.
pub fn path_segment(text: &str) -> Complaints {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    let forbidden = ["/", "%"].into_iter().filter(|part| text.contains(part));
    forbidden.map(|part| format!("may not contain '{part}'")).collect()
}

/// A name in C.
pub fn identifier(text: &str) -> Complaints {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Complaints::new();
    }
    let rule = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
                characters or '_'";
    vec![explained(rule, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// Why a condition is as it is, in one word.
pub fn condition_reason(text: &str) -> Complaints {
    let bytes = text.as_bytes();
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let well = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(word)
        && bytes.iter().all(|byte| word(byte) || b",:".contains(byte));
    // That there has to be one is said by itself.
    if well || text.is_empty() {
        return Complaints::new();
    }
    let rule = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
                characters or '_,:', and must end with an alphanumeric character or '_'";
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    vec![explained(rule, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)]
}

/// An IP address as it is written canonically.
pub fn ip_address(text: &str) -> Complaints {
    match (super::address::problem(text), text.parse::<std::net::IpAddr>()) {
        (Some(why), _) => vec![why.to_owned()],
        (None, Ok(address)) if address.to_string() != text => {
            vec![format!("must be in canonical form (\"{address}\")")]
        }
        _ => Complaints::new(),
    }
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// A label's key: a name, and before it perhaps a domain and a slash.
pub fn qualified_name(text: &str) -> Complaints {
    let rule = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
                character";
    let explained = explained(rule, LABEL_KEY, &["MyName", "my.name", "123-abc"]);
    let mut complaints = Complaints::new();
    let name = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                complaints.push("prefix part must be non-empty".into());
            } else {
                let wrong = too_long(prefix, 253, BYTES).into_iter().chain(not_subdomain(prefix));
                complaints.extend(wrong.map(|text| format!("prefix part {text}")));
            }
            name
        }
        _ => {
            let prefix = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {explained} {prefix}")];
        }
    };
    if name.is_empty() {
        complaints.push("name part must be non-empty".into());
    } else {
        complaints.extend(too_long(name, 63, BYTES).map(|text| format!("name part {text}")));
    }
    if !is_label_text(name) {
        complaints.push(format!("name part {explained}"));
    }
    complaints
}

/// A label's value.
pub fn label_value(text: &str) -> Complaints {
    let mut complaints: Complaints = too_long(text, 63, BYTES).into_iter().collect();
    if !text.is_empty() && !is_label_text(text) {
        let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                    start and end with an alphanumeric character";
        complaints.push(explained(rule, &format!("({LABEL_KEY})?"), &["MyValue", "my_value", "12345"]));
    }
    complaints
}

/// A key of a ConfigMap or a Secret, which becomes the name of a file.
pub fn config_key(text: &str) -> Complaints {
    let mut complaints: Complaints = too_long(text, 253, CHARACTERS).into_iter().collect();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || !text.bytes().all(legal) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        complaints.push(explained(rule, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." => complaints.push("must not be '.'".into()),
        ".." => complaints.push("must not be '..'".into()),
        _ if text.starts_with("..") => complaints.push("must not start with '..'".into()),
        _ => {}
    }
    complaints
}

/// The name of an environment variable.
pub fn variable_name(text: &str) -> Complaints {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".into()];
    }
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        return Complaints::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".into()]
}

/// The name of a port.
pub fn port_name(text: &str) -> Complaints {
    let checks = [
        (text.len() > 15, "must be no more than 15 characters"),
        (
            text.is_empty() || !text.bytes().all(|byte| lower_or_digit(byte) || byte == b'-'),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (!text.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        (text.contains("--"), "must not contain consecutive hyphens"),
        (text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    checks.into_iter().filter(|(wrong, _)| *wrong).map(|(_, text)| text.to_owned()).collect()
}

/// The number of a port.
pub fn port_number(number: i64) -> Complaints {
    if (1..=65535).contains(&number) {
        Complaints::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".into()]
    }
}
