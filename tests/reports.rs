//! Reports of compilations: the JSON fits its published schema and adds up, the page has every layer, is whole, and lies right in a browser;
//! `diff` tells builds apart.

use onnxc_tests::generate::root;
use onnxc_tests::tools::{self, says, tool};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn model(name: &str) -> String {
    let path = match name {
        "digits" => root().join("examples/digits/digits.onnx"),
        _ => root().join("tests/data").join(format!("{name}.onnx")),
    };
    path.to_string_lossy().into_owned()
}

/// Compiles to a report; the words say how.
fn report(dir: &Path, name: &str, words: &[&str]) -> Value {
    let path = model(name);
    let args = [&["compile", &path, "--emit", "report=r.json"], words].concat();
    says(dir, &args);
    let text = std::fs::read_to_string(dir.join("r.json")).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

/// Models and flags that between them have every part of a report.
const CASES: &[(&str, &[&str])] = &[
    ("digits", &[]),
    ("digits", &["--target-cpu", "x86-64,x86-64-v3"]),
    ("digits", &["--threads", "2", "--weights", "file"]),
    ("digits_qdq", &[]),
    ("digits_qdq", &["--npu", "sim", "--npu-min-gain", "0"]),
    ("attention", &[]),
    (
        "free",
        &["--target", "aarch64-linux-gnu", "--dim", "N=1..8"],
    ),
];

/// What is wrong with a value by a schema: of JSON Schema what `docs/report.schema.json` uses; a keyword beyond that is wrong too.
fn wrong(all: &Value, schema: &Value, v: &Value, at: &str, out: &mut Vec<String>) {
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        let list = || rule.as_array().expect("a list");
        let fits = match word.as_str() {
            "description" | "title" | "$schema" | "$id" | "$defs" => true,
            "$ref" => {
                let name = rule.as_str().and_then(|r| r.strip_prefix("#/$defs/"));
                wrong(all, &all["$defs"][name.expect("a name")], v, at, out);
                true
            }
            "const" => v == rule,
            "enum" => list().contains(v),
            "minimum" => v.as_f64() >= rule.as_f64(),
            "pattern" => {
                assert_eq!(
                    rule, "^[0-9a-f]{64}$",
                    "the only pattern that is known here"
                );
                let hex =
                    |s: &str| s.len() == 64 && s.bytes().all(|b| b"0123456789abcdef".contains(&b));
                v.as_str().is_some_and(hex)
            }
            "type" => {
                let is = |t: &Value| match t.as_str().expect("a type") {
                    "object" => v.is_object(),
                    "array" => v.is_array(),
                    "string" => v.is_string(),
                    "boolean" => v.is_boolean(),
                    "null" => v.is_null(),
                    "integer" => v.is_i64() || v.is_u64(),
                    "number" => v.is_number(),
                    t => panic!("unknown type {t}"),
                };
                rule.as_array()
                    .map_or_else(|| is(rule), |l| l.iter().any(is))
            }
            "items" => {
                for (k, item) in v.as_array().into_iter().flatten().enumerate() {
                    wrong(all, rule, item, &format!("{at}[{k}]"), out);
                }
                true
            }
            "properties" => {
                for (name, inner) in rule.as_object().expect("properties") {
                    if let Some(value) = v.get(name) {
                        wrong(all, inner, value, &format!("{at}.{name}"), out);
                    }
                }
                true
            }
            "required" => list()
                .iter()
                .all(|n| v.get(n.as_str().expect("a name")).is_some()),
            "additionalProperties" => {
                assert_eq!(rule, false);
                let known = schema["properties"].as_object().expect("properties");
                let own = v.as_object().into_iter().flatten();
                own.map(|(name, _)| name).all(|n| known.contains_key(n))
            }
            word => panic!("the schema uses `{word}`, which this check does not know"),
        };
        if !fits {
            out.push(format!("{at}: {word} {rule}"));
        }
    }
}

fn faults(v: &Value) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/report.schema.json")).expect("a schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let mut out = vec![];
    wrong(&schema, &schema, v, "", &mut out);
    out
}

