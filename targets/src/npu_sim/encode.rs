//! A region as commands: a walk over its nodes, twice. The first walk finds which buffers there are and how long each is needed, the second has
//! them in their places.

use super::tensor::{Tensor, channels_last, plain, strides};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::graph::ir::{Graph, NodeId, ValueId};
use onnxc_compiler::npu::Refusal;
use onnxc_compiler::op::Lower;
use onnxc_compiler::plan::memory::{Interval, place};
use onnxc_sim::constants::Constants;
use onnxc_sim::format::{Command, Copy, Elem, MAX_PORTS, Place, PortInfo, Program, Space};
use std::collections::{BTreeMap, BTreeSet};

/// Alignment of buffers.
const ALIGN: u64 = 16;

/// What a step answers: `Err` says why the device can't.
pub type Step<T = ()> = Result<T, String>;

/// The program and the constants of a region.
pub fn encode(body: &Graph) -> Result<(Program, Vec<u8>), Refusal> {
    let mut first = Encoder::new(body, None);
    first.walk()?;
    let intervals: Vec<Interval> = first.buffers.clone();
    let placed = place(&intervals, ALIGN, true);
    let whole = |why: &str| Refusal {
        node: None,
        why: why.into(),
    };
    let offsets: Option<Vec<u32>> = placed
        .offsets
        .iter()
        .map(|&o| u32::try_from(o).ok())
        .collect();
    let total = u32::try_from(placed.total).ok().zip(offsets);
    let (total, offsets) =
        total.ok_or_else(|| whole("it needs more memory than the device has"))?;
    let mut second = Encoder::new(body, Some(offsets));
    second.walk()?;
    let program = Program {
        arena_bytes: total,
        ports: second.ports()?,
        commands: second.commands,
    };
    Ok((program, second.constants.finish()))
}

/// The walk under way.
pub struct Encoder<'g> {
    pub g: &'g Graph,
    pub values: BTreeMap<ValueId, Tensor>,
    pub constants: Constants,
    commands: Vec<Command>,
    /// Bytes and lifetimes of buffers in the order in which they are asked for.
    buffers: Vec<Interval>,
    offsets: Option<Vec<u32>>,
    /// Nodes that an earlier one did along.
    done: BTreeSet<NodeId>,
    /// Values that are made where an output port lies: the port's number, and the strides there.
    homes: BTreeMap<ValueId, (u32, Vec<i64>)>,
}

/// The device's type of bytes.
pub fn elem(d: DType) -> Step<Elem> {
    match d {
        DType::I8 => Ok(Elem::I8),
        DType::U8 => Ok(Elem::U8),
        _ => Err(format!("numbers of type {d} are no bytes")),
    }
}

