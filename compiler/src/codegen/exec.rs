//! A static ELF executable out of an object, without a linker: the object at a fixed address, a small driver, and memory.
//!
//! What the program does, until its input ends: reads the values of the free sizes (i64 each) and then all inputs from file 0, each
//! exactly as long as those sizes say; runs the model; writes the status (i32) and, if that is 0, the sizes of all outputs (i64 each)
//! and all outputs to file 1. A run that would read nothing reads one byte. So a model can be run for another machine with nothing but an emulator.
//!
//! One made for timing ([`Drive::Time`]) reads two numbers more (i64), samples (at most [`exec_time::MOST_SAMPLES`]) and runs in each, then writes
//! the status and, if that is 0, the nanoseconds of each sample (i64), the clock being CLOCK_MONOTONIC. Samples of no runs say what
//! reading the clock costs.
//!
//! The driver is made for Linux, talks to it by four system calls, and needs no library.

use super::exec_time::{self, Timing};
use super::func::{self, Machine, build, call_at, signature};
use super::isa::Isa;
use super::link::Image;
use super::{Options, mem};
use crate::base::diag::{Diagnostic, Result};
use crate::base::dim::{Dim, elements};
use crate::base::dtype::DType;
use crate::loops::build::Builder;
use crate::loops::ir::{Access, Func};
use crate::plan::program::{Port, Program};
use crate::target::{Arch, Target};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use onnxc_abi::Context;
use std::mem::offset_of;

// Pages of 64 KiB suit every kernel.
const PAGE: usize = 1 << 16;
const BASE: u64 = 0x40_0000;
const HEADERS: usize = 64 + 4 * 56;

/// What the program does with a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drive {
    /// Writes its outputs.
    Answer,
    /// Writes how long it took.
    Time,
}

/// Numbers of read, write, exit_group and clock_gettime.
fn system_calls(arch: Arch) -> [i64; 4] {
    match arch {
        Arch::X86_64 => [0, 1, 231, 228],
        Arch::Aarch64 => [63, 64, 94, 113],
    }
}

/// The executable's bytes. `weights`: for programs whose object has none.
pub fn executable(
    object: &[u8],
    program: &Program,
    target: &Target,
    options: &Options,
    weights: Option<&[u8]>,
    drive: Drive,
) -> Result<Vec<u8>> {
    let isa = Isa::new(target, Default::default())?;
    let image = Image::new(object, PAGE)?;
    let run = image
        .symbol(&format!("{}_run", options.prefix))
        .ok_or_else(|| Diagnostic::internal("the object has no entry"))?;
    let object_at = BASE + PAGE as u64;
    let weights_at = object_at + image.size() as u64;
    let weights_len = weights.map_or(0, <[u8]>::len).next_multiple_of(PAGE);
    let mut memory = Memory::new(weights_at + weights_len as u64);
    let at = weights.map(|w| (weights_at, w.len()));
    let plan = Plan::new(&mut memory, program, at, drive)?;

    // The driver's functions lie behind the headers; where one lies decides the addresses in the next.
    let mut text = Text {
        bytes: vec![0; HEADERS.next_multiple_of(64)],
    };
    let calls = Calls {
        system: text.place(&system_call(target.arch)),
        run: object_at + run.0 as u64,
        input_sizes: sizes(&mut text, &isa, program, &program.inputs)?,
        output_sizes: sizes(&mut text, &isa, program, &program.outputs)?,
    };
    let transfer = transfer(&isa, &calls)?;
    let transfer = text.place(&transfer);
    let driver = driver(&isa, target.arch, &plan, &calls, transfer)?;
    let driver = text.place(&driver);
    let start = text.place(&start(target.arch, driver));
    if text.bytes.len() > PAGE {
        return Err(Diagnostic::internal("the driver is larger than a page"));
    }

    let mut out = text.bytes;
    out.resize(PAGE + image.size() + weights_len, 0);
    let exec = image.exec().end;
    image.write(object_at, &mut out[PAGE..PAGE + image.size()])?;
    if let Some(w) = weights {
        out[PAGE + image.size()..][..w.len()].copy_from_slice(w);
    }
    let data = out.len();
    out.extend(&memory.data);
    let segments = [
        (5, 0, BASE, PAGE + exec, PAGE + exec),
        (
            4,
            PAGE + exec,
            BASE + (PAGE + exec) as u64,
            data - PAGE - exec,
            data - PAGE - exec,
        ),
        (6, data, memory.base, memory.data.len(), memory.size()),
    ];
    write_headers(&mut out, target.arch, start, &segments);
    Ok(out)
}

