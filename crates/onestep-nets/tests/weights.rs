//! Weights that are written, read again, and refused.

mod fixture;

use std::collections::BTreeMap;

use burn::tensor::Device;
use fixture::Fixture;
use onestep_nets::{
    AutoencoderKlConfig, ClipTextConfig, Init, UNet2DConditionConfig,
    weights::{self, LoadError, Shard, TensorProblem},
};

#[test]
fn what_is_written_is_read_identically() {
    let device = Device::flex();
    for name in ["unet-sd15", "unet-sd2", "unet-sdxl"] {
        let fixture = Fixture::open(name);
        let config = UNet2DConditionConfig::from_json(&fixture.config).unwrap();
        assert_eq!(UNet2DConditionConfig::from_json(&config.to_json()).unwrap(), config);
        let unet = weights::load(config.init(&device), &[fixture.shard()]).unwrap();
        let metadata = BTreeMap::from([("revision".to_owned(), "abc".to_owned()), ("ä".to_owned(), "1".to_owned())]);
        let bytes = weights::save(&unet, &metadata);
        assert_eq!(bytes, weights::save(&unet, &metadata));
        let again = weights::load(config.init(&device), &[Shard::new("again", &bytes)]).unwrap();
        assert_eq!(weights::state(&unet), weights::state(&again));
        assert_eq!(weights::save(&again, &metadata), bytes);
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().as_ref().unwrap();
        assert_eq!((metadata["format"].as_str(), metadata["revision"].as_str()), ("pt", "abc"));
    }
    for name in ["vae-quant", "vae-no-quant", "vae-no-attention"] {
        let fixture = Fixture::open(name);
        let config = AutoencoderKlConfig::from_json(&fixture.config).unwrap();
        assert_eq!(AutoencoderKlConfig::from_json(&config.to_json()).unwrap(), config);
        let vae = weights::load(config.init(&device), &[fixture.shard()]).unwrap();
        let again = weights::load(config.init(&device), &[Shard::new("again", &weights::save(&vae, &BTreeMap::new()))]).unwrap();
        assert_eq!(weights::state(&vae), weights::state(&again));
    }
    for name in ["clip-quick-gelu", "clip-gelu-projection"] {
        let fixture = Fixture::open(name);
        let config = ClipTextConfig::from_json(&fixture.config).unwrap();
        assert_eq!(ClipTextConfig::from_json(&config.to_json()).unwrap(), config);
        let clip = weights::load(config.init(&device), &[fixture.shard()]).unwrap();
        let again = weights::load_state(config.init(&device), weights::state(&clip)).unwrap();
        assert_eq!(weights::state(&clip), weights::state(&again));
    }
}

#[test]
fn parameters_agree_with_state() {
    let fixture = Fixture::open("unet-sd2");
    let unet = UNet2DConditionConfig::from_json(&fixture.config).unwrap().init(&Device::flex());
    let parameters: Vec<_> = weights::parameters(&unet).into_iter().map(|p| (p.name, p.shape)).collect();
    let state: Vec<_> = weights::state(&unet).into_iter().map(|t| (t.name, t.shape)).collect();
    assert_eq!(parameters, state);
    assert!(parameters.contains(&("down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj.weight".to_owned(), vec![128, 16])));
}

#[test]
fn shards_are_read_together() {
    let fixture = Fixture::open("vae-quant");
    let config = AutoencoderKlConfig::from_json(&fixture.config).unwrap();
    let vae = weights::load(config.init(&Device::flex()), &[fixture.shard()]).unwrap();
    let views = |part: usize| {
        let state = weights::state(&vae);
        let half = state.len() / 2;
        let mut state = state;
        let part = if part == 0 { state.drain(..half).collect::<Vec<_>>() } else { state.drain(half..).collect() };
        let data: Vec<(String, Vec<usize>, Vec<u8>)> =
            part.into_iter().map(|t| (t.name, t.shape, t.data.iter().flat_map(|value| value.to_le_bytes()).collect())).collect();
        let views: Vec<_> = data
            .iter()
            .map(|(name, shape, data)| (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data).unwrap()))
            .collect();
        safetensors::serialize(views, None).unwrap()
    };
    let (first, second) = (views(0), views(1));
    let (first, second) = (Shard::new("model-00001-of-00002.safetensors", &first), Shard::new("model-00002-of-00002.safetensors", &second));
    let again = weights::load(config.init(&Device::flex()), &[first, second]).unwrap();
    assert_eq!(weights::state(&vae), weights::state(&again));

    let error = weights::load(config.init(&Device::flex()), &[first, second, Shard::new("again", first.bytes)]).unwrap_err();
    assert!(matches!(error, LoadError::Duplicate { .. }), "{error}");
    assert!(error.to_string().contains("in model-00001-of-00002.safetensors and in again"), "{error}");
    let stranger = tensor_file("stranger", &[1], &[0.0]);
    let error = weights::load(config.init(&Device::flex()), &[first, second, Shard::new("third", &stranger)]).unwrap_err().to_string();
    assert_eq!(error, "model-00001-of-00002.safetensors and 2 more: the weights do not fit: stranger is surplus (third)");
}

