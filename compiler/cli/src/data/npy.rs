//! numpy's `.npy` files: reading all numeric types, both byte orders and both layouts; writing format 1.0.
//!
//! Source: numpy.lib.format. The header is a Python dict literal, of which only the form that numpy writes is read.
//! Objects (pickles) and records are refused.

use bytes::Bytes;
use onnxc_compiler::base::diag::Result;
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::tensor::Tensor;

use super::bad_data;

const MAGIC: &[u8] = b"\x93NUMPY";

/// What an element is in the file.
enum Element {
    /// A type of ours, and whether its bytes are swapped.
    Plain(DType, bool),
    /// `S<n>`: n bytes of text.
    Bytes(usize),
    /// `U<n>`: n characters of 4 bytes, and whether they are swapped.
    Text(usize, bool),
}

/// Reads a whole file. `name` is for messages.
pub fn read(name: &str, data: &[u8]) -> Result<Tensor> {
    parse(data).map_err(|why| bad_data(format!("`{name}`"), why))
}

fn parse(data: &[u8]) -> std::result::Result<Tensor, String> {
    let rest = data.strip_prefix(MAGIC).ok_or("not a .npy file")?;
    let (&major, rest) = rest.split_first().ok_or("it ends early")?;
    let (_, rest) = rest.split_first().ok_or("it ends early")?;
    let width = match major {
        1 => 2,
        2 | 3 => 4,
        _ => return Err(format!("format version {major} is not known")),
    };
    let (length, rest) = rest.split_at_checked(width).ok_or("it ends early")?;
    let length = length
        .iter()
        .rev()
        .fold(0usize, |n, b| n << 8 | *b as usize);
    let (header, body) = rest.split_at_checked(length).ok_or("it ends early")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text")?;
    let (element, fortran, shape) = parse_header(header)?;
    let count = shape
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul(usize::try_from(*d).ok()?))
        .ok_or("its shape is too large")?;
    let size = match &element {
        Element::Plain(t, _) => t.size(),
        Element::Bytes(n) => *n,
        Element::Text(n, _) => n * 4,
    };
    let want = count.checked_mul(size).ok_or("its shape is too large")?;
    let body = body.get(..want).ok_or_else(|| {
        format!(
            "{shape:?} needs {want} bytes of data, but it has {}",
            body.len()
        )
    })?;
    let order = fortran.then(|| fortran_order(&shape));
    let at = |i: usize| order.as_ref().map_or(i, |o| o[i]);
    match element {
        Element::Plain(dtype, swapped) => {
            let bytes = if !swapped && order.is_none() {
                Bytes::copy_from_slice(body)
            } else {
                let mut out = Vec::with_capacity(want);
                // A complex number is two numbers, each swapped apart.
                let part = if matches!(dtype, DType::Complex64 | DType::Complex128) {
                    size / 2
                } else {
                    size
                };
                for i in 0..count {
                    for p in body[at(i) * size..][..size].chunks(part) {
                        if swapped {
                            out.extend(p.iter().rev());
                        } else {
                            out.extend(p);
                        }
                    }
                }
                out.into()
            };
            let bytes = if dtype == DType::Bool {
                bytes
                    .iter()
                    .map(|b| u8::from(*b != 0))
                    .collect::<Vec<_>>()
                    .into()
            } else {
                bytes
            };
            Tensor::new(dtype, shape, bytes).map_err(|d| d.message)
        }
        Element::Bytes(n) => {
            let text = |i: usize| {
                let raw = &body[at(i) * n..][..n];
                let end = raw.iter().rposition(|b| *b != 0).map_or(0, |p| p + 1);
                String::from_utf8_lossy(&raw[..end]).into_owned()
            };
            Ok(Tensor::strings(shape, (0..count).map(text).collect()))
        }
        Element::Text(n, swapped) => {
            let text = |i: usize| {
                let raw = &body[at(i) * n * 4..][..n * 4];
                let code = |c: &[u8]| {
                    let b = [c[0], c[1], c[2], c[3]];
                    if swapped {
                        u32::from_be_bytes(b)
                    } else {
                        u32::from_le_bytes(b)
                    }
                };
                let chars: Vec<u32> = raw.chunks_exact(4).map(code).collect();
                let end = chars.iter().rposition(|c| *c != 0).map_or(0, |p| p + 1);
                chars[..end]
                    .iter()
                    .map(|c| char::from_u32(*c).unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect::<String>()
            };
            Ok(Tensor::strings(shape, (0..count).map(text).collect()))
        }
    }
}

