//! Compares the evaluation networks with torchvision's and transformers'.

mod fixture;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use fixture::{
    Fixture,
    computed::{uniform_tensor, weight},
};
use onestep_nets::{
    ClipConfig, ClipModel, FrozenBatchNorm2d, InceptionLayout, InceptionV3,
    weights::{self, Shard, StateTensor},
};
use safetensors::{Dtype, tensor::TensorView};

/// Largest relative L2 error of a gradient, in which rectifiers and maxima near a tie may choose differently in f32.
const GRADIENT_TOLERANCE: f64 = 1e-4;

/// A tensor of a file: its name, type, shape and bytes.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

/// Everything that torchvision's or pytorch-fid's file holds; of `AuxLogits` one tensor is enough here.
fn inception_entries(layout: InceptionLayout) -> Vec<Entry> {
    let mut entries = Vec::new();
    for parameter in weights::parameters(&InceptionV3::new(layout, true, &Device::flex())) {
        let data = weight(&parameter.name, &parameter.shape).iter().flat_map(|value| value.to_le_bytes()).collect();
        if let Some(module) = parameter.name.strip_suffix("running_mean") {
            entries.push((format!("{module}num_batches_tracked"), Dtype::I64, vec![], vec![0; 8]));
        }
        entries.push((parameter.name, Dtype::F32, parameter.shape, data));
    }
    entries.push(("AuxLogits.conv0.conv.weight".to_owned(), Dtype::F32, vec![2], vec![0; 8]));
    entries
}

