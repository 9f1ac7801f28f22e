//! Plans, without a GPU.

use onestep_program::{Activation, BinaryKind, DType, Op, UnaryKind, ValueId};
use onestep_runtime::plan::{BufferId, CooperativeMatrix, KernelVariants, MatrixVariant, PlanOptions};
use onestep_runtime::selftest::Sketch;
use onestep_runtime::{Capabilities, ErrorKind, Plan};

/// A chain of pointwise functions over `elements`.
fn chain(operations: usize, elements: usize) -> Sketch {
    let mut sketch = Sketch::new("chain");
    let mut x = sketch.input(&[elements]);
    for _ in 0..operations {
        x = sketch.op(Op::Unary { unary: UnaryKind::Tanh }, &[x], &[elements]);
    }
    sketch.output(x);
    sketch
}

#[test]
fn a_long_chain_needs_the_memory_of_two_tensors() {
    let plan = Plan::new(&chain(50, 1000).program, &Capabilities::default()).unwrap();
    // A copy into the blocked layout first, and one into the plain layout last.
    assert_eq!(plan.dispatches.len(), 52);
    assert_eq!(plan.arenas.len(), 2);
    assert_eq!(plan.arena_bytes(), 2 * 4096);
    let no_reuse = PlanOptions { reuse: false, ..PlanOptions::default() };
    let separate = Plan::with_options(&chain(50, 1000).program, &Capabilities::default(), no_reuse).unwrap();
    assert_eq!(separate.arena_bytes(), 52 * 4096);
}

