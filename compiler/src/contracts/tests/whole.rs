//! Convolutions of bytes against the definition: full-range numbers, any zero points.

use super::*;
use crate::base::dtype::DType;
use crate::contracts::conv_integer::CONV_INTEGER;
use crate::contracts::conv_winograd::{WHOLE_F2, WHOLE_F4};
use crate::loops::random::Rng;

/// A layer: channels last, its weights [M, C, 3, 3].
struct Layer {
    n: i64,
    size: [i64; 2],
    cin: i64,
    cout: i64,
    group: i64,
    pads: [i64; 4],
    x: (DType, Vec<i64>, i64),
    w: (DType, Vec<i64>, Vec<i64>),
}

/// A number of a type of bytes; its ends are drawn often, and with `most` nothing else.
fn byte(r: &mut Rng, d: DType, most: bool) -> i64 {
    let least = if d == DType::I8 { -128 } else { 0 };
    match r.bits() % 3 {
        0 => least,
        1 => least + 255,
        _ if most => least + 255,
        _ => least + (r.bits() >> 13 & 255) as i64,
    }
}

impl Layer {
    fn of(
        r: &mut Rng,
        n: i64,
        size: [i64; 2],
        [cin, cout, group]: [i64; 3],
        pads: [i64; 4],
    ) -> Layer {
        let types = [DType::U8, DType::I8];
        let (xd, wd) = (
            types[(r.bits() >> 7 & 1) as usize],
            types[(r.bits() >> 9 & 1) as usize],
        );
        let most = r.bits() & 64 == 0;
        let mut many = |d, n: i64| -> Vec<i64> { (0..n).map(|_| byte(r, d, most)).collect() };
        let x = many(xd, n * size[0] * size[1] * cin * group);
        let w = many(wd, cout * group * cin * 9);
        let zeros = many(wd, cout * group);
        let zero = many(xd, 1)[0];
        Layer {
            n,
            size,
            cin,
            cout,
            group,
            pads,
            x: (xd, x, zero),
            w: (wd, w, zeros),
        }
    }
    fn out(&self) -> [i64; 4] {
        let [h, w] = [0, 1].map(|i| self.size[i] + self.pads[i] + self.pads[i + 2] - 2);
        [self.n, h, w, self.cout * self.group]
    }
    fn want(&self) -> Vec<i64> {
        let [n, oh, ow, channels] = self.out();
        let [h, w] = self.size;
        let all = self.cin * self.group;
        let mut to = vec![];
        for at in 0..n * oh * ow * channels {
            let (o, pixel) = (at % channels, at / channels);
            let (ox, oy, image) = (pixel % ow, pixel / ow % oh, pixel / ow / oh);
            let first = o / self.cout * self.cin;
            let mut sum = 0;
            for (ky, kx) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
                let (y, x) = (oy + ky - self.pads[0], ox + kx - self.pads[1]);
                if !(0..h).contains(&y) || !(0..w).contains(&x) {
                    continue;
                }
                for c in 0..self.cin {
                    let v = self.x.1[(((image * h + y) * w + x) * all + first + c) as usize];
                    let k = self.w.1[((o * self.cin + c) * 9 + ky * 3 + kx) as usize];
                    sum += (v - self.x.2) * (k - self.w.2[o as usize]);
                }
            }
            to.push(sum);
        }
        to
    }
    /// What a row gives; `None` where it does not accept.
    fn run(&self, row: &Kernel) -> Option<Vec<i64>> {
        self.run_on(&machine(), row)
    }
    /// The same on a machine.
    fn run_on(&self, machine: &Machine, row: &Kernel) -> Option<Vec<i64>> {
        let tensor = |d, shape: &[i64], v: &[i64]| {
            let reals: Vec<f64> = v.iter().map(|&v| v as f64).collect();
            Tensor::from_f64s(d, shape, &reals)
        };
        let [h, w] = self.size;
        let channels = self.cout * self.group;
        let attrs = Attrs::default()
            .with("strides", Attr::Ints(vec![1; 2]))
            .with("dilations", Attr::Ints(vec![1; 2]))
            .with("pads", Attr::Ints(self.pads.to_vec()))
            .with("group", Attr::Int(self.group))
            .with("channels_last", Attr::Int(1));
        let inputs = [
            Some((
                tensor(self.x.0, &[self.n, h, w, self.cin * self.group], &self.x.1),
                false,
            )),
            Some((
                tensor(self.w.0, &[channels, self.cin, 3, 3], &self.w.1),
                true,
            )),
            Some((tensor(self.x.0, &[], &[self.x.2]), true)),
            Some((tensor(self.w.0, &[channels], &self.w.2), true)),
        ];
        let out = TensorType::fixed(DType::I32, &self.out());
        let bytes = run_noted(machine, &CONV_INTEGER, row, &attrs, &inputs, out, None)?;
        let words = bytes.as_chunks::<4>().0.iter();
        Some(words.map(|c| i64::from(i32::from_le_bytes(*c))).collect())
    }
}

