//! `profile`, `bench --energy`, `inspect --symbols` and `--advise`: what they say is about this model, adds up, and says plainly what can't be
//! measured. No time is looked at.

use object::{Object, ObjectSymbol};
use onnxc_tests::generate::root;
use onnxc_tests::tools;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn good(dir: &Path, args: &[&str]) -> String {
    let out = Command::new(tools::onnxc())
        .args(args)
        .current_dir(dir)
        .output()
        .expect("the tool runs");
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    tools::text(&out)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn list<'a>(v: &'a Value, name: &str) -> &'a Vec<Value> {
    v[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} in {v}"))
}

/// The example's model.
fn digits() -> String {
    let path = root().join("examples/digits/digits.onnx");
    path.to_string_lossy().into_owned()
}

#[test]
fn profiles_are_of_every_layer() {
    let dir = tempfile::tempdir().expect("a folder");
    let d = dir.path();
    let model = digits();
    let files = ["--trace", "t.json", "--html", "p.html"];
    let args = [
        &["profile", &model, "--seconds", "0.05", "--json"],
        &files[..],
    ]
    .concat();
    let p = json(&good(d, &args));
    let r = json(&good(
        d,
        &["inspect", &digits(), "--json", "--target-cpu", "native"],
    ));
    let (layers, made) = (list(&p, "layers"), list(&r, "layers"));
    assert_eq!(layers.len(), made.len());
    let missing = &p["counters_missing"];
    for (l, m) in layers.iter().zip(made) {
        assert_eq!((&l["nodes"], &l["macs"]), (&m["nodes"], &m["macs"]));
        let symbol = m["symbol"].as_str().expect("a symbol");
        assert!(
            symbol.ends_with(l["name"].as_str().expect("a name")),
            "{symbol}"
        );
        // Counted, or said why not.
        let counted = |name: &str| l["counters"][name].is_u64();
        let names = ["cycles", "instructions", "cache_misses", "branch_misses"];
        for name in names {
            let excused = missing.as_str().is_some_and(|m| m.contains(name));
            assert!(counted(name) != excused, "{name}: {missing}");
        }
    }
    // The trace: each layer of each run inside of its run, one behind the other.
    let t = json(&std::fs::read_to_string(d.join("t.json")).expect("a trace"));
    let events: Vec<&Value> = list(&t, "traceEvents")
        .iter()
        .filter(|e| e["ph"] == "X")
        .collect();
    let runs: Vec<usize> = (0..events.len())
        .filter(|k| events[*k]["name"] == "run")
        .collect();
    assert_eq!(events.len(), runs.len() * (layers.len() + 1));
    assert!(runs.len() >= 3);
    for at in runs {
        let span = |e: &Value| {
            let from = e["ts"].as_f64().expect("a time");
            (from, from + e["dur"].as_f64().expect("a time"))
        };
        let (from, to) = span(events[at]);
        let mut last = from;
        for (k, e) in events[at + 1..][..layers.len()].iter().enumerate() {
            let (a, b) = span(e);
            assert_eq!(e["name"], layers[k]["name"]);
            assert!(last - 1e-6 <= a && a <= b && b <= to + 1e-6);
            last = b;
        }
    }
    let page = std::fs::read_to_string(d.join("p.html")).expect("a page");
    for l in layers {
        assert!(page.contains(l["name"].as_str().expect("a name")));
    }
    if let Some(why) = missing.as_str() {
        assert!(page.contains("hardware counters"), "{why}");
    }
    let text = good(d, &["profile", &digits(), "--seconds", "0.05"]);
    assert!(text.contains("% of roofline"), "{text}");
    assert!(
        missing.is_null() || text.contains("not counted here"),
        "{text}"
    );
}

#[test]
fn energy_is_measured_or_said_not_to_be() {
    let dir = tempfile::tempdir().expect("a folder");
    let args = [
        "bench",
        &digits(),
        "--seconds",
        "0.05",
        "--energy",
        "--json",
    ];
    let e = json(&good(dir.path(), &args))["energy"].clone();
    match e["not_measured"].as_str() {
        Some(why) => assert!(why.contains("/sys/class"), "{why}"),
        None => {
            let meters = e.as_array().expect("meters");
            assert!(!meters.is_empty());
            for m in meters {
                let joules = m["joules"].as_f64().expect("joules");
                assert!(joules >= m["joules_beyond_idle"].as_f64().expect("joules"));
            }
        }
    }
    let none = json(&good(
        dir.path(),
        &["bench", &digits(), "--seconds", "0.05", "--json"],
    ));
    assert!(none["energy"].is_null());
}

