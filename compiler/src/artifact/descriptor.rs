//! Writes a model's descriptor: the blob that `onnxc_abi::descriptor` defines and reads.
//!
//! Every distance in it is relative to its own field and ends in the same blob, so the object needs no relocation for it.
//! Equal texts are stored once. The same information gives the same bytes on every host.

use super::blob::{Blob, count};
use super::info::{ModelInfo, Port};
use crate::base::diag::Result;
use crate::base::dim::Origin;
use onnxc_abi::descriptor::*;
use std::mem::offset_of;

/// The bytes of the descriptor; the object aligns them to [`onnxc_abi::descriptor::ALIGN`]. Fails only where names and
/// layers together pass 2 GiB.
pub fn descriptor(info: &ModelInfo) -> Result<Vec<u8>> {
    let mut b = Blob::default();
    let head = b.reserve(size_of::<RawDescriptor>());
    macro_rules! put {
        ($field:ident = $value:expr) => {
            b.put(
                head + offset_of!(RawDescriptor, $field),
                &$value.to_le_bytes(),
            )
        };
    }
    put!(magic = MAGIC);
    put!(abi_version = onnxc_abi::ABI_VERSION);
    put!(struct_size = (size_of::<RawDescriptor>() as u32));
    put!(num_inputs = count(info.inputs.len())?);
    put!(num_outputs = count(info.outputs.len())?);
    put!(num_symbols = count(info.symbols.len())?);
    put!(num_free_symbols = count(info.free_symbols().len())?);
    put!(num_out_dims = count(info.out_dims())?);
    put!(num_layers = count(info.layers.len())?);
    put!(arena_size = info.arena_bytes);
    put!(weights_size = info.weights_bytes);
    put!(arena_align = info.arena_align);
    put!(weights_align = info.weights_align);
    put!(stack_bytes = info.stack_bytes);
    put!(weights_placement = info.placement.number());
    put!(threads = info.threads);
    b.put(
        head + offset_of!(RawDescriptor, layout_digest),
        &info.layout_digest,
    );
    b.put(
        head + offset_of!(RawDescriptor, content_digest),
        &info.content_digest,
    );

    let inputs = b.array(
        head + offset_of!(RawDescriptor, inputs),
        info.inputs.len(),
        size_of::<RawPort>(),
    )?;
    let outputs = b.array(
        head + offset_of!(RawDescriptor, outputs),
        info.outputs.len(),
        size_of::<RawPort>(),
    )?;
    write_symbols(&mut b, head, info)?;
    let layers = b.array(
        head + offset_of!(RawDescriptor, layers),
        info.layers.len(),
        size_of::<RawLayer>(),
    )?;
    for (at, ports) in [(inputs, &info.inputs), (outputs, &info.outputs)] {
        for (i, p) in ports.iter().enumerate() {
            write_port(&mut b, at + i * size_of::<RawPort>(), p, info)?;
        }
    }
    for (i, l) in info.layers.iter().enumerate() {
        let at = layers + i * size_of::<RawLayer>();
        b.put(
            at + offset_of!(RawLayer, num_nodes),
            &count(l.nodes.len())?.to_le_bytes(),
        );
        b.put(at + offset_of!(RawLayer, macs), &l.macs.to_le_bytes());
        b.put(
            at + offset_of!(RawLayer, param_bytes),
            &l.param_bytes.to_le_bytes(),
        );
        let nodes = b.array(at + offset_of!(RawLayer, nodes), l.nodes.len(), 4)?;
        b.text(at + offset_of!(RawLayer, symbol), &l.symbol)?;
        b.text(at + offset_of!(RawLayer, op), &l.op())?;
        for (k, n) in l.nodes.iter().enumerate() {
            b.text(nodes + 4 * k, n)?;
        }
    }
    super::regions::write(&mut b, head, info)?;
    b.text(head + offset_of!(RawDescriptor, name), &info.model)?;
    b.text(head + offset_of!(RawDescriptor, prefix), &info.prefix)?;
    b.text(head + offset_of!(RawDescriptor, target), &info.triple)?;
    b.text(head + offset_of!(RawDescriptor, cpu), &info.cpu_text())?;
    b.bytes.resize(b.bytes.len().next_multiple_of(ALIGN), 0);
    let total = count(b.bytes.len())?;
    b.put(
        head + offset_of!(RawDescriptor, total_size),
        &total.to_le_bytes(),
    );
    Ok(b.bytes)
}

fn write_symbols(b: &mut Blob, head: usize, info: &ModelInfo) -> Result<()> {
    let size = size_of::<RawSymbol>();
    let array = b.array(
        head + offset_of!(RawDescriptor, symbols),
        info.symbols.len(),
        size,
    )?;
    for (i, id) in info.descriptor_symbols().into_iter().enumerate() {
        let (at, s) = (array + i * size, &info.symbols[id]);
        let (origin, input, axis) = match s.origin {
            Origin::Input { input, axis } => (ORIGIN_INPUT, count(input)?, count(axis)?),
            Origin::Data => (ORIGIN_DATA, 0, 0),
        };
        b.put(at + offset_of!(RawSymbol, origin), &origin.to_le_bytes());
        b.put(at + offset_of!(RawSymbol, lo), &s.lo.to_le_bytes());
        b.put(at + offset_of!(RawSymbol, hi), &s.hi.to_le_bytes());
        b.put(at + offset_of!(RawSymbol, input), &input.to_le_bytes());
        b.put(at + offset_of!(RawSymbol, axis), &axis.to_le_bytes());
        b.text(at + offset_of!(RawSymbol, name), &s.name)?;
    }
    Ok(())
}

