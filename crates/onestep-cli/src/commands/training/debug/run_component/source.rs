//! Where a network's forward pass takes its inputs from and puts its outputs.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use onestep_compile::Ports;

use crate::tensors::{HostTensor, Tensors};

/// An input of a component.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Its name, of the port and in the input file.
    pub name: &'a str,
    /// Its elements.
    pub tensor: &'a HostTensor,
    /// True for token ids, which are i32; false for f32.
    pub is_ids: bool,
}

impl<'a> Input<'a> {
    /// A float tensor.
    pub fn floats(name: &'a str, tensor: &'a HostTensor) -> Self {
        Self { name, tensor, is_ids: false }
    }

    /// Token ids.
    pub fn ids(name: &'a str, tensor: &'a HostTensor) -> Self {
        Self { name, tensor, is_ids: true }
    }
}

/// Inputs and outputs of a forward pass: the same closure runs on burn or is captured for the compiler.
pub enum Source<'a> {
    /// Runs on burn.
    Direct { tensors: &'a [Input<'a>], device: &'a Device, outputs: Tensors },
    /// Is captured; `renamed` maps ports to the names in the result file.
    Captured { tensors: &'a [Input<'a>], ports: &'a mut Ports, renamed: &'a mut BTreeMap<String, String> },
}

impl Source<'_> {
    fn find<'t>(tensors: &[Input<'t>], name: &str) -> &'t HostTensor {
        #[allow(clippy::expect_used, reason = "the callers list every tensor that they take")]
        tensors.iter().find(|input| input.name == name).map(|input| input.tensor).expect("a listed tensor")
    }

    /// A float tensor with `D` axes.
    pub fn float<const D: usize>(&mut self, name: &str) -> Tensor<D> {
        match self {
            Source::Direct { tensors, device, .. } => float(Self::find(tensors, name), device),
            Source::Captured { tensors, ports, .. } => ports.float(name, dims(Self::find(tensors, name))),
        }
    }

    /// Token ids [batch, length].
    pub fn ids(&mut self, name: &str) -> Tensor<2, Int> {
        match self {
            Source::Direct { tensors, device, .. } => ints(Self::find(tensors, name), device),
            Source::Captured { tensors, ports, .. } => ports.ids(name, dims(Self::find(tensors, name))),
        }
    }

    /// Takes a result. `port` is its name in the program, where inputs and outputs must differ; `name` is the one in the result file.
    pub fn output<const D: usize>(&mut self, name: &str, port: &str, value: Tensor<D>) {
        match self {
            Source::Direct { outputs, .. } => {
                outputs.insert(name.into(), to_host(value));
            }
            Source::Captured { ports, renamed, .. } => {
                renamed.insert(port.into(), name.into());
                ports.output(port, value);
            }
        }
    }
}

fn dims<const D: usize>(given: &HostTensor) -> [usize; D] {
    std::array::from_fn(|axis| given.shape[axis])
}

/// A tensor on burn's device.
pub fn float<const D: usize>(given: &HostTensor, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(given.data.clone(), dims::<D>(given)), device)
}

/// Token ids [batch, length] on burn's device.
pub fn ints(given: &HostTensor, device: &Device) -> Tensor<2, Int> {
    let data: Vec<i32> = given.data.iter().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(data, dims::<2>(given)), device)
}

/// A tensor of burn in main memory.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> HostTensor {
    HostTensor { shape: tensor.dims().to_vec(), data: tensor.into_data().try_to_vec::<f32>().unwrap_or_default() }
}
