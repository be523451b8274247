//! Rows of NEON instructions that share a shape: three registers, two registers, shifts by a constant.
//!
//! A row is the word with all register fields zero, the name, and the arrangement of each operand as the disassembler writes it.

/// `d = n op m`; some also read `d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum V3 {
    FAdd,
    FSub,
    FMul,
    FDiv,
    FCmEq,
    FCmGe,
    FCmGt,
    Add,
    Sub,
    AddH,
    SubH,
    Mul,
    SMin,
    SMax,
    CmEq,
    CmGt,
    And,
    /// `n & !m`.
    Bic,
    Orr,
    Eor,
    /// The low halves, as 64-bit lanes: `[n.d[0], m.d[0]]`.
    Zip1D,
    /// The high halves.
    Zip2D,
    /// Lanes of the low halves in turns, and of the high halves.
    Zip1S,
    Zip2S,
    /// The same of bytes and of words.
    Zip1B,
    Zip2B,
    Zip1H,
    Zip2H,
    /// `d += n * m`, fused.
    FMla,
    /// `d ? n : m`, bit by bit.
    Bsl,
    /// `m ? n : d`.
    Bit,
    /// `m ? d : n`.
    Bif,
    /// On 64-bit floats.
    FAddD,
    FSubD,
    FMulD,
    FCmGtD,
}

impl V3 {
    /// All of them.
    pub const ALL: [V3; 36] = [
        V3::FAdd,
        V3::FSub,
        V3::FMul,
        V3::FDiv,
        V3::FCmEq,
        V3::FCmGe,
        V3::FCmGt,
        V3::Add,
        V3::Sub,
        V3::AddH,
        V3::SubH,
        V3::Mul,
        V3::SMin,
        V3::SMax,
        V3::CmEq,
        V3::CmGt,
        V3::And,
        V3::Bic,
        V3::Orr,
        V3::Eor,
        V3::Zip1D,
        V3::Zip2D,
        V3::Zip1S,
        V3::Zip2S,
        V3::Zip1B,
        V3::Zip2B,
        V3::Zip1H,
        V3::Zip2H,
        V3::FMla,
        V3::Bsl,
        V3::Bit,
        V3::Bif,
        V3::FAddD,
        V3::FSubD,
        V3::FMulD,
        V3::FCmGtD,
    ];
    /// Word, name, arrangement of all three.
    pub fn row(self) -> (u32, &'static str, &'static str) {
        match self {
            V3::FAdd => (0x4E20_D400, "fadd", "4s"),
            V3::FSub => (0x4EA0_D400, "fsub", "4s"),
            V3::FMul => (0x6E20_DC00, "fmul", "4s"),
            V3::FDiv => (0x6E20_FC00, "fdiv", "4s"),
            V3::FCmEq => (0x4E20_E400, "fcmeq", "4s"),
            V3::FCmGe => (0x6E20_E400, "fcmge", "4s"),
            V3::FCmGt => (0x6EA0_E400, "fcmgt", "4s"),
            V3::Add => (0x4EA0_8400, "add", "4s"),
            V3::Sub => (0x6EA0_8400, "sub", "4s"),
            V3::AddH => (0x4E60_8400, "add", "8h"),
            V3::SubH => (0x6E60_8400, "sub", "8h"),
            V3::Mul => (0x4EA0_9C00, "mul", "4s"),
            V3::SMin => (0x4EA0_6C00, "smin", "4s"),
            V3::SMax => (0x4EA0_6400, "smax", "4s"),
            V3::CmEq => (0x6EA0_8C00, "cmeq", "4s"),
            V3::CmGt => (0x4EA0_3400, "cmgt", "4s"),
            V3::And => (0x4E20_1C00, "and", "16b"),
            V3::Bic => (0x4E60_1C00, "bic", "16b"),
            V3::Orr => (0x4EA0_1C00, "orr", "16b"),
            V3::Eor => (0x6E20_1C00, "eor", "16b"),
            V3::Zip1D => (0x4EC0_3800, "zip1", "2d"),
            V3::Zip2D => (0x4EC0_7800, "zip2", "2d"),
            V3::Zip1S => (0x4E80_3800, "zip1", "4s"),
            V3::Zip2S => (0x4E80_7800, "zip2", "4s"),
            V3::Zip1B => (0x4E00_3800, "zip1", "16b"),
            V3::Zip2B => (0x4E00_7800, "zip2", "16b"),
            V3::Zip1H => (0x4E40_3800, "zip1", "8h"),
            V3::Zip2H => (0x4E40_7800, "zip2", "8h"),
            V3::FMla => (0x4E20_CC00, "fmla", "4s"),
            V3::Bsl => (0x6E60_1C00, "bsl", "16b"),
            V3::Bit => (0x6EA0_1C00, "bit", "16b"),
            V3::Bif => (0x6EE0_1C00, "bif", "16b"),
            V3::FAddD => (0x4E60_D400, "fadd", "2d"),
            V3::FSubD => (0x4EE0_D400, "fsub", "2d"),
            V3::FMulD => (0x6E60_DC00, "fmul", "2d"),
            V3::FCmGtD => (0x6EE0_E400, "fcmgt", "2d"),
        }
    }
    /// Whether the old value of `d` is an operand.
    pub fn reads_d(self) -> bool {
        matches!(self, V3::FMla | V3::Bsl | V3::Bit | V3::Bif)
    }
}

