//! onnxruntime through its C API: the one file of the runners that is allowed to be unsafe.
//!
//! The API is a table of functions whose places never change, only grow (`OrtApi` in `onnxruntime_c_api.h`), asked for in version
//! 11. Outputs of the first run are bound for all later ones, so a timed run is one call that allocates no tensor of ours.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::rc::Rc;

use libloading::Library;

use crate::protocol::{Loaded, Port};

const VERSION: u32 = 11;

/// Places of functions in the table.
mod at {
    pub const GET_ERROR_MESSAGE: usize = 2;
    pub const CREATE_ENV: usize = 3;
    pub const CREATE_SESSION: usize = 7;
    pub const RUN: usize = 9;
    pub const CREATE_SESSION_OPTIONS: usize = 10;
    pub const SET_GRAPH_OPTIMIZATION_LEVEL: usize = 23;
    pub const SET_INTRA_OP_NUM_THREADS: usize = 24;
    pub const SET_INTER_OP_NUM_THREADS: usize = 25;
    pub const SESSION_GET_OUTPUT_COUNT: usize = 31;
    pub const SESSION_GET_OUTPUT_NAME: usize = 37;
    pub const CREATE_TENSOR_WITH_DATA: usize = 49;
    pub const GET_TENSOR_MUTABLE_DATA: usize = 51;
    pub const GET_TENSOR_ELEMENT_TYPE: usize = 60;
    pub const GET_DIMENSIONS_COUNT: usize = 61;
    pub const GET_DIMENSIONS: usize = 62;
    pub const GET_TENSOR_TYPE_AND_SHAPE: usize = 65;
    pub const CREATE_CPU_MEMORY_INFO: usize = 69;
    pub const GET_ALLOCATOR: usize = 78;
    pub const RELEASE_ENV: usize = 92;
    pub const RELEASE_STATUS: usize = 93;
    pub const RELEASE_MEMORY_INFO: usize = 94;
    pub const RELEASE_SESSION: usize = 95;
    pub const RELEASE_VALUE: usize = 96;
    pub const RELEASE_SHAPE: usize = 99;
    pub const RELEASE_SESSION_OPTIONS: usize = 100;
    /// Functions of the table that version 11 has at least.
    pub const COUNT: usize = 150;
}

type Object = *mut c_void;
type Status = *mut c_void;

/// Element types: name, number in the API (as in `TensorProto.DataType`), bytes.
const TYPES: &[(&str, c_int, usize)] = &[
    ("f32", 1, 4),
    ("u8", 2, 1),
    ("i8", 3, 1),
    ("u16", 4, 2),
    ("i16", 5, 2),
    ("i32", 6, 4),
    ("i64", 7, 8),
    ("bool", 9, 1),
    ("f16", 10, 2),
    ("f64", 11, 8),
    ("u32", 12, 4),
    ("u64", 13, 8),
    ("bf16", 16, 2),
];

#[repr(C)]
struct Base {
    get_api: unsafe extern "C" fn(u32) -> *const [*const c_void; at::COUNT],
    get_version: unsafe extern "C" fn() -> *const c_char,
}

/// The library with its environment.
struct Api {
    table: *const [*const c_void; at::COUNT],
    version: String,
    env: Object,
    // Last: all of the above lies in it.
    _library: Library,
}

/// An opened onnxruntime.
pub struct Runtime(Rc<Api>);

