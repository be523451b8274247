//! Reading a descriptor safely.
//!
//! [`Descriptor::parse`] checks all distances, counts and texts of a blob once; what it returns can't fail afterwards. A
//! damaged blob is refused, never followed out of its bytes.

use crate::descriptor::*;
use core::mem::offset_of;

// A place in the blob. Reads outside answer zero: parse() has shown that there are none.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) blob: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> At<'a> {
    pub(crate) fn bytes<const N: usize>(self, offset: usize) -> Option<[u8; N]> {
        let at = self.at.checked_add(offset)?;
        self.blob.get(at..at.checked_add(N)?)?.try_into().ok()
    }
    pub(crate) fn u32(self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes(offset).unwrap_or_default())
    }
    pub(crate) fn i32(self, offset: usize) -> i32 {
        i32::from_le_bytes(self.bytes(offset).unwrap_or_default())
    }
    pub(crate) fn u64(self, offset: usize) -> u64 {
        u64::from_le_bytes(self.bytes(offset).unwrap_or_default())
    }
    fn i64(self, offset: usize) -> i64 {
        i64::from_le_bytes(self.bytes(offset).unwrap_or_default())
    }
    // What the distance at `offset` refers to.
    pub(crate) fn rel(self, offset: usize) -> Option<At<'a>> {
        let field = self.at.checked_add(offset)?;
        let d = i32::from_le_bytes(self.bytes(offset)?);
        let at = field.checked_add_signed(d as isize)?;
        (d != 0 && at < self.blob.len()).then_some(At {
            blob: self.blob,
            at,
        })
    }
    pub(crate) fn text(self, offset: usize) -> &'a str {
        self.checked_text(offset).unwrap_or("")
    }
    pub(crate) fn checked_text(self, offset: usize) -> Option<&'a str> {
        if self.i32(offset) == 0 {
            return Some("");
        }
        let rest = self.blob.get(self.rel(offset)?.at..)?;
        let end = rest.iter().position(|b| *b == 0)?;
        core::str::from_utf8(rest.get(..end)?).ok()
    }
    // Item `i` of the array of items of `size` bytes that the distance at `offset` refers to.
    pub(crate) fn item(self, offset: usize, i: u32, size: usize) -> Option<At<'a>> {
        let base = self.rel(offset)?;
        let at = base.at.checked_add((i as usize).checked_mul(size)?)?;
        Some(At {
            blob: self.blob,
            at,
        })
    }
    // Whether such an array of `n` items lies in the blob.
    pub(crate) fn array_fits(self, offset: usize, n: u32, size: usize) -> bool {
        n == 0
            || self
                .item(offset, n, size)
                .is_some_and(|end| end.at <= self.blob.len())
    }
}

/// A checked descriptor.
#[derive(Clone, Copy)]
pub struct Descriptor<'a>(pub(crate) At<'a>);

/// An input or output.
#[derive(Clone, Copy)]
pub struct Port<'a>(At<'a>);

/// A layer.
#[derive(Clone, Copy)]
pub struct Layer<'a>(At<'a>);

/// Quantization of an input or output.
#[derive(Clone, Copy)]
pub struct Quant<'a>(At<'a>);

/// A dimension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dim<'a> {
    /// The size, or the largest possible one.
    pub size: i64,
    /// The symbol whose value it is.
    pub symbol: Option<u32>,
    /// Text of the expression; empty where the size is fixed.
    pub expr: &'a str,
}

/// A size that is known when the model runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol<'a> {
    /// Its name.
    pub name: &'a str,
    /// Smallest value.
    pub lo: i64,
    /// Largest value.
    pub hi: i64,
    /// The input and axis whose size it is; `None` if the model computes it.
    pub input: Option<(u32, u32)>,
}

