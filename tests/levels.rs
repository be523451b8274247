//! Several levels of CPU in one object: each is the code that an object of its own would hold, and the entry chooses by the word.

use object::{Object as _, ObjectSymbol as _};
use onnxc::loader::{Model, host_arch};
use onnxc_abi::cpu::DETECTED;
use onnxc_compiler::artifact::{Placement, header};
use onnxc_compiler::base::diag::Diagnostics;
use onnxc_compiler::codegen::object::audit;
use onnxc_compiler::onnx::NoFiles;
use onnxc_compiler::target::{Arch, Target};
use onnxc_compiler::{Artifact, Options, Quiet, level_name};
use onnxc_targets::features::FeatureSet;
use onnxc_targets::machine;
use onnxc_tests::generate::root;
use onnxc_tests::instructions::outside_of;
use onnxc_tests::run::{native_targets, target};
use onnxc_tests::tools::{have, run, text};

const X86: [&str; 4] = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"];
const A64: [&str; 3] = ["cortex-a53", "cortex-a76", "neoverse-v1"];

fn digits() -> Vec<u8> {
    let path = root().join("examples/digits/digits.onnx");
    std::fs::read(path).expect("the example")
}

fn made(arch: Arch, cpus: &[&str], options: &Options) -> Artifact {
    let targets: Vec<Target> = cpus.iter().map(|c| target(arch, c)).collect();
    let mut diags = Diagnostics::default();
    let made = match targets.as_slice() {
        [one] => onnxc_compiler::compile(
            digits().into(),
            &NoFiles,
            one,
            options,
            &mut Quiet,
            &mut diags,
        ),
        _ => onnxc_compiler::compile_levels(
            digits().into(),
            &NoFiles,
            &targets,
            options,
            &mut Quiet,
            &mut diags,
        ),
    };
    made.unwrap_or_else(|| panic!("{:?}", diags.list))
}

fn options() -> Options {
    Options {
        prefix: "digits".into(),
        ..Options::default()
    }
}

#[test]
fn objects_are_what_one_level_promises() {
    for (arch, cpus) in [(Arch::X86_64, &X86[..]), (Arch::Aarch64, &A64[..])] {
        let all = made(arch, cpus, &options());
        assert_eq!(audit(&all.object, "digits"), Vec::<String>::new());
        assert_eq!(all.object, made(arch, cpus, &options()).object);
        let info = &all.info;
        assert_eq!(info.levels.len(), cpus.len());
        let singles: Vec<Artifact> = cpus.iter().map(|c| made(arch, &[*c], &options())).collect();
        let layers: usize = singles.iter().map(|s| s.info.layers.len()).sum();
        assert_eq!(info.layers.len(), layers);
        for (level, single) in info.levels.iter().zip(&singles) {
            assert_eq!(level.arena_bytes, single.info.arena_bytes);
            assert!(level.arena_bytes <= info.arena_bytes);
            assert!(single.info.stack_bytes <= info.stack_bytes);
        }
        // What a report says of a run is one run: of the best level.
        let macs = |a: &Artifact| a.info.run().iter().map(|l| l.macs).sum::<u64>();
        assert_eq!(macs(&all), macs(&singles[singles.len() - 1]));
        // What levels have in common lies there once.
        let weights: u64 = singles.iter().map(|s| s.info.weights_bytes).sum();
        assert!(
            info.weights_bytes < weights,
            "{} of {weights}",
            info.weights_bytes
        );
    }
}

#[test]
fn each_level_keeps_to_its_features() {
    for (arch, cpus) in [(Arch::X86_64, &X86[..]), (Arch::Aarch64, &A64[..])] {
        let all = made(arch, cpus, &options());
        let names: Vec<String> = cpus
            .iter()
            .map(|c| format!("digits_{}_", level_name(c)))
            .collect();
        // The longest name that a symbol begins with is its level's.
        let level = |symbol: &str| {
            let of = names
                .iter()
                .enumerate()
                .filter(|(_, n)| symbol.starts_with(n.as_str()));
            of.max_by_key(|(_, n)| n.len()).map(|(k, _)| k)
        };
        for (k, cpu) in cpus.iter().enumerate() {
            let features = machine::features(arch, &target(arch, cpu).machine);
            let found = outside_of(&all.object, arch, features, &|s| level(s) == Some(k));
            assert_eq!(found, Vec::<String>::new(), "{cpu}");
        }
        // What belongs to no level runs anywhere.
        let found = outside_of(&all.object, arch, FeatureSet::base(arch), &|s| {
            level(s).is_none()
        });
        assert_eq!(found, Vec::<String>::new());
        let file = object::File::parse(&*all.object).expect("an object");
        let alone = file.symbols().filter(|s| s.is_global()).count();
        assert_eq!(alone, 2);
    }
}

// The numbers of the layers that ran, and the output.
fn run_at(object: &[u8], word: u32) -> (Vec<u32>, Vec<u8>) {
    let model = Model::load(object, "digits").expect("loads");
    let mut session = model.session(&Default::default()).expect("a session");
    let input = session.input_mut(0).expect("an input");
    for (k, pixel) in input.chunks_exact_mut(4).enumerate() {
        pixel.copy_from_slice(&((k * 7 % 16) as f32).to_le_bytes());
    }
    let mut layers = vec![];
    let status = session.run_with(&mut |ctx| ctx.cpu_level = word, &mut |layer, begin| {
        if begin {
            layers.push(layer);
        }
    });
    assert_eq!(status, 0);
    (layers, session.output(0).expect("an output").to_vec())
}

