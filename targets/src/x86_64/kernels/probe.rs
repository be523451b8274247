//! Probes (see `crate::probe`) in SSE2, AVX2 with FMA, and AVX-512. Touch rax, rdi, rsi, rdx, rcx, r8-r10 and vector registers only.
//!
//! Products of whole numbers are measured as kernels need them: with what adds them to sums of 32 bits.

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::kernel::{Code, Tile};
use onnxc_compiler::loops::ir::Callee;

use super::{AVX_VNNI, AVX512_BW, AVX512_VNNI};
use crate::probe::{COPY, FMA, PRODUCTS, Products, READ, STEP};
use crate::probe::{DOTS, FLOATS, PICKED, WORDS};

macro_rules! row {
    ($static:ident, $name:literal, $contract:ident, $needs:expr, $tile:expr, $emit:expr) => {
        static $static: Tile = Tile {
            name: $name,
            contract: $contract,
            needs: $needs,
            tile: $tile,
            make: |c, pad| finish(c, pad, $emit),
        };
    };
}

/// Accumulators: enough for two multiply-adds a cycle that take five cycles each, with room for two factors.
const ACCS: usize = 12;
/// Each accumulator so often in a turn.
const UNROLL: usize = 8;
const OPS: i64 = (ACCS * UNROLL) as i64;
const AVX2: &[&str] = &["avx2", "fma"];
const AVX512: &[&str] = &["avx512f"];
const SSE2: &[&str] = &[];

row!(
    FMA_512,
    "probe_fma_f32_avx512",
    FMA,
    AVX512,
    (16, OPS),
    fma_512
);
row!(
    FMA_256,
    "probe_fma_f32_avx2fma",
    FMA,
    AVX2,
    (8, OPS),
    fma_256
);
row!(FMA_128, "probe_fma_f32_sse2", FMA, &[], (4, OPS), fma_128);
row!(READ_512, "probe_read_avx512", READ, AVX512, (16, 0), |a| {
    stream(a, 64, false)
});
row!(READ_256, "probe_read_avx2", READ, AVX2, (8, 0), |a| stream(
    a, 32, false
));
row!(READ_128, "probe_read_sse2", READ, &[], (4, 0), |a| stream(
    a, 16, false
));
row!(COPY_512, "probe_copy_avx512", COPY, AVX512, (16, 0), |a| {
    stream(a, 64, true)
});
row!(COPY_256, "probe_copy_avx2", COPY, AVX2, (8, 0), |a| stream(
    a, 32, true
));
row!(COPY_128, "probe_copy_sse2", COPY, &[], (4, 0), |a| stream(
    a, 16, true
));

macro_rules! sums {
    ($static:ident, $name:literal, $needs:expr, $macs:literal, $registers:ident, $emit:expr) => {
        row!($static, $name, PRODUCTS, $needs, ($macs, OPS), |a| {
            // Only what needs nothing has no vectors of AVX.
            sums(a, !$needs.is_empty(), |a, i| {
                let [x, sum, between] = [
                    $registers[0],
                    $registers[4 + i % ACCS],
                    $registers[1 + i % 3],
                ];
                let emit: fn(&mut CodeAssembler, _, _, _) -> Emitted = $emit;
                emit(a, x, sum, between)
            })
        });
    };
}

sums!(
    BYTES_512,
    "probe_vpdpbusd_avx512vnni",
    AVX512_VNNI,
    64,
    ZMM,
    |a, x, sum, _| a.vpdpbusd(sum, x, x)
);
sums!(
    BYTES_HALF,
    "probe_vpdpbusd_avx512vnni_256",
    AVX512_VNNI,
    32,
    YMM,
    |a, x, sum, _| a.evex().vpdpbusd(sum, x, x)
);
sums!(
    BYTES_256,
    "probe_vpdpbusd_avxvnni",
    AVX_VNNI,
    32,
    YMM,
    |a, x, sum, _| a.vpdpbusd(sum, x, x)
);
sums!(
    PICKED_256,
    "probe_vpmaddubsw_avx2",
    AVX2,
    32,
    YMM,
    |a, x, sum, between| {
        a.vpmaddubsw(between, x, x)?;
        a.vpmaddwd(between, between, x)?;
        a.vpaddd(sum, sum, between)
    }
);
sums!(
    FUSED_WORDS_512,
    "probe_vpdpwssd_avx512vnni",
    AVX512_VNNI,
    32,
    ZMM,
    |a, x, sum, _| a.vpdpwssd(sum, x, x)
);
sums!(
    FUSED_WORDS_256,
    "probe_vpdpwssd_avxvnni",
    AVX_VNNI,
    16,
    YMM,
    |a, x, sum, _| a.vpdpwssd(sum, x, x)
);
sums!(
    WORDS_512,
    "probe_vpmaddwd_avx512bw",
    AVX512_BW,
    32,
    ZMM,
    |a, x, sum, between| {
        a.vpmaddwd(between, x, x)?;
        a.vpaddd(sum, sum, between)
    }
);
sums!(
    WORDS_256,
    "probe_vpmaddwd_avx2",
    AVX2,
    16,
    YMM,
    |a, x, sum, between| {
        a.vpmaddwd(between, x, x)?;
        a.vpaddd(sum, sum, between)
    }
);
sums!(
    WORDS_128,
    "probe_pmaddwd_sse2",
    SSE2,
    8,
    XMM,
    |a, x, sum, between| {
        a.movdqa(between, x)?;
        a.pmaddwd(between, x)?;
        a.paddd(sum, between)
    }
);

