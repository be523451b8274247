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
    /// One call for all of a window, whose elements are picked.
    pub fn picked(v: &View) -> Plan {
        Plan {
            outer: vec![],
            segs: 1,
            seg_axis: v.window.rank() - 1,
            k: v.taps() * v.cin,
        }
    }
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

/// Where the elements of a window lie from its start, channels side by side, window elements row-major, in a source with its border whose pixels are
/// `pitch` elements apart. `None`: not known when compiling.
pub(super) fn places(v: &View, pitch: i64) -> Option<Vec<i64>> {
    let w = &v.window;
    let rank = w.rank();
    let mut strides = vec![pitch; rank];
    for axis in (0..rank - 1).rev() {
        let size = match w.kernel[..=axis].iter().all(|&k| k == 1) {
            // Never gone along.
            true => 0,
            false => v.input[axis + 1].fixed()? + w.begin[axis + 1] + w.end[axis + 1],
        };
        strides[axis] = strides[axis + 1].checked_mul(size)?;
    }
    let mut places = vec![0];
    for axis in 0..rank {
        let step = strides[axis] * w.dilation[axis];
        let all = places
            .iter()
            .flat_map(|p| (0..w.kernel[axis]).map(move |k| p + k * step));
        places = all.collect();
    }
    let all = places.iter().flat_map(|p| (0..v.cin).map(move |c| p + c));
    let places: Vec<i64> = all.collect();
    places.is_sorted().then_some(places)
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
