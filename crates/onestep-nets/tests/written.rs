//! Folders in the layout of diffusers and transformers, for `tests/reference/check_written.py` to read.
//!
//! Writes into the folder named by `ONESTEP_WRITE_NETS`, and does nothing without it. Weights are fresh ones, as for training.

mod fixture;

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    module::Module,
    tensor::{Device, Distribution, Int, Tensor},
};
use fixture::Fixture;
use onestep_nets::{
    AddedConditions, AutoencoderKlConfig, ClipConfig, ClipTextConfig, Conditioning, Init, SchedulerConfig, UNet2DConditionConfig,
    weights::{self, StateTensor},
};
use safetensors::{Dtype, tensor::TensorView};

fn write<M: Module>(folder: &Path, file: &str, config: &str, module: &M, case: Vec<StateTensor>, ids: Option<[i64; 10]>) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), config).unwrap();
    fs::write(folder.join(file), weights::save(module, &BTreeMap::new())).unwrap();
    let mut data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> =
        case.into_iter().map(|t| (t.name, Dtype::F32, t.shape, t.data.iter().flat_map(|value| value.to_le_bytes()).collect())).collect();
    if let Some(ids) = ids {
        data.push(("ids".into(), Dtype::I64, vec![2, 5], ids.iter().flat_map(|id| id.to_le_bytes()).collect()));
    }
    let views = data.iter().map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    fs::write(folder.join("case.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

fn tensor<const D: usize>(name: &str, tensor: &Tensor<D>) -> StateTensor {
    let data = tensor.clone().into_data().iter::<f32>().collect();
    StateTensor { name: name.to_owned(), shape: tensor.dims().to_vec(), data }
}

#[test]
fn folders_for_diffusers() {
    let Some(root) = std::env::var_os("ONESTEP_WRITE_NETS") else {
        eprintln!("skipped: ONESTEP_WRITE_NETS is not set");
        return;
    };
    let root = Path::new(&root);
    let device = Device::flex();
    device.seed(7);
    let noise = |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);

    for name in ["unet-sd15", "unet-sd2", "unet-sdxl"] {
        let config = UNet2DConditionConfig::from_json(&Fixture::open(name).config).unwrap();
        let unet = config.init(&device);
        let sample = noise([2, config.in_channels, 8, 8]);
        let text = Tensor::<3>::random([2, 5, config.cross_attention_dim.get(0).unwrap()], Distribution::Normal(0.0, 1.0), &device);
        let timestep = Tensor::<1>::from_data([999.0, 21.0], &device);
        let mut case = vec![tensor("sample", &sample), tensor("encoder_hidden_states", &text), tensor("timestep", &timestep)];
        let added = config.addition_embed_type.is_some().then(|| {
            let pooled = config.projection_class_embeddings_input_dim.unwrap() - 6 * config.addition_time_embed_dim.unwrap();
            AddedConditions {
                text_embeds: Tensor::random([2, pooled], Distribution::Normal(0.0, 1.0), &device),
                time_ids: Tensor::<2>::from_data([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]; 2], &device),
            }
        });
        if let Some(added) = &added {
            case.push(tensor("text_embeds", &added.text_embeds));
            case.push(tensor("time_ids", &added.time_ids));
        }
        case.push(tensor("out", &unet.forward(sample, timestep, Conditioning { states: text, added, guidance: None })));
        let file = "diffusion_pytorch_model.safetensors";
        write(&root.join(name), file, &config.to_json(), &unet, case, None);
    }

    for name in ["vae-quant", "vae-no-quant", "vae-no-attention"] {
        let config = AutoencoderKlConfig::from_json(&Fixture::open(name).config).unwrap();
        let vae = config.init(&device);
        let (images, latents) = (noise([1, 3, 16, 16]), noise([1, config.latent_channels, 4, 4]));
        let case = vec![
            tensor("images", &images),
            tensor("latents", &latents),
            tensor("mean", &vae.encode(images).mean),
            tensor("decoded", &vae.decode(latents)),
        ];
        let file = "diffusion_pytorch_model.safetensors";
        write(&root.join(name), file, &config.to_json(), &vae, case, None);
    }

    for name in ["clip-quick-gelu", "clip-gelu-projection"] {
        let config = ClipTextConfig::from_json(&Fixture::open(name).config).unwrap();
        let clip = config.init(&device);
        let ids = [1, 5, 20, 3, 20, 1, 30, 20, 0, 0];
        let tokens = || Tensor::<1, Int>::from_data(ids, &device).reshape([2, 5]);
        let last = clip.forward(tokens()).last_hidden_state;
        let pooled = clip.pool(last.clone(), tokens());
        let mut case = vec![tensor("last_hidden_state", &last), tensor("pooler_output", &pooled)];
        case.extend(clip.project(pooled).map(|embeds| tensor("text_embeds", &embeds)));
        write(&root.join(name), "model.safetensors", &config.to_json(), &clip, case, Some(ids));
    }

    for name in ["clip-quick-gelu", "clip-gelu"] {
        let config = ClipConfig::from_json(&Fixture::open_of("evaluation", name).config).unwrap();
        let clip = config.init(&device);
        let ids = [1, 5, 20, 3, 20, 1, 25, 20, 0, 0];
        let size = config.vision_config.image_size;
        let images = noise([2, 3, size, size]);
        let text = clip.text_features(Tensor::<1, Int>::from_data(ids, &device).reshape([2, 5]));
        let case = vec![tensor("text_embeds", &text), tensor("image_embeds", &clip.image_features(images.clone())), tensor("images", &images)];
        write(&root.join(format!("whole-{name}")), "model.safetensors", &config.to_json(), &clip, case, Some(ids));
    }

    fs::create_dir_all(root.join("scheduler")).unwrap();
    fs::write(root.join("scheduler/scheduler_config.json"), SchedulerConfig::default().to_json()).unwrap();
}