fn write_port(b: &mut Blob, at: usize, p: &Port, info: &ModelInfo) -> Result<()> {
    b.text(at + offset_of!(RawPort, name), &p.name)?;
    b.text(at + offset_of!(RawPort, c_name), &p.c_name)?;
    b.put(
        at + offset_of!(RawPort, dtype),
        &p.dtype.onnx().to_le_bytes(),
    );
    b.put(
        at + offset_of!(RawPort, elem_size),
        &count(p.dtype.size())?.to_le_bytes(),
    );
    b.put(
        at + offset_of!(RawPort, rank),
        &count(p.shape.len())?.to_le_bytes(),
    );
    b.put(
        at + offset_of!(RawPort, max_bytes),
        &p.max_bytes.to_le_bytes(),
    );
    let order = info.descriptor_symbols();
    let dims = b.array(
        at + offset_of!(RawPort, dims),
        p.shape.len(),
        size_of::<RawDim>(),
    )?;
    for (i, d) in p.shape.iter().enumerate() {
        let at = dims + i * size_of::<RawDim>();
        let symbol = info
            .symbol_of(d)
            .and_then(|s| order.iter().position(|o| *o == s));
        let symbol = symbol.map_or(-1, |s| i32::try_from(s).unwrap_or(-1));
        b.put(
            at + offset_of!(RawDim, size),
            &info.largest(d).to_le_bytes(),
        );
        b.put(at + offset_of!(RawDim, symbol), &symbol.to_le_bytes());
        if d.fixed().is_none() {
            b.text(at + offset_of!(RawDim, expr), &d.text(&info.symbols))?;
        }
    }
    let Some(q) = &p.quant else { return Ok(()) };
    let n = q.scales.len().min(q.zero_points.len());
    let quant = b.array(at + offset_of!(RawPort, quant), 1, size_of::<RawQuant>())?;
    let axis = q.axis.map_or(-1, |a| i32::try_from(a).unwrap_or(-1));
    b.put(quant + offset_of!(RawQuant, axis), &axis.to_le_bytes());
    b.put(
        quant + offset_of!(RawQuant, count),
        &count(n)?.to_le_bytes(),
    );
    let scales = b.array(quant + offset_of!(RawQuant, scales), n, 4)?;
    let zeros = b.array(quant + offset_of!(RawQuant, zero_points), n, 4)?;
    for (i, (s, z)) in q.scales.iter().zip(&q.zero_points).enumerate() {
        b.put(scales + 4 * i, &s.to_le_bytes());
        b.put(zeros + 4 * i, &z.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::info::sample;
    use onnxc_abi::Descriptor;

    #[test]
    fn what_is_written_is_read() {
        let info = sample();
        let bytes = descriptor(&info).unwrap();
        assert_eq!(bytes, descriptor(&info.clone()).unwrap());
        let d = Descriptor::parse(&bytes).unwrap();
        assert_eq!(
            (d.name(), d.prefix(), d.target()),
            ("speech", "speech", "aarch64-unknown-linux-gnu")
        );
        assert_eq!(
            (d.arena_size(), d.stack_bytes(), d.num_out_dims()),
            (4096, 512, 3)
        );
        let (x, y) = (d.input(0).unwrap(), d.output(0).unwrap());
        assert_eq!(
            (x.name(), x.c_name(), x.dtype(), x.rank()),
            ("in/put:0", "in_put_0", 1, 2)
        );
        assert!(d.input(2).is_none());
        let dims: Vec<_> = x.dims().map(|d| (d.size, d.symbol, d.expr)).collect();
        assert_eq!(dims, [(1, None, ""), (100, Some(0), "N")]);
        assert_eq!(x.bytes(&[7]), 28);
        assert_eq!(
            y.dims().nth(1).map(|d| (d.size, d.symbol, d.expr)),
            Some((201, None, "1+2*N"))
        );
        assert_eq!(y.bytes(&[7]), y.max_bytes());
        assert_eq!(
            d.input(1).unwrap().quant().unwrap().get(1),
            Some((0.25, -3))
        );
        assert_eq!(d.symbol(0).unwrap().input, Some((0, 1)));
        assert_eq!(
            (d.symbol(1).unwrap().name, d.symbol(1).unwrap().input),
            ("found", None)
        );
        let l = d.layer(1).unwrap();
        assert_eq!(
            (l.symbol(), l.op(), l.macs()),
            ("speech_001_conv_relu", "Conv+Relu", 9000)
        );
        assert_eq!(l.nodes().collect::<Vec<_>>(), ["c1", "r1"]);
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let bytes = descriptor(&sample()).unwrap();
        assert!(Descriptor::parse(&bytes[..bytes.len() - 1]).is_none());
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff] {
                let mut b = bytes.clone();
                b[at] = value;
                if let Some(d) = Descriptor::parse(&b) {
                    let texts = d
                        .layers()
                        .flat_map(|l| l.nodes())
                        .chain([d.name(), d.cpu()]);
                    let ports = d.inputs().chain(d.outputs());
                    let _ = texts.map(str::len).sum::<usize>()
                        + ports.map(|p| p.dims().count()).sum::<usize>();
                }
            }
        }
    }
}
