//! Plans, without a GPU.

use onestep_program::{Activation, BinaryKind, DType, Op, UnaryKind};
use onestep_runtime::plan::{BufferId, PlanOptions};
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
    assert_eq!(plan.dispatches.len(), 50);
    assert_eq!(plan.arenas.len(), 2);
    assert_eq!(plan.arena_bytes(), 2 * 4096);
    let apart = PlanOptions { reuse: false, ..PlanOptions::default() };
    let wide = Plan::with_options(&chain(50, 1000).program, &Capabilities::default(), apart).unwrap();
    assert_eq!(wide.arena_bytes(), 50 * 4096);
}

#[test]
fn what_an_adapter_cannot_do_is_refused_with_the_operation_and_the_numbers() {
    let tight = Capabilities { max_storage_binding: 4000, ..Capabilities::default() };
    let error = Plan::new(&chain(3, 1001).program, &tight).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for part in ["chain", "operation 0", "unary", "4004", "4000"] {
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

#[test]
fn reshapes_cost_nothing_and_optional_tensors_are_zeros() {
    let mut sketch = Sketch::new("reshape");
    let x = sketch.input(&[4, 6]);
    let y = sketch.op(Op::Unary { unary: UnaryKind::Neg }, &[x], &[4, 6]);
    let y = sketch.op(Op::Reshape, &[y], &[8, 3]);
    let w = sketch.weight(&[5, 3], DType::F16);
    let z = sketch.op(Op::Linear { bias: false, act: Activation::None, residual: false }, &[y, w], &[8, 5]);
    sketch.output(z);
    let plan = Plan::new(&sketch.program, &Capabilities::default()).unwrap();
    assert_eq!(plan.dispatches.len(), 2);
    let linear = &plan.dispatches[1];
    assert_eq!(linear.kernel.name, "linear_f16");
    let absent = linear.kernel.bindings.iter().zip(&linear.bindings).find(|(binding, _)| binding.name == "bias").map(|(_, slice)| *slice).unwrap();
    assert_eq!((absent.buffer, absent.offset), (BufferId::Weights(0), 0));
    assert_eq!(linear.bindings[1], plan.dispatches[0].bindings[2]);
    assert_eq!(plan.flops(), sketch.program.flops());
}

#[test]
fn attention_stores_its_scores_while_they_are_few() {
    let mut sketch = Sketch::new("attention");
    let q = sketch.input(&[1, 2, 64, 16]);
    let y = sketch.op(Op::Attention { scale: 0.25, causal: true }, &[q, q, q], &[1, 2, 64, 16]);
    sketch.output(y);
    let plan = |stored_scores| {
        Plan::with_options(&sketch.program, &Capabilities::default(), PlanOptions { stored_scores, ..PlanOptions::default() }).unwrap()
    };
    let names = |plan: &Plan| plan.dispatches.iter().map(|dispatch| dispatch.kernel.name).collect::<Vec<_>>();
    assert_eq!(names(&plan(2 * 64 * 64 * 4)), ["attention_scores", "softmax", "mat_mul"]);
    assert_eq!(names(&plan(2 * 64 * 64 * 4 - 1)), ["attention"]);
}

#[test]
fn software_adapters_get_kernels_without_barriers() {
    let mut sketch = Sketch::new("norm");
    let x = sketch.input(&[4, 100]);
    let (gamma, beta) = (sketch.weight(&[100], DType::F32), sketch.weight(&[100], DType::F32));
    let y = sketch.op(Op::LayerNorm { epsilon: 1e-5, affine: true }, &[x, gamma, beta], &[4, 100]);
    sketch.output(y);
    let kernel = |software| Plan::new(&sketch.program, &Capabilities { software, ..Capabilities::default() }).unwrap().dispatches[0].kernel.name;
    assert_eq!((kernel(false), kernel(true)), ("layer_norm", "layer_norm_serial"));
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
    for part in ["chain: 2 operations, 2 dispatches", "arenas   8192 B (4096 B + 4096 B)", "input    input0 [1000] f32", "unary ×2"] {
        assert!(summary.contains(part), "{summary}");
    }
    assert_eq!(summary.lines().count() + 2, format!("{plan:#}").lines().count());
}
