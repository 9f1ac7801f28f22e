//! Every kernel against the f64 reference, on the adapter of this machine: see `onestep_runtime::selftest`, where the cases are.
//!
//! Without an adapter the test says that it skips; with `ONESTEP_REQUIRE_GPU=1` it fails instead.
//! `ONESTEP_CASES=conv2d` runs the cases whose names contain that; `ONESTEP_RANDOM_PROGRAMS=500` runs that many random programs.

mod adapter;

use onestep_runtime::{plan::Forms, selftest};

#[test]
fn every_kernel_agrees_with_the_reference() {
    let Some(gpu) = adapter::gpu() else { return };
    let filter = std::env::var("ONESTEP_CASES").unwrap_or_default();
    let programs = std::env::var("ONESTEP_RANDOM_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(40);
    let results = pollster::block_on(selftest::run_some(&gpu, &filter, programs));
    let failed: Vec<String> = results.iter().filter(|result| !result.passed).map(|result| format!("{}: {}", result.name, result.detail)).collect();
    let closest = results.iter().filter(|result| result.passed).max_by(|a, b| a.worst.total_cmp(&b.worst));
    eprintln!("{} cases on {}, whose own matrices are {:?}", results.len(), gpu.adapter(), gpu.capabilities().cooperative);
    if let Some(closest) = closest {
        eprintln!("closest to its tolerance: {} ({})", closest.name, closest.detail);
    }
    assert!(!results.is_empty(), "no case is called {filter}");
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), results.len(), failed.join("\n"));
}

#[test]
fn every_kernel_of_the_table_is_run_by_a_case() {
    let run = selftest::kernels_of_cases().unwrap();
    // What draws, what proves that a run ended and what brings weights into place is tested by itself.
    let apart = ["pack", "present", "sentinel", "show"];
    let missing: Vec<&str> =
        onestep_shaders::KERNELS.iter().map(|kernel| kernel.name).filter(|name| !run.contains(name) && !apart.contains(name)).collect();
    assert!(missing.is_empty(), "no case runs {missing:?}");
}

#[test]
fn the_forms_that_are_measured_to_be_fastest_are_ones_that_agree() {
    let Some(gpu) = adapter::gpu() else { return };
    let begun = std::time::Instant::now();
    let clock = || begun.elapsed().as_secs_f64() * 1e3;
    // Whatever is believed at first, what is found can be run.
    for believed in [Forms::GPU, Forms::SOFTWARE] {
        let forms = pollster::block_on(gpu.with_forms(believed).fastest_forms(&clock)).unwrap();
        eprintln!("believed {believed}, found {forms} after {:.0} ms", clock());
        assert_eq!((forms.rows, forms.halves), (believed.rows, believed.halves), "what is not measured stays");
    }
    // A clock that stands still measures nothing.
    let forms = pollster::block_on(gpu.with_forms(Forms::GPU).fastest_forms(&|| 0.0)).unwrap();
    assert_eq!(forms, Forms::GPU);
    // Where time is up at once, what is believed remains.
    let calls = std::cell::Cell::new(0.0);
    let hurried = || calls.replace(calls.get() + 1e3);
    assert_eq!(pollster::block_on(gpu.with_forms(Forms::GPU).fastest_forms(&hurried)).unwrap(), Forms::GPU);
    assert_eq!(gpu.adapter().key().len(), 16);
}