/// What multiplies, those of one kind of numbers best first.
pub static MULTIPLIERS: &[Products] = &[
    Products::new("vfmadd231ps zmm", &FMA_512, FLOATS),
    Products::new("vfmadd231ps ymm", &FMA_256, FLOATS),
    Products::new("mulps, addps xmm", &FMA_128, FLOATS),
    Products::new("vpdpbusd zmm", &BYTES_512, DOTS),
    Products::new("vpdpbusd ymm", &BYTES_HALF, DOTS).of_half_vectors(),
    Products::new("vpdpbusd ymm", &BYTES_256, DOTS),
    Products::new("vpmaddubsw, vpmaddwd ymm", &PICKED_256, PICKED),
    Products::new("vpdpwssd zmm", &FUSED_WORDS_512, WORDS),
    Products::new("vpdpwssd ymm", &FUSED_WORDS_256, WORDS),
    Products::new("vpmaddwd zmm", &WORDS_512, WORDS),
    Products::new("vpmaddwd ymm", &WORDS_256, WORDS),
    Products::new("pmaddwd xmm", &WORDS_128, WORDS),
];

/// Those of memory, best first.
pub static PROBES: &[&Tile] = &[
    &READ_512, &READ_256, &READ_128, &COPY_512, &COPY_256, &COPY_128,
];

const X: AsmRegister64 = rdi;
const Y: AsmRegister64 = rsi;
const BYTES: AsmRegister64 = rdx;
const TURNS: AsmRegister64 = rcx;
const FROM: AsmRegister64 = r8;
const TO: AsmRegister64 = r9;
const LEFT: AsmRegister64 = r10;

const ZMM: [AsmRegisterZmm; 16] = [
    zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14,
    zmm15,
];
const YMM: [AsmRegisterYmm; 16] = [
    ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14,
    ymm15,
];
const XMM: [AsmRegisterXmm; 16] = [
    xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14,
    xmm15,
];

type Emitted = std::result::Result<(), IcedError>;

fn finish(callee: &Callee, pad: bool, body: fn(&mut CodeAssembler) -> Emitted) -> Result<Code> {
    let make = || {
        let mut a = CodeAssembler::new(64)?;
        if pad {
            a.endbr64()?;
        }
        body(&mut a)?;
        a.ret()?;
        a.assemble(0)
    };
    let bytes = make().map_err(|e| Diagnostic::internal(format!("`{}`: {e}", callee.kernel)))?;
    Ok(Code {
        bytes,
        align: 64,
        stack: 0,
    })
}

/// Repeats `body` TURNS times.
fn turns(a: &mut CodeAssembler, body: impl FnOnce(&mut CodeAssembler) -> Emitted) -> Emitted {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    body(a)?;
    a.dec(TURNS)?;
    a.jne(again)
}

fn fma_512(a: &mut CodeAssembler) -> Emitted {
    for r in ZMM {
        a.vpxord(r, r, r)?;
    }
    turns(a, |a| {
        (0..ACCS * UNROLL).try_for_each(|i| a.vfmadd231ps(ZMM[4 + i % ACCS], zmm0, zmm1))
    })?;
    a.vzeroupper()
}

fn fma_256(a: &mut CodeAssembler) -> Emitted {
    for r in XMM {
        a.vxorps(r, r, r)?;
    }
    turns(a, |a| {
        (0..ACCS * UNROLL).try_for_each(|i| a.vfmadd231ps(YMM[4 + i % ACCS], ymm0, ymm1))
    })?;
    a.vzeroupper()
}

/// Sums of products that don't wait for one another: `body` does the one of a number.
fn sums(
    a: &mut CodeAssembler,
    avx: bool,
    body: fn(&mut CodeAssembler, usize) -> Emitted,
) -> Emitted {
    for r in XMM {
        if avx {
            a.vpxor(r, r, r)?;
        } else {
            a.pxor(r, r)?;
        }
    }
    turns(a, |a| (0..ACCS * UNROLL).try_for_each(|i| body(a, i)))?;
    if avx { a.vzeroupper() } else { Ok(()) }
}

/// Without fused ones: multiplies into four registers in turn, and adds.
fn fma_128(a: &mut CodeAssembler) -> Emitted {
    for r in XMM {
        a.xorps(r, r)?;
    }
    turns(a, |a| {
        (0..ACCS * UNROLL).try_for_each(|i| {
            let product = XMM[i % 3 + 1];
            a.movaps(product, xmm0)?;
            a.mulps(product, xmm0)?;
            a.addps(XMM[4 + i % ACCS], product)
        })
    })
}

/// Loads, and stores where `copy`, in vectors of `wide` bytes.
fn stream(a: &mut CodeAssembler, wide: i32, copy: bool) -> Emitted {
    turns(a, |a| {
        a.mov(FROM, X)?;
        a.mov(TO, Y)?;
        a.mov(LEFT, BYTES)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        let all: Vec<i32> = (0..STEP as i32 / wide).collect();
        for group in all.chunks(8) {
            for (r, i) in group.iter().enumerate() {
                let at = FROM + i * wide;
                match wide {
                    64 => a.vmovups(ZMM[r], zmmword_ptr(at))?,
                    32 => a.vmovups(YMM[r], ymmword_ptr(at))?,
                    _ => a.movups(XMM[r], xmmword_ptr(at))?,
                }
            }
            for (r, i) in group.iter().enumerate().filter(|_| copy) {
                let at = TO + i * wide;
                match wide {
                    64 => a.vmovups(zmmword_ptr(at), ZMM[r])?,
                    32 => a.vmovups(ymmword_ptr(at), YMM[r])?,
                    _ => a.movups(xmmword_ptr(at), XMM[r])?,
                }
            }
        }
        a.add(FROM, STEP as i32)?;
        a.add(TO, STEP as i32)?;
        a.sub(LEFT, STEP as i32)?;
        a.jne(again)
    })?;
    if wide > 16 { a.vzeroupper() } else { Ok(()) }
}
