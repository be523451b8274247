//! Which kernel is chosen for which query on which machine, pinned: whatever changes a cost shows what it changes.

use onnxc::args::flags::TargetFlags;
use onnxc::bench::kernel;
use onnxc::machine::{Purpose, choose};
use onnxc::ui::Ui;
use onnxc_tests::generate::check_fresh;
use std::fmt::Write;

const MACHINES: [(&str, &str); 6] = [
    ("x86_64-linux-gnu", "x86-64-v2"),
    ("x86_64-linux-gnu", "x86-64-v3"),
    ("x86_64-linux-gnu", "x86-64-v4"),
    ("aarch64-linux-gnu", "cortex-a53"),
    ("aarch64-linux-gnu", "cortex-a72"),
    ("aarch64-linux-gnu", "cortex-a76"),
];

// Layers of networks that the benches' list has not.
const MORE: &str = "
conv 1x3x320x320 16x3x3x3 stride=2 pad=1 last=1
conv 1x128x20x20 128x128x3x3 pad=1 last=1
conv 1x256x10x10 80x256x1x1 last=1
conv 1x512x4x4 512x512x3x3 pad=1 last=1
conv 1x64x8x8 64x64x3x3 pad=1 last=1
conv 1x64x30x40 64x32x3x3 pad=1 group=2 last=1
conv 1x32x64x64 32x32x3x3 pad=2 dilation=2 last=1
conv 1x64x96 128x64x5 pad=2 last=1
conv 1x16x40 16x1x9 pad=4 group=16 last=1
conv 1x3x224x224 192x3x16x16 stride=16 last=1
conv 1x8x9x9 8x8x3x3 pad=0,1,1,0 last=1
conv 1x32x28x28 32x1x31x31 pad=15 group=32 last=1
conv 1x16x64x64 2x16x3x3 pad=1
conv 1x64x28x28 64x4x3x3 pad=1 group=16
gemm 1x128x384 384x384
gemm 1x128x1536 1536x384
gemm 197x192 192x576
gemm 1x64 256x64 tb=1
gemm 1x40 40x2
";

#[test]
fn choices_are_pinned() {
    let ui = Ui::early(false, false).silent();
    let text = format!("{}{MORE}", kernel::SHAPES);
    let shapes = kernel::parse(&text).expect("queries");
    let mut out = String::from(
        "; The kernel row for each query, by CPU; equal neighbours on one line. BLESS=1 cargo test -p onnxc-tests --test choices\n",
    );
    let machines: Vec<_> = MACHINES
        .iter()
        .map(|(triple, cpu)| {
            let flags = TargetFlags {
                target: Some(triple.to_string()),
                target_cpu: Some(cpu.to_string()),
                ..TargetFlags::default()
            };
            choose(&flags, Purpose::Keep, &ui).expect("a machine")
        })
        .collect();
    for shape in &shapes {
        writeln!(out, "\n{}", shape.text).expect("text");
        let (chosen, query) = kernel::chosen(&machines, shape).expect("choices");
        // A query's own text asks the same.
        assert!(
            kernel::parse(&query).expect("its own text")[0].asks(shape),
            "{query}"
        );
        let mut rows: Vec<(&str, Vec<&str>)> = vec![];
        for ((_, cpu), row) in MACHINES.iter().zip(chosen) {
            match rows.last_mut() {
                Some((last, cpus)) if *last == row => cpus.push(cpu),
                _ => rows.push((row, vec![cpu])),
            }
        }
        for (row, cpus) in rows {
            writeln!(out, "  {row}: {}", cpus.join(" ")).expect("text");
        }
    }
    check_fresh("tests/data/choices.txt", &out);
}
