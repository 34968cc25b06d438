//! What kubelets are asked, from what clients ask; pure.

use std::num::{IntErrorKind, ParseIntError};

use kinit_api::status::Status;
use url::form_urlencoded::{Serializer, parse};

/// The pairs of a query, in order; a name may come more than once.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: Option<&str>) -> Self {
        Self(parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The first value of a name; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether a boolean is on.
    pub fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|(key, value)| key == name && !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.get(name) {
            "" => Ok(None),
            text => integer("ParseInt", text).map(Some),
        }
    }
}

/// A number as Go's `function` reads it, and in its words where it is none.
fn integer<T: std::str::FromStr<Err = ParseIntError>>(function: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Status::bad_request(format!("strconv.{function}: parsing {text:?}: {why}"))
    })
}

/// Whether a text is a time of RFC 3339; Go's words where it is none.
fn check_time(text: &str) -> Result<(), Status> {
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    const PARTS: [&str; 11] = ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"];
    if text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(());
    }
    let mut rest = text;
    let mut failed = "Z07:00";
    for part in PARTS {
        let is_number = part.starts_with(|letter: char| letter.is_ascii_digit());
        let head = rest.get(..part.len()).unwrap_or_default();
        let fits = if is_number {
            head.len() == part.len() && head.bytes().all(|byte| byte.is_ascii_digit())
        } else {
            head == part
        };
        if !fits {
            failed = part;
            break;
        }
        rest = &rest[part.len()..];
    }
    let message = format!("parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {failed:?}");
    Err(Status::bad_request(message))
}

