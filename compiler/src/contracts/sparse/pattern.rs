//! Sparse weights as a stream of entries: values, and how many rows further each one lies.

use super::numbers::Numbers;
use crate::kernel::Query;

/// Output channels that one call computes at most.
const CHUNK: i64 = 128;
/// Where rows lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows {
    /// One after another; a distance has a byte.
    Even,
    /// Those of a window: `[channel][height][width]` elements, of which a channel's line takes `pitch` places and a step along the
    /// width `dilation`; a distance has two bytes.
    Window {
        /// Elements of a line that are multiplied.
        width: i64,
        /// Places from one of them to the next.
        dilation: i64,
        /// Places of a line.
        pitch: i64,
    },
}

impl Rows {
    /// How far one distance reaches.
    fn far(&self) -> i64 {
        match self {
            Rows::Even => 255,
            Rows::Window { .. } => 65535,
        }
    }
    /// Where a row lies.
    fn at(&self, row: i64) -> i64 {
        match *self {
            Rows::Even => row,
            Rows::Window {
                width,
                dilation,
                pitch,
            } => row / width * pitch + row % width * dilation,
        }
    }
}

/// The entries of every block of output channels: rows (input channels) at which not all its weights are zero.
pub fn blocks(k: i64, n: i64, block: i64, zero: impl Fn(i64, i64) -> bool) -> Vec<Vec<i64>> {
    (0..n)
        .step_by(block as usize)
        .map(|first| {
            let last = (first + block).min(n);
            let kept = |row: &i64| (first..last).any(|c| !zero(*row, c));
            (0..k).filter(kept).collect()
        })
        .collect()
}

/// The share of weights that are kept where output channels go by four; `None` where weights have another form.
pub fn density_by_four(q: &Query) -> Option<f64> {
    let (_, w) = q.inputs.get(1)?.as_ref()?;
    let w = w.as_ref()?;
    let (n, k, inner) = match q.contract.name {
        "conv" | "conv_integer" => {
            let n = *w.shape.first()?;
            (n, w.len() as i64 / n.max(1), false)
        }
        _ if w.shape.len() == 2 && q.attrs.flag("trans_b") => (w.shape[0], w.shape[1], false),
        _ if w.shape.len() == 2 => (w.shape[1], w.shape[0], true),
        _ => return None,
    };
    let zero = |p: i64, c: i64| {
        let at = if inner { p * n + c } else { c * k + p };
        w.get_f64(at as usize) == Some(0.0)
    };
    let kept = blocks(k, n, 4, zero);
    let kept: usize = kept.iter().map(Vec::len).sum();
    Some(4.0 * kept as f64 / w.len().max(1) as f64)
}

/// Blocks that one call computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// First output channel.
    pub first: i64,
    /// Output channels.
    pub channels: i64,
    /// Blocks.
    pub blocks: i64,
    /// Their entries.
    pub entries: i64,
    /// Where its part of the stream begins, in bytes.
    pub stream: i64,
    /// Where its values begin, in elements.
    pub value: i64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Calls.
    pub chunks: Vec<Chunk>,
    /// Counts, numbers and distances (`sparse_strip`).
    pub stream: Vec<u8>,
    /// Blocks in the order of the stream, each with the row of every place; `None`: nothing is there, its weights are zero.
    pub order: Vec<(i64, Vec<Option<i64>>)>,
    /// Output channels of a block.
    pub block: i64,
}

/// The rows of a block as places that a byte reaches, filled up to whole `chains` of entries.
fn places(rows: &[i64], lie: Rows, group: i64, chains: i64) -> Vec<(i64, Option<i64>)> {
    let (mut at, mut out, far) = (0, vec![], lie.far());
    for &row in rows {
        let to = lie.at(row);
        while to - at > far {
            at += far;
            out.push((far, None));
        }
        out.push((to - at, Some(row)));
        at = to;
    }
    let whole = (group * chains) as usize;
    while out.len() % whole != 0 {
        out.push((0, None));
    }
    out
}

/// Entries that are multiplied, fillers among them.
pub fn entries(blocks: &[Vec<i64>], lie: Rows, group: i64, chains: i64) -> i64 {
    let count = |rows: &Vec<i64>| places(rows, lie, group, chains).len() as i64 / group;
    blocks.iter().map(count).sum()
}

