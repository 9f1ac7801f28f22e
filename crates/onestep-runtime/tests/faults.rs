//! Fault injection: for every GPU call in turn, the call fails, the adapter is out of memory, or the device is lost before it. Each fault must give
//! an error of its kind, never a panic or a wrong result, and the next attempt must succeed.

mod adapter;

use onestep_program::{Activation, DType, Op};
use onestep_runtime::exec::Fault;
use onestep_runtime::selftest::Sketch;
use onestep_runtime::{Batch, ErrorKind, Executor, Gpu, GpuOptions, Image, Plan, RunError};

/// A small decoder.
fn sketch() -> Sketch {
    let mut sketch = Sketch::new("decoder");
    let x = sketch.input(&[1, 4, 8, 8]);
    let (gamma, beta) = (sketch.weight(&[4], DType::F32), sketch.weight(&[4], DType::F16));
    let w = sketch.weight(&[3, 4, 3, 3], DType::F16);
    let y = sketch.op(Op::GroupNorm { groups: 2, epsilon: 1e-5, act: Activation::Silu }, &[x, gamma, beta], &[1, 4, 8, 8]);
    let op = Op::Conv2d { stride: [1, 1], padding: [1; 4], dilation: [1, 1], groups: 1, bias: false, act: Activation::None, residual: false };
    let y = sketch.op(op, &[y, w], &[1, 3, 8, 8]);
    let y = sketch.op(Op::Affine { mul: 0.1, add: 0.0 }, &[y], &[1, 3, 8, 8]);
    sketch.output(y);
    sketch
}

/// Everything that a caller does: a run, a copy to another plan, an image.
async fn generate(gpu: &Gpu, sketch: &Sketch) -> Result<(Vec<f32>, Vec<u8>), RunError> {
    let plan = Plan::new(&sketch.program, gpu.capabilities())?;
    let executor = Executor::new(gpu, plan, &|name| sketch.view(name)).await?;
    let image = Image::new(gpu, &executor, "output0").await?;
    let mut outputs = executor.run(&sketch.inputs()).await?;
    let copy = Executor::new(gpu, Plan::new(&sketch_copy().program, gpu.capabilities())?, &|_| None).await?;
    let mut batch = Batch::new(gpu)?;
    batch.copy(&executor, "output0", &copy, "input0")?;
    batch.run(&copy)?;
    batch.image(&image)?;
    batch.submit()?;
    let copied = copy.read_output("output0").await?;
    let (_, floats) = outputs.pop().unwrap_or_default();
    assert_eq!(copied, floats);
    Ok((floats, image.read_rgba8().await?.1))
}

/// A program that copies its input.
fn sketch_copy() -> Sketch {
    let mut sketch = Sketch::new("copy");
    let x = sketch.input(&[1, 3, 8, 8]);
    sketch.output(x);
    sketch
}

#[test]
fn a_fault_at_any_call_is_an_error_of_its_kind() {
    let Some(gpu) = adapter::gpu() else { return };
    let sketch = sketch();
    let before = gpu.call_count();
    let good = pollster::block_on(generate(&gpu, &sketch)).unwrap();
    let calls = gpu.call_count() - before;
    assert!(calls > 20, "only {calls} calls are counted");
    for (fault, kind) in [(Fault::Fail, ErrorKind::Internal), (Fault::OutOfMemory, ErrorKind::OutOfMemory)] {
        for k in 0.. {
            // A new device, which has compiled nothing and so makes more calls.
            let gpu = pollster::block_on(Gpu::request(&GpuOptions::default())).unwrap();
            gpu.inject(Some((k, fault)));
            let outcome = pollster::block_on(generate(&gpu, &sketch));
            if gpu.call_count() <= k {
                assert_eq!(outcome.unwrap(), good);
                assert!(k >= calls);
                break;
            }
            assert_eq!(outcome.unwrap_err().kind(), kind, "{fault:?} at call {k}");
            gpu.inject(None);
            assert_eq!(pollster::block_on(generate(&gpu, &sketch)).unwrap(), good, "the attempt after {fault:?} at call {k}");
        }
    }
}

#[test]
fn a_device_lost_before_any_call_gives_no_result() {
    let Some(_) = adapter::gpu() else { return };
    let sketch = sketch();
    for k in 0.. {
        let gpu = pollster::block_on(Gpu::request(&GpuOptions::default())).unwrap();
        gpu.inject(Some((k, Fault::LoseDevice)));
        let outcome = pollster::block_on(generate(&gpu, &sketch));
        if gpu.call_count() <= k {
            outcome.unwrap();
            break;
        }
        assert_eq!(outcome.map(|_| ()).unwrap_err().kind(), ErrorKind::DeviceLost, "lost before call {k}");
        assert!(gpu.is_lost());
        // Later calls report the loss too.
        assert_eq!(pollster::block_on(generate(&gpu, &sketch)).map(|_| ()).unwrap_err().kind(), ErrorKind::DeviceLost);
    }
}

#[test]
fn inputs_and_weights_that_do_not_fit_the_program_are_refused_by_name() {
    let Some(gpu) = adapter::gpu() else { return };
    let sketch = sketch();
    let plan = Plan::new(&sketch.program, gpu.capabilities()).unwrap();
    let missing = pollster::block_on(Executor::new(&gpu, plan.clone(), &|_| None)).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Invalid);
    assert!(missing.to_string().contains("weight"), "{missing}");
    let executor = pollster::block_on(Executor::new(&gpu, plan, &|name| sketch.view(name))).unwrap();
    let refused = |outcome: Result<(), RunError>, says: &str| {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(executor.write_input("latent", onestep_runtime::TensorRef::F32(&[0.0; 256])), "latent");
    refused(executor.write_input("input0", onestep_runtime::TensorRef::F32(&[0.0; 255])), "255");
    refused(executor.write_input("input0", onestep_runtime::TensorRef::I32(&[0; 256])), "I32");
    refused(pollster::block_on(executor.run(&[])).map(|_| ()), "needs the input input0");
    refused(pollster::block_on(executor.read_output("output0")).map(|_| ()), "has not run");
    refused(Batch::new(&gpu).unwrap().copy(&executor, "output0", &executor, "input0"), "does not fit");
    refused(pollster::block_on(executor.read_output("pixels")).map(|_| ()), "it has output0");
}
