//! How a stream's responses go out: as messages to be encoded by others, or as frames of a client's own connection.

use bytes::{BufMut, Bytes};
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;

use super::hub::{Batch, Places};
use crate::direct::call::{Reply, begin, finish, framed};
use crate::proto::rpc::WatchResponse;

/// The client is gone; nothing is left to do.
pub struct Gone;

/// See the module.
pub enum Responses {
    Messages(mpsc::Sender<Result<WatchResponse, Status>>),
    Frames(Reply),
}

impl Responses {
    /// Sends a response, once the client takes it.
    pub async fn send(&mut self, response: WatchResponse) -> Result<(), Gone> {
        match self {
            Self::Messages(messages) => messages.send(Ok(response)).await.map_err(|_| Gone),
            Self::Frames(reply) => reply.send(framed(&response)).await.map_err(|_| Gone),
        }
    }

    /// Sends a response with some of a batch's changes, whose bytes all streams share.
    pub async fn send_changes(
        &mut self,
        mut response: WatchResponse,
        batch: &Batch,
        places: &Places,
    ) -> Result<(), Gone> {
        let changes = places.iter().map(|place| &batch.changes[*place as usize]);
        match self {
            Self::Messages(messages) => {
                response.events = changes.map(|happened| happened.event()).collect();
                messages.send(Ok(response)).await.map_err(|_| Gone)
            }
            Self::Frames(reply) => {
                let frame = with_events(&response, changes.map(|happened| happened.encoded()));
                reply.send(frame).await.map_err(|_| Gone)
            }
        }
    }

    /// Ends the stream for a reason; who is gone needs none.
    pub async fn fail(&mut self, status: Status) {
        match self {
            Self::Messages(messages) => drop(messages.send(Err(status)).await),
            Self::Frames(reply) => reply.end(&status),
        }
    }

    /// Ends the stream as the client wants it.
    pub fn end(&mut self) {
        if let Self::Frames(reply) = self {
            reply.end(&Status::ok(""));
        }
    }

    /// Waits until the client is gone.
    pub async fn closed(&mut self) {
        match self {
            Self::Messages(messages) => messages.closed().await,
            Self::Frames(reply) => reply.closed().await,
        }
    }
}

/// A response with `events` behind its other fields, which is where they belong.
fn with_events<'a>(response: &WatchResponse, events: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let mut frame = begin(response.encoded_len() + events.clone().map(Bytes::len).sum::<usize>());
    response.encode(&mut frame).expect("it grows as needed");
    for event in events {
        frame.put_slice(event);
    }
    finish(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::txn::Changed;
    use crate::proto::mvcc::KeyValue;
    use crate::watch::hub::Happened;

    #[test]
    fn shared_bytes_are_the_same_response() {
        let changed = |key: &'static str, deleted| {
            let key_value =
                KeyValue { key: Bytes::from_static(key.as_bytes()), mod_revision: 7, ..KeyValue::default() };
            Happened::new(Changed { deleted, key_value })
        };
        let happened = [changed("a", false), changed("b", true)];
        let head = WatchResponse { watch_id: 300, ..WatchResponse::default() };
        let shared = with_events(&head, happened.iter().map(Happened::encoded));
        let whole = WatchResponse { events: happened.iter().map(Happened::event).collect(), ..head };
        assert_eq!(shared, framed(&whole));
    }
}
