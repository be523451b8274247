//! Runs programs of the vector machine as machine code, between guard pages, and compares memory with the interpreter's.
//!
//! All cases of a level go into one static executable, which checks besides that what a callee must keep came back, and that no
//! more stack was used than the code says.

use std::fmt::Write as _;
use std::process::Command;

use onnxc_targets::vector::interp;
use onnxc_targets::vector::ir::{Level, Program};

/// Bytes of memory that a case has, right between two pages that can't be touched.
pub const MEMORY: usize = 16384;
/// Arguments that every call passes.
pub const ARGS: usize = 12;
/// Where memory lies for the interpreter.
const BASE: i64 = 0x7000_0000;

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// So many bytes from the start of memory.
    Pointer(i64),
    Number(i64),
}

/// A program to run, and over what.
pub struct Case {
    pub name: String,
    pub program: Program,
    pub args: Vec<Arg>,
    pub memory: Vec<u8>,
}

const MAIN: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
typedef int64_t a[ARGS];
typedef struct { const char *name; const void *code; const unsigned char *in, *out; int64_t stack; a args; int pointers; } row;
void *callee;
int64_t depth;
extern int64_t guarded(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
EXTERNS
static const row rows[] = {
ROWS
};
int main(void) {
  int bad = 0;
  unsigned char *page = mmap(0, MEMORY + 2 * 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  unsigned char *m = page + 65536;
  if (page == MAP_FAILED || mprotect(m, MEMORY, PROT_READ | PROT_WRITE)) { printf("no memory\n"); return 2; }
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
    const row *r = &rows[i];
    a x;
    memcpy(m, r->in, MEMORY);
    for (int n = 0; n < ARGS; n++) x[n] = r->args[n] + (r->pointers >> n & 1 ? (int64_t)(intptr_t)m : 0);
    callee = (void *)r->code;
    int64_t lost = guarded(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11]);
    if (lost) { printf("%s: %d registers of the caller's changed\n", r->name, (int)lost); bad++; }
    if (depth > r->stack) { printf("%s: %d bytes of stack, not %d\n", r->name, (int)depth, (int)r->stack); bad++; }
    for (int at = 0; at < MEMORY; at++) if (m[at] != r->out[at]) {
      int w = at & ~3;
      printf("%s: at %d %08x, not %08x\n", r->name, w, *(unsigned *)(m + w), *(unsigned *)(r->out + w));
      bad++;
      break;
    }
    if (bad > 20) break;
  }
  return bad != 0;
}
"#;

/// A call that fills the stack below, counts changed registers of the caller's, and looks how deep the stack was written.
fn guarded(level: Level) -> String {
    let mut s = String::from(".text\n.globl guarded\nguarded:\n");
    let mut line = |text: String| writeln!(s, "  {text}").unwrap();
    if level == Level::Neon {
        line("ldp x9, x10, [sp]\n ldp x11, x12, [sp, #16]\n stp x29, x30, [sp, #-192]!".into());
        for i in 0..5 {
            let (r, at) = (19 + 2 * i, 16 + 16 * i);
            line(format!("stp x{r}, x{}, [sp, #{at}]", r + 1));
        }
        for i in 0..4 {
            let (d, at) = (8 + 2 * i, 96 + 16 * i);
            line(format!("stp d{d}, d{}, [sp, #{at}]", d + 1));
        }
        line("sub sp, sp, #32\n stp x9, x10, [sp]\n stp x11, x12, [sp, #16]".into());
        (18..=28).for_each(|x| line(format!("mov x{x}, #{}", 0x1000 + x)));
        (8..=15).for_each(|d| line(format!("fmov d{d}, #{d}.0")));
        line("mov x11, sp\n mov x12, #2048\n movz x13, #0x5a5a, lsl #16".into());
        line("1: str x13, [x11, #-8]!\n subs x12, x12, #1\n b.ne 1b".into());
        line("adrp x9, callee\n ldr x9, [x9, :lo12:callee]\n blr x9".into());
        line("movz x13, #0x5a5a, lsl #16\n sub x11, sp, #16384\n mov x14, sp".into());
        line("2: cmp x11, x14\n b.eq 3f\n ldr x12, [x11], #8\n cmp x12, x13\n b.eq 2b".into());
        line("sub x11, x11, #8\n 3: sub x11, x14, x11\n adrp x9, depth".into());
        line("str x11, [x9, :lo12:depth]\n mov x0, #0".into());
        for x in 18..=28 {
            line(format!(
                "mov x1, #{}\n cmp x{x}, x1\n cinc x0, x0, ne",
                0x1000 + x
            ));
        }
        for d in 8..=15 {
            line(format!("fmov d0, #{d}.0\n fcmp d{d}, d0\n cinc x0, x0, ne"));
        }
        line("add sp, sp, #32".into());
        for i in 0..4 {
            let (d, at) = (8 + 2 * i, 96 + 16 * i);
            line(format!("ldp d{d}, d{}, [sp, #{at}]", d + 1));
        }
        for i in 0..5 {
            let (r, at) = (19 + 2 * i, 16 + 16 * i);
            line(format!("ldp x{r}, x{}, [sp, #{at}]", r + 1));
        }
        line("ldp x29, x30, [sp], #192\n ret".into());
        return s;
    }
    let kept = ["rbx", "rbp", "r12", "r13", "r14", "r15"];
    kept.iter().for_each(|r| line(format!("push %{r}")));
    line("sub $56, %rsp".into());
    for i in 0..6 {
        let (from, to) = (56 + 48 + 8 + 8 * i, 8 * i);
        line(format!("mov {from}(%rsp), %rax\n mov %rax, {to}(%rsp)"));
    }
    for (i, r) in kept.iter().enumerate() {
        line(format!("mov ${}, %{r}", 0x1000 + i));
    }
    // Eight bytes are the return address's.
    line("lea -8(%rsp), %r10\n mov $2048, %r11\n mov $0x5a5a0000, %eax".into());
    line("1: sub $8, %r10\n mov %rax, (%r10)\n dec %r11\n jnz 1b".into());
    line("call *callee(%rip)\n lea -8(%rsp), %r11\n lea -16384(%r11), %r10".into());
    line("mov $0x5a5a0000, %eax\n 2: cmp %r10, %r11\n je 3f".into());
    line("cmp %rax, (%r10)\n lea 8(%r10), %r10\n je 2b\n sub $8, %r10".into());
    line("3: sub %r10, %r11\n mov %r11, depth(%rip)\n xor %eax, %eax".into());
    for (i, r) in kept.iter().enumerate() {
        line(format!("cmp ${}, %{r}\n je 4f\n inc %rax\n 4:", 0x1000 + i));
    }
    line("add $56, %rsp".into());
    kept.iter().rev().for_each(|r| line(format!("pop %{r}")));
    line("ret".into());
    s
}

