//! The executor against plain references, written from the meaning of each command, over random shapes.

use onnxc_sim::constants::Constants;
use onnxc_sim::execute::{Memory, execute};
use onnxc_sim::format::*;

struct Draw(u64);

impl Draw {
    fn word(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    fn below(&mut self, n: u32) -> u32 {
        (self.word() % u64::from(n)) as u32
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.word() as u8).collect()
    }
}

fn number(b: u8, e: Elem) -> i64 {
    if e == Elem::I8 {
        i64::from(b as i8)
    } else {
        i64::from(b)
    }
}

/// Round, half to even or up, without the library: by the distance to the floor.
fn rounded(v: f64, up: bool) -> f64 {
    let f = v.floor();
    let d = v - f;
    match d {
        _ if d > 0.5 => f + 1.0,
        _ if d < 0.5 => f,
        _ if up || f % 2.0 != 0.0 => f + 1.0,
        _ => f,
    }
}

fn finished(sum: f64, zero: i32, lo: i32, hi: i32, up: bool) -> u8 {
    (rounded(sum, up) as i64 + i64::from(zero)).clamp(i64::from(lo), i64::from(hi)) as u8
}

fn program(x: usize, y: usize, command: Command) -> Program {
    let port = |bytes: usize, out| PortInfo {
        bytes: bytes as u32,
        out,
    };
    Program {
        arena_bytes: 0,
        ports: vec![port(x, false), port(y, true)],
        commands: vec![command],
    }
}

fn run(p: &Program, cst: &[u8], x: &[u8]) -> Vec<u8> {
    let decoded = Program::decode(&p.encode()).unwrap();
    assert_eq!(&decoded, p);
    let mut ports = vec![x.to_vec(), vec![0xaa; p.ports[1].bytes as usize]];
    execute(
        &decoded,
        &mut Memory {
            cst,
            arena: &mut [],
            ports: &mut ports,
        },
    )
    .unwrap();
    ports.pop().unwrap()
}

fn at(port: u32, elem: Elem) -> Place {
    Place {
        space: Space::Port(port),
        elem,
        offset: 0,
    }
}

fn elem(d: &mut Draw) -> Elem {
    [Elem::I8, Elem::U8][d.below(2) as usize]
}

