//! One object for several levels of an architecture: the code of each, and an entry that chooses by the context's `cpu_level`.
//!
//! The entry uses what every CPU of the architecture has. It reads the word only from a context that is there, aligned and long
//! enough; anything else the base level answers with a status.

use super::code::{Code, Part};
use super::func::{Called, Machine, PARTS, build, import, signature};
use super::isa::Isa;
use super::{Options, mem, own};
use crate::base::diag::{Diagnostic, Result};
use crate::target::{Arch, Target};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, types};
use onnxc_abi::Context;
use std::mem::offset_of;

/// Joins the code of several levels, the base first, the best last. `needs`: what each but the base asks of the word.
pub fn join(codes: Vec<Code>, needs: &[u32], base: &Target, options: &Options) -> Result<Code> {
    let mut out = Code {
        parts: vec![],
        stack_bytes: 0,
        code_bytes: 0,
        layer_symbols: vec![],
        layer_bytes: vec![],
        arch: base.arch,
        properties: u32::MAX,
    };
    let mut entries = vec![];
    for code in codes {
        let first = out.parts.len() as u32;
        for mut p in code.parts {
            p.global = false;
            p.targets.iter_mut().for_each(|t| *t += first);
            p.points_to = p.points_to.map(|t| t + first);
            out.parts.push(p);
        }
        entries.push(out.parts.len() as u32 - 1);
        out.layer_symbols.extend(code.layer_symbols);
        out.layer_bytes.extend(code.layer_bytes);
        out.properties &= code.properties;
    }
    if entries.is_empty() || needs.len() + 1 != entries.len() {
        return Err(Diagnostic::internal("levels without a base"));
    }
    let isa = Isa::new(base, options.effort)?;
    let mut machine = choose(&isa, &entries, needs)?;
    if base.landing_pads && base.arch == Arch::X86_64 {
        own::with_endbr(&mut machine);
    }
    let deepest = entries.iter().map(|e| out.parts[*e as usize].stack).max();
    out.stack_bytes = u64::from(machine.frame) + deepest.unwrap_or(0);
    out.parts.push(Part {
        name: format!("{}_run", options.prefix),
        global: true,
        align: 32,
        stack: out.stack_bytes,
        targets: machine.calls.iter().map(|c| c.to.index).collect(),
        machine,
        data: vec![],
        points_to: None,
    });
    let bytes = out.parts.iter().map(|p| p.machine.bytes.len() as u64);
    out.code_bytes = bytes.sum();
    Ok(out)
}

// `PREFIX_run`: asks the levels from the best down.
fn choose(isa: &Isa, entries: &[u32], needs: &[u32]) -> Result<Machine> {
    build(isa, &signature(&[types::I64], &[types::I32]), false, |e| {
        let ctx = e.block_params_of_entry()[0];
        let b = &mut e.0;
        let base = b.create_block();
        let leave_if = |b: &mut cranelift_frontend::FunctionBuilder, bad| {
            let on = b.create_block();
            b.ins().brif(bad, base, &[], on, &[]);
            b.seal_block(on);
            b.switch_to_block(on);
        };
        let null = b.ins().icmp_imm_s(IntCC::Equal, ctx, 0);
        leave_if(b, null);
        let low = b.ins().band_imm_u(ctx, 7);
        leave_if(b, low);
        let at = |field: usize| field as i32;
        let size = b.ins().load(
            types::I32,
            mem::flags(),
            ctx,
            at(offset_of!(Context, struct_size)),
        );
        let least = b.ins().iconst(types::I32, size_of::<Context>() as i64);
        let short = b.ins().icmp(IntCC::UnsignedLessThan, size, least);
        leave_if(b, short);
        let word = b.ins().load(
            types::I32,
            mem::flags(),
            ctx,
            at(offset_of!(Context, cpu_level)),
        );
        for (entry, need) in entries.iter().skip(1).zip(needs).rev() {
            let need = b.ins().iconst(types::I32, i64::from(*need));
            let missing = b.ins().band_not(need, word);
            let (other, this) = (b.create_block(), b.create_block());
            b.ins().brif(missing, other, &[], this, &[]);
            b.seal_block(this);
            b.seal_block(other);
            b.switch_to_block(this);
            let status = call(b, *entry, ctx);
            b.ins().return_(&[status]);
            b.switch_to_block(other);
        }
        b.ins().jump(base, &[]);
        b.seal_block(base);
        b.switch_to_block(base);
        let status = call(b, entries[0], ctx);
        b.ins().return_(&[status]);
        Ok(())
    })
}

fn call(
    b: &mut cranelift_frontend::FunctionBuilder,
    index: u32,
    ctx: cranelift_codegen::ir::Value,
) -> cranelift_codegen::ir::Value {
    let space = PARTS;
    let f = import(b, Called { space, index }, &[types::I64], &[types::I32]);
    let call = b.ins().call(f, &[ctx]);
    b.inst_results(call)[0]
}
