//! The distance of latents, against the published metrics' network in torchvision's parts.

mod fixture;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor},
};
use fixture::{
    Fixture,
    computed::{uniform, uniform_tensor, weight},
};
use onestep_nets::{
    LatentClassifier, LatentLpips, LatentLpipsConfig, LatentScaling, MetricSpace, NormKind,
    weights::{self, StateTensor},
};

fn metric(encoder: &str, device: &Device) -> LatentLpips {
    let config = LatentLpipsConfig::published(encoder).unwrap();
    let state = weights::parameters(&config.init(&Device::flex()))
        .into_iter()
        .map(|parameter| {
            let data = if parameter.name.starts_with("lin") {
                let channels = parameter.shape[1] as f64;
                uniform(&parameter.name, parameter.shape[1]).map(|u| ((1.0 + u) / 2.0 / channels) as f32).collect()
            } else {
                weight(&parameter.name, &parameter.shape)
            };
            StateTensor { name: parameter.name, shape: parameter.shape, data }
        })
        .collect();
    weights::load_state(config.init(device), state).unwrap().no_grad()
}

fn latents(name: &str, shape: [usize; 4], device: &Device) -> Tensor<4> {
    uniform_tensor::<4>(name, shape, device).mul_scalar(1.7)
}

fn check(encoder: &str, channels: usize, [rows, columns]: [usize; 2]) {
    let fixture = Fixture::without_weights("evaluation", "latent_lpips");
    let device = Device::flex().autodiff();
    let metric = metric(encoder, &device);
    let shape = [2, channels, rows, columns];
    let x0 = latents(&format!("{encoder}.in0"), shape, &device).require_grad();
    let x1 = latents(&format!("{encoder}.in1"), shape, &device);
    fixture.compare(&format!("{encoder}.per_layer"), metric.per_layer(x0.clone(), x1.clone()));
    let distance = metric.forward(x0.clone(), x1.clone());
    let gradients = distance.clone().sum().backward();
    fixture.compare(&format!("{encoder}.distance"), distance.clone());
    // Rectifiers and maxima near a tie may choose differently in f32.
    fixture.compare_within(1e-4, &format!("{encoder}.gradient"), x0.grad(&gradients).unwrap());

    let values = |x: Tensor<1>| x.to_data().iter::<f32>().collect::<Vec<_>>();
    assert_eq!(values(metric.forward(x1.clone(), x1.clone())), [0.0, 0.0]);
    let turned = values(metric.forward(x1, x0));
    assert!(values(distance).iter().zip(&turned).all(|(a, b)| *a > 0.0 && (a - b).abs() < 1e-6 * a));
}

#[test]
fn four_channels() {
    check("sd15", 4, [16, 12]);
    let fixture = Fixture::without_weights("evaluation", "latent_lpips");
    let device = Device::flex();
    let features = metric("sd15", &device).net.forward(latents("small", [1, 4, 8, 8], &device));
    for (index, feature) in features.into_iter().enumerate() {
        fixture.compare(&format!("sd15.feature{index}"), feature);
    }
}

#[test]
fn sixteen_channels() {
    check("sd3", 16, [9, 11]);
}

/// Where latents are equal, or features are all zero, the distance is flat: its gradient is zero, and a number.
#[test]
fn gradients_are_finite_where_the_distance_is_not_smooth() {
    let device = Device::flex().autodiff();
    let metric = metric("sd15", &device);
    for x in [latents("equal", [1, 4, 8, 8], &device), Tensor::zeros([1, 4, 8, 8], &device)] {
        let x0 = x.clone().require_grad();
        let gradient = x0.grad(&metric.forward(x0.clone(), x).sum().backward()).unwrap();
        assert!(gradient.to_data().iter::<f32>().all(|value| value.is_finite()));
    }
}

