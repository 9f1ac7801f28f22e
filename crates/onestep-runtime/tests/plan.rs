//! Plans, without a GPU.

use onestep_program::{Activation, BinaryKind, DType, Op, UnaryKind, ValueId};
use onestep_runtime::plan::{BufferId, Forms, MatrixForm, PlanOptions};
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
    // What the caller gives is laid out first, and what the caller gets last.
    assert_eq!(plan.dispatches.len(), 52);
    assert_eq!(plan.arenas.len(), 2);
    assert_eq!(plan.arena_bytes(), 2 * 4096);
    let apart = PlanOptions { reuse: false, ..PlanOptions::default() };
    let wide = Plan::with_options(&chain(50, 1000).program, &Capabilities::default(), apart).unwrap();
    assert_eq!(wide.arena_bytes(), 52 * 4096);
}

#[test]
fn what_an_adapter_cannot_do_is_refused_with_the_operation_and_the_numbers() {
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
    assert_eq!(kernels(&plan), ["copy_in", "gemm_taps_thin_f16", "gemm_thin_f16", "copy_out"]);
    let linear = &plan.dispatches[2];
    let absent = linear.kernel.bindings.iter().zip(&linear.bindings).find(|(binding, _)| binding.name == "bias").map(|(_, slice)| *slice).unwrap();
    assert_eq!((absent.buffer, absent.offset), (BufferId::Weights(0), 0));
    assert_eq!(linear.bindings[1], plan.dispatches[1].bindings[5]);
    assert_eq!(plan.flops(), sketch.program.flops());
}

#[test]
fn what_is_concatenated_is_written_in_its_place() {
    let mut sketch = Sketch::new("concat");
    let x = sketch.input(&[1, 4, 2, 3]);
    let w = sketch.weight(&[8, 4, 3, 3], DType::F16);
    let conv = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: false, act: Activation::None, residual: false };
    let a = sketch.op(conv.clone(), &[x, w], &[1, 8, 2, 3]);
    let b = sketch.op(conv, &[x, w], &[1, 8, 2, 3]);
    let both = sketch.op(Op::Concat { axis: 1 }, &[a, b], &[1, 16, 2, 3]);
    sketch.output(both);
    let plan = Plan::new(&sketch.program, &Capabilities::default()).unwrap();
    assert_eq!(kernels(&plan), ["copy_in", "gemm_taps_thin_f16", "gemm_taps_thin_f16", "copy_out"]);
    assert_eq!(plan.dispatches[1].bindings[5], plan.dispatches[2].bindings[5]);
}

/// A convolution of 3x3 in 16 bits.
fn conv(sketch: &mut Sketch, x: ValueId, channels: usize) -> ValueId {
    let shape = sketch.shape(x);
    let w = sketch.weight(&[channels, shape[1], 3, 3], DType::F16);
    let op = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: false, act: Activation::None, residual: false };
    sketch.op(op, &[x, w], &[shape[0], channels, shape[2], shape[3]])
}

fn group_norm(sketch: &mut Sketch, x: ValueId, groups: usize) -> ValueId {
    let shape = sketch.shape(x);
    let (gamma, beta) = (sketch.weight(&[shape[1]], DType::F32), sketch.weight(&[shape[1]], DType::F32));
    sketch.op(Op::GroupNorm { groups, epsilon: 1e-5, act: Activation::Silu }, &[x, gamma, beta], &shape)
}

#[test]
fn products_leave_the_statistics_of_the_norms_behind_them() {
    let mut sketch = Sketch::new("norms");
    let x = sketch.input(&[1, 64, 96, 96]);
    let a = conv(&mut sketch, x, 64);
    let y = group_norm(&mut sketch, a, 32);
    let b = conv(&mut sketch, y, 32);
    // The first part is normalised twice, alone and in a group with the second, from statistics that are written once.
    let both = sketch.op(Op::Concat { axis: 1 }, &[a, b], &[1, 96, 96, 96]);
    let y = group_norm(&mut sketch, both, 1);
    let small = sketch.op(Op::Slice { start: vec![0, 0, 88, 87] }, &[y], &[1, 96, 8, 9]);
    let y = conv(&mut sketch, small, 40);
    let y = group_norm(&mut sketch, y, 10);
    sketch.output(y);
    let plan = |forms| Plan::new(&sketch.program, &Capabilities { forms, ..Capabilities::default() }).unwrap();
    let norm = ["group_scale", "scale_shift"];
    let tiles = [&["copy_in", "gemm_tile_taps_stats_f16"][..], &norm, &["gemm_tile_taps_stats_f16"], &norm];
    let split = [&["gemm_tile_taps_split_f16", "split_sum_stats"][..], &norm, &["copy_out"]];
    assert_eq!(kernels(&plan(Forms::GPU)), [tiles.concat(), split.concat()].concat());
    assert_eq!(plan(Forms::SOFTWARE).kernels().iter().find(|(name, _)| *name == "channel_stats"), Some(&("channel_stats", 3)));
    assert_eq!(plan(Forms::GPU).flops(), sketch.program.flops());
}

