//! Content negotiation: what a client accepts, read from its headers; pure.

use http::{HeaderMap, header};
use kinit_api::status::Status;
use kinit_api::table::Include;
use kinit_serving::accept::{Clause, clauses, pretty};

use crate::request::{ResourceRequest, STREAMS, Verb};

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    /// All of them, in the order in which they are tried for a range of types.
    pub const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    /// The media type, without parameters.
    pub fn media(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Yaml => YAML,
            Self::Protobuf => PROTOBUF,
        }
    }
}

/// What is made of the object before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The object as it is.
    #[default]
    Whole,
    Table(Include),
    /// Metadata alone, of one object.
    Partial,
    /// Metadata alone, of each object of a list.
    PartialList,
}

/// What a client gets. The default is plain JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    pub encoding: Encoding,
    pub form: Form,
    /// Whether tables and metadata are of `meta.k8s.io/v1beta1`, which has the same fields.
    pub beta: bool,
    pub pretty: bool,
    /// Whether the client takes gzip.
    pub gzip: bool,
}

impl Format {
    /// The version that tables and metadata are written in.
    pub fn meta_version(self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }

    pub fn content_type(self) -> &'static str {
        self.encoding.media()
    }
}

/// What the answer to `request` is to be; 406 where nothing that the client accepts can be made.
pub fn accept(request: &ResourceRequest, headers: &HeaderMap) -> Result<Format, Status> {
    // What comes from elsewhere is passed on as it is.
    if STREAMS.contains(&request.subresource.as_str()) {
        return Ok(Format::default());
    }
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default();
    let watching = request.verb == Verb::Watch;
    let tables = request.spec.lists();
    // A custom resource has no protobuf message; its Scale, its metadata alone and errors have.
    let messages = request.spec.custom.is_none() || request.subresource == "scale";
    let can = Can { watching, tables, messages };
    let mut format = choose(text(header::ACCEPT), can, request.parameter("includeObject"))?;
    format.pretty = format.pretty || pretty(request.parameter("pretty"), text(header::USER_AGENT));
    format.gzip = takes_gzip(text(header::ACCEPT_ENCODING));
    Ok(format)
}

/// How a document of discovery is written that is `transformed` (kind, group, version) or plain; `None` where a client does not
/// take it so.
pub fn document(headers: &HeaderMap, query: Option<&str>, transformed: Option<[&str; 3]>) -> Option<Format> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default();
    let (accept, names) = (text(header::ACCEPT), ["as", "g", "v"]);
    let fits = |clause: &Clause<'_>| match transformed {
        Some(wanted) => names.map(|name| clause.parameter(name)) == wanted,
        None => clause.parameters.iter().all(|(name, _)| !names.contains(name)),
    };
    let (encoding, asked) = if accept.is_empty() && transformed.is_none() {
        (Encoding::Json, false)
    } else {
        clauses(accept).iter().filter(|clause| fits(clause)).find_map(|clause| {
            let encoding = Encoding::ALL.into_iter().find(|encoding| clause.takes(encoding.media()))?;
            Some((encoding, clause.parameter("pretty") == "1"))
        })?
    };
    let wished = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(key, _)| key == "pretty");
    let wished = wished.map(|(_, value)| value).unwrap_or_default();
    let gzip = takes_gzip(text(header::ACCEPT_ENCODING));
    Some(Format { encoding, pretty: asked || pretty(&wished, text(header::USER_AGENT)), gzip, ..Format::default() })
}

/// Whether one of the codings that a client names is gzip alone: as upstream, one with a weight does not count.
pub fn takes_gzip(codings: &str) -> bool {
    codings.split(',').any(|coding| coding.trim() == "gzip")
}

/// What answers to a request can be.
#[derive(Clone, Copy)]
struct Can {
    watching: bool,
    tables: bool,
    /// Whether the objects have messages of protobuf.
    messages: bool,
}

fn choose(accept: &str, can: Can, include: &str) -> Result<Format, Status> {
    let watching = can.watching;
    let offered: &[Encoding] = if watching { &[Encoding::Json, Encoding::Protobuf] } else { &Encoding::ALL };
    if accept.is_empty() {
        return Ok(Format::default());
    }
    for clause in clauses(accept) {
        for encoding in offered {
            if clause.takes(encoding.media())
                && let Some(mut format) = format(&clause, *encoding)
                && (can.tables || !matches!(format.form, Form::Table(_)))
                && (can.messages || format.form != Form::Whole || *encoding != Encoding::Protobuf)
            {
                if format.form == Form::Table(Include::Metadata) {
                    let why = "must be 'Metadata', 'Object', 'None', or empty";
                    let included = Include::parse(include).ok_or_else(|| {
                        let text = format!("includeObject: Invalid value: {include:?}: {why}");
                        Status::bad_request(format!("Unable to convert to Table as requested: {text}"))
                    })?;
                    format.form = Form::Table(included);
                }
                return Ok(format);
            }
        }
    }
    // Upstream asks first whether there is any encoding of what is wanted, and only then for one that can be a stream.
    let encodes = |clause: &Clause<'_>| {
        Encoding::ALL.iter().any(|own| clause.takes(own.media()) && format(clause, *own).is_some())
    };
    let streams = watching && can.messages && clauses(accept).iter().any(encodes);
    Err(Status::not_acceptable(if streams { WATCHES } else { &[JSON, YAML, PROTOBUF] }))
}

