//! Tests every kernel against the f64 reference, on the adapter of this machine. The cases are in `onestep_runtime::selftest`.
//!
//! Without an adapter the tests are skipped with a message; with `ONESTEP_REQUIRE_GPU=1` they fail instead.
//! `ONESTEP_CASES=conv2d` runs the cases with that in their names; `ONESTEP_RANDOM_PROGRAMS=500` runs that many random programs.

mod adapter;

use onestep_runtime::{plan::KernelVariants, selftest};

#[test]
fn every_kernel_agrees_with_the_reference() {
    let Some(gpu) = adapter::gpu() else { return };
    let filter = std::env::var("ONESTEP_CASES").unwrap_or_default();
    let programs = std::env::var("ONESTEP_RANDOM_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(40);
    let results = pollster::block_on(selftest::run_some(&gpu, &filter, programs));
    let failed: Vec<String> = results.iter().filter(|result| !result.passed).map(|result| format!("{}: {}", result.name, result.detail)).collect();
    let closest = results.iter().filter(|result| result.passed).max_by(|a, b| a.worst.total_cmp(&b.worst));
    eprintln!("{} cases on {} with cooperative matrices {:?}", results.len(), gpu.adapter(), gpu.capabilities().cooperative);
    if let Some(closest) = closest {
        eprintln!("closest to its tolerance: {} ({})", closest.name, closest.detail);
    }
    assert!(!results.is_empty(), "no case is called {filter}");
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), results.len(), failed.join("\n"));
}

#[test]
fn every_kernel_of_the_table_is_run_by_a_case() {
    let run = selftest::kernels_of_cases().unwrap();
    // Other tests run these.
    let others = ["completion_marker", "pack", "present", "show"];
    let missing: Vec<&str> =
        onestep_shaders::KERNELS.iter().map(|kernel| kernel.name).filter(|name| !run.contains(name) && !others.contains(name)).collect();
    assert!(missing.is_empty(), "no case runs {missing:?}");
}

#[test]
fn the_fastest_variants_are_ones_whose_results_agree() {
    let Some(gpu) = adapter::gpu() else { return };
    let start = std::time::Instant::now();
    let clock = || start.elapsed().as_secs_f64() * 1e3;
    // The result can be run, whatever the default.
    for default in [KernelVariants::GPU, KernelVariants::SOFTWARE] {
        let found = pollster::block_on(gpu.with_variants(default).fastest_variants(&clock)).unwrap();
        eprintln!("default {default}, found {found} after {:.0} ms", clock());
        assert_eq!((found.rows, found.f16_weights), (default.rows, default.f16_weights), "variants that are not measured stay");
    }
    // A clock that stands still measures nothing.
    let found = pollster::block_on(gpu.with_variants(KernelVariants::GPU).fastest_variants(&|| 0.0)).unwrap();
    assert_eq!(found, KernelVariants::GPU);
    // If time is up at once, the default remains.
    let calls = std::cell::Cell::new(0.0);
    let hurried = || calls.replace(calls.get() + 1e3);
    assert_eq!(pollster::block_on(gpu.with_variants(KernelVariants::GPU).fastest_variants(&hurried)).unwrap(), KernelVariants::GPU);
    assert_eq!(gpu.adapter().key().len(), 16);
}
