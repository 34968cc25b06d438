//! Answers in the form and the encoding that a client asked for. Objects come in as the JSON that is stored; a list is
//! rendered item by item, so that it never stands in memory as one tree.

mod events;
mod item;
mod pieces;

use std::collections::VecDeque;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kinit_api::status::Status;
use kinit_api::{protobuf, table, yaml};
use kinit_serving::{Body, full};
use serde_json::{Value, json};

use crate::negotiate::{Encoding, Form, Format, JSON, YAML};
use crate::registry::{ResourceSpec, Spec};

pub use events::Events;
pub use item::Item;
use pieces::{Ended, Pieces};

/// Answers shorter than this are not worth the compression.
const COMPRESSED_FROM: usize = 128 * 1024;

/// Marks a response that has its form already, so that [`finish`] leaves it alone.
#[derive(Clone, Copy, Debug)]
struct Rendered;

/// Brings a handler's answer, which is JSON, into the client's format.
pub async fn finish(spec: &ResourceSpec, format: Format, response: Response<Body>) -> Result<Response<Body>, Status> {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == JSON);
    let as_it_is = format.encoding == Encoding::Json && format.form == Form::Whole && !format.pretty && !format.gzip;
    if !is_json || as_it_is || response.extensions().get::<Rendered>().is_some() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map_err(Status::internal)?.to_bytes();
    let plain = format.encoding == Encoding::Json && format.form == Form::Whole && !format.pretty;
    let bytes = if plain {
        bytes
    } else {
        let value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
        // An error, and the news that a deed is done, have no other form.
        let value = if is_status(&value) { value } else { shaped(spec, format, value)? };
        encoded(format, &value)?
    };
    let mut response = answer(format, parts.status, bytes);
    *response.extensions_mut() = parts.extensions;
    for (name, value) in &parts.headers {
        if name != header::CONTENT_TYPE {
            response.headers_mut().append(name, value.clone());
        }
    }
    Ok(response)
}

fn is_status(value: &Value) -> bool {
    value["kind"] == "Status" && value["apiVersion"] == "v1"
}

/// The answer that a stream of events is.
pub fn stream(events: &Events, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(events.content_type()));
    response.extensions_mut().insert(Rendered);
    response
}

/// The answer that a document is which is of no resource.
pub fn document(format: Format, document: &Value) -> Result<Response<Body>, Status> {
    // What versions the core group has is told without a version of its own, which its message has all the same.
    if format.encoding == Encoding::Protobuf && !document["apiVersion"].is_string() {
        let mut versioned = document.clone();
        versioned["apiVersion"] = "v1".into();
        return Ok(answer(format, StatusCode::OK, encoded(format, &versioned)?));
    }
    Ok(answer(format, StatusCode::OK, encoded(format, document)?))
}

/// A body of bytes and a line break. Bytes that nobody shares get it in place; behind those of the cache it comes on its own.
pub fn line(bytes: Bytes) -> Body {
    match bytes.try_into_mut() {
        Ok(mut own) => {
            own.extend_from_slice(b"\n");
            full(own.freeze())
        }
        Err(shared) => Ended::of(shared).boxed_unsync(),
    }
}

