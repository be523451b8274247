//! Floor 3: what a kernel computes (contract), how (kernel row, tile), and the context in which loops are written.
//!
//! An operator or a kernel row writes its loops through a [`LowerCx`]. Reading and storing go through it, so that the
//! plan can fold a chain of pointwise work into the store (a *tail*) without the operator knowing.

use crate::base::attr::Attrs;
use crate::base::costs::{Costs, Work};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, SymId, Symbols};
use crate::base::dtype::DType;
use crate::base::effort::Effort;
use crate::base::tensor::Tensor;
use crate::base::types::TensorType;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, BufId, Callee, ExprId, Func, LoopKind, Stmt, Ty};
use crate::loops::lane_loop::LaneLoop;

/// An input or output of what is being lowered.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Its type.
    pub ty: TensorType,
    /// The buffer parameter that holds it, dense and row-major.
    pub buf: BufId,
    /// Its value, where it is a constant.
    pub konst: Option<Tensor>,
}

/// A buffer that a lowering asked for beside its operands.
#[derive(Clone, Debug)]
pub enum Extra {
    /// Memory of its own while it runs; contents undefined at the start.
    Scratch,
    /// A constant, such as packed weights.
    Const(Tensor),
}

/// Called in place of a store: (builder, output number, index of every axis, value).
pub type StoreHook<'a> = &'a mut dyn FnMut(&mut Builder, usize, &[ExprId], ExprId);

/// Bytes of a model's weights, those of all layers together.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Weights {
    /// Of whole numbers.
    pub whole: i64,
    /// Those with windows of 3 x 3, if Winograd's algorithm had them transformed by F(4x4).
    pub transformed: i64,
}

/// Where an operator or kernel row writes its loops.
pub struct LowerCx<'a> {
    /// The function under construction.
    pub b: Builder,
    /// Attributes of the node, or of the contract's query.
    pub attrs: &'a Attrs,
    /// Inputs; `None` where an optional one is absent.
    pub inputs: Vec<Option<Operand>>,
    /// Outputs; `None` where nobody wants it.
    pub outputs: Vec<Option<Operand>>,
    /// Symbols and their bounds.
    pub symbols: &'a Symbols,
    /// Data-dependent sizes which this node defines, in the order in which inference made them.
    pub syms: &'a [SymId],
    /// What the target offers.
    pub machine: &'a Machine,
    /// How much is done for speed.
    pub effort: Effort,
    /// Threads that share the work, so that loops can be written in as many even parts.
    pub threads: i64,
    /// What the weights of all layers take.
    pub weights: Weights,
    /// Buffers asked for, with their parameters.
    pub extras: Vec<(BufId, Extra)>,
    /// Takes stores over, where a tail follows.
    pub store_hook: Option<StoreHook<'a>>,
}