// Readable and writable memory: initialised data, and zeros behind it.
struct Memory {
    base: u64,
    data: Vec<u8>,
    zeros: u64,
}

impl Memory {
    fn new(base: u64) -> Memory {
        Memory {
            base,
            data: vec![],
            zeros: 0,
        }
    }
    fn data(&mut self, bytes: &[u8]) -> u64 {
        self.data.resize(self.data.len().next_multiple_of(16), 0);
        let at = self.base + self.data.len() as u64;
        self.data.extend(bytes);
        at
    }
    fn words(&mut self, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.data(&bytes)
    }
    // All data must be there before the first zeros: they follow it, on pages of their own.
    fn zeros(&mut self, size: u64) -> u64 {
        let at = self.base + (self.zeros_at() as u64) + self.zeros;
        self.zeros = (self.zeros + size).next_multiple_of(64);
        at
    }
    fn zeros_at(&self) -> usize {
        // Room for what is still to be written to the data: see `Plan::new`.
        PAGE
    }
    fn size(&self) -> usize {
        self.zeros_at() + self.zeros as usize
    }
}

// Addresses and lengths of everything the driver touches.
struct Plan {
    context: u64,
    status: u64,
    dims: u64,
    dims_bytes: u64,
    // Whether a run reads nothing.
    silent: bool,
    symbols: u64,
    // Offsets of the free sizes in the symbol table, in their order.
    free: Vec<u64>,
    input_lengths: u64,
    output_lengths: u64,
    inputs: Vec<u64>,
    outputs: Vec<u64>,
    out_dims: u64,
    out_dims_bytes: u64,
    arena: u64,
    timing: Option<Timing>,
}

impl Plan {
    fn new(
        m: &mut Memory,
        p: &Program,
        weights: Option<(u64, usize)>,
        drive: Drive,
    ) -> Result<Plan> {
        let largest = |port: &Port| {
            let n = elements(&port.ty.shape).bounds(&p.symbols).1.max(0) as u64;
            n.saturating_mul(port.ty.dtype.size() as u64)
        };
        let ranks: usize = p.outputs.iter().map(|o| o.ty.shape.len()).sum();
        let total = p.inputs.iter().chain(&p.outputs).map(largest);
        let total = total.fold(p.arena_bytes, u64::saturating_add);
        if total > 1 << 40 {
            return Err(Diagnostic::limit(
                "ONNX006",
                "the program needs more memory than an executable can have",
            ));
        }
        let free: Vec<u64> = p.input_symbols().map(|s| u64::from(s.0) * 8).collect();
        let arena = m.zeros(p.arena_bytes);
        let inputs: Vec<u64> = p
            .inputs
            .iter()
            .map(|x| m.zeros(largest(x).max(8)))
            .collect();
        let outputs: Vec<u64> = p
            .outputs
            .iter()
            .map(|x| m.zeros(largest(x).max(8)))
            .collect();
        let dims_bytes = free.len() as u64 * 8;
        let dims = m.zeros(dims_bytes.max(8));
        let symbols = m.zeros(p.symbol_bytes());
        let input_lengths = m.zeros(8 * inputs.len() as u64 + 8);
        let output_lengths = m.zeros(8 * outputs.len() as u64 + 8);
        let out_dims_bytes = ranks as u64 * 8;
        let out_dims = m.zeros(out_dims_bytes.max(8));
        let status = m.zeros(8);
        let timing = (drive == Drive::Time).then(|| Timing {
            request: m.zeros(16),
            clock: m.zeros(16),
            samples: m.zeros(8 * exec_time::MOST_SAMPLES),
        });
        let (in_list, out_list) = (m.words(&inputs), m.words(&outputs));
        let mut context = [0u8; size_of::<Context>()];
        let mut put =
            |at: usize, bytes: &[u8]| context[at..at + bytes.len()].copy_from_slice(bytes);
        put(
            offset_of!(Context, abi_version),
            &onnxc_abi::ABI_VERSION.to_le_bytes(),
        );
        put(
            offset_of!(Context, struct_size),
            &(size_of::<Context>() as u32).to_le_bytes(),
        );
        put(offset_of!(Context, arena), &arena.to_le_bytes());
        put(
            offset_of!(Context, arena_size),
            &p.arena_bytes.to_le_bytes(),
        );
        put(offset_of!(Context, inputs), &in_list.to_le_bytes());
        put(offset_of!(Context, outputs), &out_list.to_le_bytes());
        put(
            offset_of!(Context, num_inputs),
            &(inputs.len() as u32).to_le_bytes(),
        );
        put(
            offset_of!(Context, num_outputs),
            &(outputs.len() as u32).to_le_bytes(),
        );
        put(offset_of!(Context, dims), &dims.to_le_bytes());
        put(
            offset_of!(Context, num_dims),
            &(free.len() as u32).to_le_bytes(),
        );
        put(offset_of!(Context, out_dims), &out_dims.to_le_bytes());
        put(
            offset_of!(Context, num_out_dims),
            &(ranks as u32).to_le_bytes(),
        );
        if let Some((at, len)) = weights {
            put(offset_of!(Context, weights), &at.to_le_bytes());
            put(
                offset_of!(Context, weights_size),
                &(len as u64).to_le_bytes(),
            );
        }
        let context = m.data(&context);
        if m.data.len() > m.zeros_at() {
            return Err(Diagnostic::limit("ONNX006", "too many inputs and outputs"));
        }
        Ok(Plan {
            context,
            status,
            dims,
            dims_bytes,
            silent: dims_bytes == 0 && p.inputs.iter().all(|i| i.ty.max_bytes(&p.symbols) == 0),
            symbols,
            free,
            input_lengths,
            output_lengths,
            inputs,
            outputs,
            out_dims,
            out_dims_bytes,
            arena,
            timing,
        })
    }
}

