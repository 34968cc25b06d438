//! Cuts what is written into pieces for a stream.

use std::io::{self, Write};

/// Hands out a piece whenever it has enough bytes.
pub struct Pieces<F> {
    piece: Vec<u8>,
    size: usize,
    each: F,
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Pieces<F> {
    /// Pieces of `size` bytes, but for the last.
    pub fn new(size: usize, each: F) -> Self {
        Self { piece: Vec::with_capacity(size), size, each }
    }

    /// Hands out what is left.
    pub fn finish(mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { (self.each)(self.piece) }
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Write for Pieces<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.size - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == self.size {
            let whole = std::mem::replace(&mut self.piece, Vec::with_capacity(self.size));
            (self.each)(whole)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_in_one_piece() {
        let mut sizes = Vec::new();
        let mut pieces = Pieces::new(4, |piece: Vec<u8>| {
            sizes.push(piece.len());
            Ok(())
        });
        for length in [1, 2, 9, 0] {
            pieces.write_all(&[7; 16][..length]).expect("taken");
        }
        pieces.write_all(&[7; 2]).expect("taken");
        pieces.finish().expect("taken");
        assert_eq!(sizes, [4, 4, 4, 2]);
    }
}