/// Lays out the blocks of `n` output channels.
pub fn encode(
    blocks: &[Vec<i64>],
    lie: Rows,
    n: i64,
    block: i64,
    numbers: Numbers,
    chains: i64,
) -> Encoded {
    let group = numbers.group();
    let mut e = Encoded {
        chunks: vec![],
        stream: vec![],
        order: vec![],
        block,
    };
    let mut value = 0;
    let per = (CHUNK / block) as usize;
    for (number, chunk) in blocks.chunks(per).enumerate() {
        let first = (number * per) as i64 * block;
        e.chunks.push(Chunk {
            first,
            channels: (n - first).min(CHUNK),
            blocks: chunk.len() as i64,
            entries: entries(chunk, lie, group, chains),
            stream: e.stream.len() as i64,
            value,
        });
        // Blocks of equal length one after another: how often a loop turns is foreseen then.
        let mut sorted: Vec<(usize, Vec<_>)> = (chunk.iter().enumerate())
            .map(|(i, rows)| (i, places(rows, lie, group, chains)))
            .collect();
        sorted.sort_by_key(|(_, p)| p.len());
        for (i, places) in sorted {
            let count = places.len() as i64 / group;
            e.stream.extend((count as u16).to_le_bytes());
            e.stream.extend((i as u16).to_le_bytes());
            for (by, _) in &places {
                match lie {
                    Rows::Even => e.stream.push(*by as u8),
                    Rows::Window { .. } => e.stream.extend((*by as u16).to_le_bytes()),
                }
            }
            value += places.len() as i64 * block;
            let rows = places.into_iter().map(|p| p.1).collect();
            e.order.push(((number * per + i) as i64, rows));
        }
    }
    e
}

impl Encoded {
    /// The part of the stream that belongs to a chunk.
    pub fn part(&self, chunk: &Chunk) -> &[u8] {
        let after = self.chunks.iter().map(|c| c.stream);
        let end = after.filter(|s| *s > chunk.stream).min();
        let end = end.map_or(self.stream.len(), |e| e as usize);
        self.stream.get(chunk.stream as usize..end).unwrap_or(&[])
    }
    /// Every value in the order of the stream: `f` gets the row and the output channel, if both are there.
    pub fn values<T>(&self, n: i64, group: i64, zero: T, f: impl Fn(i64, i64) -> T) -> Vec<T>
    where
        T: Copy,
    {
        let mut out = vec![];
        for (number, rows) in &self.order {
            for entry in rows.chunks(group as usize) {
                for c in 0..self.block {
                    let channel = number * self.block + c;
                    out.extend(entry.iter().map(|row| match row {
                        Some(row) if channel < n => f(*row, channel),
                        _ => zero,
                    }));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_what_is_not_zero_anywhere() {
        let w = |k: i64, c: i64| !(k == 3 && c == 5 || k == 700 && c == 1);
        let all = blocks(800, 6, 4, w);
        assert_eq!(all, [vec![700], vec![3]]);
        assert_eq!(blocks(800, 6, 1, w)[1], [700]);
        // 700 rows away are three steps.
        assert_eq!(entries(&all, Rows::Even, 1, 1), 3 + 1);
        assert_eq!(entries(&all, Rows::Even, 2, 1), 2 + 1);
        let e = encode(&all, Rows::Even, 6, 4, Numbers::Floats, 1);
        // The shorter one first.
        assert_eq!(e.order[0], (1, vec![Some(3)]));
        assert_eq!(e.stream[..5], [1, 0, 1, 0, 3]);
        assert_eq!(e.stream[5..], [3, 0, 0, 0, 255, 255, 190]);
        let values = e.values(6, 1, 0.0, |k, c| (k * 10 + c) as f32);
        assert_eq!(values[..4], [34.0, 35.0, 0.0, 0.0]);
        assert_eq!(values.len(), 16);
    }

    #[test]
    fn empty_blocks_have_no_entries() {
        let none = blocks(9, 5, 1, |_, _| true);
        let e = encode(&none, Rows::Even, 5, 1, Numbers::Words(8), 2);
        assert_eq!(entries(&none, Rows::Even, 2, 2), 0);
        assert_eq!((e.stream.len(), e.chunks.len()), (20, 1));
        assert!(e.values(5, 2, 0, |_, _| 1).is_empty());
    }
}