// The driver's code, at the beginning of the executable.
struct Text {
    bytes: Vec<u8>,
}

impl Text {
    fn place(&mut self, m: &Machine) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0);
        let at = BASE + self.bytes.len() as u64;
        self.bytes.extend(&m.bytes);
        at
    }
}

// Addresses of functions.
struct Calls {
    system: u64,
    run: u64,
    input_sizes: u64,
    output_sizes: u64,
}

// Writes the bytes of each port into an array, given the symbol table: fn(symbols, array) -> 0.
fn sizes(text: &mut Text, isa: &Isa, program: &Program, ports: &[Port]) -> Result<u64> {
    let mut b = Builder::new("sizes");
    let len = Dim::Fixed(ports.len() as i64);
    let out = b.buffer("bytes", DType::I64, len, Access::Write);
    for (i, p) in ports.iter().enumerate() {
        let (at, n) = (b.i(i as i64), b.dim(&elements(&p.ty.shape)));
        let size = b.i(p.ty.dtype.size() as i64);
        let bytes = b.mul(n, size);
        b.store(out, at, bytes);
    }
    let f: Func = b.finish();
    let m = func::compile(&f, &program.symbols, isa, false)?;
    place_with_dividers(text, m)
}

// Size formulas may divide, which A64 does by helpers: they lie just behind, and calls are completed here.
fn place_with_dividers(text: &mut Text, mut m: Machine) -> Result<u64> {
    let mut at = m.bytes.len().next_multiple_of(16);
    let mut tail = vec![];
    for c in std::mem::take(&mut m.calls) {
        if c.to.space != func::DIVIDERS {
            return Err(Diagnostic::internal("a size formula calls something"));
        }
        let d = super::own::divider(c.to.index, false);
        let words = ((at - c.offset as usize) / 4) as u32;
        let field = m
            .bytes
            .get_mut(c.offset as usize..)
            .and_then(|b| b.first_chunk_mut::<4>());
        let field = field.ok_or_else(|| Diagnostic::internal("a call outside its function"))?;
        *field = (0x9400_0000 | words).to_le_bytes();
        tail.push((at, d.bytes));
        at += 16;
    }
    for (at, bytes) in tail {
        m.bytes.resize(at, 0);
        m.bytes.extend(bytes);
    }
    Ok(text.place(&m))
}

