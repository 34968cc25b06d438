//! A gRPC client that costs next to nothing, so that what is measured is the server.
//!
//! It sends the same headers with every request and looks at no header of an answer: a call that brought a message
//! succeeded, one that ended without failed.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// The largest window there is.
const WINDOW: u32 = i32::MAX as u32;

/// What came back.
pub enum Event<'a> {
    Data(u32, &'a [u8]),
    End(u32),
}

/// One connection, for calls of one method.
pub struct Connection {
    socket: TcpStream,
    path: String,
    authority: String,
    input: BytesMut,
    output: Vec<u8>,
    next_stream: u32,
    /// Bytes that the server takes still.
    window: i64,
    held: VecDeque<(u32, Vec<u8>, bool)>,
    taken: u32,
}

impl Connection {
    pub async fn open(address: SocketAddr, path: &str) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut output = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut output, SETTINGS, 0, 0, &[&[0, 4], WINDOW.to_be_bytes().as_slice()].concat());
        frame(&mut output, WINDOW_UPDATE, 0, 0, &(WINDOW - 65_535).to_be_bytes());
        let mut connection = Self {
            socket,
            path: path.to_owned(),
            authority: address.to_string(),
            input: BytesMut::with_capacity(1 << 16),
            output,
            next_stream: 1,
            window: 65_535,
            held: VecDeque::new(),
            taken: 0,
        };
        connection.flush().await?;
        Ok(connection)
    }

    /// Queues a call with its message; `last` when there will be no other.
    pub fn call(&mut self, message: &[u8], last: bool) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut headers = vec![0x83, 0x86];
        if stream == 1 {
            for (name, value) in [(0x44, self.path.as_str()), (0x41, &self.authority), (0x5f, "application/grpc")] {
                headers.push(name);
                headers.push(value.len() as u8);
                headers.extend_from_slice(value.as_bytes());
            }
            headers.extend_from_slice(b"\x40\x02te\x08trailers");
        } else {
            // The server has these in its table since the first call, the latest at 62.
            headers.extend_from_slice(&[0xc1, 0xc0, 0xbf, 0xbe]);
        }
        frame(&mut self.output, HEADERS, END_HEADERS, stream, &headers);
        let mut body = vec![0];
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(message);
        self.held.push_back((stream, body, last));
        self.let_go();
        stream
    }

    fn let_go(&mut self) {
        while let Some((stream, body, last)) = self.held.front()
            && body.len() as i64 <= self.window
        {
            self.window -= body.len() as i64;
            frame(&mut self.output, DATA, if *last { END_STREAM } else { 0 }, *stream, body);
            self.held.pop_front();
        }
    }

    pub async fn flush(&mut self) -> std::io::Result<()> {
        self.socket.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// Sends what is queued, waits for something and hands out all that came.
    pub async fn turn(&mut self, each: &mut impl FnMut(Event<'_>)) -> std::io::Result<()> {
        self.flush().await?;
        self.input.reserve(1 << 16);
        if self.socket.read_buf(&mut self.input).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        while self.input.len() >= 9 {
            let length = u32::from_be_bytes([0, self.input[0], self.input[1], self.input[2]]) as usize;
            if self.input.len() < 9 + length {
                break;
            }
            let (kind, flags) = (self.input[3], self.input[4]);
            let stream = u32::from_be_bytes([self.input[5], self.input[6], self.input[7], self.input[8]]);
            self.input.advance(9);
            let payload = self.input.split_to(length);
            match kind {
                DATA => {
                    self.taken += length as u32;
                    if self.taken > WINDOW / 2 {
                        frame(&mut self.output, WINDOW_UPDATE, 0, 0, &self.taken.to_be_bytes());
                        self.taken = 0;
                    }
                    each(Event::Data(stream, &payload));
                }
                SETTINGS if flags & ACK == 0 => frame(&mut self.output, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(&mut self.output, PING, ACK, 0, &payload),
                WINDOW_UPDATE if stream == 0 => {
                    self.window += i64::from(u32::from_be_bytes(payload[..4].try_into().expect("four bytes")));
                    self.let_go();
                }
                RESET | GO_AWAY => return Err(std::io::Error::other(format!("ended by frame {kind}: {payload:?}"))),
                _ => {}
            }
            if kind <= HEADERS && flags & END_STREAM != 0 {
                each(Event::End(stream));
            }
        }
        Ok(())
    }
}

fn frame(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    output.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
}
