//! One program on its own: for looking at a component, and for comparing it with another system's.

use onestep_program::{Program, TensorRef, WeightView};
#[cfg(feature = "webgpu")]
use onestep_runtime::{Executor, Gpu, GpuOptions, Plan};

use crate::{backend::Backend, error::Result, outputs::Outputs};

/// Runs a program once on tensors of the caller's; `weights` gives the tensors that it names.
///
/// # Errors
/// [`ErrorKind::InvalidOption`](crate::ErrorKind::InvalidOption) for inputs that do not fit, [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported)
/// where the backend is missing or too small.
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
/// What running a program would take on a device with WebGPU's default limits; no device is asked.
///
/// # Errors
/// A program that does not fit these limits.
pub fn plan(program: &Program) -> Result<Plan> {
    Ok(Plan::new(program, &onestep_runtime::Capabilities::default())?)
}
