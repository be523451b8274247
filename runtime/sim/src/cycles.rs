//! How long commands take: a simple model of a machine, so that plans can be compared. Not a promise of any real device.
//!
//! A machine multiplies a block of input channels by a block of output channels in each cycle, works on so many bytes elsewhere, and reads and writes
//! memory at its own rate, at the same time. A command costs the larger of both, and a fixed start.

use crate::format::*;

/// A machine. Its name is what regions are compiled for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Machine {
    /// Such as `sim-256`.
    pub name: &'static str,
    /// Input channels that it multiplies in a cycle.
    pub depth: u32,
    /// Output channels that it computes at a time.
    pub width: u32,
    /// Bytes that pointwise commands, pools and copies make in a cycle; also products of depthwise convolutions.
    pub lanes: u32,
    /// Bytes of memory in a cycle.
    pub bytes_per_cycle: u32,
    /// Cycles that a command takes to start.
    pub start: u64,
    /// Cycles in a second.
    pub hertz: u64,
    /// Nanoseconds from a submission to the first command, and from the last one to its notice.
    pub submit_ns: u64,
}

/// All machines, the slowest first.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "sim-64",
        depth: 8,
        width: 8,
        lanes: 8,
        bytes_per_cycle: 8,
        start: 64,
        hertz: 500_000_000,
        submit_ns: 50_000,
    },
    Machine {
        name: "sim-256",
        depth: 16,
        width: 16,
        lanes: 16,
        bytes_per_cycle: 16,
        start: 64,
        hertz: 500_000_000,
        submit_ns: 50_000,
    },
    Machine {
        name: "sim-1024",
        depth: 32,
        width: 32,
        lanes: 32,
        bytes_per_cycle: 32,
        start: 64,
        hertz: 1_000_000_000,
        submit_ns: 50_000,
    },
];

impl Machine {
    /// By its name.
    pub fn by_name(name: &str) -> Option<&'static Machine> {
        MACHINES.iter().find(|m| m.name == name)
    }
    /// The text that regions for it carry.
    pub fn target(&self) -> String {
        format!("{};format-{VERSION}", self.name)
    }
    /// Nanoseconds of a run of a program, submission included.
    pub fn nanoseconds(&self, p: &Program) -> u64 {
        let cycles: u64 = p.commands.iter().map(|c| self.cycles(c)).sum();
        let ns = u128::from(cycles) * 1_000_000_000 / u128::from(self.hertz.max(1));
        u64::try_from(ns)
            .unwrap_or(u64::MAX)
            .saturating_add(self.submit_ns)
    }
    /// Cycles of a command.
    pub fn cycles(&self, c: &Command) -> u64 {
        let (work, bytes) = match c {
            Command::Conv(c) => {
                let taps = wide(&c.window.size);
                let pixels = wide(&[c.y.batch, c.y.rows, c.y.cols]);
                let (cg, og) = (
                    c.x.channels / c.groups.max(1),
                    c.y.channels / c.groups.max(1),
                );
                let work = match cg {
                    1 => taps * pixels * u64::from(c.y.channels.div_ceil(self.lanes)),
                    _ => {
                        let block =
                            u64::from(cg.div_ceil(self.depth)) * u64::from(og.div_ceil(self.width));
                        block * taps * pixels * u64::from(c.groups)
                    }
                };
                let weights = taps * u64::from(cg) * u64::from(c.y.channels);
                (work, weights + map(&c.x) + map(&c.y))
            }
            Command::Gemm(c) => {
                let [b, i, k, j] = c.sizes;
                let block = u64::from(k.div_ceil(self.depth)) * u64::from(j.div_ceil(self.width));
                let bytes = wide(&[b, i, k]) + wide(&[b, k, j]) + wide(&[b, i, j]);
                (block * wide(&[b, i]), bytes)
            }
            Command::MaxPool(c) => (
                self.laned(map(&c.y) * wide(&c.window.size)),
                map(&c.x) + map(&c.y),
            ),
            Command::Resize(c) => (self.laned(map(&c.y)), 2 * map(&c.y)),
            Command::Sum(c) => {
                let n = wide(&c.outer) * wide(&c.inner);
                (self.laned(n), n)
            }
            Command::Add(c) => (self.laned(wide(&c.sizes)), 3 * wide(&c.sizes)),
            Command::Mul(c) => (self.laned(wide(&c.sizes)), 3 * wide(&c.sizes)),
            Command::Requantize(c) => (self.laned(wide(&c.sizes)), 2 * wide(&c.sizes)),
            Command::Lookup(c) => (self.laned(wide(&c.sizes)), 2 * wide(&c.sizes)),
            // Three walks over a row.
            Command::Softmax(c) => (3 * self.laned(wide(&c.sizes)), 2 * wide(&c.sizes)),
            Command::Copy(c) => (self.laned(wide(&c.sizes)), 2 * wide(&c.sizes)),
            Command::Fill(c) => (self.laned(wide(&c.sizes)), wide(&c.sizes)),
        };
        work.max(bytes.div_ceil(self.bytes_per_cycle.into())) + self.start
    }
    fn laned(&self, n: u64) -> u64 {
        n.div_ceil(self.lanes.into())
    }
}

/// Multiply-accumulate operations of a command.
pub fn macs(c: &Command) -> u64 {
    match c {
        Command::Conv(c) => {
            let cg = c.x.channels / c.groups.max(1);
            wide(&c.window.size) * wide(&[c.y.batch, c.y.rows, c.y.cols, c.y.channels, cg])
        }
        Command::Gemm(c) => wide(&c.sizes),
        _ => 0,
    }
}

fn map(m: &Map) -> u64 {
    wide(&[m.batch, m.rows, m.cols, m.channels])
}

fn wide(sides: &[u32]) -> u64 {
    sides.iter().fold(1, |n, &d| n.saturating_mul(d.into()))
}
