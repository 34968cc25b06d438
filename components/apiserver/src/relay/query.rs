//! What kubelets are asked, from what clients ask; pure.

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
            text => text.parse().map(Some).map_err(|_| Status::bad_request(format!("{name}: {text:?} is no number"))),
        }
    }
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
pub fn for_ports(query: &Query) -> String {
    let ports: Vec<&str> =
        query.0.iter().filter(|(key, _)| key == "ports").flat_map(|(_, value)| value.split(',')).collect();
    if ports.is_empty() {
        return String::new();
    }
    Serializer::new(String::new()).append_pair("port", &ports.join(",")).finish()
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
    if let Some(value) = seconds.filter(|value| *value < 1 && time.is_empty()) {
        invalid("sinceSeconds", value, "must be greater than 0");
    }
    let mut forbidden = |text: &str| {
        errors.push(("FieldValueForbidden", String::new(), format!("Forbidden: {text}")));
    };
    if seconds.is_some() && !time.is_empty() {
        forbidden("at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    let stream = match query.get("stream") {
        "" => "All",
        stream => stream,
    };
    if stream != "All" && tail.is_some() {
        forbidden("`tailLines` and specific `stream` are mutually exclusive for now");
    }
    if !matches!(stream, "All" | "Stdout" | "Stderr") {
        let text = format!("Unsupported value: {stream:?}: supported values: \"All\", \"Stderr\", \"Stdout\"");
        errors.push(("FieldValueNotSupported", "stream".into(), text));
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", pod, &errors));
    }
    let mut out = Serializer::new(String::new());
    for name in ["follow", "previous", "timestamps"] {
        if query.flag(name) {
            out.append_pair(name, "true");
        }
    }
    for (name, value) in [("sinceSeconds", seconds), ("tailLines", tail), ("limitBytes", limit)] {
        if let Some(value) = value {
            out.append_pair(name, &value.to_string());
        }
    }
    if !time.is_empty() {
        out.append_pair("sinceTime", time);
    }
    out.append_pair("stream", stream);
    Ok(out.finish())
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
        assert_eq!(for_ports(&Query::parse(Some("ports=80&ports=81"))), "port=80%2C81");
    }

    #[test]
    fn logs_are_asked_for_as_the_client_did() {
        let asked = |text| for_logs("p", &Query::parse(Some(text)));
        assert_eq!(asked("follow=true&tailLines=5").unwrap(), "follow=true&tailLines=5&stream=All");
        assert_eq!(asked("").unwrap(), "stream=All");
        for (text, wanted) in [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ] {
            assert_eq!(asked(text).unwrap_err().message, format!("PodLogOptions \"p\" is invalid: {wanted}"));
        }
        assert_eq!(asked("stream=x").unwrap_err().code, 422);
        assert_eq!(asked("sinceSeconds=1&sinceTime=2027-01-01T00:00:00Z").unwrap_err().code, 422);
        assert_eq!(asked("tailLines=x").unwrap_err().code, 400);
    }
}
