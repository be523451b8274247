//! Attributes of a node: plain data under names, so that printing, parsing, equality and hashing are written once.

use super::dtype::DType;
use super::tensor::Tensor;
use std::collections::BTreeMap;

/// A value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub enum Attr {
    /// A whole number.
    Int(i64),
    /// A float; ONNX has f32 here.
    Float(f32),
    /// Text.
    Str(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Strs(Vec<String>),
    /// A constant tensor.
    Tensor(Tensor),
    /// An element type.
    Type(DType),
}

/// A node's attributes in alphabetical order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Attrs(pub BTreeMap<String, Attr>);

impl Attrs {
    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: Attr) -> &mut Self {
        self.0.insert(name.to_string(), value);
        self
    }
    /// The same, as a value.
    pub fn with(mut self, name: &str, value: Attr) -> Self {
        self.set(name, value);
        self
    }
    /// Takes an attribute away.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
    /// The attribute.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.get(name)
    }
    /// A whole number, or `default` where absent or of another kind.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.opt_int(name).unwrap_or(default)
    }
    /// A whole number, if there.
    pub fn opt_int(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Attr::Int(v)) => Some(*v),
            _ => None,
        }
    }
    /// Whether a number is there and not 0.
    pub fn flag(&self, name: &str) -> bool {
        self.int(name, 0) != 0
    }
    /// A float, or `default`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.opt_float(name).unwrap_or(default)
    }
    /// A float, if there.
    pub fn opt_float(&self, name: &str) -> Option<f32> {
        match self.get(name) {
            Some(Attr::Float(v)) => Some(*v),
            Some(Attr::Int(v)) => Some(*v as f32),
            _ => None,
        }
    }
    /// A text, or `default`.
    pub fn str<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        match self.get(name) {
            Some(Attr::Str(v)) => v,
            _ => default,
        }
    }
    /// Whole numbers, if there.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.get(name) {
            Some(Attr::Ints(v)) => Some(v),
            _ => None,
        }
    }
    /// Floats, if there.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        match self.get(name) {
            Some(Attr::Floats(v)) => Some(v),
            _ => None,
        }
    }
    /// Texts, if there.
    pub fn strs(&self, name: &str) -> Option<&[String]> {
        match self.get(name) {
            Some(Attr::Strs(v)) => Some(v),
            _ => None,
        }
    }
    /// A tensor, if there.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        match self.get(name) {
            Some(Attr::Tensor(v)) => Some(v),
            _ => None,
        }
    }
    /// An element type, if there.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        match self.get(name) {
            Some(Attr::Type(v)) => Some(*v),
            _ => None,
        }
    }
}
