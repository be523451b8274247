//! Whether a program stays in its memories. What passes here can be executed without any further question.
//!
//! Every index that a command can compute is bounded here, in 64 bits, before anything runs. Inputs and constants are never written.

use crate::format::*;

/// Work of one command at most: beyond it nothing real lies, and an executor would seem to hang.
const MOST_WORK: u64 = 1 << 42;

/// Checks all commands against the sizes of the constants, the arena and the ports.
pub fn check(p: &Program, cst_bytes: usize) -> Result<(), Malformed> {
    let c = Check { p, cst_bytes };
    for (i, command) in p.commands.iter().enumerate() {
        c.command(command)
            .map_err(|what| Malformed::Check(i, what))?;
    }
    Ok(())
}

type Done = Result<(), &'static str>;

fn need(good: bool, what: &'static str) -> Done {
    if good { Ok(()) } else { Err(what) }
}

struct Check<'a> {
    p: &'a Program,
    cst_bytes: usize,
}

impl Check<'_> {
    fn space(&self, s: Space) -> Result<u64, &'static str> {
        match s {
            Space::Const => Ok(self.cst_bytes as u64),
            Space::Arena => Ok(self.p.arena_bytes.into()),
            Space::Port(i) => match self.p.ports.get(i as usize) {
                Some(port) => Ok(port.bytes.into()),
                None => Err("there is no such port"),
            },
        }
    }

    /// `last`: the largest number of an element.
    fn place(&self, at: &Place, last: u64, write: bool) -> Done {
        let size = u64::from(at.elem.bytes());
        let end = (last.checked_add(1))
            .and_then(|n| n.checked_mul(size))
            .and_then(|n| n.checked_add(at.offset.into()));
        need(u64::from(at.offset) % size == 0, "an offset is not aligned")?;
        let all = self.space(at.space)?;
        need(end.is_some_and(|e| e <= all), "a tensor leaves its memory")?;
        let open = match at.space {
            Space::Const => false,
            Space::Arena => true,
            Space::Port(i) => self.p.ports.get(i as usize).is_some_and(|p| p.out),
        };
        need(!write || open, "it writes what can't be written")
    }

    fn map(&self, m: &Map, write: bool) -> Done {
        let sides = [m.batch, m.rows, m.cols, m.channels];
        need(
            sides.iter().all(|&n| n > 0) && m.pitch >= m.channels,
            "a map has no size",
        )?;
        need(m.at.elem.is_byte(), "a map is not of bytes")?;
        let pixels = [m.batch, m.rows, m.cols]
            .iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d.into()));
        let last = pixels
            .and_then(|n| (n - 1).checked_mul(m.pitch.into()))
            .and_then(|n| n.checked_add(u64::from(m.channels) - 1));
        self.place(&m.at, last.ok_or("a map is too large")?, write)
    }

    fn view(&self, v: &View, sizes: &[u32], bytes: bool, write: bool) -> Done {
        need(!bytes || v.at.elem.is_byte(), "a tensor is not of bytes")?;
        let (mut least, mut most) = (0i64, 0i64);
        for (&n, &s) in sizes.iter().zip(&v.strides) {
            need(n > 0, "a tensor has no size")?;
            let reach = (i64::from(n) - 1) * i64::from(s);
            least += reach.min(0);
            most += reach.max(0);
        }
        need(least == 0, "a tensor begins before its place")?;
        self.place(&v.at, most.cast_unsigned(), write)
    }

    fn constants(&self, offset: u32, count: u32, size: u32) -> Done {
        let end = u64::from(offset) + u64::from(count) * u64::from(size);
        need(
            offset.is_multiple_of(size) && end <= self.cst_bytes as u64,
            "constants leave their memory",
        )
    }

    fn per_channel(&self, offset: u32, count: u32, size: u32, channels: u32) -> Done {
        need(
            count == 1 || count == channels,
            "constants are not as many as channels",
        )?;
        self.constants(offset, count, size)
    }

    fn ints(&self, i: &Option<Ints>, channels: u32) -> Done {
        match i {
            Some(i) => self.per_channel(i.offset, i.count, 4, channels),
            None => Ok(()),
        }
    }

    fn limits(&self, lo: i32, hi: i32, to: Elem) -> Done {
        let least = to.least();
        need(
            least <= lo && lo <= hi && hi <= least + 255,
            "limits are not those of a byte",
        )
    }

    fn finish(&self, f: &Finish, channels: u32, to: Elem) -> Done {
        self.ints(&f.bias, channels)?;
        self.per_channel(f.scale.offset, f.scale.count, 8, channels)?;
        if let Some(o) = &f.offset {
            self.per_channel(o.offset, o.count, 8, channels)?;
        }
        self.limits(f.lo, f.hi, to)
    }

    fn window(&self, w: &Window) -> Done {
        let all = [w.size, w.stride, w.dilation].concat();
        need(
            all.iter().all(|&n| n > 0 && n < 1 << 20),
            "a window has no size",
        )?;
        need(w.pad.iter().all(|&n| n < 1 << 20), "padding is too large")
    }

    fn work(&self, factors: &[u32]) -> Done {
        let all = factors
            .iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d.into()));
        need(
            all.is_some_and(|n| n <= MOST_WORK),
            "there is too much to do",
        )
    }

    fn command(&self, c: &Command) -> Done {
        match c {
            Command::Conv(c) => {
                self.map(&c.x, false)?;
                self.map(&c.y, true)?;
                self.window(&c.window)?;
                let g = c.groups;
                need(
                    g > 0 && c.x.channels % g == 0 && c.y.channels % g == 0,
                    "groups don't divide the channels",
                )?;
                need(c.x.batch == c.y.batch, "batches differ")?;
                need(
                    c.w.space == Space::Const && c.w.elem.is_byte(),
                    "weights are not constant bytes",
                )?;
                let sides = [
                    c.y.channels,
                    c.window.size[0],
                    c.window.size[1],
                    c.x.channels / g,
                ];
                self.work(&sides)?;
                self.work(&[&sides[..], &[c.y.batch, c.y.rows, c.y.cols]].concat())?;
                let last = sides.iter().map(|&n| u64::from(n)).product::<u64>() - 1;
                self.place(&c.w, last, false)?;
                self.ints(&c.w_zero, c.y.channels)?;
                self.finish(&c.finish, c.y.channels, c.y.at.elem)
            }
            Command::Gemm(c) => {
                let [b, i, k, j] = c.sizes;
                self.view(&c.a, &[b, i, k], true, false)?;
                self.view(&c.w, &[b, k, j], true, false)?;
                self.view(&c.y, &[b, i, j], true, true)?;
                self.work(&c.sizes)?;
                self.ints(&c.w_zero, j)?;
                self.finish(&c.finish, j, c.y.at.elem)
            }
            Command::MaxPool(c) => {
                self.map(&c.x, false)?;
                self.map(&c.y, true)?;
                self.window(&c.window)?;
                need(c.x.at.elem == c.y.at.elem, "types differ")?;
                need(
                    (c.x.batch, c.x.channels) == (c.y.batch, c.y.channels),
                    "maps don't fit",
                )?;
                self.work(&[
                    c.y.batch,
                    c.y.rows,
                    c.y.cols,
                    c.y.channels,
                    c.window.size[0],
                    c.window.size[1],
                ])
            }
            Command::Sum(c) => {
                let mut both = c.x;
                need(c.x.at.elem.is_byte(), "a tensor is not of bytes")?;
                self.view(&c.x, &c.outer, true, false)?;
                both.strides = c.x_inner;
                self.view(&both, &c.inner, true, false)?;
                let reach = |n: &[u32], s: &[i32]| -> i64 {
                    n.iter()
                        .zip(s)
                        .map(|(&n, &s)| (i64::from(n) - 1) * i64::from(s))
                        .sum()
                };
                let last = reach(&c.outer, &c.x.strides) + reach(&c.inner, &c.x_inner);
                self.place(&c.x.at, last.cast_unsigned(), false)?;
                self.view(&c.y, &c.outer, true, true)?;
                self.work(&[c.outer, c.inner].concat())?;
                self.finish(&c.finish, 1, c.y.at.elem)
            }
            Command::Add(c) => self.pointwise(&c.sizes, &[c.a, c.b], &c.y, &c.limits),
            Command::Mul(c) => self.pointwise(&c.sizes, &[c.a, c.b], &c.y, &c.limits),
            Command::Requantize(c) => {
                need(
                    c.x.at.elem.is_byte() || c.x.at.elem == Elem::I32,
                    "its input is not of whole numbers",
                )?;
                self.view(&c.x, &c.sizes, false, false)?;
                for v in [c.scale, c.offset].iter().flatten() {
                    need(v.at.elem == Elem::F64, "scales are not real numbers")?;
                    self.view(v, &c.sizes, false, false)?;
                }
                self.pointwise(&c.sizes, &[], &c.y, &c.limits)
            }
            Command::Lookup(c) => {
                self.work(&c.sizes)?;
                self.view(&c.x, &c.sizes, true, false)?;
                self.view(&c.y, &c.sizes, true, true)?;
                self.constants(c.table, 256, 1)
            }
            Command::Softmax(c) => {
                self.constants(c.powers, 256, 8)?;
                self.pointwise(&c.sizes, &[c.x], &c.y, &c.limits)
            }
            Command::Copy(c) => {
                need(c.x.at.elem == c.y.at.elem, "types differ")?;
                self.work(&c.sizes)?;
                self.view(&c.x, &c.sizes, false, false)?;
                self.view(&c.y, &c.sizes, false, true)
            }
            Command::Fill(c) => {
                self.work(&c.sizes)?;
                self.limits(c.value, c.value, c.y.at.elem)?;
                self.view(&c.y, &c.sizes, true, true)
            }
            Command::Resize(c) => {
                self.map(&c.x, false)?;
                self.map(&c.y, true)?;
                need(c.x.at.elem == c.y.at.elem, "types differ")?;
                need(
                    (c.x.batch, c.x.channels) == (c.y.batch, c.y.channels),
                    "maps don't fit",
                )?;
                need(
                    (c.rows.count, c.cols.count) == (c.y.rows, c.y.cols),
                    "a row or column has no source",
                )?;
                self.constants(c.rows.offset, c.rows.count, 4)?;
                self.constants(c.cols.offset, c.cols.count, 4)
            }
        }
    }

    fn pointwise(&self, sizes: &[u32; AXES], x: &[View], y: &View, limits: &Limits) -> Done {
        self.work(sizes)?;
        for v in x {
            self.view(v, sizes, true, false)?;
        }
        self.view(y, sizes, true, true)?;
        self.limits(limits.lo, limits.hi, y.at.elem)
    }
}
