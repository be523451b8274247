//! How a product is cut into strips: the width of panels, the rows of tiles, packing, and calls of `gemm_strip`.

use super::form::Form;
use super::narrow_weights::{Grid, needs};
use super::pack::RowTiles;
use super::strip::{Numbers, Strip};
use super::tail::Found;
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::elements;
use crate::base::dtype::DType;
use crate::base::tensor::Tensor;
use crate::kernel::{LowerCx, Query, Tile, Vector};
use crate::loops::ir::{Arg, BufId, ExprId};

/// Panels of equal width, side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Panels {
    /// First column.
    pub first: i64,
    /// How many.
    pub count: i64,
    /// Columns of each.
    pub n: i64,
    /// The same in whole vectors: from one k of a packed panel to the next.
    pub padded: i64,
    /// Rows of a tile at most.
    pub m: i64,
    /// Chains of a sum.
    pub split: i64,
}

/// Products over more rows use each panel long enough for its way not to matter.
const FEW_ROWS: i64 = 256;

/// Vectors of a panel at most.
const MOST_VECTORS: i64 = 8;
/// Cycles from a multiplication to the next that needs its sum.
const LATENCY: f64 = 4.0;

/// Registers beside sums where bytes are picked: bytes, their order, products, and ones.
const PICKED_REGISTERS: i64 = 4;

/// A tile's start and end (pointers, bias, stores) in cycles for each k, at sums of some 64.
const EACH_TILE: f64 = 0.3;

/// Registers that a tile holds while it sums (the template's own count, on the cautious side).
fn registers(v: &Vector, m: i64, cols: i64, split: i64) -> i64 {
    let acc = m * cols * split;
    if v.by_lane {
        acc + m + cols
    } else {
        acc + m.min(cols) + 1
    }
}

/// Cycles for one k of a tile: two multiplications and two loads a cycle, and no sum faster than its own latency.
fn cycles(v: &Vector, m: i64, cols: i64, split: i64) -> f64 {
    let fma = (m * cols) as f64 / 2.0;
    let a = if v.by_lane { m as f64 / 4.0 } else { m as f64 };
    let loads = (a + cols as f64) / 2.0;
    fma.max(loads).max(LATENCY / split as f64)
}

/// Registers and cycles for one k of a tile of so many rows and vectors in so many chains.
type Cost<'a> = &'a dyn Fn(i64, i64, i64) -> (i64, f64);

/// The same of a machine's vectors.
type CostOf<'a> = &'a dyn Fn(&Vector, i64, i64, i64) -> (i64, f64);

/// The way of weights to the registers.
#[derive(Clone, Copy)]
pub struct Way {
    /// Rows of B that a tile goes through.
    pub k: i64,
    /// Bytes of an element of B.
    pub element: i64,
    /// Bytes of the first cache.
    pub l1: i64,
}

impl Way {
    /// Cycles in which 32 bytes come from the second cache while multiplications go on: Zen 4 takes 2.3. Machines with wider vectors
    /// either have wider ways or take two cycles for each.
    const CYCLES: f64 = 2.3;

    /// The way of so many rows of B.
    pub fn of(cx: &LowerCx, k: i64, element: DType) -> Way {
        Way {
            k,
            element: element.size() as i64,
            l1: i64::from(cx.machine.l1d.max(16 << 10)),
        }
    }

    /// Cycles for one k of so many vectors. What stays in the first cache from tile to tile costs no more than its loads.
    fn cycles(&self, v: &Vector, cols: i64) -> f64 {
        match cols * v.lanes * self.element * self.k > self.l1 {
            true => cols as f64 * Self::CYCLES * (v.lanes * self.element).min(32) as f64 / 32.0,
            false => 0.0,
        }
    }
}

