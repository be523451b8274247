//! Measuring one kernel row on one query: what benches of kernels and tuning are made of.
//!
//! The row's loops become a program of one layer, whose operands and scratch memory are the caller's buffers, so nothing but
//! the kernel runs. [`parse`] reads queries from lines of text, such as [`SHAPES`] and the queries of reports.

use onnxc_compiler::base::attr::{Attr, Attrs};
use onnxc_compiler::base::costs::Work;
use onnxc_compiler::base::diag::{Diagnostic, Diagnostics, Result};
use onnxc_compiler::base::dim::{Dim, Symbols};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::effort::Effort;
use onnxc_compiler::base::tensor::Tensor;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::codegen::exec::Drive;
use onnxc_compiler::contracts::{self, conv};
use onnxc_compiler::graph::ir::{Graph, Model};
use onnxc_compiler::kernel::{Contract, Extra, Kernel, LowerCx, Operand, Query};
use onnxc_compiler::loops::build::Builder;
use onnxc_compiler::loops::ir::{Access, Func};
use onnxc_compiler::plan::program::{Layer, Place, Port, Program, Step};
use onnxc_compiler::plan::select;
use onnxc_compiler::{Artifact, Options, Quiet};

use super::clock::{self, Times};
use crate::data::random;
use crate::engine::Engine;
use crate::machine::Machine;
use crate::remote::Remote;

/// Sizes and attributes of a query, without a machine.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The line that it was read from.
    pub text: String,
    contract: &'static str,
    attrs: Attrs,
    /// Shapes of the inputs; all but the first are known while compiling.
    inputs: Vec<Vec<i64>>,
    out: Vec<i64>,
    /// Weights of which so many in a hundred are zero, so many output channels at a time.
    zeros: [i64; 2],
}

/// What kernels are measured on: layers of common networks.
pub const SHAPES: &str = include_str!("shapes.txt");

fn bad(line: &str, why: &str) -> Box<Diagnostic> {
    Diagnostic::usage("USE002", format!("`{line}`: {why}"))
}