/// Products longer than their factors, and matrices of bytes.
static DEPTHWISE_LONG: Tile = Tile {
    name: "depthwise_long_test",
    contract: "depthwise_long",
    ..STRIP
};
static STRIP_MATRICES: Tile = Tile {
    name: "gemm_strip_matrices_test",
    contract: "gemm_strip_matrices",
    ..STRIP
};

/// A machine that multiplies by lanes and has these; `dots`: dot products of bytes as well.
fn by_lane(dots: bool) -> Machine {
    let other = machine();
    let kept = |t: &&'static Tile| dots || t.contract != DEPTHWISE_BYTES.contract;
    let own = [&DEPTHWISE_LONG, &STRIP_MATRICES];
    Machine {
        tiles: other
            .tiles
            .iter()
            .copied()
            .filter(kept)
            .chain(own)
            .collect(),
        vector: other.vector.map(|v| Vector {
            registers: 30,
            by_lane: true,
            ..v
        }),
        ..other
    }
}

#[test]
fn rows_by_lane_convolve() {
    let mut r = Rng(23);
    let mut matrices = 0;
    for (turn, size) in [[3, 3], [5, 4], [6, 9], [1, 12]].into_iter().enumerate() {
        for channels in [[8, 5, 1], [3, 9, 1], [16, 24, 2], [13, 33, 1], [8, 3, 2]] {
            let pads = [[1; 4], [2, 1, 2, 1], [1, 0, 1, 1], [1; 4]][turn];
            let mut layer = Layer::of(&mut r, 1 + turn as i64 % 2, size, channels, pads);
            if turn % 2 == 0 {
                let weights = layer.w.1.iter().map(|w| *w as u8 as i8 as i64).collect();
                layer.w = (DType::I8, weights, vec![0; layer.w.2.len()]);
            }
            let want = layer.want();
            for row in CONV_INTEGER.rows {
                if let Some(got) = layer.run_on(&by_lane(true), row) {
                    matrices += i64::from(row.name == "conv_i8_matrices");
                    assert!(got == want, "{} {size:?} {channels:?}", row.name);
                }
            }
        }
    }
    assert!(matrices > 5, "{matrices}");
}

#[test]
fn exact_winograd_rows_convolve() {
    let pads = [[1; 4], [0; 4], [1, 0, 0, 1], [0, 1, 2, 0], [2; 4]];
    let mut r = Rng(5);
    for h in 1..=11i64 {
        for (turn, w) in [(0, h), (1, 12 - h), (2, 5)] {
            let p = pads[(h as usize + turn) % pads.len()];
            if h + p[0] + p[2] < 3 || w + p[1] + p[3] < 3 {
                continue;
            }
            let (n, channels) = match turn {
                0 => (2, [5, 6, 1]),
                1 => (1, [8, 17, 1]),
                _ => (2, [9, 5, 2]),
            };
            let layer = Layer::of(&mut r, n, [h, w], channels, p);
            let want = layer.want();
            for row in CONV_INTEGER.rows {
                let got = layer.run(row);
                let winograd = [WHOLE_F4.name, WHOLE_F2.name].contains(&row.name);
                assert!(got.is_some() || !winograd, "{} takes no {h}x{w}", row.name);
                if let Some(got) = got {
                    assert!(got == want, "{} {h}x{w} pads {p:?} {channels:?}", row.name);
                }
            }
        }
    }
}

