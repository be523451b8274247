//! One function of the loops IR becomes machine code.
//!
//! Signature, System V: `fn(syms: *mut i64, buf0, buf1, ..., int0, ...) -> i32`, one pointer for each buffer; the answer is 0 or a
//! status. Functions it calls are numbered: the object writer knows what they are. Loops over pieces become functions of their own
//! (`parallel.rs`) where the caller's threads can be asked.

use super::expr::Form;
use super::isa::Isa;
use super::lanes::{Class, Classes};
use super::mem;
use super::ops::{Dividers, Ops};
use super::outline::Loops;
use super::parallel::{self, Hook, Pieces, Region};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::Symbols;
use crate::loops::ir::{BinOp, Expr, ExprId, Func, Stmt, Ty, VarId};
use crate::loops::legalize::legalize;
use crate::target::Arch;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    AbiParam, Block, ExtFuncData, ExternalName, FuncRef, Function, InstBuilder, Signature, Type,
    UserExternalName, UserFuncName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::{CodegenError, Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use std::collections::HashMap;

/// A function that machine code calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Called {
    /// What the number means: see the constants.
    pub space: u32,
    /// Its number there.
    pub index: u32,
}

/// [`Called::space`] of [`Func::callees`].
pub const TILES: u32 = 1;
/// [`Called::space`] of the division helpers: signed 32, 64, unsigned 32, 64 bits.
pub const DIVIDERS: u32 = 2;
/// [`Called::space`] of other functions of the object.
pub const PARTS: u32 = 3;
/// [`Called::space`] of a function's own regions.
pub const REGIONS: u32 = 4;
/// [`Called::space`] of functions that give the address of a region.
pub const ADDRESSES: u32 = 5;
/// [`Called::space`] of the function that sets the floating-point mode.
pub const MODE: u32 = 6;

/// [`Called::space`] of [`Machine::loops`].
pub const LOOPS: u32 = 7;

/// A place in code that the linker completes: the distance to a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Where in the code.
    pub offset: u32,
    /// To what.
    pub to: Called,
    /// What is added to the distance.
    pub addend: i64,
}

/// Machine code of one function.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    /// Instructions and constants.
    pub bytes: Vec<u8>,
    /// Calls.
    pub calls: Vec<Call>,
    /// Bytes of stack, return address included, without what it calls.
    pub frame: u32,
    /// `Lanes` loops that left the function, with their code.
    pub loops: Loops,
    /// Cranelift's IR, where asked for.
    pub clif: String,
    /// Disassembly-like listing of the code, where asked for.
    pub listing: String,
}

/// Where a variable lives.
#[derive(Clone, Copy, Debug)]
pub enum VarSlot {
    /// Not set yet.
    Unset,
    /// One variable: a scalar, or lanes.
    One(Variable),
    /// Lanes of 64 bits: two variables of two.
    Halves([Variable; 2]),
    /// One for each iteration of a vector loop.
    Lanes([Variable; super::ty::LANES]),
}

/// Everything that is known while a function is written.
pub struct Cx<'a, 'b> {
    pub f: &'a Func,
    pub symbols: &'a Symbols,
    pub o: Ops<'a, 'b>,
    pub syms: Value,
    pub bufs: Vec<Value>,
    pub vars: Vec<VarSlot>,
    /// Symbols that do not change in this function, read at its beginning.
    pub sym_values: Vec<Option<Value>>,
    pub memo: HashMap<(ExprId, Form), Value>,
    /// Classes inside a vector loop; all uniform outside.
    pub classes: Classes,
    /// The variable of the vector loop.
    pub loop_lanes: Option<VarId>,
    /// Loops that left the function.
    pub loops: Loops,
    /// How often each variable is set by a statement, where loops may leave.
    pub lets: Vec<u32>,
    /// How loops over pieces are run; `None`: as any other loop.
    pub hook: Option<Hook>,
    /// What loops over pieces use.
    pub pieces: Pieces,
    /// Those that were met.
    pub regions: Vec<Region>,
    /// Where to go with a status, if not back to the caller.
    pub leave: Option<Block>,
    types: Vec<Ty>,
    callees: Vec<Option<FuncRef>>,
}

