//! How long the device takes, and what it is called.

use onnxc_compiler::npu::Speed;
use onnxc_sim::format::{AXES, Command, Program, VERSION};

/// Multiply-accumulates in a cycle.
const MACS: u64 = 256;
/// Bytes that other commands move in a cycle.
const BYTES: u64 = 16;
/// Cycles to begin a command.
const START: u64 = 64;

/// The device's speed, where nothing else is asked for.
pub const SPEED: Speed = Speed {
    hertz: 1_000_000_000,
    bytes_per_second: 4_000_000_000,
    overhead_ns: 10_000,
};

/// For which device regions are.
pub fn target() -> String {
    format!("sim-{MACS};format-{VERSION}")
}

/// Cycles of all commands.
pub fn cycles(p: &Program) -> u64 {
    p.commands.iter().map(|c| START + work(c)).sum()
}

fn product(sizes: [u32; AXES]) -> u64 {
    sizes.iter().map(|&s| u64::from(s)).product()
}

fn work(c: &Command) -> u64 {
    let macs = |n: u64| n.div_ceil(MACS);
    let moved = |n: u64| n.div_ceil(BYTES);
    match c {
        Command::Conv(c) => {
            let out = [c.y.batch, c.y.rows, c.y.cols, c.y.channels];
            let out: u64 = out.iter().map(|&s| u64::from(s)).product();
            let depth = u64::from(c.x.channels / c.groups.max(1));
            let window: u64 = c.window.size.iter().map(|&s| u64::from(s)).product();
            macs(out * depth * window)
        }
        Command::Gemm(c) => macs(c.sizes.iter().map(|&s| u64::from(s)).product()),
        Command::MaxPool(c) => {
            let out = [c.y.batch, c.y.rows, c.y.cols, c.y.channels];
            let out: u64 = out.iter().map(|&s| u64::from(s)).product();
            let window: u64 = c.window.size.iter().map(|&s| u64::from(s)).product();
            moved(out * window)
        }
        Command::Resize(c) => {
            let out = [c.y.batch, c.y.rows, c.y.cols, c.y.channels];
            moved(out.iter().map(|&s| u64::from(s)).product())
        }
        Command::Sum(c) => moved(product(c.outer) * product(c.inner)),
        Command::Add(c) => moved(2 * product(c.sizes)),
        Command::Mul(c) => moved(2 * product(c.sizes)),
        Command::Requantize(c) => moved(product(c.sizes)),
        Command::Lookup(c) => moved(product(c.sizes)),
        Command::Softmax(c) => moved(4 * product(c.sizes)),
        Command::Copy(c) => moved(product(c.sizes)),
        Command::Fill(c) => moved(product(c.sizes)),
    }
}