/// Weights that are transformed for each block, once for many blocks, and, for machines without that tile, while compiling; such that bytes hold and such
/// that only words do.
#[test]
fn exact_winograd_weights_come_in_time() {
    let mut r = Rng(29);
    let all = machine();
    let bare = Machine {
        tiles: (machine().tiles.into_iter())
            .filter(|t| t.contract != WINOGRAD_FILTERS_WORDS.contract)
            .collect(),
        ..machine()
    };
    for (size, row) in [
        ([9, 8], &WHOLE_F4),
        ([50, 49], &WHOLE_F4),
        ([26, 25], &WHOLE_F2),
    ] {
        for narrow in [true, false] {
            let mut layer = Layer::of(&mut r, 1, size, [5, 9, 2], [1; 4]);
            if narrow {
                let weights = layer.w.1.iter().map(|w| *w as u8 as i8 as i64).collect();
                layer.w = (DType::I8, weights, vec![0; layer.w.2.len()]);
            }
            let want = Some(layer.want());
            for machine in [&all, &bare] {
                let got = layer.run_on(machine, row);
                assert!(got == want, "{} {size:?} {narrow}", row.name);
            }
        }
    }
}

/// Sums that F(4x4) can't hold are left to F(2x2), and those that it just holds are right.
#[test]
fn exact_winograd_ends_where_sums_do() {
    let mut r = Rng(1);
    let mut layer = |cin: i64, weight: i64| {
        let mut l = Layer::of(&mut r, 1, [4, 4], [cin, 4, 1], [1; 4]);
        l.x = (DType::U8, vec![255; (cin * 16) as usize], 0);
        l.w = (DType::I8, vec![weight; (cin * 36) as usize], vec![0; 4]);
        l
    };
    for weight in [127, -127] {
        let just = layer(115, weight);
        assert_eq!(just.run(&WHOLE_F4), Some(just.want()));
        let more = layer(116, weight);
        assert_eq!(more.run(&WHOLE_F4), None);
        assert_eq!(more.run(&WHOLE_F2), Some(more.want()));
    }
}

/// Channels one by one: weights that bytes hold and such that only words do, with zero points and without, channels that are no whole blocks.
#[test]
fn depthwise_rows_convolve() {
    let mut r = Rng(11);
    let row = &crate::contracts::conv_depthwise_last::BYTES;
    for channels in [5, 8, 9, 16, 21, 48, 70] {
        for (turn, size) in [[3, 3], [5, 4], [6, 9], [16, 15]].into_iter().enumerate() {
            let pads = [[1; 4], [0; 4], [1, 0, 0, 1], [0, 1, 2, 0]][(turn + channels) % 4];
            let mut layer = Layer::of(&mut r, 1, size, [1, 1, channels as i64], pads);
            if r.bits() & 32 == 0 {
                let weights = layer.w.1.iter().map(|w| *w as u8 as i8 as i64).collect();
                layer.w = (DType::I8, weights, vec![0; channels]);
            }
            let what = format!("{size:?} pads {pads:?} {channels} {:?}", layer.x.0);
            let want = Some(layer.want());
            assert!(layer.run(row) == want, "{what}");
            for dots in [false, true] {
                let got = layer.run_on(&by_lane(dots), row);
                assert!(got == want, "{what}, by lane {dots}");
            }
        }
    }
}
