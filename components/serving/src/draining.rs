//! Bodies of requests that are answered before they are read.
//!
//! Who drops a body that has not come yet resets its HTTP/2 stream, and a client may take that for the answer's failure. What is
//! little is read and thrown away instead, as Go's server does.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Bytes of a body that nobody wants which are still taken.
const MOST: usize = 256 << 10;
/// How long that may go on.
const LONGEST: Duration = Duration::from_secs(5);

/// A request's body as handlers get it.
pub type Received = Draining<Incoming>;

/// A body whose rest is read when it is dropped before its end. It has to be dropped inside of a runtime.
pub struct Draining<B: Body<Error: Send> + Send + Unpin + 'static>(Option<B>);

impl<B: Body<Error: Send> + Send + Unpin + 'static> Draining<B> {
    /// The same body.
    pub fn new(body: B) -> Self {
        Self(Some(body))
    }
}

impl<B> Body for Draining<B>
where
    B: Body<Error: Send> + Send + Unpin + 'static,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body<Error: Send> + Send + Unpin + 'static> Drop for Draining<B> {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(LONGEST, drain(body)));
    }
}

async fn drain<B: Body + Unpin>(mut body: B) {
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, bytes::Buf::remaining)) else { return };
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::collections::VecDeque;
    use tokio::sync::mpsc;

    /// Frames of 100 KiB, each of which is told when it is taken.
    struct Frames(VecDeque<Bytes>, mpsc::UnboundedSender<usize>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let frame = self.0.pop_front();
            self.1.send(self.0.len()).unwrap();
            Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    fn frames(count: usize) -> (Draining<Frames>, mpsc::UnboundedReceiver<usize>) {
        let (told, taken) = mpsc::unbounded_channel();
        let frame = Bytes::from(vec![0; 100 << 10]);
        (Draining::new(Frames(vec![frame; count].into(), told)), taken)
    }

    async fn rest(mut taken: mpsc::UnboundedReceiver<usize>) -> usize {
        let mut left = usize::MAX;
        while let Some(now) = taken.recv().await {
            left = now;
        }
        left
    }

    #[tokio::test]
    async fn what_nobody_reads_is_taken_as_far_as_it_is_little() {
        let (body, taken) = frames(2);
        drop(body);
        assert_eq!(rest(taken).await, 0);
        let (body, taken) = frames(9);
        drop(body);
        assert_eq!(rest(taken).await, 6);
    }

    #[tokio::test]
    async fn what_is_read_is_as_before() {
        let (body, taken) = frames(2);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 200 << 10);
        assert_eq!(rest(taken).await, 0);
    }
}
