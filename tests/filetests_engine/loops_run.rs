//! `loops run`: interprets functions on given data.
//!
//! ```text
//! ; run: scale 3 $N=4      a function, its whole numbers, values of symbols
//! ; in: x = 1 2 3 4        elements of a buffer; those not given are 0
//! ; out: y = 2 4 6 8       what must be there afterwards; `y ~1e-6 = ...` allows a relative difference
//! ; sym: N = 5             a size that the run defined
//! ; status: 7              how it must end, if not well; or `fault: TEXT`, or `size: N`
//! ```
//!
//! The numbers are written by hand or come from another program; `BLESS=1` does not touch them.

use super::{Case, Command, Outcome, Problem};
use onnxc_compiler::base::dim::Symbols;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::loops::interp::{Env, Memory, NoCallees, Stop, run as interpret};
use onnxc_compiler::loops::ir::Func;
use onnxc_compiler::loops::parse::parse_module;

pub const COMMAND: Command = Command {
    name: "loops run",
    blessed: false,
    run,
};

/// Elements that a buffer of unknown length gets.
const SPARE: usize = 64;

struct Run {
    func: usize,
    syms: Vec<i64>,
    memory: Vec<Vec<u8>>,
    end: Option<Result<(), Stop>>,
    ints: Vec<i64>,
    /// Whether a bad end was announced.
    announced: bool,
    line: usize,
}

fn run(case: &Case) -> Outcome {
    let (symbols, funcs) = match parse_module(&case.source) {
        Ok(m) => m,
        Err(e) => return Outcome::problem(e.line, e.message),
    };
    let funcs: Vec<Func> = funcs.into_iter().map(|f| f.func).collect();
    let mut out = Outcome::default();
    let mut at: Option<Run> = None;
    for (line, key, value) in case.directives() {
        if key == "run" {
            finish(at.take(), &funcs, &symbols, &mut out);
        }
        let done = match key.as_str() {
            "run" => start(line, &value, &funcs, &symbols).map(|r| at = Some(r)),
            "in" | "out" | "sym" | "status" | "fault" | "size" => match &mut at {
                Some(r) => directive(r, &key, &value, &funcs, &symbols),
                None => Err("this stands before the first `run`".into()),
            },
            _ => Ok(()),
        };
        if let Err(message) = done {
            out.problems.push(Problem { line, message });
        }
    }
    finish(at, &funcs, &symbols, &mut out);
    out
}

fn start(line: usize, text: &str, funcs: &[Func], symbols: &Symbols) -> Result<Run, String> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    let func = funcs.iter().position(|f| f.name == name);
    let func = func.ok_or_else(|| format!("there is no function `{name}`"))?;
    let mut syms: Vec<i64> = symbols.iter().map(|(_, s)| s.lo).collect();
    let mut ints = vec![];
    for w in words {
        match w.strip_prefix('$').and_then(|w| w.split_once('=')) {
            Some((name, v)) => {
                let i = symbols.iter().position(|(_, s)| s.name == name);
                let i = i.ok_or_else(|| format!("there is no symbol `{name}`"))?;
                syms[i] = v.parse().map_err(|_| format!("`{v}` is no number"))?;
            }
            None => ints.push(w.parse().map_err(|_| format!("`{w}` is no number"))?),
        }
    }
    let memory = funcs[func].bufs.iter().map(|(_, b)| {
        let n = match ints.is_empty() {
            true => b.len.bounds(symbols).1.clamp(0, 1 << 20) as usize,
            false => SPARE,
        };
        vec![0; n * b.dtype.size()]
    });
    Ok(Run {
        memory: memory.collect(),
        func,
        syms,
        ints,
        end: None,
        announced: false,
        line,
    })
}

impl Run {
    fn go(&mut self, funcs: &[Func], symbols: &Symbols) -> Result<(), Stop> {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let env = Env {
            symbols,
            callees: &NoCallees,
            budget: Some(1_000_000),
        };
        let slices = self.memory.iter_mut().map(|m| m.as_mut_slice()).collect();
        let f = &funcs[self.func];
        let end = interpret(f, &mut Memory::of(slices), &self.ints, &mut self.syms, &env);
        self.end = Some(end.clone());
        end
    }
}

