//! Calls that go on to the services, and everything that is no call.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::ready;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper::service::Service;
use kinit_serving::listener::Peer;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::dispatch::{Dispatch, is_grpc};

/// A request's body, taken as the service takes it.
pub struct RequestBody {
    stream: RecvStream,
    /// Whether all data has come.
    ended: bool,
}

impl RequestBody {
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, ended: false }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.ended {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // The client may send as much again.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context));
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// Answers a request as [`Dispatch`] does, unless the client gives it up before.
pub async fn on(dispatch: Dispatch, request: Request<RecvStream>, peer: Peer, mut respond: SendResponse<Bytes>) {
    let (figures, path) = (dispatch.site.context.figures.clone(), request.uri().path().to_owned());
    let is_call = is_grpc(request.headers());
    let mut request = request.map(RequestBody::new);
    request.extensions_mut().insert(peer);
    let answer = dispatch.call(request);
    let Ok(response) = tokio::select! {
        response = answer => response,
        _ = std::future::poll_fn(|context| respond.poll_reset(context)) => return,
    };
    // A client that is gone needs no answer.
    let code = send(response, respond).await.unwrap_or(Code::Cancelled);
    if is_call {
        figures.calls.ended(&path, code);
    }
}

/// Says how it ended, as far as calls say that.
async fn send(response: Response<Body>, mut respond: SendResponse<Bytes>) -> Result<Code, h2::Error> {
    let (head, mut body) = response.into_parts();
    let code = |headers: &HeaderMap| Status::from_header_map(headers).map_or(Code::Ok, |status| status.code());
    let told = code(&head.headers);
    let mut stream = respond.send_response(Response::from_parts(head, ()), body.is_end_stream())?;
    if body.is_end_stream() {
        return Ok(told);
    }
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = std::future::poll_fn(|context| stream.poll_reset(context)) => return Ok(Code::Cancelled),
        };
        let Some(frame) = frame else { return stream.send_data(Bytes::new(), true).map(|()| told) };
        let Ok(frame) = frame else {
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
            return Ok(Code::Internal);
        };
        match frame.into_data() {
            Ok(data) => data_within_window(&mut stream, data).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let code = code(&trailers);
                    return stream.send_trailers(trailers).map(|()| code);
                }
            }
        }
    }
}

async fn data_within_window(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        let room = room(stream, data.len()).await?;
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

/// Waits until the client takes something, and says how much.
pub async fn room(stream: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, h2::Error> {
    stream.reserve_capacity(wanted);
    while stream.capacity() == 0 {
        match std::future::poll_fn(|context| stream.poll_capacity(context)).await {
            Some(more) => {
                more?;
            }
            None => return Err(h2::Reason::STREAM_CLOSED.into()),
        }
    }
    Ok(stream.capacity())
}