#[test]
fn convolutions() {
    let mut d = Draw(1);
    for round in 0..300 {
        let (groups, cg, og) = match round % 3 {
            0 => (1, 1 + d.below(9), 1 + d.below(9)),
            1 => (1 + d.below(12), 1, 1),
            _ => (1 + d.below(3), 1 + d.below(4), 1 + d.below(3)),
        };
        let (cin, cout) = (groups * cg, groups * og);
        let size = [1 + d.below(3), 1 + d.below(3)];
        let (stride, dilation) = (
            [1 + d.below(2), 1 + d.below(2)],
            [1 + d.below(2), 1 + d.below(2)],
        );
        let pad = [d.below(3), d.below(3)];
        let (batch, rows, cols) = (1 + d.below(2), 3 + d.below(5), 3 + d.below(5));
        let (out_rows, out_cols) = (1 + d.below(6), 1 + d.below(6));
        let (xe, we, ye) = (elem(&mut d), elem(&mut d), elem(&mut d));
        // Slices of wider maps.
        let (xp, yp) = (cin + d.below(3), cout + d.below(3));
        let x = d.bytes((batch * rows * cols * xp) as usize);
        let w = d.bytes((cout * size[0] * size[1] * cg) as usize);
        let mut c = Constants::new();
        let bias: Vec<i32> = (0..cout).map(|_| d.below(2001) as i32 - 1000).collect();
        let wz: Vec<i32> = (0..cout)
            .map(|_| number(d.word() as u8, we) as i32)
            .collect();
        let scale: Vec<f64> = (0..cout)
            .map(|_| f64::from(1 + d.below(64)) / 4096.0)
            .collect();
        let offset: Vec<f64> = (0..cout)
            .map(|_| f64::from(d.below(9)) / 4.0 - 1.0)
            .collect();
        let (least, x_zero, up) = (
            ye.least(),
            number(d.word() as u8, xe) as i32,
            d.below(2) == 1,
        );
        let (zero, lo, hi) = (
            least + d.below(256) as i32,
            least + d.below(20) as i32,
            least + 200 + d.below(56) as i32,
        );
        let conv = Conv {
            x: Map {
                pitch: xp,
                ..Map::dense(at(0, xe), batch, rows, cols, cin)
            },
            y: Map {
                pitch: yp,
                ..Map::dense(at(1, ye), batch, out_rows, out_cols, cout)
            },
            w: c.place(we, &w),
            window: Window {
                size,
                stride,
                dilation,
                pad,
            },
            groups,
            x_zero,
            w_zero: Some(c.ints(&wz)),
            finish: Finish {
                bias: Some(c.ints(&bias)),
                scale: c.reals(&scale),
                offset: Some(c.reals(&offset)),
                zero,
                lo,
                hi,
                up,
            },
        };
        let y_bytes = (batch * out_rows * out_cols * yp) as usize;
        let y = run(
            &program(x.len(), y_bytes, Command::Conv(conv)),
            &c.finish(),
            &x,
        );
        for b in 0..batch {
            for i in 0..out_rows {
                for j in 0..out_cols {
                    for o in 0..yp {
                        let got = y[(((b * out_rows + i) * out_cols + j) * yp + o) as usize];
                        if o >= cout {
                            assert_eq!(got, 0xaa, "channels of others");
                            continue;
                        }
                        let mut sum = i64::from(bias[o as usize]);
                        for r in 0..size[0] {
                            for s in 0..size[1] {
                                for k in 0..cg {
                                    let xr = i64::from(i * stride[0] + r * dilation[0])
                                        - i64::from(pad[0]);
                                    let xc = i64::from(j * stride[1] + s * dilation[1])
                                        - i64::from(pad[1]);
                                    if xr < 0 || xc < 0 || xr >= rows.into() || xc >= cols.into() {
                                        continue;
                                    }
                                    let channel = o / og * cg + k;
                                    let from = ((i64::from(b * rows) + xr) * i64::from(cols) + xc)
                                        * i64::from(xp)
                                        + i64::from(channel);
                                    let wat = ((o * size[0] + r) * size[1] + s) * cg + k;
                                    sum += (number(x[from as usize], xe) - i64::from(x_zero))
                                        * (number(w[wat as usize], we) - i64::from(wz[o as usize]));
                                }
                            }
                        }
                        let v = sum as f64 * scale[o as usize] + offset[o as usize];
                        assert_eq!(got, finished(v, zero, lo, hi, up), "round {round}");
                    }
                }
            }
        }
    }
}

#[test]
fn products_of_matrices() {
    let mut d = Draw(2);
    for _ in 0..200 {
        let [b, i, k, j] = [
            1 + d.below(3),
            1 + d.below(5),
            1 + d.below(20),
            1 + d.below(9),
        ];
        let (ae, we) = (elem(&mut d), elem(&mut d));
        let (a, w) = (d.bytes((b * i * k) as usize), d.bytes((k * j) as usize));
        let mut c = Constants::new();
        let scale: Vec<f64> = (0..j).map(|_| f64::from(1 + d.below(9)) / 1024.0).collect();
        let view = |at, s: [u32; 3]| View {
            at,
            strides: [s[0] as i32, s[1] as i32, s[2] as i32, 0, 0, 0],
        };
        let transposed = d.below(2) == 1;
        let ws = if transposed { [0, 1, k] } else { [0, j, 1] };
        let gemm = Gemm {
            sizes: [b, i, k, j],
            a: view(at(0, ae), [i * k, k, 1]),
            w: view(c.place(we, &w), ws),
            y: view(at(1, Elem::I8), [i * j, j, 1]),
            a_zero: -3,
            w_zero: None,
            finish: Finish {
                bias: None,
                scale: c.reals(&scale),
                offset: None,
                zero: 5,
                lo: -128,
                hi: 127,
                up: false,
            },
        };
        let y = run(
            &program(a.len(), (b * i * j) as usize, Command::Gemm(gemm)),
            &c.finish(),
            &a,
        );
        for (n, &got) in y.iter().enumerate() {
            let (row, col) = (n / j as usize, n % j as usize);
            let sum: i64 = (0..k as usize)
                .map(|z| {
                    let at = if transposed {
                        col * k as usize + z
                    } else {
                        z * j as usize + col
                    };
                    (number(a[row * k as usize + z], ae) + 3) * number(w[at], we)
                })
                .sum();
            assert_eq!(got, finished(sum as f64 * scale[col], 5, -128, 127, false));
        }
    }
}