impl<'a> LowerCx<'a> {
    /// Input `i`, which must be there.
    pub fn input(&self, i: usize) -> Result<&Operand> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(|| {
            Diagnostic::internal(format!("lowering needs input {i}, which is absent"))
        })
    }
    /// Input `i`, if given.
    pub fn opt(&self, i: usize) -> Option<&Operand> {
        self.inputs.get(i).and_then(Option::as_ref)
    }
    /// Output `o`, if wanted.
    pub fn output(&self, o: usize) -> Option<&Operand> {
        self.outputs.get(o).and_then(Option::as_ref)
    }
    /// Shape of input `i`.
    pub fn in_shape(&self, i: usize) -> Result<Vec<Dim>> {
        Ok(self.input(i)?.ty.shape.clone())
    }
    /// Shape of output 0, or of the first that is wanted.
    pub fn out_shape(&self) -> Result<Vec<Dim>> {
        self.outputs
            .iter()
            .flatten()
            .next()
            .map(|o| o.ty.shape.clone())
            .ok_or_else(|| Diagnostic::internal("a node without outputs"))
    }
    /// The element of input `i` at `index` (one per axis).
    pub fn load(&mut self, i: usize, index: &[ExprId]) -> Result<ExprId> {
        let (buf, shape) = {
            let o = self.input(i)?;
            (o.buf, o.ty.shape.clone())
        };
        let at = self.b.offset(&shape, index);
        Ok(self.b.load(buf, at))
    }
    /// The same where `cond` holds, else `default`. The index may be out of range where it does not.
    pub fn load_if(
        &mut self,
        i: usize,
        cond: ExprId,
        index: &[ExprId],
        default: ExprId,
    ) -> Result<ExprId> {
        let (buf, shape) = {
            let o = self.input(i)?;
            (o.buf, o.ty.shape.clone())
        };
        let at = self.b.offset(&shape, index);
        Ok(self.b.load_if(buf, cond, at, default))
    }
    /// Element number `at` of input `i` in row-major order.
    pub fn load_flat(&mut self, i: usize, at: ExprId) -> Result<ExprId> {
        let buf = self.input(i)?.buf;
        Ok(self.b.load(buf, at))
    }
    /// The element of input `i` that belongs to `index` of a shape to which it broadcasts.
    pub fn load_broadcast(&mut self, i: usize, index: &[ExprId]) -> Result<ExprId> {
        let o = self.input(i)?.clone();
        Ok(broadcast_load(&mut self.b, o.buf, &o.ty.shape, index))
    }
    /// Stores element `index` of output `o`. Every element of a tail-taking output is stored exactly once, finished.
    pub fn store(&mut self, o: usize, index: &[ExprId], value: ExprId) {
        let Some((buf, shape)) = self.output(o).map(|t| (t.buf, t.ty.shape.clone())) else {
            return;
        };
        if let Some(hook) = &mut self.store_hook {
            return hook(&mut self.b, o, index, value);
        }
        let at = self.b.offset(&shape, index);
        self.b.store(buf, at, value);
    }
    /// Stores element number `at` of output `o` in row-major order. Not for operators that take tails.
    pub fn store_flat(&mut self, o: usize, at: ExprId, value: ExprId) {
        if let Some(buf) = self.output(o).map(|t| t.buf) {
            self.b.store(buf, at, value);
        }
    }
    /// Loops over every element of a shape, the innermost of kind `inner` (all of them where that is `Parallel`); `f` gets the
    /// index of every axis.
    pub fn each(
        &mut self,
        shape: &[Dim],
        inner: LoopKind,
        f: impl FnOnce(&mut Self, &[ExprId]) -> Result<()>,
    ) -> Result<()> {
        let outer = match inner {
            LoopKind::Parallel => inner,
            _ => LoopKind::Seq,
        };
        self.nest(shape, outer, inner, f)
    }
    /// Like [`LowerCx::each`] in lanes, where threads may share all loops: each element is stored once, and nothing is read that is stored.
    pub fn each_apart(
        &mut self,
        shape: &[Dim],
        f: impl FnOnce(&mut Self, &[ExprId]) -> Result<()>,
    ) -> Result<()> {
        self.nest(shape, LoopKind::Parallel, LoopKind::Lanes, f)
    }
    fn nest(
        &mut self,
        shape: &[Dim],
        outer: LoopKind,
        inner: LoopKind,
        f: impl FnOnce(&mut Self, &[ExprId]) -> Result<()>,
    ) -> Result<()> {
        let mut index = Vec::with_capacity(shape.len());
        let mut vars = Vec::with_capacity(shape.len());
        for d in shape {
            let extent = self.b.dim(d);
            let (var, i) = self.b.loop_var();
            self.b.open_block();
            vars.push((var, extent));
            index.push(i);
        }
        let r = f(self, &index);
        for (depth, (var, extent)) in vars.into_iter().enumerate().rev() {
            let body = self.b.close_block();
            let last = depth + 1 == shape.len();
            let kind = if last { inner } else { outer };
            self.b.stmt(Stmt::For {
                var,
                extent,
                kind,
                body,
            });
        }
        r
    }
    /// A loop whose body uses the context.
    pub fn for_(
        &mut self,
        extent: ExprId,
        kind: LoopKind,
        f: impl FnOnce(&mut Self, ExprId) -> Result<()>,
    ) -> Result<()> {
        let (var, i) = self.b.loop_var();
        self.b.open_block();
        let r = f(self, i);
        let body = self.b.close_block();
        self.b.stmt(Stmt::For {
            var,
            extent,
            kind,
            body,
        });
        r
    }
    /// A branch whose sides use the context.
    pub fn if_(
        &mut self,
        cond: ExprId,
        then: impl FnOnce(&mut Self) -> Result<()>,
        els: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.b.open_block();
        let r1 = then(self);
        let then = self.b.close_block();
        self.b.open_block();
        let r2 = els(self);
        let els = self.b.close_block();
        self.b.stmt(Stmt::If { cond, then, els });
        r1.and(r2)
    }
    /// A loop whose iterations are independent: threads may share them. What an iteration writes no other reads; scratch that
    /// is written inside comes from [`LowerCx::scratch_per_thread`]. Whether it is worth it is the plan's business.
    pub fn parallel(
        &mut self,
        extent: ExprId,
        f: impl FnOnce(&mut Self, ExprId) -> Result<()>,
    ) -> Result<()> {
        self.for_(extent, LoopKind::Parallel, f)
    }
    /// What is left over of a loop that threads may share, as a loop of one iteration: a thread may do it meanwhile.
    pub fn left_over(&mut self, f: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let one = self.b.i(1);
        self.parallel(one, |cx, _| f(cx))
    }
    /// Memory like [`LowerCx::scratch`], of which each thread gets a copy where a loop that writes it is spread over threads. The promise: an
    /// iteration of a loop that writes it first reads nothing that was there before, and nothing reads later what the iteration
    /// left. Of a loop around which it is filled beforehand it is one memory that all threads read.
    pub fn scratch_per_thread(&mut self, name: &str, dtype: DType, len: Dim) -> BufId {
        let buf = self.b.buffer(name, dtype, len, Access::Private);
        self.extras.push((buf, Extra::Scratch));
        buf
    }
    /// Memory of its own, `len` elements, contents undefined.
    pub fn scratch(&mut self, name: &str, dtype: DType, len: Dim) -> BufId {
        let buf = self.b.buffer(name, dtype, len, Access::ReadWrite);
        self.extras.push((buf, Extra::Scratch));
        buf
    }
    /// A constant of its own: packed weights, tables.
    pub fn constant(&mut self, name: &str, t: Tensor) -> BufId {
        let buf = self
            .b
            .buffer(name, t.dtype, Dim::Fixed(t.len() as i64), Access::Read);
        self.extras.push((buf, Extra::Const(t)));
        buf
    }
    /// Whether orders of picked bytes may name masks by their numbers: the list of these is worth its room where there are many weights.
    pub fn names_masks(&self) -> bool {
        self.counts_bytes()
    }
    /// Whether a model has so many bytes of whole-number weights that its size is what they and what belongs to them take.
    pub fn counts_bytes(&self) -> bool {
        const MANY: i64 = 1 << 19;
        self.weights.whole >= MANY
    }
    /// The computing type of input `i`.
    pub fn in_ty(&self, i: usize) -> Result<Ty> {
        Ok(Ty::of(self.input(i)?.ty.dtype))
    }
}