/// Reads lines: `conv 1x24x56x56 144x24x1x1 stride=1 pad=0 group=1` (input, weights; a bias is added) and
/// `gemm 128x384 384x1536`. `#` begins a comment.
pub fn parse(text: &str) -> Result<Vec<Shape>> {
    let lines = text
        .lines()
        .map(|l| l.split('#').next().unwrap_or("").trim());
    lines.filter(|l| !l.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Result<Shape> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or("");
    let contract = contracts::ALL.iter().find(|c| c.name == name);
    let contract = contract.ok_or_else(|| bad(line, "no such contract"))?.name;
    let mut inputs = Vec::new();
    let mut numbers = Vec::new();
    for word in words {
        let number = |t: &str| t.parse::<i64>().ok().filter(|n| (0..1 << 20).contains(n));
        match word.split_once('=') {
            Some((key, value)) => {
                let list: Option<Vec<i64>> = value.split(',').map(number).collect();
                let list = list.ok_or_else(|| bad(line, "expected NAME=NUMBER or a list"))?;
                numbers.push((key.to_string(), list));
            }
            None => {
                let dims: Option<Vec<i64>> = word.split('x').map(number).collect();
                inputs.push(dims.ok_or_else(|| bad(line, "expected sizes parted by x"))?);
            }
        }
    }
    let list = |key: &str, default: i64, len: usize| -> Result<Vec<i64>> {
        match numbers.iter().find(|n| n.0 == key).map(|n| n.1.as_slice()) {
            None => Ok(vec![default; len]),
            Some([one]) => Ok(vec![*one; len]),
            Some(all) if all.len() == len => Ok(all.to_vec()),
            Some(_) => Err(bad(line, &format!("`{key}` has {len} numbers"))),
        }
    };
    let number = |key: &str, default: i64| list(key, default, 1).map(|l| l[0]);
    let allowed: &[&str] = match contract {
        "conv" => &[
            "stride", "pad", "dilation", "group", "last", "zeros", "block",
        ],
        _ => &["ta", "tb", "zeros", "block"],
    };
    let zeros = [number("zeros", 0)?.min(100), number("block", 1)?.max(1)];
    if let Some((key, _)) = numbers.iter().find(|n| !allowed.contains(&n.0.as_str())) {
        return Err(bad(line, &format!("`{key}` means nothing here")));
    }
    let dims = |s: &[i64]| s.iter().map(|n| Dim::Fixed(*n)).collect::<Vec<_>>();
    match (contract, inputs.as_slice()) {
        ("conv", [x, w]) if x.len() == w.len() && x.len() > 2 && x[1] > 0 => {
            let axes = x.len() - 2;
            let last = number("last", 0)? != 0;
            // Lines say channels first, whatever the layout.
            let layout = |n: i64, c: i64, spatial: &[i64]| match last {
                true => [&[n], spatial, &[c]].concat(),
                false => [&[n, c], spatial].concat(),
            };
            let attrs = Attrs::default()
                .with("strides", Attr::Ints(list("stride", 1, axes)?))
                .with("dilations", Attr::Ints(list("dilation", 1, axes)?))
                .with("pads", Attr::Ints(list("pad", 0, 2 * axes)?))
                .with("group", Attr::Int(number("group", 1)?))
                .with("channels_last", Attr::Int(i64::from(last)));
            let input = layout(x[0], x[1], &x[2..]);
            let view = conv::View::of_shapes(&attrs, &dims(&input), &dims(w))?;
            let spatial: Option<Vec<i64>> = view.window.out.iter().map(Dim::fixed).collect();
            let spatial = spatial.ok_or_else(|| bad(line, "the output has no fixed size"))?;
            if w[1] * number("group", 1)? != x[1] {
                return Err(bad(line, "channels of input and weights differ"));
            }
            Ok(Shape {
                text: line.into(),
                contract,
                attrs,
                inputs: vec![input, w.clone(), vec![w[0]]],
                out: layout(x[0], w[0], &spatial),
                zeros,
            })
        }
        ("gemm", [a, b]) if a.len() >= 2 && b.len() == 2 => {
            let (ta, tb) = (number("ta", 0)? != 0, number("tb", 0)? != 0);
            let (batch, rows) = a.split_at(a.len() - 2);
            let turned = |s: &[i64], t: bool| if t { [s[1], s[0]] } else { [s[0], s[1]] };
            let ([m, k], [k2, n]) = (turned(rows, ta), turned(b, tb));
            if k != k2 {
                return Err(bad(line, "the matrices do not fit together"));
            }
            Ok(Shape {
                text: line.into(),
                contract,
                attrs: Attrs::default()
                    .with("trans_a", Attr::Int(i64::from(ta)))
                    .with("trans_b", Attr::Int(i64::from(tb))),
                inputs: vec![a.clone(), b.clone(), vec![n]],
                out: [batch, &[m, n]].concat(),
                zeros,
            })
        }
        _ => Err(bad(line, "these are not the operands of the contract")),
    }
}

/// Made-up operands.
fn data(shape: &Shape) -> Result<Vec<Tensor>> {
    let inputs = shape.inputs.iter().enumerate();
    let mut all: Vec<Tensor> = inputs
        .map(|(k, dims)| random::tensor(0, k, DType::F32, dims))
        .collect::<Result<_>>()?;
    if shape.zeros[0] > 0
        && let Some(w) = all.get_mut(1)
    {
        *w = masked(shape, w);
    }
    Ok(all)
}

/// Weights of which some blocks of output channels are zero.
fn masked(shape: &Shape, w: &Tensor) -> Tensor {
    let [zeros, block] = shape.zeros;
    let columns = shape.contract != "conv" && !shape.attrs.flag("trans_b");
    let n = match columns {
        true => w.shape.last(),
        false => w.shape.first(),
    };
    let n = n.copied().unwrap_or(1).max(1);
    let k = w.len() as i64 / n;
    let values: Vec<f64> = (0..w.len() as i64)
        .map(|i| {
            let (c, p) = if columns {
                (i % n, i / n)
            } else {
                (i / k, i % k)
            };
            // Spread evenly, and not in the order of anything.
            let hash = ((c / block * k + p) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let hash = (hash ^ hash >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            match (hash >> 40) % 100 < zeros as u64 {
                true => 0.0,
                false => w.get_f64(i as usize).unwrap_or(0.0),
            }
        })
        .collect();
    Tensor::from_f64s(w.dtype, &w.shape, &values)
}

/// The question; all operands but the first are known.
fn query<'m>(machine: &'m Machine, shape: &Shape, data: &[Tensor]) -> Result<Query<'m>> {
    let contract: &'static Contract = contracts::ALL
        .iter()
        .copied()
        .find(|c| c.name == shape.contract)
        .ok_or_else(|| bad(&shape.text, "no such contract"))?;
    let known = |k: usize, t: &Tensor| (k > 0).then(|| t.clone());
    Ok(Query {
        contract,
        attrs: shape.attrs.clone(),
        inputs: (data.iter().enumerate())
            .map(|(k, t)| Some((TensorType::of(t), known(k, t))))
            .collect(),
        outputs: vec![Some(TensorType::fixed(DType::F32, &shape.out))],
        machine: &machine.target.machine,
        effort: Effort::default(),
    })
}

/// The row that selection takes on each machine, and the query's text.
pub fn chosen(machines: &[Machine], shape: &Shape) -> Result<(Vec<&'static str>, String)> {
    let data = data(shape)?;
    let mut text = String::new();
    let mut rows = Vec::new();
    for machine in machines {
        let (row, among) = select::choose(&query(machine, shape, &data)?)?;
        text = among.query;
        rows.push(row.name);
    }
    Ok((rows, text))
}

/// What a query costs on a machine by its table, and the row that would be taken; of one line of text.
pub fn cost(machine: &Machine, text: &str) -> Result<(&'static str, f64)> {
    let shape = parse_line(text)?;
    let (row, among) = select::choose(&query(machine, &shape, &data(&shape)?)?)?;
    let found = among.rows.iter().find(|r| r.0 == row.name);
    let cost = found.ok_or_else(|| Diagnostic::internal("a row that was not among the others"))?;
    Ok(*cost)
}

/// Multiply-accumulates of a query, and elements of what it makes; `None` where the text is no query.
pub fn amounts(text: &str) -> Option<(f64, f64)> {
    let shape = parse_line(text).ok()?;
    let weights = shape.inputs.get(1)?;
    let elements: f64 = shape.out.iter().map(|n| *n as f64).product();
    let all: f64 = weights.iter().map(|n| *n as f64).product();
    let channels = match shape.contract {
        "conv" => *weights.first()?,
        _ => *shape.out.last()?,
    };
    Some((elements * all / (channels.max(1) as f64), elements))
}

impl Shape {
    /// Whether it asks the same, whatever its text.
    pub fn asks(&self, other: &Shape) -> bool {
        let key = |s: &Shape| (s.contract, s.attrs.clone(), s.inputs.clone(), s.zeros);
        key(self) == key(other)
    }
}

/// A row on a query.
pub struct Measured {
    /// The row.
    pub row: &'static Kernel,
    /// Whether selection takes it.
    pub chosen: bool,
    /// Multiply-accumulates of the query.
    pub macs: u64,
    /// What it has to do for the query.
    pub work: Work,
    /// Its times.
    pub times: Times,
}

/// Measures every row that accepts a query and that `wanted(name, chosen, cost over that of the best)` wants, `seconds` each; here, or
/// through a command.
pub fn measure(
    machine: &Machine,
    shape: &Shape,
    seconds: f64,
    exec: Option<&str>,
    wanted: &dyn Fn(&str, bool, f64) -> bool,
) -> Result<Vec<Measured>> {
    let data = data(shape)?;
    let query = query(machine, shape, &data)?;
    let best = select::choose(&query)?.0.name;
    let rows = select::candidates(&query, None);
    let mut list = Vec::new();
    let least = rows.iter().map(|r| r.1).fold(f64::INFINITY, f64::min);
    for (row, cost) in rows {
        if !wanted(row.name, row.name == best, cost / least) {
            continue;
        }
        let (func, contents) = lower(row, &query, &data)?;
        let artifact = compile(machine, func)?;
        let inputs: Vec<&Tensor> = contents.iter().collect();
        let samples = time(&artifact, machine, &inputs, exec, seconds)?;
        list.push(Measured {
            row,
            chosen: row.name == best,
            // What the contract asks for, whatever the row does instead.
            macs: match shape.contract {
                "conv" => conv::macs(&query) as u64,
                _ => contracts::gemm::macs(&query) as u64,
            },
            work: (row.work)(&query),
            times: Times::of(samples),
        });
    }
    Ok(list)
}

fn time(
    artifact: &Artifact,
    machine: &Machine,
    inputs: &[&Tensor],
    exec: Option<&str>,
    seconds: f64,
) -> Result<Vec<f64>> {
    if let Some(command) = exec {
        let remote = Remote::new(artifact, &machine.target, None, command, Drive::Time)?;
        return remote.time(&[], inputs, seconds);
    }
    let engine = Engine::new(artifact, machine, None)?;
    let Some(mut loaded) = engine.load_here(inputs)? else {
        return Err(
            Diagnostic::usage("USE003", "kernels of another machine can't be timed here")
                .help("--exec 'ssh board' runs them there"),
        );
    };
    let batch = clock::warm_up(&mut loaded, seconds)?;
    clock::sample(&mut loaded, batch, seconds, clock::LEAST)
}

/// The row's loops, and what each buffer that it only reads holds.
fn lower(row: &Kernel, query: &Query, data: &[Tensor]) -> Result<(Func, Vec<Tensor>)> {
    let symbols = Symbols::default();
    let mut b = Builder::new(row.name);
    let inputs = query.inputs.iter().flatten().map(|(ty, konst)| {
        Some(Operand {
            buf: b.buffer("in", ty.dtype, ty.elements(), Access::Read),
            ty: ty.clone(),
            konst: konst.clone(),
        })
    });
    let inputs: Vec<_> = inputs.collect();
    let outputs = query.outputs.iter().flatten().map(|ty| {
        Some(Operand {
            buf: b.buffer("out", ty.dtype, ty.elements(), Access::Write),
            ty: ty.clone(),
            konst: None,
        })
    });
    let outputs: Vec<_> = outputs.collect();
    let mut cx = LowerCx {
        b,
        attrs: &query.attrs,
        inputs,
        outputs,
        symbols: &symbols,
        syms: &[],
        machine: query.machine,
        effort: Effort::default(),
        threads: 1,
        weights: Default::default(),
        extras: vec![],
        store_hook: None,
    };
    (row.emit)(&mut cx, query)?;
    let flat = |t: &Tensor| t.reshaped(vec![t.len() as i64]);
    let mut contents: Vec<Tensor> = data.iter().map(flat).collect();
    for (_, e) in &cx.extras {
        if let Extra::Const(t) = e {
            contents.push(flat(t));
        }
    }
    Ok((cx.b.finish(), contents))
}

/// A function as a program: what it reads are inputs, what it writes are outputs.
fn compile(machine: &Machine, func: Func) -> Result<Artifact> {
    let mut p = Program::default();
    let mut args = Vec::new();
    for (_, buf) in func.bufs.iter() {
        let port = Port {
            name: format!("b{}", args.len()),
            ty: TensorType::new(buf.dtype, vec![buf.len.clone()]),
        };
        let (list, place): (_, fn(u32, u64) -> Place) = match buf.access {
            Access::Read => (&mut p.inputs, Place::Input),
            _ => (&mut p.outputs, Place::Output),
        };
        args.push(place(list.len() as u32, 0));
        list.push(port);
    }
    p.arena_bytes = p.symbol_bytes();
    let kernel = func.name.clone();
    let func = p.funcs.push(func);
    let layer = Layer {
        sums: true,
        kernel,
        ..Layer::of("000_kernel", func, args)
    };
    let layer = p.layers.push(layer);
    p.steps.push(Step::Layer(layer));
    let model = Model {
        graph: Graph::new("kernel"),
        symbols: Symbols::default(),
        ..Model::default()
    };
    let options = Options {
        prefix: "kernel".into(),
        ..Options::default()
    };
    let mut diags = Diagnostics::default();
    let made = onnxc_compiler::emit(model, p, &machine.target, &options, &mut Quiet, &mut diags);
    made.ok_or_else(|| {
        let first = diags.list.into_iter().find(Diagnostic::is_error);
        first.map_or_else(|| Diagnostic::internal("a kernel has no code"), Box::new)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_queries() {
        let list =
            parse("# none\nconv 1x3x8x8 4x3x3x3 stride=2 pad=1\ngemm 2x3 3x4 # one\n").unwrap();
        assert_eq!(
            (&list[0].out, &list[1].out),
            (&vec![1, 4, 4, 4], &vec![2, 4])
        );
        for wrong in [
            "dot 1x2",
            "conv 1x3x8x8 4x3x3x3 stride=1,2,3",
            "conv 1x3x8x8 4x3x3x3 strides=1",
            "gemm 2x3 3x4 pad=1",
            "conv 1x3x8x8",
            "conv 1x3x8x8 4x2x3x3",
            "gemm 2x3 4x3",
            "gemm 2xa 3x4",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Every row of every shape of the benches can be written.
    #[test]
    fn rows_become_programs() {
        let flags = crate::args::flags::TargetFlags::default();
        let ui = crate::ui::Ui::early(false, false).silent();
        let machine = crate::machine::choose(&flags, crate::machine::Purpose::RunNow, &ui).unwrap();
        let list = parse(
            "conv 1x4x6x6 4x1x3x3 pad=1 group=4\nconv 1x4x6x6 4x1x3x3 pad=1 group=4 last=1\nconv 1x3x6x6 5x3x1x1\ngemm 3x4 4x20\n",
        );
        for shape in list.unwrap() {
            let rows = measure(&machine, &shape, 1e-4, None, &|_, _, _| true).unwrap();
            assert!(rows.len() > 1 && rows.iter().filter(|r| r.chosen).count() == 1);
            assert!(rows.iter().all(|r| r.macs > 0 && !r.times.is_empty()));
        }
    }
}
