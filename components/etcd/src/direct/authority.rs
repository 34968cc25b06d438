//! Mends what clients of etcd 3.4 say of the host they call, and counts the bytes that pass.
//!
//! When they ask one endpoint by itself (`etcdctl endpoint status`), they give its URL where a host belongs. Servers of
//! their time overlook that; the HTTP/2 library here refuses such a call as malformed. So until a connection's first
//! headers have come, what comes is looked through, and `http://` where the host stands becomes `httpx--`, which has as many
//! letters and as many bits, so that nothing else changes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use kinit_serving::listener::Transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Figures;

/// What HTTP/2 begins with.
const PREFACE: usize = 24;
/// Bytes before a frame's payload: its length, kind, flags and stream.
const FRAME: usize = 9;
const HEADERS: u8 = 1;
/// No frame is larger unless the server allows it.
const MOST: usize = 1 << 14;
/// The field `:authority` with a value that follows and is to be remembered.
const AUTHORITY: u8 = 0x41;
/// Tells a value in Huffman's code, by its length.
const CODED: u8 = 0x80;
/// `http://` and `httpx--` in that code, but for a last bit that is 0 in both.
const URL: [u8; 5] = [0x9d, 0x29, 0xae, 0xe3, 0x0c];
const HOST: [u8; 5] = [0x9d, 0x29, 0xaf, 0xca, 0xcb];

/// A connection whose first headers are mended.
pub struct Mended {
    transport: Transport,
    /// Bytes that came and were not handed on.
    held: BytesMut,
    /// How many of them may be.
    ready: usize,
    /// Where the next frame begins in them, until the first headers have come.
    frame: Option<usize>,
    figures: Arc<Figures>,
}

impl Mended {
    pub fn new(transport: Transport, figures: Arc<Figures>) -> Self {
        Self { transport, held: BytesMut::new(), ready: 0, frame: Some(PREFACE), figures }
    }

    fn poll_transport(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.transport).poll_read(context, buffer))?;
        self.figures.from_clients.inc_by((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }

    fn sent(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = outcome {
            self.figures.to_clients.inc_by(count as u64);
        }
        outcome
    }
}

/// Looks through frames from `at` on and mends the first headers. Says how many bytes may be handed on, and where the next
/// frame begins unless there is nothing more to look for.
fn look(held: &mut [u8], mut at: usize) -> (usize, Option<usize>) {
    while let Some(head) = held.get(at..at + FRAME) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, end) = (at + FRAME, at + FRAME + length);
        if head[3] == HEADERS {
            if length > MOST {
                return (held.len(), None);
            }
            let Some(block) = held.get_mut(payload..end) else { return (at, Some(at)) };
            mend(block);
            return (held.len(), None);
        }
        at = end;
    }
    (at.min(held.len()), Some(at))
}

fn mend(block: &mut [u8]) {
    let found = block.windows(2 + URL.len() + 1).position(|window| {
        let [field, length, value @ .., last] = window else { return false };
        *field == AUTHORITY && length & CODED != 0 && *value == URL && last & 0x80 == 0
    });
    if let Some(at) = found {
        block[at + 2..at + 2 + HOST.len()].copy_from_slice(&HOST);
    }
}

impl AsyncRead for Mended {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                let given = this.ready.min(buffer.remaining());
                buffer.put_slice(&this.held[..given]);
                this.held.advance(given);
                this.ready -= given;
                this.frame = this.frame.map(|at| at - given);
                return Poll::Ready(Ok(()));
            }
            let Some(at) = this.frame else { return this.poll_transport(context, buffer) };
            let mut space = [0; 4096];
            let mut more = ReadBuf::new(&mut space);
            ready!(this.poll_transport(context, &mut more))?;
            if more.filled().is_empty() {
                (this.ready, this.frame) = (this.held.len(), None);
                continue;
            }
            this.held.extend_from_slice(more.filled());
            (this.ready, this.frame) = look(&mut this.held, at);
        }
    }
}

impl AsyncWrite for Mended {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.transport).poll_write(context, bytes);
        this.sent(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.transport).poll_write_vectored(context, slices);
        this.sent(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn a_url_becomes_a_host_of_the_same_length() {
        let url = [&[0x83, AUTHORITY, CODED | 6][..], &URL, &[0x55, 1]].concat();
        let host = [&[0x83, AUTHORITY, CODED | 6][..], &HOST, &[0x55, 1]].concat();
        let settings = frame(4, &url);
        let cases = [
            (frame(HEADERS, &url), frame(HEADERS, &host)),
            ([settings.clone(), frame(HEADERS, &url)].concat(), [settings, frame(HEADERS, &host)].concat()),
            // A value that is not coded, and one of another field.
            (
                frame(HEADERS, &[&[AUTHORITY, 6][..], &URL, &[0]].concat()),
                frame(HEADERS, &[&[AUTHORITY, 6][..], &URL, &[0]].concat()),
            ),
            (
                frame(HEADERS, &[&[0x44, CODED | 6][..], &URL, &[0]].concat()),
                frame(HEADERS, &[&[0x44, CODED | 6][..], &URL, &[0]].concat()),
            ),
        ];
        for (row, (mut given, expected)) in cases.into_iter().enumerate() {
            assert_eq!(look(&mut given, 0), (expected.len(), None), "row {row}");
            assert_eq!(given, expected, "row {row}");
        }
    }

    #[test]
    fn what_is_no_header_is_handed_on_at_once() {
        let mut settings = frame(4, &[0; 12]);
        assert_eq!(look(&mut settings[..5], 0), (0, Some(0)));
        assert_eq!(look(&mut settings[..15], 0), (15, Some(21)));
        assert_eq!(look(&mut settings, 0), (21, Some(21)));
        let mut headers = frame(HEADERS, &[0; 12]);
        assert_eq!(look(&mut headers[..15], 0), (0, Some(0)));
    }
}
