//! A snapshot as the messages of its stream, made in the buffers that they are sent from.

use std::io::{self, Write};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use sha2::{Digest, Sha256};

use crate::direct::call::{begin, finish};
use crate::proto::rpc::{ResponseHeader, SnapshotResponse};

/// Bytes of the file in one message. The clients of old take messages of up to 4 MiB.
const PIECE: u64 = 256 << 10;
/// Bytes that a message has besides.
const BESIDES: usize = 128;
/// The number of the field that holds bytes of the file, and of what stands behind it.
const BLOB: u32 = 3;

/// Takes a file of a known size and hands it out as framed messages; its SHA-256 is the last one's.
pub struct Frames<F> {
    header: Option<ResponseHeader>,
    version: &'static str,
    /// Bytes of the file that are still to come.
    remaining: u64,
    message: BytesMut,
    /// Where in the message the file's bytes begin, and where they will end.
    from: usize,
    to: usize,
    hasher: Sha256,
    each: F,
}

impl<F: FnMut(Bytes) -> io::Result<()>> Frames<F> {
    pub fn new(header: Option<ResponseHeader>, version: &'static str, bytes: u64, each: F) -> Self {
        let (message, hasher) = (BytesMut::new(), Sha256::new());
        Self { header, version, remaining: bytes, message, from: 0, to: 0, hasher, each }
    }

    /// Begins a message that `length` bytes will follow in.
    fn begin(&mut self, length: usize, remaining: u64) {
        self.message = begin(length + BESIDES);
        let head = SnapshotResponse { header: self.header, remaining_bytes: remaining, ..SnapshotResponse::default() };
        head.encode(&mut self.message).expect("it grows as needed");
        encode_key(BLOB, WireType::LengthDelimited, &mut self.message);
        encode_varint(length as u64, &mut self.message);
        self.from = self.message.len();
        self.to = self.from + length;
    }

    fn end(&mut self) -> io::Result<()> {
        let version = SnapshotResponse { version: self.version.to_owned(), ..SnapshotResponse::default() };
        version.encode(&mut self.message).expect("it grows as needed");
        (self.from, self.to) = (0, 0);
        (self.each)(finish(std::mem::take(&mut self.message)))
    }

    /// Hands the SHA-256 out, once all of the file has been written.
    pub fn finish(mut self) -> io::Result<()> {
        if self.remaining > 0 || self.to > 0 {
            return Err(io::Error::other("the file is shorter than it was to be"));
        }
        let sum = std::mem::take(&mut self.hasher).finalize();
        self.begin(sum.len(), 0);
        self.message.put_slice(&sum);
        self.end()
    }
}

impl<F: FnMut(Bytes) -> io::Result<()>> Write for Frames<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.to == 0 {
            let length = self.remaining.min(PIECE);
            if length == 0 && !bytes.is_empty() {
                return Err(io::Error::other("the file is longer than it was to be"));
            }
            self.remaining -= length;
            self.begin(length as usize, self.remaining);
        }
        let taken = bytes.len().min(self.to - self.message.len());
        self.message.extend_from_slice(&bytes[..taken]);
        if self.message.len() == self.to {
            self.hasher.update(&self.message[self.from..]);
            self.end()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(file: &[u8], announced: u64) -> io::Result<Vec<SnapshotResponse>> {
        let mut messages = Vec::new();
        let header = Some(ResponseHeader { revision: 7, ..ResponseHeader::default() });
        let mut frames = Frames::new(header, "3.6.0", announced, |frame: Bytes| {
            messages.push(SnapshotResponse::decode(frame.slice(5..)).expect("a message"));
            Ok(())
        });
        for part in file.chunks(100_000) {
            frames.write_all(part)?;
        }
        frames.finish()?;
        Ok(messages)
    }

    #[test]
    fn a_file_goes_out_in_pieces_with_its_sum_behind() {
        for size in [1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let file: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
            let mut messages = sent(&file, size).expect("sent");
            let last = messages.pop().expect("the sum");
            assert_eq!((last.remaining_bytes, last.blob.as_ref()), (0, Sha256::digest(&file).as_slice()));
            let mut left = size;
            for message in &messages {
                left -= message.blob.len() as u64;
                let revision = message.header.map(|header| header.revision);
                assert_eq!((message.remaining_bytes, revision, message.version.as_str()), (left, Some(7), "3.6.0"));
            }
            assert!(messages.iter().flat_map(|message| message.blob.iter()).eq(&file), "{size} bytes");
        }
    }

    #[test]
    fn a_file_of_another_size_is_a_failure() {
        for (size, announced) in [(10, 11), (11, 10), (1, 0), (PIECE + 1, PIECE)] {
            assert!(sent(&vec![1; size as usize], announced).is_err(), "{size} bytes instead of {announced}");
        }
    }
}
