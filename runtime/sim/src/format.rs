//! The instruction format. **Contract with the compiler.**
//!
//! A blob is a stream of 32-bit little-endian words: a head, then commands, executed one after the other. Constants lie apart. A command names
//! tensors by a memory and an offset in bytes: the constants, the arena, or a port, each with a buffer of its own, so that outputs never
//! alias inputs. Offsets are multiples of the element's size.
//!
//! Numbers are whole: bytes with a zero point, sums in 32 bits (wrapping, which the compiler rules out), reals only in [`Finish`] and [`Real`]s, in double precision. A result is
//! `clamp(round(sum * scale + offset) + zero, lo, hi)`, the product and the sum rounded by themselves, and one rounding to a whole number: halves to
//! the even one, or up. That is Requantize of `compiler/src/ops/requantize.rs`.
//!
//! [`Program::encode`] and [`Program::decode`] are inverse. What decodes may still reach outside of its memories: the check says.

use crate::wire::{Wire, wire};

/// First word of a stream: "SIMN".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SIMN");
/// Second word. Changes with the meaning of any command.
pub const VERSION: u32 = 1;
/// Axes of a [`View`].
pub const AXES: usize = 6;
/// Ports at most.
pub const MAX_PORTS: u32 = 64;

/// Type of an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elem {
    /// A byte with a sign.
    I8,
    /// A byte without one.
    U8,
    /// A sum.
    I32,
    /// A power in a softmax's table.
    I64,
    /// A real number.
    F64,
}

impl Elem {
    /// Its bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Elem::I8 | Elem::U8 => 1,
            Elem::I32 => 4,
            Elem::I64 | Elem::F64 => 8,
        }
    }
    /// Whether it is a byte.
    pub fn is_byte(self) -> bool {
        matches!(self, Elem::I8 | Elem::U8)
    }
    /// The least value of a byte.
    pub fn least(self) -> i32 {
        if self == Elem::I8 { -128 } else { 0 }
    }
}

/// A memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// Constants.
    Const,
    /// Working memory.
    Arena,
    /// The buffer of port number so much of the region: inputs first, then outputs.
    Port(u32),
}

impl Wire for Elem {
    fn put(&self, out: &mut Vec<u32>) {
        out.push(*self as u32);
    }
    fn get(words: &mut &[u32]) -> Option<Elem> {
        let all = [Elem::I8, Elem::U8, Elem::I32, Elem::I64, Elem::F64];
        all.get(u32::get(words)? as usize).copied()
    }
}

impl Wire for Space {
    fn put(&self, out: &mut Vec<u32>) {
        out.push(match self {
            Space::Const => 0,
            Space::Arena => 1,
            Space::Port(p) => 2 + p,
        });
    }
    fn get(words: &mut &[u32]) -> Option<Space> {
        match u32::get(words)? {
            0 => Some(Space::Const),
            1 => Some(Space::Arena),
            p if p - 2 < MAX_PORTS => Some(Space::Port(p - 2)),
            _ => None,
        }
    }
}

