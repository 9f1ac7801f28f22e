//! Every kernel against WebGPU's default limits, the conventions of this crate, and the browser's compiler (tint).

use std::process::{Command, Stdio};

use onestep_shaders::{Access, Field, Flags, KERNELS, find};

/// WebGPU's default limits, which every adapter has.
const STORAGE_BUFFERS: usize = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;

#[test]
fn every_kernel_stays_inside_the_default_limits() {
    for kernel in KERNELS {
        let storage = kernel.bindings.iter().filter(|binding| binding.access != Access::Uniform).count();
        assert!(storage <= STORAGE_BUFFERS, "{}: {storage} storage buffers", kernel.name);
        assert!(kernel.workgroup_size.iter().product::<u32>() <= INVOCATIONS, "{}", kernel.name);
        assert!(kernel.workgroup_bytes <= WORKGROUP_BYTES, "{}", kernel.name);
        assert!(kernel.native || !kernel.wgsl().contains("enable "), "{}: needs no optional feature", kernel.name);
    }
}

#[test]
fn a_kernel_is_found_by_its_family_and_flags() {
    for kernel in KERNELS {
        assert!(std::ptr::eq(find(kernel.family, kernel.flags).unwrap(), kernel), "{}", kernel.name);
    }
    assert!(find("unary", Flags::SPLIT).is_none());
    assert_eq!(find("copy", Flags::PLAIN_IN).and_then(|kernel| kernel.with(Flags::ACTIVATION_F16)).unwrap().name, "copy_plain_in_a16");
}

#[test]
fn the_uniform_comes_first_and_fills_its_slice() {
    for kernel in KERNELS {
        let first = &kernel.bindings[0];
        assert_eq!((first.index, first.access), (0, Access::Uniform), "{}", kernel.name);
        assert_eq!(first.smallest, kernel.params_size, "{}", kernel.name);
        assert!(kernel.params_size <= 256, "{}: {} bytes of parameters", kernel.name, kernel.params_size);
        for field in kernel.params {
            assert!(field.offset + 4 * field.count <= kernel.params_size, "{}: {}", kernel.name, field.name);
        }
    }
}

#[test]
fn the_parameters_of_a_variant_with_statistics_begin_with_those_of_the_one_without() {
    let pairs: Vec<_> = KERNELS
        .iter()
        .filter(|kernel| !kernel.flags.contains(Flags::STATS))
        .filter_map(|kernel| Some((kernel, kernel.with(Flags::STATS)?)))
        .collect();
    assert!(pairs.len() >= 14, "{} variants have statistics", pairs.len());
    for (kernel, with) in pairs {
        let fields = |fields: &[Field]| -> Vec<(&str, u32)> { fields.iter().map(|field| (field.name, field.offset)).collect() };
        let more = fields(with.params).split_off(kernel.params.len());
        assert_eq!(fields(&with.params[..kernel.params.len()]), fields(kernel.params), "{}", kernel.name);
        assert_eq!(more.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["stats_start", "stats_blocks"], "{}", kernel.name);
        assert_eq!(with.bindings.last().map(|binding| binding.name), Some("stats"), "{}", kernel.name);
    }
}

#[test]
fn tint_accepts_every_kernel() {
    if Command::new("tint").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no `tint` on PATH to compile the kernels with");
        return;
    }
    let folder = std::env::temp_dir().join(format!("onestep-shaders-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut failures = Vec::new();
    // tint does not know wgpu's extensions; the build script has validated native kernels with naga.
    for kernel in KERNELS.into_iter().filter(|kernel| !kernel.native) {
        let path = folder.join(format!("{}.wgsl", kernel.name));
        std::fs::write(&path, kernel.wgsl()).unwrap();
        let output = Command::new("tint").arg("--format").arg("wgsl").arg(&path).output().unwrap();
        if !output.status.success() {
            failures.push(format!("{}: {}", kernel.name, String::from_utf8_lossy(&output.stderr)));
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
