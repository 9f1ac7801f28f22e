//! Matrices that an adapter multiplies as such, which wgpu offers natively as an experiment.

use wgpu::{CooperativeMatrixProperties as Properties, CooperativeScalarType as Scalar, Features};

use crate::plan::Cooperative;

/// What the kernels need beside the limits of every device.
const FEATURES: Features = Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);

/// Asks for the features in which they come, where the adapter has some that the kernels can use.
pub(super) fn ask(adapter: &wgpu::Adapter, description: &mut wgpu::DeviceDescriptor<'_>) {
    if of(adapter, adapter.features()).is_empty() {
        return;
    }
    description.required_features |= FEATURES;
    #[allow(unsafe_code, reason = "wgpu's word for having read what follows")]
    // SAFETY: what it asks is to know that an experimental feature may have bugs that safe calls meet. Only kernels of our own table use
    // this one, naga has checked them when they were built, and no plan takes them unless its forms say so.
    let agreed = unsafe { wgpu::ExperimentalFeatures::enabled() };
    description.experimental_features = agreed;
}

/// Those that kernels can use with these features, the fastest first.
pub(super) fn of(adapter: &wgpu::Adapter, features: Features) -> Vec<Cooperative> {
    if !features.contains(FEATURES) || workgroup(adapter).is_none() {
        return Vec::new();
    }
    let offered = adapter.cooperative_matrix_properties();
    let has = |side: u32, ab: Scalar| {
        let fits = |own: &Properties| [own.m_size, own.n_size, own.k_size] == [side; 3] && own.ab_type == ab && own.cr_type == Scalar::F32;
        offered.iter().any(fits)
    };
    [(Cooperative::Halves16, 16, Scalar::F16), (Cooperative::Halves8, 8, Scalar::F16), (Cooperative::Floats8, 8, Scalar::F32)]
        .into_iter()
        .filter(|&(_, side, ab)| has(side, ab))
        .map(|(form, _, _)| form)
        .collect()
}

/// The invocations of four subgroups, where their size is known beforehand and they fit in a workgroup.
pub(super) fn workgroup(adapter: &wgpu::Adapter) -> Option<u32> {
    let info = adapter.get_info();
    let size = 4 * info.subgroup_min_size;
    (info.subgroup_min_size == info.subgroup_max_size && (1..=adapter.limits().max_compute_invocations_per_workgroup.min(256)).contains(&size))
        .then_some(size)
}
