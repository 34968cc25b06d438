//! Cuts a response into fragments for clients that ask for it.

use prost::Message;

use crate::proto::rpc::WatchResponse;

/// Fragments of at most about `most` bytes each, unless a single event is larger. All but the last are marked.
pub fn fragments(response: WatchResponse, most: usize) -> Vec<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() < most {
        return vec![response];
    }
    let WatchResponse { events, .. } = response;
    let empty = WatchResponse { events: Vec::new(), fragment: true, ..response };
    let overhead = empty.encoded_len();
    let mut fragments = Vec::new();
    let mut current = empty.clone();
    let mut size = overhead;
    for event in events {
        // The field's tag and length stand before the event.
        let length = event.encoded_len() + 6;
        if !current.events.is_empty() && size + length >= most {
            fragments.push(std::mem::replace(&mut current, empty.clone()));
            size = overhead;
        }
        size += length;
        current.events.push(event);
    }
    current.fragment = false;
    fragments.push(current);
    fragments
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::mvcc::{Event, KeyValue};

    fn response(events: usize) -> WatchResponse {
        let event = |number: usize| Event {
            kv: Some(KeyValue { key: Bytes::from(vec![number as u8; 100]), ..KeyValue::default() }),
            ..Event::default()
        };
        WatchResponse { watch_id: 3, events: (0..events).map(event).collect(), ..WatchResponse::default() }
    }

    #[test]
    fn fragments_hold_every_event_once_in_order() {
        for most in [1, 150, 500, 5000] {
            let whole = response(20);
            let parts = fragments(whole.clone(), most);
            let (last, rest) = parts.split_last().expect("at least one");
            assert!(!last.fragment && rest.iter().all(|part| part.fragment));
            assert!(parts.iter().all(|part| part.events.len() == 1 || part.encoded_len() < most), "{most}");
            let events: Vec<_> = parts.into_iter().flat_map(|part| part.events).collect();
            assert_eq!(events, whole.events);
        }
    }

    #[test]
    fn small_responses_stay_whole() {
        assert_eq!(fragments(response(0), 1).len(), 1);
        assert_eq!(fragments(response(1), 1).len(), 1);
    }
}
