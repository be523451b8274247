//! Models compiled from build scripts: what cargo is told, what is built again and when, and that the program computes right.
//!
//! What `onnxc_build` does is asked of the library, in an environment made up for it. What cargo makes of it is seen on two small packages
//! of one program, built offline; there the tool is called (`ONNXC`), so that no compiler is built once more, and the calls are counted.

use object::read::archive::ArchiveFile;
use object::{Architecture, Object};
use onnxc_build::{Build, Compiled, Environment, Weights};
use onnxc_tests::generate::root;
use onnxc_tests::tools::have;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const X86: &str = "x86_64-unknown-linux-gnu";

fn digits() -> PathBuf {
    root().join("examples/digits/digits.onnx")
}

fn environment(out: &Path, target: &str, more: &[(&str, &str)]) -> Environment {
    let base = [
        ("TARGET", target),
        ("HOST", X86),
        ("OUT_DIR", out.to_str().unwrap()),
        ("OPT_LEVEL", "0"),
        ("CARGO_PKG_NAME", "some-package"),
        ("CARGO_PKG_VERSION", "1.2.3"),
        ("CARGO_CFG_TARGET_ARCH", target.split('-').next().unwrap()),
        ("CARGO_CFG_TARGET_OS", "linux"),
    ];
    Environment::of(base.iter().chain(more).copied())
}

fn compiled(build: &Build, target: &str, more: &[(&str, &str)]) -> (tempfile::TempDir, Compiled) {
    let out = tempfile::tempdir().unwrap();
    let env = environment(out.path(), target, more);
    let done = build.compile_in(&env).unwrap_or_else(|e| panic!("{e}"));
    (out, done)
}

fn features(done: &Compiled) -> Vec<String> {
    let report = fs::read_to_string(&done.report).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let list = report["features"].as_array().unwrap();
    list.iter()
        .map(|f| f.as_str().unwrap().to_string())
        .collect()
}

