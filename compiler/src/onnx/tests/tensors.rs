//! Every element type and encoding; the expected bytes follow the specification of `TensorProto`.

use super::build::*;
use crate::base::dtype::DType;
use crate::onnx::external::{External, Files, NoFiles};
use crate::onnx::proto::*;
use crate::onnx::tensor::TensorReader;
use bytes::Bytes;

fn reader(files: &dyn Files) -> TensorReader<'_> {
    TensorReader {
        external: External::new(files),
        max_elements: 1 << 30,
        budget: 1 << 20,
    }
}

fn raw(dtype: DType, dims: &[i64], data: &[u8]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: dtype.onnx(),
        raw_data: Some(Bytes::copy_from_slice(data)),
        ..Default::default()
    }
}

fn typed(dtype: DType, data: &[i32]) -> TensorProto {
    TensorProto {
        dims: vec![data.len() as i64],
        data_type: dtype.onnx(),
        int32_data: data.to_vec(),
        ..Default::default()
    }
}

#[test]
fn packed_elements_take_a_byte_each() {
    let mut r = reader(&NoFiles);
    // Nibbles low first: 1, -1, 7, -8, 3.
    let t = r.read(&raw(DType::I4, &[5], &[0xf1, 0x87, 0x03])).unwrap();
    assert_eq!(t.to_i64s().unwrap(), [1, -1, 7, -8, 3]);
    let t = r.read(&raw(DType::U4, &[3], &[0xf1, 0x07])).unwrap();
    assert_eq!(t.to_i64s().unwrap(), [1, 15, 7]);
    // Pairs of bits: 0, 1, -2, -1.
    let t = r.read(&raw(DType::I2, &[4], &[0b1110_0100])).unwrap();
    assert_eq!(t.to_i64s().unwrap(), [0, 1, -2, -1]);
    let t = r.read(&raw(DType::U2, &[4], &[0b1110_0100])).unwrap();
    assert_eq!(t.to_i64s().unwrap(), [0, 1, 2, 3]);
    let t = r.read(&raw(DType::F4E2M1, &[2], &[0xa5])).unwrap();
    assert_eq!(&t.data[..], [5, 10]);
    let mut t = typed(DType::I4, &[0xf1, 0x07]);
    t.dims = vec![3];
    assert_eq!(r.read(&t).unwrap().to_i64s().unwrap(), [1, -1, 7]);
}

#[test]
fn typed_fields_of_narrow_types() {
    let mut r = reader(&NoFiles);
    let i8s = r.read(&typed(DType::I8, &[-128, 127])).unwrap();
    assert_eq!(i8s.to_i64s().unwrap(), [-128, 127]);
    // f16 and bf16 as their bits: 1.0 is 0x3c00 and 0x3f80.
    assert_eq!(
        r.read(&typed(DType::F16, &[0x3c00]))
            .unwrap()
            .to_f32s()
            .unwrap(),
        [1.0]
    );
    assert_eq!(
        r.read(&typed(DType::BF16, &[0x3f80]))
            .unwrap()
            .to_f32s()
            .unwrap(),
        [1.0]
    );
    assert_eq!(
        &r.read(&typed(DType::F8E5M2, &[0x3c])).unwrap().data[..],
        [0x3c]
    );
    assert_eq!(
        &r.read(&typed(DType::Bool, &[2, 0])).unwrap().data[..],
        [1, 0]
    );
    assert_eq!(
        r.read(&typed(DType::I8, &[300])).unwrap_err().code,
        "ONNX004"
    );
    let u = TensorProto {
        dims: vec![1],
        data_type: DType::U32.onnx(),
        uint64_data: vec![u32::MAX as u64],
        ..Default::default()
    };
    assert_eq!(r.read(&u).unwrap().to_i64s().unwrap(), [u32::MAX as i64]);
}

