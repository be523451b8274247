//! Quantized layers as text, with an input and what exact arithmetic gives.

use onnxc_tests::graphs::Rng;
use std::fmt::Write;

/// A layer as text, its input, and what it must give.
pub struct Layer {
    pub text: String,
    pub input: String,
    pub data: Vec<u8>,
    pub want: Vec<u8>,
}

/// 8-bit numbers with a sign or without.
#[derive(Clone, Copy, PartialEq)]
pub enum Byte {
    U8,
    I8,
}

impl Byte {
    fn name(self) -> &'static str {
        match self {
            Byte::U8 => "u8",
            Byte::I8 => "i8",
        }
    }
    fn range(self) -> (i64, i64) {
        match self {
            Byte::U8 => (0, 255),
            Byte::I8 => (-128, 127),
        }
    }
    /// A number; the ends are drawn often.
    fn any(self, r: &mut Rng) -> i64 {
        let (lo, hi) = self.range();
        match r.below(4) {
            0 => *r.one(&[lo, hi]),
            _ => lo + r.below(256) as i64,
        }
    }
    fn many(self, r: &mut Rng, n: usize) -> Vec<i64> {
        (0..n).map(|_| self.any(r)).collect()
    }
}

fn byte(r: &mut Rng) -> Byte {
    *r.one(&[Byte::U8, Byte::I8])
}

fn list<T: std::fmt::Debug>(values: &[T]) -> String {
    let all: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
    all.join(", ")
}

/// A scale that f32 holds; sometimes a power of two, with which ties occur.
fn scale(r: &mut Rng, about: f64) -> f32 {
    let s = match r.below(3) {
        0 => libm::exp2(libm::round(libm::log2(about))),
        _ => about * (0.5 + r.below(1000) as f64 / 1000.0),
    };
    s as f32
}

/// What stands behind the sums of a layer.
struct Out {
    byte: Byte,
    zero: i64,
    scale: f32,
    relu: bool,
}

impl Out {
    fn of(r: &mut Rng, spread: f64) -> Out {
        let byte = byte(r);
        Out {
            byte,
            zero: byte.any(r),
            scale: scale(r, spread / 100.0),
            relu: r.below(3) == 0,
        }
    }
    fn number(&self, real: f64) -> u8 {
        let real = if self.relu { real.max(0.0) } else { real };
        let (lo, hi) = self.byte.range();
        let q = (real / f64::from(self.scale)).round_ties_even() as i64 + self.zero;
        q.clamp(lo, hi) as u8
    }
    fn text(&self, t: &mut String, n: usize, from: &str) {
        let Out {
            byte, zero, scale, ..
        } = self;
        let d = byte.name();
        writeln!(t, "  %ys{n} = lit f32[] [{scale:?}]").unwrap();
        writeln!(t, "  %yz{n} = lit {d}[] [{zero}]").unwrap();
        let from = match self.relu {
            true => {
                writeln!(t, "  %r{n} = Relu({from})").unwrap();
                format!("%r{n}")
            }
            false => from.to_string(),
        };
        writeln!(t, "  %y{n} = QuantizeLinear({from}, %ys{n}, %yz{n}) {{ axis = 1, block_size = 0, saturate = 1 }}").unwrap();
    }
}

/// An operand as text: numbers behind a DequantizeLinear.
#[allow(clippy::too_many_arguments)]
fn dequantized(t: &mut String, name: &str, byte: Byte, scales: &[f32], zeros: &[i64], axis: usize) {
    let (d, n) = (byte.name(), scales.len());
    let shape = if n == 1 {
        "[]".to_string()
    } else {
        format!("[{n}]")
    };
    writeln!(t, "  %{name}s = lit f32{shape} [{}]", list(scales)).unwrap();
    writeln!(t, "  %{name}z = lit {d}{shape} [{}]", list(zeros)).unwrap();
    writeln!(t, "  %{name}r = DequantizeLinear(%{name}, %{name}s, %{name}z) {{ axis = {axis}, block_size = 0, saturate = 1 }}").unwrap();
}

