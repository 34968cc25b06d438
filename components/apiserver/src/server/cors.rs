//! Pages of other origins: what browsers are told of them (`--cors-allowed-origins`); pure.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use kinit_serving::Body;
use regex::Regex;

/// What may be done from there, and with what; upstream's words.
const TOLD: [(header::HeaderName, &str); 4] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE, PATCH"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
    ),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
];

/// The origins whose pages may ask.
#[derive(Clone, Debug, Default)]
pub struct Cors(Vec<Regex>);

impl Cors {
    /// Reads the expressions. Each must say where a host begins (`^` or `//`) and ends (`$` or `:`), so that none lets in a host whose
    /// name only contains the one that was meant.
    pub fn new(expressions: &[String]) -> Result<Self, String> {
        let read = |text: &String| {
            if text.is_empty() {
                return Err("empty value in --cors-allowed-origins".to_owned());
            }
            let wrong = |why: &str| format!("--cors-allowed-origins has an invalid regular expression: {why}");
            let expression = Regex::new(text).map_err(|error| wrong(&error.to_string()))?;
            let pins = |marks: [&str; 2]| marks.iter().any(|mark| text.contains(mark));
            if pins(["^", "//"]) && pins(["$", ":"]) {
                Ok(expression)
            } else {
                Err(wrong("regular expression does not pin to start/end of host in the origin header"))
            }
        };
        let none = matches!(expressions, [only] if only.is_empty());
        expressions.iter().filter(|_| !none).map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The origin of a request if its pages may ask.
    pub fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok().filter(|text| !text.is_empty())?;
        self.0.iter().any(|expression| expression.is_match(text)).then(|| origin.clone())
    }

    /// Tells a browser what that origin may do.
    pub fn tell(origin: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in TOLD {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// Whether a browser only asks what it may ask: such a request of an allowed origin is answered with [`preflight`], whoever asks.
pub fn is_preflight(method: &Method) -> bool {
    method == Method::OPTIONS
}

/// The answer to a browser that only asks: the headers say it all.
pub fn preflight() -> Response<Body> {
    let mut answer = Response::new(kinit_serving::full(""));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(expressions: &[&str]) -> Result<Cors, String> {
        Cors::new(&expressions.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn expressions_say_where_hosts_begin_and_end() {
        for text in [r"//example\.com(:|$)", r"^https://example\.com$", "//a:"] {
            assert!(cors(&[text]).is_ok(), "{text}");
        }
        let pin = "regular expression does not pin to start/end of host in the origin header";
        assert!(cors(&[""]).is_ok(), "the flag without a value lets nobody in");
        for (text, why) in [
            ("", "empty value in --cors-allowed-origins"),
            ("(", "invalid"),
            ("example.com", pin),
            ("^x", pin),
            ("x$", pin),
        ] {
            assert!(cors(&["^a$", text]).is_err_and(|error| error.contains(why)), "{text}");
        }
    }

    #[test]
    fn browsers_are_told_of_allowed_origins_alone() {
        let cors = cors(&[r"//example\.com(:|$)"]).unwrap();
        let asked = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            cors.allowed(&headers)
        };
        for (origin, allowed) in [
            ("https://example.com", true),
            ("http://example.com:8080", true),
            ("https://example.com.evil.org", false),
            ("https://notexample.com", false),
            ("", false),
        ] {
            assert_eq!(asked(origin).is_some(), allowed, "{origin}");
        }
        assert_eq!(cors.allowed(&HeaderMap::new()), None);
        let mut told = HeaderMap::new();
        Cors::tell(asked("https://example.com").unwrap(), &mut told);
        assert_eq!(told["access-control-allow-origin"], "https://example.com");
        assert_eq!(told["access-control-allow-credentials"], "true");
        assert_eq!(told["access-control-expose-headers"], "Date");
        assert_eq!(told.len(), 5);
    }
}