#[test]
fn a_program_beyond_the_adapter_is_refused_with_the_operation_and_the_sizes() {
    let tight = Capabilities { max_storage_binding: 4000, ..Capabilities::default() };
    let error = Plan::new(&chain(3, 1001).program, &tight).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for part in ["chain", "operation 0", "unary", "4016", "4000"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(Plan::new(&chain(3, 1000).program, &tight).is_ok());
    let few = Capabilities { max_workgroups: 2, ..Capabilities::default() };
    assert_eq!(Plan::new(&chain(1, 64 * 4 + 1).program, &few).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(Plan::new(&chain(1, 64 * 4).program, &few).is_ok());
    for weak in [
        Capabilities { max_storage_buffers: 1, ..Capabilities::default() },
        Capabilities { max_invocations: 32, ..Capabilities::default() },
        Capabilities { alignment: 512, ..Capabilities::default() },
    ] {
        assert_eq!(Plan::new(&chain(1, 4).program, &weak).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let mut sketch = Sketch::new("table");
    let (table, ids) = (sketch.weight(&[1000, 2], DType::F16), sketch.ids(&[1], vec![0]));
    let y = sketch.op(Op::Embedding, &[table, ids], &[1, 2]);
    sketch.output(y);
    let error = Plan::new(&sketch.program, &Capabilities { max_storage_binding: 3000, ..Capabilities::default() }).unwrap_err();
    assert!(error.to_string().contains("weight0"), "{error}");
}

#[test]
fn a_program_that_its_own_check_refuses_is_invalid() {
    let mut sketch = chain(2, 8);
    sketch.program.nodes[0].inputs.clear();
    assert_eq!(Plan::new(&sketch.program, &Capabilities::default()).unwrap_err().kind(), ErrorKind::Invalid);
    let mut sketch = Sketch::new("ids");
    let ids = sketch.ids(&[3], vec![1, 2, 3]);
    sketch.output(ids);
    let error = Plan::new(&sketch.program, &Capabilities::default()).unwrap_err();
    assert!(error.to_string().contains("output0"), "{error}");
}

#[test]
fn far_padding_and_strides_are_refused_and_do_not_overflow() {
    for (padding, stride, dilation) in [(1 << 40, 1 << 40, 1), (1 << 62, 1 << 62, 1), (1 << 29, 1 << 30, 1), (1 << 40, 1 << 40, 1 << 40)] {
        let mut sketch = Sketch::new("far");
        let (x, w) = (sketch.input(&[1, 1, 1, 1]), sketch.weight(&[1, 1, 1, 1], DType::F32));
        let op = Op::Conv2d {
            stride: [stride; 2],
            padding: [padding, padding, 0, 0],
            dilation: [dilation; 2],
            groups: 1,
            bias: false,
            act: Activation::None,
            residual: false,
        };
        let side = padding / stride + 1;
        let y = sketch.op(op, &[x, w], &[1, 1, side, side]);
        sketch.output(y);
        assert_eq!(Plan::new(&sketch.program, &Capabilities::default()).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

fn kernels(plan: &Plan) -> Vec<&'static str> {
    plan.dispatches.iter().map(|dispatch| dispatch.kernel.name).collect()
}

#[test]
fn reshapes_cost_nothing_and_optional_tensors_are_zeros() {
    let mut sketch = Sketch::new("reshape");
    let x = sketch.input(&[1, 3, 2, 3]);
    let (w, point) = (sketch.weight(&[8, 3, 3, 3], DType::F16), sketch.weight(&[5, 8], DType::F16));
    let conv = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: false, act: Activation::None, residual: false };
    let y = sketch.op(conv, &[x, w], &[1, 8, 2, 3]);
    let y = sketch.op(Op::Reshape, &[y], &[1, 8, 6]);
    let tokens = sketch.op(Op::Permute { axes: vec![0, 2, 1] }, &[y], &[1, 6, 8]);
    let z = sketch.op(Op::Linear { bias: false, act: Activation::None, residual: false }, &[tokens, point], &[1, 6, 5]);
    sketch.output(z);
    let plan = Plan::new(&sketch.program, &Capabilities::default()).unwrap();
    assert_eq!(kernels(&plan), ["copy_plain_in", "gemm_register_c8_taps_w16", "gemm_register_c8_w16", "copy_plain_out"]);
    let linear = &plan.dispatches[2];
    let absent = linear.kernel.bindings.iter().zip(&linear.bindings).find(|(binding, _)| binding.name == "bias").map(|(_, slice)| *slice).unwrap();
    assert_eq!((absent.buffer, absent.offset), (BufferId::Weights(0), 0));
    assert_eq!(linear.bindings[1], plan.dispatches[1].bindings[5]);
    assert_eq!(plan.flops(), sketch.program.flops());
}

#[test]
fn the_parts_of_a_concatenation_need_no_copy() {
    let mut sketch = Sketch::new("concat");
    let x = sketch.input(&[1, 4, 2, 3]);
    let w = sketch.weight(&[8, 4, 3, 3], DType::F16);
    let conv = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: false, act: Activation::None, residual: false };
    let a = sketch.op(conv.clone(), &[x, w], &[1, 8, 2, 3]);
    let b = sketch.op(conv, &[x, w], &[1, 8, 2, 3]);
    let both = sketch.op(Op::Concat { axis: 1 }, &[a, b], &[1, 16, 2, 3]);
    sketch.output(both);
    let plan = Plan::new(&sketch.program, &Capabilities::default()).unwrap();
    assert_eq!(kernels(&plan), ["copy_plain_in", "gemm_register_c8_taps_w16", "gemm_register_c8_taps_w16", "copy_plain_out"]);
    assert_eq!(plan.dispatches[1].bindings[5], plan.dispatches[2].bindings[5]);
}

/// A convolution with 3x3 taps and f16 weights, and a residual if one is given.
fn conv(sketch: &mut Sketch, x: ValueId, channels: usize, residual: Option<ValueId>) -> ValueId {
    let shape = sketch.shape(x);
    let w = sketch.weight(&[channels, shape[1], 3, 3], DType::F16);
    let op =
        Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: false, act: Activation::None, residual: residual.is_some() };
    let inputs: Vec<ValueId> = [x, w].into_iter().chain(residual).collect();
    sketch.op(op, &inputs, &[shape[0], channels, shape[2], shape[3]])
}

fn group_norm(sketch: &mut Sketch, x: ValueId, groups: usize) -> ValueId {
    let shape = sketch.shape(x);
    let (gamma, beta) = (sketch.weight(&[shape[1]], DType::F32), sketch.weight(&[shape[1]], DType::F32));
    sketch.op(Op::GroupNorm { groups, epsilon: 1e-5, act: Activation::Silu }, &[x, gamma, beta], &shape)
}

#[test]
fn products_write_the_statistics_of_the_norms_that_follow() {
    let mut sketch = Sketch::new("norms");
    let x = sketch.input(&[1, 64, 96, 96]);
    let a = conv(&mut sketch, x, 64, None);
    let y = group_norm(&mut sketch, a, 32);
    let b = conv(&mut sketch, y, 32, None);
    // The first part is normalised twice, alone and together with the second, from statistics that are written once.
    let both = sketch.op(Op::Concat { axis: 1 }, &[a, b], &[1, 96, 96, 96]);
    let y = group_norm(&mut sketch, both, 1);
    let small = sketch.op(Op::Slice { start: vec![0, 0, 88, 87] }, &[y], &[1, 96, 8, 9]);
    let y = conv(&mut sketch, small, 40, None);
    let y = group_norm(&mut sketch, y, 10);
    sketch.output(y);
    let plan = |variants| Plan::new(&sketch.program, &Capabilities { variants, ..Capabilities::default() }).unwrap();
    let norm = ["group_scale", "scale_shift"];
    let tiles = [&["copy_plain_in", "gemm_tile_r64_taps_stats_w16"][..], &norm, &["gemm_tile_r64_taps_stats_w16"], &norm];
    let split = [&["gemm_tile_r64_taps_split_w16", "split_sum_stats"][..], &norm, &["copy_plain_out"]];
    assert_eq!(kernels(&plan(KernelVariants::GPU)), [tiles.concat(), split.concat()].concat());
    assert_eq!(plan(KernelVariants::SOFTWARE).kernels().iter().find(|(name, _)| *name == "channel_stats"), Some(&("channel_stats", 3)));
    assert_eq!(plan(KernelVariants::GPU).flops(), sketch.program.flops());
}

#[test]
fn statistics_need_another_dispatch_if_chunks_and_tiles_differ() {
    let passes = |build: &dyn Fn(&mut Sketch) -> ValueId, groups: usize| {
        let mut sketch = Sketch::new("norm");
        let x = build(&mut sketch);
        let y = group_norm(&mut sketch, x, groups);
        sketch.output(y);
        let plan = Plan::new(&sketch.program, &Capabilities::default()).unwrap();
        kernels(&plan).iter().filter(|name| **name == "channel_stats").count()
    };
    let images = |batch: usize, side: usize| {
        move |sketch: &mut Sketch| {
            let x = sketch.input(&[batch, 32, side, side]);
            conv(sketch, x, 32, None)
        }
    };
    assert_eq!(passes(&images(2, 8), 4), 0);
    // Chunks that span two images.
    assert_eq!(passes(&images(1, 9), 4), 0);
    assert_eq!(passes(&images(2, 9), 4), 1);
    let upsampled = |batch: usize, side: usize| {
        move |sketch: &mut Sketch| {
            let (x, w) = (sketch.input(&[batch, 32, side, side]), sketch.weight(&[4, 32, 32, 2, 2], DType::F16));
            let op = Op::UpConv2d { bias: false, act: Activation::None, residual: false };
            sketch.op(op, &[x, w], &[batch, 32, 2 * side, 2 * side])
        }
    };
    assert_eq!(passes(&upsampled(1, 8), 4), 0);
    assert_eq!(passes(&upsampled(1, 9), 4), 1);
    assert_eq!(passes(&upsampled(2, 8), 4), 1);
    // A part that is copied.
    let with_input = |sketch: &mut Sketch| {
        let (x, other) = (sketch.input(&[1, 32, 8, 8]), sketch.input(&[1, 4, 8, 8]));
        let y = conv(sketch, x, 32, None);
        sketch.op(Op::Concat { axis: 1 }, &[y, other], &[1, 36, 8, 8])
    };
    assert_eq!(passes(&with_input, 6), 1);
    // A transposed image, and half of the channels that a product stores.
    let turned = |sketch: &mut Sketch| {
        let x = sketch.input(&[1, 32, 8, 16]);
        let y = conv(sketch, x, 32, None);
        sketch.op(Op::Permute { axes: vec![0, 1, 3, 2] }, &[y], &[1, 32, 16, 8])
    };
    assert_eq!(passes(&turned, 4), 1);
    let half = |sketch: &mut Sketch| {
        let x = sketch.input(&[1, 32, 8, 16]);
        let y = conv(sketch, x, 64, None);
        sketch.op(Op::Slice { start: vec![0, 32, 0, 0] }, &[y], &[1, 32, 8, 16])
    };
    assert_eq!(passes(&half, 4), 1);
}

#[test]
fn tiles_of_128_rows_are_for_many_rows() {
    let of = |height: usize, width: usize, channels: usize| {
        let mut sketch = Sketch::new("rows");
        let x = sketch.input(&[1, 64, height, width]);
        let y = conv(&mut sketch, x, channels, None);
        sketch.output(y);
        let variants = KernelVariants { matrix: MatrixVariant::Tile128, ..KernelVariants::GPU };
        let plan = Plan::new(&sketch.program, &Capabilities { variants, ..Capabilities::default() }).unwrap();
        (kernels(&plan)[1], plan.dispatches[1].grid)
    };
    assert_eq!(of(64, 64, 256), ("gemm_tile_r128_taps_w16", [128, 1, 1]));
    assert_eq!(of(65, 64, 250), ("gemm_tile_r128_taps_w16", [132, 1, 1]));
    // Too few tiles, too few rows.
    assert_eq!(of(64, 64, 192), ("gemm_tile_r64_taps_w16", [192, 1, 1]));
    assert_eq!(of(30, 34, 1024), ("gemm_tile_r64_taps_w16", [256, 1, 1]));
}

/// The workgroups of a product, computed from the constants of the kernel that the plan chose.
fn expected_workgroups(kernel: &onestep_shaders::Kernel, [n, height, width]: [usize; 3], columns: usize) -> usize {
    let constant = |name: &str| kernel.constant(name).map(|value| value as usize);
    let row_tiles = match constant("PIXELS") {
        Some(pixels) => n * height * width.div_ceil(pixels),
        None => (n * height * width).div_ceil(constant("ROWS").unwrap()),
    };
    let tiles = row_tiles * columns.div_ceil(4).div_ceil(constant("COLUMNS").unwrap());
    let per_workgroup = if constant("WORKGROUP").is_some() { kernel.workgroup_size[0] as usize } else { 1 };
    tiles.div_ceil(per_workgroup)
}

#[test]
fn the_tiles_of_a_product_are_those_of_its_kernel() {
    let all = vec![CooperativeMatrix::F16x16, CooperativeMatrix::F16x8, CooperativeMatrix::F32x8];
    let mut files = std::collections::BTreeSet::new();
    for matrix in MatrixVariant::ALL {
        for (rows, columns, taps) in [([1, 65, 70], 250, 3), ([2, 9, 31], 7, 3), ([1, 13, 12], 20, 2), ([1, 5, 11], 40, 1), ([1, 70, 61], 300, 1)] {
            let mut sketch = Sketch::new("tiles");
            let [n, height, width] = rows;
            let x = sketch.input(&[n, 37, height + taps - 1, width + taps - 1]);
            let w = sketch.weight(&[columns, 37, taps, taps], DType::F16);
            let op = Op::Conv2d { stride: [1, 1], padding: [0; 4], dilation: [1, 1], groups: 1, bias: false, act: Activation::None, residual: false };
            let y = sketch.op(op, &[x, w], &[n, columns, height, width]);
            sketch.output(y);
            let variants = KernelVariants { matrix, ..KernelVariants::GPU };
            let plan = Plan::new(&sketch.program, &Capabilities { variants, cooperative: all.clone(), ..Capabilities::default() }).unwrap();
            let dispatch = &plan.dispatches[1];
            let [x, y, _] = dispatch.grid;
            assert_eq!((x * y) as usize, expected_workgroups(dispatch.kernel, rows, columns), "{} for {rows:?}", dispatch.kernel.name);
            files.insert(dispatch.kernel.file);
        }
    }
    assert_eq!(files.into_iter().collect::<Vec<_>>(), ["conv_row_strip", "gemm_cooperative", "gemm_register", "gemm_tile"]);
}

#[test]
fn geglu_is_fused_into_a_linear_layer() {
    let gated = |rows: usize, depth: usize, half: usize, twice: bool| {
        let mut sketch = Sketch::new("gates");
        let (x, w, bias) = (sketch.input(&[rows, depth]), sketch.weight(&[2 * half, depth], DType::F16), sketch.weight(&[2 * half], DType::F16));
        let y = sketch.op(Op::Linear { bias: true, act: Activation::None, residual: false }, &[x, w, bias], &[rows, 2 * half]);
        let z = sketch.op(Op::Geglu, &[y], &[rows, half]);
        sketch.output(z);
        if twice {
            sketch.output(y);
        }
        sketch
    };
    let of = |sketch: &Sketch, variants| {
        let plan = Plan::new(&sketch.program, &Capabilities { variants, ..Capabilities::default() }).unwrap();
        assert_eq!(plan.flops(), sketch.program.flops());
        kernels(&plan)
    };
    assert_eq!(of(&gated(64, 64, 64, false), KernelVariants::GPU), ["copy_plain_in", "gemm_tile_r64_w16", "copy_plain_out"]);
    assert_eq!(of(&gated(64, 320, 64, false), KernelVariants::GPU), ["copy_plain_in", "gemm_tile_r64_split_w16", "split_sum", "copy_plain_out"]);
    assert_eq!(of(&gated(64, 64, 64, false), KernelVariants::SOFTWARE), ["copy_plain_in", "gemm_register_c16_w16", "copy_plain_out"]);
    // Halves that are not whole blocks, and a result that is also an output.
    assert!(of(&gated(64, 64, 62, false), KernelVariants::GPU).contains(&"binary"));
    assert!(of(&gated(64, 64, 64, true), KernelVariants::GPU).contains(&"binary"));
}

#[test]
fn scores_of_heads_beyond_192_features_are_stored_up_to_a_limit() {
    let mut sketch = Sketch::new("attention");
    let q = sketch.input(&[1, 1, 64, 200]);
    let y = sketch.op(Op::Attention { scale: 0.25, causal: false }, &[q, q, q], &[1, 1, 64, 200]);
    sketch.output(y);
    let plan = |stored_scores| {
        Plan::with_options(&sketch.program, &Capabilities::default(), PlanOptions { stored_scores, ..PlanOptions::default() }).unwrap()
    };
    assert!(kernels(&plan(64 * 64 * 4)).contains(&"softmax"));
    assert_eq!(kernels(&plan(64 * 64 * 4 - 1)), ["copy_plain_in", "attention", "copy_plain_out"]);
}

#[test]
fn attention_uses_workgroup_tiles_that_it_fills() {
    let of = |variants, queries, depth, features| {
        let mut sketch = Sketch::new("attention");
        let (q, k) = (sketch.input(&[2, 3, queries, depth]), sketch.input(&[2, 3, 7, depth]));
        let v = sketch.input(&[2, 3, 7, features]);
        let y = sketch.op(Op::Attention { scale: 0.25, causal: false }, &[q, k, v], &[2, 3, queries, features]);
        sketch.output(y);
        let plan = Plan::new(&sketch.program, &Capabilities { variants, ..Capabilities::default() }).unwrap();
        let dispatch = plan.dispatches.iter().find(|dispatch| dispatch.name == "attention" && dispatch.kernel.name.starts_with("attention")).unwrap();
        (dispatch.kernel.name, dispatch.grid)
    };
    // 65 queries are two tiles of 64 in each of six heads, three tiles of 32, and one of 128.
    for (depth, features, kernel, groups) in [
        (32, 32, "attention_tile_40", 6),
        (40, 33, "attention_tile_40", 6),
        (41, 32, "attention_tile_64", 12),
        (64, 80, "attention_tile_80", 12),
        (81, 32, "attention_tile_160", 18),
        (160, 160, "attention_tile_160", 18),
    ] {
        assert_eq!(of(KernelVariants::GPU, 65, depth, features), (kernel, [groups, 1, 1]), "{depth} to {features}");
        assert_eq!(of(KernelVariants::SOFTWARE, 65, depth, features).0, "attention");
    }
    for (queries, depth, features) in [(31, 64, 64), (65, 31, 64), (65, 64, 31), (65, 161, 64), (65, 64, 161)] {
        assert_eq!(of(KernelVariants::GPU, queries, depth, features).0, "attention", "{queries} queries, {depth} to {features}");
    }
}

#[test]
fn cooperative_matrices_are_used_only_if_the_adapter_has_them_and_they_do_not_round_weights() {
    let of = |matrix, cooperative: &[CooperativeMatrix], rows, depth, dtype| {
        let mut sketch = Sketch::new("linear");
        let (x, w) = (sketch.input(&[rows, depth]), sketch.weight(&[70, depth], dtype));
        let y = sketch.op(Op::Linear { bias: false, act: Activation::None, residual: false }, &[x, w], &[rows, 70]);
        sketch.output(y);
        let variants = KernelVariants { matrix: MatrixVariant::Cooperative(matrix), ..KernelVariants::GPU };
        let capabilities = Capabilities { variants, cooperative: cooperative.to_vec(), ..Capabilities::default() };
        Plan::new(&sketch.program, &capabilities).map(|plan| kernels(&plan)[1])
    };
    let (f16, f32) = (CooperativeMatrix::F16x16, CooperativeMatrix::F32x8);
    let both = [f16, f32];
    assert_eq!(of(f16, &both, 4200, 40, DType::F16).unwrap(), "gemm_coop_f16_16x16_w16");
    assert_eq!(of(f16, &both, 4200, 40, DType::F32).unwrap(), "gemm_tile_r64");
    assert_eq!(of(f32, &both, 4200, 40, DType::F32).unwrap(), "gemm_coop_f32_8x8");
    assert_eq!(of(f32, &both, 4200, 40, DType::F16).unwrap(), "gemm_coop_f32_8x8_w16");
    // Split-K, and too few rows for tiles.
    assert_eq!(of(f16, &both, 64, 400, DType::F16).unwrap(), "gemm_tile_r64_split_w16");
    assert_eq!(of(f16, &both, 31, 40, DType::F16).unwrap(), "gemm_register_c16_w16");
    let error = of(f32, &[f16], 64, 40, DType::F16).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("F32x8") && error.to_string().contains("F16x16"), "{error}");
    for variants in [KernelVariants::GPU, KernelVariants::SOFTWARE] {
        assert!(!matches!(variants.matrix, MatrixVariant::Cooperative(_)), "their results must be checked on the adapter first");
    }
    // In row bands, if one dispatch would take too long.
    let mut sketch = Sketch::new("long");
    let (x, w) = (sketch.input(&[8400, 64]), sketch.weight(&[64, 64], DType::F16));
    let y = sketch.op(Op::Linear { bias: false, act: Activation::None, residual: false }, &[x, w], &[8400, 64]);
    sketch.output(y);
    let variants = KernelVariants { matrix: MatrixVariant::Cooperative(f16), ..KernelVariants::GPU };
    let capabilities = Capabilities { variants, cooperative: vec![f16], max_flops: 20_000_000, ..Capabilities::default() };
    let plan = Plan::new(&sketch.program, &capabilities).unwrap();
    assert_eq!(kernels(&plan).iter().filter(|name| **name == "gemm_coop_f16_16x16_w16").count(), 4);
}

#[test]
fn software_adapters_get_kernels_without_barriers() {
    let mut sketch = Sketch::new("norm");
    let x = sketch.input(&[64, 128]);
    let (gamma, beta) = (sketch.weight(&[128], DType::F32), sketch.weight(&[128], DType::F32));
    let w = sketch.weight(&[128, 128], DType::F16);
    let y = sketch.op(Op::LayerNorm { epsilon: 1e-5, affine: true }, &[x, gamma, beta], &[64, 128]);
    let y = sketch.op(Op::Linear { bias: false, act: Activation::None, residual: false }, &[y, w], &[64, 128]);
    sketch.output(y);
    let of = |variants| kernels(&Plan::new(&sketch.program, &Capabilities { variants, ..Capabilities::default() }).unwrap());
    assert_eq!(of(KernelVariants::GPU)[1..], ["layer_norm", "gemm_tile_r64_split_w16", "split_sum", "copy_plain_out"]);
    assert_eq!(of(KernelVariants::SOFTWARE)[1..], ["layer_norm_serial", "gemm_register_c16_w16", "copy_plain_out"]);
    assert_eq!(of(KernelVariants { f16_weights: false, ..KernelVariants::SOFTWARE })[2], "gemm_register_c16");
}

#[test]
fn plans_that_differ_have_different_hashes() {
    let hash = |sketch: &Sketch| Plan::new(&sketch.program, &Capabilities::default()).unwrap().hash();
    assert_eq!(hash(&chain(3, 100)), hash(&chain(3, 100)));
    assert_ne!(hash(&chain(3, 100)), hash(&chain(3, 101)));
    let with = |binary| {
        let mut sketch = Sketch::new("one");
        let x = sketch.input(&[5]);
        let y = sketch.op(Op::Binary { binary }, &[x, x], &[5]);
        sketch.output(y);
        hash(&sketch)
    };
    assert_ne!(with(BinaryKind::Add), with(BinaryKind::Sub));
}

#[test]
fn a_plan_prints_a_summary_of_its_costs() {
    let plan = Plan::new(&chain(2, 1000).program, &Capabilities::default()).unwrap();
    let summary = plan.to_string();
    for part in ["chain: 2 operations, 4 dispatches", "arenas   8192 B (4096 B + 4096 B)", "input    input0 [1000] f32", "unary ×2"] {
        assert!(summary.contains(part), "{summary}");
    }
    assert_eq!(summary.lines().count() + 4, format!("{plan:#}").lines().count());
}

/// The last layers of a decoder like that of Stable Diffusion: 256 channels to 128 at full size, then to an image.
fn decoder(side: usize) -> Sketch {
    let mut sketch = Sketch::new("decoder");
    let x = sketch.input(&[1, 4, side / 2, side / 2]);
    let w = sketch.weight(&[4, 256, 4, 2, 2], DType::F16);
    let x = sketch.op(Op::UpConv2d { bias: false, act: Activation::None, residual: false }, &[x, w], &[1, 256, side, side]);
    let y = group_norm(&mut sketch, x, 32);
    let y = conv(&mut sketch, y, 128, None);
    let y = group_norm(&mut sketch, y, 32);
    let point = sketch.weight(&[128, 256, 1, 1], DType::F16);
    let op = Op::Conv2d { stride: [1, 1], padding: [0; 4], dilation: [1, 1], groups: 1, bias: false, act: Activation::None, residual: false };
    let short = sketch.op(op, &[x, point], &[1, 128, side, side]);
    let x = conv(&mut sketch, y, 128, Some(short));
    let y = group_norm(&mut sketch, x, 32);
    let y = conv(&mut sketch, y, 3, None);
    let y = sketch.op(Op::Affine { mul: 0.5, add: 0.0 }, &[y], &[1, 3, side, side]);
    sketch.output(y);
    sketch
}

/// The largest binding of an arena, and the most floating-point operations of a dispatch.
fn most(plan: &Plan) -> (u64, u64) {
    let bound = plan.dispatches.iter().flat_map(|dispatch| &dispatch.bindings).filter(|slice| matches!(slice.buffer, BufferId::Arena(_)));
    (bound.map(|slice| slice.size).max().unwrap(), plan.dispatches.iter().map(|dispatch| dispatch.flops).max().unwrap())
}

#[test]
fn tensors_beyond_the_largest_binding_are_computed_in_row_bands() {
    let capabilities = Capabilities::default();
    let sketch = decoder(512);
    let plan = Plan::with_options(&sketch.program, &capabilities, PlanOptions::default()).unwrap();
    // 512 · 512 pixels of 256 channels are exactly the largest buffer.
    assert_eq!(plan.activations.iter().map(|slice| slice.size).max(), Some(capabilities.max_buffer));
    let (binding, flops) = most(&plan);
    assert!(binding <= capabilities.max_storage_binding, "{binding}");
    assert!(flops <= capabilities.max_flops, "{flops}");
    assert_eq!(plan.flops(), sketch.program.flops());
    assert!(plan.arena_bytes() as f64 <= 1.10 * plan.live_bytes as f64, "{} of {}", plan.arena_bytes(), plan.live_bytes);
    // 155 GFLOP in four bands.
    let bands: Vec<_> = plan.dispatches.iter().filter(|dispatch| dispatch.operation == 2).collect();
    assert_eq!(bands.len(), 4, "{plan:#}");
    let of = |band: usize, name: &str| bands[band].bindings[bands[band].kernel.bindings.iter().position(|binding| binding.name == name).unwrap()];
    // A quarter of x with a row on each side where there is one; a quarter of y.
    assert_eq!([0, 1, 2, 3].map(|band| of(band, "x").size), [129, 130, 130, 129].map(|rows| rows * 512 * 256 * 4));
    assert_eq!([0, 1, 2, 3].map(|band| of(band, "y").size), [128 * 512 * 128 * 4; 4]);
    assert_eq!(of(1, "y").offset - of(0, "y").offset, 128 * 512 * 128 * 4);
    // By default, a plan uses f16 activations if that avoids such tensors.
    let f16 = Plan::new(&sketch.program, &capabilities).unwrap();
    assert_eq!(f16.activations.iter().map(|slice| slice.size).max(), Some(capabilities.max_storage_binding));
    assert!(kernels(&f16).contains(&"scale_shift_a16"));
    // If it does not, f16 tensors are computed in row bands.
    let roomy = Capabilities { max_buffer: 1 << 30, ..capabilities };
    let large = Plan::new(&decoder(1024).program, &roomy).unwrap();
    assert_eq!(large.activations.iter().map(|slice| slice.size).max(), Some(512 << 20));
    assert!(most(&large).0 <= roomy.max_storage_binding);
    assert!(large.arena_bytes() as f64 <= 1.10 * large.live_bytes as f64, "{} of {}", large.arena_bytes(), large.live_bytes);
}

#[test]
fn products_that_take_long_are_split_and_nothing_else() {
    let sketch = decoder(128);
    let plan = |max_flops| Plan::new(&sketch.program, &Capabilities { max_flops, ..Capabilities::default() }).unwrap();
    let (whole, split) = (plan(u64::MAX), plan(1_000_000_000));
    assert_eq!(whole.dispatches.len(), plan(Capabilities::default().max_flops).dispatches.len());
    assert!(split.dispatches.len() > whole.dispatches.len());
    assert!(most(&whole).1 > 9_000_000_000 && most(&split).1 <= 1_000_000_000);
    assert_eq!((whole.flops(), whole.arena_bytes()), (split.flops(), split.arena_bytes()));
}

#[test]
fn operations_that_cannot_be_split_are_refused() {
    let mut sketch = Sketch::new("rows");
    let x = sketch.input(&[64, 64]);
    let y = sketch.op(Op::Softmax { axis: 1 }, &[x], &[64, 64]);
    sketch.output(y);
    let tight = Capabilities { max_storage_binding: 8192, ..Capabilities::default() };
    let error = Plan::with_options(&sketch.program, &tight, PlanOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for part in ["rows", "operation 0", "softmax", "16384", "8192"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let small = Capabilities { max_buffer: 16383, ..Capabilities::default() };
    let error = Plan::with_options(&sketch.program, &small, PlanOptions::default()).unwrap_err();
    assert!(error.to_string().contains("16384") && error.to_string().contains("16383"), "{error}");
}