impl Runtime {
    /// Opens the library.
    pub fn open(path: &Path) -> Result<Runtime, String> {
        let name = path.display();
        // SAFETY: loading runs the library's initialisers; the user named it as an onnxruntime.
        let library =
            unsafe { Library::new(path) }.map_err(|e| format!("can't load {name}: {e}"))?;
        // SAFETY: the symbol is documented with this type.
        let base =
            unsafe { library.get::<unsafe extern "C" fn() -> *const Base>(b"OrtGetApiBase\0") }
                .map_err(|_| format!("{name} is no onnxruntime"))?;
        // SAFETY: the base is a constant of the library; the version's text too.
        let (table, version) = unsafe {
            let base = &*base();
            let version = CStr::from_ptr((base.get_version)());
            (
                (base.get_api)(VERSION),
                version.to_string_lossy().into_owned(),
            )
        };
        if table.is_null() {
            return Err(format!("{name}, version {version}, is too old"));
        }
        let mut api = Api {
            table,
            version,
            env: null_mut(),
            _library: library,
        };
        let mut env = null_mut();
        type Create = unsafe extern "C" fn(c_int, *const c_char, *mut Object) -> Status;
        // SAFETY: the function's documented type; 3 = errors only.
        api.check(unsafe { api.f::<Create>(at::CREATE_ENV)(3, c"onnxc".as_ptr(), &mut env) })?;
        api.env = env;
        Ok(Runtime(Rc::new(api)))
    }

    /// What the library says of its version.
    pub fn version(&self) -> String {
        self.0.version.clone()
    }

    /// Makes a session with all optimizations, and binds its inputs.
    pub fn load(
        &self,
        model: &Path,
        threads: u32,
        inputs: Vec<(Port, Vec<u8>)>,
    ) -> Result<Session, String> {
        let api = self.0.clone();
        let mut s = Session {
            session: null_mut(),
            in_names: Vec::new(),
            out_names: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            data: Vec::new(),
            api,
        };
        s.session = session(&s.api, model, threads)?;
        for (port, bytes) in inputs {
            s.bind(port, bytes)?;
        }
        s.name_outputs()?;
        Ok(s)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.release(at::RELEASE_ENV, self.env);
    }
}

impl Api {
    /// A function of the table.
    ///
    /// # Safety
    /// `F` must be the documented type of the function at that place.
    unsafe fn f<F: Copy>(&self, place: usize) -> F {
        const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
        // SAFETY: the table has at least so many entries, each a function pointer; the caller vouches for its type.
        unsafe { std::mem::transmute_copy(&(&*self.table)[place]) }
    }
    fn release(&self, place: usize, object: Object) {
        if !object.is_null() {
            // SAFETY: all release functions have this type; the object is ours and not used again.
            unsafe { self.f::<unsafe extern "C" fn(Object)>(place)(object) }
        }
    }
    fn check(&self, status: Status) -> Result<(), String> {
        if status.is_null() {
            return Ok(());
        }
        type Message = unsafe extern "C" fn(Status) -> *const c_char;
        // SAFETY: a status that is not null holds a message until it is released.
        let text = unsafe { CStr::from_ptr(self.f::<Message>(at::GET_ERROR_MESSAGE)(status)) };
        let text = text.to_string_lossy().into_owned();
        self.release(at::RELEASE_STATUS, status);
        Err(text)
    }
}

fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a name holds a zero byte".to_string())
}

fn session(api: &Api, model: &Path, threads: u32) -> Result<Object, String> {
    type New = unsafe extern "C" fn(*mut Object) -> Status;
    type Set = unsafe extern "C" fn(Object, c_int) -> Status;
    type Create = unsafe extern "C" fn(Object, *const c_char, Object, *mut Object) -> Status;
    let path = c_text(model.to_str().ok_or("the model's path is not UTF-8")?)?;
    let (mut options, mut session) = (null_mut(), null_mut());
    // SAFETY: the functions' documented types; `options` and `session` outlive the calls.
    let made = unsafe {
        api.check(api.f::<New>(at::CREATE_SESSION_OPTIONS)(&mut options))
            // 99: all of them.
            .and_then(|()| api.check(api.f::<Set>(at::SET_GRAPH_OPTIMIZATION_LEVEL)(options, 99)))
            .and_then(|()| {
                api.check(api.f::<Set>(at::SET_INTRA_OP_NUM_THREADS)(
                    options,
                    threads as c_int,
                ))
            })
            .and_then(|()| api.check(api.f::<Set>(at::SET_INTER_OP_NUM_THREADS)(options, 1)))
            .and_then(|()| {
                let create = api.f::<Create>(at::CREATE_SESSION);
                api.check(create(api.env, path.as_ptr(), options, &mut session))
            })
    };
    api.release(at::RELEASE_SESSION_OPTIONS, options);
    made.map(|()| session)
}

