//! Making a network from its configuration.

use burn::{module::Module, tensor::Device};

/// A configuration of `onestep-pipeline` with a network in this crate.
pub trait Init {
    /// The network.
    type Network: Module;

    /// A network with initial weights.
    ///
    /// # Panics
    /// If the configuration would not pass its `validate`.
    fn init(&self, device: &Device) -> Self::Network;
}