/// The best rows for a panel of so many vectors over `rows` rows, with cycles for one k of all.
fn best_rows(v: &Vector, cols: i64, rows: Option<i64>, tile_cost: Cost) -> Option<(i64, i64, f64)> {
    let total = rows.unwrap_or(240).max(1);
    let mut best: Option<(i64, i64, f64)> = None;
    for m in 1..=total.min(v.rows) {
        // One row or two are chains that wait for themselves: several side by side.
        let splits: &[i64] = if m * cols < 8 { &[1, 2, 4] } else { &[1] };
        for &split in splits {
            if tile_cost(m, cols, split).0 > v.registers {
                continue;
            }
            let cost: f64 = RowTiles::of(total, m)
                .groups()
                .iter()
                .map(|&(_, count, size)| {
                    count as f64 * (tile_cost(size, cols, split).1 + EACH_TILE)
                })
                .sum();
            if best.is_none_or(|b| cost < b.2 - 1e-9) {
                best = Some((m, split, cost));
            }
        }
    }
    best
}

/// Cuts `n` columns into panels for products over `rows` rows (`None`: not known).
pub fn panels(v: &Vector, n: i64, rows: Option<i64>) -> Vec<Panels> {
    cut(v, n, rows, &|m, cols, split| strip_cost(v, m, cols, split))
}

/// The same where a panel has so many vectors at most.
pub fn panels_up_to(v: &Vector, n: i64, rows: Option<i64>, most: i64) -> Vec<Panels> {
    cut(v, n, rows, &|m, cols, split| match cols <= most {
        true => strip_cost(v, m, cols, split),
        false => (i64::MAX, f64::INFINITY),
    })
}

/// Registers and cycles for one k of a tile of a machine's own vectors.
fn strip_cost(v: &Vector, m: i64, cols: i64, split: i64) -> (i64, f64) {
    (registers(v, m, cols, split), cycles(v, m, cols, split))
}

/// The same where columns that fill half a vector at most have a tile of half the lanes, which takes half the time.
pub fn panels_with_halves(v: &Vector, n: i64, rows: Option<i64>) -> Vec<Panels> {
    cut_halves(v, n, rows, &strip_cost)
}

fn cut_halves(v: &Vector, n: i64, rows: Option<i64>, cost: CostOf) -> Vec<Panels> {
    /// Registers of machines with half the lanes.
    const REGISTERS: i64 = 16;
    let half = Vector {
        lanes: v.lanes / 2,
        registers: REGISTERS,
        ..*v
    };
    let whole = |m, cols, split| cost(v, m, cols, split);
    let of_half = |m, cols, split| {
        let (held, cycles) = cost(&half, m, cols, split);
        (held, cycles / 2.0)
    };
    cut_with(v, n, rows, &whole, Some((&half, &of_half)))
}

/// The same for weights that come a way.
fn panels_on_a_way(v: &Vector, n: i64, rows: Option<i64>, halves: bool, way: Way) -> Vec<Panels> {
    let cost = |v: &Vector, m: i64, cols: i64, split: i64| {
        let (held, cycles) = strip_cost(v, m, cols, split);
        (held, cycles.max(way.cycles(v, cols)))
    };
    match halves {
        true => cut_halves(v, n, rows, &cost),
        false => cut(v, n, rows, &|m, cols, split| cost(v, m, cols, split)),
    }
}

/// The same for narrow weights.
pub fn narrow_panels(v: &Vector, n: i64, rows: Option<i64>, grid: &Grid) -> Vec<Panels> {
    let cost = |m: i64, cols: i64, split: i64| {
        let (held, cycles) = needs(v, grid, m, cols);
        (m * cols * split + held, cycles.max(LATENCY / split as f64))
    };
    cut(v, n, rows, &cost)
}

/// The same where bytes are picked: of three instructions for each vector of four products none waits for another, and a row is picked by one more.
pub fn picked_panels(v: &Vector, n: i64, rows: Option<i64>) -> Vec<Panels> {
    let cost = |m: i64, cols: i64, split: i64| {
        // Wide panels find partners for fewer of their elements.
        let alone = 1.0 + 0.04 * (cols - 1) as f64;
        let cycles = (3 * m * cols + m) as f64 / 3.0 / 4.0 * alone;
        match split {
            1 => (m * cols + PICKED_REGISTERS, cycles.max(0.5)),
            // Sums are chains of additions, which take a cycle.
            _ => (i64::MAX, cycles),
        }
    };
    cut(v, n, rows, &cost)
}

