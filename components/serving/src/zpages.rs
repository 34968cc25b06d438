//! `/flagz` and `/statusz`: what a component was started with and since when it runs, as text for people, or as the objects
//! `Flagz` and `Statusz` of `config.k8s.io` where a client asks for those by its `Accept` header.
//!
//! Who may look is the component's to decide, before it asks [`Pages`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};

use clap::{ArgAction, ArgMatches, Command};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::accept::{Clause, clauses, pretty};
use crate::{Body, full};

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
/// In the order in which they are tried for a range of types.
const OFFERED: [&str; 3] = [JSON, YAML, TEXT];
/// The group of both kinds.
const GROUP: &str = "config.k8s.io";
/// Both kinds' versions, and whether they are to be used no more; they have the same fields.
const VERSIONS: [(&str, bool); 2] = [("v1alpha1", true), ("v1beta1", false)];
/// First path elements that are no help in looking for a fault.
const NO_HELP: [&str; 5] = ["apis", "api", "openid", "openapi", ".well-known"];
/// What stands between names and values in the text: any of these, so that nobody takes it for a format.
const BETWEEN: [&str; 4] = [":", ": ", "=", " "];

/// The flags of a process, by name, with their values or defaults in the form in which the command line has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<String, String>);

impl Flags {
    /// What `matches`, which `command` gave, has for each flag. A flag with several values has them in brackets.
    pub fn of(command: &Command, matches: &ArgMatches) -> Self {
        let flags = command.get_arguments().filter_map(|flag| {
            let name = flag.get_long()?;
            let values = matches.get_raw(flag.get_id().as_str());
            let values: Vec<_> = values.into_iter().flatten().map(|value| value.to_string_lossy()).collect();
            let several = flag.get_value_delimiter().is_some() || matches!(flag.get_action(), ArgAction::Append);
            let value = values.join(",");
            Some((name.to_owned(), if several { format!("[{value}]") } else { value }))
        });
        Self(flags.collect())
    }
}

/// The pages of one component.
#[derive(Clone, Debug)]
pub struct Pages {
    component: &'static str,
    flags: Option<Flags>,
    paths: Vec<String>,
}

/// One of the pages.
#[derive(Clone, Copy, PartialEq)]
enum Page {
    Flagz,
    Statusz,
}

impl Page {
    fn kind(self) -> &'static str {
        match self {
            Self::Flagz => "Flagz",
            Self::Statusz => "Statusz",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Flagz => "flagz",
            Self::Statusz => "statusz",
        }
    }
}

/// What an answer is to be.
#[derive(Debug, PartialEq)]
enum Form {
    Text,
    /// An object: its media type, its version, and whether that is to be used no more.
    Object(&'static str, &'static str, bool),
}

