//! Small modules of every kind that the networks are made of, as burn and as program.

mod common;

use burn::{
    module::{Module, Param},
    nn::{
        Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig},
        interpolate::{Interpolate2d, Interpolate2dConfig, InterpolateMode},
    },
    tensor::{
        Bool, Device, Int, Tensor,
        activation::{gelu, quiet_softmax, sigmoid, silu, softmax},
        module::attention,
        ops::{AttentionModuleOptions, PadMode},
        s,
    },
};
use common::{assert_histogram, noise};
use onestep_compile::{CompileError, Names, Options, Passes, Storage, bundle_weights, compile};
use onestep_program::{DType, Op, WeightFile};

const BOUND: f64 = 1e-5;

/// Parameters other than the ones and zeros that norms begin with.
fn stir<M: Module>(module: M) -> M {
    struct Stir(u64);
    impl burn::module::ModuleMapper for Stir {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let seed = self.0;
            param.map(|tensor| {
                let (shape, device) = (tensor.shape(), tensor.device());
                let moved = burn::tensor::TensorData::new(noise(shape.num_elements(), seed), shape);
                tensor + Tensor::from_data(moved, &device) * 0.2
            })
        }
    }
    module.map(&mut Stir(1000))
}

fn conv(channels: [usize; 2], kernel: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [kernel, kernel]).with_padding(PaddingConfig2d::Explicit(kernel / 2, kernel / 2, kernel / 2, kernel / 2)).init(device)
}

#[derive(Module, Debug)]
struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResBlock {
    fn new(from: usize, to: usize, device: &Device) -> Self {
        stir(Self {
            norm1: GroupNormConfig::new(4, from).with_epsilon(1e-5).init(device),
            conv1: conv([from, to], 3, device),
            time: LinearConfig::new(6, to).init(device),
            norm2: GroupNormConfig::new(4, to).init(device),
            conv2: conv([to, to], 3, device),
            shortcut: (from != to).then(|| conv([from, to], 1, device)),
        })
    }
    fn forward(&self, x: Tensor<4>, time: Tensor<2>) -> Tensor<4> {
        let h = self.conv1.forward(silu(self.norm1.forward(x.clone())));
        let h = h + self.time.forward(silu(time)).unsqueeze_dim::<3>(2).unsqueeze_dim::<4>(3);
        let h = self.conv2.forward(silu(self.norm2.forward(h)));
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x) + h,
            None => x + h,
        }
    }
}

#[test]
fn residual_block() {
    let device = Device::flex();
    for (from, to) in [(8, 12), (8, 8)] {
        let module = ResBlock::new(from, to, &device);
        let compiled = case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
            let (x, time) = (io.float("x", [2, from, 7, 5]), io.float("time", [2, 6]));
            io.output("y", net.forward(x, time));
        });
        let convolutions = if from == to { 2 } else { 3 };
        assert_histogram(
            &compiled.histogram(),
            &[("binary", 1), ("conv2d", convolutions), ("group_norm", 2), ("linear", 1), ("reshape", 1), ("unary", 1)],
        );
    }
}

/// A time embedding that depends on no input, added inside a block.
#[derive(Module, Debug)]
struct Timed {
    first: Linear,
    second: Linear,
    block: ResBlock,
}

impl Timed {
    fn forward(&self, x: Tensor<4>, device: &Device) -> Tensor<4> {
        let steps = Tensor::<1, Int>::arange(0..3, device).float();
        let angles = (steps * -3.0).exp() * 499.0;
        let features = Tensor::cat(vec![angles.clone().cos(), angles.sin()], 0).unsqueeze::<2>();
        let time = self.second.forward(silu(self.first.forward(features)));
        let [batch, ..] = x.dims();
        self.block.forward(x, time.repeat_dim(0, batch))
    }
}

