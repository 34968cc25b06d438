//! The one way for a part to stop the member: a disk that fails must not be answered with anything but an end.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Fatal {
    reason: Arc<Mutex<Option<String>>>,
    raised: CancellationToken,
}

impl Fatal {
    /// Stops the member. The first reason stays.
    pub fn raise(&self, reason: String) {
        tracing::error!(reason, "stopping");
        self.reason.lock().get_or_insert(reason);
        self.raised.cancel();
    }

    /// Waits until it is raised.
    pub async fn raised(&self) {
        self.raised.cancelled().await;
    }

    /// The reason, if it was raised.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }
}
