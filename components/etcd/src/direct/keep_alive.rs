//! Asks a quiet client whether it is there still.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

/// See the module.
pub struct KeepAlive {
    pings: PingPong,
    every: Duration,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl KeepAlive {
    pub fn new(pings: PingPong, every: Duration, patience: Duration) -> Self {
        Self { pings, every, patience, timer: Box::pin(tokio::time::sleep(every)), asked: false }
    }

    /// Ready once the client is gone.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.asked {
                match self.pings.poll_pong(context) {
                    Poll::Ready(Ok(_)) => self.wait(false),
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            futures::ready!(self.timer.poll_unpin(context));
            if self.asked || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.wait(true);
        }
    }

    fn wait(&mut self, asked: bool) {
        self.asked = asked;
        let time = if asked { self.patience } else { self.every };
        self.timer.as_mut().reset(Instant::now() + time);
    }
}