#[test]
fn symbols_are_the_objects_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let d = dir.path();
    for cpu in ["x86-64-v3", "x86-64,x86-64-v3"] {
        good(
            d,
            &[
                "compile",
                &digits(),
                "-o",
                "m.o",
                "--target-cpu",
                cpu,
                "--report",
                "m.json",
            ],
        );
        let bytes = std::fs::read(d.join("m.o")).expect("an object");
        let file = object::File::parse(&*bytes).expect("an object");
        let sizes: std::collections::BTreeMap<&str, u64> = file
            .symbols()
            .filter(|s| s.kind() == object::SymbolKind::Text)
            .map(|s| (s.name().expect("a name"), s.size()))
            .collect();
        let r = json(&std::fs::read_to_string(d.join("m.json")).expect("a report"));
        let layers = list(&r, "layers");
        for s in list(&r, "symbols") {
            let name = s["symbol"].as_str().expect("a name");
            assert_eq!(sizes.get(name).copied(), s["bytes"].as_u64(), "{name}");
            for l in list(s, "layers") {
                assert!(layers.iter().any(|m| m["symbol"] == *l), "{l}");
            }
        }
        // Every layer has its own symbol and a body; whatever is no layer's is of the run as a whole.
        for l in layers {
            let of = list(&r, "symbols").iter();
            let of: Vec<&str> = of
                .filter(|s| list(s, "layers").contains(&l["symbol"]))
                .map(|s| s["symbol"].as_str().expect("a name"))
                .collect();
            assert!(
                of.len() >= 2 && of.iter().any(|s| l["symbol"] == *s),
                "{of:?}"
            );
        }
        let known: Vec<&Value> = list(&r, "symbols").iter().map(|s| &s["symbol"]).collect();
        for s in sizes
            .keys()
            .filter(|s| s.contains("_body_") || s.contains("_tile_"))
        {
            assert!(known.iter().any(|k| **k == **s), "{s} is nobody's");
        }
    }
    let text = good(
        d,
        &[
            "inspect",
            &digits(),
            "--symbols",
            "--target-cpu",
            "x86-64-v3",
        ],
    );
    assert!(text.contains("_body_000"), "{text}");
}

