//! Operators with bodies: If, Loop and Scan of ONNX, and Offload, which the pass of that name makes.
//!
//! Only attributes are read here. Types come from the bodies and code from the plan, both of which see the graph.

use crate::base::attr::Attr;
use crate::base::diag::{Diagnostic, Result};
use crate::op::{BASE, Control, InferCx, LATEST, Lower, OpDef, ReadCx, onnx, read_none};

/// Operators of this file.
pub static OPS: &[&OpDef] = &[&IF, &LOOP, &SCAN, &OFFLOAD];

/// One of two bodies.
pub static IF: OpDef = OpDef {
    name: "If",
    onnx: &[onnx("If", 1, LATEST, read_none)],
    inputs: (1, usize::MAX),
    outputs: (0, usize::MAX),
    infer: by_bodies,
    lower: Lower::Control(Control::If),
    ..BASE
};

/// A body repeated by count and condition. Attribute `states`: how many values are carried from round to round.
pub static LOOP: OpDef = OpDef {
    name: "Loop",
    onnx: &[onnx("Loop", 1, LATEST, read_loop)],
    inputs: (0, usize::MAX),
    outputs: (0, usize::MAX),
    infer: by_bodies,
    lower: Lower::Control(Control::Loop),
    ..BASE
};

/// A body over slices. Attributes as in ONNX, lists always given in full; `captures` is set by whoever makes the node.
pub static SCAN: OpDef = OpDef {
    name: "Scan",
    onnx: &[onnx("Scan", 9, LATEST, read_scan)],
    inputs: (1, usize::MAX),
    outputs: (0, usize::MAX),
    infer: by_bodies,
    lower: Lower::Control(Control::Scan),
    ..BASE
};

/// A region of the graph that an accelerator may compute. Not an operator of ONNX. Attribute `slot`: the number of the region. The body is
/// the CPU twin: what runs where no device does, with the same bits.
pub static OFFLOAD: OpDef = OpDef {
    name: "Offload",
    inputs: (0, usize::MAX),
    outputs: (1, usize::MAX),
    infer: by_bodies,
    lower: Lower::Control(Control::Offload),
    ..BASE
};

fn by_bodies(_: &mut InferCx) -> Result<()> {
    Err(Diagnostic::internal("bodies are inferred by the graph"))
}

fn read_loop(cx: &mut ReadCx) -> Result<()> {
    let states = cx.given.len().saturating_sub(2);
    cx.set("states", Attr::Int(states as i64));
    Ok(())
}

fn read_scan(cx: &mut ReadCx) -> Result<()> {
    let scans = cx.int("num_scan_inputs", 0)?;
    let states = cx.given.len() as i64 - scans;
    if scans < 1 || states < 0 {
        return Err(Diagnostic::model(
            "ONNX009",
            format!("{} inputs, of which `num_scan_inputs` = {scans}", cx.given.len()),
        ));
    }
    let outs = (cx.num_outputs as i64 - states).max(0) as usize;
    cx.set("num_scan_inputs", Attr::Int(scans));
    for (name, n) in [
        ("scan_input_axes", scans as usize),
        ("scan_input_directions", scans as usize),
        ("scan_output_axes", outs),
        ("scan_output_directions", outs),
    ] {
        let v = cx.ints(name)?.unwrap_or_else(|| vec![0; n]);
        if v.len() != n {
            return Err(Diagnostic::model(
                "ONNX009",
                format!("attribute `{name}` has {} entries instead of {n}", v.len()),
            ));
        }
        if name.ends_with("directions") && v.iter().any(|d| !(0..=1).contains(d)) {
            return Err(Diagnostic::model("ONNX009", format!("attribute `{name}` holds 0 or 1")));
        }
        cx.set(name, Attr::Ints(v));
    }
    Ok(())
}
