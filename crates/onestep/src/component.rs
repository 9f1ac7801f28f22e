//! Runs a single program, to inspect a component or to compare it with another implementation.

use onestep_program::{Program, TensorRef, WeightView};
#[cfg(feature = "webgpu")]
use onestep_runtime::{Executor, Gpu, GpuOptions, Plan};

use crate::{backend::Backend, error::Result, outputs::Outputs};

/// Runs a program once. `weights` returns the tensor of a name; the result lists the outputs: name, elements in row-major order.
///
/// # Errors
/// [`ErrorKind::InvalidOption`](crate::ErrorKind::InvalidOption) for inputs that do not fit; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported)
/// if there is no GPU or its limits are too small.
pub async fn run_program<'w>(
    program: Program,
    weights: &dyn Fn(&str) -> Option<WeightView<'w>>,
    backend: Backend,
    inputs: &[(&str, TensorRef<'_>)],
) -> Result<Outputs> {
    match backend {
        #[cfg(feature = "webgpu")]
        Backend::WebGpu => {
            let gpu = Gpu::request(&GpuOptions::default()).await?;
            let plan = Plan::new(&program, gpu.capabilities())?;
            Ok(Executor::new(&gpu, plan, weights).await?.run(inputs).await?)
        }
        #[cfg(feature = "cpu")]
        Backend::Cpu => Ok(onestep_cpu::CpuProgram::new(program, weights)?.run(inputs)?),
    }
}

#[cfg(feature = "webgpu")]
/// Plans a program for a device with WebGPU's default limits, without using a device.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a program that does not fit these limits.
pub fn plan(program: &Program) -> Result<Plan> {
    Ok(Plan::new(program, &onestep_runtime::Capabilities::default())?)
}
