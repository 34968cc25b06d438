//! The file format of etcd's own backend, bbolt, as far as snapshots need it: whole files written at once and read back.
//!
//! With it a snapshot of this server is one that etcd's tools restore, and the other way round. It is not used to store
//! anything that changes.
//!
//! A file is pages of [`PAGE`] bytes. The first two are meta pages, of which the valid one with the higher transaction
//! counts. It points to the root bucket, a B+tree whose leaves hold the named buckets, which are B+trees themselves.
//! All numbers are little-endian.

pub mod read;
pub mod write;

/// Bytes of a page; a page may go on over the next ones.
pub const PAGE: usize = 4096;
/// Bytes at a page's beginning: id (8), flags (2), count (2), pages it goes on over (4).
const HEADER: usize = 16;
/// Bytes of an element's head, in branches and leaves.
const ELEMENT: usize = 16;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREELIST: u16 = 0x10;

/// A leaf's element whose value is a bucket.
const BUCKET: u32 = 0x01;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
/// Bytes of a meta page that its checksum is over.
const META_BYTES: usize = 56;

/// FNV-1a over 64 bits, a meta page's checksum.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Sets the meta pages' own words and checksums right, in a file of any bytes. Says whether there is room for them.
pub fn mend(bytes: &mut [u8]) -> bool {
    if bytes.len() < 2 * PAGE {
        return false;
    }
    for page in [0, PAGE] {
        let meta = &mut bytes[page + HEADER..page + HEADER + META_BYTES + 8];
        for (at, word) in [(0, MAGIC), (4, VERSION), (8, PAGE as u32)] {
            meta[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&meta[..META_BYTES]);
        meta[META_BYTES..].copy_from_slice(&sum.to_le_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io;

    use bytes::Bytes;

    use super::read::Reader;
    use super::write::{Key, Layout, Writer};

    /// The key and the value of a row.
    fn row(number: usize) -> (Vec<u8>, Bytes) {
        (format!("key {number:06}").into_bytes(), vec![number as u8; number % 5000].into())
    }

    fn rows(count: usize) -> impl Iterator<Item = io::Result<(Key, Bytes)>> {
        (0..count).map(row).map(|(key, value)| Ok((key.into(), value)))
    }

    fn written<W: io::Write>(count: usize, sink: W, layout: Layout) -> (W, Layout) {
        let mut writer = Writer::new(sink, layout).expect("begun");
        writer.bucket(b"a", rows(3)).expect("written");
        writer.bucket(b"b", rows(count)).expect("written");
        writer.finish().expect("finished")
    }

    #[test]
    fn what_is_written_reads_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        for count in [0, 1, 5, 3000] {
            let (_, layout) = written(count, io::sink(), Layout::default());
            let (bytes, again) = written(count, Vec::new(), layout);
            assert_eq!((again, bytes.len() as u64), (layout, layout.bytes()));
            std::fs::write(&path, bytes).expect("written");

            let reader = Reader::open(&path).expect("opened");
            let mut found = Vec::new();
            reader
                .bucket(b"b", |key, value| {
                    found.push((key.to_vec(), Bytes::copy_from_slice(value)));
                    Ok(())
                })
                .expect("read");
            assert!(found == (0..count).map(row).collect::<Vec<_>>(), "{count} rows differ");
            assert_eq!(reader.buckets().expect("read"), [b"a".to_vec(), b"b".to_vec()]);
        }
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        for bytes in [Vec::new(), vec![0; 100], vec![7; 20_000]] {
            std::fs::write(&path, bytes).expect("written");
            assert!(Reader::open(&path).is_err());
        }
    }
}