#[test]
fn pools_and_resizes() {
    let mut d = Draw(3);
    for _ in 0..100 {
        let e = elem(&mut d);
        let (rows, cols, ch) = (2 + d.below(5), 2 + d.below(5), 1 + d.below(5));
        let x = d.bytes((rows * cols * ch) as usize);
        let (size, stride, pad) = (
            [1 + d.below(3), 1 + d.below(3)],
            [1 + d.below(2), 1],
            [d.below(2), d.below(2)],
        );
        let (or, oc) = (1 + d.below(4), 1 + d.below(4));
        let xm = Map::dense(at(0, e), 1, rows, cols, ch);
        let ym = Map::dense(at(1, e), 1, or, oc, ch);
        let pool = MaxPool {
            x: xm,
            y: ym,
            window: Window {
                size,
                stride,
                dilation: [1, 1],
                pad,
            },
        };
        let y = run(
            &program(x.len(), (or * oc * ch) as usize, Command::MaxPool(pool)),
            &[],
            &x,
        );
        let pixel = |r: i64, c: i64, k: u32| {
            x[((r * i64::from(cols) + c) * i64::from(ch)) as usize + k as usize]
        };
        for (n, &got) in y.iter().enumerate() {
            let n = n as u32;
            let (i, j, k) = (n / (oc * ch), n / ch % oc, n % ch);
            let mut best = i64::from(e.least());
            for r in 0..size[0] {
                for s in 0..size[1] {
                    let xr = i64::from(i * stride[0] + r) - i64::from(pad[0]);
                    let xc = i64::from(j * stride[1] + s) - i64::from(pad[1]);
                    if (0..i64::from(rows)).contains(&xr) && (0..i64::from(cols)).contains(&xc) {
                        best = best.max(number(pixel(xr, xc, k), e));
                    }
                }
            }
            assert_eq!(number(got, e), best);
        }
        let mut c = Constants::new();
        let rs: Vec<i32> = (0..or).map(|_| d.below(rows) as i32).collect();
        let cs: Vec<i32> = (0..oc).map(|_| d.below(cols) as i32).collect();
        let resize = Resize {
            x: xm,
            y: ym,
            rows: c.ints(&rs),
            cols: c.ints(&cs),
        };
        let y = run(
            &program(x.len(), (or * oc * ch) as usize, Command::Resize(resize)),
            &c.finish(),
            &x,
        );
        for (n, &got) in y.iter().enumerate() {
            let n = n as u32;
            let (i, j, k) = ((n / (oc * ch)) as usize, (n / ch % oc) as usize, n % ch);
            assert_eq!(got, pixel(rs[i].into(), cs[j].into(), k));
        }
    }
}