/// An answer of bytes that are in the client's format.
pub fn answer(format: Format, status: StatusCode, bytes: Bytes) -> Response<Body> {
    let compressed = format.gzip && bytes.len() > COMPRESSED_FROM;
    let mut response = Response::new(full(if compressed { gzip(&bytes) } else { bytes }));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    if compressed {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response.extensions_mut().insert(Rendered);
    response
}

fn gzip(bytes: &Bytes) -> Bytes {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let written = encoder.write_all(bytes);
    written.and_then(|()| encoder.finish()).expect("memory takes all that is written to it").into()
}

/// What the client's form makes of one object.
fn shaped(spec: &ResourceSpec, format: Format, object: Value) -> Result<Value, Status> {
    match format.form {
        Form::Whole => Ok(object),
        Form::Table(include) => {
            let columns = Columns::of_object(spec, &object);
            let mut metadata = json!({});
            // What is only tried has no version.
            if let Some(version) = object["metadata"].get("resourceVersion") {
                metadata["resourceVersion"] = version.clone();
            }
            let definitions = columns.definitions();
            let row = beta(format, columns.row(object, include, Timestamp::now()));
            Ok(json!({
                "kind": "Table", "apiVersion": format.meta_version(), "metadata": metadata,
                "columnDefinitions": definitions, "rows": [row],
            }))
        }
        Form::Partial => Ok(partial(format, object)),
        Form::PartialList => Err(no_list(spec)),
    }
}

/// What is told of one object that is to be a list of metadata.
fn no_list(spec: &ResourceSpec) -> Status {
    let what = go_name(spec, spec.kind());
    not_acceptable(&format!("you requested PartialObjectMetadataList, but the requested object is not a list ({what})"))
}

/// Where a table's columns come from.
#[derive(Clone, Copy, Debug)]
enum Columns<'a> {
    Builtin(&'static [table::Column]),
    /// A definition's.
    Custom(&'a [Value]),
}

impl<'a> Columns<'a> {
    fn of(spec: &'a ResourceSpec) -> Self {
        match &spec.custom {
            Some(custom) => Self::Custom(&custom.version().columns),
            None => Self::Builtin(table::columns(spec.group(), spec.kind())),
        }
    }

    /// The columns of an object, which may be a subresource's own.
    fn of_object(spec: &'a ResourceSpec, object: &Value) -> Self {
        let kind = object["kind"].as_str().unwrap_or_default();
        if kind == spec.kind() {
            return Self::of(spec);
        }
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self::Builtin(table::columns(group, kind))
    }

    fn definitions(self) -> Value {
        match self {
            Self::Builtin(columns) => table::definitions(columns),
            Self::Custom(columns) => kinit_crd::columns::definitions(columns),
        }
    }

    fn row(self, object: Value, include: table::Include, now: Timestamp) -> Value {
        match self {
            Self::Builtin(columns) => table::row(columns, object, include, now),
            Self::Custom(columns) => {
                let cells = kinit_crd::columns::cells(columns, &object, now);
                table::row_of(cells, object, include)
            }
        }
    }
}

fn partial(format: Format, object: Value) -> Value {
    let mut partial = table::partial(object);
    partial["apiVersion"] = format.meta_version().into();
    partial
}

/// Writes the older version into the metadata that a row carries.
fn beta(format: Format, mut row: Value) -> Value {
    if format.beta && row["object"]["kind"] == "PartialObjectMetadata" {
        row["object"]["apiVersion"] = format.meta_version().into();
    }
    row
}

fn encoded(format: Format, value: &Value) -> Result<Bytes, Status> {
    // JSON for people does not end with a line break, as upstream's does not; any other does.
    let mut bytes = match format.encoding {
        Encoding::Json if format.pretty => {
            return Ok(serde_json::to_vec_pretty(value).map_err(Status::internal)?.into());
        }
        Encoding::Json => serde_json::to_vec(value).map_err(Status::internal)?,
        Encoding::Yaml => return Ok(yaml::to_string(value).into()),
        Encoding::Protobuf => return protobuf(value).map(Bytes::from),
    };
    bytes.push(b'\n');
    Ok(bytes.into())
}

fn protobuf(value: &Value) -> Result<Vec<u8>, Status> {
    protobuf::encode(value).ok_or_else(|| Status::not_acceptable(&[JSON, YAML]))
}

/// A kind as upstream names the Go type of its objects, of the package that is called after the group.
fn go_name(spec: &ResourceSpec, kind: &str) -> String {
    match spec.group().split('.').next() {
        _ if spec.custom.is_some() => {
            "*unstructured.Unstructured".to_owned() + if kind == spec.kind() { "" } else { "List" }
        }
        None | Some("") => format!("*core.{kind}"),
        Some("flowcontrol") => format!("*flowcontrol.{kind}"),
        Some(group) => format!("*{group}.{kind}"),
    }
}

fn not_acceptable(message: &str) -> Status {
    Status {
        code: 406,
        reason: "NotAcceptable".into(),
        message: message.to_owned(),
        details: None,
        continue_token: None,
    }
}

/// The answer that one object is.
pub fn one(spec: &ResourceSpec, format: Format, item: &Item) -> Result<Response<Body>, Status> {
    if format.encoding == Encoding::Protobuf && format.form == Form::Whole {
        let message = item.message().ok_or_else(|| Status::not_acceptable(&[JSON, YAML]))?;
        let bytes = protobuf::enveloped((&spec.api_version(), spec.kind()), &message);
        return Ok(answer(format, StatusCode::OK, bytes.into()));
    }
    Ok(crate::handlers::json_response(StatusCode::OK, item.json().clone()))
}

/// A list: its names, its metadata, and its items.
#[derive(Debug)]
pub struct List {
    /// What the items are.
    pub spec: Spec,
    pub metadata: Value,
    pub items: Vec<Item>,
}

impl List {
    /// The answer that the list is.
    pub fn respond(self, format: Format) -> Result<Response<Body>, Status> {
        let pieces = match (format.encoding, format.form) {
            (_, Form::Partial) => {
                let what = go_name(&self.spec, &self.spec.list_kind());
                return Err(not_acceptable(&format!(
                    "you requested PartialObjectMetadata, but the requested object is a list ({what})"
                )));
            }
            (Encoding::Protobuf, form) => self.protobuf(format, form)?,
            (Encoding::Json, _) if !format.pretty => self.json(format)?,
            _ => {
                let bytes = Pieces::collect(self.json(format)?);
                let value: Value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
                return Ok(answer(format, StatusCode::OK, encoded(format, &value)?));
            }
        };
        if format.gzip && pieces.len() > COMPRESSED_FROM {
            return Ok(answer(format, StatusCode::OK, pieces.collect()));
        }
        let mut response = Response::new(pieces.boxed_unsync());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        response.extensions_mut().insert(Rendered);
        Ok(response)
    }

    fn protobuf(self, format: Format, form: Form) -> Result<Pieces, Status> {
        let is_partial = form == Form::PartialList;
        let message = |item: &Item| {
            if !is_partial {
                return item.message();
            }
            let object = serde_json::from_slice(item.json()).ok()?;
            let names = (format.meta_version(), "PartialObjectMetadata");
            protobuf::message(names, &partial(format, object)).map(Bytes::from)
        };
        let unknown = || Status::not_acceptable(&[JSON, YAML]);
        let messages = self.items.iter().map(message).collect::<Option<VecDeque<_>>>().ok_or_else(unknown)?;
        let (version, kind) = match is_partial {
            true => (format.meta_version().to_owned(), "PartialObjectMetadataList".to_owned()),
            false => (self.spec.api_version(), self.spec.list_kind()),
        };
        let frame = protobuf::list_frame((&version, &kind), &self.metadata, messages.iter().map(Bytes::len));
        Ok(Pieces::protobuf(frame.ok_or_else(unknown)?, messages))
    }

    /// Rows of FlowSchemas come in the order in which requests are compared with them.
    fn put_in_order(&mut self) {
        if self.spec.is("flowcontrol.apiserver.k8s.io", "flowschemas") {
            self.items.sort_by_cached_key(|item| {
                let schema = serde_json::from_slice::<Value>(item.json()).unwrap_or_default();
                (schema["spec"]["matchingPrecedence"].as_i64(), schema["metadata"]["name"].as_str().map(str::to_owned))
            });
        }
    }

    fn json(mut self, format: Format) -> Result<Pieces, Status> {
        if matches!(format.form, Form::Table(_)) {
            self.put_in_order();
            // A list of custom resources says that nothing follows; a table of them does not.
            if self.metadata["continue"] == ""
                && let Some(metadata) = self.metadata.as_object_mut()
            {
                metadata.remove("continue");
            }
        }
        let metadata = &self.metadata;
        let meta = format.meta_version();
        let (head, tail) = match format.form {
            Form::Table(_) => {
                let columns = Columns::of(&self.spec).definitions();
                let names = format!(r#""kind":"Table","apiVersion":"{meta}""#);
                (format!(r#"{{{names},"metadata":{metadata},"columnDefinitions":{columns},"rows":["#), "]}\n")
            }
            Form::PartialList => {
                let names = format!(r#""kind":"PartialObjectMetadataList","apiVersion":"{meta}""#);
                (format!(r#"{{{names},"metadata":{metadata},"items":["#), "]}\n")
            }
            _ => {
                let names = format!(
                    r#""kind":{},"apiVersion":{}"#,
                    json!(self.spec.list_kind()),
                    json!(self.spec.api_version())
                );
                (format!(r#"{{{names},"metadata":{metadata},"items":["#), "]}\n")
            }
        };
        let spec = self.spec.clone();
        let columns = Columns::of(&spec);
        let now = Timestamp::now();
        // Items of built-in kinds do not say what they are: the list does.
        let says = spec.custom.is_some();
        let names = format!(r#"{{"kind":{},"apiVersion":{},"#, json!(spec.kind()), json!(spec.api_version()));
        let item = |item: &Item| match format.form {
            Form::Whole if says => Ok(item.json().clone()),
            Form::Whole => unnamed(item.json(), &names),
            form => {
                let object = serde_json::from_slice(item.json())?;
                let value = match form {
                    Form::Table(include) => beta(format, columns.row(object, include, now)),
                    _ => partial(format, object),
                };
                serde_json::to_vec(&value).map(Bytes::from)
            }
        };
        let items = self.items.iter().map(item).collect::<Result<_, _>>().map_err(Status::internal)?;
        let open = if format.form == Form::Whole && !says { "{" } else { "" };
        Ok(Pieces::json(head, items, open, tail))
    }
}

/// An object's JSON without kind and version, and without the brace that it begins with; `names` is what it begins with
/// where it was encoded as all objects are.
fn unnamed(json: &Bytes, names: &str) -> Result<Bytes, serde_json::Error> {
    if json.starts_with(names.as_bytes()) {
        return Ok(json.slice(names.len()..));
    }
    let mut object: serde_json::Map<String, Value> = serde_json::from_slice(json)?;
    object.remove("kind");
    object.remove("apiVersion");
    Ok(Bytes::from(serde_json::to_vec(&object)?).slice(1..))
}

#[cfg(test)]
mod tests {
    use kinit_api::table::Include;

    use super::*;

    fn pods() -> Spec {
        crate::registry::find("", "v1", "pods").unwrap().1.clone()
    }

    fn list() -> List {
        let pod = |name: &str| {
            let metadata = json!({"name": name, "namespace": "n", "uid": "u"});
            let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"nodeName": "x"}});
            Item::Made(pod.to_string().into())
        };
        let items = vec![pod("a"), pod("b")];
        List {
            spec: crate::registry::find("", "v1", "pods").unwrap().1.clone(),
            metadata: json!({"resourceVersion": "7"}),
            items,
        }
    }

    async fn body(response: Response<Body>) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn rows_of_flow_schemas_come_as_they_are_matched() {
        let schema = |name: &str, precedence: u32| {
            let schema = json!({"kind": "FlowSchema", "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
                "metadata": {"name": name}, "spec": {"matchingPrecedence": precedence}});
            Item::Made(schema.to_string().into())
        };
        let items = || vec![schema("a", 900), schema("c", 2), schema("b", 2)];
        let spec = crate::registry::find("flowcontrol.apiserver.k8s.io", "v1", "flowschemas").unwrap().1.clone();
        let names = async |form, at: &str| {
            let list = List { spec: spec.clone(), metadata: json!({}), items: items() };
            let bytes = body(list.respond(Format { form, ..Format::default() }).unwrap()).await;
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            let items = answer.pointer(at).unwrap().as_array().unwrap().clone();
            items.iter().map(|item| item.to_string().contains("\"b\"")).collect::<Vec<_>>()
        };
        assert_eq!(names(Form::Table(Include::Nothing), "/rows").await, [true, false, false]);
        assert_eq!(names(Form::Whole, "/items").await, [false, false, true]);
    }

    #[tokio::test]
    async fn lists_have_every_form() {
        let json = |form| async move {
            let response = list().respond(Format { form, ..Format::default() }).unwrap();
            serde_json::from_slice::<Value>(&body(response).await).unwrap()
        };
        let whole = json(Form::Whole).await;
        assert_eq!((&whole["kind"], &whole["items"][1]["metadata"]["name"]), (&json!("PodList"), &json!("b")));
        assert_eq!(
            whole["items"][0],
            json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": {"nodeName": "x"}})
        );
        let table = json(Form::Table(Include::Metadata)).await;
        assert_eq!((&table["kind"], &table["metadata"]["resourceVersion"]), (&json!("Table"), &json!("7")));
        assert_eq!(table["rows"][0]["cells"][0], "a");
        assert_eq!(table["rows"][1]["object"]["kind"], "PartialObjectMetadata");
        let partial = json(Form::PartialList).await;
        assert_eq!(
            (&partial["kind"], &partial["items"][0]["spec"]),
            (&json!("PartialObjectMetadataList"), &Value::Null)
        );
        assert_eq!(list().respond(Format { form: Form::Partial, ..Format::default() }).unwrap_err().code, 406);
    }

    #[tokio::test]
    async fn lists_are_written_in_protobuf() {
        for (form, kind) in [(Form::Whole, "PodList"), (Form::PartialList, "PartialObjectMetadataList")] {
            let response = list().respond(Format { encoding: Encoding::Protobuf, form, ..Format::default() }).unwrap();
            assert_eq!(response.headers()[header::CONTENT_TYPE], crate::negotiate::PROTOBUF);
            let decoded = protobuf::decode(&body(response).await, ("", "")).unwrap();
            assert_eq!((&decoded["kind"], &decoded["items"][1]["metadata"]["name"]), (&json!(kind), &json!("b")));
        }
    }

    #[tokio::test]
    async fn single_answers_are_brought_into_form_afterwards() {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "resourceVersion": "3"}});
        let plain = |value: &Value| crate::handlers::json_response(StatusCode::CREATED, value.to_string());
        let format = Format { form: Form::Table(Include::Object), ..Format::default() };
        let response = finish(&pods(), format, plain(&pod)).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        let table: Value = serde_json::from_slice(&body(response).await).unwrap();
        assert_eq!((&table["rows"][0]["object"], &table["metadata"]["resourceVersion"]), (&pod, &json!("3")));
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Success"});
        assert_eq!(body(finish(&pods(), format, plain(&status)).await.unwrap()).await, format!("{status}\n"));
        let format = Format { encoding: Encoding::Protobuf, ..Format::default() };
        let decoded =
            protobuf::decode(&body(finish(&pods(), format, plain(&pod)).await.unwrap()).await, ("", "")).unwrap();
        assert_eq!(decoded["metadata"]["name"], "a");
        let format = Format { pretty: true, ..Format::default() };
        assert!(body(finish(&pods(), format, plain(&pod)).await.unwrap()).await.ends_with(b"\n}"));
        let format = Format { encoding: Encoding::Protobuf, ..Format::default() };
        let custom = json!({"kind": "Foo", "apiVersion": "example.com/v1"});
        assert_eq!(finish(&pods(), format, plain(&custom)).await.unwrap_err().code, 406);
    }

    #[tokio::test]
    async fn a_line_is_the_bytes_and_a_break_whoever_has_them() {
        use http_body::Body as _;

        let shared = Bytes::from(b"{}".to_vec());
        for bytes in [Bytes::from(b"{}".to_vec()), shared.clone(), Bytes::from_static(b"{}"), shared] {
            let body = line(bytes);
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
            assert_eq!(body.collect().await.unwrap().to_bytes(), "{}\n");
        }
    }

    #[tokio::test]
    async fn long_answers_are_compressed_for_those_who_can_read_it() {
        let format = Format { gzip: true, ..Format::default() };
        let long = "x".repeat(COMPRESSED_FROM + 1);
        let response = finish(&pods(), format, crate::handlers::json_response(StatusCode::OK, long)).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(body(response).await.len() < 1000);
        let mut short = crate::handlers::json_response(StatusCode::OK, "{}");
        short.headers_mut().insert(header::WARNING, HeaderValue::from_static("299"));
        let short = finish(&pods(), format, short).await.unwrap();
        assert_eq!(short.headers()[header::WARNING], "299");
        assert!(!short.headers().contains_key(header::CONTENT_ENCODING));
    }
}
