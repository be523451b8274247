//! Spatial axes of a convolution, and the tiles of a depthwise one: those at a border have code of their own.

use super::conv::View;
use super::pack::RowTiles;

/// Tiles along one axis that are the same: where they begin, how many, pixels of each, input cut off before and behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// The first output element.
    pub first: i64,
    /// Tiles.
    pub count: i64,
    /// Output elements of each.
    pub size: i64,
    /// Elements of its span that lie outside of the image: before, behind.
    pub cut: [i64; 2],
}

/// One spatial axis.
#[derive(Clone, Copy)]
pub struct Axis {
    /// Elements of the image.
    pub input: i64,
    /// Elements of the output.
    pub out: i64,
    /// Elements of the window.
    pub kernel: i64,
    /// The window's step.
    pub stride: i64,
    /// Its elements' step.
    pub dilation: i64,
    /// Padding before the first element.
    pub begin: i64,
}

impl Axis {
    /// Axis `i` of a convolution whose sizes are known.
    pub fn of(v: &View, i: usize) -> Option<Axis> {
        let w = &v.window;
        Some(Axis {
            input: v.input[i].fixed()?,
            out: w.out[i].fixed()?,
            kernel: w.kernel[i],
            stride: w.stride[i],
            dilation: w.dilation[i],
            begin: w.begin[i],
        })
    }
    /// An axis of one.
    pub const ONE: Axis = Axis {
        input: 1,
        out: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        begin: 0,
    };
    /// Input elements that so many outputs span.
    pub fn span(&self, out: i64) -> i64 {
        (out - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
    }
    /// The tiles of up to `most` output elements.
    pub fn runs(&self, most: i64) -> Vec<Run> {
        let mut out: Vec<Run> = vec![];
        for (first, count, size) in RowTiles::of(self.out, most).groups() {
            for t in 0..count {
                let first = first + t * size;
                let from = first * self.stride - self.begin;
                let cut = [(-from).max(0), (from + self.span(size) - self.input).max(0)];
                match out.last_mut() {
                    Some(r) if r.size == size && r.cut == cut => r.count += 1,
                    _ => out.push(Run {
                        first,
                        count: 1,
                        size,
                        cut,
                    }),
                }
            }
        }
        out
    }
    /// The first input element that a run's first tile reads.
    pub fn start(&self, r: &Run) -> i64 {
        (r.first * self.stride - self.begin).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_have_runs_of_their_own() {
        let a = Axis {
            input: 14,
            out: 14,
            kernel: 3,
            stride: 1,
            dilation: 1,
            begin: 1,
        };
        let runs: Vec<_> = a.runs(4).iter().map(|r| (r.count, r.size, r.cut)).collect();
        assert_eq!(
            runs,
            [
                (1, 4, [1, 0]),
                (1, 4, [0, 0]),
                (1, 3, [0, 0]),
                (1, 3, [0, 1])
            ]
        );
        let even = Axis {
            input: 112,
            out: 56,
            stride: 2,
            begin: 0,
            ..a
        };
        // Padded behind alone.
        assert_eq!(even.runs(2).last().map(|r| r.cut), Some([0, 1]));
    }
}