impl<'g> Encoder<'g> {
    fn new(g: &'g Graph, offsets: Option<Vec<u32>>) -> Encoder<'g> {
        Encoder {
            g,
            values: BTreeMap::new(),
            constants: Constants::new(),
            commands: vec![],
            buffers: vec![],
            offsets,
            done: BTreeSet::new(),
            homes: BTreeMap::new(),
        }
    }

    fn ports(&self) -> Result<Vec<PortInfo>, Refusal> {
        let ins = self.g.inputs.iter().map(|&v| (v, false));
        let outs = self.g.outputs().iter().map(|&v| (v, true));
        let ports: Step<Vec<PortInfo>> = ins
            .chain(outs)
            .map(|(v, out)| {
                let bytes: i64 = self.sizes(v)?.iter().product();
                let bytes = u32::try_from(bytes).map_err(|_| "a port is too large")?;
                Ok(PortInfo { bytes, out })
            })
            .collect();
        let ports = ports.map_err(|why| Refusal { node: None, why })?;
        match ports.len() <= MAX_PORTS as usize {
            true => Ok(ports),
            false => Err(Refusal {
                node: None,
                why: format!("it has {} ports, the device {MAX_PORTS}", ports.len()),
            }),
        }
    }

    fn walk(&mut self) -> Result<(), Refusal> {
        let whole = |why: String| Refusal { node: None, why };
        for (k, &v) in self.g.inputs.iter().enumerate() {
            let t = self.port(v, k as u32).map_err(whole)?;
            self.values.insert(v, t);
        }
        self.find_homes().map_err(whole)?;
        for &n in self.g.order() {
            if !self.done.contains(&n) {
                self.node(n).map_err(|why| Refusal { node: Some(n), why })?;
            }
        }
        for (k, &v) in self.g.outputs().iter().enumerate() {
            let port = self.g.inputs.len() as u32 + k as u32;
            let to = self.port(v, port).map_err(whole)?;
            let from = self.value(v).map_err(whole)?;
            if from.at.space != Space::Port(port) {
                self.copy(&from, &to).map_err(whole)?;
            }
        }
        Ok(())
    }

    fn port(&self, v: ValueId, number: u32) -> Step<Tensor> {
        let sizes = self.sizes(v)?;
        let at = Place {
            space: Space::Port(number),
            elem: self.elem(v)?,
            offset: 0,
        };
        Ok(Tensor {
            at,
            buffer: None,
            strides: strides(&sizes, &plain(sizes.len())),
            sizes,
        })
    }

    /// Which values can be made in an output port: the output itself, or what a Transpose turns into it.
    fn find_homes(&mut self) -> Step {
        for (k, &v) in self.g.outputs().iter().enumerate() {
            let number = self.g.inputs.len() as u32 + k as u32;
            let port = self.port(v, number)?;
            let (mut v, mut strides) = (v, port.strides);
            while let Some((n, 0)) = self.g.maker(v) {
                self.homes.entry(v).or_insert((number, strides.clone()));
                let node = self.g.node(n);
                let (Some(perm), Some(Some(x))) = (node.attrs.ints("perm"), node.ins.first())
                else {
                    break;
                };
                if node.op.name != "Transpose" {
                    break;
                }
                let mut before = vec![0; strides.len()];
                for (i, &p) in perm.iter().enumerate() {
                    before[p as usize] = strides[i];
                }
                (v, strides) = (*x, before);
            }
        }
        Ok(())
    }

    // What the other files of the encoder use

    /// Sizes of a value.
    pub fn sizes(&self, v: ValueId) -> Step<Vec<i64>> {
        let sizes = self.g.ty(v).and_then(|t| t.fixed_shape());
        sizes.ok_or_else(|| "a size is known at run time only".into())
    }
    /// Its type.
    pub fn elem(&self, v: ValueId) -> Step<Elem> {
        elem(self.g.ty(v).map_or(DType::Bool, |t| t.dtype))
    }
    /// Input `k` of a node.
    pub fn input(&self, n: NodeId, k: usize) -> Step<ValueId> {
        let v = self.g.node(n).ins.get(k).copied().flatten();
        v.ok_or_else(|| format!("input {k} is absent"))
    }
    /// A value; constants are put among the constants.
    pub fn value(&mut self, v: ValueId) -> Step<Tensor> {
        if let Some(t) = self.values.get(&v) {
            return Ok(t.clone());
        }
        let t = self.g.konst(v).ok_or("an operand is not there")?.clone();
        let at = self.constants.place(elem(t.dtype)?, &t.data);
        Ok(Tensor {
            at,
            buffer: None,
            strides: strides(&t.shape, &plain(t.shape.len())),
            sizes: t.shape.clone(),
        })
    }
    /// Says where a value is.
    pub fn set(&mut self, v: ValueId, t: Tensor) {
        self.values.insert(v, t);
    }
    /// Nodes that need nothing more.
    pub fn skip(&mut self, nodes: &[NodeId]) {
        self.done.extend(nodes);
    }
    /// Memory for a dense tensor whose axes lie in this order.
    pub fn room(&mut self, elem: Elem, sizes: &[i64], order: &[usize]) -> Step<Tensor> {
        let bytes: i64 = sizes.iter().product::<i64>() * i64::from(elem.bytes());
        let number = self.buffers.len();
        let now = self.commands.len() as u32;
        self.buffers.push(Interval {
            bytes: u64::try_from(bytes).map_err(|_| "a tensor is too large")?,
            first: now,
            last: now,
        });
        let offset = match &self.offsets {
            None => 0,
            Some(o) => o
                .get(number)
                .copied()
                .ok_or("the second walk needs another buffer")?,
        };
        Ok(Tensor {
            at: Place {
                space: Space::Arena,
                elem,
                offset,
            },
            buffer: Some(number),
            sizes: sizes.to_vec(),
            strides: strides(sizes, order),
        })
    }
    /// Memory for a value: in its port, or in the arena; images lie channels-last. `map`: it must be a map of features.
    pub fn make(&mut self, v: ValueId, map: bool) -> Step<Tensor> {
        let (sizes, elem) = (self.sizes(v)?, self.elem(v)?);
        if let Some((port, strides)) = self.homes.get(&v).cloned() {
            let t = Tensor {
                at: Place {
                    space: Space::Port(port),
                    elem,
                    offset: 0,
                },
                buffer: None,
                sizes: sizes.clone(),
                strides,
            };
            if !map || t.map().is_some() {
                return Ok(t);
            }
        }
        let order = match map || sizes.len() == 4 {
            true => channels_last(sizes.len()),
            false => plain(sizes.len()),
        };
        self.room(elem, &sizes, &order)
    }
    /// Adds a command that reads and writes these.
    pub fn push(&mut self, c: Command, of: &[&Tensor]) {
        let now = self.commands.len() as u32;
        for b in of.iter().filter_map(|t| t.buffer) {
            self.buffers[b].last = now;
        }
        self.commands.push(c);
    }
    /// Copies element by element.
    pub fn copy(&mut self, from: &Tensor, to: &Tensor) -> Step {
        let sizes = from.sizes.clone();
        let (x, y) = (from.view(&sizes), to.view(&sizes));
        let (x, y) = x.zip(y).ok_or("a copy is not of the device's form")?;
        let sizes = super::tensor::sizes(&sizes).ok_or("a copy has too many axes")?;
        self.push(Command::Copy(Copy { sizes, x, y }), &[from, to]);
        Ok(())
    }
    /// The same value as a map of features: copied where it lies otherwise.
    pub fn as_map(&mut self, v: ValueId) -> Step<Tensor> {
        let t = self.value(v)?;
        if t.map().is_some() {
            return Ok(t);
        }
        let to = self.room(t.at.elem, &t.sizes, &channels_last(t.sizes.len()))?;
        self.copy(&t, &to)?;
        self.set(v, to.clone());
        Ok(to)
    }

    fn node(&mut self, n: NodeId) -> Step {
        let node = self.g.node(n);
        match node.op.name {
            "ConvInteger" => self.conv(n),
            "MatMulInteger" => self.gemm(n),
            "ReduceSum" => self.sum(n),
            "Requantize" => self.requantize(n),
            "RescaledSum" => self.add(n),
            "RescaledProduct" => self.mul(n),
            "Lookup" => self.lookup(n),
            "QuantizedSoftmax" => self.softmax(n),
            "MaxPool" => self.max_pool(n),
            "Resize" => self.resize(n),
            "Pad" => self.pad(n),
            "Concat" => self.concat(n),
            "Split" => self.split(n),
            "Slice" => self.slice(n),
            "Transpose" => self.transpose(n),
            _ if matches!(node.op.lower, Lower::View) => self.reshape(n),
            other => Err(format!("the device has no {other}")),
        }
    }
}
