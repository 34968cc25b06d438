//! The frame: what one write to a segment looks like, and what can be told from bytes that are not a whole frame.
//!
//! A frame is written by one write and made durable by one sync, and the next frame is only written after that. So a
//! frame that is not whole can only be the last thing in the log; a whole frame behind it proves damage.
//!
//! Layout, little-endian, each frame starting at a multiple of [`ALIGN`]:
//! magic (4), payload length (4), checksum (4), kind (1), zero (3), first index (8), payload, [`END`], zeros to align.

use bytes::Bytes;

use super::WalError;
use crate::raft::Entry;

/// What a frame begins with.
const MAGIC: u32 = 0x4c57_4b31;
/// The last byte of a frame. It is not zero, so that a frame whose end was never written can be told from a damaged one.
const END: u8 = 0xa5;
/// Frames start at multiples of this.
pub const ALIGN: usize = 8;
/// Bytes before the payload.
pub const HEADER: usize = 24;
/// Disks write at least this much at once; a whole sector of zeros within a frame was never written.
const SECTOR: usize = 512;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first frame of a segment.
    Segment,
    /// Log entries alone, as single members wrote them once.
    Entries,
    /// A term and a vote alone, from the same time.
    HardState,
    /// The hard state, and log entries that begin at the first index; whatever stood from there on is void.
    Append,
    /// A snapshot took the place of everything before; the log goes on behind it.
    Restart,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Segment),
            2 => Some(Self::Entries),
            3 => Some(Self::HardState),
            4 => Some(Self::Append),
            5 => Some(Self::Restart),
            _ => None,
        }
    }

    /// Some kind for any number.
    pub fn from_number(number: u8) -> Self {
        Self::from_byte(number % 5 + 1).unwrap_or(Self::Segment)
    }

    fn byte(self) -> u8 {
        match self {
            Self::Segment => 1,
            Self::Entries => 2,
            Self::HardState => 3,
            Self::Append => 4,
            Self::Restart => 5,
        }
    }
}

/// A frame read back.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    pub first_index: u64,
    pub payload: &'a [u8],
    /// Where the next frame starts, relative to this one.
    pub size: usize,
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    Frame(Frame<'a>),
    /// Nothing was ever written here.
    End,
    /// Something that is not a whole frame.
    Broken,
}

/// Bytes that a frame with this payload takes.
pub fn size_of(payload: usize) -> usize {
    (HEADER + payload + 1).next_multiple_of(ALIGN)
}

/// Starts a frame in `buffer`; the payload is then appended, and [`finish`] called with the returned place.
pub fn begin(buffer: &mut Vec<u8>) -> usize {
    let start = buffer.len();
    buffer.resize(start + HEADER, 0);
    start
}

/// Completes the frame that starts at `start` and whose payload ends the buffer.
pub fn finish(buffer: &mut Vec<u8>, start: usize, kind: Kind, first_index: u64) {
    let payload = u32::try_from(buffer.len() - start - HEADER).expect("a batch is bounded far below 4 GiB");
    let header = &mut buffer[start..];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&payload.to_le_bytes());
    header[12] = kind.byte();
    header[16..24].copy_from_slice(&first_index.to_le_bytes());
    let checksum = checksum(header);
    header[8..12].copy_from_slice(&checksum.to_le_bytes());
    buffer.push(END);
    let size = (buffer.len() - start).next_multiple_of(ALIGN);
    buffer.resize(start + size, 0);
}

/// Over everything but the magic and the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[4..8]);
    hasher.update(&frame[12..]);
    hasher.finalize()
}

/// Reads what stands at the beginning of `bytes`, the rest of a segment.
pub fn read(bytes: &[u8]) -> Read<'_> {
    if bytes.iter().take(HEADER).all(|byte| *byte == 0) {
        return Read::End;
    }
    if bytes.len() < HEADER || word(bytes, 0) != MAGIC {
        return Read::Broken;
    }
    let payload = word(bytes, 4) as usize;
    let size = size_of(payload);
    // The zeros behind the end mark may be cut off at the end of a file without any loss.
    if bytes.len() <= HEADER + payload || bytes[HEADER + payload] != END {
        return Read::Broken;
    }
    let Some(kind) = Kind::from_byte(bytes[12]) else { return Read::Broken };
    if checksum(&bytes[..HEADER + payload]) != word(bytes, 8) {
        return Read::Broken;
    }
    let first_index = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
    Read::Frame(Frame { kind, first_index, payload: &bytes[HEADER..HEADER + payload], size })
}

