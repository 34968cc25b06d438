//! Reads on a thread of its own what another takes in order.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

/// What goes from thread to thread at once.
const BLOCK: usize = 256;

/// See [`ahead`].
pub struct Ahead<T, E> {
    blocks: Receiver<Result<Vec<T>, E>>,
    block: std::vec::IntoIter<T>,
}

/// Has `rows` read ahead by as many blocks, until the first that fails. The thread ends when it is taken no more.
pub fn ahead<'scope, T, E>(
    scope: &'scope Scope<'scope, '_>,
    blocks: usize,
    mut rows: impl Iterator<Item = Result<T, E>> + Send + 'scope,
) -> Ahead<T, E>
where
    T: Send + 'scope,
    E: Send + 'scope,
{
    let (sender, receiver) = sync_channel(blocks);
    scope.spawn(move || {
        loop {
            let block: Result<Vec<T>, E> = rows.by_ref().take(BLOCK).collect();
            let last = block.as_ref().map_or(true, Vec::is_empty);
            if sender.send(block).is_err() || last {
                return;
            }
        }
    });
    Ahead { blocks: receiver, block: Vec::new().into_iter() }
}

impl<T, E> Iterator for Ahead<T, E> {
    type Item = Result<T, E>;

    fn next(&mut self) -> Option<Result<T, E>> {
        loop {
            if let Some(next) = self.block.next() {
                return Some(Ok(next));
            }
            match self.blocks.recv().ok()? {
                Ok(block) => self.block = block.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_in_order_up_to_the_first_failure() {
        for (count, bad, blocks) in [(0, None, 0), (BLOCK, None, 1), (5 * BLOCK + 7, None, 2), (900, Some(700), 1)] {
            let rows = (0..count).map(|row| if Some(row) == bad { Err(row) } else { Ok(row) });
            let found = std::thread::scope(|scope| ahead(scope, blocks, rows).collect::<Result<Vec<_>, _>>());
            assert_eq!(found, bad.map_or_else(|| Ok((0..count).collect()), Err), "{count} rows");
        }
    }

    #[test]
    fn who_stops_taking_ends_the_thread() {
        let endless = (0..).map(Ok::<u64, ()>);
        let first = std::thread::scope(|scope| ahead(scope, 1, endless).next());
        assert_eq!(first, Some(Ok(0)));
    }
}
