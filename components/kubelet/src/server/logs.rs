//! Logs: containers', and the host's own.

use std::path::{Component, Path};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kinit_serving::{Body, text};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;

use super::query::Query;
use super::{Answer, Api, internal, refuse};
use crate::logs::{self, Streams, Wanted};
use crate::pod::state::PodState;
use crate::pod::{container, facts, sandbox};

/// Where the host's logs are.
const HOST_LOGS: &str = "/var/log";
/// Chunks of a log that wait for a slow reader.
const CHUNKS: usize = 8;

fn stream<S>(chunks: S) -> Response<Body>
where
    S: futures::Stream<Item = Result<Bytes, kinit_serving::BoxError>> + Send + 'static,
{
    let body = StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data)));
    let mut answer = Response::new(body.boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// What of a log a query asks for.
fn wanted(query: &Query) -> Result<Wanted, String> {
    fn number<T: std::str::FromStr>(query: &Query, name: &str) -> Result<Option<T>, String> {
        let text = query.get(name).filter(|text| !text.is_empty());
        text.map(|text| text.parse().map_err(|_| format!("{name}: {text:?} is no number"))).transpose()
    }
    let since = number::<i64>(query, "sinceSeconds")?
        .and_then(|seconds| jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - seconds).ok())
        .or_else(|| query.get("sinceTime").and_then(|text| text.parse().ok()));
    Ok(Wanted {
        follow: query.on("follow") && !query.on("previous"),
        tail: number(query, "tailLines")?,
        since,
        timestamps: query.on("timestamps"),
        limit: number(query, "limitBytes")?,
        streams: match query.get("stream") {
            Some("Stdout") => Streams::Stdout,
            Some("Stderr") => Streams::Stderr,
            _ => Streams::All,
        },
    })
}

impl Api {
    /// A container's log.
    pub(super) async fn logs(&self, query: &Query, namespace: &str, name: &str, container: &str) -> Answer {
        let bad = |reason: String| refuse(StatusCode::BAD_REQUEST, reason);
        let missing = |reason: String| refuse(StatusCode::NOT_FOUND, reason);
        let wanted = wanted(query).map_err(bad)?;
        let pod = self.pods.find(namespace, name);
        let pod = pod.ok_or_else(|| missing(format!("pod {name:?} does not exist")))?;
        if container::find(&pod, container).is_none() {
            return Err(missing(format!("container {container:?} not found in pod {name:?}")));
        }
        let state = self.state(namespace, name).await?;
        let instance = if query.on("previous") { state.previous(container) } else { state.latest(container) };
        let Some(instance) = instance else {
            let text = if query.on("previous") {
                format!("previous terminated container {container:?} in pod {name:?} not found")
            } else {
                let reason = waiting_reason(&pod, container);
                format!("container {container:?} in pod {name:?} is waiting to start: {reason}")
            };
            return Err(bad(text));
        };
        let path = sandbox::log_folder(&pod).join(container::log_path(container, instance.restarts()));
        if !path.exists() {
            return Err(missing(format!("the log of container {container:?} is not there")));
        }
        let (out, chunks) = tokio::sync::mpsc::channel(CHUNKS);
        let (context, uid, id) = (self.context.clone(), facts::uid(&pod).to_owned(), instance.status.id.clone());
        tokio::spawn(async move {
            let ended = || {
                let (context, uid, id) = (context.clone(), uid.clone(), id.clone());
                async move {
                    let state = PodState::read(&context.runtime, &uid).await;
                    state.is_ok_and(|state| !state.containers.iter().any(|one| one.status.id == id && one.is_running()))
                }
            };
            if let Err(error) = logs::send(path, wanted, out, ended).await {
                tracing::debug!(%error, "a log ended early");
            }
        });
        Ok(stream(ReceiverStream::new(chunks).map(Ok)))
    }
}

/// Why a container that never started waits, as its status says.
fn waiting_reason(pod: &k8s_openapi::api::core::v1::Pod, container: &str) -> String {
    let statuses = pod.status.iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    let state = statuses.into_iter().find(|status| status.name == container).and_then(|status| status.state.as_ref());
    let reason = state.and_then(|state| state.waiting.as_ref()?.reason.clone());
    reason.unwrap_or_else(|| "ContainerCreating".into())
}

/// A file or a folder of the host's logs.
pub async fn of_host(path: &str) -> Answer {
    let relative = Path::new(path);
    if relative.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(refuse(StatusCode::NOT_FOUND, "404 page not found"));
    }
    let full = Path::new(HOST_LOGS).join(relative);
    let not_there = |_| refuse(StatusCode::NOT_FOUND, "404 page not found");
    // A link could lead to any file of the host.
    let full = full.canonicalize().map_err(not_there)?;
    if !full.starts_with(HOST_LOGS) {
        return Err(refuse(StatusCode::NOT_FOUND, "404 page not found"));
    }
    if full.is_dir() {
        let mut names: Vec<String> = std::fs::read_dir(&full)
            .map_err(internal)?
            .flatten()
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir() { format!("{name}/") } else { name }
            })
            .collect();
        names.sort();
        let lines: String = names.iter().map(|name| format!("<a href=\"{name}\">{name}</a>\n")).collect();
        let mut answer = text(StatusCode::OK, format!("<pre>\n{lines}</pre>\n"));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        return Ok(answer);
    }
    let file = tokio::fs::File::open(&full).await.map_err(not_there)?;
    Ok(stream(ReaderStream::new(file).map(|chunk| chunk.map_err(Into::into))))
}