pub fn conv(r: &mut Rng, n: usize) -> Layer {
    let depthwise = r.below(3) == 0;
    let (group, cin, cout) = match (depthwise, r.below(4)) {
        (true, _) => (1 + r.below(40), 1, 1),
        (_, 0) => (2, 4 * (1 + r.below(3)), 4 + r.below(5)),
        _ => (1, 1 + r.below(40), 1 + r.below(40)),
    };
    let k = [1 + r.below(3), 1 + r.below(3)];
    let size = [k[0] + r.below(7), k[1] + r.below(12)];
    let stride = [1 + r.below(2), 1 + r.below(2)];
    let dilation = if r.below(5) == 0 { 2 } else { 1 };
    let pads: Vec<usize> = (0..4).map(|i| r.below(k[i % 2])).collect();
    // Some are layers that Winograd's algorithm does.
    let winograd = !depthwise && r.below(3) == 0;
    let (k, stride, dilation) = match winograd {
        true => ([3, 3], [1, 1], 1),
        false => (k, stride, dilation),
    };
    let size = match winograd {
        true => [3 + r.below(14), 3 + r.below(14)],
        false => size,
    };
    // Now and then with so many channels that sums are too large for some of its forms.
    let cin = match (winograd && group == 1, r.below(8)) {
        (true, 0) => 110 + r.below(30),
        (true, _) => cin + 3,
        _ => cin,
    };
    let extent = [0, 1].map(|i| (k[i] - 1) * dilation + 1);
    if (0..2).any(|i| size[i] + pads[i] + pads[i + 2] < extent[i]) {
        return conv(r, n);
    }
    let out = [0, 1].map(|i| (size[i] + pads[i] + pads[i + 2] - extent[i]) / stride[i] + 1);
    let (channels, m) = (cin * group, cout * group);
    let (xb, wb) = (byte(r), byte(r));
    let (xs, xz) = (scale(r, 0.02), xb.any(r));
    let per_channel = r.below(2) == 0;
    let ws: Vec<f32> = (0..if per_channel { m } else { 1 })
        .map(|_| scale(r, 0.01))
        .collect();
    let wz: Vec<i64> = match wb {
        Byte::I8 if r.below(3) > 0 => vec![0; ws.len()],
        _ => wb.many(r, ws.len()),
    };
    let x = xb.many(r, channels * size[0] * size[1]);
    // Of full range, or most of them small, as networks have them.
    let few = *r.one(&[1, 1, 2, 8]);
    let mut w = wb.many(r, m * cin * k[0] * k[1]);
    for v in &mut w {
        *v /= if r.below(12) == 0 { 1 } else { few };
    }
    let bias: Vec<i64> = (0..m).map(|_| r.below(20001) as i64 - 10000).collect();
    let biased = r.below(2) == 0;
    let o = Out::of(r, 0.02 * 0.01 * 5000.0 * (cin as f64).sqrt());
    let mut t = String::new();
    dequantized(&mut t, &format!("x{n}"), xb, &[xs], &[xz], 1);
    writeln!(
        t,
        "  %w{n} = lit {}[{m},{cin},{},{}] [{}]",
        wb.name(),
        k[0],
        k[1],
        list(&w)
    )
    .unwrap();
    dequantized(&mut t, &format!("w{n}"), wb, &ws, &wz, 0);
    let of = |c: usize, list: &[f32]| f64::from(list[c % list.len()]);
    let bs: Vec<f32> = ws.iter().map(|w| xs * w).collect();
    let third = match biased {
        true => {
            writeln!(t, "  %b{n} = lit i32[{m}] [{}]", list(&bias)).unwrap();
            let shape = if bs.len() == 1 {
                String::new()
            } else {
                bs.len().to_string()
            };
            writeln!(t, "  %b{n}s = lit f32[{shape}] [{}]", list(&bs)).unwrap();
            writeln!(t, "  %b{n}r = DequantizeLinear(%b{n}, %b{n}s) {{ axis = 0, block_size = 0, saturate = 1 }}").unwrap();
            format!(", %b{n}r")
        }
        false => String::new(),
    };
    let slopes = slopes(r, m);
    let sum = if slopes.is_empty() { "c" } else { "v" };
    writeln!(
        t,
        "  %{sum}{n} = Conv(%x{n}r, %w{n}r{third}) {{ auto_pad = \"NOTSET\", strides = [{}], pads = [{}], dilations = [{dilation}, {dilation}], group = {group} }}",
        list(&stride),
        list(&pads)
    )
    .unwrap();
    match slopes.as_slice() {
        [] => {}
        [alpha] => {
            writeln!(t, "  %c{n} = LeakyRelu(%v{n}) {{ alpha = {alpha:?} }}").unwrap();
        }
        all => {
            writeln!(t, "  %s{n} = lit f32[{m},1,1] [{}]", list(all)).unwrap();
            writeln!(t, "  %c{n} = PRelu(%v{n}, %s{n})").unwrap();
        }
    }
    o.text(&mut t, n, &format!("%c{n}"));
    let mut want = vec![];
    for c in 0..m {
        for oy in 0..out[0] {
            for ox in 0..out[1] {
                let mut sum = 0i64;
                for ci in 0..cin {
                    for ky in 0..k[0] {
                        for kx in 0..k[1] {
                            let y = (oy * stride[0] + ky * dilation).wrapping_sub(pads[0]);
                            let at = (ox * stride[1] + kx * dilation).wrapping_sub(pads[1]);
                            if y >= size[0] || at >= size[1] {
                                continue;
                            }
                            let channel = c / cout * cin + ci;
                            let q = x[(channel * size[0] + y) * size[1] + at] - xz;
                            let weight = w[((c * cin + ci) * k[0] + ky) * k[1] + kx];
                            sum += q * (weight - wz[c % wz.len()]);
                        }
                    }
                }
                let mut real = sum as f64 * (f64::from(xs) * of(c, &ws));
                if biased {
                    real += bias[c] as f64 * of(c, &bs);
                }
                if real < 0.0 && !slopes.is_empty() {
                    real *= of(c, &slopes);
                }
                want.push(o.number(real));
            }
        }
    }
    Layer {
        text: t,
        input: format!("%x{n}: {}[1,{channels},{},{}]", xb.name(), size[0], size[1]),
        data: x.iter().map(|&v| v as u8).collect(),
        want,
    }
}

