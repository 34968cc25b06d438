//! A list on its way to a client: made piece by piece as the client takes it, so that a long one never stands in memory twice.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use kinit_api::protobuf::ListFrame;
use kinit_serving::BoxError;

/// A piece is sent once it is this long.
const PIECE: usize = 128 * 1024;

/// How items are set apart.
#[derive(Debug)]
enum Between {
    /// By commas, each with what it begins with.
    Json { first: bool, open: &'static str },
    /// By what is before each.
    Protobuf(ListFrame),
}

/// The body.
#[derive(Debug)]
pub(super) struct Pieces {
    head: Bytes,
    between: Between,
    items: VecDeque<Bytes>,
    tail: Bytes,
    /// How much is still to come.
    left: u64,
}

impl Pieces {
    /// A list in JSON: what is before its items, they, what each of them begins with, and what is after them.
    pub fn json(head: String, items: VecDeque<Bytes>, open: &'static str, tail: &'static str) -> Self {
        let within: usize = items.iter().map(|item| open.len() + item.len()).sum();
        let commas = items.len().saturating_sub(1);
        let left = u64::try_from(head.len() + within + commas + tail.len()).unwrap_or(u64::MAX);
        Self { head: head.into(), between: Between::Json { first: true, open }, items, tail: tail.into(), left }
    }

    /// A list in protobuf, of its items' messages.
    pub fn protobuf(mut frame: ListFrame, items: VecDeque<Bytes>) -> Self {
        let left = u64::try_from(frame.length).unwrap_or(u64::MAX);
        let head = std::mem::take(&mut frame.head);
        let tail = Bytes::from_static(ListFrame::TAIL);
        Self { head: head.into(), between: Between::Protobuf(frame), items, tail, left }
    }

    pub fn len(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    /// All of it at once.
    pub fn collect(mut self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len());
        while let Some(piece) = self.piece() {
            all.put_slice(&piece);
        }
        all.freeze()
    }

    fn piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let room = self.len().min(PIECE);
        let mut piece = BytesMut::with_capacity(room);
        piece.put_slice(&std::mem::take(&mut self.head));
        while piece.len() < PIECE
            && let Some(item) = self.items.pop_front()
        {
            match &mut self.between {
                Between::Json { first, open } => {
                    if !std::mem::replace(first, false) {
                        piece.put_u8(b',');
                    }
                    piece.put_slice(open.as_bytes());
                }
                Between::Protobuf(frame) => piece.put_slice(&frame.before(item.len())),
            }
            piece.put_slice(&item);
        }
        if self.items.is_empty() {
            piece.put_slice(&std::mem::take(&mut self.tail));
        }
        self.left = self.left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Some(piece.freeze())
    }
}

/// Bytes that others have too, and a line break behind them, so that they need not be copied.
#[derive(Debug)]
pub(super) struct Ended(VecDeque<Bytes>);

impl Ended {
    pub fn of(bytes: Bytes) -> Self {
        Self([bytes, Bytes::from_static(b"\n")].into())
    }
}

impl Body for Ended {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(Bytes::len).sum::<usize>().try_into().unwrap_or(u64::MAX))
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_api::protobuf;
    use serde_json::json;

    fn all(mut pieces: Pieces) -> (u64, usize, Vec<u8>) {
        let (length, mut count, mut bytes) = (pieces.left, 0, Vec::new());
        while let Some(piece) = pieces.piece() {
            count += 1;
            bytes.extend(piece);
        }
        assert!(pieces.is_end_stream());
        (length, count, bytes)
    }

    #[test]
    fn pieces_make_up_the_list() {
        for (items, size, wanted) in [(0, 0, 1), (1, 10, 1), (3, 10, 1), (5, PIECE, 5), (1000, 1000, 8)] {
            let text = format!("\"{}\"", "x".repeat(size));
            let cut = Bytes::from(text.clone()).slice(1..);
            let pieces = Pieces::json("[".into(), vec![cut; items].into(), "\"", "]\n");
            let (length, count, bytes) = all(pieces);
            assert_eq!((length, count), (bytes.len() as u64, wanted), "{items} of {size}");
            assert_eq!(bytes, format!("[{}]\n", vec![text; items].join(",")).into_bytes());
        }
    }

    #[test]
    fn they_do_so_in_protobuf() {
        for (items, size) in [(0, 0), (1, 10), (5, PIECE), (1000, 1000)] {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"k": "v".repeat(size)}});
            let messages = vec![Bytes::from(protobuf::message(("v1", "ConfigMap"), &map).unwrap()); items];
            let lengths = messages.iter().map(Bytes::len);
            let frame = protobuf::list_frame(("v1", "ConfigMapList"), &json!({"resourceVersion": "7"}), lengths);
            let (length, _, bytes) = all(Pieces::protobuf(frame.unwrap(), messages.into()));
            assert_eq!(length, bytes.len() as u64);
            let list = protobuf::decode(&bytes, ("", "")).unwrap();
            assert_eq!(list["metadata"]["resourceVersion"], "7");
            assert_eq!(list["items"].as_array().map_or(0, Vec::len), items);
        }
    }
}
