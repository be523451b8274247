//! A region encoded by hand, and a caller that does what generated code does.
#![allow(dead_code)]

use onnxc_abi::region::{IN, OUT, golden_next};
use onnxc_abi::{Context, status};
use onnxc_runtime::offload::pack::{Pack, Packed, port};
use onnxc_runtime::offload::{Regions, Settings};
use onnxc_sim::constants::Constants;
use onnxc_sim::cycles::Machine;
use onnxc_sim::driver::{Program as Device, Sim};
use onnxc_sim::execute::{Memory, execute};
use onnxc_sim::faults::Options;
use onnxc_sim::format::*;
use std::ffi::c_void;
use std::time::Duration;

/// A region: a convolution of 3x3 and a Relu's table, on maps of 6 x 5 x 4.
pub struct Net {
    pub program: Program,
    pub cst: Vec<u8>,
    pub packed: Packed,
}

const IN_BYTES: usize = 6 * 5 * 4;
const OUT_BYTES: usize = 6 * 5 * 7;
const INT8: u8 = 3;

pub fn bytes(seed: u32, n: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = golden_next(state);
        (state >> 24) as u8
    };
    (0..n).map(|_| next()).collect()
}

pub fn net() -> Net {
    let mut c = Constants::new();
    let place = |space, offset| Place {
        space,
        elem: Elem::I8,
        offset,
    };
    let (x, y) = (place(Space::Port(0), 0), place(Space::Port(1), 0));
    let middle = place(Space::Arena, 0);
    let scale: Vec<f64> = (0..7).map(|i| 0.001 + 0.0003 * f64::from(i)).collect();
    let conv = Conv {
        x: Map::dense(x, 1, 6, 5, 4),
        y: Map::dense(middle, 1, 6, 5, 7),
        w: c.place(Elem::I8, &bytes(1, 7 * 9 * 4)),
        window: Window {
            size: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [1, 1],
        },
        groups: 1,
        x_zero: 3,
        w_zero: None,
        finish: Finish {
            bias: Some(c.ints(&[5, -7, 100, 0, -300, 20, 1])),
            scale: c.reals(&scale),
            offset: None,
            zero: -4,
            lo: -128,
            hi: 127,
            up: false,
        },
    };
    let table: Vec<u8> = (-128i32..128).map(|v| v.max(-4) as u8).collect();
    let dims = sizes(&[OUT_BYTES as u32]);
    let lookup = Lookup {
        sizes: dims,
        x: View::dense(middle, dims),
        y: View::dense(y, dims),
        table: c.bytes(&table),
    };
    let program = Program {
        arena_bytes: OUT_BYTES as u32,
        ports: vec![
            PortInfo {
                bytes: IN_BYTES as u32,
                out: false,
            },
            PortInfo {
                bytes: OUT_BYTES as u32,
                out: true,
            },
        ],
        commands: vec![Command::Conv(conv), Command::Lookup(lookup)],
    };
    let cst = c.finish();
    let golden = twin(&program, &cst, &bytes(11, IN_BYTES));
    let target = Machine::by_name("sim-256").unwrap().target();
    let packed = Packed::new(&Pack {
        backend: "sim",
        target: &target,
        ports: &[
            port(IN, INT8, &[1, 4, 6, 5]),
            port(OUT, INT8, &[1, 7, 6, 5]),
        ],
        num_inputs: 1,
        cmd: &program.encode(),
        cst: &cst,
        golden_out: Some(&golden),
        golden_seed: 11,
        timeout_ns: 40_000_000,
        ..Pack::default()
    });
    Net {
        program,
        cst,
        packed,
    }
}

pub fn twin(program: &Program, cst: &[u8], x: &[u8]) -> Vec<u8> {
    let mut ports = vec![x.to_vec(), vec![0; OUT_BYTES]];
    let mut arena = vec![0; program.arena_bytes as usize];
    let mut memory = Memory {
        cst,
        arena: &mut arena,
        ports: &mut ports,
    };
    execute(program, &mut memory).unwrap();
    ports.pop().unwrap()
}

impl Net {
    pub fn open<'a>(&'a self, sim: &'a Sim, settings: Settings) -> Regions<'a> {
        // SAFETY: the region outlives what is returned.
        unsafe { Regions::of(self.packed.region().into_iter(), &[sim.driver()], settings) }
    }
    /// What generated code does; the answer must be right.
    pub fn run(&self, r: &Regions, seed: u32) -> i32 {
        let x = bytes(seed, IN_BYTES);
        let right = twin(&self.program, &self.cst, &x);
        let mut y = vec![0u8; OUT_BYTES];
        let ins = [x.as_ptr().cast::<c_void>()];
        let outs = [y.as_mut_ptr().cast::<c_void>()];
        let (table, ctx) = (r.tables()[0], Context::EMPTY);
        // SAFETY: an open slot's table, and the region's pointers.
        let answer =
            unsafe { (*table).run.unwrap()(table, &raw const ctx, 0, ins.as_ptr(), outs.as_ptr()) };
        if answer != status::OK {
            // SAFETY: as many bytes.
            unsafe { std::ptr::copy_nonoverlapping(right.as_ptr(), outs[0].cast(), OUT_BYTES) };
            // SAFETY: as before.
            unsafe { (*table).twin_done.unwrap()(table, &raw const ctx, 0, outs.as_ptr()) };
        }
        assert_eq!(y, right, "run {seed}");
        answer
    }
}

/// What programs of this machine run in, where `emulated.rs` says so.
pub fn emulator() -> Option<String> {
    std::env::var("ONNXC_TEST_EMULATOR").ok()
}

pub fn sim(options: &str) -> Sim {
    let own = env!("CARGO_BIN_EXE_onnxc-sim-device");
    let device = match emulator() {
        Some(e) => Device {
            path: Some(e.into()),
            args: vec![own.into()],
        },
        None => Device {
            path: Some(own.into()),
            args: vec![],
        },
    };
    Sim::new(Options::parse(options).unwrap(), device)
}

pub fn quick() -> Settings {
    Settings {
        drain: Some(Duration::from_millis(150)),
        max_errors: 1000,
        ..Settings::default()
    }
}