/// Loads the element that belongs to `index` of a shape to which `shape` broadcasts (numpy rules).
pub fn broadcast_load(b: &mut Builder, buf: BufId, shape: &[Dim], index: &[ExprId]) -> ExprId {
    broadcast_load_in(b, buf, shape, &[], index)
}

/// The same where the shape is known that `index` belongs to: an axis of the same symbolic size is read as it is.
pub fn broadcast_load_in(
    b: &mut Builder,
    buf: BufId,
    shape: &[Dim],
    space: &[Dim],
    index: &[ExprId],
) -> ExprId {
    let skip = index.len().saturating_sub(shape.len());
    let own: Vec<ExprId> = shape
        .iter()
        .zip(&index[skip..])
        .enumerate()
        .map(|(k, (d, i))| match d {
            Dim::Fixed(1) => b.i(0),
            Dim::Fixed(_) => *i,
            d if space.get(skip + k) == Some(d) => *i,
            // A symbolic size may turn out to be 1.
            d => {
                let d = b.dim(d);
                let one = b.i(1);
                let is_one = b.eq(d, one);
                let zero = b.i(0);
                b.select(is_one, zero, *i)
            }
        })
        .collect();
    let at = b.offset(shape, &own);
    b.load(buf, at)
}

/// Brings a computed value back into the range of a storage type, as storing and loading it would (integers wrap).
/// f16 and bf16 values are left at f32 precision: inside a fused chain they round once, at the store.
pub fn wrap(b: &mut Builder, dtype: DType, v: ExprId) -> ExprId {
    let shift = |b: &mut Builder, v, bits: i64| {
        let s = b.int(Ty::I32, bits);
        let l = b.shl(v, s);
        b.shr(l, s)
    };
    let mask = |b: &mut Builder, v, ty, m: i64| {
        let m = b.int(ty, m);
        b.and(v, m)
    };
    match dtype {
        DType::I8 => shift(b, v, 24),
        DType::I16 => shift(b, v, 16),
        DType::I4 => shift(b, v, 28),
        DType::I2 => shift(b, v, 30),
        DType::U8 => mask(b, v, Ty::I32, 0xff),
        DType::U16 => mask(b, v, Ty::I32, 0xffff),
        DType::U4 => mask(b, v, Ty::I32, 15),
        DType::U2 => mask(b, v, Ty::I32, 3),
        DType::U32 => mask(b, v, Ty::I64, 0xffff_ffff),
        _ => v,
    }
}