/// Which streams of a container a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// The streams of an exec or an attach. A terminal has one stream out.
pub fn streams(query: &Query) -> Result<Streams, Status> {
    let tty = query.flag("tty");
    let all = Streams { stdin: query.flag("stdin"), stdout: query.flag("stdout"), stderr: query.flag("stderr"), tty };
    if !(all.stdin || all.stdout || all.stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(Streams { stderr: all.stderr && !tty, ..all })
}

/// The query of the kubelet's `/exec` and `/attach`.
pub fn for_streams(streams: Streams, query: &Query) -> String {
    let mut out = Serializer::new(String::new());
    for (name, on) in
        [("input", streams.stdin), ("output", streams.stdout), ("error", streams.stderr), ("tty", streams.tty)]
    {
        if on {
            out.append_pair(name, "1");
        }
    }
    for (_, word) in query.0.iter().filter(|(key, _)| key == "command") {
        out.append_pair("command", word);
    }
    out.finish()
}

/// The query of the kubelet's `/portForward`.
pub fn for_ports(query: &Query) -> Result<String, Status> {
    let ports: Vec<&str> =
        query.0.iter().filter(|(key, _)| key == "ports").flat_map(|(_, value)| value.split(',')).collect();
    for port in &ports {
        integer::<u16>("ParseUint", port)
            .map_err(|status| Status { message: format!("cannot convert to []int32: {}", status.message), ..status })?;
    }
    if ports.is_empty() {
        return Ok(String::new());
    }
    Ok(Serializer::new(String::new()).append_pair("port", &ports.join(",")).finish())
}

/// The query of the kubelet's `/containerLogs`; what makes no sense is refused in upstream's words.
pub fn for_logs(pod: &str, query: &Query) -> Result<String, Status> {
    let mut errors: Vec<(&str, String, String)> = Vec::new();
    let mut invalid = |field: &str, value: i64, rule: &str| {
        errors.push(("FieldValueInvalid", field.into(), format!("Invalid value: {value}: {rule}")));
    };
    let tail = query.number("tailLines")?;
    if let Some(value) = tail.filter(|value| *value < 0) {
        invalid("tailLines", value, "must be greater than or equal to 0");
    }
    let limit = query.number("limitBytes")?;
    if let Some(value) = limit.filter(|value| *value < 1) {
        invalid("limitBytes", value, "must be greater than 0");
    }
    let seconds = query.number("sinceSeconds")?;
    let time = query.get("sinceTime");
    if !time.is_empty() {
        check_time(time)?;
    }
    if let Some(value) = seconds.filter(|value| *value < 1 && time.is_empty()) {
        invalid("sinceSeconds", value, "must be greater than 0");
    }
    if seconds.is_some() && !time.is_empty() {
        let text = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified".to_owned();
        // The whole of the options is what is wrong, and this is how upstream says that.
        errors.push(("FieldValueForbidden", "[]".into(), text));
    }
    if !query.get("stream").is_empty() {
        // Upstream has a feature for it that is off.
        errors.push(("FieldValueForbidden", "stream".into(), "Forbidden: may not be specified".into()));
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", pod, &errors));
    }
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for name in ["follow", "previous", "timestamps"] {
        if query.flag(name) {
            pairs.push((name, "true".to_owned()));
        }
    }
    for (name, value) in [("sinceSeconds", seconds), ("tailLines", tail), ("limitBytes", limit)] {
        pairs.extend(value.map(|value| (name, value.to_string())));
    }
    if !time.is_empty() {
        pairs.push(("sinceTime", time.to_owned()));
    }
    pairs.sort_unstable();
    Ok(Serializer::new(String::new()).extend_pairs(pairs).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_their_order_and_repetitions() {
        let query = Query::parse(Some("command=sh&command=-c&command=a%20b&stdin=true&stdout=1&tty=false&container=x"));
        let wanted = streams(&query).unwrap();
        assert_eq!(wanted, Streams { stdin: true, stdout: true, ..Streams::default() });
        assert_eq!(for_streams(wanted, &query), "input=1&output=1&command=sh&command=-c&command=a+b");
        assert_eq!(streams(&Query::parse(None)).unwrap_err().code, 400);
        assert!(!streams(&Query::parse(Some("tty=1&stderr=1"))).unwrap().stderr);
        assert_eq!(for_ports(&Query::parse(Some("ports=80&ports=81"))).unwrap(), "port=80%2C81");
        let refused = for_ports(&Query::parse(Some("ports=x"))).unwrap_err().message;
        assert_eq!(refused, "cannot convert to []int32: strconv.ParseUint: parsing \"x\": invalid syntax");
    }

    #[test]
    fn logs_are_asked_for_as_the_client_did() {
        let asked = |text| for_logs("p", &Query::parse(Some(text)));
        assert_eq!(asked("tailLines=5&follow=true&limitBytes=7").unwrap(), "follow=true&limitBytes=7&tailLines=5");
        assert_eq!(asked("").unwrap(), "");
        for (text, wanted) in [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ] {
            assert_eq!(asked(text).unwrap_err().message, format!("PodLogOptions \"p\" is invalid: {wanted}"));
        }
        let layout = "2006-01-02T15:04:05Z07:00";
        for (text, code, wanted) in [
            ("stream=Stdout", 422, "PodLogOptions \"p\" is invalid: stream: Forbidden: may not be specified".to_owned()),
            (
                "sinceSeconds=1&sinceTime=2027-01-01T00:00:00Z",
                422,
                "PodLogOptions \"p\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
                    .to_owned(),
            ),
            ("tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
            ("limitBytes=99999999999999999999", 400, "strconv.ParseInt: parsing \"99999999999999999999\": value out of range".to_owned()),
            ("sinceTime=bad", 400, format!("parsing time \"bad\" as {layout:?}: cannot parse \"bad\" as \"2006\"")),
            (
                "sinceTime=2027-01-01",
                400,
                format!("parsing time \"2027-01-01\" as {layout:?}: cannot parse \"\" as \"T\""),
            ),
        ] {
            let refused = asked(text).unwrap_err();
            assert_eq!((refused.code, refused.message), (code, wanted), "{text}");
        }
    }
}
