//! Every kernel against the f64 reference, on the adapter of this machine: see `onestep_runtime::selftest`, where the cases are.
//!
//! Without an adapter the test says that it skips; with `ONESTEP_REQUIRE_GPU=1` it fails instead.
//! `ONESTEP_CASES=conv2d` runs the cases whose names contain that; `ONESTEP_RANDOM_PROGRAMS=500` runs that many random programs.

mod adapter;

use onestep_runtime::selftest;

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
    // What draws and what proves that a run ended is tested by itself.
    let apart = ["present", "sentinel", "show"];
    let missing: Vec<&str> =
        onestep_shaders::KERNELS.iter().map(|kernel| kernel.name).filter(|name| !run.contains(name) && !apart.contains(name)).collect();
    assert!(missing.is_empty(), "no case runs {missing:?}");
}