#[test]
fn reports_fit_the_published_schema() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, words) in CASES {
        let r = report(dir.path(), name, words);
        assert_eq!(faults(&r), Vec::<String>::new(), "{name} {words:?}");
        assert_eq!(r["offload"].is_object(), words.contains(&"--npu"));
        assert_eq!(r["levels"].is_array(), words.contains(&"x86-64,x86-64-v3"));
        // What is not so is found.
        for (path, bad) in [
            ("/run/0/step", Value::from("0")),
            ("/content_digest", Value::from("0f")),
            ("/memory/buffers/0/bytes", Value::from(-1)),
            ("/schema_version", Value::from(2)),
        ] {
            let mut r = r.clone();
            *r.pointer_mut(path).expect(path) = bad;
            assert!(!faults(&r).is_empty(), "{path}");
        }
        let mut less = r.clone();
        less["run"][0]
            .as_object_mut()
            .expect("a layer")
            .remove("after");
        let mut more = r;
        more["memory"]["news"] = Value::from(1);
        assert!(!faults(&less).is_empty() && !faults(&more).is_empty());
    }
}

/// Bytes that buffers hold at a step; those that share bytes count once.
fn held(r: &Value, step: u64) -> u64 {
    let n = |v: &Value| v.as_u64().expect("a number");
    let list = r["memory"]["buffers"].as_array().expect("buffers");
    let mut spans: Vec<(u64, u64)> = list
        .iter()
        .filter(|b| (n(&b["first_step"])..=n(&b["last_step"])).contains(&step))
        .map(|b| (n(&b["offset"]), n(&b["offset"]) + n(&b["bytes"])))
        .collect();
    spans.sort_unstable();
    let (mut sum, mut end) = (0, 0u64);
    for (from, to) in spans {
        sum += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    sum
}

/// The replay knows nothing of the planner, which has worked out the most that is held before it chose places.
#[test]
fn buffers_add_up_to_the_planners_peak() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, words) in CASES {
        let r = report(dir.path(), name, words);
        let steps = r["memory"]["steps"].as_u64().expect("steps");
        let most = (0..steps).map(|s| held(&r, s)).max().unwrap_or(0);
        let own = r["memory"]["symbol_bytes"].as_u64().expect("bytes");
        // Buffers begin at multiples of 64, so the planner counts whole pieces of that.
        let peak = r["memory"]["peak_bytes"].as_u64().expect("bytes");
        let parts = r["memory"]["buffers"].as_array().map_or(0, Vec::len) as u64;
        assert!(
            most + own <= peak && peak <= most + own + 64 * parts,
            "{name} {words:?}: {most} and {own} are not {peak}"
        );
        assert_eq!(
            held(&r, r["memory"]["peak_step"].as_u64().expect("a step")),
            most
        );
        // What a layer reads was made before it, but for what a loop carries.
        let order: Vec<&str> = (r["run"].as_array().expect("layers").iter())
            .map(|l| l["symbol"].as_str().expect("a symbol"))
            .collect();
        assert!(r["run"].as_array().expect("layers").iter().any(|l| {
            l["after"].as_array().is_some_and(|a| {
                a.iter()
                    .any(|s| s.as_str().is_some_and(|s| s.starts_with("input:")))
            })
        }));
        for l in r["run"].as_array().expect("layers") {
            for from in l["after"].as_array().expect("a list") {
                let from = from.as_str().expect("a symbol");
                assert!(
                    from.starts_with("input:") || order.contains(&from),
                    "{from}"
                );
            }
        }
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// Elements that are opened and not closed, or the other way round.
fn unbalanced(html: &str) -> Vec<String> {
    const ALONE: [&str; 4] = ["meta", "input", "!doctype", "br"];
    let mut open: Vec<String> = vec![];
    for part in html.split('<').skip(1) {
        let tag = part.split('>').next().unwrap_or_default();
        let name: String = tag
            .chars()
            .take_while(|c| !c.is_whitespace())
            .collect::<String>()
            .trim_end_matches('/')
            .to_string();
        if ALONE.contains(&name.as_str()) || tag.ends_with('/') {
            continue;
        }
        match name.strip_prefix('/') {
            None => open.push(name),
            Some(closed) if open.last().is_some_and(|o| o == closed) => {
                open.pop();
            }
            Some(closed) => return vec![format!("</{closed}> in {open:?}")],
        }
    }
    open
}

/// The page of a case, and its JSON.
fn page(dir: &Path, k: usize) -> (PathBuf, Value) {
    let (name, words) = CASES[k];
    let page = format!("p{k}.html");
    let r = report(dir, name, &[words, &["--report", &page][..]].concat());
    (dir.join(page), r)
}

#[test]
fn pages_are_whole_and_have_every_layer() {
    let dir = tempfile::tempdir().expect("a folder");
    for (path, r) in (0..CASES.len()).map(|k| page(dir.path(), k)) {
        let html = std::fs::read_to_string(&path).expect("a page");
        assert_eq!(unbalanced(&html), Vec::<String>::new());
        for from_outside in [
            "<script", "http:", "https:", "url(", "@import", "<link", "NaN",
        ] {
            assert!(!html.contains(from_outside), "{from_outside}");
        }
        let prefix = r["prefix"].as_str().expect("a prefix");
        for (k, l) in r["run"].as_array().expect("layers").iter().enumerate() {
            let symbol = l["symbol"].as_str().expect("a symbol");
            let short = symbol.strip_prefix(prefix).expect("the prefix");
            assert!(html.contains(&format!("<tr id=\"layer-{k}\">")), "{symbol}");
            assert!(html.contains(&format!("href=\"#layer-{k}\"")), "{symbol}");
            let cell = format!("<td>{}</td>", escaped(short.trim_start_matches('_')));
            assert!(html.contains(&cell), "{symbol}");
        }
        let layers = r["layers"].as_array().expect("layers");
        let last = layers.len() - r["run"].as_array().map_or(0, Vec::len);
        for node in layers[last..]
            .iter()
            .flat_map(|l| l["nodes"].as_array())
            .flatten()
        {
            assert!(
                html.contains(&escaped(node.as_str().expect("a name"))),
                "{node}"
            );
        }
    }
}

/// Looks at the page as it lies: what overlaps, what sticks out, what can't be read.
const LOOK: &str = r#"<script>addEventListener('load', () => {
const bad = [];
const boxes = [...document.querySelectorAll('.canvas .b,.canvas .q,.canvas .i,.canvas .o')];
const box = e => e.getBoundingClientRect();
const cut = (a, b) => a.left < b.right - .5 && b.left < a.right - .5 && a.top < b.bottom - .5 && b.top < a.bottom - .5;
boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => { if (cut(box(a), box(b))) bad.push('boxes overlap'); }));
boxes.forEach(e => e.parentNode.querySelectorAll('text').forEach(t => {
  if (box(t).left < box(e).left - 1 || box(t).right > box(e).right + 1) bad.push('text sticks out: ' + t.textContent);
}));
const words = [...document.querySelectorAll('.canvas .s')];
words.forEach((a, i) => words.slice(i + 1).forEach(b => { if (cut(box(a), box(b))) bad.push('words overlap: ' + a.textContent + ', ' + b.textContent); }));
if (document.documentElement.scrollWidth > innerWidth + 1) bad.push('the page is too wide');
const light = c => { const [r, g, b] = c.match(/[\d.]+/g).map(v => (v /= 255) <= .04 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
const back = getComputedStyle(document.body).backgroundColor;
['td', 'dt', 'h1', 'label'].forEach(s => { const e = document.querySelector(s); if (e && contrast(getComputedStyle(e).color, back) < 4.5) bad.push('too faint: ' + s); });
document.querySelectorAll('.canvas text').forEach(t => { if (contrast(getComputedStyle(t).fill, back) < 4) bad.push('too faint: ' + t.textContent); });
const z = document.querySelector('#graph-z4'), before = box(boxes[0]).width; z.checked = true;
if (Math.abs(box(boxes[0]).width / before - 2) > .05) bad.push('no magnification');
const p = document.createElement('pre'); p.id = 'seen';
p.textContent = 'rows=' + document.querySelectorAll('tr[id]').length + ' boxes=' + boxes.length + ' dark=' + (light(back) < .2) + ' bad=' + bad.join('; ');
document.body.append(p);
});</script>"#;

