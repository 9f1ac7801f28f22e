//! What a program would take on a GPU with WebGPU's default limits; no device is asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep::ErrorKind;
use onestep_fuzz_support::{mutate_json, within};
use onestep_program::Program;

mutate_json!();

fuzz_target!(|bytes: &[u8]| {
    let Some(program) = within(bytes.len(), 64, || Program::from_json(bytes, "program.json").ok()) else { return };
    // A dispatch has names and parameters, and a large tensor is computed in many of them.
    within(bytes.len(), 8192, || {
        match onestep::plan(&program) {
            Ok(plan) => assert!(!plan.to_string().is_empty()),
            // A checked program is either planned or beyond the device.
            Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{error}"),
        }
    });
});