macro_rules! numbers {
    ($raw:ident $($(#[doc = $doc:literal])* $get:ident $field:ident $ty:ident;)*) => {
        $($(#[doc = $doc])* pub fn $get(&self) -> $ty { self.0.$ty(offset_of!($raw, $field)) })*
    };
}

macro_rules! texts {
    ($raw:ident $($(#[doc = $doc:literal])* $get:ident $field:ident;)*) => {
        $($(#[doc = $doc])* pub fn $get(&self) -> &'a str { self.0.text(offset_of!($raw, $field)) })*
    };
}

impl<'a> Descriptor<'a> {
    /// Reads a blob, which may have bytes behind it. `None` if it is no descriptor of this version, or damaged.
    pub fn parse(bytes: &'a [u8]) -> Option<Descriptor<'a>> {
        let total = Self::total_size_of(bytes)?;
        let d = Descriptor(At {
            blob: bytes.get(..total)?,
            at: 0,
        });
        d.check().then_some(d)
    }

    /// Bytes of the blob that begins here, judged by its first words alone.
    pub fn total_size_of(bytes: &[u8]) -> Option<usize> {
        let head = At { blob: bytes, at: 0 };
        let word = |offset| Some(u32::from_le_bytes(head.bytes(offset)?));
        let good = word(0)? == MAGIC
            && word(4)? == crate::ABI_VERSION
            && word(8)? as usize == size_of::<RawDescriptor>()
            && word(12)? >= word(8)?;
        good.then_some(word(12)? as usize)
    }

    fn check(&self) -> bool {
        let at = self.0;
        let texts = [
            offset_of!(RawDescriptor, name),
            offset_of!(RawDescriptor, prefix),
            offset_of!(RawDescriptor, target),
            offset_of!(RawDescriptor, cpu),
        ];
        let arrays = [
            (
                offset_of!(RawDescriptor, inputs),
                self.num_inputs(),
                size_of::<RawPort>(),
            ),
            (
                offset_of!(RawDescriptor, outputs),
                self.num_outputs(),
                size_of::<RawPort>(),
            ),
            (
                offset_of!(RawDescriptor, symbols),
                self.num_symbols(),
                size_of::<RawSymbol>(),
            ),
            (
                offset_of!(RawDescriptor, layers),
                self.num_layers(),
                size_of::<RawLayer>(),
            ),
        ];
        texts.iter().all(|o| at.checked_text(*o).is_some())
            && arrays
                .iter()
                .all(|(o, n, size)| at.array_fits(*o, *n, *size))
            && self.num_free_symbols() <= self.num_symbols()
            && self.inputs().chain(self.outputs()).all(|p| p.check())
            && (0..self.num_symbols()).all(|i| {
                at.item(
                    offset_of!(RawDescriptor, symbols),
                    i,
                    size_of::<RawSymbol>(),
                )
                .is_some_and(|s| s.checked_text(offset_of!(RawSymbol, name)).is_some())
            })
            && self.layers().all(|l| l.check())
            && self.regions_fit()
    }

    texts! { RawDescriptor
        /// Name of the model.
        name name;
        /// What all its symbols begin with.
        prefix prefix;
        /// Target triple.
        target target;
        /// CPU and features it was compiled for.
        cpu cpu;
    }
    numbers! { RawDescriptor
        /// Number of inputs.
        num_inputs num_inputs u32;
        /// Number of outputs.
        num_outputs num_outputs u32;
        /// Number of symbols.
        num_symbols num_symbols u32;
        /// Number of symbols that the caller states in `dims`.
        num_free_symbols num_free_symbols u32;
        /// Sum of the ranks of all outputs: the length of `out_dims`.
        num_out_dims num_out_dims u32;
        /// Number of layers.
        num_layers num_layers u32;
        /// Number of offloaded regions.
        num_regions num_offloads u32;
        /// Bytes of arena a run needs.
        arena_size arena_size u64;
        /// Alignment of the arena.
        arena_align arena_align u32;
        /// Bytes of weights.
        weights_size weights_size u64;
        /// Alignment of the weights.
        weights_align weights_align u32;
        /// Where the weights are, a number of [`PLACEMENTS`].
        weights_placement weights_placement u32;
        /// Bytes of stack a run needs at most.
        stack_bytes stack_bytes u64;
        /// Threads that a run can keep busy; 1 where no loop is spread.
        threads threads u32;
    }
    /// Input `i`.
    pub fn input(&self, i: u32) -> Option<Port<'a>> {
        self.port(offset_of!(RawDescriptor, inputs), i, self.num_inputs())
    }
    /// Output `i`.
    pub fn output(&self, i: u32) -> Option<Port<'a>> {
        self.port(offset_of!(RawDescriptor, outputs), i, self.num_outputs())
    }
    fn port(&self, offset: usize, i: u32, n: u32) -> Option<Port<'a>> {
        let at = self.0.item(offset, i, size_of::<RawPort>())?;
        (i < n).then_some(Port(at))
    }
    /// All inputs in order.
    pub fn inputs(&self) -> impl Iterator<Item = Port<'a>> + use<'a> {
        let d = *self;
        (0..self.num_inputs()).filter_map(move |i| d.input(i))
    }
    /// All outputs in order.
    pub fn outputs(&self) -> impl Iterator<Item = Port<'a>> + use<'a> {
        let d = *self;
        (0..self.num_outputs()).filter_map(move |i| d.output(i))
    }
    /// Symbol `i`; the first [`Self::num_free_symbols`] are those of `dims`.
    pub fn symbol(&self, i: u32) -> Option<Symbol<'a>> {
        let at = self.0.item(
            offset_of!(RawDescriptor, symbols),
            i,
            size_of::<RawSymbol>(),
        )?;
        (i < self.num_symbols()).then_some(Symbol {
            name: at.text(offset_of!(RawSymbol, name)),
            lo: at.i64(offset_of!(RawSymbol, lo)),
            hi: at.i64(offset_of!(RawSymbol, hi)),
            input: (at.u32(offset_of!(RawSymbol, origin)) == ORIGIN_INPUT).then(|| {
                (
                    at.u32(offset_of!(RawSymbol, input)),
                    at.u32(offset_of!(RawSymbol, axis)),
                )
            }),
        })
    }
    /// Layer `i`.
    pub fn layer(&self, i: u32) -> Option<Layer<'a>> {
        let at = self
            .0
            .item(offset_of!(RawDescriptor, layers), i, size_of::<RawLayer>())?;
        (i < self.num_layers()).then_some(Layer(at))
    }
    /// All layers in the order in which they run.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'a>> + use<'a> {
        let d = *self;
        (0..self.num_layers()).filter_map(move |i| d.layer(i))
    }
    /// SHA-256 of how the weights are laid out.
    pub fn layout_digest(&self) -> [u8; 32] {
        self.0
            .bytes(offset_of!(RawDescriptor, layout_digest))
            .unwrap_or_default()
    }
    /// SHA-256 of the weights the model was compiled with.
    pub fn content_digest(&self) -> [u8; 32] {
        self.0
            .bytes(offset_of!(RawDescriptor, content_digest))
            .unwrap_or_default()
    }
}

impl<'a> Port<'a> {
    fn check(&self) -> bool {
        self.0.checked_text(offset_of!(RawPort, name)).is_some()
            && self.0.checked_text(offset_of!(RawPort, c_name)).is_some()
            && self
                .0
                .array_fits(offset_of!(RawPort, dims), self.rank(), size_of::<RawDim>())
            && (0..self.rank()).all(|i| {
                self.0
                    .item(offset_of!(RawPort, dims), i, size_of::<RawDim>())
                    .is_some_and(|d| d.checked_text(offset_of!(RawDim, expr)).is_some())
            })
            && (self.0.i32(offset_of!(RawPort, quant)) == 0
                || self.quant().is_some_and(|q| q.check()))
    }
    texts! { RawPort
        /// Its name in the model.
        name name;
        /// Its name in generated sources.
        c_name c_name;
    }
    numbers! { RawPort
        /// Element type: the number in ONNX's `TensorProto.DataType`.
        dtype dtype u32;
        /// Bytes of an element.
        elem_size elem_size u32;
        /// Number of dimensions.
        rank rank u32;
        /// Bytes at the largest size.
        max_bytes max_bytes u64;
    }
    /// Dimension `i`.
    pub fn dim(&self, i: u32) -> Option<Dim<'a>> {
        let at = self
            .0
            .item(offset_of!(RawPort, dims), i, size_of::<RawDim>())?;
        (i < self.rank()).then(|| Dim {
            size: at.i64(offset_of!(RawDim, size)),
            symbol: u32::try_from(at.i32(offset_of!(RawDim, symbol))).ok(),
            expr: at.text(offset_of!(RawDim, expr)),
        })
    }
    /// All dimensions in order.
    pub fn dims(&self) -> impl Iterator<Item = Dim<'a>> + use<'a> {
        let p = *self;
        (0..self.rank()).filter_map(move |i| p.dim(i))
    }
    /// Bytes where the free symbols have these values; the largest possible where it depends on more than them.
    pub fn bytes(&self, dims: &[i64]) -> u64 {
        let mut n = u64::from(self.elem_size());
        for d in self.dims() {
            let value = d.symbol.and_then(|s| dims.get(s as usize)).copied();
            if value.is_none() && !d.expr.is_empty() {
                return self.max_bytes();
            }
            n = n.saturating_mul(u64::try_from(value.unwrap_or(d.size)).unwrap_or(0));
        }
        n.min(self.max_bytes())
    }
    /// Alignment of its buffer: that of an element.
    pub fn align(&self) -> usize {
        (self.elem_size() as usize).clamp(1, 8)
    }
    /// Its quantization, if known.
    pub fn quant(&self) -> Option<Quant<'a>> {
        self.0.rel(offset_of!(RawPort, quant)).map(Quant)
    }
}

impl<'a> Quant<'a> {
    fn check(&self) -> bool {
        self.0.blob.len() - self.0.at >= size_of::<RawQuant>()
            && self
                .0
                .array_fits(offset_of!(RawQuant, scales), self.count(), 4)
            && self
                .0
                .array_fits(offset_of!(RawQuant, zero_points), self.count(), 4)
    }
    numbers! { RawQuant
        /// The axis along which scales differ; -1 if there is one scale.
        axis axis i32;
        /// Number of scales and zero points.
        count count u32;
    }
    /// Scale `i` and zero point `i`.
    pub fn get(&self, i: u32) -> Option<(f32, i32)> {
        (i < self.count()).then_some(())?;
        let scale = self.0.item(offset_of!(RawQuant, scales), i, 4)?;
        let zero = self.0.item(offset_of!(RawQuant, zero_points), i, 4)?;
        Some((f32::from_bits(scale.u32(0)), zero.i32(0)))
    }
}

impl<'a> Layer<'a> {
    fn check(&self) -> bool {
        self.0.checked_text(offset_of!(RawLayer, symbol)).is_some()
            && self.0.checked_text(offset_of!(RawLayer, op)).is_some()
            && self
                .0
                .array_fits(offset_of!(RawLayer, nodes), self.num_nodes(), 4)
            && (0..self.num_nodes()).all(|i| {
                self.0
                    .item(offset_of!(RawLayer, nodes), i, 4)
                    .is_some_and(|n| n.checked_text(0).is_some())
            })
    }
    texts! { RawLayer
        /// Symbol of its function.
        symbol symbol;
        /// Operators in it, joined by `+`.
        op op;
    }
    numbers! { RawLayer
        /// Number of ONNX nodes.
        num_nodes num_nodes u32;
        /// Multiply-accumulate operations, at the largest size.
        macs macs u64;
        /// Bytes of its weights.
        param_bytes param_bytes u64;
    }
    /// Names of the ONNX nodes it computes.
    pub fn nodes(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let l = self.0;
        (0..self.num_nodes())
            .filter_map(move |i| Some(l.item(offset_of!(RawLayer, nodes), i, 4)?.text(0)))
    }
}