impl Pages {
    /// The pages of `component` (as upstream's pages name it), with `/flagz` where its flags are known. `paths` are all that it
    /// serves; what is told is where they begin.
    pub fn new<'a>(component: &'static str, flags: Option<Flags>, paths: impl IntoIterator<Item = &'a str>) -> Self {
        let own = flags.is_some().then_some("/flagz");
        let begins = paths.into_iter().chain(own).filter_map(|path| path.strip_prefix('/')?.split('/').next());
        let mut paths: Vec<String> = begins
            .filter(|begin| !begin.is_empty() && !NO_HELP.contains(begin))
            .map(|begin| format!("/{begin}"))
            .collect();
        paths.sort_unstable();
        paths.dedup();
        Self { component, flags, paths }
    }

    /// Answers `/flagz` and `/statusz`; `None` for any other path.
    pub fn respond(&self, path: &str, query: Option<&str>, headers: &HeaderMap) -> Option<Response<Body>> {
        let page = match path {
            "/flagz" if self.flags.is_some() => Page::Flagz,
            "/statusz" => Page::Statusz,
            _ => return None,
        };
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("pretty="));
        let pretty = pretty(asked.unwrap_or_default(), text(header::USER_AGENT));
        let started = Timestamp::from_second(crate::metrics::process_start()).unwrap_or_default();
        let up = Timestamp::now().as_second().saturating_sub(started.as_second()).max(0);
        Some(match choose(text(header::ACCEPT), page) {
            Ok(Form::Text) => {
                let at = usize::try_from(std::hash::RandomState::new().build_hasher().finish() % 4).unwrap_or_default();
                written(StatusCode::OK, "text/plain; charset=utf-8", self.text(page, BETWEEN[at], started, up))
            }
            Ok(Form::Object(media, version, deprecated)) => {
                let object = self.object(page, version, started, up);
                let media_type = format!("{media};g={GROUP};v={version};as={}", page.kind());
                let mut answer = written(StatusCode::OK, &media_type, encoded(&object, media, pretty));
                if deprecated {
                    let warning = format!(
                        "299 - \"This version of the {} endpoint is deprecated. Please use a newer version.\"",
                        page.name()
                    );
                    if let Ok(warning) = HeaderValue::from_str(&warning) {
                        answer.headers_mut().insert(header::WARNING, warning);
                    }
                }
                answer
            }
            Err(media) => {
                let message = format!("only the following media types are accepted: {}", OFFERED.join(", "));
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                    "reason": "NotAcceptable", "code": 406,
                });
                written(StatusCode::NOT_ACCEPTABLE, media, encoded(&status, media, pretty))
            }
        })
    }

    fn text(&self, page: Page, between: &str, started: Timestamp, up: i64) -> String {
        let mut text = format!(
            "\n{} {}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
             guarantees and is for debugging purposes only.\n",
            self.component,
            page.name()
        );
        // Writing to a string does not fail.
        let mut line = |words: std::fmt::Arguments<'_>| {
            let _ = text.write_fmt(words);
        };
        match page {
            Page::Flagz => {
                for (name, value) in self.flags.iter().flat_map(|flags| &flags.0) {
                    line(format_args!("{name}{between}{value}\n"));
                }
            }
            Page::Statusz => {
                let started = started.to_zoned(TimeZone::system());
                line(format_args!("\nStarted{between} {}\n", started.strftime("%a %b %e %H:%M:%S %Z %Y")));
                line(format_args!("Up{between} {} hr {:02} min {:02} sec\n", up / 3600, up / 60 % 60, up % 60));
                line(format_args!("Go version{between} \n"));
                line(format_args!("Binary version{between} {}\n", binary_version()));
                line(format_args!("Emulation version{between} {}\n", emulation_version()));
                let paths = self.paths.join(" ");
                if paths.is_empty() {
                    line(format_args!("\n"));
                } else {
                    line(format_args!("Paths{between} {paths}\n"));
                }
            }
        }
        text
    }

    fn object(&self, page: Page, version: &str, started: Timestamp, up: i64) -> Value {
        let mut object = json!({
            "kind": page.kind(), "apiVersion": format!("{GROUP}/{version}"), "metadata": {"name": self.component},
        });
        let more = match (page, &self.flags) {
            (Page::Flagz, Some(flags)) if !flags.0.is_empty() => json!({"flags": flags.0}),
            (Page::Flagz, _) => json!({}),
            (Page::Statusz, _) => json!({
                "startTime": started.to_string(), "uptimeSeconds": up, "goVersion": "",
                "binaryVersion": binary_version(), "emulationVersion": emulation_version(), "paths": self.paths,
            }),
        };
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend::<Map<String, Value>>(more);
        }
        object
    }
}

/// The form of the answer for an `Accept` header, or the media type in which it is refused.
fn choose(accept: &str, page: Page) -> Result<Form, &'static str> {
    if accept.trim().is_empty() {
        return Ok(Form::Text);
    }
    let clauses = clauses(accept);
    let chosen = clauses.iter().find_map(|clause| {
        OFFERED.into_iter().filter(|media| clause.takes(media)).find_map(|media| form(clause, media, page))
    });
    chosen.ok_or_else(|| {
        let plain = clauses.iter().filter(|clause| named(clause).is_none());
        plain.flat_map(|clause| OFFERED.into_iter().filter(|media| clause.takes(media))).next().unwrap_or(JSON)
    })
}

