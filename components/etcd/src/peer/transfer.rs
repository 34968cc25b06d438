//! The whole state on its way to a member that is too far behind: a snapshot as clients get it, as a stream of pieces.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::link::To;
use crate::apply::Machine;
use crate::failpoint::pass;
use crate::membership::Identity;
use crate::node::open::incoming;
use crate::proto::peer::SnapshotPiece;
use crate::raft::{Body, Message, SnapshotMeta};
use crate::snapshot::pieces::Pieces;
use crate::snapshot::restore::restore_member;
use crate::snapshot::save::{SaveError, Snapshot};

/// Bytes sent at once.
const PIECE: usize = 256 << 10;

/// Sends the state as it is now. Returns up to where it goes.
pub async fn send(to: &To, machine: Arc<Machine>, term: u64) -> Result<u64, String> {
    let taken = tokio::task::spawn_blocking(move || Snapshot::of(&machine).map_err(|error| error.to_string()));
    let snapshot = taken.await.map_err(|error| error.to_string())??;
    let index = snapshot.index();
    let mut client = to.connect().await?;
    let (pieces, stream) = mpsc::channel(4);
    let writing = tokio::task::spawn_blocking(move || write(&snapshot, term, &pieces));
    let sent = client.snapshot(to.address(ReceiverStream::new(stream))).await;
    let written = writing.await.map_err(|error| error.to_string())?;
    sent.map_err(|status| status.message().to_owned())?;
    written.map_err(|error| error.to_string())?;
    Ok(index)
}

fn write(snapshot: &Snapshot, term: u64, pieces: &mpsc::Sender<SnapshotPiece>) -> Result<(), SaveError> {
    let each = |blob: Vec<u8>| {
        let sent = pieces.blocking_send(SnapshotPiece { term, blob: blob.into() });
        sent.map_err(|_| std::io::Error::other("the member took no more of it"))
    };
    Ok(snapshot.write_to(Pieces::new(PIECE, each))?.finish()?)
}

/// Takes a state and puts it beside the store, durably. Returns what consensus is told.
pub async fn receive(
    mut pieces: Streaming<SnapshotPiece>,
    member_dir: &Path,
    from: u64,
    own: Identity,
) -> Result<Message, Status> {
    let failed = |error: &dyn std::fmt::Display| Status::internal(format!("cannot take the snapshot: {error}"));
    let path = member_dir.join(format!("snapshot.incoming-{:x}", rand::random::<u64>()));
    let options = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = options.map_err(|error| failed(&error))?;
    let _removed = RemoveOnDrop(path.clone());
    let mut term = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        term = piece.term;
        let written = tokio::task::spawn_blocking(move || file.write_all(&piece.blob).map(|()| file)).await;
        file = written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    }
    drop(file);
    let directory = member_dir.to_owned();
    let restored = tokio::task::spawn_blocking(move || {
        let beside = directory.join(format!("store.taking-{:x}", rand::random::<u64>()));
        let _removed = RemoveOnDrop(beside.clone());
        let (place, roster) = restore_member(&path, &beside, own)?;
        std::fs::File::open(&beside)?.sync_all()?;
        pass("snapshot.take")?;
        std::fs::rename(&beside, incoming(&directory, place.index))?;
        pass("snapshot.taken")?;
        std::fs::File::open(&directory)?.sync_all()?;
        Ok::<_, anyhow::Error>((place, roster))
    });
    let (place, roster) = restored.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    tracing::info!(from = format!("{from:x}"), index = place.index, "took a snapshot");
    let meta = SnapshotMeta { place, members: roster.voting() };
    Ok(Message { from, to: own.member, term, body: Body::Snapshot(meta) })
}

/// Files that came to nothing do not stay.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // It may have been renamed, which is the good case.
        let _ = std::fs::remove_file(&self.0);
    }
}
