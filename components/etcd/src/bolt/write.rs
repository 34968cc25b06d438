//! Writes a file from sorted rows, bucket by bucket, without ever holding more than a page of rows. What rows hold is
//! not copied on its way.
//!
//! A file begins with what is only known at its end. So whoever sends one as it is made writes it twice: into nothing, to
//! learn its [`Layout`], and then with that.

use std::io::{self, Write};

use smallvec::SmallVec;

use super::{BRANCH, BUCKET, ELEMENT, FREELIST, HEADER, LEAF, MAGIC, META, META_BYTES, PAGE, VERSION, checksum};

/// Where a page is and the first key in it.
struct Child {
    key: Key,
    page: u64,
}

/// A row's key; most are revisions, which have their place in it.
pub type Key = SmallVec<[u8; 24]>;

/// What a row holds.
pub trait Value {
    fn length(&self) -> usize;
    fn write_to(&self, sink: &mut impl Write) -> io::Result<()>;
}

impl<T: AsRef<[u8]>> Value for T {
    fn length(&self) -> usize {
        self.as_ref().len()
    }

    fn write_to(&self, sink: &mut impl Write) -> io::Result<()> {
        sink.write_all(self.as_ref())
    }
}

/// A value of which only the length is known, to learn a file's [`Layout`].
pub struct Unread(pub usize);

impl Value for Unread {
    fn length(&self) -> usize {
        self.0
    }

    fn write_to(&self, _: &mut impl Write) -> io::Result<()> {
        Ok(())
    }
}

/// A row of a leaf.
struct Row<V> {
    flags: u32,
    key: Key,
    value: V,
}

/// What the meta pages say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The root bucket's page.
    root: u64,
    /// The first page behind the file.
    end: u64,
}

impl Layout {
    /// Bytes of the file.
    pub fn bytes(self) -> u64 {
        self.end * PAGE as u64
    }
}

/// A file in the making.
pub struct Writer<W> {
    sink: W,
    /// The next page's id.
    next: u64,
    buckets: Vec<Row<Vec<u8>>>,
    /// What stands before a page's rows, while it is made.
    elements: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file that will have this layout.
    pub fn new(mut sink: W, layout: Layout) -> io::Result<Self> {
        for id in 0..2 {
            sink.write_all(&meta(id, layout))?;
        }
        let mut writer = Self { sink, next: 2, buckets: Vec::new(), elements: Vec::new() };
        writer.begin_page(FREELIST, 0, 0)?;
        writer.end_page(0)?;
        Ok(writer)
    }

    /// Writes a bucket. Buckets come in the order of their names, rows in the order of their keys.
    pub fn bucket<V: Value, E: From<io::Error>>(
        &mut self,
        name: &[u8],
        rows: impl Iterator<Item = Result<(Key, V), E>>,
    ) -> Result<(), E> {
        let rows = rows.map(|row| row.map(|(key, value)| Row { flags: 0, key, value }));
        let root = self.tree(rows)?;
        let mut value = root.to_le_bytes().to_vec();
        value.extend_from_slice(&0_u64.to_le_bytes());
        self.buckets.push(Row { flags: BUCKET, key: name.into(), value });
        Ok(())
    }

    /// Completes the file, and says what its layout should have been.
    pub fn finish(mut self) -> io::Result<(W, Layout)> {
        let buckets = std::mem::take(&mut self.buckets);
        let root = self.tree(buckets.into_iter().map(Ok::<_, io::Error>))?;
        Ok((self.sink, Layout { root, end: self.next }))
    }

    /// Writes the leaves and then the branches above them; returns the root's page.
    fn tree<V: Value, E: From<io::Error>>(&mut self, rows: impl Iterator<Item = Result<Row<V>, E>>) -> Result<u64, E> {
        let mut children = Vec::new();
        let (mut leaf, mut size) = (Vec::new(), HEADER);
        for row in rows {
            let row = row?;
            let more = ELEMENT + row.key.len() + row.value.length();
            if size + more > PAGE && !leaf.is_empty() {
                children.push(self.leaf(&leaf)?);
                leaf.clear();
                size = HEADER;
            }
            size += more;
            leaf.push(row);
        }
        if !leaf.is_empty() || children.is_empty() {
            children.push(self.leaf(&leaf)?);
        }
        while children.len() > 1 {
            children = self.branches(children)?;
        }
        Ok(children[0].page)
    }