#[test]
fn fixed_timestep_is_folded_into_a_bias() {
    let device = Device::flex();
    let module =
        Timed { first: LinearConfig::new(6, 10).init(&device), second: LinearConfig::new(10, 6).init(&device), block: ResBlock::new(8, 8, &device) };
    let compiled = case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
        let x = io.float("x", [1, 8, 4, 4]);
        let device = io.device().clone();
        io.output("y", net.forward(x, &device));
    });
    assert_histogram(&compiled.histogram(), &[("conv2d", 2), ("group_norm", 2)]);
    let names: Vec<&str> = compiled.weights.iter().map(|weight| weight.name.as_str()).collect();
    let expected = ["norm1.gamma", "norm1.beta", "conv1.weight", "norm2.gamma", "norm2.beta", "conv2.weight", "conv2.bias"];
    assert!(expected.iter().all(|name| names.contains(&format!("net.block.{name}").as_str())), "{names:?}");
    assert!(names.contains(&"net.constant.0") && names.len() == 8, "{names:?}");
}

#[derive(Module, Debug)]
struct SpatialAttention {
    norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
    explicit: bool,
}

impl SpatialAttention {
    fn new(heads: usize, explicit: bool, device: &Device) -> Self {
        let linear = || LinearConfig::new(12, 12).init(device);
        let to_k = LinearConfig::new(12, 12).with_bias(false).init(device);
        stir(Self { norm: GroupNormConfig::new(3, 12).init(device), to_q: linear(), to_k, to_v: linear(), to_out: linear(), heads, explicit })
    }
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        // Normalised as a sequence, the way the autoencoder of latent diffusion does it.
        let tokens = self.norm.forward(x.clone().reshape([batch, channels, height * width])).swap_dims(1, 2);
        let split = |t: Tensor<3>| t.reshape([batch, height * width, self.heads, channels / self.heads]).swap_dims(1, 2);
        let (q, k, v) = (split(self.to_q.forward(tokens.clone())), split(self.to_k.forward(tokens.clone())), split(self.to_v.forward(tokens)));
        let scale = ((channels / self.heads) as f64).powf(-0.5);
        let y = if self.explicit {
            softmax((q * scale).matmul(k.transpose()), 3).matmul(v)
        } else {
            attention(q, k, v, None, None, AttentionModuleOptions::default())
        };
        let y = self.to_out.forward(y.swap_dims(1, 2).reshape([batch, height * width, channels]));
        x + y.swap_dims(1, 2).reshape([batch, channels, height, width])
    }
}

#[test]
fn attention_whole_and_explicit() {
    let device = Device::flex();
    for (heads, explicit) in [(3, false), (3, true), (1, true)] {
        let module = SpatialAttention::new(heads, explicit, &device);
        let compiled = case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
            let x = io.float("x", [2, 12, 3, 5]);
            io.output("y", net.forward(x));
        });
        let found = compiled.histogram();
        assert_eq!(
            (
                found.count("attention"),
                found.count("linear"),
                found.count("group_norm"),
                found.count("mat_mul"),
                found.count("softmax"),
                found.count("affine")
            ),
            // The keys have no bias, so they are not joined with queries and values; the result is added to the image.
            (1, 2, 1, 0, 0, 0),
            "{found}"
        );
        assert_eq!((found.count("binary"), found.count("conv2d")), (0, 1), "{found}");
        assert!(compiled.program.nodes.iter().any(|node| node.op == Op::Attention { scale: 1.0, causal: false }));
    }
}

#[test]
fn attention_of_three_axes_becomes_one_head() {
    let module = LinearConfig::new(5, 5).init(&Device::flex());
    let compiled = case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
        let (q, k) = (io.float("q", [2, 4, 5]), io.float("k", [2, 6, 5]));
        let v = net.forward(k.clone());
        let scores = q.matmul(k.swap_dims(1, 2)) * 0.3;
        io.output("y", softmax(scores, 2).matmul(v));
    });
    assert_histogram(&compiled.histogram(), &[("attention", 1), ("linear", 1), ("reshape", 3)]);
}

