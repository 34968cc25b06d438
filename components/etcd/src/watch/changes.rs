//! Word that something changed in a range, for requests that wait for a state rather than for each event.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::hub::{Delivery, Interest, Queue, WatcherId};
use crate::apply::Machine;

/// A watcher that only says that it is time to look again. It is taken away when dropped.
pub struct Changes {
    machine: Arc<Machine>,
    queue: Arc<Queue>,
    deliveries: mpsc::Receiver<Delivery>,
    id: WatcherId,
}

impl Changes {
    /// Whatever changes from now on counts; look at the state after this, then wait.
    pub fn of(machine: &Arc<Machine>, interest: Interest) -> Self {
        let (queue, deliveries) = Queue::new();
        let (id, _) = machine.hub.add(&queue, 0, interest, 0);
        Self { machine: machine.clone(), queue, deliveries, id }
    }

    /// Waits for at least one change since the last call.
    pub async fn next(&mut self) {
        if self.deliveries.recv().await.is_none() {
            // The queue is held here, so it does not close; waiting is what a closed one would mean.
            std::future::pending::<()>().await;
        }
        while self.deliveries.try_recv().is_ok() {}
        if !self.queue.take_behind().is_empty() {
            // What was missed is covered by looking again.
            while self.machine.hub.sync(self.id, self.machine.hub.published() + 1).is_some() {}
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.machine.hub.remove(self.id);
    }
}