/// `d = n op m` with longer lanes in `d` than in an operand; all but products without a sum also read `d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum VLong {
    /// Bytes times bytes: words, of the low and of the high halves.
    Smull,
    Smull2,
    SmlalB,
    Smlal2B,
    /// Words times words, added to 32-bit lanes.
    SmlalH,
    Smlal2H,
    /// Words added to 32-bit lanes: `d = n + m`.
    SaddwH,
    Saddw2H,
    /// Four bytes times four, added. Of the dot-product extension.
    Sdot,
    /// Matrices: `n` two rows of eight bytes, `m` two columns. Of the extension for products of matrices.
    Smmla,
    /// The same with bytes of `n` without a sign.
    Usmmla,
}

impl VLong {
    /// All of them.
    pub const ALL: [VLong; 11] = [
        VLong::Smull,
        VLong::Smull2,
        VLong::SmlalB,
        VLong::Smlal2B,
        VLong::SmlalH,
        VLong::Smlal2H,
        VLong::SaddwH,
        VLong::Saddw2H,
        VLong::Sdot,
        VLong::Smmla,
        VLong::Usmmla,
    ];
    /// Word, name, arrangements of `d`, `n` and `m`.
    pub fn row(self) -> (u32, &'static str, [&'static str; 3]) {
        match self {
            VLong::Smull => (0x0E20_C000, "smull", ["8h", "8b", "8b"]),
            VLong::Smull2 => (0x4E20_C000, "smull2", ["8h", "16b", "16b"]),
            VLong::SmlalB => (0x0E20_8000, "smlal", ["8h", "8b", "8b"]),
            VLong::Smlal2B => (0x4E20_8000, "smlal2", ["8h", "16b", "16b"]),
            VLong::SmlalH => (0x0E60_8000, "smlal", ["4s", "4h", "4h"]),
            VLong::Smlal2H => (0x4E60_8000, "smlal2", ["4s", "8h", "8h"]),
            VLong::SaddwH => (0x0E60_1000, "saddw", ["4s", "4s", "4h"]),
            VLong::Saddw2H => (0x4E60_1000, "saddw2", ["4s", "4s", "8h"]),
            VLong::Sdot => (0x4E80_9400, "sdot", ["4s", "16b", "16b"]),
            VLong::Smmla => (0x4E80_A400, "smmla", ["4s", "16b", "16b"]),
            VLong::Usmmla => (0x4E80_AC00, "usmmla", ["4s", "16b", "16b"]),
        }
    }
    /// Whether the old value of `d` is an operand beside `n` and `m`.
    pub fn reads_d(self) -> bool {
        !matches!(
            self,
            VLong::Smull | VLong::Smull2 | VLong::SaddwH | VLong::Saddw2H
        )
    }
}

