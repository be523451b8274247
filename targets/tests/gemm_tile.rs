//! The GEMM tiles of every shape: only declared instructions, and the right numbers where they can run, NEON under qemu.

use std::fmt::Write as _;
use std::process::Command;

use onnxc_compiler::contracts::References;
use onnxc_compiler::contracts::gemm_blocked::callee;
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::loops::interp::{CalleeResolver as _, run_simple};
use onnxc_targets::Arch;
use onnxc_targets::aarch64::kernels::gemm::GEMM_TILE_F32_8X12_NEON;
use onnxc_targets::audit::audit;
use onnxc_targets::features::{Feature, FeatureSet};
use onnxc_targets::x86_64::kernels::gemm::GEMM_TILE_F32_6X16_AVX2FMA;

fn shapes(tile: &Tile) -> Vec<(i64, i64, bool)> {
    let all = (1..=tile.tile.0).flat_map(|m| (1..=tile.tile.1).map(move |n| (m, n)));
    all.flat_map(|(m, n)| [(m, n, false), (m, n, true)])
        .collect()
}

#[test]
fn only_declared_instructions() {
    let x86 = FeatureSet::of(&[Feature::Avx2, Feature::Fma]).closed();
    for (tile, arch, features) in [
        (&GEMM_TILE_F32_6X16_AVX2FMA, Arch::X86_64, x86),
        (
            &GEMM_TILE_F32_8X12_NEON,
            Arch::Aarch64,
            FeatureSet::base(Arch::Aarch64),
        ),
    ] {
        for (m, n, acc) in shapes(tile) {
            let plain = (tile.make)(&callee(tile, m, n, acc), false).unwrap();
            let padded = (tile.make)(&callee(tile, m, n, acc), true).unwrap();
            for code in [&plain, &padded] {
                let found = audit(&code.bytes, arch, features);
                assert!(found.is_empty(), "{} {m}x{n}: {found:?}", tile.name);
            }
            // The landing pad is all that differs.
            assert_eq!(padded.bytes.len(), plain.bytes.len() + 4);
            let pad: [u8; 4] = if arch == Arch::X86_64 {
                [0xf3, 0x0f, 0x1e, 0xfa]
            } else {
                [0x5f, 0x24, 0x03, 0xd5]
            };
            assert_eq!(padded.bytes[..4], pad);
            // The same bytes each time.
            assert_eq!(plain, (tile.make)(&callee(tile, m, n, acc), false).unwrap());
        }
        assert!((tile.make)(&callee(tile, tile.tile.0 + 1, 1, false), false).is_err());
        assert!((tile.make)(&callee(tile, 1, 0, false), false).is_err());
        assert!((tile.make)(&callee(tile, 1, tile.tile.1 + 1, false), false).is_err());
    }
}

/// The contract's reference, interpreted, against chains of fused multiply-adds written out here.
#[test]
fn the_reference_is_a_chain_of_fmas() {
    let mut seed = 1u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let bytes = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    for (m, n, acc, k) in [
        (1, 1, false, 0),
        (1, 1, true, 0),
        (3, 5, true, 7),
        (6, 16, false, 9),
        (2, 3, true, 1),
    ] {
        let shape = callee(&GEMM_TILE_F32_6X16_AVX2FMA, m, n, acc);
        let reference = References::default()
            .reference(&shape)
            .expect("the contract is on the roll");
        let (m, n, k) = (m as usize, n as usize, k as usize);
        let (a_row, a_k, b_k, c_row) = (2usize, 2 * m, n + 1, n + 3);
        let a: Vec<f32> = (0..2 * m * (k + 1)).map(|_| next()).collect();
        let b: Vec<f32> = (0..b_k * (k + 1)).map(|_| next()).collect();
        let c: Vec<f32> = (0..c_row * m).map(|_| next()).collect();
        let mut want = c.clone();
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let start = if acc { c[i * c_row + j] } else { 0.0 };
            want[i * c_row + j] = (0..k).fold(start, |s, p| {
                a[i * a_row + p * a_k].mul_add(b[p * b_k + j], s)
            });
        }
        let (mut a, mut b, mut c) = (bytes(&a), bytes(&b), bytes(&c));
        let ints = [a_row, a_k, b_k, c_row, k].map(|v| v as i64);
        run_simple(&reference, vec![&mut a, &mut b, &mut c], &ints).unwrap();
        assert_eq!(c, bytes(&want), "{m}x{n} k {k}");
    }
}