fn file(entries: &[Entry]) -> Vec<u8> {
    let views = entries.iter().map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn inception(layout: InceptionLayout, device: &Device) -> InceptionV3 {
    InceptionV3::load(layout, &[Shard::new("inception", &file(&inception_entries(layout)))], device).unwrap()
}

fn check_inception(layout: InceptionLayout, name: &str) {
    let fixture = Fixture::without_weights("evaluation", "inception");
    let device = Device::flex();
    let network = inception(layout, &device);
    let features = network.features(uniform_tensor("images", [2, 3, 299, 299], &device));
    fixture.compare(&format!("{name}.features"), features.clone());
    fixture.compare(&format!("{name}.logits"), network.logits(features).unwrap());
    fixture.compare(&format!("{name}.small.features"), network.features(uniform_tensor("small", [1, 3, 91, 107], &device)));
}

#[test]
fn inception_of_frechet_distances() {
    check_inception(InceptionLayout::Fid, "fid");
}

#[test]
fn inception_of_torchvision() {
    check_inception(InceptionLayout::Torchvision, "torchvision");
}

#[test]
fn inception_passes_gradients_to_images() {
    let fixture = Fixture::without_weights("evaluation", "inception");
    let device = Device::flex().autodiff();
    let network = inception(InceptionLayout::Fid, &device).no_grad();
    let images = uniform_tensor("small", [1, 3, 91, 107], &device).require_grad();
    let features = network.features(images.clone());
    let gradients = (features.clone() * uniform_tensor("probe", [1, 2048], &device)).sum().backward();
    fixture.compare("fid.small.features", features);
    fixture.compare_within(GRADIENT_TOLERANCE, "fid.small.gradient", images.grad(&gradients).unwrap());
    // On a device with gradients, burn's own normalisation would have counted.
    let statistics = &network.Mixed_6c.branch7x7_2.bn.running_var;
    let expected = weight("Mixed_6c.branch7x7_2.bn.running_var", &[160]);
    assert_eq!(statistics.val().into_data().iter::<f32>().collect::<Vec<_>>(), expected);
}

#[test]
fn inception_files_that_do_not_fit_are_refused_by_name() {
    let refusal = |entries: &[Entry]| {
        InceptionV3::load(InceptionLayout::Fid, &[Shard::new("inception", &file(entries))], &Device::flex()).unwrap_err().to_string()
    };
    let without = |mut entries: Vec<Entry>, name: &str| {
        entries.retain(|entry| entry.0 != name);
        entries
    };
    let whole = inception_entries(InceptionLayout::Fid);

    let entries = without(whole.clone(), "Mixed_6c.branch7x7_2.bn.running_var");
    assert_eq!(refusal(&entries), "inception: the weights do not fit: Mixed_6c.branch7x7_2.bn.running_var [160] is missing");

    let entries = without(whole.clone(), "fc.bias");
    assert_eq!(refusal(&entries), "inception: the weights do not fit: fc.bias [1008] is missing");

    let mut entries = whole.clone();
    // There are no statistics of this name.
    entries.push(("Mixed_7c.branch_pool.conv.num_batches_tracked".to_owned(), Dtype::I64, vec![], vec![0; 8]));
    entries.push(("Mixed_8a.conv.weight".to_owned(), Dtype::F32, vec![1], vec![0; 4]));
    assert_eq!(
        refusal(&entries),
        "inception: the weights do not fit: Mixed_7c.branch_pool.conv.num_batches_tracked is surplus; Mixed_8a.conv.weight is surplus"
    );

    assert_eq!(
        refusal(&inception_entries(InceptionLayout::Torchvision)),
        "inception: the weights do not fit: fc.weight has shape [1000, 2048] instead of [1008, 2048]; fc.bias has shape [1000] instead of [1008]"
    );

    let entries = without(without(whole, "fc.bias"), "fc.weight");
    let network = InceptionV3::load(InceptionLayout::Fid, &[Shard::new("inception", &file(&entries))], &Device::flex()).unwrap();
    assert!(network.fc.is_none());
    assert!(network.logits(Tensor::zeros([1, 2048], &Device::flex())).is_none());
}

fn clip(fixture: &Fixture, device: &Device) -> ClipModel {
    let config = ClipConfig::from_json(&fixture.config).unwrap();
    assert_eq!(ClipConfig::from_json(&config.to_json()).unwrap(), config);
    weights::load(config.init(device), &[fixture.shard()]).unwrap()
}

fn check_clip(name: &'static str) {
    let fixture = Fixture::open_of("evaluation", name);
    let device = Device::flex();
    let model = clip(&fixture, &device);
    fixture.compare("image_embeds", model.image_features(fixture.tensor("images", &device)));
    fixture.compare("text_embeds", model.text_features(fixture.ids(&device)));

    let again = weights::load_state(model.clone(), weights::state(&model)).unwrap();
    assert_eq!(weights::state(&again), weights::state(&model));

    let device = device.autodiff();
    let model = clip(&fixture, &device).no_grad();
    let images = fixture.tensor::<4>("images", &device).require_grad();
    let gradients = (model.image_features(images.clone()) * fixture.tensor("probe", &device)).sum().backward();
    fixture.compare("gradient", images.grad(&gradients).unwrap());
}

#[test]
fn clip_with_quick_gelu() {
    check_clip("clip-quick-gelu");
}

#[test]
fn clip_with_gelu() {
    check_clip("clip-gelu");
}

#[test]
fn clip_files_that_do_not_fit_are_refused_by_name() {
    let fixture = Fixture::open_of("evaluation", "clip-gelu");
    let model = clip(&fixture, &Device::flex());
    let refusal = |change: &dyn Fn(&mut Vec<StateTensor>)| {
        let mut state = weights::state(&model);
        change(&mut state);
        weights::load_state(model.clone(), state).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(&|state| state.retain(|tensor| tensor.name != "vision_model.pre_layrnorm.bias")),
        "the weights do not fit: vision_model.pre_layrnorm.bias [16] is missing"
    );
    assert_eq!(
        refusal(&|state| state.push(StateTensor { name: "vision_model.stranger".to_owned(), shape: vec![1], data: vec![0.0] })),
        "the weights do not fit: vision_model.stranger is surplus"
    );
    let transpose = |tensor: &mut StateTensor| tensor.shape.reverse();
    assert_eq!(
        refusal(&|state| state.iter_mut().filter(|tensor| tensor.name == "text_projection.weight").for_each(transpose)),
        "the weights do not fit: text_projection.weight has shape [12, 16] instead of [16, 12]"
    );
}

#[test]
fn a_frozen_normalisation_is_a_factor_and_a_shift() {
    let device = Device::flex().autodiff();
    let tensor = |name: &str, data: [f32; 2]| StateTensor { name: name.to_owned(), shape: vec![2], data: data.to_vec() };
    let state =
        vec![tensor("weight", [2.0, -1.0]), tensor("bias", [0.5, 0.25]), tensor("running_mean", [1.0, -3.0]), tensor("running_var", [3.75, 0.0])];
    let norm = weights::load_state(FrozenBatchNorm2d::new(2, 0.25, &device), state).unwrap();
    let before = weights::state(&norm);
    let x = Tensor::<4>::from_data([[[[1.0, 3.0]], [[-3.0, 5.0]]]], &device).require_grad();
    let y = norm.forward(x.clone());
    assert_eq!(y.to_data().iter::<f32>().collect::<Vec<_>>(), [0.5, 2.5, 0.25, -15.75]);
    let gradients = y.sum().backward();
    assert_eq!(x.grad(&gradients).unwrap().into_data().iter::<f32>().collect::<Vec<_>>(), [1.0, 1.0, -2.0, -2.0]);
    for parameter in [&norm.weight, &norm.bias, &norm.running_mean, &norm.running_var] {
        assert!(parameter.val().grad(&gradients).is_none());
    }
    assert_eq!(weights::state(&norm), before);
}
