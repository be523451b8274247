//! What accelerators are to compute of a model: plain data, from the pass `offload` to the report, the descriptor and the object.
//!
//! A region is a part of the graph behind one border. It has a blob, which only its accelerator understands, and a CPU twin, which the
//! graph holds. Every node of the model has a fate that says where it runs and why.

use super::types::TensorType;
use bytes::Bytes;

/// How the axes of a value lie at a border. The type of the port says the sizes in the order in which they lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Layout {
    /// As the model has them.
    Plain,
    /// Axis 1, the channels, moved to the end.
    ChannelsLast,
}

impl Layout {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Plain => "plain",
            Layout::ChannelsLast => "channels-last",
        }
    }
}

/// One value that crosses the border of a region.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    /// Name of the value in the graph; may be empty.
    pub name: String,
    /// Element type and sizes, as the value lies in memory: dense and row-major.
    pub ty: TensorType,
    /// What the order of the axes means.
    pub layout: Layout,
    /// `real = scale * (q - zero point)`, where the file says so.
    pub quant: Option<(f32, i32)>,
}

impl Port {
    /// Bytes; sizes at borders are fixed.
    pub fn bytes(&self) -> u64 {
        self.ty.max_bytes(&super::dim::Symbols::default()).max(0) as u64
    }
}

/// What a region costs, as the accelerator and our own model see it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Cost {
    /// Cycles of the device.
    pub cycles: u64,
    /// Nanoseconds of the device's own work.
    pub device_ns: u64,
    /// Bytes that cross the border.
    pub border_bytes: u64,
    /// Nanoseconds to move them.
    pub border_ns: u64,
    /// Nanoseconds to start the device and to wait for it.
    pub overhead_ns: u64,
    /// Nanoseconds of the CPU twin, estimated.
    pub cpu_ns: u64,
}

impl Cost {
    /// Nanoseconds of a run on the device, all together.
    pub fn npu_ns(&self) -> u64 {
        self.device_ns
            .saturating_add(self.border_ns)
            .saturating_add(self.overhead_ns)
    }
    /// How many times faster than the CPU twin.
    pub fn gain(&self) -> f64 {
        self.cpu_ns as f64 / self.npu_ns().max(1) as f64
    }
}

/// A region that goes to an accelerator.
#[derive(Clone, PartialEq, Debug)]
pub struct Region {
    /// Its number: the slot in the context, and the partition in the descriptor.
    pub slot: u32,
    /// Name of the accelerator.
    pub accelerator: String,
    /// For which device exactly the blob is, as the driver compares it.
    pub target: String,
    /// Whether a run ends with a status where no device computes it.
    pub required: bool,
    /// ONNX nodes in it.
    pub nodes: Vec<String>,
    /// Operators in it, in order.
    pub ops: Vec<&'static str>,
    /// Multiply-accumulates.
    pub macs: u64,
    /// What goes in.
    pub ins: Vec<Port>,
    /// What comes out.
    pub outs: Vec<Port>,
    /// Commands, as the device reads them.
    pub blob: Bytes,
    /// Weights, as the device reads them.
    pub constants: Bytes,
    /// Bytes of memory that the device needs for what lies in between.
    pub device_bytes: u64,
    /// What it costs.
    pub cost: Cost,
    /// Nanoseconds after which a run counts as lost.
    pub timeout_ns: u64,
    /// For a self-test: the seed of made-up inputs (`onnxc_abi::region::golden_byte`), and the outputs that the twin gives for them.
    pub golden: Option<(u32, Vec<Bytes>)>,
}

/// Where a node runs.
#[derive(Clone, PartialEq, Debug)]
pub enum Place {
    /// In the region of this slot.
    Device(u32),
    /// On the CPU; for each accelerator why not there: (name, reason).
    Cpu(Vec<(String, String)>),
}

/// What became of a node.
#[derive(Clone, PartialEq, Debug)]
pub struct Fate {
    /// Names of the nodes of the file that it stands for.
    pub node: String,
    /// Operator.
    pub op: &'static str,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Where it runs.
    pub place: Place,
}

/// What the pass `offload` decided.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Offload {
    /// Accelerators by name, as they were asked.
    pub accelerators: Vec<String>,
    /// Regions by slot.
    pub regions: Vec<Region>,
    /// Every node, in the order of the graph as it was before regions were cut out.
    pub fates: Vec<Fate>,
}

impl Offload {
    /// Whether accelerators were asked for.
    pub fn asked(&self) -> bool {
        !self.accelerators.is_empty()
    }
    /// Multiply-accumulates in regions, and in all.
    pub fn macs(&self) -> (u64, u64) {
        let on_device = |f: &&Fate| matches!(f.place, Place::Device(_));
        let sum = |it: &mut dyn Iterator<Item = &Fate>| it.map(|f| f.macs).sum();
        (
            sum(&mut self.fates.iter().filter(on_device)),
            sum(&mut self.fates.iter()),
        )
    }
}