#[test]
fn data_must_fit_the_shape() {
    let mut r = reader(&NoFiles);
    for t in [
        raw(DType::F32, &[2], &[0; 7]),
        raw(DType::F32, &[-1], &[]),
        floats("x", &[2], &[1.0]),
        TensorProto {
            data_type: 99,
            ..Default::default()
        },
        TensorProto {
            data_type: 0,
            ..Default::default()
        },
        TensorProto {
            data_type: 8,
            dims: vec![2],
            ..Default::default()
        },
    ] {
        assert_eq!(r.read(&t).unwrap_err().code, "ONNX004", "{t:?}");
    }
    for dims in [
        vec![1i64 << 62],
        vec![1 << 31, 1 << 31, 1 << 31],
        vec![i64::MAX, 2],
    ] {
        let t = TensorProto {
            dims,
            data_type: 1,
            ..Default::default()
        };
        assert_eq!(r.read(&t).unwrap_err().code, "ONNX006");
    }
    assert!(r.read(&floats("empty", &[0, 5], &[])).unwrap().is_empty());
}

#[test]
fn sparse_tensors_become_dense() {
    let mut r = reader(&NoFiles);
    let s = |dims: &[i64], at: TensorProto| SparseTensorProto {
        values: Some(floats("s", &[2], &[1.5, 2.5])),
        indices: Some(at),
        dims: dims.to_vec(),
    };
    let flat = r.read_sparse(&s(&[2, 2], ints("", &[2], &[0, 3]))).unwrap();
    assert_eq!(flat.to_f32s().unwrap(), [1.5, 0.0, 0.0, 2.5]);
    let rows = r
        .read_sparse(&s(&[2, 2], ints("", &[2, 2], &[0, 1, 1, 0])))
        .unwrap();
    assert_eq!(rows.to_f32s().unwrap(), [0.0, 1.5, 2.5, 0.0]);
    for (dims, at) in [
        (vec![2, 2], ints("", &[2], &[0, 4])),
        (vec![2, 2], ints("", &[2], &[-1, 0])),
        (vec![2, 2], ints("", &[2, 2], &[0, 2, 0, 0])),
        (vec![2, 2], ints("", &[3], &[0, 1, 2])),
    ] {
        assert_eq!(r.read_sparse(&s(&dims, at)).unwrap_err().code, "ONNX004");
    }
    // A shape alone must not allocate.
    let huge = s(&[1 << 29], ints("", &[2], &[0, 3]));
    assert_eq!(r.read_sparse(&huge).unwrap_err().code, "ONNX006");
}

struct One;
impl Files for One {
    fn map(&self, location: &str) -> crate::base::diag::Result<Bytes> {
        assert_eq!(location, "w/data.bin");
        Ok(Bytes::from_static(&[9, 9, 1, 0, 0, 0, 2, 0, 0, 0]))
    }
}

#[test]
fn external_data_is_cut_out_and_checked() {
    let t = |entries: &[(&str, &str)]| TensorProto {
        dims: vec![2],
        data_type: DType::I32.onnx(),
        data_location: EXTERNAL,
        external_data: entries
            .iter()
            .map(|(k, v)| StringStringEntryProto {
                key: (*k).into(),
                value: (*v).into(),
            })
            .collect(),
        ..Default::default()
    };
    let mut r = reader(&One);
    let place = ("location", "w/data.bin");
    let good = t(&[place, ("offset", "2"), ("length", "8")]);
    assert_eq!(r.read(&good).unwrap().to_i64s().unwrap(), [1, 2]);
    let open = t(&[place, ("offset", "2")]);
    assert_eq!(r.read(&open).unwrap().to_i64s().unwrap(), [1, 2]);
    for bad in [
        t(&[]),
        t(&[place, ("offset", "3")]),
        t(&[place, ("offset", "-1")]),
        t(&[place, ("offset", "18446744073709551615")]),
        t(&[place, ("length", "9")]),
        t(&[("location", "../data.bin")]),
        t(&[("location", "/data.bin")]),
    ] {
        assert_eq!(r.read(&bad).unwrap_err().code, "ONNX005", "{bad:?}");
    }
}
