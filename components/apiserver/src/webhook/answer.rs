//! What a server that was called answered, and what the answer means where it is none that was hoped for; pure, in the words of
//! upstream's client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use kinit_api::strict;
use serde_json::Value;

use crate::handlers::sent::{NO_VERSION, shapeless, untyped_tree};

/// How much of an answer that is no object is told.
const MOST_TOLD: usize = 2048;

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Empty where it says none.
    pub content_type: String,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

impl Answer {
    pub fn new(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let later = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        Self {
            status,
            content_type: text(header::CONTENT_TYPE).to_owned(),
            retry_after: text(header::RETRY_AFTER).parse().ok().filter(|_| later).map(Duration::from_secs),
            body,
        }
    }

    /// The body of a success; the error is what clients are told of all else.
    pub fn success(self) -> Result<Bytes, String> {
        match self.status.as_u16() {
            200..=206 => Ok(self.body),
            _ => Err(self.said().unwrap_or_else(|| self.generic())),
        }
    }

    /// The object that a success carries, JSON or YAML, whatever its type is called.
    pub fn object(self) -> Result<Value, String> {
        let content_type = if self.content_type.is_empty() { "application/json" } else { &self.content_type };
        let empty =
            format!("0-length response with status code: {} and content type: {content_type}", self.status.as_u16());
        let body = self.success()?;
        if body.is_empty() {
            return Err(empty);
        }
        tree(&body)
    }

    /// What a Status says that came as the answer.
    fn said(&self) -> Option<String> {
        let status = tree(&self.body).ok()?;
        let version = status["apiVersion"].as_str().unwrap_or_default();
        let failed = status["kind"] == "Status" && matches!(version, "" | "v1") && status["status"] == "Failure";
        failed.then(|| status["message"].as_str().unwrap_or_default().to_owned())
    }

    /// What is said of a code, with the body where it is text.
    fn generic(&self) -> String {
        let is_text = self.content_type.is_empty() || self.content_type.starts_with("text/");
        let part = &self.body[..self.body.len().min(MOST_TOLD)];
        let told = if is_text { String::from_utf8_lossy(part).trim().to_owned() } else { "unknown".to_owned() };
        match self.status.as_u16() {
            400 => "the server rejected our request for an unknown reason".to_owned(),
            401 => "the server has asked for the client to provide credentials".to_owned(),
            404 => "the server could not find the requested resource".to_owned(),
            405 => "the server does not allow this method on the requested resource".to_owned(),
            406 if matches!(told.as_str(), "" | "unknown") => {
                "the server was unable to respond with a content type that the client supports".to_owned()
            }
            403 | 406 | 415 => told,
            409 => "the server reported a conflict".to_owned(),
            422 => "the server rejected our request due to an error in our request".to_owned(),
            429 => "the server has received too many requests and has asked us to try again later".to_owned(),
            503 => "the server is currently unable to handle the request".to_owned(),
            504 => "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned(),
            500.. => format!("an error on the server ({told:?}) has prevented the request from succeeding"),
            code => format!("the server responded with the status code {code} but did not return more information"),
        }
    }
}

/// The tree that bytes are, which must be an object or nothing.
fn tree(bytes: &[u8]) -> Result<Value, String> {
    let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
    let parsed = if is_json {
        strict::parse(bytes).map_err(|error| format!("{NO_VERSION}{}", strict::go_syntax(bytes, &error)))
    } else {
        strict::parse_yaml(bytes).map_err(|error| strict::go_yaml(&error))
    };
    let value = parsed?.value;
    match &value {
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        Value::Object(_) => untyped_tree(&value).map_or(Ok(value), Err),
        other => Err(shapeless(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, content_type: &'static str, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        }
        headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        Answer::new(StatusCode::from_u16(code).unwrap(), &headers, Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn what_is_no_success_is_told_as_upstreams_client_tells_it() {
        let (text, json) = ("text/plain", "application/json");
        let denied = r#"{"apiVersion":"v1","kind":"Status","status":"Failure","message":"mm","code":403}"#;
        for (code, content_type, body, wanted) in [
            (403, json, denied, "mm"),
            (403, text, "oh no", "oh no"),
            (403, json, "oh no", "unknown"),
            (302, json, "", "the server responded with the status code 302 but did not return more information"),
            (400, text, "oh no", "the server rejected our request for an unknown reason"),
            (406, json, "{}", "the server was unable to respond with a content type that the client supports"),
            (409, text, "oh no", "the server reported a conflict"),
            (413, text, "x", "the server responded with the status code 413 but did not return more information"),
            (
                500,
                text,
                "oh \"no\"\n",
                r#"an error on the server ("oh \"no\"") has prevented the request from succeeding"#,
            ),
            (500, "", "", r#"an error on the server ("") has prevented the request from succeeding"#),
            (
                500,
                json,
                r#"{"message":"a"}"#,
                r#"an error on the server ("unknown") has prevented the request from succeeding"#,
            ),
            (503, text, "oh no", "the server is currently unable to handle the request"),
        ] {
            assert_eq!(answer(code, content_type, body).success().unwrap_err(), wanted, "{code} {body}");
        }
    }

    #[test]
    fn bodies_that_are_no_object_are_told_as_gos_decoder_tells_them() {
        let into = r#"Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        let shape = |what: &str| format!("{NO_VERSION}json: cannot unmarshal {what} into {into}");
        for (body, wanted) in [
            ("", "0-length response with status code: 200 and content type: text/html".to_owned()),
            ("<html>x</html>", shape("string")),
            ("[1]", shape("array")),
            ("5", shape("number")),
            (r#"{"apiVersion": "#, format!("{NO_VERSION}unexpected end of JSON input")),
        ] {
            assert_eq!(answer(200, "text/html", body).object().unwrap_err(), wanted, "{body}");
        }
        assert_eq!(answer(201, "", "a: b").object().unwrap()["a"], "b");
        assert_eq!(answer(200, "", "null").object().unwrap(), serde_json::json!({}));
    }

    #[test]
    fn who_is_busy_may_say_when_to_come_again() {
        let waits = |code| answer(code, "", "").retry_after.map(|wait| wait.as_secs());
        assert_eq!([200, 400, 429, 500, 503].map(waits), [None, None, Some(1), Some(1), Some(1)]);
    }
}
