//! What a run holds of a value, as it lies in memory.

use crate::base::dim::Dim;

/// A value in the memory of a run, all of it, in f32.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Its numbers, each in four bytes of little order.
    pub values: &'a [[u8; 4]],
    /// Sizes of its axes in the order of the memory.
    pub shape: &'a [i64],
    /// Which axis of the model's value each of them is.
    pub order: &'a [usize],
}

/// Where the numbers of each channel lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channels {
    /// Channels.
    pub count: usize,
    /// Numbers of one that follow each other in the model's value.
    pub run: usize,
    /// Memory has the channels of one place side by side: `[.., run, count]`, else `[.., count, run]`.
    pub last: bool,
}

impl Seen<'_> {
    /// The shape of the model's value.
    pub fn plain_shape(&self) -> Vec<i64> {
        let mut shape = self.shape.to_vec();
        for (&size, &axis) in self.shape.iter().zip(self.order) {
            if let Some(s) = shape.get_mut(axis) {
                *s = size;
            }
        }
        shape
    }

    /// Whether memory has the model's order.
    pub fn is_plain(&self) -> bool {
        self.order.iter().enumerate().all(|(k, axis)| k == *axis)
    }

    /// Where the channels along an axis of the model's value lie, if in one of the two ways.
    pub fn channels(&self, axis: usize) -> Option<Channels> {
        let shape = self.plain_shape();
        let size = |d: &i64| usize::try_from(*d).ok();
        let count = size(shape.get(axis)?)?;
        let run = shape[axis + 1..].iter().product::<i64>();
        let behind = (0..axis).chain(axis + 1..shape.len()).chain([axis]);
        let last = !self.is_plain();
        let known = !last || behind.eq(self.order.iter().copied());
        (known && count > 0).then_some(Channels {
            count,
            run: size(&run)?,
            last,
        })
    }

    /// The numbers in the model's order.
    pub fn plain(&self) -> Vec<f32> {
        let real = |b: &[u8; 4]| f32::from_le_bytes(*b);
        if self.is_plain() {
            return self.values.iter().map(real).collect();
        }
        let fixed = |d: &i64| Dim::Fixed(*d);
        let own: Vec<Dim> = self.shape.iter().map(fixed).collect();
        let own: Vec<i64> = (crate::base::dim::strides(&own).iter())
            .map(|d| d.fixed().unwrap_or(0))
            .collect();
        let shape = self.plain_shape();
        let mut strides = vec![0; shape.len()];
        for (stride, &axis) in own.iter().zip(self.order) {
            if let Some(s) = strides.get_mut(axis) {
                *s = *stride;
            }
        }
        let mut out = Vec::with_capacity(self.values.len());
        let (mut at, mut index) = (0i64, vec![0i64; shape.len()]);
        while out.len() < self.values.len() {
            let value = usize::try_from(at).ok().and_then(|at| self.values.get(at));
            out.push(value.map_or(0.0, real));
            for k in (0..shape.len()).rev() {
                (index[k], at) = (index[k] + 1, at + strides[k]);
                if index[k] < shape[k] {
                    break;
                }
                (index[k], at) = (0, at - strides[k] * shape[k]);
            }
        }
        out
    }
}

#[cfg(test)]
#[test]
fn orders_of_axes() {
    let x: Vec<[u8; 4]> = (0..6u8).map(|i| f32::from(i).to_le_bytes()).collect();
    let seen = |shape, order| Seen {
        values: &x,
        shape,
        order,
    };
    let plain = seen(&[1, 2, 3], &[0, 1, 2]);
    let first = Channels {
        count: 2,
        run: 3,
        last: false,
    };
    assert_eq!(plain.channels(1), Some(first));
    assert_eq!(plain.plain(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    // In memory three places with two channels each.
    let turned = seen(&[1, 3, 2], &[0, 2, 1]);
    assert_eq!(turned.plain_shape(), [1, 2, 3]);
    let last = Channels {
        last: true,
        ..first
    };
    assert_eq!(turned.channels(1), Some(last));
    assert_eq!(turned.plain(), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    assert_eq!(seen(&[3, 1, 2], &[2, 0, 1]).channels(1), None);
    assert_eq!(turned.channels(7), None);
}
