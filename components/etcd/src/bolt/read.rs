//! Reads a file's buckets, in the order of their keys.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{BRANCH, BUCKET, ELEMENT, HEADER, LEAF, MAGIC, META_BYTES, PAGE, VERSION, checksum};

/// Trees deeper than this are damage: each level holds at least two children.
const DEEPEST: usize = 64;

/// Takes an element's flags, key and value.
type Each<'a> = dyn FnMut(u32, &[u8], &[u8]) -> io::Result<()> + 'a;

/// Something that is read by places.
pub trait Source {
    fn length(&self) -> io::Result<u64>;
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Source for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Source for &[u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.get(start..start.saturating_add(buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A file open for reading.
pub struct Reader<S = File> {
    file: S,
    page_size: usize,
    /// The first page behind the file.
    high: u64,
    root: u64,
}

/// One page with all that it goes on over.
struct Page {
    bytes: Vec<u8>,
}

impl Reader {
    /// Opens a file and finds its root.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }
}

impl<S: Source> Reader<S> {
    /// Finds the root.
    pub fn new(file: S) -> io::Result<Self> {
        let mut first = vec![0; PAGE];
        file.read(&mut first, 0)?;
        // A damaged first page does not say how large pages are; then the usual size has to do.
        let page_size = valid_meta(&first).map_or(PAGE, |meta| word(meta, 8) as usize);
        let mut second = vec![0; PAGE];
        file.read(&mut second, page_size as u64)?;
        let metas = [first, second];
        let newest = metas.iter().filter_map(|page| valid_meta(page)).max_by_key(|meta| long(meta, 48));
        let meta = newest.ok_or_else(|| damaged("it has no valid meta page"))?;
        // What is claimed to be behind the file's end is not there, and nothing is to be made as large as it.
        let pages = file.length()? / page_size as u64;
        Ok(Self { page_size, root: long(meta, 16), high: long(meta, 40).min(pages), file })
    }

    /// The names of the buckets.
    pub fn buckets(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        self.visit(self.root, &mut |_, key, _| {
            names.push(key.to_vec());
            Ok(())
        })?;
        Ok(names)
    }

    /// Hands every row of a bucket to `each`; a bucket that is not there has none.
    pub fn bucket(&self, name: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut found = None;
        self.visit(self.root, &mut |flags, key, value| {
            if key == name && flags & BUCKET != 0 {
                found = Some(value.to_vec());
            }
            Ok(())
        })?;
        let Some(bucket) = found else { return Ok(()) };
        let root = bucket.get(..8).map(|bytes| long(bytes, 0)).ok_or_else(|| damaged("a bucket has no root"))?;
        let mut row = |_: u32, key: &[u8], value: &[u8]| each(key, value);
        if root == 0 {
            // A small bucket's only page stands behind its head.
            let page = Page { bytes: bucket.get(16..).unwrap_or_default().to_vec() };
            return page.rows(&mut row);
        }
        self.visit(root, &mut row)
    }

    fn visit(&self, root: u64, each: &mut Each<'_>) -> io::Result<()> {
        // A tree has each page once; one that comes to more goes round in circles.
        let mut left = self.high;
        self.descend(root, 0, &mut left, each)
    }

    fn descend(&self, id: u64, depth: usize, left: &mut u64, each: &mut Each<'_>) -> io::Result<()> {
        *left = left.checked_sub(1).filter(|_| depth <= DEEPEST).ok_or_else(|| damaged("a tree has no end"))?;
        let page = self.page(id)?;
        match page.flags() {
            LEAF => page.rows(each),
            BRANCH => {
                for number in 0..page.count() {
                    let element = page.slice(HEADER + number * ELEMENT, ELEMENT)?;
                    self.descend(long(element, 8), depth + 1, left, each)?;
                }
                Ok(())
            }
            _ => Err(damaged("a tree has a page of another kind")),
        }
    }

    fn page(&self, id: u64) -> io::Result<Page> {
        if id < 2 || id >= self.high {
            return Err(damaged("a page is out of the file"));
        }
        let offset = id.checked_mul(self.page_size as u64).ok_or_else(|| damaged("a page is out of the file"))?;
        let mut bytes = vec![0; self.page_size];
        self.file.read(&mut bytes, offset)?;
        let overflow = word(&bytes, 12);
        if overflow > 0 {
            if id + u64::from(overflow) >= self.high {
                return Err(damaged("a page goes on behind the file"));
            }
            bytes.resize((overflow as usize + 1) * self.page_size, 0);
            self.file.read(&mut bytes, offset)?;
        }
        Ok(Page { bytes })
    }
}

impl Page {
    fn flags(&self) -> u16 {
        u16::from_le_bytes([self.bytes[8], self.bytes[9]])
    }

    fn count(&self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[10], self.bytes[11]]))
    }

    fn slice(&self, from: usize, length: usize) -> io::Result<&[u8]> {
        let range = from..from.saturating_add(length);
        self.bytes.get(range).ok_or_else(|| damaged("an element is out of its page"))
    }

    fn rows(&self, each: &mut Each<'_>) -> io::Result<()> {
        if self.bytes.len() < HEADER {
            return Err(damaged("a page is too short"));
        }
        for number in 0..self.count() {
            let at = HEADER + number * ELEMENT;
            let element = self.slice(at, ELEMENT)?;
            let [flags, position, key, value] = [0, 4, 8, 12].map(|field| word(element, field) as usize);
            let key_bytes = self.slice(at.saturating_add(position), key)?;
            let value_bytes = self.slice(at.saturating_add(position).saturating_add(key), value)?;
            each(flags as u32, key_bytes, value_bytes)?;
        }
        Ok(())
    }
}

/// A page's meta fields, if they are whole.
fn valid_meta(page: &[u8]) -> Option<&[u8]> {
    let meta = page.get(HEADER..HEADER + META_BYTES + 8)?;
    let known = word(meta, 0) == MAGIC && word(meta, 4) == VERSION;
    let size = word(meta, 8);
    let sane = size.is_power_of_two() && (512..=1 << 20).contains(&size);
    (known && sane && checksum(&meta[..META_BYTES]) == long(meta, META_BYTES)).then_some(meta)
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