/// Kind, group and version that a clause asks for.
fn named<'a>(clause: &Clause<'a>) -> Option<[&'a str; 3]> {
    let names = ["as", "g", "v"];
    clause.parameters.iter().any(|(name, _)| names.contains(name)).then(|| names.map(|name| clause.parameter(name)))
}

fn form(clause: &Clause<'_>, media: &'static str, page: Page) -> Option<Form> {
    if !clause.parameter("stream").is_empty() || !clause.parameter("sv").is_empty() {
        return None;
    }
    match (media, named(clause)) {
        (TEXT, None) => Some(Form::Text),
        (TEXT, Some(_)) | (_, None) => None,
        (_, Some([kind, group, version])) => {
            let known = VERSIONS.into_iter().find(|(known, _)| *known == version);
            let (version, deprecated) = known.filter(|_| kind == page.kind() && group == GROUP)?;
            Some(Form::Object(media, version, deprecated))
        }
    }
}

fn encoded(object: &Value, media: &str, pretty: bool) -> String {
    match media {
        YAML => serde_yaml::to_string(object).unwrap_or_default(),
        _ if pretty => format!("{object:#}"),
        _ => format!("{object}\n"),
    }
}

fn written(status: StatusCode, media: &str, text: String) -> Response<Body> {
    let mut answer = Response::new(full(text));
    *answer.status_mut() = status;
    if let Ok(media) = HeaderValue::from_str(media) {
        answer.headers_mut().insert(header::CONTENT_TYPE, media);
    }
    answer
}

fn binary_version() -> &'static str {
    kinit_version::kubernetes().trim_start_matches('v')
}