#[test]
fn the_word_chooses_and_the_bits_are_those_of_one_level() {
    if host_arch() != Some(Arch::X86_64) {
        return;
    }
    let all = made(Arch::X86_64, &X86, &options());
    let native: Vec<Target> = native_targets();
    for (k, cpu) in X86.iter().enumerate() {
        let wanted = target(Arch::X86_64, cpu);
        let covered = |t: &Target| wanted.machine.features.iter().all(|f| t.machine.has(f));
        if !native.iter().any(covered) {
            continue;
        }
        let (layers, output) = run_at(&all.object, wanted.cpu_word());
        let (first, count) = all.info.levels[k].layers;
        let range = first as u32..(first + count) as u32;
        assert!(
            layers.iter().all(|l| range.contains(l)) && !layers.is_empty(),
            "{cpu}: {layers:?}"
        );
        let single = made(Arch::X86_64, &[cpu], &options());
        assert_eq!(output, run_at(&single.object, 0).1, "{cpu}");
    }
    // Not known, or known to have nothing: the base.
    for word in [0, DETECTED, !DETECTED] {
        assert!(
            run_at(&all.object, word)
                .0
                .iter()
                .all(|l| (*l as usize) < all.info.levels[0].layers.1)
        );
    }
}

#[test]
fn a_bad_context_is_a_status_still() {
    if host_arch() != Some(Arch::X86_64) {
        return;
    }
    let all = made(Arch::X86_64, &X86[..2], &options());
    let model = Model::load(&all.object, "digits").expect("loads");
    assert_eq!(model.run_null(), onnxc_abi::status::NULL_POINTER);
    let mut session = model.session(&Default::default()).expect("a session");
    let short = session.run_changed(&mut |ctx| ctx.struct_size = 8);
    assert_eq!(short, onnxc_abi::status::BAD_VERSION);
    let small = session.run_changed(&mut |ctx| ctx.arena_size -= 1);
    assert_eq!(small, onnxc_abi::status::ARENA_TOO_SMALL);
}

const PROGRAM: &str = r#"
#include "digits.h"
#include <stdio.h>
DIGITS_DECLARE_ARENA(arena);
static uint32_t first = 0xffffffffu;
static void layer(void *user, uint32_t n, uint32_t begin) {
  (void)user;
  if (begin && first == 0xffffffffu) first = n;
}
int main(void) {
  static float in[DIGITS_INPUT_0_COUNT], out[DIGITS_OUTPUT_0_COUNT], again[DIGITS_OUTPUT_0_COUNT];
  const void *inputs[1];
  void *outputs[1];
  onnxc_context ctx;
  int i;
  inputs[0] = in;
  outputs[0] = out;
  for (i = 0; i < DIGITS_INPUT_0_COUNT; i++) in[i] = (float)(i * 7 % 16);
  digits_init_context(&ctx, arena, inputs, outputs);
  ctx.trace = layer;
  if (digits_run(&ctx) != ONNXC_OK || digits_infer(arena, in, again) != ONNXC_OK) return 1;
  for (i = 0; i < DIGITS_OUTPUT_0_COUNT; i++) if (out[i] != again[i]) return 2;
  printf("%u\n", (unsigned)first);
  return 0;
}
"#;

// The layer that runs first when the header's own detection chooses.
fn detected(arch: Arch, cpus: &[&str], gcc: &str, emulator: &[&str]) -> usize {
    let dir = tempfile::tempdir().expect("a folder");
    let made = made(arch, cpus, &options());
    std::fs::write(dir.path().join("digits.o"), &made.object).expect("written");
    std::fs::write(dir.path().join("digits.h"), header::header(&made.info)).expect("written");
    std::fs::write(dir.path().join("main.c"), PROGRAM).expect("written");
    let words = [
        "-std=c99", "-Wall", "-Wextra", "-Werror", "-static", "main.c", "digits.o", "-o", "program",
    ];
    run(dir.path(), gcc, &words);
    let program = dir.path().join("program");
    let program = program.to_str().expect("a path");
    let out = match emulator {
        [] => run(dir.path(), program, &[]),
        [first, rest @ ..] => run(dir.path(), first, &[rest, &[program]].concat()),
    };
    let first: usize = text(&out).trim().parse().expect("a number");
    let level = made.info.levels.iter().position(|l| l.layers.0 == first);
    level.expect("the first layer of a level")
}

#[test]
fn the_header_finds_what_the_cpu_can_do() {
    if host_arch() == Some(Arch::X86_64) && have("gcc") {
        let here = native_targets();
        let can = |cpu: &&&str| {
            let wanted = target(Arch::X86_64, cpu);
            here.iter()
                .any(|t| wanted.machine.features.iter().all(|f| t.machine.has(f)))
        };
        let best = X86.iter().filter(can).count() - 1;
        assert_eq!(detected(Arch::X86_64, &X86, "gcc", &[]), best);
    }
    let qemu = "qemu-aarch64-static";
    if have("aarch64-linux-gnu-gcc") && have(qemu) {
        for (cpu, level) in [("cortex-a53", 0), ("cortex-a76", 1), ("max", 2)] {
            let emulator = [qemu, "-cpu", cpu];
            assert_eq!(
                detected(Arch::Aarch64, &A64, "aarch64-linux-gnu-gcc", &emulator),
                level,
                "{cpu}"
            );
        }
    }
}

#[test]
fn weights_beside_the_object_serve_all_levels() {
    let mut options = options();
    options.placement = Placement::File;
    let all = made(Arch::X86_64, &X86, &options);
    let file = all.weights_file();
    assert_eq!(file.len() as u64, 65536 + all.info.weights_bytes);
    assert_eq!(audit(&all.object, "digits"), Vec::<String>::new());
}