/// A model in onnxruntime, with its inputs.
pub struct Session {
    session: Object,
    in_names: Vec<CString>,
    out_names: Vec<CString>,
    inputs: Vec<Object>,
    outputs: Vec<Object>,
    // What inputs point to; u64 for alignment.
    data: Vec<Vec<u64>>,
    api: Rc<Api>,
}

impl Drop for Session {
    fn drop(&mut self) {
        for value in self.inputs.drain(..).chain(self.outputs.drain(..)) {
            self.api.release(at::RELEASE_VALUE, value);
        }
        self.api.release(at::RELEASE_SESSION, self.session);
    }
}

impl Session {
    fn bind(&mut self, port: Port, bytes: Vec<u8>) -> Result<(), String> {
        type Memory = unsafe extern "C" fn(c_int, c_int, *mut Object) -> Status;
        type Create = unsafe extern "C" fn(
            Object,
            *mut c_void,
            usize,
            *const i64,
            usize,
            c_int,
            *mut Object,
        ) -> Status;
        let row = TYPES.iter().find(|t| t.0 == port.dtype);
        let (_, number, size) =
            row.ok_or_else(|| format!("inputs of type {} are not done", port.dtype))?;
        let count = port
            .shape
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?));
        if count.and_then(|n| n.checked_mul(*size)) != Some(bytes.len()) {
            return Err(format!(
                "input `{}` has {} bytes for its shape {:?}",
                port.name,
                bytes.len(),
                port.shape
            ));
        }
        let mut data = vec![0u64; bytes.len().div_ceil(8).max(1)];
        for (word, chunk) in data.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(eight);
        }
        let (mut info, mut value) = (null_mut(), null_mut());
        let api = &self.api;
        // SAFETY: the functions' documented types; the data lives as long as the value, which copies the shape.
        let made = unsafe {
            // An arena allocator (1), default memory (0).
            api.check(api.f::<Memory>(at::CREATE_CPU_MEMORY_INFO)(1, 0, &mut info))
                .and_then(|()| {
                    api.check(api.f::<Create>(at::CREATE_TENSOR_WITH_DATA)(
                        info,
                        data.as_mut_ptr().cast(),
                        bytes.len(),
                        port.shape.as_ptr(),
                        port.shape.len(),
                        *number,
                        &mut value,
                    ))
                })
        };
        api.release(at::RELEASE_MEMORY_INFO, info);
        made?;
        self.data.push(data);
        self.inputs.push(value);
        self.in_names.push(c_text(&port.name)?);
        Ok(())
    }

    fn name_outputs(&mut self) -> Result<(), String> {
        type Count = unsafe extern "C" fn(Object, *mut usize) -> Status;
        type Default = unsafe extern "C" fn(*mut Object) -> Status;
        type Name = unsafe extern "C" fn(Object, usize, Object, *mut *mut c_char) -> Status;
        let (mut n, mut allocator) = (0, null_mut());
        let api = &self.api;
        // SAFETY: the functions' documented types.
        unsafe {
            api.check(api.f::<Count>(at::SESSION_GET_OUTPUT_COUNT)(
                self.session,
                &mut n,
            ))?;
            api.check(api.f::<Default>(at::GET_ALLOCATOR)(&mut allocator))?;
        }
        for k in 0..n {
            let mut name = null_mut();
            // SAFETY: as above; the name is text that we own, and small enough to be left to the end of the process.
            let text = unsafe {
                let get = api.f::<Name>(at::SESSION_GET_OUTPUT_NAME);
                api.check(get(self.session, k, allocator, &mut name))?;
                CStr::from_ptr(name).to_owned()
            };
            self.out_names.push(text);
            self.outputs.push(null_mut());
        }
        Ok(())
    }

    /// Type and sizes of a value.
    fn shape(&self, value: Object) -> Result<(c_int, Vec<i64>), String> {
        type Get = unsafe extern "C" fn(Object, *mut Object) -> Status;
        type Kind = unsafe extern "C" fn(Object, *mut c_int) -> Status;
        type Count = unsafe extern "C" fn(Object, *mut usize) -> Status;
        type Sizes = unsafe extern "C" fn(Object, *mut i64, usize) -> Status;
        let (mut info, mut kind, mut rank) = (null_mut(), 0, 0);
        let api = &self.api;
        // SAFETY: the functions' documented types; `sizes` has room for `rank` numbers.
        unsafe {
            api.check(api.f::<Get>(at::GET_TENSOR_TYPE_AND_SHAPE)(
                value, &mut info,
            ))?;
            let mut read = |sizes: &mut Vec<i64>| {
                api.check(api.f::<Kind>(at::GET_TENSOR_ELEMENT_TYPE)(info, &mut kind))?;
                api.check(api.f::<Count>(at::GET_DIMENSIONS_COUNT)(info, &mut rank))?;
                sizes.resize(rank, 0);
                api.check(api.f::<Sizes>(at::GET_DIMENSIONS)(
                    info,
                    sizes.as_mut_ptr(),
                    rank,
                ))
            };
            let mut sizes = Vec::new();
            let done = read(&mut sizes);
            api.release(at::RELEASE_SHAPE, info);
            done.map(|()| (kind, sizes))
        }
    }
}