/// Slopes of negative results behind a product, which no scale parts from it: often none, else one of LeakyRelu or those of PRelu.
fn slopes(r: &mut Rng, channels: usize) -> Vec<f32> {
    match r.below(4) {
        0 => vec![*r.one(&[0.01f32, 0.1, 0.25, 0.0, 1.5, -0.125])],
        // With one channel it would be a LeakyRelu.
        1 if channels > 1 => {
            let first = *r.one(&[0.0f32, -0.3, 0.5, 1.25]);
            let steps = (0..channels).map(|_| r.below(1000) as f32 / 1500.0);
            steps.map(|s| first + s).collect()
        }
        _ => vec![],
    }
}

/// A product of matrices `[batch, m, k]` and `[matrices, k, columns]`.
struct Product {
    sizes: [usize; 4],
    /// Of the second operand: one for all, or one for each of the batch.
    matrices: usize,
    /// Whether it has no axis for the batch.
    shared: bool,
    bytes: [Byte; 2],
    a: (f32, i64),
    b: (Vec<f32>, Vec<i64>),
    numbers: [Vec<i64>; 2],
    /// Whether the second operand comes with the first when the model runs.
    live: bool,
    out: Out,
}

impl Product {
    fn layer(self, n: usize) -> Layer {
        let [batch, m, k, columns] = self.sizes;
        let ([ab, bb], (sa, za), (sb, zb)) = (self.bytes, self.a, self.b);
        let ([a, b], o, matrices) = (self.numbers, self.out, self.matrices);
        let mut t = String::new();
        let shape = match self.shared {
            true => format!("{k},{columns}"),
            false => format!("{matrices},{k},{columns}"),
        };
        let mut input = format!("%x{n}: {}[{batch},{m},{k}]", ab.name());
        let mut data: Vec<u8> = a.iter().map(|&v| v as u8).collect();
        if self.live {
            let parts = [a.len(), b.len()];
            let all = parts[0] + parts[1];
            writeln!(t, "  %p{n} = lit i64[2] [{}]", list(&parts)).unwrap();
            writeln!(t, "  %a{n}, %b{n} = Split(%i{n}, %p{n}) {{ axis = 0 }}").unwrap();
            let axes = shape.split(',').count();
            writeln!(t, "  %as{n} = lit i64[3] [{batch},{m},{k}]").unwrap();
            writeln!(t, "  %bs{n} = lit i64[{axes}] [{shape}]").unwrap();
            writeln!(t, "  %x{n} = Reshape(%a{n}, %as{n})").unwrap();
            writeln!(t, "  %w{n} = Reshape(%b{n}, %bs{n})").unwrap();
            input = format!("%i{n}: {}[{all}]", ab.name());
            data.extend(b.iter().map(|&v| v as u8));
        } else {
            writeln!(t, "  %w{n} = lit {}[{shape}] [{}]", bb.name(), list(&b)).unwrap();
        }
        dequantized(&mut t, &format!("x{n}"), ab, &[sa], &[za], 1);
        dequantized(&mut t, &format!("w{n}"), bb, &sb, &zb, 1);
        writeln!(t, "  %c{n} = MatMul(%x{n}r, %w{n}r)").unwrap();
        o.text(&mut t, n, &format!("%c{n}"));
        let mut want = vec![];
        for (i, j) in (0..batch * m).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            let matrix = i / m % matrices;
            let sum: i64 = (0..k)
                .map(|p| {
                    let y = b[(matrix * k + p) * columns + j] - zb[j % zb.len()];
                    (a[i * k + p] - za) * y
                })
                .sum();
            want.push(o.number(sum as f64 * (f64::from(sa) * f64::from(sb[j % sb.len()]))));
        }
        Layer {
            text: t,
            input,
            data,
            want,
        }
    }
}

