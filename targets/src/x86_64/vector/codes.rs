//! Which instruction does what at which level: rows of (SSE, AVX2, AVX-512).

use crate::vector::ir::{Bin, Level, RealBin, Shift, Un, WordBin};
use iced_x86::Code;

/// The encodings of one operation.
pub struct Row {
    sse: Code,
    avx: Code,
    evex: Code,
}

impl Row {
    /// The encoding at a level.
    pub fn at(&self, level: Level) -> Code {
        match level {
            Level::Sse2 => self.sse,
            Level::Avx512 => self.evex,
            _ => self.avx,
        }
    }
}

macro_rules! rows {
    ($($name:ident: $sse:ident $avx:ident $evex:ident;)*) => {
        $(pub const $name: Row = Row { sse: Code::$sse, avx: Code::$avx, evex: Code::$evex };)*
    };
}

rows! {
    ADD: Addps_xmm_xmmm128 VEX_Vaddps_ymm_ymm_ymmm256 EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er;
    SUB: Subps_xmm_xmmm128 VEX_Vsubps_ymm_ymm_ymmm256 EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er;
    MUL: Mulps_xmm_xmmm128 VEX_Vmulps_ymm_ymm_ymmm256 EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er;
    DIV: Divps_xmm_xmmm128 VEX_Vdivps_ymm_ymm_ymmm256 EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er;
    MIN: Minps_xmm_xmmm128 VEX_Vminps_ymm_ymm_ymmm256 EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae;
    MAX: Maxps_xmm_xmmm128 VEX_Vmaxps_ymm_ymm_ymmm256 EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae;
    AND: Andps_xmm_xmmm128 VEX_Vandps_ymm_ymm_ymmm256 EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32;
    AND_NOT: Andnps_xmm_xmmm128 VEX_Vandnps_ymm_ymm_ymmm256 EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32;
    OR: Orps_xmm_xmmm128 VEX_Vorps_ymm_ymm_ymmm256 EVEX_Vpord_zmm_k1z_zmm_zmmm512b32;
    XOR: Xorps_xmm_xmmm128 VEX_Vxorps_ymm_ymm_ymmm256 EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;
    ADD_I: Paddd_xmm_xmmm128 VEX_Vpaddd_ymm_ymm_ymmm256 EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32;
    SUB_I: Psubd_xmm_xmmm128 VEX_Vpsubd_ymm_ymm_ymmm256 EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32;
    MUL_I: INVALID VEX_Vpmulld_ymm_ymm_ymmm256 EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32;
    MIN_I: INVALID VEX_Vpminsd_ymm_ymm_ymmm256 EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32;
    MAX_I: INVALID VEX_Vpmaxsd_ymm_ymm_ymmm256 EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32;
    CMP: Cmpps_xmm_xmmm128_imm8 VEX_Vcmpps_ymm_ymm_ymmm256_imm8 EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
    EQ_I: Pcmpeqd_xmm_xmmm128 VEX_Vpcmpeqd_ymm_ymm_ymmm256 EVEX_Vpcmpeqd_kr_k1_zmm_zmmm512b32;
    GT_I: Pcmpgtd_xmm_xmmm128 VEX_Vpcmpgtd_ymm_ymm_ymmm256 EVEX_Vpcmpgtd_kr_k1_zmm_zmmm512b32;
    SQRT: Sqrtps_xmm_xmmm128 VEX_Vsqrtps_ymm_ymmm256 EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er;
    ROUND: INVALID VEX_Vroundps_ymm_ymmm256_imm8 EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae;
    TO_INT: Cvttps2dq_xmm_xmmm128 VEX_Vcvttps2dq_ymm_ymmm256 EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae;
    NEAR_INT: Cvtps2dq_xmm_xmmm128 VEX_Vcvtps2dq_ymm_ymmm256 EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er;
    FROM_INT: Cvtdq2ps_xmm_xmmm128 VEX_Vcvtdq2ps_ymm_ymmm256 EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er;
    SHL: Pslld_xmm_imm8 VEX_Vpslld_ymm_ymm_imm8 EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8;
    SHR: Psrad_xmm_imm8 VEX_Vpsrad_ymm_ymm_imm8 EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8;
    SHR_U: Psrld_xmm_imm8 VEX_Vpsrld_ymm_ymm_imm8 EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8;
    FMA: INVALID VEX_Vfmadd231ps_ymm_ymm_ymmm256 EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er;
    FMA_OVER: INVALID VEX_Vfmadd213ps_ymm_ymm_ymmm256 EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er;
    MOVE: Movaps_xmm_xmmm128 VEX_Vmovaps_ymm_ymmm256 EVEX_Vmovaps_zmm_k1z_zmmm512;
    LOAD: Movups_xmm_xmmm128 VEX_Vmovups_ymm_ymmm256 EVEX_Vmovups_zmm_k1z_zmmm512;
    STORE: Movups_xmmm128_xmm VEX_Vmovups_ymmm256_ymm EVEX_Vmovups_zmmm512_k1z_zmm;
    LOAD_1: Movss_xmm_xmmm32 VEX_Vmovss_xmm_m32 VEX_Vmovss_xmm_m32;
    LOAD_2: Movsd_xmm_xmmm64 VEX_Vmovsd_xmm_m64 VEX_Vmovsd_xmm_m64;
    STORE_1: Movss_xmmm32_xmm VEX_Vmovss_m32_xmm VEX_Vmovss_m32_xmm;
    STORE_2: Movlps_m64_xmm VEX_Vmovlps_m64_xmm VEX_Vmovlps_m64_xmm;
    SPLAT: INVALID VEX_Vbroadcastss_ymm_m32 EVEX_Vpbroadcastd_zmm_k1z_xmmm32;
    SPLAT_LANE: INVALID VEX_Vbroadcastss_ymm_xmm EVEX_Vbroadcastss_zmm_k1z_xmmm32;
    F16_LOAD: INVALID VEX_Vcvtph2ps_ymm_xmmm128 EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae;
    F16_STORE: INVALID VEX_Vcvtps2ph_xmmm128_ymm_imm8 EVEX_Vcvtps2ph_ymmm256_k1z_zmm_imm8_sae;
    SX_BW: INVALID VEX_Vpmovsxbw_ymm_xmmm128 EVEX_Vpmovsxbw_zmm_k1z_ymmm256;
    ZX_BW: INVALID VEX_Vpmovzxbw_ymm_xmmm128 EVEX_Vpmovzxbw_zmm_k1z_ymmm256;
    ADD_W: Paddw_xmm_xmmm128 VEX_Vpaddw_ymm_ymm_ymmm256 EVEX_Vpaddw_zmm_k1z_zmm_zmmm512;
    SUB_W: Psubw_xmm_xmmm128 VEX_Vpsubw_ymm_ymm_ymmm256 EVEX_Vpsubw_zmm_k1z_zmm_zmmm512;
    MADD_W: Pmaddwd_xmm_xmmm128 VEX_Vpmaddwd_ymm_ymm_ymmm256 EVEX_Vpmaddwd_zmm_k1z_zmm_zmmm512;
    DOT_W: INVALID VEX_Vpdpwssd_ymm_ymm_ymmm256 EVEX_Vpdpwssd_zmm_k1z_zmm_zmmm512b32;
    DOT_B: INVALID VEX_Vpdpbusd_ymm_ymm_ymmm256 EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32;
    TO_REALS: Cvtdq2pd_xmm_xmmm64 VEX_Vcvtdq2pd_ymm_xmmm128 EVEX_Vcvtdq2pd_zmm_k1z_ymmm256b32_er;
    FROM_REALS: Cvtpd2dq_xmm_xmmm128 VEX_Vcvtpd2dq_xmm_ymmm256 EVEX_Vcvtpd2dq_ymm_k1z_zmmm512b64_er;
    REAL_ADD: Addpd_xmm_xmmm128 VEX_Vaddpd_ymm_ymm_ymmm256 EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er;
    REAL_SUB: Subpd_xmm_xmmm128 VEX_Vsubpd_ymm_ymm_ymmm256 EVEX_Vsubpd_zmm_k1z_zmm_zmmm512b64_er;
    REAL_MUL: Mulpd_xmm_xmmm128 VEX_Vmulpd_ymm_ymm_ymmm256 EVEX_Vmulpd_zmm_k1z_zmm_zmmm512b64_er;
    REAL_MIN: Minpd_xmm_xmmm128 VEX_Vminpd_ymm_ymm_ymmm256 EVEX_Vminpd_zmm_k1z_zmm_zmmm512b64_sae;
    REAL_MAX: Maxpd_xmm_xmmm128 VEX_Vmaxpd_ymm_ymm_ymmm256 EVEX_Vmaxpd_zmm_k1z_zmm_zmmm512b64_sae;
    REAL_ROUND: INVALID VEX_Vroundpd_ymm_ymmm256_imm8 EVEX_Vrndscalepd_zmm_k1z_zmmm512b64_imm8_sae;
    UNPACK_LO: Unpcklps_xmm_xmmm128 VEX_Vunpcklps_ymm_ymm_ymmm256 EVEX_Vunpcklps_zmm_k1z_zmm_zmmm512b32;
    UNPACK_HI: Unpckhps_xmm_xmmm128 VEX_Vunpckhps_ymm_ymm_ymmm256 EVEX_Vunpckhps_zmm_k1z_zmm_zmmm512b32;
    SHUFFLE: Shufps_xmm_xmmm128_imm8 VEX_Vshufps_ymm_ymm_ymmm256_imm8 EVEX_Vshufps_zmm_k1z_zmm_zmmm512b32_imm8;
    PACK_W: Packssdw_xmm_xmmm128 VEX_Vpackssdw_ymm_ymm_ymmm256 EVEX_Vpackssdw_zmm_k1z_zmm_zmmm512b32;
    PACK_U8: Packuswb_xmm_xmmm128 VEX_Vpackuswb_ymm_ymm_ymmm256 EVEX_Vpackuswb_zmm_k1z_zmm_zmmm512;
    PACK_I8: Packsswb_xmm_xmmm128 VEX_Vpacksswb_ymm_ymm_ymmm256 EVEX_Vpacksswb_zmm_k1z_zmm_zmmm512;
    PICK: INVALID VEX_Vpshufb_ymm_ymm_ymmm256 EVEX_Vpshufb_zmm_k1z_zmm_zmmm512;
    UNPACK_LO_W: Punpcklwd_xmm_xmmm128 VEX_Vpunpcklwd_ymm_ymm_ymmm256 EVEX_Vpunpcklwd_zmm_k1z_zmm_zmmm512;
    UNPACK_HI_W: Punpckhwd_xmm_xmmm128 VEX_Vpunpckhwd_ymm_ymm_ymmm256 EVEX_Vpunpckhwd_zmm_k1z_zmm_zmmm512;
    UNPACK_LO_B: Punpcklbw_xmm_xmmm128 VEX_Vpunpcklbw_ymm_ymm_ymmm256 EVEX_Vpunpcklbw_zmm_k1z_zmm_zmmm512;
    UNPACK_HI_B: Punpckhbw_xmm_xmmm128 VEX_Vpunpckhbw_ymm_ymm_ymmm256 EVEX_Vpunpckhbw_zmm_k1z_zmm_zmmm512;
    ZX_B: INVALID VEX_Vpmovzxbd_ymm_xmmm64 EVEX_Vpmovzxbd_zmm_k1z_xmmm128;
    SX_B: INVALID VEX_Vpmovsxbd_ymm_xmmm64 EVEX_Vpmovsxbd_zmm_k1z_xmmm128;
    ZX_W: INVALID VEX_Vpmovzxwd_ymm_xmmm128 EVEX_Vpmovzxwd_zmm_k1z_ymmm256;
    SX_W: INVALID VEX_Vpmovsxwd_ymm_xmmm128 EVEX_Vpmovsxwd_zmm_k1z_ymmm256;
}