/// What watches may be, as errors list it.
const WATCHES: &[&str] = &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// The format that a clause's parameters ask for; `None` where they cannot be had in this encoding.
fn format(clause: &Clause<'_>, encoding: Encoding) -> Option<Format> {
    if !matches!(clause.parameter("stream"), "" | "watch") || !matches!(clause.parameter("sv"), "" | "v1") {
        return None;
    }
    let names = (clause.parameter("as"), clause.parameter("g"), clause.parameter("v"));
    let (form, beta) = match names {
        ("", "", "") => (Form::Whole, false),
        (kind, "meta.k8s.io", version @ ("v1" | "v1beta1")) => {
            let form = match kind {
                // A table has no protobuf message.
                "Table" if encoding != Encoding::Protobuf => Form::Table(Include::Metadata),
                "PartialObjectMetadata" => Form::Partial,
                "PartialObjectMetadataList" => Form::PartialList,
                _ => return None,
            };
            let beta = version == "v1beta1";
            // Protobuf has the messages of the newer version only.
            if beta && encoding == Encoding::Protobuf {
                return None;
            }
            (form, beta)
        }
        _ => return None,
    };
    Some(Format { encoding, form, beta, pretty: clause.parameter("pretty") == "1", gzip: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str, watching: bool) -> Option<(Encoding, Form)> {
        choose(accept, Can { watching, tables: true, messages: true }, "")
            .ok()
            .map(|format| (format.encoding, format.form))
    }

    #[test]
    fn what_has_no_message_is_not_sent_as_one() {
        let can = Can { watching: false, tables: true, messages: false };
        let chosen = |accept: &str| choose(accept, can, "").map(|format| (format.encoding, format.form)).ok();
        let cases = [
            ("application/vnd.kubernetes.protobuf,application/json", Some((Encoding::Json, Form::Whole))),
            ("application/vnd.kubernetes.protobuf, */*", Some((Encoding::Json, Form::Whole))),
            ("application/vnd.kubernetes.protobuf", None),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Some((Encoding::Protobuf, Form::Partial)),
            ),
        ];
        for (accept, wanted) in cases {
            assert_eq!(chosen(accept), wanted, "{accept}");
        }
    }

    #[test]
    fn the_most_wanted_of_what_can_be_had_is_chosen() {
        let table = Form::Table(Include::Metadata);
        let tables = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let cases = [
            ("", false, Some((Encoding::Json, Form::Whole))),
            ("*/*", false, Some((Encoding::Json, Form::Whole))),
            ("application/*", true, Some((Encoding::Json, Form::Whole))),
            (tables, false, Some((Encoding::Json, table))),
            ("application/json, */*", false, Some((Encoding::Json, Form::Whole))),
            ("application/vnd.kubernetes.protobuf,application/json", false, Some((Encoding::Protobuf, Form::Whole))),
            ("application/vnd.kubernetes.protobuf;q=0.5, application/yaml", false, Some((Encoding::Yaml, Form::Whole))),
            ("application/yaml", true, None),
            ("application/vnd.kubernetes.protobuf;stream=watch", true, Some((Encoding::Protobuf, Form::Whole))),
            ("application/cbor", false, None),
            ("application/cbor, application/json;q=0.9", false, Some((Encoding::Json, Form::Whole))),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", false, None),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                false,
                Some((Encoding::Protobuf, Form::PartialList)),
            ),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", false, None),
            ("text/html", false, None),
        ];
        for (accept, watching, expected) in cases {
            assert_eq!(chosen(accept, watching), expected, "{accept}");
        }
        let error = choose("text/html", Can { watching: false, tables: true, messages: true }, "").unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (
                406,
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
            )
        );
        // What has no encoding at all is told of those of an object, and what only cannot be a stream of those that can.
        for (accept, streams) in [
            ("application/yaml", true),
            ("application/json;as=Foo;g=meta.k8s.io;v=v1", false),
            ("application/json;stream=x", false),
        ] {
            let error = choose(accept, Can { watching: true, tables: true, messages: true }, "").unwrap_err();
            assert_eq!((error.code, error.message.contains("stream=watch")), (406, streams), "{accept}");
        }
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(chosen(metadata, true), Some((Encoding::Json, Form::PartialList)), "it ends at its first event");
        let can = Can { watching: false, tables: true, messages: true };
        assert_eq!(choose(tables, can, "Some").unwrap_err().code, 400);
        assert_eq!(choose(tables, can, "None").unwrap().form, Form::Table(Include::Nothing));
    }

    #[test]
    fn what_is_never_stored_has_no_table() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let can = Can { watching: false, tables: false, messages: true };
        assert_eq!(choose(table, can, "").unwrap_err().code, 406);
        assert_eq!(choose(&format!("{table},application/json"), can, "").unwrap().form, Form::Whole);
    }

    #[test]
    fn only_gzip_without_a_weight_counts() {
        for (codings, takes) in [
            ("gzip", true),
            ("deflate, gzip", true),
            (" gzip ,br", true),
            ("gzip;q=0", false),
            ("gzip;q=0.5, deflate", false),
            ("GZIP", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(codings), takes, "{codings}");
        }
    }
}