/// What a callee must keep is never written: rbx, rbp, r12-r15; and the stack is only read, above its pointer.
#[test]
fn the_avx2_tile_keeps_the_callers_registers() {
    use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, Mnemonic, OpAccess, Register};
    let kept = [
        Register::RBX,
        Register::RBP,
        Register::RSP,
        Register::R12,
        Register::R13,
        Register::R14,
        Register::R15,
    ];
    for (m, n, acc) in shapes(&GEMM_TILE_F32_6X16_AVX2FMA) {
        let code = (GEMM_TILE_F32_6X16_AVX2FMA.make)(
            &callee(&GEMM_TILE_F32_6X16_AVX2FMA, m, n, acc),
            false,
        )
        .unwrap();
        let mut info = InstructionInfoFactory::new();
        let mut list = Vec::new();
        for i in &mut Decoder::new(64, &code.bytes, DecoderOptions::NONE) {
            list.push(i.mnemonic());
            if i.mnemonic() == Mnemonic::Ret {
                break;
            }
            for used in info.info(&i).used_registers() {
                assert!(
                    !kept.contains(&used.register().full_register())
                        || used.access() == OpAccess::Read,
                    "{i}"
                );
            }
            for used in info
                .info(&i)
                .used_memory()
                .iter()
                .filter(|u| u.base() == Register::RSP)
            {
                assert!(
                    used.access() == OpAccess::Read && [8, 16].contains(&used.displacement()),
                    "{i}"
                );
            }
        }
        assert!(list.ends_with(&[Mnemonic::Vzeroupper, Mnemonic::Ret]));
    }
}

#[test]
fn the_audit_sees_what_is_not_declared() {
    let code =
        (GEMM_TILE_F32_6X16_AVX2FMA.make)(&callee(&GEMM_TILE_F32_6X16_AVX2FMA, 6, 16, true), false)
            .unwrap();
    let found = audit(
        &code.bytes,
        Arch::X86_64,
        FeatureSet::of(&[Feature::Avx2]).closed(),
    );
    assert!(
        found
            .iter()
            .all(|f| f.text.starts_with("vfmadd231ps") && f.why.contains("FMA"))
            && found.len() == 60
    );
    let traps = audit(&[0x0f, 0x0b], Arch::X86_64, FeatureSet::EMPTY);
    assert_eq!(traps.len(), 1);
    // ret; int3: padding that nothing reaches.
    assert!(audit(&[0xc3, 0xcc], Arch::X86_64, FeatureSet::EMPTY).is_empty());
    // cbz x0, .+8; brk #0; sdot v0.4s, v0.16b, v0.16b; ret
    let words = [0xb400_0040u32, 0xd420_0000, 0x4e80_9400, 0xd65f_03c0];
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let found = audit(&bytes, Arch::Aarch64, FeatureSet::base(Arch::Aarch64));
    assert_eq!(
        found.iter().map(|f| f.offset).collect::<Vec<_>>(),
        [4, 8],
        "{found:?}"
    );
    let found = audit(
        &bytes,
        Arch::Aarch64,
        FeatureSet::of(&[Feature::Dotprod]).closed(),
    );
    assert_eq!(found.len(), 1);
}

