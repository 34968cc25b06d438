//! The wire format of protobuf: tags, varints and lengths.

use super::Error;

/// Builds a message. A nested message is written in place, and moved only when its length takes more than one byte.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// How many bytes [`Writer::bytes`] writes for a field.
    pub(super) fn size_of_bytes(number: u32, length: usize) -> usize {
        varint_size(u64::from(number) << 3) + varint_size(as_u64(length)) + length
    }

    /// Begins a field of bytes; as many as it says have to follow.
    pub(super) fn bytes_ahead(&mut self, number: u32, length: usize) {
        self.tag(number, 2);
        self.varint(as_u64(length));
    }

    /// Bytes that are no field.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        self.varint(u64::from(number) << 3 | wire_type);
    }

    pub(super) fn integer(&mut self, number: u32, value: i64) {
        self.unsigned(number, value.cast_unsigned());
    }

    pub(super) fn unsigned(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.varint(value);
    }

    pub(super) fn double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.raw(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.bytes_ahead(number, bytes.len());
        self.raw(bytes);
    }

    pub(super) fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        self.tag(number, 2);
        let start = self.0.len();
        self.0.push(0);
        write(self);
        let end = self.0.len();
        let length = end - start - 1;
        // A short message has its one byte already; a longer one moves on to make room for the others.
        let more = varint_size(as_u64(length)) - 1;
        if more > 0 {
            self.0.resize(end + more, 0);
            self.0.copy_within(start + 1..end, start + 1 + more);
        }
        let mut rest = as_u64(length);
        for at in start..=start + more {
            let last = at == start + more;
            self.0[at] = (rest & 0x7f).to_le_bytes()[0] | if last { 0 } else { 0x80 };
            rest >>= 7;
        }
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// How many bytes a varint takes: seven bits are in each.
fn varint_size(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// The value of a field, as far as the wire tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    /// No type of Kubernetes has such a field, so its value is not kept.
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) => Err(Error::WireType(0)),
            Self::Fixed64(_) => Err(Error::WireType(1)),
            Self::Fixed32 => Err(Error::WireType(5)),
        }
    }

    pub(super) fn str(self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::Utf8)
    }

    /// A string, which upstream takes with bytes that are no UTF-8 and shows with a sign in place of each such sequence.
    pub(super) fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    pub(super) fn unsigned(self) -> Result<u64, Error> {
        match self {
            Self::Varint(value) => Ok(value),
            Self::Bytes(_) => Err(Error::WireType(2)),
            Self::Fixed64(_) => Err(Error::WireType(1)),
            Self::Fixed32 => Err(Error::WireType(5)),
        }
    }

    pub(super) fn integer(self) -> Result<i64, Error> {
        self.unsigned().map(u64::cast_signed)
    }

    pub(super) fn double(self) -> Result<f64, Error> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            Self::Varint(_) => Err(Error::WireType(0)),
            Self::Bytes(_) => Err(Error::WireType(2)),
            Self::Fixed32 => Err(Error::WireType(5)),
        }
    }
}

/// Reads a message field by field.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or(Error::Truncated)?;
            self.0 = rest;
            let part = u64::from(first & 0x7f);
            if shift == 63 && part > 1 {
                return Err(Error::Varint);
            }
            value |= part << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Varint)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next field's number and value; `None` at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Field<'a>)>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Error::Varint)?;
        if number == 0 {
            return Err(Error::Tag(tag & 7));
        }
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken"))),
            2 => {
                let length = usize::try_from(self.varint()?.cast_signed()).map_err(|_| Error::Length)?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Field::Fixed32
            }
            other => return Err(Error::WireType(other)),
        };
        Ok(Some((number, field)))
    }
}