#[test]
fn reduced_widths_and_images_have_their_shapes() {
    let device = Device::flex();
    let scaling = LatentScaling { shift: 0.0, factor: 1.0 };
    let mut config = LatentLpipsConfig {
        encoder: "own".into(),
        space: MetricSpace::Latent,
        in_channels: 4,
        widths: [8, 16, 24, 32, 40],
        norm: NormKind::Group,
        scaling,
    };
    let shapes =
        |config: &LatentLpipsConfig, x: [usize; 4]| config.init(&device).net.forward(Tensor::zeros(x, &device)).map(|feature| feature.dims());
    assert_eq!(shapes(&config, [2, 4, 16, 16]), [[2, 8, 16, 16], [2, 16, 16, 16], [2, 24, 16, 16], [2, 32, 8, 8], [2, 40, 4, 4]]);
    (config.space, config.in_channels) = (MetricSpace::Pixel, 3);
    assert_eq!(shapes(&config, [1, 3, 32, 32]), [[1, 8, 32, 32], [1, 16, 16, 16], [1, 24, 8, 8], [1, 32, 4, 4], [1, 40, 2, 2]]);
    assert_eq!(LatentLpipsConfig::from_json(&config.to_json()).unwrap(), config);
}

/// What a student could change without its loss telling: everything that a metric does not see.
#[test]
fn fixed_statistics_see_the_contrast_that_groups_of_one_channel_do_not() {
    let device = Device::flex();
    device.seed(5);
    let scaling = LatentScaling { shift: 0.0, factor: 1.0 };
    let (x, other) = (latents("contrast", [4, 4, 16, 16], &device), latents("other", [4, 4, 16, 16], &device));
    let seen = |norm: NormKind| {
        let (space, widths) = (MetricSpace::Latent, LatentLpipsConfig::HALF);
        let mut metric = LatentLpipsConfig { encoder: "own".into(), space, in_channels: 4, widths, norm, scaling }.init(&device);
        metric.net = metric.net.fitted(x.clone());
        let mean = |y: Tensor<4>| metric.forward(x.clone(), y).mean().into_scalar::<f32>();
        mean(x.clone().mul_scalar(2.0)) / mean(other.clone())
    };
    let (batch, group) = (seen(NormKind::Batch), seen(NormKind::Group));
    assert!(batch > 0.02, "{batch}");
    assert!(group < 1e-4, "{group}");
}

/// With the statistics of a batch as fixed statistics, inference gives the same result as training on that batch.
#[test]
fn batch_norms_train_by_what_they_end_with() {
    let device = Device::flex().autodiff();
    device.seed(6);
    let scaling = LatentScaling { shift: 0.0, factor: 1.0 };
    let (space, widths, norm) = (MetricSpace::Latent, [8, 16, 24, 32, 40], NormKind::Batch);
    let config = LatentLpipsConfig { encoder: "own".into(), space, in_channels: 4, widths, norm, scaling };
    let mut net = LatentClassifier::new(&config, 3, &device);
    let x = latents("batch", [6, 4, 9, 7], &device);

    let trained = net.forward_unfrozen(x.clone());
    let gradients = trained.clone().square().sum().backward();
    let mut norms = Norms { gradients, within: false, asking: 0, given: 0 };
    net.visit(&mut norms);
    assert_eq!((norms.asking, norms.given), (26, 26), "weights and biases of 13 norms are trained, their statistics are not");

    net.net = net.net.fitted(x.clone());
    let difference = (net.forward(x.clone()) - trained).abs().max().into_scalar::<f32>();
    assert!(difference < 1e-4, "{difference}");
    let doubled = (net.forward(x.clone().mul_scalar(2.0)) - net.forward(x)).abs().max().into_scalar::<f32>();
    assert!(doubled > 1e-2, "fixed statistics see contrast: {doubled}");
}

/// Counts what of batch norms asks for a gradient, and what gets one.
struct Norms {
    gradients: Gradients,
    within: bool,
    asking: usize,
    given: usize,
}

impl ModuleVisitor for Norms {
    fn enter_module(&mut self, _: &str, kind: &str) {
        self.within |= kind.contains("FrozenBatchNorm2d");
    }

    fn exit_module(&mut self, _: &str, kind: &str) {
        self.within &= !kind.contains("FrozenBatchNorm2d");
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.within {
            self.asking += usize::from(param.is_require_grad());
            self.given += usize::from(param.val().grad(&self.gradients).is_some_and(|gradient| gradient.abs().sum().into_scalar::<f32>() > 0.0));
        }
    }
}