/// Every pair of bytes: sums and products with ties among them, tables, and new scales.
#[test]
fn pairs_of_bytes() {
    let x: Vec<u8> = (0..=255).collect();
    for (e, up) in [(Elem::I8, false), (Elem::U8, true), (Elem::I8, true)] {
        let all = sizes(&[256, 256]);
        let mut a = View::dense(at(0, e), all);
        let mut b = a;
        (a.strides[4], a.strides[5]) = (1, 0);
        (b.strides[4], b.strides[5]) = (0, 1);
        let y = View::dense(at(1, e), all);
        let least = e.least();
        let limits = Limits {
            zero: least + 100,
            lo: least + 1,
            hi: least + 250,
            up,
        };
        let scales = [0.5, 0.25];
        let add = Add {
            sizes: all,
            a,
            b,
            y,
            zeros: [3, 7],
            scales,
            limits,
        };
        let sums = run(&program(256, 65536, Command::Add(add)), &[], &x);
        let mul = Mul {
            sizes: all,
            a,
            b,
            y,
            zeros: [3, 7],
            scale: 0.0078125,
            limits,
        };
        let products = run(&program(256, 65536, Command::Mul(mul)), &[], &x);
        for n in 0..65536 {
            let (p, q) = (number((n >> 8) as u8, e) - 3, number(n as u8, e) - 7);
            let end = |v| finished(v, limits.zero, limits.lo, limits.hi, up);
            assert_eq!(sums[n], end(p as f64 * 0.5 + q as f64 * 0.25));
            assert_eq!(products[n], end((p * q) as f64 * 0.0078125));
        }
        let one = sizes(&[256]);
        let (v, w) = (View::dense(at(0, e), one), View::dense(at(1, e), one));
        let mut c = Constants::new();
        let table: Vec<u8> = (0..=255u8).map(|i| i.reverse_bits()).collect();
        let lookup = Lookup {
            sizes: one,
            x: v,
            y: w,
            table: c.bytes(&table),
        };
        let out = run(&program(256, 256, Command::Lookup(lookup)), &c.finish(), &x);
        assert!(
            (0..256).all(|i| out[i] == table[(number(i as u8, e) - i64::from(least)) as usize])
        );
    }
}

#[test]
fn sums_copies_and_softmax() {
    let mut d = Draw(5);
    let x = d.bytes(4 * 6);
    let mut c = Constants::new();
    let sum = Sum {
        outer: sizes(&[4]),
        inner: sizes(&[6]),
        x: View {
            at: at(0, Elem::I8),
            strides: [0, 0, 0, 0, 0, 6],
        },
        x_inner: [0, 0, 0, 0, 0, 1],
        y: View::dense(at(1, Elem::I8), sizes(&[4])),
        x_zero: -2,
        finish: Finish {
            bias: None,
            scale: c.reals(&[1.0 / 6.0]),
            offset: None,
            zero: 1,
            lo: -128,
            hi: 127,
            up: false,
        },
    };
    let y = run(&program(24, 4, Command::Sum(sum)), &c.finish(), &x);
    for (i, &got) in y.iter().enumerate() {
        let total: i64 = x[6 * i..6 * i + 6]
            .iter()
            .map(|&b| number(b, Elem::I8) + 2)
            .sum();
        assert_eq!(
            got,
            finished(total as f64 * (1.0 / 6.0), 1, -128, 127, false)
        );
    }
    // A transposition.
    let copy = Copy {
        sizes: sizes(&[6, 4]),
        x: View {
            at: at(0, Elem::U8),
            strides: [0, 0, 0, 0, 1, 6],
        },
        y: View::dense(at(1, Elem::U8), sizes(&[6, 4])),
    };
    let y = run(&program(24, 24, Command::Copy(copy)), &[], &x);
    assert!((0..24).all(|n| y[n] == x[n % 4 * 6 + n / 4]));
    let mut c = Constants::new();
    let powers: Vec<i64> = (0..256).map(|k| (1i64 << 40) >> (k / 8)).collect();
    let softmax = Softmax {
        sizes: sizes(&[4, 6]),
        x: View::dense(at(0, Elem::I8), sizes(&[4, 6])),
        y: View::dense(at(1, Elem::U8), sizes(&[4, 6])),
        powers: c.longs(&powers),
        scale: 256.0,
        limits: Limits {
            zero: 0,
            lo: 0,
            hi: 255,
            up: false,
        },
    };
    let y = run(&program(24, 24, Command::Softmax(softmax)), &c.finish(), &x);
    for row in 0..4 {
        let v: Vec<i64> = x[6 * row..6 * row + 6]
            .iter()
            .map(|&b| number(b, Elem::I8))
            .collect();
        let most = *v.iter().max().unwrap();
        let total: i64 = v.iter().map(|q| powers[(most - q) as usize]).sum();
        for (k, q) in v.iter().enumerate() {
            let p = powers[(most - q) as usize] as f64 / total as f64 * 256.0;
            assert_eq!(y[6 * row + k], finished(p, 0, 0, 255, false));
        }
    }
}