wire! {
    /// Where a tensor begins.
    Place {
        /// Its memory.
        space: Space,
        /// Its elements.
        elem: Elem,
        /// Bytes from the beginning of the memory.
        offset: u32,
    }
    /// A map of features, channels last: element (b, y, x, c) is number `((b * rows + y) * cols + x) * pitch + c`. A pitch above the
    /// number of channels is a slice of channels of a wider map: so Concat and Split of channels cost nothing.
    Map {
        /// Where.
        at: Place,
        /// Number of maps.
        batch: u32,
        /// Rows of a map.
        rows: u32,
        /// Columns.
        cols: u32,
        /// Channels.
        channels: u32,
        /// Elements from one pixel to the next.
        pitch: u32,
    }
    /// A tensor of up to six axes, whose sizes the command has: element (i0, .., i5) is number `sum of i * stride`. A stride of 0 repeats.
    View {
        /// Where element 0 is.
        at: Place,
        /// Elements from one index to the next.
        strides: [i32; AXES],
    }
    /// Real numbers among the constants: one for all, or one for each channel.
    Reals {
        /// Where the first is: f64, an offset in bytes.
        offset: u32,
        /// How many: 1, or the number of channels.
        count: u32,
    }
    /// Whole numbers among the constants, i32.
    Ints {
        /// Where the first is, an offset in bytes.
        offset: u32,
        /// How many: 1, or the number of channels.
        count: u32,
    }
    /// What sums become.
    Finish {
        /// Added to the sum before anything else.
        bias: Option<Ints>,
        /// What the sum is multiplied by.
        scale: Reals,
        /// Added to the product.
        offset: Option<Reals>,
        /// The result's zero point.
        zero: i32,
        /// Least result.
        lo: i32,
        /// Largest result.
        hi: i32,
        /// Halves go up; else to the even number.
        up: bool,
    }
    /// A window that moves over a map.
    Window {
        /// Rows and columns.
        size: [u32; 2],
        /// Steps.
        stride: [u32; 2],
        /// Distances inside of the window.
        dilation: [u32; 2],
        /// Rows above and columns left of the map that count as padding. Those below and right follow from the result's size.
        pad: [u32; 2],
    }
    /// A convolution. `y[b, i, j, o] = finish(sum over (r, s, c) of (x[b, i * stride - pad + r * dilation, .., g * cg + c] - x_zero) * (w[o, r, s, c] - w_zero[o]))`, with
    /// `cg = x.channels / groups` and `g = o / (y.channels / groups)`; outside of the map x is `x_zero`. Depthwise: as many groups as channels.
    Conv {
        /// Input: bytes.
        x: Map,
        /// Output: bytes.
        y: Map,
        /// Weights: bytes among the constants, `[y.channels][rows][cols][cg]`, dense.
        w: Place,
        /// The window.
        window: Window,
        /// Groups.
        groups: u32,
        /// x's zero point.
        x_zero: i32,
        /// Zero points of the weights; absent: 0.
        w_zero: Option<Ints>,
        /// Behind the sum; its channels are y's.
        finish: Finish,
    }
    /// Products of matrices: `y[b, i, j] = finish(sum over k of (a[b, i, k] - a_zero) * (w[b, k, j] - w_zero[j]))`, `sizes` being of b, i, k, j.
    Gemm {
        /// Batch, rows, depth, columns.
        sizes: [u32; 4],
        /// Bytes; strides of b, i, k, then zeros.
        a: View,
        /// Bytes, constant or not; strides of b, k, j, then zeros.
        w: View,
        /// Bytes; strides of b, i, j, then zeros.
        y: View,
        /// a's zero point.
        a_zero: i32,
        /// Zero points of the columns; absent: 0.
        w_zero: Option<Ints>,
        /// Behind the sum; its channels are the columns.
        finish: Finish,
    }
    /// The largest of a window; what lies outside of the map does not count. Bytes of one type.
    MaxPool {
        /// Input.
        x: Map,
        /// Output.
        y: Map,
        /// The window.
        window: Window,
    }
    /// `y[outer] = finish(sum over inner of (x[outer, inner] - x_zero))`: means, with the count in the scale. One scale.
    Sum {
        /// Sizes of y's axes.
        outer: [u32; AXES],
        /// Sizes of the axes that are summed.
        inner: [u32; AXES],
        /// Input: bytes; strides of the outer axes.
        x: View,
        /// Its strides of the inner axes.
        x_inner: [i32; AXES],
        /// Output: bytes.
        y: View,
        /// x's zero point.
        x_zero: i32,
        /// Behind the sum.
        finish: Finish,
    }
    /// `y = clamp(round((a - a_zero) * a_scale + (b - b_zero) * b_scale) + zero, lo, hi)`: RescaledSum. Bytes.
    Add {
        /// Sizes.
        sizes: [u32; AXES],
        /// First operand.
        a: View,
        /// Second operand.
        b: View,
        /// Output.
        y: View,
        /// Zero points of both.
        zeros: [i32; 2],
        /// Scales of both.
        scales: [f64; 2],
        /// The result.
        limits: Limits,
    }
    /// `y = clamp(round((a - a_zero) * (b - b_zero) * scale) + zero, lo, hi)`: RescaledProduct. Bytes.
    Mul {
        /// Sizes.
        sizes: [u32; AXES],
        /// First operand.
        a: View,
        /// Second operand.
        b: View,
        /// Output.
        y: View,
        /// Zero points of both.
        zeros: [i32; 2],
        /// Of the product.
        scale: f64,
        /// The result.
        limits: Limits,
    }
    /// `y = clamp(round((x - x_zero) * scale + offset) + zero, lo, hi)`: Requantize. x: bytes or sums; y: bytes. Absent: scale 1, offset 0.
    Requantize {
        /// Sizes.
        sizes: [u32; AXES],
        /// Input.
        x: View,
        /// Output.
        y: View,
        /// x's zero point.
        x_zero: i32,
        /// F64.
        scale: Option<View>,
        /// F64.
        offset: Option<View>,
        /// The result.
        limits: Limits,
    }
    /// The result of what has a scale of its own.
    Limits {
        /// Zero point.
        zero: i32,
        /// Least result.
        lo: i32,
        /// Largest result.
        hi: i32,
        /// Halves go up; else to the even number.
        up: bool,
    }
    /// `y = table[x - least value of x's type]`. Bytes.
    Lookup {
        /// Sizes.
        sizes: [u32; AXES],
        /// Input.
        x: View,
        /// Output.
        y: View,
        /// 256 bytes among the constants.
        table: u32,
    }
    /// QuantizedSoftmax over the last of the axes: `y = clamp(round(power / sum of powers * scale) + zero)`, power = `powers[most - x]`.
    Softmax {
        /// Sizes; the last is what is summed over.
        sizes: [u32; AXES],
        /// Input: bytes.
        x: View,
        /// Output: bytes.
        y: View,
        /// 256 whole numbers of 64 bits among the constants.
        powers: u32,
        /// 1 / scale of the result.
        scale: f64,
        /// The result.
        limits: Limits,
    }
    /// Copies elements as they are: slices, Concat, Transpose, Reshape of what is not dense. Views of one element type.
    Copy {
        /// Sizes.
        sizes: [u32; AXES],
        /// From.
        x: View,
        /// To; does not overlap `x`.
        y: View,
    }
    /// Writes one byte everywhere.
    Fill {
        /// Sizes.
        sizes: [u32; AXES],
        /// To: bytes.
        y: View,
        /// The byte, as a number of y's type.
        value: i32,
    }
    /// `y[b, i, j, c] = x[b, rows[i], cols[j], c]`: Resize to the nearest, whatever its rule. Bytes of one type.
    Resize {
        /// Input.
        x: Map,
        /// Output.
        y: Map,
        /// As many as y's rows.
        rows: Ints,
        /// As many as y's columns.
        cols: Ints,
    }
    /// A port.
    PortInfo {
        /// Its bytes.
        bytes: u32,
        /// Whether it is an output.
        out: bool,
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// A command.
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub enum Command { $($(#[$doc])* $name($name),)* }
        impl Command {
            /// Its code in the stream.
            pub fn code(&self) -> u32 {
                match self { $(Command::$name(_) => $code,)* }
            }
            /// Its name, for people.
            pub fn name(&self) -> &'static str {
                match self { $(Command::$name(_) => stringify!($name),)* }
            }
        }
        impl Wire for Command {
            fn put(&self, out: &mut Vec<u32>) {
                self.code().put(out);
                match self { $(Command::$name(c) => c.put(out),)* }
            }
            fn get(words: &mut &[u32]) -> Option<Command> {
                Some(match u32::get(words)? {
                    $($code => Command::$name($name::get(words)?),)*
                    _ => return None,
                })
            }
        }
    };
}

commands! {
    /// A convolution.
    Conv = 1,
    /// Products of matrices.
    Gemm = 2,
    /// The largest of a window.
    MaxPool = 3,
    /// Sums over axes.
    Sum = 4,
    /// A sum of two.
    Add = 5,
    /// A product of two.
    Mul = 6,
    /// New scale.
    Requantize = 7,
    /// A function by a table.
    Lookup = 8,
    /// Softmax.
    Softmax = 9,
    /// A copy.
    Copy = 10,
    /// One value everywhere.
    Fill = 11,
    /// Nearest neighbours.
    Resize = 12,
}

/// A program: what a blob of commands holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// Bytes of working memory.
    pub arena_bytes: u32,
    /// Ports, inputs first.
    pub ports: Vec<PortInfo>,
    /// Commands in their order.
    pub commands: Vec<Command>,
}

/// Why a blob is no program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Not a stream of this version.
    Head,
    /// Words of command number so much are missing or mean nothing.
    Command(usize),
    /// Command number so much asks for what can't be.
    Check(usize, &'static str),
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Malformed::Head => write!(f, "not commands of format {VERSION}"),
            Malformed::Command(i) => write!(f, "command {i} can't be read"),
            Malformed::Check(i, what) => write!(f, "command {i}: {what}"),
        }
    }
}

