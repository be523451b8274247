//! A model that owns its memory, loaded from a shared library, with regions that accelerators compute: the same bits as on the CPU, whatever
//! becomes of the device.

use libloading::{Library, Symbol};
use onnxc_runtime::model::Entry;
use onnxc_runtime::offload::{Health, Settings};
use onnxc_runtime::{Error, Input, Model, OwnedModel, SharedDriver};
use onnxc_sim::device::SUBCOMMAND;
use onnxc_sim::driver::{Program, Sim};
use onnxc_sim::faults::Options;
use onnxc_tests::generate::root;
use onnxc_tests::tools::run;
use std::path::Path;
use std::sync::Arc;

const TOOL: &str = env!("CARGO_BIN_EXE_onnxc-in-tests");

/// The quantized digits model, compiled with words more, loaded for as long as this program runs.
fn loaded(dir: &Path, name: &str, more: &[&str]) -> Model {
    let model = root().join("tests/data/digits_qdq.onnx");
    let words = [
        model.to_str().unwrap(),
        "--emit",
        "so",
        "--prefix",
        "digits",
        "-o",
        name,
    ];
    run(dir, TOOL, &[&words[..], more].concat());
    // SAFETY: the library was made by this compiler, has no initializers, and stays.
    unsafe {
        let library: &'static Library = Box::leak(Box::new(Library::new(dir.join(name)).unwrap()));
        let entry: Symbol<Entry> = library.get(b"digits_run").unwrap();
        let about: Symbol<*const u8> = library.get(b"digits_descriptor").unwrap();
        Model::from_raw(*entry, *about).unwrap()
    }
}

fn sim(options: &str) -> Sim {
    let program = Program {
        path: Some(TOOL.into()),
        args: vec![SUBCOMMAND.into()],
    };
    Sim::new(Options::parse(options).unwrap(), program)
}

/// The scores of some pictures, in bits.
fn scores(model: &mut OwnedModel) -> Vec<u32> {
    let mut all = vec![];
    for k in 0..6 {
        let image: Vec<f32> = (0..64)
            .map(|i| ((i * (k + 3)) % 17) as f32 / 16.0)
            .collect();
        let out = model.run(&[Input::from(&image)]).unwrap();
        all.extend(out.get::<f32>(0).unwrap().iter().map(|s| s.to_bits()));
    }
    all
}

#[test]
fn regions_of_an_owned_model() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!("skipped: this wants an x86_64 Linux machine");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let plain = loaded(dir.path(), "plain.so", &[]);
    let expected = scores(&mut OwnedModel::new(plain).unwrap());
    let mut different = expected.clone();
    different.dedup();
    assert!(different.len() > 30, "{expected:?}");
    let npu = ["--npu", "sim", "--npu-min-gain", "0"];
    let model = loaded(dir.path(), "npu.so", &npu);
    let regions = model.descriptor().regions().count();
    assert_eq!(regions, 1);
    // Without drivers, with one, and with one that fails at the second job, the first being its self-test.
    let mut owned = OwnedModel::new(model).unwrap();
    assert_eq!(scores(&mut owned), expected);
    assert!(owned.regions().is_none());
    for (options, good, bad) in [("", 6, 0), ("script=ok/error", 5, 1)] {
        let driver = Box::leak(Box::new(sim(options))).driver();
        let mut owned = OwnedModel::new(model)
            .unwrap()
            .offload(&[driver], Settings::default());
        // It may go elsewhere, to another thread too.
        let (found, owned) = std::thread::spawn(move || (scores(&mut owned), owned))
            .join()
            .unwrap();
        assert_eq!(found, expected, "{options}");
        let of = owned.regions().unwrap();
        for k in 0..regions {
            let c = of.counters(k);
            assert_eq!(
                (c.device, c.cpu, of.health(k)),
                (good, bad, Health::Ready),
                "{options}"
            );
        }
    }
    // A driver that goes with the last model that has it, and takes its device with it.
    let shared = Arc::new(sim(""));
    let held: SharedDriver = shared.clone();
    let twice = [0, 1].map(|_| {
        let owned = OwnedModel::new(model).unwrap();
        owned.offload_shared(std::slice::from_ref(&held), Settings::default())
    });
    let watched = Arc::downgrade(&shared);
    drop((held, shared));
    for mut owned in twice {
        assert_eq!(scores(&mut owned), expected);
        let c = owned.regions().unwrap().counters(0);
        assert_eq!((c.device, c.cpu), (6, 0));
        assert!(watched.upgrade().is_some_and(|s| s.process().is_some()));
        // Others in its place: the first are closed, and let go of when the model is.
        let owned = owned.offload_shared(&[], Settings::default());
        assert!(owned.regions().unwrap().status(0) != 0);
    }
    assert!(watched.upgrade().is_none());
    // A driver of another name takes nothing, and one that is absent neither; the CPU computes.
    for drivers in [&[][..], &[Arc::new(sim("absent")) as SharedDriver]] {
        let mut owned = OwnedModel::new(model)
            .unwrap()
            .offload_shared(drivers, Settings::default());
        assert_eq!(scores(&mut owned), expected);
        let of = owned.regions().unwrap();
        assert_eq!((of.counters(0).device, of.counters(0).cpu), (0, 6));
        assert!(of.status(0) != 0);
    }
    // What must not run on the CPU says so.
    let required = [&npu[..], &["--npu-required", "conv2"]].concat();
    let model = loaded(dir.path(), "required.so", &required);
    let image = [0.5f32; 64];
    let mut owned = OwnedModel::new(model).unwrap();
    let missing = owned.run(&[Input::from(&image)]).err();
    assert!(matches!(missing, Some(Error::Status(_))), "{missing:?}");
    let mut owned = owned.offload_shared(&[Arc::new(sim(""))], Settings::default());
    assert!(owned.run(&[Input::from(&image)]).is_ok());
}
