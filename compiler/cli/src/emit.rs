//! `--emit`: which outputs are written, and where.
//!
//! The form is rustc's: `KIND`, or `KIND=PATH`, several parted by commas. What has no path lies beside the object and is
//! named after it.

use std::path::{Path, PathBuf};

use onnxc_compiler::base::diag::{Diagnostic, Result};

/// A kind of output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum EmitKind {
    /// ELF object.
    Obj,
    /// Archive with that object.
    Staticlib,
    /// Shared library with that object.
    So,
    /// C header.
    Header,
    /// Rust module.
    Rust,
    /// Dependencies in make's form.
    DepInfo,
    /// What was made, as JSON.
    Report,
    /// The same for people, as a page of HTML.
    Html,
    /// The graph after all passes, as text.
    Graph,
    /// The loops, as text.
    Loops,
    /// Cranelift's IR.
    Clif,
    /// Disassembly.
    Asm,
    /// The graph for Graphviz.
    Dot,
    /// A benchmark program in C.
    BenchC,
    /// C++17 header.
    Hpp,
}

/// Kinds, their names, and how their files end.
pub const KINDS: &[(EmitKind, &str, &str)] = &[
    (EmitKind::Obj, "obj", "o"),
    (EmitKind::Staticlib, "staticlib", "a"),
    (EmitKind::So, "so", "so"),
    (EmitKind::Header, "header", "h"),
    (EmitKind::Rust, "rust", "rs"),
    (EmitKind::DepInfo, "dep-info", "d"),
    (EmitKind::Report, "report", "json"),
    (EmitKind::Html, "html", "html"),
    (EmitKind::Graph, "graph", "graph"),
    (EmitKind::Loops, "loops", "loops"),
    (EmitKind::Clif, "clif", "clif"),
    (EmitKind::Asm, "asm", "s"),
    (EmitKind::Dot, "dot", "dot"),
    (EmitKind::BenchC, "bench-c", "bench.c"),
    (EmitKind::Hpp, "hpp", "hpp"),
];

/// An output that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emit {
    /// What.
    pub kind: EmitKind,
    /// Where, if said.
    pub path: Option<PathBuf>,
}

/// Reads one `KIND[=PATH]`.
pub fn parse_emit(text: &str) -> std::result::Result<Emit, String> {
    let (name, path) = match text.split_once('=') {
        Some((_, "")) => return Err("a path is missing behind `=`".into()),
        Some((name, path)) => (name, Some(PathBuf::from(path))),
        None => (text, None),
    };
    let kind = KINDS.iter().find(|k| k.1 == name).map(|k| k.0);
    let names = || KINDS.iter().map(|k| k.1);
    let kind =
        kind.ok_or_else(
            || match onnxc_targets::suggest::closest(name, names()).first() {
                Some(near) => format!("`{name}` is no output; did you mean `{near}`?"),
                None => format!(
                    "`{name}` is no output; there are {}",
                    names().collect::<Vec<_>>().join(", ")
                ),
            },
        )?;
    Ok(Emit { kind, path })
}

/// Where everything goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Kinds and paths, each kind once, in the order of [`KINDS`].
    pub files: Vec<(EmitKind, PathBuf)>,
    /// Folder and stem of what lies beside the object.
    pub stem: PathBuf,
}