/// The same where matrices are multiplied: rows come in pairs, which take an instruction to be brought together, and each column is one of two.
pub fn matrix_panels(v: &Vector, n: i64, rows: Option<i64>) -> Vec<Panels> {
    let cost = |m: i64, cols: i64, split: i64| {
        let pairs = (m + 1) / 2;
        let sums = 2 * pairs * cols;
        // Pairs, what one comes from, and two vectors of columns.
        let held = sums * split + pairs + 3;
        // For eight k: two instructions on vectors and two loads a cycle.
        let cycles = (sums + m / 2) as f64 / 2.0;
        let loads = (2 * cols + m) as f64 / 2.0;
        (held, cycles.max(loads).max(LATENCY / split as f64))
    };
    let v = Vector {
        rows: v.rows.min(8),
        ..*v
    };
    cut(&v, n, rows, &cost)
}

/// How many elements eights have over those of fours that hold so many.
pub fn eights(n: i64) -> f64 {
    let whole = |group: i64| ((n + group - 1) / group * group).max(1) as f64;
    whole(8) / whole(4)
}

/// Panels for operands of a form; `halves`: there are tiles of half the lanes. Only floats mind the way: whole numbers are a quarter as long.
pub fn panels_of(
    v: &Vector,
    numbers: Numbers,
    n: i64,
    rows: Option<i64>,
    halves: bool,
    way: Way,
) -> Vec<Panels> {
    match numbers {
        Numbers::Floats => panels_on_a_way(v, n, rows, halves, way),
        Numbers::Picked => picked_panels(v, n, rows),
        Numbers::Matrices => matrix_panels(v, n, rows),
        Numbers::Bytes if halves => panels_with_halves(v, n, rows),
        _ => panels(v, n, rows),
    }
}

fn cut(v: &Vector, n: i64, rows: Option<i64>, cost_of: Cost) -> Vec<Panels> {
    cut_with(v, n, rows, cost_of, None)
}

/// `half`: what does columns that are left and fill half a vector at most.
fn cut_with(
    v: &Vector,
    n: i64,
    rows: Option<i64>,
    cost_of: Cost,
    half: Option<(&Vector, Cost)>,
) -> Vec<Panels> {
    // For each width the whole product's cost, the rest being a narrower panel.
    let mut best: Option<(f64, Vec<Panels>)> = None;
    for cols in 1..=MOST_VECTORS {
        let width = cols * v.lanes;
        let Some((m, split, cost)) = best_rows(v, cols, rows, cost_of) else {
            continue;
        };
        let whole = n / width;
        let rest = n - whole * width;
        let mut list = vec![];
        let mut total = whole as f64 * cost;
        if whole > 0 {
            list.push(Panels {
                first: 0,
                count: whole,
                n: width,
                padded: width,
                m,
                split,
            });
        }
        if rest > 0 {
            let own = half.filter(|(h, _)| rest <= h.lanes);
            let (v, cost_of) = own.unwrap_or((v, cost_of));
            let cols = (rest + v.lanes - 1) / v.lanes;
            let Some((m, split, cost)) = best_rows(v, cols, rows, cost_of) else {
                continue;
            };
            total += cost;
            list.push(Panels {
                first: whole * width,
                count: 1,
                n: rest,
                padded: cols * v.lanes,
                m,
                split,
            });
        }
        // Panels of like cost: the wider one reads A less often.
        if best.as_ref().is_none_or(|b| total < b.0 * 0.995) {
            best = Some((total, list));
        }
    }
    best.map(|b| b.1).unwrap_or_default()
}