/// A program that calls every tile over small matrices between canaries and compares each element's bits with plain loops.
const HARNESS: &str = r#"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
typedef void tile(const float *, int64_t, int64_t, const float *, int64_t, float *, int64_t, int64_t);
typedef struct { tile *f; int m, n, acc; } row;
ROWS
static float a[4096], b[4096], c[512], d[512];
static unsigned seed = 1;
static float next(void) { seed = seed * 1664525u + 1013904223u; return (float)(int)(seed >> 8) / 8388608.0f - 1.0f; }
/* Exactly what the tile may touch is finite; all else is NaN and must neither spread nor change. */
static int check(const row *r, int64_t k, int64_t ars, int64_t aks, int64_t bks, int64_t crs) {
  for (int i = 0; i < 4096; i++) a[i] = b[i] = NAN;
  for (int i = 0; i < 512; i++) c[i] = NAN;
  for (int i = 0; i < r->m; i++) for (int p = 0; p < k; p++) a[3 + i * ars + p * aks] = next();
  for (int p = 0; p < k; p++) for (int j = 0; j < r->n; j++) b[1 + p * bks + j] = next();
  if (r->acc) for (int i = 0; i < r->m; i++) for (int j = 0; j < r->n; j++) c[5 + i * crs + j] = next();
  memcpy(d, c, sizeof c);
  for (int i = 0; i < r->m; i++) for (int j = 0; j < r->n; j++) {
    float s = r->acc ? d[5 + i * crs + j] : 0.0f;
    for (int p = 0; p < k; p++) s = fmaf(a[3 + i * ars + p * aks], b[1 + p * bks + j], s);
    d[5 + i * crs + j] = s;
  }
  CALL
  return memcmp(c, d, sizeof c) != 0;
}
int main(void) {
  int bad = 0;
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
    const row *r = &rows[i];
    for (int64_t k = 0; k <= 13; k++) {
      int fails = check(r, k, 20, 1, r->n, 40) + check(r, k, 1, r->m, 17, r->n) + check(r, k, 64, 3, 31, 19);
      if (fails) { printf("%dx%d acc %d k %d: %d wrong\n", r->m, r->n, r->acc, (int)k, fails); bad = 1; }
    }
  }
  return bad;
}
"#;

/// A call that returns how many of the registers a callee must keep came back changed.
fn guarded_call() -> String {
    let mut asm = String::from("stp x29, x30, [sp, #-176]!\n");
    let saved: Vec<(u8, u8, u8)> = (0..5)
        .map(|i| (19 + 2 * i, 20 + 2 * i, 16 + 16 * i))
        .collect();
    for (r, s, at) in saved.iter().filter(|(r, ..)| *r < 28) {
        writeln!(asm, "stp x{r}, x{s}, [sp, #{at}]").unwrap();
    }
    asm.push_str("str x28, [sp, #88]\n");
    for i in 0..4 {
        writeln!(
            asm,
            "stp d{}, d{}, [sp, #{}]",
            8 + 2 * i,
            9 + 2 * i,
            96 + 16 * i
        )
        .unwrap();
    }
    (18..=28).for_each(|x| writeln!(asm, "mov x{x}, #{}", 0x1000 + x).unwrap());
    (8..=15).for_each(|d| writeln!(asm, "fmov d{d}, #{d}.0").unwrap());
    asm.push_str("adrp x9, callee\nldr x9, [x9, :lo12:callee]\nblr x9\nmov x0, #0\n");
    (18..=28).for_each(|x| {
        writeln!(
            asm,
            "mov x1, #{}\ncmp x{x}, x1\ncinc x0, x0, ne",
            0x1000 + x
        )
        .unwrap()
    });
    (8..=15)
        .for_each(|d| writeln!(asm, "fmov d0, #{d}.0\nfcmp d{d}, d0\ncinc x0, x0, ne").unwrap());
    for i in 0..4 {
        writeln!(
            asm,
            "ldp d{}, d{}, [sp, #{}]",
            8 + 2 * i,
            9 + 2 * i,
            96 + 16 * i
        )
        .unwrap();
    }
    asm.push_str("ldr x28, [sp, #88]\n");
    for (r, s, at) in saved.iter().filter(|(r, ..)| *r < 28) {
        writeln!(asm, "ldp x{r}, x{s}, [sp, #{at}]").unwrap();
    }
    asm.push_str("ldp x29, x30, [sp], #176\nret\n");
    let lines: String = asm.lines().map(|l| format!("  \"{l}\\n\"\n")).collect();
    format!(
        "tile *callee;\nextern int64_t guarded(const float *, int64_t, int64_t, const float *, int64_t, float *, int64_t, int64_t);\n__asm__(\".text\\nguarded:\\n\"\n{lines});\n"
    )
}

