//! A Rust program without std, without an allocator and without a C library that reads handwritten digits.
//!
//! `digits.rs` is the module that onnxc writes beside the object. The program is static and starts at `_start`; it talks to
//! Linux by system calls and could as well run on bare metal.
#![no_std]
#![no_main]

mod digits;

use core::arch::{asm, global_asm};

struct Memory {
    arena: digits::Arena,
    image: [f32; digits::INPUT_IMAGE_LEN],
    scores: [f32; digits::OUTPUT_SCORES_LEN],
}

static mut MEMORY: Memory = Memory {
    arena: digits::Arena::NEW,
    image: [0.0; digits::INPUT_IMAGE_LEN],
    scores: [0.0; digits::OUTPUT_SCORES_LEN],
};

// A test picture of each digit: grey values from 0 to 16.
static PICTURES: [&str; 10] = [
    include_str!("pictures/0.pgm"),
    include_str!("pictures/1.pgm"),
    include_str!("pictures/2.pgm"),
    include_str!("pictures/3.pgm"),
    include_str!("pictures/4.pgm"),
    include_str!("pictures/5.pgm"),
    include_str!("pictures/6.pgm"),
    include_str!("pictures/7.pgm"),
    include_str!("pictures/8.pgm"),
    include_str!("pictures/9.pgm"),
];

// The 64 numbers behind "P2 8 8 16". Written in place: there is no memcpy to return an array with.
fn read(pgm: &str, image: &mut [f32; digits::INPUT_IMAGE_LEN]) {
    let numbers = pgm.split_ascii_whitespace().skip(4);
    for (pixel, grey) in image.iter_mut().zip(numbers) {
        *pixel = grey.bytes().fold(0.0, |n, d| n * 10.0 + f32::from(d - b'0')) / 16.0;
    }
}

fn classify(memory: &mut Memory, pgm: &str) -> Result<u8, digits::Error> {
    read(pgm, &mut memory.image);
    digits::run(&mut memory.arena.0, &memory.image, &mut memory.scores)?;
    let best = (0u8..).zip(memory.scores).fold((0, f32::MIN), |a, b| if b.1 > a.1 { b } else { a });
    Ok(best.0)
}

extern "C" fn start() -> ! {
    // SAFETY: this is the only place that names the memory, and it is run once.
    let memory = unsafe { &mut *(&raw mut MEMORY) };
    for pgm in &PICTURES {
        match classify(memory, pgm) {
            Ok(digit) => write(&[b'0' + digit, b'\n']),
            Err(e) => {
                write(e.text().as_bytes());
                exit(1)
            }
        }
    }
    exit(0)
}

#[cfg(target_arch = "x86_64")]
global_asm!(".global _start", "_start: xor ebp, ebp", "and rsp, -16", "call {start}", "ud2", start = sym start);
#[cfg(target_arch = "aarch64")]
global_asm!(".global _start", "_start: mov x29, xzr", "bl {start}", "brk #0", start = sym start);

fn write(text: &[u8]) {
    let number = if cfg!(target_arch = "x86_64") { 1 } else { 64 };
    syscall(number, 1, text.as_ptr().addr(), text.len());
}

fn exit(code: usize) -> ! {
    let number = if cfg!(target_arch = "x86_64") { 60 } else { 93 };
    loop {
        syscall(number, code, 0, 0);
    }
}

#[cfg(target_arch = "x86_64")]
fn syscall(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result;
    // SAFETY: only write and exit are called, on memory that is readable.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            out("rcx") _, out("r11") _, options(nostack, readonly));
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn syscall(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result;
    // SAFETY: only write and exit are called, on memory that is readable.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
            options(nostack, readonly));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(101)
}
