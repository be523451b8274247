//! The runtime's safe API in front of a stand-in model: what it refuses, and what arrives at the entry.

use onnxc_abi::weights::WeightsHeader;
use onnxc_abi::{Context, status};
use onnxc_compiler::artifact::{Placement, descriptor};
use onnxc_runtime::weights::WeightsFile;
use onnxc_runtime::{Error, Model, Pool, Session, Tracer, Weights};
use onnxc_tests::models::wild;
use sha2::{Digest, Sha256};
use std::cell::Cell;
use std::ffi::c_void;

#[repr(align(64))]
struct Arena([u8; 192]);

// y[i] = x[i / 2] * 2 + weights[0], in a parallel loop; reports layer 1.
unsafe extern "C" fn entry(ctx: *const c_void) -> i32 {
    struct Loop {
        x: *const f32,
        y: *mut f32,
        add: f32,
    }
    unsafe extern "C" fn body(arg: *mut c_void, begin: i64, end: i64) -> i32 {
        // SAFETY: `entry` passes a Loop whose buffers hold the iterations.
        unsafe {
            let l = &*arg.cast::<Loop>();
            for i in begin as usize..end as usize {
                *l.y.add(i) = *l.x.add(i / 2) * 2.0 + l.add;
            }
        }
        0
    }
    // SAFETY: the session passes a context for the model of `wild`: three inputs, two outputs, one free size.
    unsafe {
        let ctx = &*ctx.cast::<Context>();
        let n = *ctx.dims;
        let add = if ctx.weights.is_null() {
            0.0
        } else {
            f32::from(*ctx.weights.cast::<u8>())
        };
        let mut l = Loop {
            x: (*ctx.inputs).cast(),
            y: (*ctx.outputs).cast(),
            add,
        };
        if let Some(trace) = ctx.trace {
            trace(ctx.trace_user, 1, 1);
        }
        let arg = (&raw mut l).cast();
        let s = match ctx.parallel_for {
            Some(f) => f(ctx.parallel_user, body, arg, 2 * n),
            None => body(arg, 0, 2 * n),
        };
        if let Some(trace) = ctx.trace {
            trace(ctx.trace_user, 1, 0);
        }
        if !ctx.out_dims.is_null() {
            std::slice::from_raw_parts_mut(ctx.out_dims, 2).copy_from_slice(&[1, 2 * n]);
        }
        s
    }
}

fn model() -> Model {
    let bytes = descriptor::descriptor(&wild("free", Placement::File, true)).unwrap();
    // SAFETY: the entry is written for this descriptor.
    unsafe { Model::new(entry, bytes.leak()) }.unwrap()
}

struct Log(Cell<u32>);
impl Tracer for Log {
    fn layer(&self, layer: u32, begin: bool) {
        assert_eq!(layer, 1);
        self.0.set(self.0.get() * 10 + u32::from(begin) + 1);
    }
}

#[test]
fn a_run_with_everything() {
    let (mut arena, pool, log) = (Arena([0; 192]), Pool::new(3).unwrap(), Log(Cell::new(0)));
    let (x, mut y, mut z, mut sizes) = ([1.0f32, 2.0], [0.0f32; 18], [0i64], [0i64; 2]);
    let file = weights_file(7);
    let aligned = file.as_ptr().align_offset(64);
    // SAFETY: the file is the one just made.
    let weights = unsafe { Weights::new(&file[aligned..]) }.unwrap();
    weights.verify().unwrap();
    Session::<3, 2>::new(model(), &mut arena.0)
        .and_then(|s| s.input(0, &x)?.input(1, &[0u8; 2])?.input(2, &[0i8; 2]))
        .and_then(|s| {
            s.output(0, &mut y)?
                .output(1, &mut z)?
                .dims(&[2])?
                .out_dims(&mut sizes)?
                .weights(weights)
        })
        .map(|s| s.parallel(&pool).trace(&log))
        .and_then(|mut s| s.run())
        .unwrap();
    assert_eq!(y[..5], [9.0, 9.0, 11.0, 11.0, 0.0]);
    assert_eq!((sizes, log.0.get()), ([1, 4], 21));
}

