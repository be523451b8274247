//! How long the device takes: its own model of cycles, and what it costs the host to hand bytes over.

use onnxc_compiler::npu::Speed;
use onnxc_sim::cycles::Machine;
use onnxc_sim::format::Program;

/// Bytes in a second that the host copies to buffers of the device and back.
const COPIED: u64 = 4_000_000_000;

/// Multiply-accumulates in a second that the simulator really does at least: it computes plainly, perhaps on a busy machine.
const COMPUTED: u64 = 5_000_000;

/// The speed of a machine.
pub fn speed(m: &Machine) -> Speed {
    Speed {
        hertz: m.hertz,
        bytes_per_second: COPIED,
        overhead_ns: m.submit_ns,
        least_macs_per_second: COMPUTED,
    }
}

/// Cycles of all commands.
pub fn cycles(m: &Machine, p: &Program) -> u64 {
    p.commands.iter().map(|c| m.cycles(c)).sum()
}
