//! Backends and devices.

use std::{fmt, str::FromStr};

use crate::error::{Error, ErrorKind};

/// The device type that a model runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// A GPU: WebGPU in a browser; Vulkan, Metal or Direct3D 12 natively.
    #[cfg(feature = "webgpu")]
    WebGpu,
    /// The CPU, with SIMD instructions and, natively, all cores.
    #[cfg(feature = "cpu")]
    Cpu,
}

impl Backend {
    /// The name on the command line and in the npm package: `webgpu` or `cpu`.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "webgpu")]
            Backend::WebGpu => "webgpu",
            #[cfg(feature = "cpu")]
            Backend::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            #[cfg(feature = "webgpu")]
            "webgpu" => Ok(Backend::WebGpu),
            #[cfg(not(feature = "webgpu"))]
            "webgpu" => Err(Error::new(ErrorKind::Unsupported, "this build has no GPU path; it was compiled without the feature `webgpu`")),
            #[cfg(feature = "cpu")]
            "cpu" => Ok(Backend::Cpu),
            #[cfg(not(feature = "cpu"))]
            "cpu" => Err(Error::new(ErrorKind::Unsupported, "this build has no CPU path; it was compiled without the feature `cpu`")),
            other => Err(Error::new(ErrorKind::InvalidOption, format!("{other:?} is no device; expected `webgpu` or `cpu`"))),
        }
    }
}

/// The device that a model was opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name that the driver reports.
    pub name: String,
    /// The graphics interface: `Vulkan`, `Metal`, `Dx12`, `BrowserWebGpu`; `CPU` for the CPU backend.
    pub interface: String,
    /// True if the adapter is a software rasteriser (SwiftShader, lavapipe), which is slow, or if the backend is the CPU.
    pub software: bool,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let software = if self.software { ", in software" } else { "" };
        write!(formatter, "{} ({}{software})", self.name, self.interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_unknown_ones_refused_with_the_choice() {
        let error = "cuda".parse::<Backend>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert!(error.to_string().contains("`webgpu` or `cpu`"));
        for name in ["webgpu", "cpu"] {
            match name.parse::<Backend>() {
                Ok(backend) => assert_eq!(backend.name(), name),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
            }
        }
    }
}
