//! How a window is gone through: segments of a call, and what needs calls of its own.

use crate::contracts::conv::View;

/// How a window is gone through.
pub(super) struct Plan {
    /// Axes whose steps are calls of their own, outermost first.
    pub outer: Vec<usize>,
    /// Segments of a call, and the axis along which they lie (the last axis: elements of a row).
    pub segs: i64,
    #[allow(missing_docs)]
    pub seg_axis: usize,
    /// Length of a segment.
    pub k: i64,
}

impl Plan {
    /// `pitch`: numbers from one pixel of the source to the next.
    pub fn of(v: &View, pitch: i64) -> Plan {
        let w = &v.window;
        let last = w.rank() - 1;
        let per_pixel = if v.group == 1 { pitch } else { v.cin };
        let dense = v.group == 1 && (w.dilation[last] == 1 || w.kernel[last] == 1);
        if dense && last > 0 {
            Plan {
                outer: (0..last - 1).collect(),
                segs: w.kernel[last - 1],
                seg_axis: last - 1,
                k: w.kernel[last] * per_pixel,
            }
        } else if dense {
            Plan {
                outer: vec![],
                segs: 1,
                seg_axis: 0,
                k: w.kernel[0] * per_pixel,
            }
        } else {
            Plan {
                outer: (0..last).collect(),
                segs: w.kernel[last],
                seg_axis: last,
                k: per_pixel,
            }
        }
    }
}

/// Takes off last spatial axes that are 1 throughout (a sequence written as an image): rows of results lie along the first that
/// is more. Gives their number.
pub(super) fn narrow(v: &mut View) -> usize {
    let mut gone = 0;
    while v.window.rank() > 1 {
        let w = &mut v.window;
        let last = w.rank() - 1;
        let trivial = v.input[last].is(1)
            && w.out[last].is(1)
            && w.kernel[last] == 1
            && w.begin[last] == 0
            && w.end[last] == 0;
        if !trivial {
            break;
        }
        v.input.pop();
        w.out.pop();
        for list in [
            &mut w.kernel,
            &mut w.stride,
            &mut w.dilation,
            &mut w.begin,
            &mut w.end,
        ] {
            list.pop();
        }
        gone += 1;
    }
    gone
}