/// Major and minor of it.
fn emulation_version() -> &'static str {
    binary_version().rsplit_once('.').map_or(binary_version(), |(version, _)| version)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn flags(arguments: &[&str]) -> Flags {
        let command = Command::new("x")
            .arg(Arg::new("v").long("v").default_value("0"))
            .arg(Arg::new("file").long("file"))
            .arg(Arg::new("short").short('s'))
            .arg(Arg::new("quick").long("quick").action(ArgAction::SetTrue))
            .arg(Arg::new("urls").long("urls").value_delimiter(','))
            .arg(Arg::new("names").long("names").action(ArgAction::Append));
        Flags::of(&command, &command.clone().get_matches_from(arguments))
    }

    async fn asked(pages: &Pages, path: &str, accept: &str) -> (u16, HeaderMap, String) {
        use http_body_util::BodyExt;
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        let answer = pages.respond(path, None, &headers).unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn pages() -> Pages {
        let paths = ["/", "/apis/apps/v1", "/openapi/v2", "/healthz/ping", "/healthz", "/metrics"];
        Pages::new("kube-example", Some(flags(&["x", "--urls=a,b", "--names=c", "--names=d", "-s1"])), paths)
    }

    #[test]
    fn flags_have_their_values_or_defaults() {
        let read = |arguments: &[&str]| {
            flags(arguments).0.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(read(&["x"]), "file= names=[] quick=false urls=[] v=0");
        let given = ["x", "--file=f", "--names=a", "--names=b", "--quick", "--urls=c,d", "--v=2"];
        assert_eq!(read(&given), "file=f names=[a,b] quick=true urls=[c,d] v=2");
    }

    /// The cases of upstream's tests of serving, and what is answered in which form.
    #[tokio::test]
    async fn clients_get_text_unless_they_ask_for_an_object() {
        const NOTHING: (u16, &str, Option<bool>) = (406, "", None);
        let beta = |media: &str| format!("{media};v=v1beta1;g=config.k8s.io;as=KIND");
        let alpha = beta(JSON).replace("v1beta1", "v1alpha1");
        let cases = [
            (TEXT.to_owned(), (200, "text/plain; charset=utf-8", None)),
            (String::new(), (200, "text/plain; charset=utf-8", None)),
            ("  ".to_owned(), (200, "text/plain; charset=utf-8", None)),
            ("*/*".to_owned(), (200, "text/plain; charset=utf-8", None)),
            (format!("{},*/*", beta(JSON).replace("v1beta1", "foo")), (200, "text/plain; charset=utf-8", None)),
            (beta(JSON), (200, "application/json;g=config.k8s.io;v=v1beta1;as=KIND", Some(false))),
            (beta(YAML), (200, "application/yaml;g=config.k8s.io;v=v1beta1;as=KIND", Some(false))),
            (
                format!("{alpha},{}", beta(JSON)),
                (200, "application/json;g=config.k8s.io;v=v1alpha1;as=KIND", Some(true)),
            ),
            (
                format!("{},{alpha}", beta(JSON)),
                (200, "application/json;g=config.k8s.io;v=v1beta1;as=KIND", Some(false)),
            ),
            ("application/xml".to_owned(), NOTHING),
            (JSON.to_owned(), NOTHING),
            ("application/json;v=v1beta1;g=config.k8s.io".to_owned(), NOTHING),
            (beta(JSON).replace("KIND", "Other"), NOTHING),
            (beta(TEXT), NOTHING),
            (beta("application/cbor"), NOTHING),
            (format!("{};stream=watch", beta(JSON)), NOTHING),
            ("application/vnd.kubernetes.protobuf".to_owned(), NOTHING),
        ];
        let pages = pages();
        for page in [Page::Flagz, Page::Statusz] {
            for (accept, (status, media, deprecated)) in &cases {
                let accept = accept.replace("KIND", page.kind());
                let (got, headers, text) = asked(&pages, &format!("/{}", page.name()), &accept).await;
                assert_eq!(got, *status, "{accept}");
                if *status == 406 {
                    let read: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!((&read["reason"], &read["code"]), (&json!("NotAcceptable"), &json!(406)), "{accept}");
                    continue;
                }
                assert_eq!(headers[header::CONTENT_TYPE], media.replace("KIND", page.kind()), "{accept}");
                assert_eq!(headers.contains_key(header::WARNING), *deprecated == Some(true), "{accept}");
                match deprecated {
                    None => assert!(text.starts_with(&format!(
                        "\nkube-example {}\nWarning: This endpoint is not meant to be machine parseable",
                        page.name()
                    ))),
                    Some(_) => {
                        let read: Value = serde_yaml::from_str(&text).unwrap();
                        assert_eq!(
                            (&read["kind"], &read["metadata"]["name"]),
                            (&json!(page.kind()), &json!("kube-example"))
                        );
                    }
                }
            }
        }
        let (_, headers, text) = asked(&pages, "/statusz", YAML).await;
        assert_eq!(headers[header::CONTENT_TYPE], YAML);
        assert!(text.contains("\nreason: NotAcceptable\n"), "{text}");
    }

    #[tokio::test]
    async fn the_pages_say_what_is() {
        let started = Timestamp::from_second(1_700_000_000).unwrap();
        let pages = pages();
        let text = pages.text(Page::Flagz, "=", started, 0);
        assert!(text.ends_with("only.\nfile=\nnames=[c,d]\nquick=false\nurls=[a,b]\nv=0\n"), "{text}");
        let text = pages.text(Page::Statusz, ":", started, 3_725);
        let expected = "\nUp: 1 hr 02 min 05 sec\nGo version: \nBinary version: 1.36.0\nEmulation version: 1.36\n\
                        Paths: /flagz /healthz /metrics\n";
        assert!(text.ends_with(expected) && text.contains("\nStarted: Tue Nov 14 "), "{text}");
        let object = pages.object(Page::Statusz, "v1beta1", started, 7);
        assert_eq!(object["startTime"], "2023-11-14T22:13:20Z");
        assert_eq!(
            (&object["uptimeSeconds"], &object["paths"]),
            (&json!(7), &json!(["/flagz", "/healthz", "/metrics"]))
        );
        assert_eq!(pages.object(Page::Flagz, "v1beta1", started, 7)["flags"]["urls"], "[a,b]");
        let unknown = Pages::new("x", None, []);
        assert!(unknown.respond("/flagz", None, &HeaderMap::new()).is_none());
        assert!(unknown.respond("/statusz", None, &HeaderMap::new()).is_some());
        assert!(unknown.text(Page::Statusz, ":", started, 0).ends_with("1.36\n\n"));
    }
}
