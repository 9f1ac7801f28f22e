//! The adapter of this machine, or a skip that says so.

use onestep_runtime::{Gpu, GpuOptions};

pub fn gpu() -> Option<Gpu> {
    match pollster::block_on(Gpu::request(&GpuOptions::default())) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var("ONESTEP_REQUIRE_GPU").is_ok_and(|value| value == "1") => panic!("ONESTEP_REQUIRE_GPU is set, and {error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}
