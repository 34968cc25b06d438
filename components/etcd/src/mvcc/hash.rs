//! Hashes over the history, which members compare to find out that they have parted.
//!
//! The bytes that are hashed are etcd's own, so that two servers of different make agree: the table's name, then each
//! revision as 17 bytes (18 for a tombstone) and the encoded key and value.

use bytes::Bytes;

use super::Revision;
use super::store::{Store, storage};
use crate::error::Error;

/// CRC-32 with Castagnoli's polynomial, reflected.
struct Crc32c {
    state: u32,
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

impl Crc32c {
    fn new() -> Self {
        Self { state: !0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = TABLE[((self.state ^ u32::from(*byte)) & 0xff) as usize] ^ (self.state >> 8);
        }
    }

    fn finish(&self) -> u32 {
        !self.state
    }
}

/// A hash and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    pub hash: u32,
    /// The newest revision in it.
    pub revision: i64,
    pub compacted: i64,
    /// The newest revision of the store.
    pub current: i64,
}

impl Store {
    /// Hashes the history up to `revision` (0: all of it). Compactions asked for must be carried out before.
    pub fn hash(&self, revision: i64) -> Result<Hash, Error> {
        let (view, pending, first_pending, meta) = {
            let inner = self.inner.read();
            let pending = inner.pending.from(Revision::default()).cloned().collect::<Vec<_>>();
            (inner.view(), pending, inner.pending.first(), inner.meta)
        };
        if revision > 0 && revision < meta.compacted {
            return Err(Error::Compacted);
        }
        if revision > meta.revision {
            return Err(Error::FutureRevision);
        }
        let upto = if revision == 0 { meta.revision } else { revision };

        let mut crc = Crc32c::new();
        crc.update(b"key");
        let mut add = |place: Revision, record: &[u8]| {
            let tombstone = record.first() == Some(&1);
            // Whether a compaction at a deletion keeps it differs between versions, so it never counts.
            if place.main > upto || (tombstone && place.main == meta.compacted) {
                return;
            }
            crc.update(&place.main.to_be_bytes());
            crc.update(b"_");
            crc.update(&place.sub.to_be_bytes());
            if tombstone {
                crc.update(b"t");
            }
            crc.update(record.get(1..).unwrap_or_default());
        };
        view.scan(Revision::default(), |place, record| {
            if first_pending.is_some_and(|first| place >= first) {
                return Ok(false);
            }
            add(place, record);
            Ok(true)
        })
        .map_err(storage)?;
        for (place, record) in &pending {
            add(*place, record as &Bytes);
        }
        Ok(Hash { hash: crc.finish(), revision: upto, compacted: meta.compacted, current: meta.revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc32c() {
        let mut crc = Crc32c::new();
        crc.update(b"123456789");
        assert_eq!(crc.finish(), 0xe306_9283);
    }
}
