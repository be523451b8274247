//! A look over the file's bytes before decoding: how much memory the messages will take, and how deep they nest.
//!
//! Two bytes in the file can become hundreds in memory (an empty message), so a small hostile file could ask for far
//! more than it holds. Malformed bytes end the walk quietly: decoding tells what is wrong with them.

use super::options::ImportOptions;
use super::proto::{
    AttributeProto, Dimension, FunctionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto,
    TypeProto, ValueInfoProto,
};
use crate::base::diag::{Diagnostic, Result};
use std::mem::size_of;

/// Messages that repeat or nest.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    Shape,
    Function,
    /// Holds nothing that repeats.
    Leaf,
}

/// What field `field` of `kind` holds and how large it becomes; `None` for plain bytes and numbers.
fn inside(kind: Kind, field: u64) -> Option<(Kind, usize)> {
    use Kind::*;
    Some(match (kind, field) {
        (Model, 7) => (Graph, size_of::<GraphProto>()),
        (Model, 25) => (Function, size_of::<FunctionProto>()),
        (Model | Function, 8 | 9) => (Leaf, size_of::<OperatorSetIdProto>()),
        (Graph, 1) | (Function, 7) => (Node, size_of::<NodeProto>()),
        (Graph, 5) => (Tensor, size_of::<TensorProto>()),
        (Graph, 15) => (Sparse, size_of::<SparseTensorProto>()),
        (Graph, 11..=13) | (Function, 12) => (ValueInfo, size_of::<ValueInfoProto>()),
        (Graph, 14) => (Leaf, size_of::<TensorAnnotation>()),
        (Node, 5) | (Function, 11) => (Attribute, size_of::<AttributeProto>()),
        (Attribute, 5 | 10) => (Tensor, size_of::<TensorProto>()),
        (Attribute, 6 | 11) => (Graph, size_of::<GraphProto>()),
        (Attribute, 22 | 23) => (Sparse, size_of::<SparseTensorProto>()),
        (Attribute, 14 | 15) => (Type, size_of::<TypeProto>()),
        (Sparse, 1 | 2) => (Tensor, size_of::<TensorProto>()),
        (ValueInfo, 2) => (Type, size_of::<TypeProto>()),
        // Tensor and list types: their first fields hold types or shapes, all of them small.
        (Type, 1 | 4 | 5 | 8 | 9) => (Shape, size_of::<TypeProto>()),
        (Shape, 1 | 2) => (Shape, size_of::<Dimension>()),
        (Model, 14) | (Graph, 16) | (Node, 9) | (Tensor, 13) => {
            (Leaf, size_of::<StringStringEntryProto>())
        }
        _ => return None,
    })
}

/// Cost of a field of plain bytes: numbers may be packed, a text is a `String`.
fn plain(kind: Kind, field: u64, len: u64) -> u64 {
    match (kind, field) {
        (Kind::Tensor, 1 | 7 | 11) | (Kind::Attribute, 8) | (Kind::Sparse, 3) => {
            len.saturating_mul(8)
        }
        (Kind::Tensor, 5) => len.saturating_mul(4),
        (Kind::Node, 1 | 2) | (Kind::Tensor, 6) | (Kind::Attribute, 9) => 32 + len,
        (Kind::Function, 4..=6) => 32 + len,
        // Raw data is shared with the file.
        (Kind::Tensor, 9) => 0,
        _ => len,
    }
}

/// An error where decoding would take more memory than the limit.
pub fn check(bytes: &[u8], options: &ImportOptions) -> Result<()> {
    let limit = options.limits.max_memory;
    let mut cost = size_of::<ModelProto>() as u64;
    // Kind, rest of the message.
    let mut stack: Vec<(Kind, &[u8])> = vec![(Kind::Model, bytes)];
    while let Some((kind, mut rest)) = stack.pop() {
        if cost > limit {
            return Err(Diagnostic::limit(
                "ONNX006",
                format!("reading the model needs more than {limit} bytes of memory"),
            )
            .help("--max-memory raises the limit"));
        }
        let Some(tag) = varint(&mut rest) else {
            continue;
        };
        let skip = match tag & 7 {
            0 => {
                cost += 8;
                varint(&mut rest).map(|_| 0)
            }
            1 => Some(8),
            5 => Some(4),
            2 => varint(&mut rest),
            _ => None,
        };
        let Some(len) = skip.filter(|n| *n <= rest.len() as u64) else {
            continue;
        };
        let (body, after) = rest.split_at(len as usize);
        stack.push((kind, after));
        if tag & 7 == 2 {
            match inside(kind, tag >> 3) {
                Some((k, size)) => {
                    cost += size as u64;
                    if !matches!(k, Kind::Leaf) {
                        stack.push((k, body));
                    }
                }
                None => cost = cost.saturating_add(plain(kind, tag >> 3, len)),
            }
        } else if len > 0 {
            cost += 8;
        }
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for k in 0..10 {
        let (&b, after) = rest.split_first()?;
        *rest = after;
        v |= u64::from(b & 0x7f) << (7 * k).min(63);
        if b & 0x80 == 0 {
            return Some(v);
        }
    }
    None
}