impl Program {
    /// The blob.
    pub fn encode(&self) -> Vec<u8> {
        let mut words = vec![
            MAGIC,
            VERSION,
            self.arena_bytes,
            self.ports.len() as u32,
            self.commands.len() as u32,
        ];
        self.ports.iter().for_each(|p| p.put(&mut words));
        self.commands.iter().for_each(|c| c.put(&mut words));
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    /// Reads a blob; bytes behind the last command are an error.
    pub fn decode(bytes: &[u8]) -> Result<Program, Malformed> {
        let (chunks, rest) = bytes.as_chunks::<4>();
        let words: Vec<u32> = chunks.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let mut words = &words[..];
        let head: Option<[u32; 5]> = Wire::get(&mut words);
        let Some([MAGIC, VERSION, arena_bytes, ports, commands]) = head.filter(|_| rest.is_empty())
        else {
            return Err(Malformed::Head);
        };
        if ports > MAX_PORTS {
            return Err(Malformed::Head);
        }
        let ports: Option<Vec<PortInfo>> = (0..ports).map(|_| Wire::get(&mut words)).collect();
        let mut program = Program {
            arena_bytes,
            ports: ports.ok_or(Malformed::Head)?,
            commands: vec![],
        };
        for i in 0..commands as usize {
            let c = Wire::get(&mut words).ok_or(Malformed::Command(i))?;
            program.commands.push(c);
        }
        match words.is_empty() {
            true => Ok(program),
            false => Err(Malformed::Command(commands as usize)),
        }
    }
}

impl Map {
    /// A dense map.
    pub fn dense(at: Place, batch: u32, rows: u32, cols: u32, channels: u32) -> Map {
        Map {
            at,
            batch,
            rows,
            cols,
            channels,
            pitch: channels,
        }
    }
}

impl View {
    /// The dense view of a tensor of these sizes.
    pub fn dense(at: Place, sizes: [u32; AXES]) -> View {
        let mut strides = [0; AXES];
        let mut step = 1i64;
        for k in (0..AXES).rev() {
            strides[k] = i32::try_from(step).unwrap_or(i32::MAX);
            step = step.saturating_mul(i64::from(sizes[k]));
        }
        View { at, strides }
    }
}

/// Sizes with ones in front, for views of fewer axes.
pub fn sizes(of: &[u32]) -> [u32; AXES] {
    let mut all = [1; AXES];
    for (to, from) in all.iter_mut().rev().zip(of.iter().rev()) {
        *to = *from;
    }
    all
}