const CALL_A64: &str =
    "callee = r->f; if (guarded(a + 3, ars, aks, b + 1, bks, c + 5, crs, k)) return 1;";

const CALL_C: &str = "r->f(a + 3, ars, aks, b + 1, bks, c + 5, crs, k);";

/// The harness with all shapes of a tile as byte arrays in an executable section.
fn harness(tile: &Tile, before: &str, call: &str) -> String {
    let mut text = before.to_string();
    let mut table = String::from("static const row rows[] = {\n");
    for (m, n, acc) in shapes(tile) {
        let code = (tile.make)(&callee(tile, m, n, acc), true).unwrap();
        let name = format!("t{m}_{n}_{}", i32::from(acc));
        writeln!(text, "extern tile {name};").unwrap();
        let bytes: Vec<String> = code.bytes.iter().map(|b| b.to_string()).collect();
        writeln!(
            text,
            "__asm__(\".text\\n.balign 64\\n{name}: .byte {}\\n\");",
            bytes.join(",")
        )
        .unwrap();
        writeln!(table, "  {{ {name}, {m}, {n}, {} }},", i32::from(acc)).unwrap();
    }
    HARNESS
        .replace("ROWS", &format!("{text}{table}}};\n"))
        .replace("CALL", call)
}

/// Builds and runs; `Err` says which tool is missing.
fn build_and_run(source: &str, compiler: &[&str], runner: &[&str]) -> Result<(), String> {
    for tool in [Some(&compiler[0]), runner.first()].into_iter().flatten() {
        Command::new(tool)
            .arg("--version")
            .output()
            .map_err(|_| format!("{tool} is not installed"))?;
    }
    let dir = tempfile::tempdir().unwrap();
    let (src, exe) = (dir.path().join("t.c"), dir.path().join("t"));
    std::fs::write(&src, source).unwrap();
    let out = Command::new(compiler[0])
        .args(&compiler[1..])
        .arg("-o")
        .arg(&exe)
        .arg(&src)
        .arg("-lm")
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let mut run = match runner {
        [] => Command::new(&exe),
        [program, args @ ..] => {
            let mut c = Command::new(program);
            c.args(args).arg(&exe);
            c
        }
    };
    let out = run.output().unwrap();
    assert!(
        out.status.success(),
        "{}{}{:?}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
        out.status
    );
    Ok(())
}

#[test]
fn neon_tile_under_qemu() {
    let source = harness(&GEMM_TILE_F32_8X12_NEON, &guarded_call(), CALL_A64);
    let compiler = ["aarch64-linux-gnu-gcc", "-O1", "-static", "-ffixed-x18"];
    if let Err(why) = build_and_run(&source, &compiler, &["qemu-aarch64-static"]) {
        eprintln!("skipped: {why}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn avx2_tile_on_this_machine() {
    if !(std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"))
    {
        eprintln!("skipped: this CPU has no AVX2 and FMA");
        return;
    }
    let source = harness(&GEMM_TILE_F32_6X16_AVX2FMA, "", CALL_C);
    if let Err(why) = build_and_run(&source, &["cc", "-O1", "-mfma"], &[]) {
        eprintln!("skipped: {why}");
    }
}