impl<'a, 'b> Cx<'a, 'b> {
    /// At the beginning of a function whose entry block is open.
    pub fn new(
        f: &'a Func,
        symbols: &'a Symbols,
        isa: &'a Isa,
        b: &'a mut FunctionBuilder<'b>,
        syms: Value,
        bufs: Vec<Value>,
    ) -> Cx<'a, 'b> {
        let dividers = (!isa.divides && divides(f)).then(|| declare_dividers(b));
        let mut cx = Cx {
            f,
            symbols,
            o: Ops { b, isa, dividers },
            syms,
            bufs,
            vars: vec![VarSlot::Unset; f.vars.len()],
            sym_values: vec![],
            memo: HashMap::new(),
            classes: Classes::default(),
            loop_lanes: None,
            loops: vec![],
            lets: isa.lane_loop.map_or(vec![], |_| count_lets(f)),
            hook: None,
            pieces: Pieces::default(),
            regions: vec![],
            leave: None,
            types: f.types(),
            callees: vec![None; f.callees.len()],
        };
        cx.sym_values = constant_symbols(f)
            .into_iter()
            .enumerate()
            .map(|(i, read)| read.then(|| cx.load_symbol(i)))
            .collect();
        cx
    }
    /// The type of an expression.
    pub fn ty(&self, e: ExprId) -> Ty {
        self.types[e.0 as usize]
    }
    /// How its values in neighbouring iterations relate.
    pub fn class(&self, e: ExprId) -> Class {
        self.classes.of(e)
    }
    /// Reads a symbol.
    pub fn load_symbol(&mut self, index: usize) -> Value {
        let (syms, at) = (self.syms, (index * 8) as i32);
        self.o.b.ins().load(types::I64, mem::flags(), syms, at)
    }
    /// Sets a symbol.
    pub fn store_symbol(&mut self, index: usize, v: Value) {
        let (syms, at) = (self.syms, (index * 8) as i32);
        self.o.b.ins().store(mem::flags(), v, syms, at);
    }
    /// A tile, taking `args` pointers or whole numbers.
    pub fn callee(&mut self, index: usize, args: usize) -> Result<FuncRef> {
        if let Some(Some(f)) = self.callees.get(index) {
            return Ok(*f);
        }
        let slot = self
            .callees
            .get_mut(index)
            .ok_or_else(|| Diagnostic::internal(format!("callee {index} is unknown")))?;
        let f = import(
            self.o.b,
            Called {
                space: TILES,
                index: index as u32,
            },
            &vec![types::I64; args],
            &[],
        );
        *slot = Some(f);
        Ok(f)
    }
}

/// Makes a function callable.
pub(super) fn import(
    b: &mut FunctionBuilder,
    to: Called,
    params: &[Type],
    returns: &[Type],
) -> FuncRef {
    let signature = b.import_signature(signature(params, returns));
    let name = b
        .func
        .declare_imported_user_function(UserExternalName::new(to.space, to.index));
    b.import_function(ExtFuncData {
        name: ExternalName::user(name),
        signature,
        colocated: true,
        patchable: false,
    })
}

/// A System V signature.
pub(super) fn signature(params: &[Type], returns: &[Type]) -> Signature {
    let mut s = Signature::new(CallConv::SystemV);
    s.params = params.iter().map(|t| AbiParam::new(*t)).collect();
    s.returns = returns.iter().map(|t| AbiParam::new(*t)).collect();
    s
}

