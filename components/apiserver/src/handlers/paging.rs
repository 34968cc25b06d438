//! What a list is asked to be of: a state, and a page of it. Pure.

use kinit_api::status::Status;
use kinit_api::strict;
use serde_json::{Value, json};

use crate::request::{ResourceRequest, Verb};

const VERSION: &str = "meta.k8s.io/v1";

/// The state that a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Whatever is at hand.
    Any,
    /// The newest.
    Newest,
    /// The newest at hand, if it is not older than this revision.
    NotOlder(i64),
    /// That of this revision.
    Exactly(i64),
}

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub at: At,
    /// The last key of the page before.
    pub after: Option<String>,
    /// How many objects there may be on it.
    pub limit: usize,
}

impl Page {
    /// What a request asks for, by upstream's rules of which parameters go together.
    pub fn of(request: &ResourceRequest) -> Result<Self, Status> {
        check(request)?;
        let (version, rule) = (request.parameter("resourceVersion"), request.parameter("resourceVersionMatch"));
        let token = request.parameter("continue");
        request.integer("timeoutSeconds")?;
        let limit = request.integer("limit")?.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        if !token.is_empty() {
            let told = |why| Status::bad_request(format!("invalid continue token: {why}"));
            let Token { revision, after } = Token::decode(token, &request.namespace).map_err(told)?;
            if !matches!(version, "" | "0") {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            let at = if revision == Token::NEWEST { At::Newest } else { At::Exactly(revision) };
            return Ok(Self { at, after: Some(after), limit });
        }
        let revision = || {
            let told = || Status::bad_request(format!("invalid resource version: {}", no_version(version)));
            revision(version).ok_or_else(told)
        };
        let (at, limit) = match (version, rule) {
            ("", _) => (At::Newest, limit),
            // What is at hand is given whole: a page of it would have to be remembered.
            ("0", _) => (At::Any, usize::MAX),
            (_, "Exact") => (At::Exactly(revision()?), limit),
            // Pages that begin at a revision are of it, as they were before there was a rule to say so.
            (_, "") if limit < usize::MAX => (At::Exactly(revision()?), limit),
            _ => (At::NotOlder(revision()?), limit),
        };
        Ok(Self { at, after: None, limit })
    }
}

/// Refuses parameters of a list or a watch that do not go together. Numbers are looked at first.
pub fn check(request: &ResourceRequest) -> Result<(), Status> {
    for number in ["timeoutSeconds", "limit"] {
        request.integer(number)?;
    }
    const MATCH: &str = "resourceVersionMatch";
    let (version, rule) = (request.parameter("resourceVersion"), request.parameter(MATCH));
    let continues = !request.parameter("continue").is_empty();
    let mut initial = request.query.contains_key("sendInitialEvents");
    let mut errors = Vec::new();
    let forbidden = |field: &str, why: &str| ("FieldValueForbidden", field.to_owned(), format!("Forbidden: {why}"));
    let unsupported = |known: &str| {
        let text = format!("Unsupported value: {rule:?}: supported values: {known}");
        ("FieldValueNotSupported", MATCH.to_owned(), text)
    };
    let with_continue = forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided");
    if request.verb == Verb::Watch {
        // A watch that begins anywhere is one that asks for all that is there.
        let mut rule = rule;
        if !initial && rule.is_empty() && matches!(version, "" | "0") {
            (initial, rule) = (true, "NotOlderThan");
        }
        if initial && rule != "NotOlderThan" {
            errors.push(forbidden(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        if !rule.is_empty() {
            if !initial {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(forbidden(MATCH, why));
            }
            if rule != "NotOlderThan" {
                errors.push(unsupported(r#""NotOlderThan""#));
            }
            errors.extend(continues.then_some(with_continue));
        }
    } else {
        if !rule.is_empty() {
            if version.is_empty() {
                errors.push(forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            errors.extend(continues.then_some(with_continue));
            if !matches!(rule, "Exact" | "NotOlderThan") {
                errors.push(unsupported(r#""Exact", "NotOlderThan", """#));
            }
            if (rule, version) == ("Exact", "0") {
                let why = r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#;
                errors.push(forbidden(MATCH, why));
            }
        }
        if initial {
            errors.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)) }
}

/// The revision that a parameter names, which is none of upstream's own errors where it is no number.
pub fn version(text: &str) -> Result<i64, Status> {
    revision(text).ok_or_else(|| Status::failure(no_version(text)))
}

/// The revision that a text names. There may be greater ones than ours ever are, which are as far off as the greatest.
fn revision(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let revision: u64 = text.parse().ok().filter(|_| plain)?;
    Some(i64::try_from(revision).unwrap_or(i64::MAX))
}

/// What is wrong with a text that is no resource version.
fn no_version(text: &str) -> String {
    let too_great = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = if too_great { "value out of range" } else { "invalid syntax" };
    format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}")
}

/// Where a list goes on.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// The revision of the pages before.
    pub revision: i64,
    /// The last key of them.
    pub after: String,
}

impl Token {
    /// The revision of a token that goes on with the newest state.
    pub const NEWEST: i64 = -1;

    /// The token as clients have it: they give it back unread. Keys are told without the namespace that is listed.
    pub fn encode(&self, namespace: &str) -> String {
        use base64::Engine;
        let within = self.after.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('/'));
        let after = within.filter(|_| !namespace.is_empty()).unwrap_or(&self.after);
        // Upstream's tokens name the first key that may follow.
        let token = json!({"v": VERSION, "rv": self.revision, "start": format!("{after}\0")});
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn decode(text: &str, namespace: &str) -> Result<Self, String> {
        use base64::Engine;
        let invalid = |why: &str| format!("continue key is not valid: {why}");
        // Bits of the last letter that are of no byte are not looked at, as Go's decoder does not.
        let lenient = base64::engine::general_purpose::NO_PAD.with_decode_allow_trailing_bits(true);
        let lenient = base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, lenient);
        let bytes = lenient.decode(text).map_err(|error| {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                // What is too short for a byte is told where it begins.
                _ => text.len() - text.len() % 4,
            };
            invalid(&format!("illegal base64 data at input byte {at}"))
        })?;
        let token: Value =
            serde_json::from_slice(&bytes).map_err(|error| invalid(&strict::go_syntax(&bytes, &error)))?;
        let version = token["v"].as_str().unwrap_or_default();
        if version != VERSION {
            return Err(invalid(&format!("server does not recognize this encoded version {version}")));
        }
        let (revision, start) = (token["rv"].as_i64().unwrap_or(0), token["start"].as_str().unwrap_or_default());
        if revision == 0 {
            return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if start.is_empty() {
            return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
        }
        // A key must not lead out of what is listed.
        let key = start.strip_prefix('/').unwrap_or(start);
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(start));
        }
        let key = if namespace.is_empty() { key.to_owned() } else { format!("{namespace}/{key}") };
        // What begins at a key itself goes on after whatever is before it.
        let after = match key.strip_suffix('\0') {
            Some(last) => last.to_owned(),
            None => before(&key),
        };
        Ok(Self { revision, after })
    }
}

/// A text that is less than `key`, with no key of names in between.
fn before(key: &str) -> String {
    let mut letters: Vec<char> = key.chars().collect();
    let last = letters.pop().map_or(0, u32::from);
    letters.extend(char::from_u32(last.saturating_sub(1)));
    letters.push(char::MAX);
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Status> {
        let request = crate::request::parse(&Default::default(), &http::Method::GET, "/api/v1/pods", Some(query))
            .unwrap()
            .unwrap();
        Page::of(&request)
    }

    #[test]
    fn parameters_say_which_state_and_which_page() {
        let whole = |at| Ok(Page { at, after: None, limit: usize::MAX });
        assert_eq!(page(""), whole(At::Newest));
        assert_eq!(page("resourceVersion=0&limit=5"), whole(At::Any));
        assert_eq!(page("resourceVersion=7"), whole(At::NotOlder(7)));
        assert_eq!(page("resourceVersion=9223372036854775808"), whole(At::NotOlder(i64::MAX)));
        assert!(page("watch=1&resourceVersion=7&continue=x").is_err_and(|error| error.code == 400), "not for its rule");
        assert_eq!(page("resourceVersion=7&resourceVersionMatch=Exact"), whole(At::Exactly(7)));
        let first = Page { at: At::Exactly(7), after: None, limit: 5 };
        assert_eq!(page("resourceVersion=7&limit=5"), Ok(first));
        let token = Token { revision: 7, after: "n/a".into() }.encode("");
        let next = Page { at: At::Exactly(7), after: Some("n/a".into()), limit: 5 };
        assert_eq!(page(&format!("limit=5&continue={token}")), Ok(next));
        let token = Token { revision: Token::NEWEST, after: "n/a".into() }.encode("");
        assert_eq!(page(&format!("continue={token}")).unwrap().at, At::Newest);
    }

    #[test]
    fn tokens_that_cannot_be_read_are_told_as_go_does() {
        for (token, told) in [
            ("x", "illegal base64 data at input byte 0"),
            ("abcde", "illegal base64 data at input byte 4"),
            ("ab!d", "illegal base64 data at input byte 2"),
            ("x1", "invalid character 'Ç' looking for beginning of value"),
        ] {
            let found = Token::decode(token, "").unwrap_err();
            assert_eq!(found, format!("continue key is not valid: {told}"), "{token}");
        }
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused() {
        let token = Token { revision: 7, after: "n/a".into() }.encode("");
        for (query, code) in [
            ("resourceVersionMatch=Exact".to_owned(), 422),
            ("resourceVersionMatch=Exact&resourceVersion=0".to_owned(), 422),
            ("resourceVersionMatch=Best&resourceVersion=1".to_owned(), 422),
            (format!("resourceVersionMatch=Exact&resourceVersion=1&continue={token}"), 422),
            ("sendInitialEvents=true".to_owned(), 422),
            (format!("resourceVersion=1&continue={token}"), 400),
            ("continue=x".to_owned(), 400),
            ("resourceVersion=x".to_owned(), 400),
            ("resourceVersion=18446744073709551616".to_owned(), 400),
            ("watch=1&continue=x".to_owned(), 422),
            ("watch=1&resourceVersion=0&continue=x".to_owned(), 422),
            ("limit=x".to_owned(), 400),
        ] {
            assert_eq!(page(&query).map_err(|error| error.code), Err(code), "{query}");
        }
    }
}