#[test]
fn statistics_are_a_pass_of_their_own_where_chunks_and_tiles_differ() {
    let passes = |draw: &dyn Fn(&mut Sketch) -> ValueId, groups: usize| {
        let mut sketch = Sketch::new("norm");
        let x = draw(&mut sketch);
        let y = group_norm(&mut sketch, x, groups);
        sketch.output(y);
        let plan = Plan::new(&sketch.program, &Capabilities::default()).unwrap();
        kernels(&plan).iter().filter(|name| **name == "channel_stats").count()
    };
    let pictures = |batch: usize, side: usize| {
        move |sketch: &mut Sketch| {
            let x = sketch.input(&[batch, 32, side, side]);
            conv(sketch, x, 32)
        }
    };
    assert_eq!(passes(&pictures(2, 8), 4), 0);
    // Tiles that hold rows of two pictures.
    assert_eq!(passes(&pictures(1, 9), 4), 0);
    assert_eq!(passes(&pictures(2, 9), 4), 1);
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
        let y = conv(sketch, x, 32);
        sketch.op(Op::Concat { axis: 1 }, &[y, other], &[1, 36, 8, 8])
    };
    assert_eq!(passes(&with_input, 6), 1);
    // A picture on its side, and half of the channels that were stored together.
    let turned = |sketch: &mut Sketch| {
        let x = sketch.input(&[1, 32, 8, 16]);
        let y = conv(sketch, x, 32);
        sketch.op(Op::Permute { axes: vec![0, 1, 3, 2] }, &[y], &[1, 32, 16, 8])
    };
    assert_eq!(passes(&turned, 4), 1);
    let half = |sketch: &mut Sketch| {
        let x = sketch.input(&[1, 32, 8, 16]);
        let y = conv(sketch, x, 64);
        sketch.op(Op::Slice { start: vec![0, 32, 0, 0] }, &[y], &[1, 32, 8, 16])
    };
    assert_eq!(passes(&half, 4), 1);
}

#[test]
fn tall_tiles_are_for_many_rows() {
    let of = |height: usize, width: usize, channels: usize| {
        let mut sketch = Sketch::new("rows");
        let x = sketch.input(&[1, 64, height, width]);
        let y = conv(&mut sketch, x, channels);
        sketch.output(y);
        let forms = Forms { matrix: MatrixForm::Tall, ..Forms::GPU };
        let plan = Plan::new(&sketch.program, &Capabilities { forms, ..Capabilities::default() }).unwrap();
        (kernels(&plan)[1], plan.dispatches[1].grid)
    };
    assert_eq!(of(64, 64, 256), ("gemm_tall_taps_f16", [128, 1, 1]));
    assert_eq!(of(65, 64, 250), ("gemm_tall_taps_f16", [132, 1, 1]));
    // Too few tiles, too few rows.
    assert_eq!(of(64, 64, 192), ("gemm_tile_taps_f16", [192, 1, 1]));
    assert_eq!(of(30, 34, 1024), ("gemm_tile_taps_f16", [256, 1, 1]));
}

#[test]
fn a_linear_layer_applies_the_gates_behind_it() {
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
    let of = |sketch: &Sketch, forms| {
        let plan = Plan::new(&sketch.program, &Capabilities { forms, ..Capabilities::default() }).unwrap();
        assert_eq!(plan.flops(), sketch.program.flops());
        kernels(&plan)
    };
    assert_eq!(of(&gated(64, 64, 64, false), Forms::GPU), ["copy_in", "gemm_tile_f16", "copy_out"]);
    assert_eq!(of(&gated(64, 320, 64, false), Forms::GPU), ["copy_in", "gemm_tile_split_f16", "split_sum", "copy_out"]);
    assert_eq!(of(&gated(64, 64, 64, false), Forms::SOFTWARE), ["copy_in", "gemm_f16", "copy_out"]);
    // Halves that are no whole units, and a result that is wanted as it is.
    assert!(of(&gated(64, 64, 62, false), Forms::GPU).contains(&"binary"));
    assert!(of(&gated(64, 64, 64, true), Forms::GPU).contains(&"binary"));
}

#[test]
fn wide_heads_store_their_scores_while_they_are_few() {
    let mut sketch = Sketch::new("attention");
    let q = sketch.input(&[1, 1, 64, 200]);
    let y = sketch.op(Op::Attention { scale: 0.25, causal: false }, &[q, q, q], &[1, 1, 64, 200]);
    sketch.output(y);
    let plan = |stored_scores| {
        Plan::with_options(&sketch.program, &Capabilities::default(), PlanOptions { stored_scores, ..PlanOptions::default() }).unwrap()
    };
    assert!(kernels(&plan(64 * 64 * 4)).contains(&"softmax"));
    assert_eq!(kernels(&plan(64 * 64 * 4 - 1)), ["copy_in", "attention", "copy_out"]);
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
    let of = |forms| kernels(&Plan::new(&sketch.program, &Capabilities { forms, ..Capabilities::default() }).unwrap());
    assert_eq!(of(Forms::GPU)[1..], ["layer_norm", "gemm_tile_split_f16", "split_sum", "copy_out"]);
    assert_eq!(of(Forms::SOFTWARE)[1..], ["layer_norm_serial", "gemm_f16", "copy_out"]);
    assert_eq!(of(Forms { halves: false, ..Forms::SOFTWARE })[2], "gemm");
}

#[test]
fn two_plans_share_a_hash_only_if_they_do_the_same() {
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
fn a_plan_prints_what_it_costs() {
    let plan = Plan::new(&chain(2, 1000).program, &Capabilities::default()).unwrap();
    let summary = plan.to_string();
    for part in ["chain: 2 operations, 4 dispatches", "arenas   8192 B (4096 B + 4096 B)", "input    input0 [1000] f32", "unary ×2"] {
        assert!(summary.contains(part), "{summary}");
    }
    assert_eq!(summary.lines().count() + 4, format!("{plan:#}").lines().count());
}