#[test]
fn former_names_are_read() {
    let fixture = Fixture::open("vae-quant");
    let config = AutoencoderKlConfig::from_json(&fixture.config).unwrap();
    let vae = weights::load(config.init(&Device::flex()), &[fixture.shard()]).unwrap();
    let mut renamed = 0;
    let mut state = weights::state(&vae);
    for tensor in &mut state {
        let former =
            tensor.name.replace(".to_q.", ".query.").replace(".to_k.", ".key.").replace(".to_v.", ".value.").replace(".to_out.0.", ".proj_attn.");
        renamed += usize::from(former != tensor.name);
        tensor.name = former;
    }
    assert_eq!(renamed, 16);
    let again = weights::load_state(config.init(&Device::flex()), state).unwrap();
    assert_eq!(weights::state(&vae), weights::state(&again));
}

#[test]
fn every_tensor_that_does_not_fit_is_named() {
    let fixture = Fixture::open("clip-gelu-projection");
    let config = ClipTextConfig::from_json(&fixture.config).unwrap();
    let init = || config.init(&Device::flex());
    let mut state = weights::state(&init());
    state[0].name = "stranger".to_owned();
    state[1].shape.push(1);
    state[2].data.pop();
    let names: Vec<String> = weights::state(&init()).into_iter().take(3).map(|tensor| tensor.name).collect();
    let LoadError::Tensors { problems, .. } = weights::load_state(init(), state).unwrap_err() else { panic!() };
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems.iter().any(|p| matches!(p, TensorProblem::Missing { name, .. } if *name == names[0])));
    assert!(problems.iter().any(|p| matches!(p, TensorProblem::Surplus { name, .. } if name == "stranger")));
    assert!(problems.iter().any(|p| matches!(p, TensorProblem::Shape { name, .. } if *name == names[1])));
    assert!(problems.iter().any(|p| matches!(p, TensorProblem::Data { name, .. } if *name == names[2])));
    let error = weights::load(init(), &[]).unwrap_err().to_string();
    assert!(error.contains("and 25 more") || error.contains("more"), "{error}");
}

#[test]
fn unsound_files_are_refused() {
    let fixture = Fixture::open("clip-gelu-projection");
    let config = ClipTextConfig::from_json(&fixture.config).unwrap();
    let load = |bytes: &[u8]| weights::load(config.init(&Device::flex()), &[Shard::new("text_encoder/model.safetensors", bytes)]).unwrap_err();
    let whole = &fixture.weights;
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut long = ((9u64 << 20).to_le_bytes()).to_vec();
    long.resize(16 << 20, b' ');
    let overflow = br#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}"#;
    let mut product = (overflow.len() as u64).to_le_bytes().to_vec();
    product.extend(overflow);
    product.extend([0; 4]);
    for bytes in [&[][..], &whole[..7], &whole[..whole.len() - 1], &whole[..200], &huge, &long, &product] {
        let error = load(bytes);
        assert!(matches!(&error, LoadError::Container { file, .. } if file.starts_with("text_encoder/model.safetensors")), "{error}");
        assert!(error.to_string().starts_with("text_encoder/model.safetensors"), "{error}");
    }
    let pointer = load(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").to_string();
    assert!(pointer.starts_with("text_encoder/model.safetensors") && pointer.contains("git lfs pull"), "{pointer}");
    let integers = br#"{"text_projection.weight":{"dtype":"I32","shape":[10,16],"data_offsets":[0,640]}}"#;
    let mut other = (integers.len() as u64).to_le_bytes().to_vec();
    other.extend(integers);
    other.resize(other.len() + 640, 0);
    let LoadError::Tensors { problems, .. } = load(&other) else { panic!() };
    assert!(problems.iter().any(|p| matches!(p, TensorProblem::Data { name, .. } if name == "text_projection.weight")));
}

fn tensor_file(name: &str, shape: &[usize], values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &data).unwrap();
    safetensors::serialize([(name, view)], None).unwrap()
}

/// In files and in memory, in whatever layout the parameter has in burn; the position is that of the file.
#[test]
fn values_that_are_not_finite_are_refused_by_tensor_and_position() {
    let fixture = Fixture::open("clip-gelu-projection");
    let config = ClipTextConfig::from_json(&fixture.config).unwrap();
    let init = || config.init(&Device::flex());
    let whole = weights::load(init(), &[fixture.shard()]).unwrap();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut state = weights::state(&whole);
        let tensor = state.iter_mut().find(|tensor| tensor.name == "text_projection.weight").unwrap();
        let columns = tensor.shape[1];
        tensor.data[2 * columns + 3] = value;
        tensor.data[3 * columns] = value;
        let error = weights::load_state(init(), state).unwrap_err().to_string();
        assert_eq!(error, format!("the weights do not fit: text_projection.weight has the value {value} at [2, 3], where weights must be finite"));

        let mut bytes = fixture.weights.clone();
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&value.to_le_bytes());
        let error = weights::load(init(), &[Shard::new("model.safetensors", &bytes)]).unwrap_err().to_string();
        assert!(error.starts_with("model.safetensors: ") && error.contains(&format!("has the value {value} at [")), "{error}");
    }
}