/// What the interpreter leaves in memory.
pub fn expected(case: &Case) -> Vec<u8> {
    let mut memory = case.memory.clone();
    let value = |n: &Arg| match *n {
        Arg::Pointer(at) => BASE + at,
        Arg::Number(n) => n,
    };
    let args: Vec<i64> = case.args.iter().map(value).collect();
    if let Err(e) = interp::run(&case.program, &args, BASE, &mut memory, 1 << 20) {
        panic!("{}: {}\n{:#?}", case.name, e.message, case.program.ops);
    }
    memory
}

/// Runs all cases; `Err` says which tool is missing. Panics where code and interpreter differ.
pub fn run(level: Level, cases: &[Case]) -> Result<(), String> {
    let (compiler, runner): (&[&str], &[&str]) = match level {
        Level::Neon => (
            &["aarch64-linux-gnu-gcc", "-O1", "-static", "-ffixed-x18"],
            &["qemu-aarch64-static"],
        ),
        _ => (&["cc", "-O1", "-static"], &[]),
    };
    for tool in [Some(&compiler[0]), runner.first()].into_iter().flatten() {
        let found = Command::new(tool).arg("--version").output();
        found.map_err(|_| format!("{tool} is not installed"))?;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (mut data, mut externs, mut rows) = (vec![], String::new(), String::new());
    let mut asm = guarded(level);
    for (i, case) in cases.iter().enumerate() {
        assert_eq!(case.memory.len(), MEMORY, "{}", case.name);
        assert_eq!(case.args.len(), usize::from(case.program.args));
        let code = onnxc_targets::vector::assemble(&case.program, i % 2 == 1)
            .unwrap_or_else(|e| panic!("{}: {}", case.name, e.message));
        let mut place = |bytes: &[u8]| {
            data.resize(data.len().next_multiple_of(64), 0);
            let at = data.len();
            data.extend(bytes);
            at
        };
        let (at, from, to) = (
            place(&code.bytes),
            place(&case.memory),
            place(&expected(case)),
        );
        let mut args: Vec<String> = vec!["0".into(); ARGS];
        let mut pointers = 0u32;
        for (n, a) in case.args.iter().enumerate() {
            args[n] = match a {
                Arg::Pointer(at) => {
                    pointers |= 1 << n;
                    format!("{at}ll")
                }
                Arg::Number(n) => format!("{n}ll"),
            };
        }
        writeln!(
            rows,
            "{{ \"{}\", data + {at}, data + {from}, data + {to}, {}, {{ {} }}, {pointers} }},",
            case.name,
            code.stack,
            args.join(", ")
        )
        .unwrap();
    }
    writeln!(externs, "extern const unsigned char data[];").unwrap();
    std::fs::write(path("data.bin"), data).unwrap();
    let bin = path("data.bin");
    write!(
        asm,
        ".balign 64\n.globl data\ndata: .incbin \"{}\"\n.section .note.GNU-stack,\"\"\n",
        bin.display()
    )
    .unwrap();
    let main = MAIN
        .replace("EXTERNS", &externs)
        .replace("ROWS", &rows)
        .replace("ARGS", &ARGS.to_string())
        .replace("MEMORY", &MEMORY.to_string());
    std::fs::write(path("main.c"), main).unwrap();
    std::fs::write(path("code.s"), asm).unwrap();
    let out = Command::new(compiler[0])
        .args(&compiler[1..])
        .arg("-o")
        .args([path("test"), path("main.c"), path("code.s")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    let mut command = match runner {
        [] => Command::new(path("test")),
        [program, ..] => {
            let mut c = Command::new(program);
            c.arg(path("test"));
            c
        }
    };
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success(),
        "{level:?}:\n{text}{:?}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}
