//! Joining two connections, so that what one side said before it went away always reaches the other.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What each direction holds at most.
const BUFFER: usize = 16 << 10;

/// Carries bytes both ways until both directions have ended. Each ends by itself, when its reader has said all or its
/// writer takes no more: somebody who no longer listens may have said something that is still to be read.
pub async fn join<A, B>(one: A, other: B)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_one, to_one) = tokio::io::split(one);
    let (from_other, to_other) = tokio::io::split(other);
    let ended = tokio::join!(carry(from_one, to_other), carry(from_other, to_one));
    if let (Err(error), _) | (_, Err(error)) = ended {
        tracing::debug!(%error, "a joined connection ended early");
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let read = loop {
        match from.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(count) => {
                to.write_all(&buffer[..count]).await?;
                to.flush().await?;
            }
            Err(error) => break Err(error),
        }
    };
    to.shutdown().await.and(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_said_before_leaving_arrives() {
        for said in ["", "last words", &"long ".repeat(20_000)] {
            let (mut client, near) = tokio::io::duplex(64);
            let (far, mut server) = tokio::io::duplex(1 << 20);
            server.write_all(said.as_bytes()).await.unwrap();
            drop(server);
            let joined = tokio::spawn(join(near, far));
            // The client still talks to a server that is gone.
            client.write_all(b"hello").await.unwrap();
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, said);
            drop(client);
            joined.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_end_is_passed_on_and_the_answer_comes_back() {
        let (mut client, near) = tokio::io::duplex(64);
        let (far, mut server) = tokio::io::duplex(64);
        let joined = tokio::spawn(join(near, far));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        drop(server);
        heard.push('-');
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "question-answer");
        joined.await.unwrap();
    }
}