#[derive(Module, Debug)]
struct TextLayer {
    norm1: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

#[derive(Module, Debug)]
struct TextEncoder {
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<TextLayer>,
    last: LayerNorm,
}

/// The ways in which a network may hide later tokens.
#[derive(Clone, Copy, Debug)]
enum Causal {
    Flag,
    Mask,
    Bias,
    FillInfinity,
    FillFinite,
    Add,
}

impl TextEncoder {
    fn new(device: &Device) -> Self {
        let layer = || TextLayer {
            norm1: LayerNormConfig::new(8).init(device),
            qkv: LinearConfig::new(8, 24).init(device),
            out: LinearConfig::new(8, 8).init(device),
            norm2: LayerNormConfig::new(8).init(device),
            fc1: LinearConfig::new(8, 16).init(device),
            fc2: LinearConfig::new(16, 8).init(device),
        };
        stir(Self {
            tokens: EmbeddingConfig::new(50, 8).init(device),
            positions: EmbeddingConfig::new(9, 8).init(device),
            layers: vec![layer(), layer()],
            last: LayerNormConfig::new(8).init(device),
        })
    }

    fn forward(&self, ids: Tensor<2, Int>, causal: Causal, quick: bool) -> Tensor<3> {
        let [batch, length] = ids.dims();
        let device = self.tokens.weight.val().device();
        let positions = Tensor::<1, Int>::arange(0..length as i64, &device).unsqueeze::<2>();
        let mut x = self.tokens.forward(ids) + self.positions.forward(positions);
        for layer in &self.layers {
            let qkv = layer.qkv.forward(layer.norm1.forward(x.clone())).reshape([batch, length, 3, 2, 4]).permute([2, 0, 3, 1, 4]);
            let part = |index: usize| qkv.clone().slice(s![index..index + 1, .., .., .., ..]).squeeze_dim::<4>(0);
            let y = Self::attend(part(0), part(1), part(2), causal, &device);
            x = x + layer.out.forward(y.swap_dims(1, 2).reshape([batch, length, 8]));
            let h = layer.fc1.forward(layer.norm2.forward(x.clone()));
            let h = if quick { h.clone() * sigmoid(h * 1.702) } else { gelu(h) };
            x = layer.fc2.forward(h) + x;
        }
        self.last.forward(x)
    }

    fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, causal: Causal, device: &Device) -> Tensor<4> {
        let length = q.dims()[2];
        let later = || Tensor::<2, Bool>::tril_mask([length, length], 0, device).unsqueeze::<4>();
        let bias = |fill: f32| {
            Tensor::<2>::zeros([length, length], device).mask_fill(Tensor::<2, Bool>::tril_mask([length, length], 0, device), fill).unsqueeze::<4>()
        };
        let options = AttentionModuleOptions { is_causal: matches!(causal, Causal::Flag), ..Default::default() };
        let scores = || q.clone().matmul(k.clone().swap_dims(2, 3)) / 2.0;
        match causal {
            Causal::Flag => attention(q, k, v, None, None, options),
            Causal::Mask => {
                let [batch, heads, ..] = q.dims();
                attention(q, k, v, Some(later().expand([batch, heads, length, length])), None, options)
            }
            Causal::Bias => attention(q, k, v, None, Some(bias(f32::NEG_INFINITY)), options),
            Causal::FillInfinity => softmax(scores().mask_fill(later(), f32::NEG_INFINITY), 3).matmul(v),
            Causal::FillFinite => softmax(scores().mask_fill(later(), -1e9), 3).matmul(v),
            Causal::Add => softmax(scores() + bias(-3e38), 3).matmul(v),
        }
    }
}