#[test]
fn advice_is_by_the_cost_table() {
    let dir = tempfile::tempdir().expect("a folder");
    let d = dir.path();
    let attention = root().join("tests/data/attention.onnx");
    let whole = root().join("tests/data/digits_qdq.onnx");
    let mut models = vec![
        digits(),
        whole.to_string_lossy().into_owned(),
        attention.to_string_lossy().into_owned(),
    ];
    let yolox = tools::shared().map(|s| s.join("models/yolox_nano/model.onnx"));
    let yolox = yolox.filter(|p| p.exists());
    models.extend(yolox.as_ref().map(|p| p.to_string_lossy().into_owned()));
    for m in &models {
        for cpu in ["x86-64-v3", "x86-64"] {
            let a = json(&good(
                d,
                &["inspect", m, "--advise", "--json", "--target-cpu", cpu],
            ));
            let r = json(&good(d, &["inspect", m, "--json", "--target-cpu", cpu]));
            let made = |symbol: &Value| {
                let mut all = list(&r, "layers").iter();
                all.find(|l| l["symbol"] == *symbol)
                    .expect("a layer")
                    .clone()
            };
            let mut total = 0.0;
            let number = |v: &Value| v.as_f64().expect("a number");
            let mut last = f64::INFINITY;
            for l in list(&a, "layers") {
                let m = made(&l["layer"]);
                assert!(
                    m["nodes"]
                        .as_array()
                        .is_some_and(|n| n.contains(&l["node"]))
                );
                let rows = list(&m, "candidates").iter();
                let row = rows.filter(|c| {
                    m["kernels"]
                        .as_array()
                        .is_some_and(|k| k.contains(&c["kernel"]))
                });
                assert_eq!(row.map(|c| number(&c["cost"])).next(), l["cost"].as_f64());
                assert!(number(&l["cost"]) <= last);
                last = number(&l["cost"]);
                total += last;
            }
            assert!(
                (number(&a["total"]) - total).abs() <= 1e-6 * total,
                "{m} {cpu}"
            );
            let mut last = f64::INFINITY;
            for one in list(&a, "advice") {
                assert!(
                    made(&one["layer"])["nodes"]
                        .as_array()
                        .is_some_and(|n| n.contains(&one["node"]))
                );
                let (now, then) = (number(&one["now"]), number(&one["then"]));
                assert!(then < now && now > 0.0, "{one}");
                let gain = (now - then) / total;
                assert!((number(&one["gain"]) - gain).abs() < 1e-9 && gain <= last);
                last = gain;
            }
            // No table names the kernels of words and bytes yet.
            let quantized = m.contains("qdq");
            let relative = cpu == "x86-64" || quantized;
            assert_eq!(a["unit"], if relative { "relative" } else { "ns" });
            // A table that has no rates of whole numbers does not compare with them.
            assert!(a["in_int8"].is_number() != quantized || !relative);
        }
    }
    let Some(yolox) = yolox else {
        eprintln!("skipped in part: no real models are at hand");
        return;
    };
    let path = yolox.to_string_lossy().into_owned();
    let text = good(
        d,
        &["inspect", &path, "--advise", "--target-cpu", "x86-64-v3"],
    );
    for words in [
        "HardSwish in place of Swish",
        "a depthwise 3x3 convolution",
        "what costs most",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// A depthwise and a 3x3 convolution over a picture of any size `N`x`N`, of 48 channels and 20 behind, as protobuf.
fn free_sizes() -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut n = bytes.len();
        while n > 0x7f {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out.extend(bytes);
        out
    }
    let number = |field: u8, v: u8| vec![field << 3, v];
    let text = |n: u8, t: &str| field(n, t.as_bytes());
    // The type of an attribute, an integer, has a number of two bytes.
    let group = [&text(1, "group")[..], &[0xa0, 0x01, 2], &number(3, 48)].concat();
    let conv = |name: &str, x: &str, w: &str, y: &str, attribute: &[u8]| {
        let ends = [
            text(1, x),
            text(1, w),
            text(2, y),
            text(3, name),
            text(4, "Conv"),
        ]
        .concat();
        field(1, &[&ends[..], attribute].concat())
    };
    let weights = |name: &str, dims: [u8; 4]| {
        let count: usize = dims.iter().map(|d| usize::from(*d)).product();
        let data: Vec<u8> = (0..count)
            .flat_map(|k| libm::sinf(k as f32).to_le_bytes())
            .collect();
        let dims = dims.iter().flat_map(|d| number(1, *d)).collect();
        field(
            5,
            &[dims, number(2, 1), text(8, name), field(9, &data)].concat(),
        )
    };
    let value = |name: &str, dims: [&str; 4]| {
        let dims = dims.iter().flat_map(|d| match d.parse::<u8>() {
            Ok(n) => field(1, &number(1, n)),
            Err(_) => field(1, &text(2, d)),
        });
        let shape = field(2, &dims.collect::<Vec<u8>>());
        let ty = field(2, &field(1, &[number(1, 1), shape].concat()));
        [text(1, name), ty].concat()
    };
    let graph = [
        conv("alone", "x", "a", "t", &field(5, &group)),
        conv("mixed", "t", "b", "y", &[]),
        text(2, "free"),
        weights("a", [48, 1, 3, 3]),
        weights("b", [20, 48, 3, 3]),
        field(11, &value("x", ["1", "48", "N", "N"])),
        field(12, &value("y", ["1", "20", "h", "w"])),
    ]
    .concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}

/// Layers with free sizes and those of integer Winograd have advice: what other sizes, windows and strides would cost.
#[test]
fn advice_on_free_sizes_and_integer_winograd() {
    let dir = tempfile::tempdir().expect("a folder");
    let d = dir.path();
    std::fs::write(d.join("free.onnx"), free_sizes()).expect("a model");
    let ask = |words: &[&str]| {
        let all = [&["inspect"], words, &["--advise", "--json"]].concat();
        json(&good(
            d,
            &[&all[..], &["--target-cpu", "x86-64-v3"]].concat(),
        ))
    };
    let of = |a: &Value, node: &str| {
        let all = list(a, "advice").iter().filter(|o| o["node"] == node);
        let words: Vec<String> = all.map(|o| o["what"].to_string()).collect();
        words.join("\n")
    };
    let free = ask(&["free.onnx", "--dim", "N=40..64"]);
    assert_eq!(
        (&free["at_largest"], &free["without_query"]),
        (&2.into(), &0.into()),
        "{free}"
    );
    let fixed = ask(&["free.onnx", "--dim", "N=64"]);
    assert_eq!(
        (&fixed["at_largest"], &fixed["without_query"]),
        (&0.into(), &0.into()),
        "{fixed}"
    );
    for (a, both) in [(&free, "stride 2"), (&fixed, "stride 2")] {
        assert!(of(a, "mixed").contains("depthwise 3x3"), "{a}");
        assert!(
            of(a, "mixed").contains("16 output channels in place of 20"),
            "{a}"
        );
        assert!(of(a, "mixed").contains(both), "{a}");
    }
    let all = list(&free, "advice").iter();
    let all: Vec<&Value> = all
        .filter(|o| o["what"].to_string().contains("--dim"))
        .collect();
    assert!(
        !all.is_empty(),
        "fixed sizes would bring another kernel: {free}"
    );
    // Whole numbers by Winograd.
    let whole = root().join("tests/data/digits_qdq.onnx");
    let whole = whole.to_string_lossy().into_owned();
    let a = ask(&[&whole, "--winograd", "f4"]);
    let layers = list(&a, "layers").iter();
    let winograd: Vec<&Value> = layers
        .filter(|l| l["kernel"].to_string().contains("conv_i16_winograd"))
        .collect();
    assert!(!winograd.is_empty(), "{a}");
    assert_eq!(a["without_query"], 0, "{a}");
    let node = winograd[0]["node"].as_str().expect("a name");
    assert!(of(&a, node).contains("depthwise 3x3"), "{a}");
}

/// What `docs/profiling.md` says of `perf`: samples lie in bodies and tiles, and with frame pointers the layer stands above them.
#[test]
fn perf_finds_layers_above_their_kernels() {
    if !tools::have("perf") || !tools::have("cc") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let d = dir.path();
    let model = digits();
    let words = ["--target-cpu", "x86-64", "--report", "digits.json"];
    good(
        d,
        &[&["compile", &model, "-o", "digits.o"], &words[..]].concat(),
    );
    let main = "#include \"digits.h\"\nDIGITS_DECLARE_ARENA(arena);\nint main(void) {\n  static float x[DIGITS_INPUT_0_COUNT], y[DIGITS_OUTPUT_0_COUNT];\n  for (int i = 0; i < 30000; i++)\n    if (digits_infer(arena, x, y)) return 1;\n  return 0;\n}\n";
    std::fs::write(d.join("main.c"), main).expect("a source");
    tools::run(d, "cc", &["-O2", "main.c", "digits.o", "-o", "app"]);
    let record = Command::new("perf")
        .args([
            "record",
            "-q",
            "-e",
            "task-clock:u",
            "-F",
            "2000",
            "--call-graph",
            "fp",
        ])
        .args(["-o", "p.data", "./app"])
        .current_dir(d)
        .output()
        .expect("perf runs");
    if !record.status.success() {
        eprintln!(
            "skipped: perf may not record: {}",
            String::from_utf8_lossy(&record.stderr)
        );
        return;
    }
    let stacks = tools::text(&tools::run(
        d,
        "perf",
        &["script", "-i", "p.data", "-F", "ip,sym"],
    ));
    let r = json(&std::fs::read_to_string(d.join("digits.json")).expect("a report"));
    let mut found = 0;
    for stack in stacks.split("\n\n") {
        let symbols: Vec<&str> = stack
            .lines()
            .filter_map(|l| l.split_whitespace().nth(1))
            .collect();
        let Some(inner) = symbols.first() else {
            continue;
        };
        let Some(s) = list(&r, "symbols").iter().find(|s| s["symbol"] == *inner) else {
            continue;
        };
        // The layer that the report names for the function is among its callers, if one is seen at all.
        let layers = list(&r, "layers").iter().map(|l| &l["symbol"]);
        let above: Vec<&Value> = layers
            .filter(|l| symbols.iter().any(|s| **l == **s))
            .collect();
        if let [one] = above.as_slice() {
            assert!(list(s, "layers").contains(one), "{inner} under {one}");
            found += 1;
        }
    }
    assert!(found > 0, "no sample in a layer:\n{stacks}");
}