/// What a family of kernels computes. One per family; says nothing of machines.
pub struct Contract {
    /// `conv`, `gemm`, `gemm_tile`.
    pub name: &'static str,
    /// One sentence for `docs/support.md`.
    pub doc: &'static str,
    /// For contracts of tiles: the plain meaning as a function whose buffers and ints are the call's arguments.
    pub reference: Option<fn(&Callee) -> Option<Func>>,
    /// Kernel rows that work on every machine, in the compiler itself.
    pub rows: &'static [Kernel],
}

/// A question to selection: compute this contract for these operands.
pub struct Query<'a> {
    /// Which contract.
    pub contract: &'static Contract,
    /// The contract's attributes, normalised by the operator (explicit pads, no defaults left).
    pub attrs: Attrs,
    /// Types and constant values of the inputs.
    pub inputs: Vec<Option<(TensorType, Option<Tensor>)>>,
    /// Types of the outputs.
    pub outputs: Vec<Option<TensorType>>,
    /// What the target offers.
    pub machine: &'a Machine,
    /// How much is done for speed.
    pub effort: Effort,
}

/// How a contract is computed: one row.
pub struct Kernel {
    /// By grammar: contract, types, how: `conv_f32_im2col_gemm`.
    pub name: &'static str,
    /// CPU features without which it can't run.
    pub needs: &'static [&'static str],
    /// Whether it can answer the query.
    pub accepts: fn(&Query) -> bool,
    /// What it has to do, for [`crate::base::costs`]: the cheapest row that accepts is taken, the first of those that cost about the same.
    pub work: fn(&Query) -> Work,
    /// Whether its stores go through [`LowerCx::store`], each element once and finished, so that it takes tails.
    pub tails: bool,
    /// Writes the loops.
    pub emit: fn(&mut LowerCx, &Query) -> Result<()>,
}

/// Machine code of a tile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    /// The instructions, with their constants behind them; no relocations.
    pub bytes: Vec<u8>,
    /// Wanted alignment.
    pub align: u64,
    /// Bytes of stack that it uses.
    pub stack: u32,
}

/// A generator of machine code behind a tile contract: one row.
pub struct Tile {
    /// By grammar: `gemm_tile_f32_6x16_avx2fma`.
    pub name: &'static str,
    /// What it computes.
    pub contract: &'static str,
    /// CPU features without which it can't run.
    pub needs: &'static [&'static str],
    /// Largest rows and columns at once.
    pub tile: (i64, i64),
    /// Generates the code for a shape. `landing_pad`: begin with `endbr64` or `bti c`.
    pub make: fn(&Callee, landing_pad: bool) -> Result<Code>,
}

impl Tile {
    /// What is called, for a shape.
    pub fn callee(&self, shape: Vec<(String, i64)>) -> Callee {
        Callee {
            kernel: self.name.to_string(),
            contract: self.contract.to_string(),
            shape,
        }
    }
}

/// Generates the code of a `Lanes` loop; `None` where it can't. `landing_pad`: begin with `endbr64` or `bti c`.
pub type MakeLaneLoop = fn(&LaneLoop, landing_pad: bool) -> Option<Result<Code>>;