/// Constant B as panels, one behind the other: `[panel][k][padded]`, zeros behind the last column. `at`: element (k, column).
pub fn pack(panels: &[Panels], k: i64, at: impl Fn(i64, i64) -> f32) -> Vec<f32> {
    let mut out = vec![];
    for p in panels {
        for t in 0..p.count {
            let first = p.first + t * p.n;
            for kk in 0..k {
                out.extend((0..p.padded).map(|j| if j < p.n { at(kk, first + j) } else { 0.0 }));
            }
        }
    }
    out
}

/// Elements of packed B before a group of panels.
pub fn packed_before(panels: &[Panels], group: usize, k: i64) -> i64 {
    panels[..group].iter().map(|p| p.count * p.padded * k).sum()
}

/// Where a matrix is read or written.
#[derive(Clone, Copy)]
pub struct At {
    /// Which buffer.
    pub buf: BufId,
    /// First element.
    pub at: ExprId,
    /// From one row to the next.
    pub row: ExprId,
}

/// What a call needs beside its strip.
pub struct Call {
    /// Rows of A.
    pub a: At,
    /// B; `row` from one k to the next.
    pub b: At,
    /// Results.
    pub c: At,
    /// Scales and zeros of narrow weights.
    pub scales: Vec<At>,
    /// The tail's operands.
    pub operands: Vec<At>,
    /// Length of a segment, in groups.
    pub k: ExprId,
    /// From one segment to the next, in elements.
    pub seg: ExprId,
    /// Number of tiles.
    pub tiles: ExprId,
}

/// Writes a call.
pub fn call(cx: &mut LowerCx, tile: &Tile, strip: &Strip, c: Call) {
    // A panel is as long as all its k.
    let panel = cx.b.as_i64(c.k).unwrap_or(0) * strip.segs * strip.b_row;
    call_before(cx, tile, strip, c, panel);
}

/// The same where the next panel lies so many elements behind, in groups.
pub fn call_before(cx: &mut LowerCx, tile: &Tile, strip: &Strip, c: Call, panel: i64) {
    let ptr = |buf, offset| Arg::Ptr { buf, offset };
    let mut args = vec![
        ptr(c.a.buf, c.a.at),
        ptr(c.b.buf, c.b.at),
        ptr(c.c.buf, c.c.at),
    ];
    let more = c.scales.iter().chain(&c.operands);
    args.extend(more.map(|o| ptr(o.buf, o.at)));
    let ahead = cx.b.i(match strip.ahead {
        true => panel,
        false => 0,
    });
    args.extend([c.a.row, c.c.row, c.k, c.seg, c.b.row, c.tiles, ahead].map(Arg::Int));
    args.extend(c.operands.iter().map(|o| Arg::Int(o.row)));
    cx.b.call(strip.callee(tile), args);
}

impl Found {
    /// Operands and output of the block that begins at an index of the output.
    pub fn block(&self, cx: &mut LowerCx, index: &[ExprId]) -> (Vec<At>, At) {
        let mut place = |p: &super::tail::Place| At {
            buf: p.buf,
            at: self.at(&mut cx.b, p, index),
            row: p.row,
        };
        let operands = self.operands.iter().map(&mut place).collect();
        (operands, place(&self.out))
    }
}

/// Bytes of weights, where they are known and so the same in every run.
pub fn weight_bytes(q: &Query) -> f64 {
    match q.inputs.get(1) {
        Some(Some((t, Some(_)))) => 4.0 * elements(&t.shape).fixed().unwrap_or(0) as f64,
        _ => 0.0,
    }
}

/// The strip tile of the target, with what it can count on.
pub fn machine(cx: &LowerCx) -> Result<(&'static Tile, Vector)> {
    cx.machine
        .tile("gemm_strip")
        .zip(cx.machine.vector)
        .ok_or_else(|| Diagnostic::internal("the target has no gemm_strip"))
}

/// The strip tile for operands of a form, with what it can count on.
pub fn machine_for(cx: &LowerCx, form: &Form) -> Result<(&'static Tile, Vector)> {
    let tile = cx.machine.tile(form.numbers.contract());
    let (tile, vector) = tile
        .zip(cx.machine.vector)
        .ok_or_else(|| Diagnostic::internal("the target has no tile for a form"))?;
    Ok((tile, form.vector(&vector)))
}

