//! The part of SPDY/3.1 that a client of a kubelet speaks: streams are opened by the client, and data goes both ways.
//!
//! Headers that the server sends are never needed, so nothing is decompressed here. Headers that go out are in stored
//! blocks, which every decompressor takes, and which need no dictionary.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const VERSION: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
/// The last data of its sender on a stream.
const FIN: u8 = 1;
/// Larger frames are refused; peers send 32 KiB at most.
const MAX_FRAME: usize = 1 << 20;

/// A frame that matters here.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: u32,
        bytes: Bytes,
        last: bool,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Replies, settings and windows: nothing follows from them.
    Other,
}

/// Reads the next frame; `None` at an orderly end.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 8];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let size = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    if size > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too large"));
    }
    let mut body = vec![0; size];
    from.read_exact(&mut body).await?;
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if head[0] & 0x80 == 0 {
        return Ok(Some(Frame::Data { stream: first, bytes: body.into(), last: head[4] & FIN != 0 }));
    }
    let word = body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff);
    Ok(Some(match (u16::from_be_bytes([head[2], head[3]]), word) {
        (RST_STREAM, Some(stream)) => Frame::Reset { stream },
        (PING, Some(id)) => Frame::Ping { id },
        (GOAWAY, _) => Frame::GoAway,
        _ => Frame::Other,
    }))
}

/// Makes the frames that go out.
#[derive(Default)]
pub struct Encoder {
    /// The header blocks of a connection are one compressed stream; its own header is sent once.
    begun: bool,
}

impl Encoder {
    /// Opens a stream; clients' streams have odd numbers, rising.
    pub fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> Bytes {
        let mut block = BytesMut::new();
        block.put_u32(headers.len() as u32);
        for (name, value) in headers {
            block.put_u32(name.len() as u32);
            block.put_slice(name.to_ascii_lowercase().as_bytes());
            block.put_u32(value.len() as u32);
            block.put_slice(value.as_bytes());
        }
        let mut packed = BytesMut::new();
        if !self.begun {
            packed.put_slice(&[0x78, 0x01]);
            self.begun = true;
        }
        stored(&mut packed, &block);
        // An empty block makes the other side give out what came before it.
        stored(&mut packed, &[]);
        let mut frame = control(SYN_STREAM, 10 + packed.len());
        frame.put_u32(stream);
        frame.put_u32(0);
        frame.put_u16(0);
        frame.put_slice(&packed);
        frame.freeze()
    }
}

fn stored(out: &mut BytesMut, block: &[u8]) {
    let size = u16::try_from(block.len()).expect("the few headers of a stream are short");
    out.put_u8(0);
    out.put_u16_le(size);
    out.put_u16_le(!size);
    out.put_slice(block);
}

fn control(kind: u16, size: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(8 + size);
    frame.put_u16(VERSION);
    frame.put_u16(kind);
    frame.put_u32(size as u32);
    frame
}

/// Data on a stream; `bytes` is at most a message long.
pub fn data(stream: u32, bytes: &[u8], last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + bytes.len());
    frame.put_u32(stream);
    frame.put_u32(u32::from(last) << 24 | bytes.len() as u32 & 0x00ff_ffff);
    frame.put_slice(bytes);
    frame.freeze()
}

/// The answer to a ping is the ping.
pub fn ping(id: u32) -> Bytes {
    let mut frame = control(PING, 4);
    frame.put_u32(id);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_they_are_written() {
        let mut wire = Vec::new();
        wire.extend_from_slice(&data(3, b"abc", true));
        wire.extend_from_slice(&ping(2));
        wire.extend_from_slice(&Encoder::default().open(1, &[("streamType", "stdin")]));
        let mut from = wire.as_slice();
        let wanted = Frame::Data { stream: 3, bytes: Bytes::from_static(b"abc"), last: true };
        assert_eq!(read(&mut from).await.unwrap(), Some(wanted));
        assert_eq!(read(&mut from).await.unwrap(), Some(Frame::Ping { id: 2 }));
        assert_eq!(read(&mut from).await.unwrap(), Some(Frame::Other));
        assert_eq!(read(&mut from).await.unwrap(), None);
        assert!(read(&mut &wire[..5]).await.is_err());
        assert!(read(&mut [0u8, 0, 0, 1, 0, 0xff, 0xff, 0xff].as_slice()).await.is_err());
    }

    #[test]
    fn headers_are_a_compressed_stream_that_begins_once() {
        let mut encoder = Encoder::default();
        let first = encoder.open(1, &[("streamType", "error")]);
        let second = encoder.open(3, &[("streamType", "stdin")]);
        assert_eq!(&first[..4], &[0x80, 3, 0, 1]);
        assert_eq!(&first[18..25], &[0x78, 0x01, 0, 27, 0, 228, 255]);
        assert!(first.ends_with(&[0, 0, 0, 255, 255]));
        assert_eq!(second.len() + 2, first.len());
    }
}