/// The row of a lane-wise operation; a second number for comparisons, which say by it what they ask.
pub fn bin(op: Bin) -> (Row, Option<u32>) {
    match op {
        Bin::Add => (ADD, None),
        Bin::Sub => (SUB, None),
        Bin::Mul => (MUL, None),
        Bin::Div => (DIV, None),
        Bin::Min => (MIN, None),
        Bin::Max => (MAX, None),
        Bin::And => (AND, None),
        Bin::AndNot => (AND_NOT, None),
        Bin::Or => (OR, None),
        Bin::Xor => (XOR, None),
        Bin::AddI => (ADD_I, None),
        Bin::SubI => (SUB_I, None),
        Bin::MulI => (MUL_I, None),
        Bin::MinI => (MIN_I, None),
        Bin::MaxI => (MAX_I, None),
        Bin::Eq => (CMP, Some(0)),
        Bin::Lt => (CMP, Some(1)),
        Bin::Le => (CMP, Some(2)),
        Bin::Ne => (CMP, Some(4)),
        Bin::EqI => (EQ_I, None),
        Bin::GtI => (GT_I, None),
    }
}

/// Whether the AVX-512 form answers in a mask register.
pub fn answers_in_mask(op: Bin) -> bool {
    matches!(
        op,
        Bin::Eq | Bin::Ne | Bin::Lt | Bin::Le | Bin::EqI | Bin::GtI
    )
}