#[test]
fn causal_text_encoder() {
    let module = TextEncoder::new(&Device::flex());
    for causal in [Causal::Flag, Causal::Mask, Causal::Bias, Causal::FillInfinity, Causal::FillFinite, Causal::Add] {
        let compiled = case!(&module, &Names::paths(), 50, BOUND, matches!(causal, Causal::FillFinite), |net, io| {
            let ids = io.ids("ids", [2, 7]);
            io.output("hidden", net.forward(ids, causal, true));
        });
        let found = compiled.histogram();
        for (name, count) in [
            ("attention", 2),
            ("linear", 8),
            ("layer_norm", 5),
            ("embedding", 1),
            ("binary", 1),
            ("softmax", 0),
            ("mat_mul", 0),
            ("unary", 0),
            ("affine", 0),
        ] {
            assert_eq!(found.count(name), count, "{causal:?}: {name}, {found}");
        }
        assert!(
            compiled
                .program
                .nodes
                .iter()
                .filter_map(|node| if let Op::Attention { causal, .. } = node.op { Some(causal) } else { None })
                .all(|causal| causal)
        );
        // Queries are a part of a wider layer's features, normalised before.
        for node in &compiled.program.nodes {
            match node.op {
                Op::Attention { scale, .. } => assert_eq!(scale, 1.0),
                Op::LayerNorm { affine, .. } => assert_eq!(affine, compiled.program.outputs.iter().any(|port| port.value == node.output)),
                _ => {}
            }
        }
    }
    let compiled = case!(&module, &Names::paths(), 50, BOUND, false, |net, io| {
        let ids = io.ids("ids", [1, 9]);
        io.output("hidden", net.forward(ids, Causal::Flag, false));
    });
    assert_eq!(compiled.histogram().count("unary"), 0);
}

#[derive(Module, Debug)]
struct Scaling {
    up: Conv2d,
    down: Conv2d,
    interpolate: Interpolate2d,
}

#[test]
fn upsampling_and_uneven_downsampling() {
    let device = Device::flex();
    let down = Conv2dConfig::new([6, 4], [3, 3]).with_stride([2, 2]).init(&device);
    let interpolate = Interpolate2dConfig::new().with_scale_factor(Some([2.0, 2.0])).with_mode(InterpolateMode::Nearest).init();
    let module = Scaling { up: conv([4, 6], 3, &device), down, interpolate };
    let compiled = case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
        let x = io.float("x", [2, 4, 3, 5]);
        let y = net.up.forward(net.interpolate.forward(x));
        io.output("y", net.down.forward(y.pad([(0, 1), (0, 1)], PadMode::Constant(0.0))));
    });
    assert_histogram(&compiled.histogram(), &[("conv2d", 1), ("up_conv2d", 1)]);
    let weight = compiled.weights.iter().find(|weight| weight.shape == [4, 6, 4, 2, 2]).unwrap();
    assert_eq!(weight.name, "net.constant.0");
}

#[test]
fn upsampling_to_the_size_of_a_skip_tensor() {
    let device = Device::flex();
    let up = onestep_nets::Upsample2d::new(6, &device);
    for (from, to, fused) in [([3, 5], [5, 9], false), ([3, 5], [6, 9], false), ([4, 4], [9, 9], false), ([3, 5], [6, 10], true)] {
        let compiled = case!(&up, &Names::paths(), 0, BOUND, true, |net, io| {
            let x = io.float("x", [2, 6, from[0], from[1]]);
            io.output("y", net.forward(x, Some(to)));
        });
        let expected: &[(&str, usize)] = if fused { &[("up_conv2d", 1)] } else { &[("conv2d", 1), ("upsample_nearest", 1)] };
        assert_histogram(&compiled.histogram(), expected);
    }
}

#[derive(Module, Debug)]
struct FeedForward {
    norm: LayerNorm,
    enter: Linear,
    leave: Linear,
}

