//! A range request's options: filters, order, limit.

use std::cmp::Ordering;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::error::Error;
use crate::mvcc::range::KeyRange;
use crate::mvcc::read::{Found, Query};
use crate::mvcc::store::Store;
use crate::proto::mvcc::KeyValue;
use crate::proto::rpc::range_request::{SortOrder, SortTarget};
use crate::proto::rpc::{RangeRequest, RangeResponse, ResponseHeader};

/// What the store is asked for. One key more than the limit, to know whether there are more; everything when filters or
/// an order decide which keys count.
pub fn query(request: &RangeRequest) -> Query<'_> {
    let decided_later = request.sort_order() != SortOrder::None || filters(request);
    let limit = match usize::try_from(request.limit) {
        Ok(limit) if limit > 0 && !decided_later => limit + 1,
        _ => 0,
    };
    Query {
        range: KeyRange::new(&request.key, &request.range_end),
        revision: request.revision,
        limit,
        count_only: request.count_only,
    }
}

/// Whether an answer is made of whole keys and values in the order of keys. It can be made of what is stored, then.
pub fn is_plain(request: &RangeRequest) -> bool {
    let ordered = request.sort_order() == SortOrder::None && request.sort_target() == SortTarget::Key;
    ordered && !request.keys_only && !filters(request)
}

/// Encodes the answer to a plain request behind `answer`, with `header` and the newest revision.
pub fn encode(
    store: &Store,
    request: &RangeRequest,
    header: ResponseHeader,
    mut answer: BytesMut,
) -> Result<BytesMut, Error> {
    let most = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let begin = |extent: crate::mvcc::read::Extent| {
        let header = ResponseHeader { revision: extent.revision, ..header };
        answer.reserve(64);
        answer.put_u8(HEADER);
        header.encode_length_delimited(&mut answer).expect("it grows as needed");
        (answer, extent, 0)
    };
    let (mut answer, extent, _) =
        store.range_encoded(&query(request), begin, |(answer, extent, given), key_value| {
            let length = 1 + encoded_len_varint(key_value.len() as u64) + key_value.len();
            if *given == 0 {
                // Most ranges are of things alike.
                answer.reserve((length + length / 8) * extent.held.min(most) + 32);
            }
            answer.put_u8(KEY_VALUE);
            encode_varint(key_value.len() as u64, answer);
            answer.put_slice(key_value);
            *given += 1;
            *given < most
        })?;
    if extent.held > most {
        answer.put_slice(&[MORE, 1]);
    }
    if extent.count > 0 {
        answer.put_u8(COUNT);
        encode_varint(extent.count as u64, &mut answer);
    }
    Ok(answer)
}

/// The tags of an answer's fields.
const HEADER: u8 = 1 << 3 | 2;
const KEY_VALUE: u8 = 2 << 3 | 2;
const MORE: u8 = 3 << 3;
const COUNT: u8 = 4 << 3;

fn filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// Makes the answer of what the store found.
pub fn respond(request: &RangeRequest, found: Found) -> RangeResponse {
    let mut kvs = found.key_values;
    if filters(request) {
        let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
        kvs.retain(|kv| {
            within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
                && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
        });
    }
    sort(&mut kvs, request.sort_order(), request.sort_target());
    let mut more = false;
    if let Ok(limit) = usize::try_from(request.limit)
        && limit > 0
        && kvs.len() > limit
    {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        for kv in &mut kvs {
            kv.value = Bytes::new();
        }
    }
    let header = ResponseHeader { revision: found.revision, ..ResponseHeader::default() };
    RangeResponse { header: Some(header), kvs, more, count: found.count as i64 }
}

fn sort(kvs: &mut [KeyValue], order: SortOrder, target: SortTarget) {
    let order = match (order, target) {
        // Keys come sorted already.
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => return,
        (SortOrder::None, _) => SortOrder::Ascend,
        (order, _) => order,
    };
    let compare = |left: &KeyValue, right: &KeyValue| -> Ordering {
        match target {
            SortTarget::Key => left.key.cmp(&right.key),
            SortTarget::Version => left.version.cmp(&right.version),
            SortTarget::Create => left.create_revision.cmp(&right.create_revision),
            SortTarget::Mod => left.mod_revision.cmp(&right.mod_revision),
            SortTarget::Value => left.value.cmp(&right.value),
        }
    };
    match order {
        SortOrder::Descend => kvs.sort_by(|left, right| compare(right, left)),
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(compare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let kv = |key: &'static str, value: &'static str, create_revision, mod_revision| KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
            create_revision,
            mod_revision,
            version: mod_revision - create_revision + 1,
            lease: 0,
        };
        let key_values = vec![kv("a", "3", 2, 9), kv("b", "1", 4, 4), kv("c", "2", 3, 5)];
        Found { key_values, count: 3, revision: 10 }
    }

    fn keys(change: impl Fn(&mut RangeRequest)) -> (String, bool) {
        let mut request = RangeRequest::default();
        change(&mut request);
        let response = respond(&request, found());
        assert_eq!(response.count, 3);
        let keys = response.kvs.iter().flat_map(|kv| kv.key.iter().map(|byte| char::from(*byte))).collect();
        (keys, response.more)
    }

    #[test]
    fn orders_filters_and_limits() {
        let order = |target: SortTarget, order: SortOrder| {
            keys(|request| {
                request.set_sort_target(target);
                request.set_sort_order(order);
            })
            .0
        };
        assert_eq!(order(SortTarget::Key, SortOrder::None), "abc");
        assert_eq!(order(SortTarget::Key, SortOrder::Descend), "cba");
        assert_eq!(order(SortTarget::Mod, SortOrder::None), "bca");
        assert_eq!(order(SortTarget::Create, SortOrder::Descend), "bca");
        assert_eq!(order(SortTarget::Value, SortOrder::Ascend), "bca");
        assert_eq!(order(SortTarget::Version, SortOrder::Descend), "acb");
        assert_eq!(keys(|request| request.min_mod_revision = 5).0, "ac");
        assert_eq!(keys(|request| request.max_create_revision = 3).0, "ac");
        assert_eq!(keys(|request| request.limit = 2), ("ab".into(), true));
        assert_eq!(keys(|request| request.limit = 3), ("abc".into(), false));
    }
}