pub fn matmul(r: &mut Rng, n: usize) -> Layer {
    let sizes = [
        1 + r.below(3),
        1 + r.below(20),
        1 + r.below(60),
        1 + r.below(50),
    ];
    let [batch, m, k, columns] = sizes;
    let (ab, live) = (byte(r), r.below(3) == 0);
    let bb = if live { ab } else { byte(r) };
    let a = (scale(r, 0.02), ab.any(r));
    let matrices = *r.one(&[1, batch]);
    let shared = matrices == 1 && (batch > 1 || r.below(2) == 0);
    let sb: Vec<f32> = (0..if shared && r.below(2) == 0 {
        columns
    } else {
        1
    })
        .map(|_| scale(r, 0.01))
        .collect();
    let zb = bb.many(r, sb.len());
    let numbers = [
        ab.many(r, batch * m * k),
        bb.many(r, matrices * k * columns),
    ];
    Product {
        sizes,
        matrices,
        shared,
        bytes: [ab, bb],
        a,
        b: (sb, zb),
        numbers,
        live,
        out: Out::of(r, 0.02 * 0.01 * 5000.0 * (k as f64).sqrt()),
    }
    .layer(n)
}

/// A function of single numbers: PRelu channel by channel, LeakyRelu, or channels scaled by their own means.
pub fn points(r: &mut Rng, n: usize) -> Layer {
    let (channels, size) = (1 + r.below(40), [1 + r.below(9), 1 + r.below(9)]);
    let pixels = size[0] * size[1];
    let xb = byte(r);
    let (xs, xz) = (scale(r, 0.02), xb.any(r));
    let x = xb.many(r, channels * pixels);
    let o = Out::of(r, 0.02 * 100.0);
    let mut t = String::new();
    dequantized(&mut t, &format!("x{n}"), xb, &[xs], &[xz], 1);
    let real = |i: usize| (x[i] - xz) as f64 * f64::from(xs);
    let below = |i: usize, slope: f32| match x[i] < xz {
        true => (x[i] - xz) as f64 * (f64::from(slope) * f64::from(xs)),
        false => real(i),
    };
    let all = 0..channels * pixels;
    let want: Vec<f64> = match r.below(3) {
        0 => {
            let slopes: Vec<f32> = (0..channels)
                .map(|_| r.below(1000) as f32 / 1000.0 - 0.3)
                .collect();
            writeln!(t, "  %s{n} = lit f32[{channels},1,1] [{}]", list(&slopes)).unwrap();
            writeln!(t, "  %c{n} = PRelu(%x{n}r, %s{n})").unwrap();
            all.map(|i| below(i, slopes[i / pixels])).collect()
        }
        1 => {
            let slope = *r.one(&[0.01f32, 0.1, 0.25, 0.3]);
            writeln!(t, "  %c{n} = LeakyRelu(%x{n}r) {{ alpha = {slope:?} }}").unwrap();
            all.map(|i| below(i, slope)).collect()
        }
        _ => {
            let mean = Out {
                relu: false,
                ..Out::of(r, 0.02 * 100.0)
            };
            writeln!(t, "  %m{n} = GlobalAveragePool(%x{n}r)").unwrap();
            let (d, ms, mz) = (mean.byte.name(), mean.scale, mean.zero);
            writeln!(t, "  %ms{n} = lit f32[] [{ms:?}]").unwrap();
            writeln!(t, "  %mz{n} = lit {d}[] [{mz}]").unwrap();
            writeln!(t, "  %g{n} = QuantizeLinear(%m{n}, %ms{n}, %mz{n}) {{ axis = 1, block_size = 0, saturate = 1 }}").unwrap();
            writeln!(t, "  %h{n} = DequantizeLinear(%g{n}, %ms{n}, %mz{n}) {{ axis = 1, block_size = 0, saturate = 1 }}").unwrap();
            writeln!(t, "  %c{n} = Mul(%x{n}r, %h{n})").unwrap();
            let signed = |b: u8| match mean.byte {
                Byte::U8 => i64::from(b),
                Byte::I8 => i64::from(b as i8),
            };
            let means: Vec<i64> = (0..channels)
                .map(|c| {
                    let sum: i64 = x[c * pixels..][..pixels].iter().map(|x| x - xz).sum();
                    let real = sum as f64 * (f64::from(xs) / pixels as f64);
                    signed(mean.number(real)) - mean.zero
                })
                .collect();
            let by = f64::from(xs) * f64::from(mean.scale);
            all.map(|i| ((x[i] - xz) * means[i / pixels]) as f64 * by)
                .collect()
        }
    };
    o.text(&mut t, n, &format!("%c{n}"));
    Layer {
        text: t,
        input: format!("%x{n}: {}[1,{channels},{},{}]", xb.name(), size[0], size[1]),
        data: x.iter().map(|&v| v as u8).collect(),
        want: want.into_iter().map(|v| o.number(v)).collect(),
    }
}

