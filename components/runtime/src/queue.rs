//! Work queues.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::figures::{self, Figures};

/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
pub const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause after failures.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keys to work on. A key that is added again before it is taken is there once; one that is added while it is worked on
/// comes again afterwards, so no key is ever worked on twice at once and no change is lost.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    figures: Arc<Figures>,
}

struct State<K> {
    ready: VecDeque<K>,
    waiting: HashSet<K>,
    working: HashSet<K>,
    again: HashSet<K>,
    delayed: BTreeMap<(Instant, u64), K>,
    failures: HashMap<K, u32>,
    count: u64,
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            waiting: HashSet::new(),
            working: HashSet::new(),
            again: HashSet::new(),
            delayed: BTreeMap::new(),
            failures: HashMap::new(),
            count: 0,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), figures: Arc::default() }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Adds a key.
    pub fn add(&self, key: K) {
        let mut state = self.state.lock();
        if state.working.contains(&key) {
            state.again.insert(key);
        } else if state.waiting.insert(key.clone()) {
            state.ready.push_back(key);
            self.figures.added(state.ready.len());
            self.changed.notify_one();
        }
    }

    /// Adds a key after a while.
    pub fn add_after(&self, key: K, pause: Duration) {
        let mut state = self.state.lock();
        state.count += 1;
        let at = (Instant::now() + pause, state.count);
        state.delayed.insert(at, key);
        self.changed.notify_one();
    }

    /// Takes the next key; [`Queue::done`] must follow.
    pub async fn take(&self) -> K {
        loop {
            let next = {
                let mut state = self.state.lock();
                let now = Instant::now();
                while let Some(entry) = state.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
                    let key = entry.remove();
                    if state.working.contains(&key) {
                        state.again.insert(key);
                    } else if state.waiting.insert(key.clone()) {
                        state.ready.push_back(key);
                    }
                }
                if let Some(key) = state.ready.pop_front() {
                    state.waiting.remove(&key);
                    state.working.insert(key.clone());
                    self.figures.depth.store(state.ready.len() as u64, Ordering::Relaxed);
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.delayed.keys().next().map(|(at, _)| *at)
            };
            match next {
                Some(at) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Says how a key went: well, or it is to be tried again with a growing pause.
    pub fn done(&self, key: K, well: bool) {
        let pause = {
            let mut state = self.state.lock();
            state.working.remove(&key);
            let again = state.again.remove(&key);
            if well {
                state.failures.remove(&key);
                if again && state.waiting.insert(key.clone()) {
                    state.ready.push_back(key);
                    self.changed.notify_one();
                }
                return;
            }
            self.figures.retries.fetch_add(1, Ordering::Relaxed);
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            (FIRST_PAUSE * 2u32.saturating_pow((*failures - 1).min(16))).min(LONGEST_PAUSE)
        };
        self.add_after(key, pause);
    }
}

/// Works on the keys of a queue with several workers until shutdown. What `reconcile` returns is when to look at the key
/// again even if nothing happens.
pub async fn work<K, F, Fut, E>(
    name: &'static str,
    queue: Arc<Queue<K>>,
    workers: usize,
    shutdown: CancellationToken,
    reconcile: F,
) where
    K: Clone + Eq + Hash + std::fmt::Debug + Send + Sync + 'static,
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<Duration>, E>> + Send,
    E: std::fmt::Display + Send,
{
    figures::register(name, &queue.figures);
    let reconcile = Arc::new(reconcile);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (queue, reconcile, shutdown) = (queue.clone(), reconcile.clone(), shutdown.clone());
        tasks.spawn(async move {
            loop {
                let key = tokio::select! {
                    key = queue.take() => key,
                    () = shutdown.cancelled() => return,
                };
                let begin = Instant::now();
                let result = reconcile(key.clone()).await;
                queue.figures.worked(begin.elapsed());
                match result {
                    Ok(again) => {
                        if let Some(pause) = again {
                            queue.add_after(key.clone(), pause);
                        }
                        queue.done(key, true);
                    }
                    Err(error) => {
                        tracing::debug!(controller = name, ?key, %error, "tries again");
                        queue.done(key, false);
                    }
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn keys_are_merged_and_never_worked_on_twice_at_once() {
        let queue: Arc<Queue<&str>> = Queue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.take().await, "a");
        queue.add("a");
        assert_eq!(queue.take().await, "b");
        assert!(queue.take().now_or_never().is_none());
        queue.done("a", true);
        assert_eq!(queue.take().await, "a");
        queue.done("a", true);
        queue.done("b", true);
        assert!(queue.take().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_come_back_later_and_later() {
        let queue: Arc<Queue<u8>> = Queue::new();
        queue.add(1);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let begin = Instant::now();
            let key = queue.take().await;
            pauses.push(begin.elapsed().as_millis());
            queue.done(key, false);
        }
        assert_eq!((pauses[0], pauses[1] >= 20, pauses[2] >= 40, pauses[3] >= 80), (0, true, true, true));
    }
}