#[test]
fn gated_feed_forward() {
    let device = Device::flex();
    let module = stir(FeedForward {
        norm: LayerNormConfig::new(6).init(&device),
        enter: LinearConfig::new(6, 20).init(&device),
        leave: LinearConfig::new(10, 6).init(&device),
    });
    let compiled = case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
        let x = io.float("x", [2, 5, 6]);
        let h = net.enter.forward(net.norm.forward(x.clone()));
        let parts = h.chunk(2, 2);
        io.output("y", net.leave.forward(parts[0].clone() * gelu(parts[1].clone())) + x);
    });
    assert_histogram(&compiled.histogram(), &[("geglu", 1), ("layer_norm", 1), ("linear", 2)]);
}

#[derive(Module, Debug)]
struct Odds {
    signal: Conv1d,
    batch: burn::nn::BatchNorm,
    plain: GroupNorm,
}

#[test]
fn elementary_operations_stay_what_they_are() {
    let device = Device::flex();
    let module = stir(Odds {
        signal: Conv1dConfig::new(3, 4, 3).with_stride(2).init(&device),
        batch: burn::nn::BatchNormConfig::new(4).init(&device),
        plain: GroupNormConfig::new(2, 4).with_affine(false).init(&device),
    });
    case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
        let x = io.float("x", [2, 3, 9]);
        let y = net.plain.forward(net.batch.forward(net.signal.forward(x)));
        let y = y.clone().clamp(-1.5, 1.5).powf_scalar(2.0) + y.clone().abs().sqrt() * y.clone().exp().recip() - (y.clone().tanh() + 3.0).log();
        let y = y.clone() / (y.clone().abs().powf_scalar(2.5).sum_dim(2).clamp_min(0.5) + 1.0).expand([2, 4, 4]);
        let y = Tensor::cat(vec![y.clone().max_dim(1), y.clone().min_dim(1), y.clone().mean_dim(1), y.clone().slice(s![.., 1..3, ..])], 1);
        let y = y.clone().select(1, Tensor::from_ints([0, 2, 3], io.device())) * y.sum().unsqueeze::<3>() + io.float("offset", [1, 1, 4]);
        let y = (1.0 - y.clone().neg() / 3.0) * y.repeat_dim(0, 3).slice(s![0..2, .., ..]);
        let y = quiet_softmax_free(y);
        io.output("y", burn::tensor::activation::leaky_relu(y, 0.1));
    });
}

#[derive(Module, Debug)]
struct Layers {
    first: Linear,
    second: Linear,
    third: Linear,
}

#[test]
fn layers_of_one_tensor_become_one() {
    let device = Device::flex();
    let linear = |width| LinearConfig::new(6, width).init(&device);
    let module = Layers { first: linear(8), second: linear(4), third: linear(12) };
    let compiled = case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
        let x = io.float("x", [2, 5, 6]);
        io.output("first", net.first.forward(x.clone()));
        io.output("second", net.second.forward(x.clone()).sin());
        io.output("third", net.third.forward(x));
    });
    assert_histogram(&compiled.histogram(), &[("linear", 1), ("slice", 3), ("unary", 1)]);
    let rows: Vec<f32> = [&module.first, &module.second, &module.third]
        .iter()
        .flat_map(|layer| layer.weight.val().transpose().into_data().try_into_vec::<f32>().unwrap())
        .collect();
    assert_eq!(compiled.weight("net.constant.0").unwrap().to_f32(), rows);
    // Another tensor, an odd width and a function at the end are reasons to stay alone.
    let module = Layers { first: linear(8), second: linear(5), third: linear(8) };
    let compiled = case!(&module, &Names::paths(), 0, BOUND, false, |net, io| {
        let (x, y) = (io.float("x", [2, 5, 6]), io.float("y", [2, 5, 6]));
        io.output("first", net.first.forward(x.clone()));
        io.output("second", net.second.forward(x.clone()));
        io.output("third", silu(net.third.forward(x)));
        io.output("other", net.first.forward(y));
    });
    assert_histogram(&compiled.histogram(), &[("linear", 4)]);
}

