//! Writes a file from sorted rows, bucket by bucket, without ever holding more than a page of rows.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use super::{BRANCH, BUCKET, ELEMENT, FREELIST, HEADER, LEAF, MAGIC, META, META_BYTES, PAGE, VERSION, checksum};

/// Where a page is and the first key in it.
struct Child {
    key: Vec<u8>,
    page: u64,
}

/// A row of a leaf.
struct Row {
    flags: u32,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A file in the making.
pub struct Writer {
    file: BufWriter<File>,
    /// The next page's id.
    next: u64,
    buckets: Vec<Row>,
}

impl Writer {
    /// Begins an empty file.
    pub fn new(file: File) -> io::Result<Self> {
        let mut writer = Self { file: BufWriter::with_capacity(1 << 18, file), next: 2, buckets: Vec::new() };
        // The meta pages are written last, when it is known what they point to.
        writer.file.write_all(&[0; 2 * PAGE])?;
        writer.page(FREELIST, 0, &[])?;
        Ok(writer)
    }

    /// Writes a bucket. Buckets come in the order of their names, rows in the order of their keys.
    pub fn bucket<E: From<io::Error>>(
        &mut self,
        name: &[u8],
        rows: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), E>>,
    ) -> Result<(), E> {
        let rows = rows.map(|row| row.map(|(key, value)| Row { flags: 0, key, value }));
        let root = self.tree(rows)?;
        let mut value = root.to_le_bytes().to_vec();
        value.extend_from_slice(&0_u64.to_le_bytes());
        self.buckets.push(Row { flags: BUCKET, key: name.to_vec(), value });
        Ok(())
    }

    /// Completes the file and makes it durable.
    pub fn finish(mut self) -> io::Result<()> {
        let buckets = std::mem::take(&mut self.buckets);
        let root = self.tree(buckets.into_iter().map(Ok::<_, io::Error>))?;
        let high = self.next;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        for id in 0..2 {
            file.write_all_at(&meta(id, root, high), id * PAGE as u64)?;
        }
        file.sync_all()
    }

    /// Writes the leaves and then the branches above them; returns the root's page.
    fn tree<E: From<io::Error>>(&mut self, rows: impl Iterator<Item = Result<Row, E>>) -> Result<u64, E> {
        let mut children = Vec::new();
        let (mut leaf, mut size) = (Vec::new(), HEADER);
        for row in rows {
            let row = row?;
            let more = ELEMENT + row.key.len() + row.value.len();
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

    fn leaf(&mut self, rows: &[Row]) -> io::Result<Child> {
        let mut body = Vec::with_capacity(PAGE);
        let mut place = rows.len() * ELEMENT;
        for (number, row) in rows.iter().enumerate() {
            let position = place - number * ELEMENT;
            for field in [row.flags as usize, position, row.key.len(), row.value.len()] {
                body.extend_from_slice(&narrow(field)?.to_le_bytes());
            }
            place += row.key.len() + row.value.len();
        }
        for row in rows {
            body.extend_from_slice(&row.key);
            body.extend_from_slice(&row.value);
        }
        let page = self.page(LEAF, rows.len(), &body)?;
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
        let mut body = Vec::with_capacity(PAGE);
        let mut place = children.len() * ELEMENT;
        for (number, child) in children.iter().enumerate() {
            let position = place - number * ELEMENT;
            body.extend_from_slice(&narrow(position)?.to_le_bytes());
            body.extend_from_slice(&narrow(child.key.len())?.to_le_bytes());
            body.extend_from_slice(&child.page.to_le_bytes());
            place += child.key.len();
        }
        for child in children {
            body.extend_from_slice(&child.key);
        }
        let page = self.page(BRANCH, children.len(), &body)?;
        Ok(Child { key: children[0].key.clone(), page })
    }

    fn page(&mut self, flags: u16, count: usize, body: &[u8]) -> io::Result<u64> {
        let id = self.next;
        let pages = (HEADER + body.len()).div_ceil(PAGE);
        let count = u16::try_from(count).map_err(io::Error::other)?;
        self.file.write_all(&header(id, flags, count, narrow(pages - 1)?))?;
        self.file.write_all(body)?;
        let rest = pages * PAGE - HEADER - body.len();
        self.file.write_all(&[0; PAGE][..rest])?;
        self.next += pages as u64;
        Ok(id)
    }
}

fn header(id: u64, flags: u16, count: u16, overflow: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&id.to_le_bytes());
    header[8..10].copy_from_slice(&flags.to_le_bytes());
    header[10..12].copy_from_slice(&count.to_le_bytes());
    header[12..].copy_from_slice(&overflow.to_le_bytes());
    header
}

fn meta(id: u64, root: u64, high: u64) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..HEADER].copy_from_slice(&header(id, META, 0, 0));
    let mut fields = Vec::with_capacity(META_BYTES);
    for field in [MAGIC, VERSION, PAGE as u32, 0] {
        fields.extend_from_slice(&field.to_le_bytes());
    }
    // The root bucket's page and sequence, the free list's page, the first page behind the file, the transaction.
    for field in [root, 0, 2, high, id] {
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