/// `d = op n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum V2 {
    FSqrt,
    /// To integral: half to even, down, up, towards zero.
    FRintN,
    FRintM,
    FRintP,
    FRintZ,
    /// i32 to float.
    ScvtF,
    /// Float to i32: truncates, saturates, NaN gives 0.
    FCvtZs,
    /// To the nearest, half to even.
    FCvtNs,
    /// All bits flipped.
    Not,
    /// `n > 0`.
    FCmGtZero,
    /// Four halves to floats and back.
    FCvtl,
    FCvtn,
    /// The low half of each lane.
    XtnH,
    XtnB,
    /// The high half of each 32-bit lane.
    ShrnH,
    /// Four words into the high halves of lanes.
    ShllH,
    /// Unsigned and signed widening: words to lanes, bytes to words.
    UxtlH,
    SxtlH,
    UxtlB,
    SxtlB,
    /// Lane 0 plus lane 1, the rest cleared.
    FAddpS,
    /// The first and the second half of the i32 lanes to 64 bits.
    SxtlS,
    Sxtl2S,
    /// 64-bit whole numbers to floats, and to the nearest back, half to even.
    ScvtFD,
    FCvtNsD,
    /// 64-bit floats rounded down.
    FRintMD,
    /// The low halves of 64-bit lanes as first and as second half; the second leaves the first alone.
    XtnS,
    Xtn2S,
    /// Lanes to words, words to bytes, bytes without a sign: limited to what they hold.
    SqxtnH,
    SqxtnB,
    SqxtunB,
    /// Lanes to words in the second half, the first left alone.
    Sqxtn2H,
}

impl V2 {
    /// All of them.
    pub const ALL: [V2; 32] = [
        V2::FSqrt,
        V2::FRintN,
        V2::FRintM,
        V2::FRintP,
        V2::FRintZ,
        V2::ScvtF,
        V2::FCvtZs,
        V2::FCvtNs,
        V2::Not,
        V2::FCmGtZero,
        V2::FCvtl,
        V2::FCvtn,
        V2::XtnH,
        V2::XtnB,
        V2::ShrnH,
        V2::ShllH,
        V2::UxtlH,
        V2::SxtlH,
        V2::UxtlB,
        V2::SxtlB,
        V2::FAddpS,
        V2::SxtlS,
        V2::Sxtl2S,
        V2::ScvtFD,
        V2::FCvtNsD,
        V2::FRintMD,
        V2::XtnS,
        V2::Xtn2S,
        V2::SqxtnH,
        V2::SqxtnB,
        V2::SqxtunB,
        V2::Sqxtn2H,
    ];
    /// Word, name, arrangements of `d` and `n`, what stands behind.
    pub fn row(self) -> (u32, &'static str, &'static str, &'static str, &'static str) {
        match self {
            V2::FSqrt => (0x6EA1_F800, "fsqrt", "4s", "4s", ""),
            V2::FRintN => (0x4E21_8800, "frintn", "4s", "4s", ""),
            V2::FRintM => (0x4E21_9800, "frintm", "4s", "4s", ""),
            V2::FRintP => (0x4EA1_8800, "frintp", "4s", "4s", ""),
            V2::FRintZ => (0x4EA1_9800, "frintz", "4s", "4s", ""),
            V2::ScvtF => (0x4E21_D800, "scvtf", "4s", "4s", ""),
            V2::FCvtNs => (0x4E21_A800, "fcvtns", "4s", "4s", ""),
            V2::FCvtZs => (0x4EA1_B800, "fcvtzs", "4s", "4s", ""),
            V2::Not => (0x6E20_5800, "mvn", "16b", "16b", ""),
            V2::FCmGtZero => (0x4EA0_C800, "fcmgt", "4s", "4s", ", #0.0"),
            V2::FCvtl => (0x0E21_7800, "fcvtl", "4s", "4h", ""),
            V2::FCvtn => (0x0E21_6800, "fcvtn", "4h", "4s", ""),
            V2::XtnH => (0x0E61_2800, "xtn", "4h", "4s", ""),
            V2::XtnB => (0x0E21_2800, "xtn", "8b", "8h", ""),
            V2::ShrnH => (0x0F10_8400, "shrn", "4h", "4s", ", #16"),
            V2::ShllH => (0x2E61_3800, "shll", "4s", "4h", ", #16"),
            V2::UxtlH => (0x2F10_A400, "uxtl", "4s", "4h", ""),
            V2::SxtlH => (0x0F10_A400, "sxtl", "4s", "4h", ""),
            V2::UxtlB => (0x2F08_A400, "uxtl", "8h", "8b", ""),
            V2::SxtlB => (0x0F08_A400, "sxtl", "8h", "8b", ""),
            V2::FAddpS => (0x7E30_D800, "faddp", "s", "2s", ""),
            V2::SxtlS => (0x0F20_A400, "sxtl", "2d", "2s", ""),
            V2::Sxtl2S => (0x4F20_A400, "sxtl2", "2d", "4s", ""),
            V2::ScvtFD => (0x4E61_D800, "scvtf", "2d", "2d", ""),
            V2::FCvtNsD => (0x4E61_A800, "fcvtns", "2d", "2d", ""),
            V2::FRintMD => (0x4E61_9800, "frintm", "2d", "2d", ""),
            V2::XtnS => (0x0EA1_2800, "xtn", "2s", "2d", ""),
            V2::Xtn2S => (0x4EA1_2800, "xtn2", "4s", "2d", ""),
            V2::SqxtnH => (0x0E61_4800, "sqxtn", "4h", "4s", ""),
            V2::SqxtnB => (0x0E21_4800, "sqxtn", "8b", "8h", ""),
            V2::SqxtunB => (0x2E21_2800, "sqxtun", "8b", "8h", ""),
            V2::Sqxtn2H => (0x4E61_4800, "sqxtn2", "8h", "4s", ""),
        }
    }
    /// Whether the old value of `d` is an operand.
    pub fn reads_d(self) -> bool {
        matches!(self, V2::Xtn2S | V2::Sqxtn2H)
    }
}

