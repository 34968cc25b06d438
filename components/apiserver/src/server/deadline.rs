//! How long requests may take: until `--request-timeout`, or for less time where a request says so itself. Watches and streams may
//! take as long as they like.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, Uri};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use kinit_api::status::Status;
use kinit_serving::{Body, BoxError};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::request::{ResourceRequest, STREAMS, Verb};
use crate::{aggregate, request};

/// How long a request may take, of which `wanted` is what its path was read as; `None` is for ever. 400 where its `timeout` is no
/// duration.
pub fn of(
    wanted: Option<&ResourceRequest>,
    method: &Method,
    uri: &Uri,
    most: Duration,
) -> Result<Option<Duration>, Status> {
    let streams = |subresource: &str| STREAMS.contains(&subresource);
    let endless = match (wanted, request::decoded(uri.path())) {
        (Some(wanted), _) => wanted.verb == Verb::Watch || streams(&wanted.subresource),
        // An aggregated server's resources look like one's own.
        (None, Ok(path)) => {
            let asked = aggregate::path::parse(method, &path, uri.query());
            asked.verb == "watch" || streams(asked.subresource.split('/').next().unwrap_or_default())
        }
        // A path that cannot be read is refused before long.
        (None, Err(_)) => false,
    };
    if endless {
        return Ok(None);
    }
    let mut parameters = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let wished = parameters.find(|(key, _)| key == "timeout").map(|(_, value)| value);
    let wished = match wished.as_deref() {
        None | Some("") => 0,
        Some(text) => kinit_duration::nanoseconds(text)
            .map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - {why}")))?,
    };
    Ok(Some(
        u64::try_from(wished)
            .ok()
            .filter(|wished| *wished > 0)
            .map_or(most, |wished| most.min(Duration::from_nanos(wished))),
    ))
}

/// That a request took too long.
pub fn passed() -> Status {
    Status::timeout("request did not complete within the allotted timeout")
}

/// An answer whose body ends at `deadline`, done or not: who reads slowly shall not keep alive what is sent for ever.
/// `cut` is called when that happens.
pub fn bound(answer: Response<Body>, deadline: Instant, cut: impl FnOnce() + Send + 'static) -> Response<Body> {
    // What is there as a whole has been made already.
    if answer.body().is_end_stream() || answer.body().size_hint().exact().is_some() {
        return answer;
    }
    answer.map(|body| Bounded::new(body, deadline, cut).boxed_unsync())
}

/// What a body and its clock share.
#[derive(Default)]
struct Shared {
    /// `None` once the time is over.
    body: Option<Body>,
    waiting: Option<Waker>,
}

struct Bounded {
    shared: Arc<Mutex<Shared>>,
    clock: AbortHandle,
}

impl Bounded {
    fn new(body: Body, deadline: Instant, cut: impl FnOnce() + Send + 'static) -> Self {
        let shared = Arc::new(Mutex::new(Shared { body: Some(body), waiting: None }));
        let own = shared.clone();
        // A client that takes nothing more leaves its body unasked, so that the time must pass beside it.
        let clock = tokio::spawn(async move {
            tokio::time::sleep_until(deadline).await;
            let Shared { body, waiting } = std::mem::take(&mut *own.lock());
            drop(body);
            cut();
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        });
        Self { shared, clock: clock.abort_handle() }
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut shared = self.shared.lock();
        let Some(body) = &mut shared.body else { return Poll::Ready(Some(Err(passed().into()))) };
        let polled = Pin::new(body).poll_frame(cx);
        shared.waiting = polled.is_pending().then(|| cx.waker().clone());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.shared.lock().body.as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.shared.lock().body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::StreamExt;
    use http_body_util::StreamBody;

    use super::*;
    use crate::registry::Registry;

    const MOST: Duration = Duration::from_secs(60);

    fn asked(method: &Method, uri: &str) -> Result<Option<Duration>, String> {
        let uri: Uri = uri.parse().unwrap();
        let wanted = request::parse(&Registry::default(), method, uri.path(), uri.query());
        of(wanted.ok().flatten().as_ref(), method, &uri, MOST)
            .map_err(|status| format!("{} {}", status.code, status.message))
    }

    #[test]
    fn watches_and_streams_have_no_end() {
        for (uri, bounded) in [
            ("/api/v1/pods", true),
            ("/api/v1/pods?watch=0", true),
            ("/api/v1/pods?watch=1", false),
            ("/apis/apps/v1/namespaces/a/deployments?watch=true&timeout=5s", false),
            ("/api/v1/namespaces/a/pods/b/log", false),
            ("/api/v1/namespaces/a/pods/b/exec?command=ls", false),
            ("/api/v1/namespaces/a/services/b/proxy/some/path", false),
            ("/api/v1/namespaces/a/pods/b/status", true),
            ("/apis/other.example.com/v1/toys?watch=true", false),
            ("/version", true),
        ] {
            assert_eq!(asked(&Method::GET, uri), Ok(bounded.then_some(MOST)), "{uri}");
        }
    }

    #[test]
    fn a_request_may_want_less_time() {
        let seconds = |seconds: f64| Ok(Some(Duration::from_secs_f64(seconds)));
        let wrong = |why: &str| Err(format!("400 invalid timeout specified in the request URL - time: {why}"));
        for (timeout, expected) in [
            ("", seconds(60.0)),
            ("5s", seconds(5.0)),
            ("1.5s", seconds(1.5)),
            ("1s500ms", seconds(1.5)),
            ("0", seconds(60.0)),
            ("0s", seconds(60.0)),
            ("-5s", seconds(60.0)),
            ("2h", seconds(60.0)),
            ("5", wrong("missing unit in duration \"5\"")),
            ("5y", wrong("unknown unit \"y\" in duration \"5y\"")),
            ("foo", wrong("invalid duration \"foo\"")),
            ("1s2", wrong("missing unit in duration \"1s2\"")),
            ("-", wrong("invalid duration \"-\"")),
        ] {
            assert_eq!(asked(&Method::POST, &format!("/api/v1/namespaces?timeout={timeout}")), expected, "{timeout}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_taken_in_time_is_given_up() {
        let (held, kept) = (Arc::new(()), MOST / 2);
        let body = || {
            let held = held.clone();
            let frames = futures::stream::once(async { Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"a"))) });
            let frames = frames.chain(futures::stream::pending()).inspect(move |_| drop(held.clone()));
            Response::new(StreamBody::new(frames).boxed_unsync())
        };
        // One that is waited for, and one that nobody asks.
        let cut = Arc::new(AtomicU64::new(0));
        let limited = |body| {
            let cut = cut.clone();
            bound(body, Instant::now() + kept, move || {
                cut.fetch_add(1, Ordering::Relaxed);
            })
        };
        let (mut waited, unasked) = (limited(body()), limited(body()));
        assert_eq!(Arc::strong_count(&held), 3);
        assert!(waited.body_mut().frame().await.unwrap().is_ok());
        let error = waited.body_mut().frame().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "Timeout: request did not complete within the allotted timeout");
        // The clocks run on tasks of their own.
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
        drop((waited, unasked));
        assert_eq!(cut.load(Ordering::Relaxed), 2);
        let whole = bound(Response::new(kinit_serving::full("a")), Instant::now(), || panic!("it is whole"));
        assert_eq!(whole.into_body().collect().await.unwrap().to_bytes(), "a");
    }
}