// fn(number, a, b, c) -> result.
fn system_call(arch: Arch) -> Machine {
    let bytes = match arch {
        Arch::X86_64 => vec![
            0x48, 0x89, 0xf8, // mov rax, rdi
            0x48, 0x89, 0xf7, // mov rdi, rsi
            0x48, 0x89, 0xd6, // mov rsi, rdx
            0x48, 0x89, 0xca, // mov rdx, rcx
            0x0f, 0x05, // syscall
            0xc3, // ret
        ],
        Arch::Aarch64 => [
            0xaa00_03e8u32, // mov x8, x0
            0xaa01_03e0,    // mov x0, x1
            0xaa02_03e1,    // mov x1, x2
            0xaa03_03e2,    // mov x2, x3
            0xd400_0001,    // svc 0
            0xd65f_03c0,    // ret
        ]
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect(),
    };
    Machine {
        bytes,
        ..Machine::default()
    }
}

// The first instructions: the stack is aligned by the kernel; calls the driver, which does not return.
fn start(arch: Arch, driver: u64) -> Machine {
    let mut bytes = match arch {
        Arch::X86_64 => vec![
            0x31, 0xed, // xor ebp, ebp
            0x48, 0xb8, // mov rax, ...
        ],
        Arch::Aarch64 => [
            0xd280_001du32, // mov x29, 0
            0x5800_0070,    // ldr x16, pc + 12
            0xd63f_0200,    // blr x16
            0xd503_201f,    // nop
        ]
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect(),
    };
    bytes.extend(driver.to_le_bytes());
    if arch == Arch::X86_64 {
        bytes.extend([0xff, 0xd0]); // call rax
    }
    Machine {
        bytes,
        ..Machine::default()
    }
}

// fn(number, file, at, bytes) -> 1 when all were transferred, 0 at the end of the file or on an error.
fn transfer(isa: &Isa, calls: &Calls) -> Result<Machine> {
    let params = [types::I64; 4];
    build(isa, &signature(&params, &[types::I64]), false, |e| {
        let p = e.block_params_of_entry();
        let b = &mut e.0;
        let (at, left) = (b.declare_var(types::I64), b.declare_var(types::I64));
        b.def_var(at, p[2]);
        b.def_var(left, p[3]);
        let (head, body, next, done, failed) = (
            b.create_block(),
            b.create_block(),
            b.create_block(),
            b.create_block(),
            b.create_block(),
        );
        b.ins().jump(head, &[]);
        b.switch_to_block(head);
        let n = b.use_var(left);
        b.ins().brif(n, body, &[], done, &[]);
        b.seal_block(body);
        b.seal_block(done);
        b.switch_to_block(body);
        let (address, n) = (b.use_var(at), b.use_var(left));
        let got = call_at(b, calls.system, &[p[0], p[1], address, n], types::I64);
        let some = b.ins().icmp_imm_s(IntCC::SignedGreaterThan, got, 0);
        b.ins().brif(some, next, &[], failed, &[]);
        b.seal_block(next);
        b.seal_block(failed);
        b.switch_to_block(next);
        let address = b.ins().iadd(address, got);
        let n = b.ins().isub(n, got);
        b.def_var(at, address);
        b.def_var(left, n);
        b.ins().jump(head, &[]);
        b.seal_block(head);
        for (block, result) in [(done, 1), (failed, 0)] {
            b.switch_to_block(block);
            let r = b.ins().iconst(types::I64, result);
            b.ins().return_(&[r]);
        }
        Ok(())
    })
}

