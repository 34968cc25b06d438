//! What a list is asked to be of: a state, and a page of it. Pure.

use kinit_api::status::Status;
use serde_json::{Value, json};

use crate::request::ResourceRequest;

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
        let (version, rule) = (request.parameter("resourceVersion"), request.parameter("resourceVersionMatch"));
        let token = request.parameter("continue");
        let forbidden = |field: &str, why: &str| {
            let text = format!("Forbidden: {field} is forbidden {why}");
            Status::invalid("meta.k8s.io", "ListOptions", "", &[("FieldValueForbidden", field.to_owned(), text)])
        };
        if !request.parameter("sendInitialEvents").is_empty() {
            return Err(forbidden("sendInitialEvents", "for list"));
        }
        if !rule.is_empty() {
            let text = format!("Unsupported value: {rule:?}: supported values: \"Exact\", \"NotOlderThan\"");
            let why = match rule {
                _ if !token.is_empty() => "when continue is provided",
                _ if version.is_empty() => "unless resourceVersion is provided",
                "Exact" if version == "0" => "for resourceVersion \"0\" with \"Exact\"",
                "Exact" | "NotOlderThan" => "",
                _ => {
                    let error = ("FieldValueNotSupported", "resourceVersionMatch".to_owned(), text);
                    return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[error]));
                }
            };
            if !why.is_empty() {
                return Err(forbidden("resourceVersionMatch", why));
            }
        }
        request.integer("timeoutSeconds")?;
        let limit = request.integer("limit")?.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        if !token.is_empty() {
            if !matches!(version, "" | "0") {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            let told = |why| Status::bad_request(format!("invalid continue token: {why}"));
            let Token { revision, after } = Token::decode(token).map_err(told)?;
            let at = if revision == Token::NEWEST { At::Newest } else { At::Exactly(revision) };
            return Ok(Self { at, after: Some(after), limit });
        }
        let revision = || {
            let revision = version.parse().ok().filter(|revision: &i64| *revision >= 0);
            revision.ok_or_else(|| Status::bad_request(format!("invalid resource version: {}", no_version(version))))
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

/// What is wrong with a text that is no resource version.
pub fn no_version(text: &str) -> String {
    format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
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

    /// The token as clients have it: they give it back unread.
    pub fn encode(&self) -> String {
        use base64::Engine;
        // Upstream's tokens name the first key that may follow.
        let token = json!({"v": VERSION, "rv": self.revision, "start": format!("{}\0", self.after)});
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn decode(text: &str) -> Result<Self, String> {
        use base64::Engine;
        let invalid = |why: &str| format!("continue key is not valid: {why}");
        let bytes =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|e| invalid(&e.to_string()))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
        if token["v"] != VERSION {
            return Err(invalid("server does not recognize this encoded version"));
        }
        let revision = token["rv"].as_i64().filter(|revision| *revision > 0 || *revision == Self::NEWEST);
        let after = token["start"].as_str().unwrap_or_default().trim_end_matches('\0');
        match revision {
            Some(revision) if !after.is_empty() => Ok(Self { revision, after: after.to_owned() }),
            _ => Err(invalid("incorrect encoded start key or resource version")),
        }
    }
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
        assert_eq!(page("resourceVersion=7&resourceVersionMatch=Exact"), whole(At::Exactly(7)));
        let first = Page { at: At::Exactly(7), after: None, limit: 5 };
        assert_eq!(page("resourceVersion=7&limit=5"), Ok(first));
        let token = Token { revision: 7, after: "n/a".into() }.encode();
        let next = Page { at: At::Exactly(7), after: Some("n/a".into()), limit: 5 };
        assert_eq!(page(&format!("limit=5&continue={token}")), Ok(next));
        let token = Token { revision: Token::NEWEST, after: "n/a".into() }.encode();
        assert_eq!(page(&format!("continue={token}")).unwrap().at, At::Newest);
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused() {
        let token = Token { revision: 7, after: "n/a".into() }.encode();
        for (query, code) in [
            ("resourceVersionMatch=Exact".to_owned(), 422),
            ("resourceVersionMatch=Exact&resourceVersion=0".to_owned(), 422),
            ("resourceVersionMatch=Best&resourceVersion=1".to_owned(), 422),
            (format!("resourceVersionMatch=Exact&resourceVersion=1&continue={token}"), 422),
            ("sendInitialEvents=true".to_owned(), 422),
            (format!("resourceVersion=1&continue={token}"), 400),
            ("continue=x".to_owned(), 400),
            ("resourceVersion=x".to_owned(), 400),
            ("limit=x".to_owned(), 400),
        ] {
            assert_eq!(page(&query).map_err(|error| error.code), Err(code), "{query}");
        }
    }
}