/// For each element in row-major order, its place in column-major order.
fn fortran_order(shape: &[i64]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for k in 1..shape.len() {
        strides[k] = strides[k - 1] * shape[k - 1] as usize;
    }
    let mut order = vec![0usize];
    for (k, d) in shape.iter().enumerate() {
        order = order
            .iter()
            .flat_map(|base| {
                (0..*d as usize)
                    .map(|i| base + i * strides[k])
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    order
}

type Header = (Element, bool, Vec<i64>);

fn parse_header(text: &str) -> std::result::Result<Header, String> {
    let field = |key: &str| -> std::result::Result<&str, String> {
        [format!("'{key}'"), format!("\"{key}\"")]
            .iter()
            .find_map(|k| text.split_once(k.as_str()))
            .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
            .map(str::trim_start)
            .ok_or_else(|| format!("its header has no `{key}`"))
    };
    let descr = field("descr")?;
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let quote = quote.ok_or("records are not supported")?;
    let descr = descr[1..].split(quote).next().unwrap_or_default();
    let fortran = field("fortran_order")?.starts_with("True");
    let shape = field("shape")?;
    let shape = shape
        .strip_prefix('(')
        .and_then(|s| s.split_once(')'))
        .map(|(s, _)| s)
        .ok_or("its header has no shape")?;
    let shape = shape
        .split(',')
        .map(|d| d.trim().trim_end_matches('L'))
        .filter(|d| !d.is_empty())
        .map(|d| {
            d.parse::<i64>()
                .ok()
                .filter(|d| *d >= 0)
                .ok_or_else(|| format!("`{d}` is no size"))
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok((element(descr)?, fortran, shape))
}

fn element(descr: &str) -> std::result::Result<Element, String> {
    let unknown = || format!("elements of type `{descr}` are not supported");
    let (order, code) = match descr.chars().next() {
        Some(c @ ('<' | '>' | '|' | '=')) => (c, &descr[1..]),
        _ => ('=', descr),
    };
    let swapped = order == '>';
    let count = |t: &str| t.parse::<usize>().ok().filter(|n| *n < 1 << 24);
    if let Some(n) = code.strip_prefix('S').or_else(|| code.strip_prefix('a')) {
        return count(n).map(Element::Bytes).ok_or_else(unknown);
    }
    if let Some(n) = code.strip_prefix('U') {
        return count(n)
            .map(|n| Element::Text(n, swapped))
            .ok_or_else(unknown);
    }
    let dtype = match code {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" | "?" => DType::Bool,
        "c8" => DType::Complex64,
        "c16" => DType::Complex128,
        // How the package ml_dtypes stores bfloat16.
        "V2" => DType::BF16,
        _ => return Err(unknown()),
    };
    Ok(Element::Plain(dtype, swapped && dtype.size() > 1))
}

/// Bytes of a `.npy` file. Types that numpy lacks are written as their bytes (`V2` for bf16, `u1` or `i1` below a byte).
pub fn write(t: &Tensor) -> Vec<u8> {
    let mut body = Vec::new();
    let descr = match t.dtype {
        DType::F16 => "<f2".to_string(),
        DType::F32 => "<f4".into(),
        DType::F64 => "<f8".into(),
        DType::BF16 => "<V2".into(),
        DType::I8 | DType::I4 | DType::I2 => "|i1".into(),
        DType::I16 => "<i2".into(),
        DType::I32 => "<i4".into(),
        DType::I64 => "<i8".into(),
        DType::U16 => "<u2".into(),
        DType::U32 => "<u4".into(),
        DType::U64 => "<u8".into(),
        DType::Bool => "|b1".into(),
        DType::Complex64 => "<c8".into(),
        DType::Complex128 => "<c16".into(),
        DType::String => {
            let width = t
                .strings
                .iter()
                .map(|s| s.chars().count())
                .max()
                .unwrap_or(0)
                .max(1);
            for s in &t.strings {
                let codes = s.chars().map(|c| c as u32).chain(std::iter::repeat(0));
                body.extend(codes.take(width).flat_map(u32::to_le_bytes));
            }
            format!("<U{width}")
        }
        _ => "|u1".into(),
    };
    let dims: Vec<String> = t.shape.iter().map(|d| format!("{d},")).collect();
    let mut header = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}",
        dims.join(" ")
    );
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(
        ' ',
        unpadded.next_multiple_of(64) - unpadded,
    ));
    header.push('\n');
    let mut out = MAGIC.to_vec();
    // A rank high enough to need format 2.0 does not occur: 65,535 bytes hold thousands of axes.
    out.extend([1, 0]);
    out.extend((header.len().min(u16::MAX as usize) as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(&body);
    out.extend(t.data.iter());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let mut f = b"\x93NUMPY\x01\x00".to_vec();
        f.extend((header.len() as u16).to_le_bytes());
        f.extend(header.as_bytes());
        f.extend(body);
        f
    }

    #[test]
    fn round_trip() {
        let t = Tensor::f32(&[2, 3], &[1., -2., 3., 4., 5., 6.]);
        let f = write(&t);
        assert_eq!((f.len() - 24) % 64, 0);
        assert_eq!(read("x", &f).unwrap(), t);
        let scalar = Tensor::i64(&[], &[7]);
        assert_eq!(read("x", &write(&scalar)).unwrap(), scalar);
        let s = Tensor::strings(vec![2], vec!["ab".into(), "é".into()]);
        assert_eq!(read("x", &write(&s)).unwrap(), s);
    }

    #[test]
    fn orders() {
        // numpy.array([[1,2,3],[4,5,6]], order="F", dtype=">i2")
        let f = file(
            "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n",
            &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6],
        );
        let t = read("x", &f).unwrap();
        assert_eq!(t.to_i64s().unwrap(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn lies_are_errors() {
        for (header, body) in [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }",
                4,
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
                4,
            ),
            (
                "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
                8,
            ),
            (
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
                4,
            ),
            ("{'fortran_order': False, 'shape': (1,), }", 4),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
                4,
            ),
        ] {
            assert!(
                read("x", &file(header, &vec![0; body])).is_err(),
                "{header}"
            );
        }
        assert!(read("x", b"PK").is_err());
    }
}
