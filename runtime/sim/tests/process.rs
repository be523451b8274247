//! The device in its process: all faults by script, and malformed programs.
#![cfg(target_os = "linux")]

mod net;

use net::*;
use onnxc_abi::npu::{self, Health};
use onnxc_abi::status;
use onnxc_runtime::offload::Settings;
use onnxc_sim::driver::{Program as Device, Sim};
use onnxc_sim::execute::{Memory, execute};
use onnxc_sim::faults::Options;
use onnxc_sim::format::Program;
use std::time::Duration;

#[test]
fn the_device_computes() {
    let (net, sim) = (net(), sim(""));
    let r = net.open(&sim, quick());
    assert_eq!(r.status(0), npu::OK);
    (0..20).for_each(|i| assert_eq!(net.run(&r, i), status::OK));
    assert_eq!((r.counters(0).device, r.counters(0).submitted), (20, 21));
}

#[test]
fn absent_refused_and_not_to_be_started() {
    let net = net();
    for (options, expected) in [
        ("absent", npu::ABSENT),
        ("refuse", npu::INVAL),
        ("machine=sim-64", npu::TARGET),
    ] {
        let sim = sim(options);
        let r = net.open(&sim, quick());
        assert_eq!(r.status(0), expected);
        assert_ne!(net.run(&r, 1), status::OK);
    }
    let sim = Sim::new(
        Options::default(),
        Device {
            path: Some("/nonexistent".into()),
            args: vec![],
        },
    );
    let r = net.open(&sim, quick());
    assert_eq!((r.status(0), r.health(0)), (npu::ABSENT, Health::CpuOnly));
    net.run(&r, 1);
}

#[test]
fn a_self_test_finds_a_device_that_computes_wrong() {
    let net = net();
    for (script, expected) in [
        ("wrong", npu::SELFTEST),
        ("silent", npu::SILENT),
        ("error", npu::DEVICE),
        ("lost", npu::LOST),
    ] {
        let sim = sim(&format!("script={script}"));
        let r = net.open(&sim, quick());
        assert_eq!(r.status(0), expected);
        assert_ne!(net.run(&r, 1), status::OK);
    }
}

#[test]
fn every_fault_by_script() {
    let (net, sim) = (
        net(),
        sim("late-ms=80,script=ok/ok/slow/error/silent/hang/ok/late/ok"),
    );
    let r = net.open(&sim, quick());
    let answers: Vec<i32> = (0..7).map(|i| net.run(&r, i)).collect();
    let (device, timeout) = (status::OFFLOAD_DEVICE, status::OFFLOAD_TIMEOUT);
    assert_eq!(answers, [0, 0, device, device, timeout, 0, timeout]);
    assert_eq!(
        (r.health(0), net.run(&r, 7)),
        (Health::Quarantined, status::OFFLOAD_BUSY)
    );
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(net.run(&r, 8), status::OK);
    let c = r.counters(0);
    assert_eq!(
        (c.timeout, c.cancelled, c.drained, c.error, c.silent),
        (2, 1, 1, 1, 1)
    );
}

#[test]
fn stuck_and_lost_devices_are_given_up_and_started_anew() {
    let net = net();
    for (script, health) in [("ok/ok/stuck", Health::Lost), ("ok/ok/lost", Health::Lost)] {
        let sim = sim(&format!("script={script}"));
        let r = net.open(&sim, quick());
        for i in 0..3 {
            net.run(&r, i);
        }
        std::thread::sleep(Duration::from_millis(160));
        net.run(&r, 4);
        assert_eq!(
            (r.health(0), r.counters(0).lost, r.counters(0).device),
            (health, 1, 1),
            "{script}"
        );
        drop(r);
        if script.ends_with("lost") {
            let r = net.open(&sim, quick());
            assert_eq!((r.status(0), sim.started()), (npu::OK, 2));
            assert_eq!(net.run(&r, 5), status::OK);
        }
    }
}

#[test]
fn wrong_bits_are_found_by_shadow_runs() {
    let (net, sim) = (net(), sim("script=ok/ok/wrong"));
    let r = net.open(
        &sim,
        Settings {
            shadow_every: 1,
            ..quick()
        },
    );
    for i in 0..3 {
        net.run(&r, i);
    }
    assert_eq!((r.health(0), r.counters(0).mismatch), (Health::CpuOnly, 1));
}

#[test]
fn malformed_programs_are_refused() {
    let net = net();
    let good = net.program.encode();
    let cst = net.cst.len();
    let mut refused = 0;
    for at in (0..good.len()).step_by(4) {
        for value in [0u32, 1, 7, 0x7fff_ffff, 0xffff_fff0] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            // Whatever is let through is executed without harm.
            match Program::decode(&bad).and_then(|p| onnxc_sim::check::check(&p, cst).map(|()| p)) {
                Err(_) => refused += 1,
                Ok(p) if p.arena_bytes <= 1 << 20 => {
                    let mut ports: Vec<Vec<u8>> = p
                        .ports
                        .iter()
                        .map(|q| vec![0; q.bytes.min(1 << 20) as usize])
                        .collect();
                    let mut arena = vec![0; p.arena_bytes as usize];
                    let _ = execute(
                        &p,
                        &mut Memory {
                            cst: &net.cst,
                            arena: &mut arena,
                            ports: &mut ports,
                        },
                    );
                }
                Ok(_) => {}
            }
        }
    }
    assert!(refused > 100);
    for n in 0..good.len() {
        assert!(Program::decode(&good[..n]).is_err());
    }
}