fn browser() -> Option<&'static str> {
    let known = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    known.into_iter().find(|b| {
        let v = Command::new(b).arg("--version").output();
        v.is_ok_and(|o| o.status.success())
    })
}

#[test]
fn pages_lie_right_in_a_browser() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no chromium is installed");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    // A browser takes its time to start: several levels, an accelerator, attention.
    for (path, r) in [1, 4, 5].map(|k| page(dir.path(), k)) {
        let html = std::fs::read_to_string(&path).expect("a page");
        let seen = dir.path().join("seen.html");
        std::fs::write(&seen, html.replace("</body>", &format!("{LOOK}</body>"))).expect("a page");
        for dark in [false, true] {
            let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
            let out = Command::new(browser)
                .args([
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    // In the dark, on a telephone.
                    &format!("--window-size={},900", if dark { 500 } else { 1200 }),
                ])
                .arg("--host-resolver-rules=MAP * ~NOTFOUND")
                .arg(format!(
                    "--user-data-dir={}",
                    dir.path().join("profile").display()
                ))
                .args([&scheme, "--dump-dom"])
                .arg(format!("file://{}", seen.display()))
                .output()
                .expect("the browser runs");
            let dom = tools::text(&out);
            let found = dom
                .split("<pre id=\"seen\">")
                .nth(1)
                .and_then(|t| t.split('<').next());
            let found = found.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out.stderr)));
            let n = |name: &str| r[name].as_array().map_or(0, Vec::len);
            let want = format!(
                "rows={} boxes={} dark={dark} bad=",
                n("run"),
                n("run") + n("inputs") + n("outputs")
            );
            assert_eq!(found, want, "{}", path.display());
        }
    }
}

