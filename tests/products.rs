//! The instructions that a roofline judges kernels by are those in their code: at every level, tiles of floats and of whole numbers.

#[path = "integers/layers.rs"]
#[allow(dead_code, reason = "the answers are of other tests")]
mod layers;

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions};
use layers::{conv, matmul};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use onnxc_compiler::codegen::Options;
use onnxc_compiler::kernel::Tile;
use onnxc_compiler::plan::build;
use onnxc_compiler::target::{Arch, Target};
use onnxc_targets::audit::a64_text;
use onnxc_targets::probe;
use onnxc_tests::graphs::{Rng, optimised_for, read};
use onnxc_tests::run::{object, target};

/// Floats: products of a point and of a window, with few and with many channels, and zeros among weights.
const FLOATS: &str = "graph @g(%a: f32[1,32,14,14], %b: f32[20,96]) -> (%c, %d, %e) {
  %w = lit f32[48,32,1,1] rand(1)
  %v = lit f32[48,1,3,3] rand(2)
  %x = lit f32[96,40] rand(3)
  %c = Conv(%a, %w)
  %d = Conv(%c, %v) { group = 48, pads = [1, 1, 1, 1] }
  %e = MatMul(%b, %x)
}";

/// The functions of an object that are code of a tile, each as text.
fn codes<'a>(object: &[u8], target: &'a Target) -> Vec<(&'a Tile, Vec<String>)> {
    let file = object::File::parse(object).expect("an object");
    let mut out = vec![];
    for symbol in file.symbols() {
        let name = symbol.name().unwrap_or_default();
        let Some((_, name)) = name.split_once("_tile_") else {
            continue;
        };
        let tile = target.machine.tiles.iter().find(|t| name[4..] == *t.name);
        let tile = tile.unwrap_or_else(|| panic!("no tile {name}"));
        let section = symbol.section_index().expect("a place");
        let section = file.section_by_index(section).expect("a section");
        let from = (symbol.address() - section.address()) as usize;
        let code = &section.data().expect("code")[from..][..symbol.size() as usize];
        let text = match target.arch {
            Arch::X86_64 => Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
                .iter()
                .map(|i| i.to_string())
                .collect(),
            Arch::Aarch64 => (code.as_chunks().0.iter())
                .filter_map(|w| word(u32::from_le_bytes(*w)))
                .collect(),
        };
        out.push((*tile, text));
    }
    out
}

/// The text of a word; the decoder does not know products of matrices.
fn word(word: u32) -> Option<String> {
    match word & 0xDFE0_F400 {
        0x4E80_A400 => Some("smmla v.4s".into()),
        _ => a64_text(word),
    }
}

/// Whether one of the lines is the instruction, in those registers.
fn holds(lines: &[String], mnemonic: &str, registers: &str) -> bool {
    lines.iter().any(|l| {
        let (name, operands) = l.split_once(' ').unwrap_or((l, ""));
        let name = name.strip_prefix('u').unwrap_or(name).trim_end_matches('2');
        name == mnemonic && operands.contains(registers)
    })
}

#[test]
fn tiles_multiply_with_what_is_said() {
    let x86 = [
        "x86-64",
        "x86-64-v3",
        "x86-64-v4",
        "icelake-server",
        "alderlake",
    ];
    let a64 = ["", "cortex-a76", "neoverse-v1"];
    let targets = (x86.iter().map(|c| target(Arch::X86_64, c)))
        .chain(a64.iter().map(|c| target(Arch::Aarch64, c)));
    let mut said = BTreeSet::new();
    for t in targets {
        let mut r = Rng::new(7);
        let layers: Vec<_> = (0..60)
            .map(|n| match n % 3 {
                0 => matmul(&mut r, n),
                _ => conv(&mut r, n),
            })
            .collect();
        let texts = layers
            .iter()
            .enumerate()
            .map(|(n, l)| format!("graph @g({}) -> (%y{n}) {{\n{}}}", l.input, l.text));
        for text in texts.chain([FLOATS.to_string()]) {
            let model = read(&text).expect("a model");
            let model = optimised_for(&model, &t.machine).expect("optimised");
            let program = build::build(&model, &t.machine, &build::Options::default());
            let program = program.unwrap_or_else(|e| panic!("{:?}", e.list));
            let bytes = object(&program, &t, &Options::default()).expect("an object");
            for (tile, lines) in codes(&bytes, &t) {
                let Some(p) = probe::products(t.arch, tile) else {
                    let multiplies = ["fmadd", "vpmaddwd", "vpdp", "sdot", "smlal", "smmla"];
                    let one = lines
                        .iter()
                        .find(|l| multiplies.iter().any(|m| l.contains(m)));
                    let works = tile.contract.starts_with("winograd_");
                    assert!(works || one.is_none(), "{}: {one:?}", tile.name);
                    continue;
                };
                let (names, registers) = p.instruction.rsplit_once(' ').expect("registers");
                for name in names.split(", ") {
                    assert!(
                        holds(&lines, name, registers),
                        "{} for {}: no {name} {registers} in\n{}",
                        tile.name,
                        t.cpu,
                        lines.join("\n")
                    );
                }
                said.insert(p.instruction);
            }
        }
    }
    // All of them came up, those of the probes alone apart.
    let all = [Arch::X86_64, Arch::Aarch64]
        .map(probe::multipliers)
        .into_iter()
        .flatten();
    let missing: Vec<_> = all.filter(|p| !said.contains(p.instruction)).collect();
    let missing: Vec<_> = missing.iter().map(|p| p.instruction).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