/// Shifts of 32-bit lanes by a constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VShift {
    /// Left, by 0 to 31.
    Shl,
    /// Right with the sign, by 1 to 32.
    Sshr,
    /// Right with zeros, by 1 to 32.
    Ushr,
}

impl VShift {
    /// Word, name.
    pub fn row(self) -> (u32, &'static str) {
        match self {
            VShift::Shl => (0x4F00_5400, "shl"),
            VShift::Sshr => (0x4F00_0400, "sshr"),
            VShift::Ushr => (0x6F00_0400, "ushr"),
        }
    }
    /// The seven bits that say by how much, if it can be said.
    pub fn field(self, by: u8) -> Option<u32> {
        match self {
            VShift::Shl if by < 32 => Some(32 + u32::from(by)),
            VShift::Sshr | VShift::Ushr if (1..=32).contains(&by) => Some(64 - u32::from(by)),
            _ => None,
        }
    }
}

/// Numbers written into lanes by an immediate of eight bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VImm {
    /// `imm << shift`, shift 0, 8, 16 or 24.
    Movi(u8),
    /// Its complement.
    Mvni(u8),
    /// `imm` shifted left by 8 or 16 with ones.
    MoviOnes(u8),
    /// The complement of that.
    MvniOnes(u8),
    /// `d |= imm << shift`.
    Orr(u8),
}

impl VImm {
    /// Word, name, kind of shift and by how much; `None` where the shift is none.
    pub fn row(self) -> Option<(u32, &'static str, &'static str, u8)> {
        let (VImm::Movi(by)
        | VImm::Mvni(by)
        | VImm::MoviOnes(by)
        | VImm::MvniOnes(by)
        | VImm::Orr(by)) = self;
        let ones = matches!(self, VImm::MoviOnes(_) | VImm::MvniOnes(_));
        if by % 8 != 0 || by > 24 || ones && !matches!(by, 8 | 16) {
            return None;
        }
        let step = u32::from(by / 8);
        Some(match self {
            VImm::Movi(_) => (0x4F00_0400 | step << 13, "movi", "lsl", by),
            VImm::Mvni(_) => (0x6F00_0400 | step << 13, "mvni", "lsl", by),
            VImm::MoviOnes(_) => (0x4F00_C400 | (step - 1) << 12, "movi", "msl", by),
            VImm::MvniOnes(_) => (0x6F00_C400 | (step - 1) << 12, "mvni", "msl", by),
            VImm::Orr(_) => (0x4F00_1400 | step << 13, "orr", "lsl", by),
        })
    }
    /// How a register is filled with copies of a number, if that takes one instruction.
    pub fn of(bits: u32) -> Option<(VImm, u8)> {
        for by in [0u8, 8, 16, 24] {
            let mask = 0xffu32 << by;
            if bits & !mask == 0 {
                return Some((VImm::Movi(by), (bits >> by) as u8));
            }
            if !bits & !mask == 0 {
                return Some((VImm::Mvni(by), (!bits >> by) as u8));
            }
        }
        for by in [8u8, 16] {
            let ones = (1u32 << by) - 1;
            let low = bits & ones == ones && bits >> by <= 0xff;
            if low {
                return Some((VImm::MoviOnes(by), (bits >> by) as u8));
            }
            if !bits & ones == ones && !bits >> by <= 0xff {
                return Some((VImm::MvniOnes(by), (!bits >> by) as u8));
            }
        }
        None
    }
}
