//! How a window is gone through: segments of a call, and what needs calls of its own.

use crate::contracts::conv::View;
use crate::contracts::form::Form;

/// How a window is gone through.
pub(super) struct Plan {
    /// Axes whose steps are calls of their own, outermost first.
    pub outer: Vec<usize>,
    /// Segments of a call, and the axis along which they lie (the last axis: elements of a row).
    pub segs: i64,
    #[allow(missing_docs)]
    pub seg_axis: usize,
    /// Length of a segment, in whole groups of numbers. What it has beyond its window elements is read from what follows and multiplied by 0.
    pub k: i64,
    /// Elements from one pixel of a copy to the next.
    pub pitch: i64,
    /// Elements of A that a window element takes.
    pub pixel: i64,
    /// Window elements of a segment.
    pub taps: i64,
}

impl Plan {
    /// One call for all of a window, whose elements are picked.
    pub fn picked(v: &View) -> Plan {
        Plan {
            outer: vec![],
            segs: 1,
            seg_axis: v.window.rank() - 1,
            k: v.taps() * v.cin,
            pitch: v.cin * v.group,
            pixel: v.cin,
            taps: v.taps(),
        }
    }
    /// Segments of whole groups.
    pub fn of(v: &View, form: &Form) -> Plan {
        let w = &v.window;
        let last = w.rank() - 1;
        let channels = v.cin * v.group;
        // Elements of a row of a window follow one another, whatever group a pixel ends in.
        let dense = v.group == 1 && (w.dilation[last] == 1 || w.kernel[last] == 1);
        let (pitch, pixel) = match (dense, v.group) {
            (true, _) => (channels, channels),
            (false, 1) => (form.whole(channels), form.whole(channels)),
            (false, _) => (form.whole(channels), v.cin),
        };
        let taps = if dense { w.kernel[last] } else { 1 };
        let of = |outer: std::ops::Range<usize>, seg_axis: usize, segs: i64| Plan {
            outer: outer.collect(),
            segs,
            seg_axis,
            k: form.whole(taps * pixel),
            pitch,
            pixel,
            taps,
        };
        match (dense, last) {
            (true, 0) => of(0..0, 0, 1),
            (true, _) => of(0..last - 1, last - 1, w.kernel[last - 1]),
            (false, _) => of(0..last, last, w.kernel[last]),
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
