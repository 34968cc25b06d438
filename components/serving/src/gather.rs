//! What a connection of HTTP/2 sends, in few writes. The protocol's library writes each frame by itself and flushes after it, which
//! costs a system call and a packet for each event of each watch. Here frames are gathered until the tasks that are ready have
//! added theirs, and go together then.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are held back at most.
const MOST: usize = 64 << 10;
/// A piece of so many bytes goes without being copied, where nothing is before it.
const WORTH_A_WRITE: usize = 8 << 10;

/// Room for so many bytes is made at once.
const LEAST: usize = 4 << 10;

/// What a connection's bytes and who drives it know of each other.
#[derive(Debug, Default)]
struct Gate {
    /// Whether a flush sends what is held.
    open: AtomicBool,
    /// Whether something is held.
    holds: AtomicBool,
}

/// A stream of bytes that holds back what is written to it.
pub struct Gathered<T> {
    stream: T,
    held: BytesMut,
    gate: Arc<Gate>,
}

/// Who drives the connection, and sends what was gathered.
pub struct Gathering {
    gate: Arc<Gate>,
    waited: bool,
    /// Otherwise everything goes as it comes.
    gathers: bool,
}

/// A stream whose writes are gathered while the connection is polled through the other half, if they are to be at all.
pub fn gathered<T>(stream: T, gathers: bool) -> (Gathered<T>, Gathering) {
    let gate = Arc::new(Gate { open: AtomicBool::new(!gathers), holds: AtomicBool::new(false) });
    (Gathered { stream, held: BytesMut::new(), gate: gate.clone() }, Gathering { gate, waited: false, gathers })
}

impl Gathering {
    /// Polls the connection. What it wrote is sent after the tasks that were ready then, the next time at the latest.
    pub fn poll<F: Future + ?Sized>(
        &mut self,
        mut connection: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<F::Output> {
        if !self.gathers {
            return connection.poll(context);
        }
        self.gate.open.store(false, Ordering::Relaxed);
        let polled = connection.as_mut().poll(context);
        if polled.is_ready() || !self.gate.holds.load(Ordering::Relaxed) {
            self.gate.open.store(polled.is_ready(), Ordering::Relaxed);
            self.waited = false;
            return polled;
        }
        self.waited = !self.waited;
        if self.waited {
            // A task that wakes itself comes after all that are ready.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.gate.open.store(true, Ordering::Relaxed);
        connection.poll(context)
    }
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    /// Sends all that is held.
    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(count);
        }
        // Most connections are quiet most of the time, and there may be many.
        self.held = BytesMut::new();
        self.gate.holds.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count: usize = slices.iter().map(|slice| slice.len()).sum();
        if this.held.len() + count > MOST {
            ready!(this.poll_held(context))?;
        }
        let as_it_comes = this.gate.open.load(Ordering::Relaxed) || count >= WORTH_A_WRITE;
        if this.held.is_empty() && as_it_comes {
            return Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        }
        if this.held.is_empty() {
            this.held.reserve(count.max(LEAST));
        }
        slices.iter().for_each(|slice| this.held.extend_from_slice(slice));
        this.gate.holds.store(!this.held.is_empty(), Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.gate.open.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_held(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_held(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;

    /// Keeps what each write brought.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncWrite for Writes {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            // Not all at once, as a socket.
            let taken = &bytes[..bytes.len().min(50_000)];
            self.0.lock().push(taken.to_vec());
            Poll::Ready(Ok(taken.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What comes out where a connection writes these pieces, flushes after each, and lives on.
    async fn written(pieces: Vec<Vec<u8>>, gathers: bool, ends: bool) -> Vec<Vec<u8>> {
        let writes = Writes::default();
        let (mut stream, mut gathering) = gathered(writes.clone(), gathers);
        let connection = async move {
            for piece in pieces {
                stream.write_all(&piece).await.unwrap();
                stream.flush().await.unwrap();
            }
            if ends {
                stream.shutdown().await.unwrap();
                return;
            }
            // As the library does, which flushes each time that it is polled.
            poll_fn(|context| {
                let _ = Pin::new(&mut stream).poll_flush(context);
                Poll::<()>::Pending
            })
            .await;
        };
        let mut connection = Box::pin(connection);
        let driven = poll_fn(|context| gathering.poll(connection.as_mut(), context));
        let done = tokio::time::timeout(std::time::Duration::from_millis(50), driven).await;
        assert_eq!(done.is_ok(), ends);
        let writes = writes.0.lock();
        writes.clone()
    }

    #[tokio::test]
    async fn what_is_small_goes_together() {
        let pieces: Vec<Vec<u8>> = (0..20).map(|at| vec![at; 300]).collect();
        let together = [pieces.concat()];
        for ends in [false, true] {
            assert_eq!(written(pieces.clone(), true, ends).await, together);
            assert_eq!(written(pieces.clone(), false, ends).await, pieces);
        }
    }

    #[tokio::test]
    async fn what_is_large_keeps_its_order() {
        let sizes = [300, 100_000, 300, 9_000, 300, 60_000, 4_000, 3_000, 70_000, 1];
        let pieces: Vec<Vec<u8>> = (1..).zip(sizes).map(|(at, size)| vec![at; size]).collect();
        for (gathers, ends) in [(true, false), (true, true), (false, true)] {
            assert_eq!(written(pieces.clone(), gathers, ends).await.concat(), pieces.concat());
        }
    }
}
