//! Encoding classes of A64 instructions that are not in the base: which words need which extension.
//!
//! Source: Arm Architecture Reference Manual (DDI 0487), chapter C4, the index by encoding. A class is a mask and a value; the
//! first that fits is taken. Used only to audit code, never to make it.

use crate::features::Feature;

/// A class of instruction words.
pub struct Class {
    mask: u32,
    value: u32,
    /// The extension's name.
    pub name: &'static str,
    /// The feature that allows it; `None` if none does.
    pub feature: Option<Feature>,
}

const fn class(mask: u32, value: u32, name: &'static str, feature: Option<Feature>) -> Class {
    Class {
        mask,
        value,
        name,
        feature,
    }
}

const DOTPROD: Option<Feature> = Some(Feature::Dotprod);
const I8MM: Option<Feature> = Some(Feature::I8mm);
const BF16: Option<Feature> = Some(Feature::Bf16);
const FP16: Option<Feature> = Some(Feature::Fp16);
const LSE: Option<Feature> = Some(Feature::Lse);
const RDM: Option<Feature> = Some(Feature::Rdm);
const CRC: Option<Feature> = Some(Feature::Crc);
const CRYPTO: Option<Feature> = Some(Feature::Crypto);
const SVE: Option<Feature> = Some(Feature::Sve);

const CLASSES: &[Class] = &[
    class(0x1E00_0000, 0x0400_0000, "sve", SVE),
    class(0x9E00_0000, 0x8000_0000, "sme", None),
    // Dot products: vector, by element.
    class(0x9F20_FC00, 0x0E00_9400, "dotprod", DOTPROD),
    class(0x9FC0_F400, 0x0F80_E000, "dotprod", DOTPROD),
    // Mixed-sign dot products and matrix products.
    class(0xBF40_F400, 0x0F00_F000, "i8mm", I8MM),
    class(0xBFE0_FC00, 0x0E80_9C00, "i8mm", I8MM),
    class(0xDFE0_F400, 0x4E80_A400, "i8mm", I8MM),
    // bfloat16: dot products, matrix products, long multiply-adds, conversions.
    class(0xBF40_F400, 0x0F40_F000, "bf16", BF16),
    class(0xBFE0_FC00, 0x2E40_FC00, "bf16", BF16),
    class(0xFFE0_FC00, 0x6E40_EC00, "bf16", BF16),
    class(0xBFE0_FC00, 0x2EC0_FC00, "bf16", BF16),
    class(0xBFFF_FC00, 0x0EA1_6800, "bf16", BF16),
    class(0xFFFF_FC00, 0x1E63_4000, "bf16", BF16),
    // Half precision, vectors: three registers, two registers, across lanes, by element, immediate.
    class(0x9F60_C400, 0x0E40_0400, "fp16", FP16),
    class(0x9F7E_0C00, 0x0E78_0800, "fp16", FP16),
    class(0xBF7F_FC00, 0x0E30_C800, "fp16", FP16),
    class(0xBF7F_FC00, 0x0E30_F800, "fp16", FP16),
    class(0xBFC0_B400, 0x0F00_1000, "fp16", FP16),
    class(0x9FC0_F400, 0x0F00_9000, "fp16", FP16),
    class(0xBFF8_FC00, 0x0F00_FC00, "fp16", FP16),
    class(0xDF60_C400, 0x5E40_0400, "fp16", FP16),
    class(0xDF7E_0C00, 0x5E78_0800, "fp16", FP16),
    // Half precision, scalars; conversions to other precisions are part of the base ([`is_half_conversion`]).
    class(0xFFC0_0000, 0x1FC0_0000, "fp16", FP16),
    class(0x5FC0_0000, 0x1EC0_0000, "fp16", FP16),
    // Fused half-to-single multiply-adds, Armv8.3 complex numbers and JavaScript conversion.
    class(0xBF60_FC00, 0x0E20_EC00, "fhm", None),
    class(0xBF60_FC00, 0x2E20_CC00, "fhm", None),
    class(0xBF20_E400, 0x2E00_C400, "fcma", None),
    class(0xBF20_EC00, 0x2E00_E400, "fcma", None),
    class(0xFFFF_FC00, 0x1E7E_0000, "jscvt", None),
    // Rounding doubling multiply-accumulate: vector, scalar, by element.
    class(0xBF20_F400, 0x2E00_8400, "rdm", RDM),
    class(0xFF20_F400, 0x7E00_8400, "rdm", RDM),
    class(0xBF00_D400, 0x2F00_D000, "rdm", RDM),
    class(0xFF00_D400, 0x7F00_D000, "rdm", RDM),
    // Atomics: compare and swap, pairs, read-modify-write.
    class(0x3FA0_7C00, 0x08A0_7C00, "lse", LSE),
    class(0xBFA0_7C00, 0x0820_7C00, "lse", LSE),
    class(0x3F20_0C00, 0x3820_0000, "lse", LSE),
    class(0x7FE0_E000, 0x1AC0_4000, "crc", CRC),
    // Cryptography: AES, SHA, 64-bit polynomial products.
    class(0xFF3E_0C00, 0x4E28_0800, "crypto", CRYPTO),
    class(0xFFE0_8C00, 0x5E00_0000, "crypto", CRYPTO),
    class(0xFFFF_0C00, 0x5E28_0800, "crypto", CRYPTO),
    class(0xBFE0_FC00, 0x0EE0_E000, "crypto", CRYPTO),
    // Pointer authentication outside of the hint space.
    class(0xFFFF_FBFF, 0xD65F_0BFF, "pauth", None),
];

