//! 1,000 runs with faults by chance; 100 in an emulator, where `emulated.rs` starts them. A process of its own: it counts files and mappings.
#![cfg(target_os = "linux")]

mod net;

use net::*;
use onnxc_abi::npu::{self, Health};
use onnxc_runtime::offload::Settings;
use onnxc_sim::faults::{Fault, Options};
use std::time::Duration;

/// File descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs with faults by chance: every answer right, every fault counted, no file, mapping or process left.
#[test]
fn a_thousand_runs_with_random_faults() {
    let net = net();
    let wanted = if emulator().is_some() { 100 } else { 1_000 };
    let before = descriptors();
    let (mut runs, mut faults, mut processes) = (0u32, 0u32, vec![]);
    for round in 0u64.. {
        if runs >= wanted {
            break;
        }
        let kinds = if round % 3 == 0 {
            "slow/error/silent/hang/late/lost"
        } else {
            "slow/error/silent/error/silent/hang"
        };
        let text = format!("seed={round},rate=0.2,kinds={kinds},slow-ms=1,late-ms=70");
        let (options, sim) = (Options::parse(&text).unwrap(), sim(&text));
        let settings = Settings {
            timeout: Some(Duration::from_millis(40)),
            no_selftest: true,
            ..quick()
        };
        let r = net.open(&sim, settings);
        assert_eq!(r.status(0), npu::OK);
        processes.extend(sim.process());
        for _ in 0..50 {
            runs += 1;
            net.run(&r, runs);
            if r.health(0) == Health::Lost {
                break;
            }
            if r.health(0) == Health::Quarantined {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let c = r.counters(0);
        let expected = |f: fn(Fault) -> bool| {
            (0..u64::from(c.submitted))
                .filter(|&n| f(options.fault(n)))
                .count() as u32
        };
        assert_eq!(c.error, expected(|f| f == Fault::Error), "{text}");
        assert_eq!(c.silent, expected(|f| f == Fault::Silent), "{text}");
        assert_eq!(c.lost, expected(|f| f == Fault::Lost), "{text}");
        // A machine under load may make others late too.
        assert!(
            c.timeout >= expected(|f| f == Fault::Hang || f == Fault::Late),
            "{text}"
        );
        assert!(c.cancelled >= expected(|f| f == Fault::Hang), "{text}");
        assert!(
            c.device <= expected(|f| f == Fault::Ok || f == Fault::Slow),
            "{text}"
        );
        faults += c.error + c.silent + c.lost + c.timeout;
    }
    assert!(faults > wanted / 10, "{faults}");
    assert_eq!(descriptors(), before);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("onnxc-sim (deleted)"), "a mapping is left");
    for p in processes {
        assert!(
            !std::path::Path::new(&format!("/proc/{p}")).exists(),
            "process {p} is left"
        );
    }
}