#[test]
fn cargo_is_told_what_to_link_and_what_to_watch() {
    let (out, done) = compiled(&Build::new(digits()), X86, &[]);
    assert_eq!(done.name, "digits");
    assert_eq!(done.prefix, "some_package_1_2_3_digits");
    let has = |line: String| assert!(done.cargo.contains(&line), "{line}: {:#?}", done.cargo);
    has(format!(
        "cargo:rustc-link-search=native={}",
        out.path().display()
    ));
    has("cargo:rustc-link-lib=static=some_package_1_2_3_digits".into());
    has(format!("cargo:rerun-if-changed={}", digits().display()));
    for v in [
        "ONNXC_TARGET_CPU",
        "ONNXC_TARGET_CPU_x86_64-unknown-linux-gnu",
        "HOST_ONNXC_TARGET_FEATURES",
        "ONNXC",
        "DOCS_RS",
    ] {
        has(format!("cargo:rerun-if-env-changed={v}"));
    }
    // Nobody named a CPU, which is worth a warning, and one line of it.
    let warned = done.cargo.iter().filter(|l| l.contains("warning"));
    assert_eq!(warned.count(), 1, "{:#?}", done.cargo);
    let module = fs::read_to_string(&done.module).unwrap();
    for line in [
        "pub const INPUT_IMAGE_SHAPE: [usize; 4] = [1, 1, 8, 8];",
        "    pub fn run(&mut self, in_image: &[f32; 64], out_scores: &mut [f32; 10]) -> Result<(), Error> {",
    ] {
        assert!(module.lines().any(|l| l == line), "{line}\n{module}");
    }
    assert!(module.contains(&format!("ARENA_SIZE: usize = {};", done.arena_bytes)));
    // Nothing else lies about, and nothing names a folder of this machine.
    let mut files: Vec<String> = fs::read_dir(out.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    // The stamp lies in cargo's folder, names what to look at again, and is no output.
    let stamps = files.len();
    files.retain(|f| !f.ends_with(".stamp"));
    assert_eq!(stamps - files.len(), 1);
    assert_eq!(
        files,
        ["digits.json", "digits.rs", "libsome_package_1_2_3_digits.a"]
    );
    for file in files {
        let bytes = fs::read(out.path().join(&file)).unwrap();
        for path in [out.path(), root()] {
            let path = path.to_str().unwrap().as_bytes();
            let found = bytes.windows(path.len()).any(|w| w == path);
            assert!(!found, "{file} holds a path");
        }
    }
}

#[test]
fn code_for_another_architecture_and_any_vendor() {
    let (_out, done) = compiled(
        &Build::new(digits()).target_cpu("cortex-a55"),
        "aarch64-poky-linux-gnu",
        &[],
    );
    let archive = fs::read(&done.archive).unwrap();
    let members = ArchiveFile::parse(archive.as_slice()).unwrap();
    let mut count = 0;
    for member in members.members() {
        let data = member.unwrap().data(archive.as_slice()).unwrap();
        let object = object::File::parse(data).unwrap();
        assert_eq!(object.architecture(), Architecture::Aarch64);
        count += 1;
    }
    assert_eq!(count, 1);
    assert!(features(&done).contains(&"dotprod".to_string()));
    assert!(!done.cargo.iter().any(|l| l.contains("warning")));
}

#[test]
fn the_user_goes_before_the_script_and_the_script_before_rustc() {
    let rustc = [
        (
            "CARGO_CFG_TARGET_FEATURE",
            "fxsr,sse,sse2,x87,avx,avx2,fma,sparkling",
        ),
        (
            "CARGO_ENCODED_RUSTFLAGS",
            "-C\x1ftarget-cpu=of-next-year\x1f-Ctarget-feature=-fma",
        ),
    ];
    let (_out, done) = compiled(&Build::new(digits()), X86, &rustc);
    let of_rustc = features(&done);
    assert!(of_rustc.contains(&"avx2".into()) && !of_rustc.contains(&"fma".into()));
    // The CPU that is not known here is said, its features that are not are left out.
    let warned: Vec<_> = done
        .cargo
        .iter()
        .filter(|l| l.contains("warning"))
        .collect();
    assert!(warned[0].contains("of-next-year"), "{warned:?}");
    let script = Build::new(digits()).target_cpu("x86-64-v2");
    let (_out, done) = compiled(&script, X86, &rustc);
    assert_eq!(done.cpu, "x86-64-v2");
    let mut user = rustc.to_vec();
    user.push(("ONNXC_TARGET_CPU_x86_64_unknown_linux_gnu", "x86-64-v4"));
    user.push(("ONNXC_TARGET_CPU", "x86-64"));
    user.push(("HOST_ONNXC_TARGET_FEATURES", "-avx512f"));
    let (_out, done) = compiled(&script, X86, &user);
    assert_eq!(done.cpu, "x86-64-v4");
    let of_user = features(&done);
    assert!(of_user.contains(&"fma".into()) && !of_user.contains(&"avx512f".into()));
}

#[test]
fn options_reach_the_compiler() {
    let pictures = root().join("examples/digits/pictures");
    let plain = compiled(&Build::new(digits()), X86, &[]).1;
    let build = Build::new(digits())
        .name("small")
        .prefix("tiny")
        .quantize("int8")
        .calibration(&pictures)
        .samples(4)
        .optimize_for("memory")
        .weights(Weights::File);
    let (out, done) = compiled(&build, X86, &[]);
    assert!(3 * done.weights_bytes < 2 * plain.weights_bytes);
    let watched = format!("cargo:rerun-if-changed={}", pictures.display());
    assert!(done.cargo.contains(&watched), "{:#?}", done.cargo);
    assert!(out.path().join("small.rs").exists() && out.path().join("libtiny.a").exists());
    let weights = fs::metadata(out.path().join("small.weights")).unwrap();
    assert!(weights.len() > done.weights_bytes);
    let module = fs::read_to_string(&done.module).unwrap();
    assert!(module.contains("pub fn new(arena: &'a mut Arena, weights: Weights<'a>) -> Self {"));
    let pruned = Build::new(digits()).prune("channels", 0.5);
    let (_out, done) = compiled(&pruned, X86, &[]);
    assert!(done.weights_bytes < plain.weights_bytes);
}

#[test]
fn documentation_is_made_on_any_machine() {
    let docs = [("DOCS_RS", "1"), ("ONNXC_TARGET_CPU", "cortex-a55")];
    let build = Build::new(digits())
        .quantize("int8")
        .calibration("/no/such/data");
    let (_out, done) = compiled(&build, "i686-pc-windows-msvc", &docs);
    assert!(done.module.exists());
    assert!(!done.cargo.iter().any(|l| l.contains("rustc-link")));
}

#[test]
fn mistakes_are_said_and_nothing_is_written() {
    let out = tempfile::tempdir().unwrap();
    let bad = out.path().join("bad.onnx");
    fs::write(&bad, "no model").unwrap();
    let env = environment(out.path(), X86, &[]);
    let said = |build: Build, env: &Environment| build.compile_in(env).unwrap_err().to_string();
    let all = [
        (said(Build::new(&bad), &env), "ONNX001"),
        (said(Build::new("none.onnx"), &env), "USE002"),
        (
            said(Build::new(digits()).target_cpu("zen99"), &env),
            "USE003",
        ),
        (
            said(Build::new(digits()).name("a-b"), &env),
            "for instance `a_b`",
        ),
        (said(Build::new(digits()).arg("--no-such"), &env), "USE001"),
    ];
    for (text, part) in all {
        assert!(text.contains(part), "{text}");
    }
    let windows = environment(out.path(), "x86_64-pc-windows-msvc", &[]);
    let text = said(Build::new(digits()), &windows);
    assert!(text.contains("only ELF objects"), "{text}");
    let bare = Environment::of([("X", "y")]);
    let text = said(Build::new(digits()), &bare);
    assert!(text.contains("TARGET is not set"), "{text}");
    let tool = environment(out.path(), X86, &[("ONNXC", "/no/such/onnxc")]);
    let text = said(Build::new(digits()), &tool);
    assert!(text.contains("can't run the compiler"), "{text}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
}

/// A program of two packages, each with a model `digits.onnx`: one is the classifier, the other adds four numbers from `w.bin`. The first
/// has a model `adding.onnx` too, that does the same.
struct Program {
    dir: tempfile::TempDir,
}

impl Program {
    fn new() -> Program {
        let dir = tempfile::tempdir().unwrap();
        let p = Program { dir };
        let root = root();
        let manifest = |name: &str, more: &str| {
            format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
                 onnxc-runtime = {{ path = {:?}, features = [\"std\"] }}\n{more}\n[build-dependencies]\n\
                 onnxc-build = {{ path = {:?}, default-features = false }}\n",
                root.join("runtime"),
                root.join("compiler/build"),
            )
        };
        p.write(
            "app/Cargo.toml",
            (manifest("app", "other = { path = \"../other\" }\n") + "\n[workspace]\n").as_bytes(),
        );
        p.write("other/Cargo.toml", manifest("other", "").as_bytes());
        // The versions that are at hand.
        p.write(
            "app/Cargo.lock",
            &fs::read(root.join("Cargo.lock")).unwrap(),
        );
        let script = |models: &[&str]| {
            let calls: Vec<String> = models
                .iter()
                .map(|m| format!("onnxc_build::compile({m:?})?;"))
                .collect();
            format!(
                "fn main() -> Result<(), onnxc_build::Error> {{ {} Ok(()) }}\n",
                calls.join(" ")
            )
        };
        p.write(
            "app/build.rs",
            script(&["digits.onnx", "adding.onnx"]).as_bytes(),
        );
        p.write("other/build.rs", script(&["digits.onnx"]).as_bytes());
        p.write(
            "app/src/main.rs",
            br#"#![deny(warnings)]
mod digits { include!(concat!(env!("OUT_DIR"), "/digits.rs")); }
mod adding { include!(concat!(env!("OUT_DIR"), "/adding.rs")); }
fn main() {
    let mut arena = Box::new(digits::Arena::NEW);
    let mut model = digits::Model::new(&mut arena);
    let mut scores = [0.0; digits::OUTPUT_SCORES_LEN];
    for pgm in std::env::args().skip(1) {
        let text = std::fs::read_to_string(pgm).expect("a picture");
        let numbers = text.split_ascii_whitespace().skip(4).map(|n| n.parse::<f32>().expect("grey") / 16.0);
        let image: Vec<f32> = numbers.collect();
        model.run(image.first_chunk().expect("8 x 8"), &mut scores).expect("a run");
        let best = (0..10).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).expect("ten");
        print!("{best} ");
    }
    let mut sums = [0.0; 4];
    let mut arena = adding::Arena::NEW;
    adding::Model::new(&mut arena).run(&[1.0; 4], &mut sums).expect("a run");
    println!("{sums:?} {:?}", other::add([1.0, 2.0, 3.0, 4.0]));
}
"#,
        );
        p.write(
            "other/src/lib.rs",
            br#"#![deny(warnings, missing_docs, unsafe_code)]
//! A model behind a function.
onnxc_runtime::include_model!(mod digits);
/// Adds what is in the file.
pub fn add(x: [f32; 4]) -> [f32; 4] {
    let mut y = [0.0; 4];
    let pool = onnxc_runtime::Pool::new(2).expect("threads");
    let mut arena = digits::Arena::default();
    digits::Model::new(&mut arena).parallel(&pool).run(&x, &mut y).expect("a run");
    y
}
"#,
        );
        p.write("app/digits.onnx", &fs::read(digits()).unwrap());
        for (model, weights) in [
            ("app/adding.onnx", "app/w.bin"),
            ("other/digits.onnx", "other/w.bin"),
        ] {
            p.write(model, &adding());
            p.write(weights, &floats([10.0; 4]));
        }
        // Each call of the tool is a line in a file.
        let tool = env!("CARGO_BIN_EXE_onnxc-in-tests");
        p.write(
            "onnxc.sh",
            format!(
                "#!/bin/sh\necho call >> '{0}/calls'\nexec '{tool}' \"$@\"\n",
                p.dir.path().display()
            )
            .as_bytes(),
        );
        run(Command::new("chmod").arg("+x").arg(p.path("onnxc.sh")));
        p
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn write(&self, name: &str, contents: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    /// Builds, and gives what cargo says.
    fn build(&self, env: &[(&str, &str)]) -> Output {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
        cargo
            .args(["build", "--offline", "-v"])
            .current_dir(self.path("app"))
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env("ONNXC", self.path("onnxc.sh"))
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .envs(env.iter().copied());
        cargo.output().unwrap()
    }
    /// Builds with success: models compiled by it, and whether rustc ran.
    fn built(&self, env: &[(&str, &str)]) -> (usize, bool) {
        let before = self.calls();
        let out = self.build(env);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{text}");
        (self.calls() - before, text.contains("Compiling"))
    }
    fn calls(&self) -> usize {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().count()
    }
    fn prints(&self, pictures: &[usize]) -> String {
        self.printed(&mut Command::new(self.path("target/debug/app")), pictures)
    }
    /// The same with a command that runs the program.
    fn printed(&self, program: &mut Command, pictures: &[usize]) -> String {
        let folder = root().join("examples/digits/pictures");
        program.args(pictures.iter().map(|d| folder.join(format!("{d}.pgm"))));
        let text = String::from_utf8(run(program).stdout).unwrap();
        text.trim().to_string()
    }
    /// The file of that name which `app`'s build script left.
    fn left(&self, name: &str) -> PathBuf {
        let builds = fs::read_dir(self.path("target/debug/build")).unwrap();
        let outs = builds.map(|e| e.unwrap().path()).filter(|p| {
            let stem = p.file_name().unwrap().to_string_lossy().into_owned();
            stem.starts_with("app-") && p.join("out").join(name).exists()
        });
        let found: Vec<PathBuf> = outs.map(|p| p.join("out").join(name)).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0].clone()
    }
}

fn run(command: &mut Command) -> Output {
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {text}");
    out
}

fn floats(values: [f32; 4]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// `y = x + w` over four numbers, `w` being external data in `w.bin`, as protobuf.
fn adding() -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend(bytes);
        out
    }
    let number = |field: u8, v: u8| vec![field << 3, v];
    let text = |n: u8, t: &str| field(n, t.as_bytes());
    let four = field(2, &field(1, &number(1, 4)));
    let ty = field(2, &field(1, &[number(1, 1), four].concat()));
    let value = |name: &str| [text(1, name), ty.clone()].concat();
    let node = [text(1, "x"), text(1, "w"), text(2, "y"), text(4, "Add")].concat();
    let place = [text(1, "location"), text(2, "w.bin")].concat();
    let w = [
        number(1, 4),
        number(2, 1),
        text(8, "w"),
        field(13, &place),
        number(14, 1),
    ]
    .concat();
    let graph = [
        field(1, &node),
        text(2, "adding"),
        field(5, &w),
        field(11, &value("x")),
        field(12, &value("y")),
    ]
    .concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}

/// The model with a `doc_string`, which changes its file and nothing else.
fn with_a_note(model: &[u8]) -> Vec<u8> {
    [model, &[6 << 3 | 2, 4], b"note"].concat()
}

#[test]
fn a_program_of_two_packages() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!("skipped: this wants an x86_64 Linux machine");
        return;
    }
    let p = Program::new();
    assert_eq!(p.built(&[]), (3, true));
    let digits = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    assert_eq!(
        p.prints(&digits),
        "0 1 2 3 4 5 6 7 8 9 [11.0, 11.0, 11.0, 11.0] [11.0, 12.0, 13.0, 14.0]"
    );
    // Nothing changed: nothing is done.
    assert_eq!(p.built(&[]), (0, false));
    // External data changed: its model is compiled, once; not the other one of the same script, nor what is as it was.
    p.write("other/w.bin", &floats([0.0, 0.5, 0.0, 0.0]));
    assert_eq!(p.built(&[]), (1, true));
    p.write("app/w.bin", &floats([2.0; 4]));
    assert_eq!(p.built(&[]), (1, true));
    assert_eq!(
        p.prints(&[7]),
        "7 [3.0, 3.0, 3.0, 3.0] [1.0, 2.5, 3.0, 4.0]"
    );
    assert_eq!(p.built(&[]), (0, false));
    // A model with the same contents runs the script, which finds that nothing is to be compiled.
    let archive = p.left("libapp_0_1_0_digits.a");
    let age = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let old = age(&archive);
    let bytes = fs::read(p.path("app/digits.onnx")).unwrap();
    p.write("app/digits.onnx", &bytes);
    assert_eq!(p.built(&[]), (0, true));
    assert_eq!(age(&archive), old);
    // Another model under its name: that one alone.
    p.write("app/digits.onnx", &with_a_note(&bytes));
    assert_eq!(p.built(&[]), (1, true));
    p.write("app/digits.onnx", &bytes);
    assert_eq!(p.built(&[]), (1, true));
    // Files that went are made again.
    fs::remove_file(p.left("adding.rs")).unwrap();
    p.write("app/digits.onnx", &bytes);
    assert_eq!(p.built(&[]), (1, true));
    // Another CPU: all models.
    let v3 = [("ONNXC_TARGET_CPU", "x86-64-v3")];
    assert_eq!(p.built(&v3), (3, true));
    let report = fs::read_to_string(p.left("digits.json")).unwrap();
    assert!(report.contains("\"x86-64-v3\""), "{report}");
    assert_eq!(p.built(&v3), (0, false));
    // Another compiler: all models.
    let script = fs::read_to_string(p.path("onnxc.sh")).unwrap();
    p.write("onnxc.sh", (script + "# later\n").as_bytes());
    assert_eq!(p.built(&v3), (3, true));
    // Nothing names the folder it was built in.
    for name in ["libapp_0_1_0_digits.a", "digits.rs", "digits.json"] {
        let bytes = fs::read(p.left(name)).unwrap();
        let path = p.dir.path().to_str().unwrap().as_bytes();
        assert!(!bytes.windows(path.len()).any(|w| w == path), "{name}");
    }
    // A broken model fails the build, in the compiler's words.
    p.write("app/digits.onnx", b"no model");
    let out = p.build(&v3);
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    let says = ["onnxc can't compile `digits.onnx`", "error[ONNX001]"];
    assert!(says.iter().all(|s| text.contains(s)), "{text}");
    // And mended, it builds again: as it was before, with what was left from then.
    p.write("app/digits.onnx", &bytes);
    assert_eq!(p.built(&v3), (0, true));
    assert_eq!(
        p.prints(&[7]),
        "7 [3.0, 3.0, 3.0, 3.0] [1.0, 2.5, 3.0, 4.0]"
    );
}

/// Whether rustc can build programs with std for this target.
fn has_std(target: &str) -> bool {
    let rustc = std::env::var("RUSTC").unwrap_or("rustc".into());
    let libdir = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output();
    let found = libdir.ok().and_then(|out| {
        let folder = String::from_utf8(out.stdout).ok()?;
        let files = fs::read_dir(folder.trim()).ok()?;
        let mut names = files.filter_map(|f| f.ok()?.file_name().into_string().ok());
        Some(names.any(|n| n.starts_with("libstd-")))
    });
    if found != Some(true) {
        eprintln!("skipped: there is no std for {target} (`rustup target add {target}`)");
    }
    found == Some(true)
}

#[test]
fn a_program_for_another_machine() {
    const ARM: &str = "aarch64-unknown-linux-gnu";
    if !["aarch64-linux-gnu-gcc", "qemu-aarch64-static"]
        .iter()
        .all(|t| have(t))
        || !has_std(ARM)
    {
        return;
    }
    let p = Program::new();
    let cross = [
        ("CARGO_BUILD_TARGET", ARM),
        (
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "aarch64-linux-gnu-gcc",
        ),
        ("ONNXC_TARGET_CPU_aarch64-unknown-linux-gnu", "cortex-a53"),
    ];
    assert_eq!(p.built(&cross), (3, true));
    let program = p.path("target").join(ARM).join("debug/app");
    let bytes = fs::read(&program).unwrap();
    let file = object::File::parse(bytes.as_slice()).unwrap();
    assert_eq!(file.architecture(), Architecture::Aarch64);
    let emulated = |cpu: &str| {
        let mut qemu = Command::new("qemu-aarch64-static");
        qemu.args(["-cpu", cpu, "-L", "/usr/aarch64-linux-gnu"])
            .arg(&program);
        p.printed(&mut qemu, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    };
    let expected = "0 1 2 3 4 5 6 7 8 9 [11.0, 11.0, 11.0, 11.0] [11.0, 12.0, 13.0, 14.0]";
    assert_eq!(emulated("cortex-a53"), expected);
    assert_eq!(p.built(&cross), (0, false));
    // Code for another CPU of it; digits of both crates are one program.
    let newer = [
        cross[0],
        cross[1],
        ("ONNXC_TARGET_CPU_aarch64-unknown-linux-gnu", "cortex-a55"),
    ];
    assert_eq!(p.built(&newer), (3, true));
    assert_eq!(emulated("max"), expected);
    p.write("other/w.bin", &floats([20.0; 4]));
    assert_eq!(p.built(&newer), (1, true));
    assert!(emulated("max").ends_with("[21.0, 22.0, 23.0, 24.0]"));
}