/// Conversions from half precision, part of the base since Armv8.0: `fcvt s, h` and `fcvt d, h`.
fn is_half_conversion(word: u32) -> bool {
    matches!(word & 0xFFFF_FC00, 0x1EE2_4000 | 0x1EE2_C000)
}

/// The extension that a word needs, `None` for the base.
pub fn needs(word: u32) -> Option<&'static Class> {
    if is_half_conversion(word) {
        return None;
    }
    CLASSES.iter().find(|c| word & c.mask == c.value)
}

/// `ret`, also with authentication.
pub fn is_return(word: u32) -> bool {
    word & 0xFFFF_FC1F == 0xD65F_0000 || word & 0xFFFF_FBFF == 0xD65F_0BFF
}

/// `br`.
pub fn is_indirect_jump(word: u32) -> bool {
    word & 0xFFFF_FC1F == 0xD61F_0000 || word & 0xFEFF_F800 == 0xD61F_0800
}

/// `udf`, `brk`, `hlt`, `svc`, `hvc`, `smc`.
pub fn is_trap(word: u32) -> bool {
    word & 0xFFFF_0000 == 0 || word & 0xFF00_0000 == 0xD400_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as GNU's assembler makes them, with what they need.
    #[test]
    fn known_words() {
        for (word, name) in [
            (0x4e80_9400, Some("dotprod")), // sdot v0.4s, v0.16b, v0.16b
            (0x6f80_e000, Some("dotprod")), // udot v0.4s, v0.16b, v0.4b[0]
            (0x4e80_a400, Some("i8mm")),    // smmla v0.4s, v0.16b, v0.16b
            (0x6e80_a400, Some("i8mm")),    // ummla
            (0x4e80_ac00, Some("i8mm")),    // usmmla
            (0x4e80_9c00, Some("i8mm")),    // usdot
            (0x4f00_f000, Some("i8mm")),    // sudot by element
            (0x6e40_fc00, Some("bf16")),    // bfdot v0.4s, v0.8h, v0.8h
            (0x6e40_ec00, Some("bf16")),    // bfmmla
            (0x4e40_1400, Some("fp16")),    // fadd v0.8h, v0.8h, v0.8h
            (0x4e40_0c00, Some("fp16")),    // fmla v0.8h
            (0x4f00_1000, Some("fp16")),    // fmla v0.8h, v0.8h, v0.h[0]
            (0x1ee0_2800, Some("fp16")),    // fadd h0, h0, h0
            (0x1fc0_0000, Some("fp16")),    // fmadd h0, h0, h0, h0
            (0x0420_0000, Some("sve")),     // add z0.b, z0.b, z0.b
            (0xb820_0000, Some("lse")),     // ldadd w0, w0, [x0]
            (0x1ee2_4000, None),            // fcvt s0, h0
            (0x1e23_c000, None),            // fcvt h0, s0
            (0x0e21_7800, None),            // fcvtl v0.4s, v0.4h
            (0x4f80_1000, None),            // fmla v0.4s, v0.4s, v0.s[0]
            (0x4e20_cc00, None),            // fmla v0.4s, v0.4s, v0.4s
            (0x4e04_0400, None),            // dup v0.4s, v0.s[0]
            (0x6e04_0400, None),            // mov v0.s[0], v0.s[0]
            (0x4e60_c000, None),            // smull2 v0.4s, v0.8h, v0.8h
            (0x4e60_8400, None),            // add v0.8h, v0.8h, v0.8h
            (0x1e20_2800, None),            // fadd s0, s0, s0
            (0x1e60_2800, None),            // fadd d0, d0, d0
            (0x9e22_0000, None),            // scvtf s0, x0
            (0x4f00_0400, None),            // movi v0.4s, #0
            (0x6f00_e400, None),            // movi v0.2d, #0
            (0xf862_6820, None),            // ldr x0, [x1, x2]
            (0xd503_245f, None),            // bti c
        ] {
            assert_eq!(needs(word).map(|c| c.name), name, "{word:08x}");
        }
    }
}
