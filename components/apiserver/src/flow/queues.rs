//! Who of those that wait gets the next seat: pure, and with no time in it.
//!
//! A flow is dealt a hand of queues by its hash and waits in the shortest of them, so that a flow with many requests fills its
//! own hand and leaves other flows, whose hands are hardly ever the same, a queue of their own. Queues take turns: the one
//! that has been served least since it has something waiting is next.

use std::collections::VecDeque;

/// One that waits, by a number that is given once.
pub type Ticket = u64;

/// A level's queues.
#[derive(Debug)]
pub struct Queues {
    queues: Vec<Queue>,
    hand: usize,
    limit: usize,
    waiting: usize,
    next: Ticket,
    /// How much the queue that was last served had been served by then.
    now: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Ticket>,
    served: u64,
}

impl Queues {
    /// So many queues of at most `limit` each, of which a flow is dealt `hand`.
    pub fn new(queues: usize, hand: usize, limit: usize) -> Self {
        let queues = queues.clamp(1, MOST_QUEUES);
        let all = std::iter::repeat_with(Queue::default).take(queues).collect();
        Self { queues: all, hand: hand.clamp(1, queues), limit, waiting: 0, next: 0, now: 0 }
    }

    /// How many wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Lets a request of a flow wait, unless the queues that it may wait in are full.
    pub fn push(&mut self, flow: u64) -> Option<Ticket> {
        let hand = deal(flow, self.queues.len(), self.hand);
        let shortest = hand.into_iter().min_by_key(|at| self.queues[*at].waiting.len())?;
        let now = self.now;
        let queue = &mut self.queues[shortest];
        if queue.waiting.len() >= self.limit {
            return None;
        }
        if queue.waiting.is_empty() {
            // A queue gets nothing for the time in which nobody waited in it.
            queue.served = queue.served.max(now);
        }
        let ticket = self.next;
        self.next += 1;
        queue.waiting.push_back(ticket);
        self.waiting += 1;
        Some(ticket)
    }

    /// Who is next, who then waits no longer.
    pub fn pop(&mut self) -> Option<Ticket> {
        let waiting = self.queues.iter_mut().filter(|queue| !queue.waiting.is_empty());
        let queue = waiting.min_by_key(|queue| (queue.served, queue.waiting.front().copied()))?;
        self.now = queue.served;
        queue.served += 1;
        self.waiting -= 1;
        queue.waiting.pop_front()
    }

    /// Takes away one that gives up.
    pub fn remove(&mut self, ticket: Ticket) {
        for queue in &mut self.queues {
            if let Some(at) = queue.waiting.iter().position(|own| *own == ticket) {
                queue.waiting.remove(at);
                self.waiting -= 1;
                return;
            }
        }
    }
}

/// More than this are not of use, and cost memory.
const MOST_QUEUES: usize = 4096;

/// A hand of different queues that a hash stands for.
fn deal(mut hash: u64, queues: usize, hand: usize) -> Vec<usize> {
    let mut dealt: Vec<usize> = Vec::with_capacity(hand);
    for at in 0..hand {
        let left = (queues - at) as u64;
        let mut card = usize::try_from(hash % left).unwrap_or_default();
        hash /= left;
        // The number is of the queues that are left, which are those between the ones that are dealt.
        let mut taken = dealt.clone();
        taken.sort_unstable();
        for other in taken {
            if other <= card {
                card += 1;
            }
        }
        dealt.push(card);
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_has_no_queue_twice_and_every_queue_is_dealt() {
        let mut seen = std::collections::BTreeSet::new();
        for hash in (0..5000u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let hand = deal(hash, 16, 4);
            let different: std::collections::BTreeSet<_> = hand.iter().copied().collect();
            assert_eq!(different.len(), 4, "{hand:?}");
            assert!(hand.iter().all(|at| *at < 16));
            seen.extend(different);
        }
        assert_eq!(seen.len(), 16);
    }

    #[test]
    fn a_flow_that_floods_does_not_keep_another_waiting() {
        let mut queues = Queues::new(64, 4, 50);
        let (loud, quiet) = (7, 0x0123_4567_89ab);
        let flood: Vec<Ticket> = std::iter::from_fn(|| queues.push(loud)).collect();
        assert_eq!(flood.len(), 4 * 50, "its hand is full");
        let ticket = queues.push(quiet).expect("the other has room");
        let before = std::iter::from_fn(|| queues.pop()).take_while(|next| *next != ticket).count();
        assert!(before <= 4, "{before} went first");
    }

    #[test]
    fn those_of_one_queue_go_in_their_order_and_may_give_up() {
        let mut queues = Queues::new(1, 1, 3);
        let tickets: Vec<_> = (0..4).map(|_| queues.push(1)).collect();
        assert_eq!(tickets[3], None);
        queues.remove(tickets[1].expect("it waits"));
        assert_eq!(queues.len(), 2);
        assert_eq!([queues.pop(), queues.pop(), queues.pop()], [tickets[0], tickets[2], None]);
    }
}
