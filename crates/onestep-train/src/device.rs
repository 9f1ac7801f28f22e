//! The device of a training.

use burn::tensor::Device;

use crate::error::{TrainError, TrainErrorKind};

/// The names that `--device` accepts in this build, fastest first.
pub fn compiled() -> Vec<&'static str> {
    let mut names = Vec::new();
    if cfg!(feature = "cuda") {
        names.push("cuda");
    }
    if cfg!(feature = "vulkan") {
        names.push("vulkan");
    }
    if cfg!(feature = "wgpu") {
        names.push("wgpu");
    }
    if cfg!(feature = "libtorch") {
        // libtorch does not tell beforehand whether it can use a GPU, so libtorch-cuda is never the default.
        names.extend(["libtorch", "libtorch-cuda"]);
    }
    names.push("cpu");
    names
}

/// The device of that name; `None` selects the fastest that was compiled in.
///
/// # Errors
/// A name that is unknown or was not compiled in, with the names that are.
pub fn select(name: Option<&str>) -> Result<Device, TrainError> {
    let compiled = compiled();
    match name.unwrap_or(compiled[0]) {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "libtorch")]
        #[allow(deprecated, reason = "burn will drop it; until then it is the fastest on CPUs, and needs no CUDA toolkit to build")]
        "libtorch-cuda" => Ok(Device::libtorch_cuda(0)),
        #[cfg(feature = "libtorch")]
        #[allow(deprecated, reason = "as above")]
        "libtorch" => Ok(Device::libtorch()),
        other => {
            let hint = if ["cuda", "vulkan", "wgpu", "libtorch", "libtorch-cuda"].contains(&other) {
                format!("; build with `--features {}` to have it", other.trim_end_matches("-cuda"))
            } else {
                String::new()
            };
            Err(TrainError::new(TrainErrorKind::Device, format!("device {other:?} is not in this build, only {}{hint}", compiled.join(", "))))
        }
    }
}

/// Whether tensors of this device, with or without autodiff, are computed on the CPU.
pub fn is_cpu(device: &Device) -> bool {
    let plain = if device.is_autodiff() { device.clone().inner() } else { device.clone() };
    #[cfg(feature = "libtorch")]
    #[allow(deprecated, reason = "see select")]
    if plain == Device::libtorch() {
        return true;
    }
    plain == Device::flex()
}