#[test]
fn what_does_not_fit_is_refused() {
    let m = model();
    let mut arena = Arena([0; 192]);
    let error = |r: Result<(), Error>| r.unwrap_err();
    assert_eq!(
        Session::<2, 2>::new(m, &mut arena.0).err(),
        Some(Error::Status(status::BAD_COUNT))
    );
    assert_eq!(
        Session::<3, 2>::new(m, &mut arena.0[..127]).err(),
        Some(Error::Status(status::ARENA_TOO_SMALL))
    );
    assert_eq!(
        Session::<3, 2>::new(m, &mut arena.0[1..]).err(),
        Some(Error::Status(status::MISALIGNED))
    );
    let mut y = [0.0f32; 17];
    let mut z = [0i64];
    let session = Session::<3, 2>::new(m, &mut arena.0).unwrap();
    assert_eq!(session.input(0, &[0u8; 4]).err(), Some(Error::WrongType(0)));
    let session = Session::<3, 2>::new(m, &mut arena.0).unwrap();
    assert_eq!(
        session.input(3, &[0u8; 4]).err(),
        Some(Error::NoSuchPort(3))
    );
    let session = Session::<3, 2>::new(m, &mut arena.0).unwrap();
    assert_eq!(
        session.dims(&[10]).err(),
        Some(Error::Status(status::BAD_DIM))
    );
    let session = Session::<3, 2>::new(m, &mut arena.0).unwrap();
    assert_eq!(
        error(session.dims(&[2]).and_then(|mut s| s.run())),
        Error::TooSmall(0)
    );
    // The output's size is twice the free one, which the runtime can't compute: it asks for the largest.
    let run = Session::<3, 2>::new(m, &mut arena.0)
        .and_then(|s| {
            s.input(0, &[0.0f32; 2])?
                .input(1, &[0u8; 2])?
                .input(2, &[0i8; 2])
        })
        .and_then(|s| s.output(0, &mut y)?.output(1, &mut z)?.dims(&[2]))
        .and_then(|mut s| s.run());
    assert_eq!(error(run), Error::TooSmall(0));
}

// A weights file for `wild`, at a 64-byte boundary of the vector.
fn weights_file(value: u8) -> Vec<u8> {
    let data = [value; 32];
    let header = WeightsHeader::new(32, 64, [0xab; 32], Sha256::digest(data).into()).to_bytes();
    let mut file = vec![0; 64 + 65536 + 32];
    let at = file.as_ptr().align_offset(64);
    file[at..at + header.len()].copy_from_slice(&header);
    file[at + 65536..at + 65536 + 32].copy_from_slice(&data);
    file.truncate(at + 65536 + 32);
    file
}

#[test]
fn weights_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.bin");
    let bytes = weights_file(3);
    let bytes = &bytes[bytes.as_ptr().align_offset(64)..];
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        WeightsFile::open(&path, &model().descriptor())
            .map(|f| f.weights().unwrap().data().to_vec())
    };
    assert_eq!(open(bytes), Ok(vec![3; 32]));
    assert_eq!(open(&bytes[..65536 + 31]), Err(Error::OtherLayout));
    for (at, expected) in [
        (0, Error::NotWeights),
        (8, Error::NotWeights),
        (40, Error::OtherLayout),
        (65540, Error::Damaged),
    ] {
        let mut b = bytes.to_vec();
        b[at] ^= 1;
        assert_eq!(open(&b), Err(expected), "byte {at}");
    }
    assert_eq!(
        WeightsFile::open(dir.path().join("none"), &model().descriptor()).err(),
        Some(Error::Io(std::io::ErrorKind::NotFound))
    );
}