fn directive(
    r: &mut Run,
    key: &str,
    value: &str,
    funcs: &[Func],
    symbols: &Symbols,
) -> Result<(), String> {
    if key != "in" {
        let end = r.go(funcs, symbols);
        r.announced |= matches!(key, "status" | "fault" | "size");
        match (key, &end) {
            ("status", Err(Stop::Status(s))) if s.to_string() == value => return Ok(()),
            ("fault", Err(Stop::Fault(what))) if what.contains(value) => return Ok(()),
            ("size", Err(Stop::Size { sym, .. }))
                if symbols.get(*sym).is_some_and(|s| s.name == value) =>
            {
                return Ok(());
            }
            ("status" | "fault" | "size", end) => return Err(format!("it ended with {end:?}")),
            _ => {}
        }
    }
    let (name, values) = value.split_once('=').ok_or("expected `NAME = VALUES`")?;
    let mut words = name.split_whitespace();
    let name = words.next().unwrap_or_default();
    let tolerance = words.next().and_then(|w| w.strip_prefix('~'));
    let tolerance: f64 = tolerance.and_then(|t| t.parse().ok()).unwrap_or(0.0);
    if key == "sym" {
        let i = symbols.iter().position(|(_, s)| s.name == name);
        let got = i.map(|i| r.syms[i].to_string()).unwrap_or_default();
        return match got == values.trim() {
            true => Ok(()),
            false => Err(format!("it is {got}")),
        };
    }
    let bufs = &funcs[r.func].bufs;
    let at = bufs.iter().position(|(_, b)| b.name == name);
    let at = at.ok_or_else(|| format!("there is no buffer `{name}`"))?;
    let dtype = bufs.iter().nth(at).map_or(DType::F32, |(_, b)| b.dtype);
    let values: Vec<&str> = values.split_whitespace().collect();
    let size = values.len() * dtype.size();
    if r.memory[at].len() < size {
        return Err(format!("`{name}` has only {} bytes", r.memory[at].len()));
    }
    if key == "in" {
        for (i, v) in values.iter().enumerate() {
            let b = element(dtype, v).ok_or_else(|| format!("`{v}` is no {dtype}"))?;
            r.memory[at][i * b.len()..(i + 1) * b.len()].copy_from_slice(&b);
        }
        return Ok(());
    }
    let data = r.memory[at][..size].to_vec();
    let got = Tensor::new(dtype, vec![values.len() as i64], data.into()).map_err(|d| d.message)?;
    for (i, want) in values.iter().enumerate() {
        let (same, text) = match dtype.is_float() {
            true => {
                let g = got.get_f64(i).unwrap_or(f64::NAN);
                let w: f64 = want.parse().map_err(|_| format!("`{want}` is no number"))?;
                // In the precision of the type: 0.1 means the f32 nearest to it.
                let w = element(dtype, want)
                    .and_then(|b| Tensor::new(dtype, vec![1], b.into()).ok())
                    .and_then(|t| t.get_f64(0))
                    .unwrap_or(w);
                let near = (g - w).abs() <= tolerance * w.abs();
                let equal = g == w && g.is_sign_negative() == w.is_sign_negative();
                (
                    near && tolerance > 0.0 || equal || g.is_nan() && w.is_nan(),
                    format!("{g:?}"),
                )
            }
            false => {
                let g = &got.data[i * dtype.size()..(i + 1) * dtype.size()];
                let text = got.get_i64(i).map_or(format!("{g:?}"), |v| v.to_string());
                (element(dtype, want).as_deref() == Some(g), text)
            }
        };
        if !same {
            return Err(format!("element {i} of {name} is {text}, not {want}"));
        }
    }
    Ok(())
}

/// The bytes of one element.
fn element(dtype: DType, text: &str) -> Option<Vec<u8>> {
    if dtype.is_float() {
        let t = Tensor::from_f64s(dtype, &[1], &[text.parse().ok()?]);
        return Some(t.data.to_vec());
    }
    let v: i128 = text.parse().ok()?;
    let in_range = dtype
        .int_range()
        .is_none_or(|(lo, hi)| (lo..=hi).contains(&v));
    in_range.then(|| v.to_le_bytes()[..dtype.size()].to_vec())
}

fn finish(r: Option<Run>, funcs: &[Func], symbols: &Symbols, out: &mut Outcome) {
    let Some(mut r) = r else { return };
    if let Err(stop) = r.go(funcs, symbols)
        && !r.announced
    {
        out.problems.push(Problem {
            line: r.line,
            message: stop.to_string(),
        });
    }
}