    fn leaf<V: Value>(&mut self, rows: &[Row<V>]) -> io::Result<Child> {
        self.elements.clear();
        let mut place = rows.len() * ELEMENT;
        for (number, row) in rows.iter().enumerate() {
            let (position, value) = (place - number * ELEMENT, row.value.length());
            for field in [row.flags as usize, position, row.key.len(), value] {
                self.elements.extend_from_slice(&narrow(field)?.to_le_bytes());
            }
            place += row.key.len() + value;
        }
        let page = self.begin_page(LEAF, rows.len(), place)?;
        for row in rows {
            self.sink.write_all(&row.key)?;
            row.value.write_to(&mut self.sink)?;
        }
        self.end_page(place)?;
        Ok(Child { key: rows.first().map(|row| row.key.clone()).unwrap_or_default(), page })
    }

    fn branches(&mut self, children: Vec<Child>) -> io::Result<Vec<Child>> {
        let mut parents = Vec::new();
        let mut rest = children.as_slice();
        while !rest.is_empty() {
            let mut size = HEADER;
            let fitting = rest.iter().take_while(|child| {
                size += ELEMENT + child.key.len();
                size <= PAGE
            });
            // A branch of one would make the tree higher for nothing, so long keys go over several pages.
            let count = fitting.count().max(2).min(rest.len());
            let (these, others) = rest.split_at(count);
            parents.push(self.branch(these)?);
            rest = others;
        }
        Ok(parents)
    }

    fn branch(&mut self, children: &[Child]) -> io::Result<Child> {
        self.elements.clear();
        let mut place = children.len() * ELEMENT;
        for (number, child) in children.iter().enumerate() {
            let position = place - number * ELEMENT;
            self.elements.extend_from_slice(&narrow(position)?.to_le_bytes());
            self.elements.extend_from_slice(&narrow(child.key.len())?.to_le_bytes());
            self.elements.extend_from_slice(&child.page.to_le_bytes());
            place += child.key.len();
        }
        let page = self.begin_page(BRANCH, children.len(), place)?;
        for child in children {
            self.sink.write_all(&child.key)?;
        }
        self.end_page(place)?;
        Ok(Child { key: children[0].key.clone(), page })
    }

    /// Begins a page whose elements, and what they point to, have `length` bytes. Pages that are longer go on in the next.
    fn begin_page(&mut self, flags: u16, count: usize, length: usize) -> io::Result<u64> {
        let id = self.next;
        let pages = pages(length);
        let count = u16::try_from(count).map_err(io::Error::other)?;
        self.sink.write_all(&header(id, flags, count, narrow(pages - 1)?))?;
        self.sink.write_all(&self.elements)?;
        self.next += pages as u64;
        Ok(id)
    }

    /// Fills a page of which `length` bytes were written.
    fn end_page(&mut self, length: usize) -> io::Result<()> {
        self.sink.write_all(&[0; PAGE][..pages(length) * PAGE - HEADER - length])
    }
}

fn pages(length: usize) -> usize {
    (HEADER + length).div_ceil(PAGE)
}

fn header(id: u64, flags: u16, count: u16, overflow: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&id.to_le_bytes());
    header[8..10].copy_from_slice(&flags.to_le_bytes());
    header[10..12].copy_from_slice(&count.to_le_bytes());
    header[12..].copy_from_slice(&overflow.to_le_bytes());
    header
}

fn meta(id: u64, layout: Layout) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..HEADER].copy_from_slice(&header(id, META, 0, 0));
    let mut fields = Vec::with_capacity(META_BYTES);
    for field in [MAGIC, VERSION, PAGE as u32, 0] {
        fields.extend_from_slice(&field.to_le_bytes());
    }
    // The root bucket's page and sequence, the free list's page, the first page behind the file, the transaction.
    for field in [layout.root, 0, 2, layout.end, id] {
        fields.extend_from_slice(&field.to_le_bytes());
    }
    let sum = checksum(&fields);
    fields.extend_from_slice(&sum.to_le_bytes());
    page[HEADER..HEADER + fields.len()].copy_from_slice(&fields);
    page
}

fn narrow(number: usize) -> io::Result<u32> {
    u32::try_from(number).map_err(io::Error::other)
}
