//! Runs the toy accelerator: a region made by hand, and what a compiled model does with it.

mod toy;

use onnxc_runtime::abi::region::{IN, OUT, golden_byte};
use onnxc_runtime::abi::{Context, status};
use onnxc_runtime::offload::pack::{Pack, Packed, port};
use onnxc_runtime::offload::{Regions, Settings};
use std::ffi::c_void;

fn main() {
    let driver = toy::driver();
    let golden: Vec<u8> = (0..16).map(|i| golden_byte(1, i) ^ 0x5a).collect();
    let packed = Packed::new(&Pack {
        backend: "toy",
        target: "toy-1",
        ports: &[port(IN, 2, &[16]), port(OUT, 2, &[16])],
        num_inputs: 1,
        cmd: &[0x5a],
        // What the device must answer to 16 made-up bytes, before it is trusted.
        golden_seed: 1,
        golden_out: Some(&golden),
        ..Pack::default()
    });
    // SAFETY: the region outlives its use.
    let regions =
        unsafe { Regions::of(packed.region().into_iter(), &[&driver], Settings::default()) };
    let (x, mut y) = ([1u8; 16], [0u8; 16]);
    let ins = [x.as_ptr().cast::<c_void>()];
    let outs = [y.as_mut_ptr().cast::<c_void>()];
    let (table, ctx) = (regions.tables()[0], Context::EMPTY);
    for _ in 0..3 {
        // SAFETY: an open slot's table, and buffers as large as the ports.
        let run = unsafe { (*table).run }.expect("a table has it");
        // SAFETY: as before.
        let answer = unsafe { run(table, &raw const ctx, 0, ins.as_ptr(), outs.as_ptr()) };
        assert_eq!(answer, status::OK);
    }
    assert_eq!(y, [1 ^ 0x5a; 16]);
    println!("{} runs on the device", regions.counters(0).device);
}
