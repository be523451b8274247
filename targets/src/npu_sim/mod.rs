//! `sim`: the accelerator of `runtime/sim`, in whole numbers. What it computes is in `claim`, how a region becomes its commands in `encode`
//! and the files beside it, how long it takes in `cost`.

mod claim;
mod cost;
mod encode;
mod moves;
mod sums;
mod tensor;
mod windows;

use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::base::dtype::DType;
use onnxc_compiler::base::offload::Layout;
use onnxc_compiler::base::rounding::Rounding;
use onnxc_compiler::base::types::TensorType;
use onnxc_compiler::graph::ir::{Graph, NodeId};
use onnxc_compiler::npu::{Accelerator, Claim, Encoded, Refusal, Speed};
use onnxc_sim::cycles::Machine;
use onnxc_sim::faults::Options;

/// The device as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sim {
    machine: &'static Machine,
    options: String,
}

impl Sim {
    /// From the options behind the name, as the device itself has them ([`onnxc_sim::faults::Options`]): `machine=sim-1024`.
    pub fn new(options: &str) -> Result<Sim> {
        let wrong = |why: String| Diagnostic::usage("NPU004", why);
        let parsed = Options::parse(options).map_err(wrong)?;
        let machine = Machine::by_name(&parsed.machine);
        Ok(Sim {
            machine: machine
                .ok_or_else(|| wrong(format!("there is no machine `{}`", parsed.machine)))?,
            options: match options {
                "" => "sim".into(),
                o => format!("sim:{o}"),
            },
        })
    }
}

impl Accelerator for Sim {
    fn name(&self) -> &str {
        "sim"
    }
    fn target(&self) -> String {
        self.machine.target()
    }
    fn options(&self) -> String {
        self.options.clone()
    }
    // Its commands say which way.
    fn rounding(&self) -> Option<Rounding> {
        None
    }
    fn border(&self, ty: &TensorType) -> std::result::Result<(), String> {
        if !matches!(ty.dtype, DType::I8 | DType::U8) {
            return Err(format!(
                "numbers of type {} can't cross the border: the device takes bytes",
                ty.dtype
            ));
        }
        let elements = ty.fixed_shape().map_or(0, |s| s.iter().product::<i64>());
        match ty.rank() <= onnxc_sim::format::AXES && elements < i64::from(i32::MAX) {
            true => Ok(()),
            false => Err("a value of so many axes or elements can't cross the border".into()),
        }
    }
    fn layout(&self, ty: &TensorType) -> Layout {
        match ty.rank() {
            4 => Layout::ChannelsLast,
            _ => Layout::Plain,
        }
    }
    fn claim(&self, g: &Graph, n: NodeId) -> Claim {
        claim::claim(g, n)
    }
    fn encode(&self, body: &Graph) -> std::result::Result<Encoded, Refusal> {
        let (program, constants) = encode::encode(body)?;
        Ok(Encoded {
            cycles: cost::cycles(self.machine, &program),
            device_bytes: u64::from(program.arena_bytes),
            blob: program.encode().into(),
            constants: constants.into(),
        })
    }
    fn speed(&self) -> Speed {
        cost::speed(self.machine)
    }
}