fn driver(isa: &Isa, arch: Arch, plan: &Plan, calls: &Calls, transfer: u64) -> Result<Machine> {
    let [read, write, exit, clock] = system_calls(arch);
    build(isa, &signature(&[], &[]), false, |e| {
        let b = &mut e.0;
        let (head, end) = (b.create_block(), b.create_block());
        b.ins().jump(head, &[]);
        b.switch_to_block(head);
        let k = |b: &mut FunctionBuilder, v: u64| b.ins().iconst(types::I64, v as i64);
        // Transfers, and leaves where that is not possible.
        let move_bytes = |b: &mut FunctionBuilder, number: i64, file: u64, at: u64, n: Value| {
            let number = b.ins().iconst(types::I64, number);
            let (file, at) = (k(b, file), k(b, at));
            let good = call_at(b, transfer, &[number, file, at, n], types::I64);
            let on = b.create_block();
            b.ins().brif(good, on, &[], end, &[]);
            b.seal_block(on);
            b.switch_to_block(on);
        };
        let word = |b: &mut FunctionBuilder, at: u64| {
            let at = k(b, at);
            b.ins().load(types::I64, mem::flags(), at, 0)
        };
        let n = k(b, plan.dims_bytes);
        move_bytes(b, read, 0, plan.dims, n);
        for (i, offset) in plan.free.iter().enumerate() {
            let v = word(b, plan.dims + 8 * i as u64);
            let at = k(b, plan.symbols + offset);
            b.ins().store(mem::flags(), v, at, 0);
        }
        let (symbols, lengths) = (k(b, plan.symbols), k(b, plan.input_lengths));
        call_at(b, calls.input_sizes, &[symbols, lengths], types::I32);
        for (i, at) in plan.inputs.iter().enumerate() {
            let n = word(b, plan.input_lengths + 8 * i as u64);
            move_bytes(b, read, 0, *at, n);
        }
        if plan.silent {
            // Nothing else says when to run and when to stop: one byte a run.
            let one = k(b, 1);
            move_bytes(b, read, 0, plan.dims, one);
        }
        let request = |b: &mut FunctionBuilder, t: &Timing| {
            let n = k(b, 16);
            move_bytes(b, read, 0, t.request, n);
        };
        let status = match &plan.timing {
            None => {
                let context = k(b, plan.context);
                call_at(b, calls.run, &[context], types::I32)
            }
            Some(t) => {
                request(b, t);
                t.take(b, [calls.system, calls.run, plan.context], clock)
            }
        };
        let at = k(b, plan.status);
        b.ins().store(mem::flags(), status, at, 0);
        let four = k(b, 4);
        move_bytes(b, write, 1, plan.status, four);
        let good = b.create_block();
        b.ins().brif(status, head, &[], good, &[]);
        b.seal_block(good);
        b.switch_to_block(good);
        if let Some(t) = &plan.timing {
            let n = word(b, t.request);
            let n = exec_time::least(b, n);
            let n = b.ins().imul_imm_s(n, 8);
            move_bytes(b, write, 1, t.samples, n);
        } else {
            let n = k(b, plan.out_dims_bytes);
            move_bytes(b, write, 1, plan.out_dims, n);
            // The run has left all sizes in its symbol table.
            let (symbols, lengths) = (k(b, plan.arena), k(b, plan.output_lengths));
            call_at(b, calls.output_sizes, &[symbols, lengths], types::I32);
            for (i, at) in plan.outputs.iter().enumerate() {
                let n = word(b, plan.output_lengths + 8 * i as u64);
                move_bytes(b, write, 1, *at, n);
            }
        }
        b.ins().jump(head, &[]);
        b.seal_block(head);
        b.seal_block(end);
        b.switch_to_block(end);
        let number = b.ins().iconst(types::I64, exit);
        let zero = k(b, 0);
        call_at(b, calls.system, &[number, zero, zero, zero], types::I64);
        b.ins().return_(&[]);
        Ok(())
    })
}

// ELF header and program headers: what is executed, what is read, what is written, and a stack that is not executed.
fn write_headers(
    out: &mut [u8],
    arch: Arch,
    start: u64,
    segments: &[(u32, usize, u64, usize, usize); 3],
) {
    let machine: u16 = match arch {
        Arch::X86_64 => object::elf::EM_X86_64,
        Arch::Aarch64 => object::elf::EM_AARCH64,
    };
    let mut h: Vec<u8> = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    h.extend(object::elf::ET_EXEC.to_le_bytes());
    h.extend(machine.to_le_bytes());
    h.extend(1u32.to_le_bytes());
    for word in [start, 64, 0] {
        h.extend(word.to_le_bytes());
    }
    h.extend(0u32.to_le_bytes());
    for half in [64u16, 56, segments.len() as u16 + 1, 64, 0, 0] {
        h.extend(half.to_le_bytes());
    }
    let mut segment = |kind: u32, flags: u32, words: [u64; 6]| {
        h.extend(kind.to_le_bytes());
        h.extend(flags.to_le_bytes());
        words.iter().for_each(|w| h.extend(w.to_le_bytes()));
    };
    for (flags, offset, address, in_file, in_memory) in segments {
        let (offset, size) = (*offset as u64, *in_file as u64);
        let words = [
            offset,
            *address,
            *address,
            size,
            *in_memory as u64,
            PAGE as u64,
        ];
        segment(object::elf::PT_LOAD, *flags, words);
    }
    segment(object::elf::PT_GNU_STACK, 6, [0, 0, 0, 0, 0, 16]);
    out[..h.len()].copy_from_slice(&h);
}
