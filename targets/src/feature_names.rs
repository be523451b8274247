//! Names of features that decide nothing here: known, so that they are not called misspelt.
//!
//! Words separated by spaces, in the spellings of gcc, LLVM and `/proc/cpuinfo`.

/// Parts of the base of x86_64, which can't be switched off.
pub const BASE_X86: &str = "sse sse2 mmx fxsr cx8 cmov x87 64bit 80387 hard-float";

/// Parts of the base of aarch64, which can't be switched off.
pub const BASE_A64: &str = "neon asimd simd fp fp-armv8";

/// Features of x86_64 that change nothing.
pub const UNUSED_X86: &str = "sse4a fma4 xop tbm lwp 3dnow 3dnowa aes pclmul pclmulqdq sha vaes vpclmulqdq gfni movbe \
    adx rdrnd rdrand rdseed rdpid rtm hle fsgsbase xsave xsavec xsaveopt xsaves clflushopt \
    clwb clzero prfchw prefetchwt1 mwaitx cx16 cmpxchg16b sahf lahf_lm wbnoinvd pku shstk sgx \
    ptwrite waitpkg cldemote movdiri movdir64b enqcmd serialize tsxldtrk uintr hreset kl \
    widekl invpcid crc32 avx512er avx512pf avx512ifma avx512_ifma avx512vbmi2 \
    avx512_vbmi2 avx512bitalg avx512_bitalg avx512vpopcntdq avx512_vpopcntdq \
    avx512vp2intersect avx512bf16 avx512_bf16 avx512fp16 avx512_fp16 avxifma avxvnniint8 \
    avxvnniint16 avxneconvert sha512 sm3 sm4 amx-tile amx-int8 amx-bf16 amx-fp16 amx-complex \
    cmpccxadd raoint prefetchi usermsr apxf avx10.1 avx10.1-256 avx10.1-512 avx10.2 evex512";

/// Features of aarch64 that change nothing.
pub const UNUSED_A64: &str = "fp16fml fhm asimdfhm sha3 sha512 sm3 sm4 profile spe rng rand memtag mte sb ssbs predres \
    predres2 pauth pauth-lr paca pacg bti rcpc lrcpc ilrcpc rcpc2 rcpc3 rcpc-immo flagm flagm2 \
    altnzcv jscvt jsconv fcma fcpm complxnum compnum dit dpb dcpop ccdp dcpodp ccpp frintts \
    fptoint frint uscat evtstrm cpuid ras rasv2 tme ls64 mops cssc hbc the d128 gcs chk wfxt \
    xs pan pan-rwe lor vh perfmon trbe ete brbe f32mm f64mm sve-i8mm svei8mm sve-bf16 svebf16 \
    svef32mm svef64mm sve2-aes sveaes svepmull sve2-bitperm svebitperm sve2-sha3 svesha3 \
    sve2-sm4 svesm4 sve2p1 sve-b16b16 sme sme2 sme2p1 sme-i16i64 sme-f64f64 sme-f16f16 \
    sme-b16b16 sme-fa64 fp8 fp8dot2 fp8dot4 fp8fma faminmax lut cpa lse128 lse2 \
    outline-atomics reserve-x18 v8a v8.1a v8.2a v8.3a v8.4a v8.5a v8.6a v8.7a v8.8a v8.9a v9a \
    v9.1a v9.2a v9.3a v9.4a v9.5a ecv ecbhb bs16 dgh bf16cvt ebf16 fgt amvs nv mpam \
    contextidr-el2 tlb-rmi sel2 spe-eef";