/// Whether the broken bytes at the beginning of `bytes` are a write that never completed, and may be cut. The reason
/// is given when they are damage instead.
pub fn torn(bytes: &[u8]) -> Result<(), &'static str> {
    let mut place = ALIGN;
    while place < bytes.len() {
        if bytes.len() - place >= HEADER
            && word(bytes, place) == MAGIC
            && matches!(read(&bytes[place..]), Read::Frame(_))
        {
            return Err("a whole frame stands behind a broken one");
        }
        place += ALIGN;
    }
    if bytes.len() < HEADER || word(bytes, 0) != MAGIC {
        // Without a header nothing says how long the frame was meant to be; its first sector was never written whole.
        return if unwritten_sector(bytes) || bytes.len() < SECTOR {
            Ok(())
        } else {
            Err("a frame's header is damaged")
        };
    }
    let end = HEADER + word(bytes, 4) as usize;
    if bytes.len() <= end || bytes[end] == 0 || unwritten_sector(&bytes[..end]) {
        return Ok(());
    }
    Err("a frame's checksum does not match")
}

fn unwritten_sector(bytes: &[u8]) -> bool {
    bytes.chunks(SECTOR).any(|sector| sector.iter().all(|byte| *byte == 0))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Set in an entry's length when it changes the members.
const MEMBERS: u32 = 1 << 31;

/// Appends one entry to a payload.
pub fn put_entry(buffer: &mut Vec<u8>, entry: &Entry) {
    let length = u32::try_from(entry.data.len()).expect("a request is bounded far below 2 GiB");
    buffer.extend_from_slice(&entry.term.to_le_bytes());
    buffer.extend_from_slice(&(length | if entry.members { MEMBERS } else { 0 }).to_le_bytes());
    buffer.extend_from_slice(&entry.data);
}

/// The entries of a payload, of which the first has the index `first`.
pub fn entries(payload: &[u8], first: u64) -> Result<Vec<Entry>, WalError> {
    let mut rest = payload;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let index = first + entries.len() as u64;
        let malformed = || WalError::Malformed { index };
        let (head, tail) = rest.split_at_checked(12).ok_or_else(malformed)?;
        let term = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
        let length = word(head, 8);
        let data = tail.get(..(length & !MEMBERS) as usize).ok_or_else(malformed)?;
        rest = &tail[data.len()..];
        entries.push(Entry { index, term, members: length & MEMBERS != 0, data: Bytes::copy_from_slice(data) });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], index: u64) -> Vec<u8> {
        let mut buffer = Vec::new();
        let start = begin(&mut buffer);
        buffer.extend_from_slice(payload);
        finish(&mut buffer, start, Kind::Entries, index);
        buffer
    }

    #[test]
    fn a_frame_reads_back() {
        for length in [0, 1, 6, 7, 8, 600] {
            let bytes = frame(&vec![7; length], 42);
            assert_eq!(bytes.len(), size_of(length));
            let Read::Frame(read) = read(&bytes) else { panic!("length {length} does not read") };
            assert_eq!((read.kind, read.first_index, read.payload.len()), (Kind::Entries, 42, length));
            assert_eq!(read.size, bytes.len());
        }
    }

    #[test]
    fn a_frame_cut_or_blanked_anywhere_is_torn() {
        let whole = frame(&[9; 1500], 1);
        let significant = HEADER + 1500 + 1;
        for cut in 1..significant {
            let mut short = whole[..cut].to_vec();
            assert_eq!(read(&short), Read::Broken, "cut at {cut}");
            assert_eq!(torn(&short), Ok(()), "cut at {cut}");
            short.resize(4096, 0);
            assert_eq!(torn(&short), Ok(()), "blank from {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_damage() {
        let whole = frame(&[9; 1500], 1);
        for at in [8, 12, 17, 30, 700, HEADER + 1499] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            flipped.resize(4096, 0);
            assert_eq!(read(&flipped), Read::Broken, "bit at {at}");
            assert!(torn(&flipped).is_err(), "bit at {at}");
        }
    }

    #[test]
    fn a_whole_frame_behind_a_broken_one_is_damage() {
        let mut bytes = frame(&[9; 100], 1);
        bytes[40] ^= 1;
        bytes.extend(frame(&[8; 3], 2));
        assert!(torn(&bytes).is_err());
        bytes[..HEADER].fill(0);
        assert!(torn(&bytes).is_err());
    }

    #[test]
    fn blank_space_is_the_end() {
        assert_eq!(read(&[]), Read::End);
        assert_eq!(read(&[0; 100]), Read::End);
    }
}
