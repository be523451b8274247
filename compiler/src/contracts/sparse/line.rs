//! `sparse_line`: what `sparse_strip` does with a stream that is known while the code is made. Where rows lie is part of the instructions, so
//! that no counter and no distance is read; the code is as long as the stream.
//!
//! Pointers t, values, s. The shape holds the stream, seven bytes to a number.

use super::numbers::Numbers;
use super::tiles::Strip;
use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::kernel::{Contract, Tile};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Callee, Func, LoopKind, Ty};

/// The contract.
pub static SPARSE_LINE: Contract = Contract {
    name: "sparse_line",
    doc: "Products of float32 rows of channels with sparse weights whose places are part of the code.",
    reference: Some(reference),
    rows: &[],
};

/// Bytes of a stream in a number of the shape.
const BYTES: usize = 7;
/// Where the stream begins in a shape; its value is the number of bytes.
const MARK: &str = "stream";

/// What a `sparse_line` is specialised to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// As if the stream were read.
    pub strip: Strip,
    /// The stream of `sparse_strip`.
    pub stream: Vec<u8>,
}

/// A block of a stream: its number, and the row of each entry.
pub type Block = (i64, Vec<i64>);

impl Line {
    /// As the callee of a tile.
    pub fn callee(&self, tile: &Tile) -> Callee {
        let mut callee = self.strip.callee(tile);
        callee
            .shape
            .push((MARK.to_string(), self.stream.len() as i64));
        for bytes in self.stream.chunks(BYTES) {
            let number = (bytes.iter().rev()).fold(0i64, |n, b| n << 8 | i64::from(*b));
            callee.shape.push(("b".to_string(), number));
        }
        callee
    }
    /// Reads a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Line> {
        let strip = Strip::of(callee).filter(|s| s.numbers == Numbers::Floats && !s.wide)?;
        let at = callee.shape.iter().position(|(n, _)| n == MARK)?;
        let len = usize::try_from(callee.shape[at].1).ok()?;
        let numbers = callee.shape[at + 1..].iter();
        let mut stream: Vec<u8> = numbers
            .flat_map(|(_, n)| n.to_le_bytes()[..BYTES].to_vec())
            .collect();
        if stream.len() < len {
            return None;
        }
        stream.truncate(len);
        Some(Line { strip, stream })
    }
    /// The blocks of the stream, in order; `None` where it breaks off.
    pub fn blocks(&self) -> Option<Vec<Block>> {
        let mut rest = self.stream.as_slice();
        let mut out = vec![];
        while !rest.is_empty() {
            let (head, more) = rest.split_at_checked(4)?;
            let count = usize::from(u16::from_le_bytes([head[0], head[1]]));
            let number = i64::from(u16::from_le_bytes([head[2], head[3]]));
            let (steps, more) = more.split_at_checked(count)?;
            let mut row = 0;
            let rows = steps.iter().map(|s| {
                row += i64::from(*s);
                row
            });
            out.push((number, rows.collect()));
            rest = more;
        }
        Some(out)
    }
}

fn reference(callee: &Callee) -> Option<Func> {
    let line = Line::of(callee)?;
    let s = line.strip;
    let mut b = Builder::new(SPARSE_LINE.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let t = b.buffer("t", DType::F32, unknown.clone(), Access::Read);
    let values = b.buffer("values", DType::F32, unknown.clone(), Access::Read);
    let sums = b.buffer("s", DType::F32, unknown, Access::Write);
    let mut value = 0;
    for (number, rows) in line.blocks()? {
        for c in 0..s.block {
            let pitch = b.i(s.pitch);
            b.for_(pitch, LoopKind::Seq, |b, i| {
                let mut chains: Vec<_> = (0..s.chains).map(|_| b.num(Ty::F32, 0.0)).collect();
                for (e, row) in rows.iter().enumerate() {
                    let at = b.i(row * s.step);
                    let at = b.add(at, i);
                    let x = b.load(t, at);
                    let at = b.i(value + e as i64 * s.block + c);
                    let w = b.load(values, at);
                    let chain = e % s.chains as usize;
                    let sum = b.fma(x, w, chains[chain]);
                    chains[chain] = b.let_(sum);
                }
                let mut total = chains[0];
                for &more in &chains[1..] {
                    total = b.add(total, more);
                }
                let at = b.i((number * s.block + c) * s.pitch);
                let at = b.add(at, i);
                b.store(sums, at, total);
            });
        }
        value += rows.len() as i64 * s.block;
    }
    Some(b.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diag::Diagnostic;

    #[test]
    fn streams_travel_in_shapes() {
        static TILE: Tile = Tile {
            name: "line_test",
            contract: "sparse_line",
            needs: &[],
            tile: (1, 1),
            make: |_, _| Err(Diagnostic::internal("only interpreted")),
        };
        let strip = Strip {
            pitch: 16,
            block: 4,
            chains: 1,
            step: 16,
            wide: false,
            numbers: Numbers::Floats,
        };
        let stream = vec![2, 0, 1, 0, 255, 3, 0, 0, 2, 0, 1, 0, 0, 0, 9];
        let line = Line { strip, stream };
        let back = Line::of(&line.callee(&TILE)).unwrap();
        assert_eq!(back, line);
        let blocks = line.blocks().unwrap();
        assert_eq!(blocks, [(1, vec![255, 258]), (2, vec![]), (0, vec![9])]);
        let short = Line {
            stream: vec![1, 0, 0],
            ..line
        };
        assert!(short.blocks().is_none());
    }
}