#[derive(Module, Debug)]
struct Scaled {
    enter: Conv2d,
    tokens: Linear,
    leave: Conv2d,
}

#[test]
fn factors_and_sums_become_part_of_layers() {
    let device = Device::flex();
    let module = stir(Scaled { enter: conv([4, 8], 1, &device), tokens: LinearConfig::new(8, 8).init(&device), leave: conv([8, 4], 3, &device) });
    let compiled = case!(&module, &Names::paths(), 0, BOUND, true, |net, io| {
        let x = io.float("x", [2, 4, 3, 5]);
        let h = net.enter.forward(x.clone() * 3.0 - 1.0);
        let tokens = net.tokens.forward(h.clone().reshape([2, 8, 15]).swap_dims(1, 2));
        let h = tokens.swap_dims(1, 2).reshape([2, 8, 3, 5]) + h;
        io.output("y", (x - net.leave.forward(h) * 0.5) / 0.07 + 2.0);
    });
    // What is left is the factor of x, which nothing but the sum could take in.
    assert_histogram(&compiled.histogram(), &[("affine", 1), ("conv2d", 3), ("permute", 2), ("reshape", 2)]);
}

/// A softmax written out.
fn quiet_softmax_free(x: Tensor<3>) -> Tensor<3> {
    let e = (x.clone() - x.max_dim(2)).exp();
    e.clone() / e.sum_dim(2)
}

#[test]
fn the_same_tensor_may_be_several_ports() {
    let module = LinearConfig::new(3, 3).init(&Device::flex());
    let compiled = compile("net", &module, &Names::paths(), &Options::default(), |net, ports| {
        let x = ports.float("x", [2, 3]);
        let y = net.forward(x.clone());
        ports.output("y", y.clone());
        ports.output("again", y.clone());
        ports.output("given", x.reshape([2, 3]));
        ports.output("weight", net.weight.val());
        // Read after it was declared.
        ports.output("relu", burn::tensor::activation::relu(y));
    })
    .unwrap();
    let x = noise(6, 1);
    let found = common::run(&compiled, &[("x".into(), common::Elements::Floats(x.clone()))]);
    let (y, relu): (&[f32], &[f32]) = (&found[0].1, &found[4].1);
    assert_eq!((y, &found[2].1), (&found[1].1[..], &x));
    assert_eq!(relu, y.iter().map(|v| v.max(0.0)).collect::<Vec<_>>());
    assert_eq!(found[3].1, module.weight.val().into_data().try_into_vec::<f32>().unwrap());
}

#[test]
fn what_programs_do_not_know_is_refused_by_name() {
    let module = LinearConfig::new(4, 4).init(&Device::flex());
    let attempt = |forward: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        compile("net", &module, &Names::paths(), &Options::default(), |net, ports| {
            let x = ports.float("x", [4, 4]);
            let y = forward(net.forward(x));
            ports.output("y", y);
        })
        .unwrap_err()
        .to_string()
    };
    let cases: [(&str, &dyn Fn(Tensor<2>) -> Tensor<2>); 7] = [
        ("NumericFloat.CumSum", &|x| x.cumsum(1)),
        ("BaseFloat.Flip", &|x| x.flip([0])),
        ("Float.Random", &|x| x.clone() + x.random_like(burn::tensor::Distribution::Default)),
        ("Float.IntoInt", &|x| x.int().float()),
        ("NumericFloat.GreaterElem", &|x| x.clone().mask_fill(x.greater_elem(0.0), 1.0)),
        ("step of 2", &|x| x.slice(s![0..4;2, ..]).repeat_dim(0, 2)),
        ("captured", &|x| x.clone() * x.sum().into_scalar::<f32>()),
    ];
    for (culprit, forward) in cases {
        let message = attempt(forward);
        assert!(message.contains(culprit), "{culprit}: {message}");
    }
    let none = compile("net", &module, &Names::explicit([]), &Options::default(), |net, ports| {
        let x = ports.float("x", [4, 4]);
        ports.output("y", net.forward(x));
    });
    assert!(matches!(none, Err(CompileError::Tensor { name, .. }) if name == "weight"));
    assert!(matches!(Passes::only(&["no such"]), Err(CompileError::UnknownPass(_))));
}