impl Plan {
    /// Decides all paths. `model` is the stem of the model's file.
    pub fn new(emits: &[Emit], output: Option<&Path>, model: &str) -> Result<Plan> {
        let mut asked: Vec<Emit> = Vec::new();
        let defaults = [EmitKind::Obj, EmitKind::Header].map(|kind| Emit { kind, path: None });
        for e in if emits.is_empty() {
            &defaults[..]
        } else {
            emits
        } {
            match asked.iter_mut().find(|a| a.kind == e.kind) {
                Some(a) => *a = e.clone(),
                None => asked.push(e.clone()),
            }
        }
        // The program is of no use without what it includes and is linked with.
        let needs = [
            (EmitKind::BenchC, EmitKind::Obj),
            (EmitKind::BenchC, EmitKind::Header),
            (EmitKind::Hpp, EmitKind::Header),
        ];
        for (kind, needed) in needs {
            let has = |kind| asked.iter().any(|a: &Emit| a.kind == kind);
            if has(kind) && !has(needed) {
                asked.push(Emit {
                    kind: needed,
                    path: None,
                });
            }
        }
        asked.sort_by_key(|e| e.kind);
        let name_of = |kind: EmitKind, stem: &Path| {
            let end = KINDS.iter().find(|k| k.0 == kind).map_or("out", |k| k.2);
            let file = stem
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let lib = match kind {
                EmitKind::Staticlib | EmitKind::So => "lib",
                _ => "",
            };
            stem.with_file_name(format!("{lib}{file}.{end}"))
        };
        // What `-o` names: the only thing asked for, else the object, else the library.
        let main = match asked.as_slice() {
            [one] => Some(one.kind),
            many => many
                .iter()
                .map(|e| e.kind)
                .find(|k| matches!(k, EmitKind::Obj | EmitKind::Staticlib | EmitKind::So)),
        };
        let in_folder = |o: &Path| o.is_dir() || o.as_os_str().to_string_lossy().ends_with('/');
        let (stem, named) = match output {
            None => (PathBuf::from(model), None),
            Some(o) if in_folder(o) => (o.join(model), None),
            Some(o) if o == Path::new("-") || o.file_name().is_none() => {
                (PathBuf::from(model), Some(o))
            }
            Some(o) => {
                let mut stem = o.with_extension("");
                if o.extension().is_some_and(|e| e == "a" || e == "so")
                    && let Some(inner) = stem
                        .file_name()
                        .and_then(|f| f.to_str()?.strip_prefix("lib"))
                        .filter(|s| !s.is_empty())
                {
                    stem = stem.with_file_name(inner);
                }
                (stem, Some(o))
            }
        };
        if named.is_some() && main.is_none() {
            return Err(Diagnostic::usage(
                "USE001",
                "-o names one file, but several outputs are asked for and none is the object",
            )
            .help("give each its path: --emit header=m.h,report=m.json"));
        }
        let files: Vec<(EmitKind, PathBuf)> = asked
            .into_iter()
            .map(|e| {
                let path = match (e.path, named) {
                    (Some(p), _) => p,
                    (None, Some(o)) if Some(e.kind) == main => o.to_path_buf(),
                    _ => name_of(e.kind, &stem),
                };
                (e.kind, path)
            })
            .collect();
        for (i, (_, path)) in files.iter().enumerate() {
            if path != Path::new("/dev/null") && files[..i].iter().any(|(_, p)| p == path) {
                return Err(Diagnostic::usage(
                    "USE001",
                    format!("two outputs would be written to `{}`", path.display()),
                ));
            }
        }
        Ok(Plan { files, stem })
    }

    /// The path of a kind, if asked for.
    pub fn path(&self, kind: EmitKind) -> Option<&Path> {
        self.files
            .iter()
            .find(|f| f.0 == kind)
            .map(|f| f.1.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(emits: &[&str], output: Option<&str>) -> std::result::Result<Vec<String>, String> {
        let emits: Vec<Emit> = emits
            .iter()
            .map(|e| parse_emit(e))
            .collect::<std::result::Result<_, _>>()?;
        let plan = Plan::new(&emits, output.map(Path::new), "m").map_err(|d| d.to_string())?;
        Ok(plan
            .files
            .iter()
            .map(|f| f.1.display().to_string())
            .collect())
    }

    #[test]
    fn names() {
        assert_eq!(paths(&[], None).unwrap(), ["m.o", "m.h"]);
        assert_eq!(
            paths(&[], Some("out/net.o")).unwrap(),
            ["out/net.o", "out/net.h"]
        );
        assert_eq!(
            paths(&["staticlib", "header"], Some("libnet.a")).unwrap(),
            ["libnet.a", "net.h"]
        );
        assert_eq!(paths(&["staticlib"], None).unwrap(), ["libm.a"]);
        assert_eq!(
            paths(&["so", "header"], Some("x/libnet.so")).unwrap(),
            ["x/libnet.so", "x/net.h"]
        );
        assert_eq!(paths(&["so"], None).unwrap(), ["libm.so"]);
        assert_eq!(paths(&["asm"], Some("-")).unwrap(), ["-"]);
        assert_eq!(
            paths(&["obj", "report=r/x.json", "dot"], Some("a.o")).unwrap(),
            ["a.o", "r/x.json", "a.dot"]
        );
        assert_eq!(
            paths(&["obj"], Some("no_such_folder/")).unwrap(),
            ["no_such_folder/m.o"]
        );
        assert_eq!(
            paths(&["bench-c"], Some("b/net.o")).unwrap(),
            ["b/net.o", "b/net.h", "b/net.bench.c"]
        );
        assert_eq!(
            paths(&["obj", "hpp"], Some("b/net.o")).unwrap(),
            ["b/net.o", "b/net.h", "b/net.hpp"]
        );
    }

    #[test]
    fn mistakes() {
        assert!(paths(&["header", "report"], Some("x")).is_err());
        assert!(paths(&["obj=x", "header=x"], None).is_err());
        assert!(paths(&["objj"], None).unwrap_err().contains("`obj`"));
        assert!(paths(&["obj="], None).is_err());
    }
}
