//! Copying a matrix B that comes at run time into panels of words.

use super::conv_integer::zero;
use super::gemm_integer_strip::Job;
use super::strip_plan::packed_before;
use crate::base::diag::Result;
use crate::base::dim::Dim;
use crate::ex;
use crate::kernel::LowerCx;
use crate::loops::ir::{Arg, BufId, ExprId, LoopKind, Ty};

impl Job<'_> {
    /// Copies a matrix of B, less its zero points, into panels.
    pub(super) fn pack(&self, cx: &mut LowerCx, base: ExprId) -> Result<()> {
        let (n, k) = (self.v.n.fixed().unwrap_or(1), self.v.k.fixed().unwrap_or(1));
        let from = cx.input(1)?.buf;
        let single = cx
            .opt(3)
            .is_none_or(|z| z.ty.elements().is(1) || z.ty.rank() == 0);
        let z = zero(cx, 3, None)?;
        let z = cx.b.let_(z);
        let group = self.form.group();
        let zipped = match single {
            true => self.zipped(cx, from, base),
            false => None,
        };
        for (at, p) in self.panels.iter().enumerate() {
            let before = packed_before(self.panels, at, self.pitch);
            let (count, groups) = (cx.b.i(p.count), cx.b.i(self.pitch / group));
            cx.for_(count, LoopKind::Seq, |cx, t| {
                let column = ex!(cx.b; (t * {cx.b.i(p.n)}) + {cx.b.i(p.first)});
                let column = cx.b.let_(column);
                let to = ex!(cx.b; (t * {cx.b.i(p.padded * self.pitch)}) + {cx.b.i(before)});
                let to = cx.b.let_(to);
                if let Some((rows, pairs)) = zipped {
                    let pairs = cx.b.i(pairs);
                    cx.for_(pairs, LoopKind::Seq, |cx, q| {
                        let (by, own) = (cx.b.i(2 * n), cx.b.i(p.padded * 2));
                        let from = ex!(cx.b; (q * by) + (column * {cx.b.i(2)}));
                        let (from, to) = (cx.b.let_(from), ex!(cx.b; to + (q * own)));
                        let to = cx.b.let_(to);
                        // What lies behind the last column is somebody else's, and no sum that is stored.
                        cx.for_(own, LoopKind::Lanes, |cx, i| {
                            let at = cx.b.add(from, i);
                            let x = cx.b.load(rows, at);
                            let x = cx.b.sub(x, z);
                            let at = cx.b.add(to, i);
                            cx.b.store(self.stored.buf, at, x);
                            Ok(())
                        })
                    })?;
                }
                let done = zipped.map_or(0, |z| z.1);
                let left = ex!(cx.b; groups - {cx.b.i(done)});
                cx.for_(left, LoopKind::Seq, |cx, q| {
                    let q = ex!(cx.b; q + {cx.b.i(done)});
                    let q = cx.b.let_(q);
                    let width = cx.b.i(p.padded);
                    cx.for_(width, LoopKind::Seq, |cx, j| {
                        for part in 0..group {
                            let row = ex!(cx.b; (q * {cx.b.i(group)}) + {cx.b.i(part)});
                            let c = cx.b.add(column, j);
                            let (n_e, k_e, own) = (cx.b.i(n), cx.b.i(k), cx.b.i(p.n));
                            let inside = cx.b.lt(row, k_e);
                            let here = cx.b.lt(j, own);
                            let inside = cx.b.and(inside, here);
                            let z = match single {
                                true => z,
                                false => {
                                    let last = cx.b.i(n - 1);
                                    let c = cx.b.min(c, last);
                                    zero(cx, 3, Some(c))?
                                }
                            };
                            let at = ex!(cx.b; (base + (row * n_e)) + c);
                            let x = cx.b.load_if(from, inside, at, z);
                            let x = cx.b.sub(x, z);
                            let none = cx.b.int(Ty::I32, 0);
                            let x = cx.b.select(inside, x, none);
                            let place = self.place(cx, j, part);
                            let row = cx.b.i(p.padded * group);
                            let at = ex!(cx.b; (to + (q * row)) + place);
                            cx.b.store(self.stored.buf, at, x);
                        }
                        Ok(())
                    })
                })
            })?;
        }
        Ok(())
    }
    /// Where part `part` of column `j` lies in a row of groups.
    fn place(&self, cx: &mut LowerCx, j: ExprId, part: i64) -> ExprId {
        let group = self.form.group();
        match self.form.apart {
            0 => ex!(cx.b; (j * {cx.b.i(group)}) + {cx.b.i(part)}),
            apart => {
                let lanes = cx.b.i(apart);
                let vector = cx.b.div(j, lanes);
                let inside = cx.b.rem(j, lanes);
                ex!(cx.b; ((vector * {cx.b.i(apart * group)}) + inside) + {cx.b.i(part * apart)})
            }
        }
    }
    /// Bytes of B whose rows take turns in pairs, as words of two rows lie in a panel, and how many pairs; a last row without another is left out. `None`: there
    /// is no tile for that, or words lie otherwise.
    fn zipped(&self, cx: &mut LowerCx, from: BufId, base: ExprId) -> Option<(BufId, i64)> {
        let (n, k) = (self.v.n.fixed()?, self.v.k.fixed()?);
        let tile = cx.machine.tile("byte_zip")?;
        let dtype = cx.b.func().bufs[from].dtype;
        if self.form.group() != 2 || self.form.apart != 0 || dtype.size() != 1 || k < 2 {
            return None;
        }
        // The last panel is read as if it were full.
        let beyond = self.panels.iter().map(|p| 2 * p.padded).max().unwrap_or(0);
        let rows = cx.scratch_per_thread("zipped", dtype, Dim::Fixed(n * k + beyond));
        let (pairs, none, n) = (cx.b.i(k / 2), cx.b.i(0), cx.b.i(n));
        let ptr = |buf, offset| Arg::Ptr { buf, offset };
        let args = vec![
            ptr(from, base),
            ptr(rows, none),
            Arg::Int(n),
            Arg::Int(pairs),
        ];
        cx.b.call(tile.callee(vec![]), args);
        Some((rows, k / 2))
    }
}
