//! Cooperative matrices (the adapter's matrix units), an experimental feature of wgpu that is native only.

use wgpu::{CooperativeMatrixProperties as Properties, CooperativeScalarType as Scalar, Features};

use crate::plan::CooperativeMatrix;

/// The features that the kernels need.
const FEATURES: Features = Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);

/// Requests those features if the adapter has a kind of cooperative matrices that the kernels can use.
pub(super) fn request(adapter: &wgpu::Adapter, description: &mut wgpu::DeviceDescriptor<'_>) {
    if supported(adapter, adapter.features()).is_empty() {
        return;
    }
    description.required_features |= FEATURES;
    #[allow(unsafe_code, reason = "wgpu asks for it before it enables an experimental feature")]
    // SAFETY: the caller acknowledges that safe calls may meet bugs of an experimental feature. Only kernels of `shaders/` use this one, naga has
    // validated them, and plans use them only if their kernel variants say so.
    let experimental = unsafe { wgpu::ExperimentalFeatures::enabled() };
    description.experimental_features = experimental;
}

/// The kinds of cooperative matrices that the kernels can use with these features, fastest first.
pub(super) fn supported(adapter: &wgpu::Adapter, features: Features) -> Vec<CooperativeMatrix> {
    if !features.contains(FEATURES) || workgroup(adapter).is_none() {
        return Vec::new();
    }
    let offered = adapter.cooperative_matrix_properties();
    let has = |side: u32, ab: Scalar| {
        let fits = |kind: &Properties| [kind.m_size, kind.n_size, kind.k_size] == [side; 3] && kind.ab_type == ab && kind.cr_type == Scalar::F32;
        offered.iter().any(fits)
    };
    [(CooperativeMatrix::F16x16, 16, Scalar::F16), (CooperativeMatrix::F16x8, 8, Scalar::F16), (CooperativeMatrix::F32x8, 8, Scalar::F32)]
        .into_iter()
        .filter(|&(_, side, ab)| has(side, ab))
        .map(|(matrix, _, _)| matrix)
        .collect()
}

/// The invocations of four subgroups; none if the adapter's subgroup size varies or if they do not fit into a workgroup.
pub(super) fn workgroup(adapter: &wgpu::Adapter) -> Option<u32> {
    let info = adapter.get_info();
    let size = 4 * info.subgroup_min_size;
    (info.subgroup_min_size == info.subgroup_max_size && (1..=adapter.limits().max_compute_invocations_per_workgroup.min(256)).contains(&size))
        .then_some(size)
}