/// Calls what lies at an address that is known while compiling.
pub(super) fn call_at(
    b: &mut FunctionBuilder,
    address: u64,
    args: &[Value],
    returns: Type,
) -> Value {
    let sig = b.import_signature(signature(&vec![types::I64; args.len()], &[returns]));
    let f = b.ins().iconst(types::I64, address as i64);
    let call = b.ins().call_indirect(sig, f, args);
    b.inst_results(call)[0]
}

/// Compiles a function, loops over pieces like any other. `text`: keep Cranelift's IR and a listing.
pub fn compile(f: &Func, symbols: &Symbols, isa: &Isa, text: bool) -> Result<Machine> {
    compile_with(f, symbols, isa, None, text).map(|all| all.0)
}

/// Compiles a function and the regions that its loops over pieces become.
pub fn compile_with(
    f: &Func,
    symbols: &Symbols,
    isa: &Isa,
    hook: Option<Hook>,
    text: bool,
) -> Result<(Machine, Vec<Machine>)> {
    let f = &legalize(f);
    let mut params = vec![types::I64; 1 + f.bufs.len()];
    params.extend(f.ints.iter().map(|_| types::I64));
    let mut regions = vec![];
    let mut loops = vec![];
    let mut machine = build(isa, &signature(&params, &[types::I32]), text, |b| {
        let values = b.block_params_of_entry();
        let (syms, rest) = (values[0], &values[1..]);
        let bufs = rest[..f.bufs.len()].to_vec();
        let ints = rest[f.bufs.len()..].to_vec();
        let mut cx = Cx::new(f, symbols, isa, &mut b.0, syms, bufs);
        cx.hook = hook;
        if hook.is_some() {
            cx.pieces = Pieces::of(f);
        }
        for (var, value) in f.ints.iter().zip(ints) {
            let slot = cx.o.b.declare_var(types::I64);
            cx.o.b.def_var(slot, value);
            cx.vars[var.0 as usize] = VarSlot::One(slot);
        }
        cx.block(&f.body)?;
        let zero = cx.o.b.ins().iconst(types::I32, 0);
        cx.o.b.ins().return_(&[zero]);
        loops = std::mem::take(&mut cx.loops);
        regions = cx.regions;
        Ok(())
    })
    .map_err(|e| e.at(format!("function {}", f.name)))?;
    machine.loops = loops;
    let Some(hook) = hook else {
        return Ok((machine, vec![]));
    };
    let compiled = regions
        .iter()
        .map(|r| parallel::compile(f, r, symbols, isa, hook, text))
        .collect::<Result<_>>()?;
    Ok((machine, compiled))
}

/// A builder whose entry block is open.
pub(super) struct Entry<'b>(pub FunctionBuilder<'b>);

impl Entry<'_> {
    /// The parameters.
    pub fn block_params_of_entry(&self) -> Vec<Value> {
        let block = self.0.current_block();
        block.map_or(vec![], |b| self.0.block_params(b).to_vec())
    }
}