/// Whether operands may change places. (`Min` and `Max` may not: they tell NaN apart.)
pub fn commutes(op: Bin) -> bool {
    use Bin::*;
    matches!(
        op,
        Add | Mul | And | Or | Xor | AddI | MulI | MinI | MaxI | Eq | Ne | EqI
    )
}

/// The row of an operation on one operand, and what a rounding is told.
pub fn un(op: Un) -> (Row, Option<u32>) {
    match op {
        Un::Sqrt => (SQRT, None),
        Un::FromInt => (FROM_INT, None),
        // Bit 3: no exception for what was not integral.
        Un::Round => (ROUND, Some(8)),
        Un::Floor => (ROUND, Some(9)),
        Un::Ceil => (ROUND, Some(10)),
        Un::Trunc => (ROUND, Some(11)),
    }
}

/// The row of an operation on f64 lanes.
pub fn real_bin(op: RealBin) -> Row {
    match op {
        RealBin::Add => REAL_ADD,
        RealBin::Sub => REAL_SUB,
        RealBin::Mul => REAL_MUL,
        RealBin::Min => REAL_MIN,
        RealBin::Max => REAL_MAX,
    }
}

/// The row of an operation on words.
pub fn words(op: WordBin) -> Row {
    match op {
        WordBin::Add => ADD_W,
        WordBin::Sub => SUB_W,
    }
}

/// The row of a shift.
pub fn shift(op: Shift) -> Row {
    match op {
        Shift::Left => SHL,
        Shift::Right => SHR,
        Shift::RightU => SHR_U,
    }
}