/// Sigmoid of every byte there is, many times over: a table.
pub fn sigmoids(n: usize, xb: Byte) -> Layer {
    let sizes = [3, 37, 43];
    let (xs, xz) = (0.043f32, xb.range().0 + 101);
    let (least, most) = xb.range();
    let x: Vec<i64> = (0..sizes.iter().product::<i64>())
        .map(|i| least + i * 7 % (most - least + 1))
        .collect();
    let o = Out {
        byte: xb,
        zero: least,
        scale: 1.0 / 256.0,
        relu: false,
    };
    let mut t = String::new();
    dequantized(&mut t, &format!("x{n}"), xb, &[xs], &[xz], 1);
    writeln!(t, "  %c{n} = Sigmoid(%x{n}r)").unwrap();
    o.text(&mut t, n, &format!("%c{n}"));
    let real = |x: &i64| (x - xz) as f64 * f64::from(xs);
    Layer {
        text: t,
        input: format!(
            "%x{n}: {}[1,{},{},{}]",
            xb.name(),
            sizes[0],
            sizes[1],
            sizes[2]
        ),
        data: x.iter().map(|&v| v as u8).collect(),
        want: x
            .iter()
            .map(|x| o.number(1.0 / (1.0 + libm::exp(-real(x)))))
            .collect(),
    }
}

/// Rows of bytes as large as they can be, times weights that in their natural order pass 16 bits in pairs.
pub fn pairs(n: usize, weight: impl Fn(usize, usize) -> i64) -> Layer {
    pairs_of(n, [7, 64, 24], weight)
}

/// The same of so many rows, elements and columns.
pub fn pairs_of(
    n: usize,
    [m, k, columns]: [usize; 3],
    weight: impl Fn(usize, usize) -> i64,
) -> Layer {
    let sizes = [1, m, k, columns];
    let a = (0..m * k).map(|i| if i % 11 == 0 { 254 } else { 255 });
    let b = (0..k * columns).map(|i| weight(i / columns, i % columns));
    Product {
        sizes,
        matrices: 1,
        shared: true,
        bytes: [Byte::U8, Byte::I8],
        a: (0.02, 0),
        b: (vec![0.01], vec![0]),
        numbers: [a.collect(), b.collect()],
        live: false,
        out: Out {
            byte: Byte::I8,
            zero: 3,
            // The largest sums are in range.
            scale: 2.0,
            relu: false,
        },
    }
    .layer(n)
}