/// The same for half the lanes, where there is one: of floats and of bytes.
pub fn half_for(cx: &LowerCx, form: &Form) -> Option<&'static Tile> {
    let has = matches!(form.numbers, Numbers::Floats | Numbers::Bytes);
    (cx.machine.half_tile(form.numbers.contract())).filter(|_| has)
}

/// Whether a product's packed weights are worth fetching ahead: they come from beyond the second cache, and few rows pass
/// under them.
pub fn from_afar(cx: &LowerCx, rows: Option<i64>, weights: i64) -> bool {
    rows.is_some_and(|r| (2..=FEW_ROWS).contains(&r))
        && weights * 4 >= i64::from(cx.machine.l2.max(128 << 10)) / 16
}

/// Packed weights as a constant of the layer.
pub fn constant(cx: &mut LowerCx, values: Vec<f32>) -> BufId {
    cx.constant("panels", Tensor::f32(&[values.len() as i64], &values))
}

/// How the weights of a product are packed: halves stay halves where the machine widens them while it loads.
pub fn weight_type(cx: &LowerCx, stored: DType) -> DType {
    let halves = cx.machine.vector.is_some_and(|v| v.halves);
    match stored {
        DType::F16 | DType::BF16 if halves => stored,
        _ => DType::F32,
    }
}

/// Packed weights of a type as a constant of the layer.
pub fn constant_of(cx: &mut LowerCx, d: DType, values: Vec<f32>) -> Result<BufId> {
    let half = |bits: fn(f32) -> u16| -> Vec<u8> {
        values.iter().flat_map(|&v| bits(v).to_le_bytes()).collect()
    };
    let data = match d {
        DType::F16 => half(|v| half::f16::from_f32(v).to_bits()),
        DType::BF16 => half(|v| half::bf16::from_f32(v).to_bits()),
        _ => return Ok(constant(cx, values)),
    };
    let t = Tensor::new(d, vec![values.len() as i64], data.into())?;
    Ok(cx.constant("panels", t))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVX2: Vector = Vector {
        lanes: 8,
        registers: 16,
        by_lane: false,
        rounds: true,
        fused: true,
        halves: true,
        bytes: true,
        rows: 16,
    };

    #[test]
    fn tiles_suit_the_shape() {
        let of = |n, rows| -> Vec<(i64, i64, i64)> {
            panels(&AVX2, n, Some(rows))
                .iter()
                .map(|p| (p.count, p.n, p.m))
                .collect()
        };
        // One panel of 24, never 16 and 8.
        assert_eq!(of(24, 3136), [(1, 24, 4)]);
        assert_eq!(of(96, 12544).len(), 1);
        // A vector times a matrix: many accumulators in a row.
        let p = panels(&AVX2, 1000, Some(1));
        assert!(p.iter().all(|p| p.m == 1) && p[0].n >= 64, "{p:?}");
        for p in panels(&AVX2, 28, Some(1)) {
            assert!(p.split > 1, "{p:?}");
        }
    }

    #[test]
    fn half_a_vector_of_columns_has_a_tile() {
        let wide = Vector {
            lanes: 16,
            registers: 32,
            rows: 30,
            ..AVX2
        };
        let of = |n| -> Vec<(i64, i64, i64)> {
            let all = panels_with_halves(&wide, n, Some(3136));
            all.iter().map(|p| (p.first, p.n, p.padded)).collect()
        };
        assert_eq!(of(8), [(0, 8, 8)]);
        assert_eq!(of(5), [(0, 5, 8)]);
        assert_eq!(of(24), [(0, 16, 16), (16, 8, 8)]);
        // More than half a vector is a whole one.
        assert_eq!(of(12), [(0, 12, 16)]);
        // Sums of the smaller machine's registers.
        let p = panels_with_halves(&wide, 8, Some(3136))[0];
        assert!(registers(&AVX2, p.m, 1, p.split) <= AVX2.registers, "{p:?}");
    }
}