impl Loaded for Session {
    fn run(&mut self) -> Result<(), String> {
        type Run = unsafe extern "C" fn(
            Object,
            *const c_void,
            *const *const c_char,
            *const Object,
            usize,
            *const *const c_char,
            usize,
            *mut Object,
        ) -> Status;
        // A CString is a pointer and a length; the API wants pointers. Short lists: nothing next to a run.
        let mut ins = [null(); 64];
        let mut outs = [null(); 64];
        let (n, m) = (self.inputs.len(), self.outputs.len());
        if n > ins.len() || m > outs.len() {
            return Err("more than 64 inputs or outputs are not done".into());
        }
        self.in_names
            .iter()
            .zip(&mut ins)
            .for_each(|(s, p)| *p = s.as_ptr());
        self.out_names
            .iter()
            .zip(&mut outs)
            .for_each(|(s, p)| *p = s.as_ptr());
        // SAFETY: the function's documented type; all lists have the lengths said. Outputs that are null are made by the
        // call, those of an earlier run are written into.
        let status = unsafe {
            self.api.f::<Run>(at::RUN)(
                self.session,
                null(),
                ins.as_ptr(),
                self.inputs.as_ptr(),
                n,
                outs.as_ptr(),
                m,
                self.outputs.as_mut_ptr(),
            )
        };
        self.api.check(status)
    }

    fn outputs(&mut self) -> Result<Vec<(String, String, Vec<i64>, Vec<u8>)>, String> {
        type Data = unsafe extern "C" fn(Object, *mut *mut c_void) -> Status;
        let mut list = Vec::new();
        for (name, value) in self.out_names.iter().zip(&self.outputs) {
            let name = name.to_string_lossy().into_owned();
            let (kind, shape) = self.shape(*value)?;
            let row = TYPES.iter().find(|t| t.1 == kind);
            let (dtype, _, size) =
                row.ok_or_else(|| format!("output `{name}` has type {kind}, which is not done"))?;
            let count: usize = shape.iter().map(|d| *d as usize).product();
            let mut at = null_mut();
            // SAFETY: the function's documented type; a tensor has so many bytes.
            let bytes = unsafe {
                self.api
                    .check(self.api.f::<Data>(at::GET_TENSOR_MUTABLE_DATA)(
                        *value, &mut at,
                    ))?;
                if count == 0 {
                    &[][..]
                } else {
                    std::slice::from_raw_parts(at.cast::<u8>(), count * size)
                }
            };
            list.push((name, dtype.to_string(), shape, bytes.to_vec()));
        }
        Ok(list)
    }
}