/// What the compiler may know of the machine it writes for.
#[derive(Default)]
pub struct Machine {
    /// Declared features, sorted.
    pub features: Vec<String>,
    /// Generators of machine code, best first.
    pub tiles: Vec<&'static Tile>,
    /// f32 lanes of one vector of compiler-written loops.
    pub lanes: u32,
    /// What kernels that are written over the vector machine can count on; `None`: there are none.
    pub vector: Option<Vector>,
    /// Makes kernels of `Lanes` loops, where the machine's vectors are wider than those of compiler-written loops.
    pub lane_loop: Option<MakeLaneLoop>,
    /// Bytes of the data cache next to the core.
    pub l1d: u32,
    /// Bytes of the second cache.
    pub l2: u32,
    /// Which Winograd convolutions may be used.
    pub winograd: Winograd,
    /// What is done with weights of which many are zero.
    pub sparse: Sparse,
    /// Whether weights of few values are stored as numbers into a table of them.
    pub palettes: Palettes,
    /// What kernels cost.
    pub costs: Costs,
}

/// What is done with weights of which many are zero.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sparse {
    /// Whether kernels that leave zeros out may be used.
    pub used: bool,
    /// Bytes of straight-line code that a layer may take.
    pub code: i64,
}

impl Default for Sparse {
    fn default() -> Self {
        Sparse {
            used: true,
            code: 256 << 10,
        }
    }
}

/// When weights of few values are stored as numbers into a table of them, which a layer's run begins by looking up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Palettes {
    /// Where size is what counts.
    #[default]
    Auto,
    /// Everywhere.
    On,
    /// Nowhere.
    Off,
}

impl Palettes {
    /// Whether they are used.
    pub fn used(self, effort: Effort) -> bool {
        self == Palettes::On || self == Palettes::Auto && effort.optimize_for_size()
    }
}

/// Which Winograd convolutions may be used: they save products and cost accuracy.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Winograd {
    /// Results of a tile along an axis at most: 4, 2; 0: none.
    pub tile: i64,
    /// The largest error of a layer, relative to its largest output, that may be expected
    /// ([`crate::contracts::winograd_error`]).
    pub error: f64,
    /// Bytes of transformed weights that a model stores at most ([`Weights::transformed`]). Those of larger models are stored as they are, and
    /// layers transform them: they would come from memory in each run.
    pub stored: i64,
}

impl Default for Winograd {
    fn default() -> Self {
        Winograd {
            tile: 4,
            error: 1e-5,
            stored: 8 << 20,
        }
    }
}

/// The vector registers that generated kernels use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vector {
    /// f32 lanes of a register.
    pub lanes: i64,
    /// Registers.
    pub registers: i64,
    /// Whether a product takes one lane of a register as a factor, broadcasts from memory being dear.
    pub by_lane: bool,
    /// Whether floats can be rounded to whole ones.
    pub rounds: bool,
    /// Whether a product and a sum of floats are rounded once.
    pub fused: bool,
    /// Whether half-precision floats are widened while they are loaded.
    pub halves: bool,
    /// Whether bytes are.
    pub bytes: bool,
    /// Rows of a tile at most.
    pub rows: i64,
}

impl Vector {
    /// The kind of bytes that are multiplied by weights with a sign, where bytes are multiplied at all.
    pub fn multiplied_bytes(&self) -> DType {
        match self.by_lane {
            true => DType::I8,
            false => DType::U8,
        }
    }
}

impl Machine {
    /// Whether a feature was declared.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }
    /// The best tile of a contract.
    pub fn tile(&self, contract: &str) -> Option<&'static Tile> {
        self.tiles_of(contract).next()
    }
    /// The same for vectors of half as many lanes, for columns that leave the other half empty: machines of sixteen lanes have the tiles of eight too.
    pub fn half_tile(&self, contract: &str) -> Option<&'static Tile> {
        let wide = self.vector.is_some_and(|v| v.lanes == 16);
        // One that needs nothing is that of the base machine, whose lanes are fewer still.
        let half = self.tiles_of(contract).nth(1);
        half.filter(|t| wide && !t.needs.is_empty())
    }
    fn tiles_of(&self, contract: &str) -> impl Iterator<Item = &'static Tile> {
        let fits =
            move |t: &&'static Tile| t.contract == contract && t.needs.iter().all(|f| self.has(f));
        self.tiles.iter().copied().filter(fits)
    }
}
