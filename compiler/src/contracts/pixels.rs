//! `byte_pixels`: pictures of three channels of bytes become pixels as the first convolution reads them.
//!
//! Arguments: pointers x, out; then `plane` (bytes from one channel to the next in x; unused where x holds pixels) and `n` (pixels).
//! Pixel `i` takes `pitch` elements of out: its channels, then `fill`. An element is a byte, or a word that a byte is widened to, of which
//! `less` comes off; bytes wrap.

use crate::base::dim::Dim;
use crate::base::dtype::DType;
use crate::ex;
use crate::kernel::{Contract, Machine};
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Arg, BufId, Callee, ExprId, Func, LoopKind, Ty};

/// The contract.
pub static BYTE_PIXELS: Contract = Contract {
    name: "byte_pixels",
    doc: "Three channels of bytes as pixels of three or four elements, bytes or words.",
    reference: Some(reference),
    rows: &[],
};

/// Channels of a pixel.
pub const CHANNELS: i64 = 3;

/// What of pixels is known when code is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pixels {
    /// Whether x holds a picture for each channel, else it holds pixels.
    pub planes: bool,
    /// Elements of a pixel in out: 3 or 4.
    pub pitch: i64,
    /// Type of x: u8 or i8.
    pub from: DType,
    /// Type of out: that of x or the other one, or i16.
    pub to: DType,
    /// What comes off each element.
    pub less: i64,
    /// The element behind the channels.
    pub fill: i64,
}

impl Pixels {
    /// Whether tiles are made for it.
    pub fn possible(&self) -> bool {
        let byte = |d| matches!(d, DType::U8 | DType::I8);
        let types = byte(self.from) && (byte(self.to) || self.to == DType::I16);
        let pixels = self.pitch == 4 || self.pitch == CHANNELS && self.planes && !self.wide();
        types && pixels && self.less.abs() <= 256 && self.fill.abs() <= 256
    }
    /// Whether elements of out are words.
    pub fn wide(&self) -> bool {
        self.to == DType::I16
    }
    /// Reads the shape of a callee; `None` where it says nothing sensible.
    pub fn of(callee: &Callee) -> Option<Pixels> {
        let get = |name: &str| {
            callee
                .shape
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| *v)
        };
        let signed = |v: i64| if v == 0 { DType::U8 } else { DType::I8 };
        let p = Pixels {
            planes: get("planes")? != 0,
            pitch: get("pitch")?,
            from: signed(get("signed")?),
            to: match get("wide")? {
                0 => signed(get("signed")?),
                _ => DType::I16,
            },
            less: get("less")?,
            fill: get("fill")?,
        };
        p.possible().then_some(p)
    }
    /// The tile of a machine for it.
    pub fn callee(&self, machine: &Machine) -> Option<Callee> {
        let tile = machine.tile(BYTE_PIXELS.name).filter(|_| self.possible())?;
        let shape = [
            ("planes", i64::from(self.planes)),
            ("pitch", self.pitch),
            ("signed", i64::from(self.from == DType::I8)),
            ("wide", i64::from(self.wide())),
            ("less", self.less),
            ("fill", self.fill),
        ];
        Some(Callee {
            kernel: tile.name.to_string(),
            contract: tile.contract.to_string(),
            shape: shape.map(|(name, v)| (name.to_string(), v)).into(),
        })
    }
}

/// Where pixels are read and written: buffers with the places of the first element, and [`Pixels`]' arguments.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Places {
    pub x: (BufId, ExprId),
    pub out: (BufId, ExprId),
    pub plane: ExprId,
    pub n: ExprId,
}

/// Calls the tile.
pub fn call(b: &mut Builder, callee: &Callee, at: Places) {
    let ptr = |(buf, offset)| Arg::Ptr { buf, offset };
    let args = vec![ptr(at.x), ptr(at.out), Arg::Int(at.plane), Arg::Int(at.n)];
    b.call(callee.clone(), args);
}

fn reference(callee: &Callee) -> Option<Func> {
    let p = Pixels::of(callee)?;
    let mut b = Builder::new(BYTE_PIXELS.name);
    // A call says where its buffers begin, not where they end.
    let unknown = Dim::Fixed(i64::MAX);
    let x = b.buffer("x", p.from, unknown.clone(), Access::Read);
    let out = b.buffer("out", p.to, unknown, Access::Write);
    let (plane, n) = (b.int_param(), b.int_param());
    let less = b.int(Ty::I32, p.less);
    let fill = b.int(Ty::I32, p.fill);
    b.for_(n, LoopKind::Seq, |b, i| {
        for k in 0..p.pitch {
            let to = ex!(b; (i * {b.i(p.pitch)}) + {b.i(k)});
            if k >= CHANNELS {
                b.store(out, to, fill);
                continue;
            }
            let from = match p.planes {
                true => ex!(b; (plane * {b.i(k)}) + i),
                false => ex!(b; (i * {b.i(CHANNELS)}) + {b.i(k)}),
            };
            let v = b.load(x, from);
            let v = ex!(b; v - less);
            b.store(out, to, v);
        }
    });
    Some(b.finish())
}