/// Builds and compiles a function; `write` leaves no block open.
pub(super) fn build(
    isa: &Isa,
    signature: &Signature,
    text: bool,
    write: impl FnOnce(&mut Entry) -> Result<()>,
) -> Result<Machine> {
    let mut shared = FunctionBuilderContext::new();
    let mut ctx = Context::for_function(Function::with_name_signature(
        UserFuncName::default(),
        signature.clone(),
    ));
    let mut entry = Entry(FunctionBuilder::new(&mut ctx.func, &mut shared));
    let block = entry.0.create_block();
    entry.0.append_block_params_for_function_params(block);
    entry.0.switch_to_block(block);
    entry.0.seal_block(block);
    write(&mut entry)?;
    entry.0.finalize(isa.isa.frontend_config());
    ctx.set_disasm(text);
    let clif = if text {
        ctx.func.display().to_string()
    } else {
        String::new()
    };
    let code = ctx
        .compile(&*isa.isa, &mut ControlPlane::default())
        .map_err(|e| match e.inner {
            CodegenError::ImplLimitExceeded | CodegenError::CodeTooLarge => {
                Diagnostic::limit("ONNX006", "a layer is too large for the code generator")
            }
            e => Diagnostic::internal(format!("code generator: {e:?}")),
        })?;
    let frame = code
        .buffer
        .frame_layout()
        .map_or(0, |l| l.frame_to_fp_offset);
    // Return address and caller's frame pointer lie above, where they are saved.
    let saved = if saves_frame(isa.arch, code.code_buffer()) {
        16
    } else {
        0
    };
    let mut machine = Machine {
        bytes: code.code_buffer().to_vec(),
        calls: vec![],
        frame: frame.saturating_add(saved),
        loops: vec![],
        clif,
        listing: code.vcode.clone().unwrap_or_default(),
    };
    let relocs = code.buffer.relocs().to_vec();
    for r in relocs {
        let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = &r.target else {
            return Err(Diagnostic::internal(format!(
                "code refers to {:?}, which no object of ours holds",
                r.target
            )));
        };
        let name = &ctx.func.params.user_named_funcs()[*name];
        if !matches!(
            r.kind,
            Reloc::X86CallPCRel4 | Reloc::X86CallPLTRel4 | Reloc::Arm64Call
        ) {
            return Err(Diagnostic::internal(format!("relocation {:?}", r.kind)));
        }
        machine.calls.push(Call {
            offset: r.offset,
            to: Called {
                space: name.namespace,
                index: name.index,
            },
            addend: r.addend,
        });
    }
    Ok(machine)
}

// x86 functions always do; A64 functions that call nothing and need no stack may not.
fn saves_frame(arch: Arch, code: &[u8]) -> bool {
    const PUSH_FP_LR: u32 = 0xa9bf_7bfd;
    let mut words = code.chunks_exact(4).take(3);
    arch == Arch::X86_64 || words.any(|w| w == PUSH_FP_LR.to_le_bytes())
}

fn declare_dividers(b: &mut FunctionBuilder) -> Dividers {
    [0, 1, 2, 3].map(|index| {
        let t = [types::I32, types::I64][index as usize % 2];
        let space = DIVIDERS;
        import(b, Called { space, index }, &[t, t], &[t])
    })
}

// Whether it may divide integers.
fn divides(f: &Func) -> bool {
    f.exprs.iter().any(|(_, e)| {
        matches!(
            e,
            Expr::Bin(BinOp::Div | BinOp::Rem | BinOp::DivU | BinOp::RemU, ..)
        )
    })
}

// How often each variable is set by a statement.
fn count_lets(f: &Func) -> Vec<u32> {
    fn go(body: &[Stmt], out: &mut [u32]) {
        for s in body {
            if let Stmt::Let { var, .. } = s
                && let Some(n) = out.get_mut(var.0 as usize)
            {
                *n += 1;
            }
            s.blocks().for_each(|b| go(b, out));
        }
    }
    let mut out = vec![0; f.vars.len()];
    go(&f.body, &mut out);
    out
}

// Which symbols are read and never set here.
fn constant_symbols(f: &Func) -> Vec<bool> {
    fn set(body: &[Stmt], out: &mut [bool]) {
        for s in body {
            match s {
                Stmt::SetSym { sym, .. } => {
                    if let Some(x) = out.get_mut(sym.0 as usize) {
                        *x = false;
                    }
                }
                Stmt::For { body, .. } | Stmt::While { body, .. } => set(body, out),
                Stmt::If { then, els, .. } => {
                    set(then, out);
                    set(els, out);
                }
                _ => {}
            }
        }
    }
    let mut out = vec![];
    for (_, e) in f.exprs.iter() {
        if let Expr::Sym(s) = e {
            let i = s.0 as usize;
            out.resize(out.len().max(i + 1), false);
            out[i] = true;
        }
    }
    set(&f.body, &mut out);
    out
}