#[test]
fn diff_tells_builds_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let d = dir.path();
    let digits = model("digits");
    says(d, &["compile", &digits, "--emit", "report=a.json"]);
    says(
        d,
        &[
            "compile",
            &digits,
            "--emit",
            "report=b.json",
            "--target-cpu",
            "x86-64-v3",
        ],
    );
    says(
        d,
        &["compile", &model("digits_qdq"), "--emit", "report=q.json"],
    );
    let same = says(d, &["diff", "a.json", "a.json", "--exit-code"]);
    assert!(same.contains("the same"), "{same}");
    let text = says(d, &["diff", "a.json", "b.json"]);
    assert!(text.contains("cpu: x86-64 -> x86-64-v3"), "{text}");
    assert!(text.contains("layers changed: "), "{text}");
    assert_eq!(
        tool(d, &["diff", "a.json", "b.json", "--exit-code"])
            .output()
            .expect("the tool runs")
            .status
            .code(),
        Some(1)
    );
    let json: Value =
        serde_json::from_str(&says(d, &["diff", "a.json", "q.json", "--json"])).expect("JSON");
    assert_eq!(json["same"], false);
    let of = |file: &str| -> Value {
        let text = std::fs::read_to_string(d.join(file)).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    };
    let (a, q) = (of("a.json"), of("q.json"));
    let sizes = json["sizes"].as_array().expect("sizes");
    for (name, field) in [
        ("arena", "arena_bytes"),
        ("weights", "weights_bytes"),
        ("macs", "macs"),
    ] {
        let s = sizes.iter().find(|s| s["name"] == name).expect(name);
        assert_eq!((&s["before"], &s["after"]), (&a[field], &q[field]));
    }
    // Every layer of either build is kept, added or removed.
    let len = |v: &Value| v.as_array().map_or(0, Vec::len) as i64;
    let kept = len(&a["run"]) - len(&json["removed"]);
    assert_eq!(kept, len(&q["run"]) - len(&json["added"]));
    // What is no report is refused.
    std::fs::write(d.join("x.json"), "{\"schema_version\": 99}").expect("a file");
    let out = tool(d, &["diff", "a.json", "x.json"])
        .output()
        .expect("the tool runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("version 99"), "{said}");
    let out = tool(d, &["compile", &digits, "--report", "r.txt", "-o", "n.o"])
        .output()
        .expect("the tool runs");
    assert_eq!(out.status.code(), Some(2));
    assert!(!d.join("n.o").exists() && !d.join("r.txt").exists());
}