#[test]
fn names_storage_and_bytes() {
    let device = Device::flex();
    let module = ResBlock::new(8, 12, &device);
    let build = |storage, component: Option<&str>, size: usize| {
        compile(
            "generator_a",
            &module,
            &Names::paths(),
            &Options { storage, component: component.map(Into::into), ..Options::default() },
            |net, ports| {
                let (x, time) = (ports.float("x", [1, 8, size, size]), ports.float("time", [1, 6]));
                ports.output("y", net.forward(x, time));
            },
        )
    };
    let half = build(Storage::F16, Some("generator"), 4).unwrap();
    for weight in &half.weights {
        assert_eq!(weight.dtype, if weight.shape.len() > 1 { DType::F16 } else { DType::F32 }, "{}", weight.name);
        assert!(weight.name.starts_with("generator."));
    }
    // A linear layer's weight is stored by rows of the output.
    let linear = half.weight("generator.time.weight").unwrap();
    let stored = module.time.weight.val().transpose().into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(linear.shape, [12, 6]);
    assert!(linear.to_f32().iter().zip(&stored).all(|(a, b)| (a - b).abs() <= b.abs() / 1024.0 && *a == half::f16::from_f32(*b).to_f32()));
    // The same module gives the same bytes, whatever was compiled before.
    let again = build(Storage::F16, Some("generator"), 4).unwrap();
    assert_eq!((half.program.to_json(), &half.weights), (again.program.to_json(), &again.weights));
    // Two programs of one component share their weights; of two components nothing is shared.
    let larger = build(Storage::F16, Some("generator"), 6).unwrap();
    let file = WeightFile::new(bundle_weights(&[&half, &larger]).unwrap(), "weights").unwrap();
    assert_eq!(file.names().count(), half.weights.len());
    assert!(
        larger
            .program
            .weights()
            .all(|value| file.get(value.weight.as_ref().unwrap()).is_some_and(|view| view.shape == value.shape && view.dtype == value.dtype))
    );
    let other = build(Storage::F16, None, 4).unwrap();
    let file = WeightFile::new(bundle_weights(&[&half, &other]).unwrap(), "weights").unwrap();
    assert_eq!(file.names().count(), 2 * half.weights.len());
    // The same name with other elements or in another storage is refused.
    let full = build(Storage::F32, Some("generator"), 4).unwrap();
    assert!(matches!(bundle_weights(&[&half, &full]), Err(CompileError::Tensor { .. })));
    // Beyond the range of 16 bits.
    let mut large = ResBlock::new(8, 12, &device);
    large.conv2.weight = large.conv2.weight.map(|weight| weight * 1e6);
    let refused = compile("net", &large, &Names::paths(), &Options { storage: Storage::F16, ..Options::default() }, |net, ports| {
        let (x, time) = (ports.float("x", [1, 8, 4, 4]), ports.float("time", [1, 6]));
        ports.output("y", net.forward(x, time));
    });
    assert!(matches!(&refused, Err(CompileError::Tensor { name, .. }) if name == "net.conv2.weight"), "{refused:?}");
    // quiet_softmax is not needed here, but its elementary operations on a comparison are refused, not guessed.
    let odd = compile("net", &module.time, &Names::paths(), &Options::default(), |net, ports| {
        let x = ports.float("x", [1, 6]);
        ports.output("y", quiet_softmax(net.forward(x), 1));
    });
    assert!(matches!(odd, Err(CompileError::Operation { .. })));
}
