//! The snapshot's stream: one thread makes it, the connection's task sends it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::Context;
use crate::config::CLUSTER_VERSION;
use crate::direct::call::Call;
use crate::error::Error;
use crate::proto::rpc::SnapshotRequest;
use crate::snapshot::frames::Frames;
use crate::snapshot::save::{SaveError, Snapshot};

/// Messages made ahead of the client's taking them.
const AHEAD: usize = 4;

type Made = Result<Bytes, Error>;

/// The stream's messages, framed.
pub fn frames(context: Arc<Context>) -> mpsc::Receiver<Made> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = make(&context, &sender) {
            // The client may have gone; then nobody hears of it.
            let _ = sender.blocking_send(Err(Error::Storage(error.to_string())));
        }
    });
    receiver
}

fn make(context: &Context, frames: &mpsc::Sender<Made>) -> Result<(), SaveError> {
    let (snapshot, header) = (Snapshot::of(&context.machine)?, context.header());
    let each = |frame| frames.blocking_send(Ok(frame)).map_err(|_| std::io::Error::other("the client is gone"));
    Ok(snapshot.write_to(Frames::new(header, CLUSTER_VERSION, snapshot.bytes(), each))?.finish()?)
}

/// Answers a call within its connection.
pub async fn direct(context: Arc<Context>, mut call: Call) -> Code {
    let asked = async {
        let asker = context.asker(&call.headers, Some(&call.peer))?;
        call.message::<SnapshotRequest>(context.most_message_bytes()).await?;
        Ok::<_, Status>(context.machine.auth.read().may_manage(&asker)?)
    };
    if let Err(status) = asked.await {
        let code = status.code();
        call.answer(Err(status));
        return code;
    }
    let (figures, mut made) = (context.figures.clone(), frames(context));
    let Ok((_, mut reply)) = call.begin() else { return Code::Cancelled };
    let started = Instant::now();
    while let Some(frame) = made.recv().await {
        match frame {
            Ok(frame) => {
                if reply.send(frame).await.is_err() {
                    return Code::Cancelled;
                }
            }
            Err(error) => {
                let status = Status::from(error);
                reply.end(&status);
                return status.code();
            }
        }
    }
    reply.end(&Status::ok(""));
    figures.snapshot_seconds.observe(started.elapsed().as_secs_f64());
    Code::Ok
}
