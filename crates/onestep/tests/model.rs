//! A whole model of a few numbers: what is accepted, what is refused, and what an image depends on.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use onestep::program::{
    BinaryKind, Bundle, BundleError, BundleWriter, DType, Generation, Node, Op, Port, Program, ReduceKind, Value, ValueId, program::VERSION,
};
use onestep::{Backend, Error, ErrorKind, Model};

/// Token ids of a prompt.
const TOKENS: usize = 8;
/// Channels, rows, columns.
const LATENT: [usize; 3] = [3, 2, 2];

fn value(shape: &[usize]) -> Value {
    Value { shape: shape.to_vec(), dtype: DType::F32, weight: None }
}
fn port(name: &str, value: u32) -> Port {
    Port { name: name.into(), value: ValueId(value) }
}
fn node(op: Op, inputs: &[u32], output: u32) -> Node {
    Node { op, inputs: inputs.iter().map(|&id| ValueId(id)).collect(), output: ValueId(output) }
}

/// Encoder: a table of 9 rows of 4. Generator: noise plus the mean of the states. Decoder: a tenth of the latents.
fn writer() -> BundleWriter {
    let noise = [1, LATENT[0], LATENT[1], LATENT[2]];
    let encoder = Program {
        version: VERSION,
        name: "text_encoder".into(),
        values: vec![
            Value { shape: vec![9, 4], dtype: DType::F32, weight: Some("text_encoder.table".into()) },
            Value { shape: vec![1, TOKENS], dtype: DType::I32, weight: None },
            value(&[1, TOKENS, 4]),
        ],
        inputs: vec![port("input_ids", 1)],
        outputs: vec![port("last_hidden_state", 2)],
        nodes: vec![node(Op::Embedding, &[0, 1], 2)],
    };
    let generator = Program {
        version: VERSION,
        name: "generator".into(),
        values: vec![value(&noise), value(&[1, TOKENS, 4]), value(&[1, 1, 4]), value(&[1, 1, 2, 2]), value(&noise)],
        inputs: vec![port("noise", 0), port("encoder_hidden_states", 1)],
        outputs: vec![port("latents", 4)],
        nodes: vec![
            node(Op::Reduce { reduce: ReduceKind::Mean, axis: 1 }, &[1], 2),
            node(Op::Reshape, &[2], 3),
            node(Op::Binary { binary: BinaryKind::Add }, &[0, 3], 4),
        ],
    };
    let decoder = Program {
        version: VERSION,
        name: "decoder".into(),
        values: vec![value(&noise), value(&noise)],
        inputs: vec![port("latents", 0)],
        outputs: vec![port("sample", 1)],
        nodes: vec![node(Op::Affine { mul: 0.1, add: 0.0 }, &[0], 1)],
    };
    let programs = [encoder, generator, decoder].map(|program| (program.name.clone(), program));
    BundleWriter {
        title: "Few numbers".into(),
        license: "CC0-1.0".into(),
        generation: Generation { prompt_tokens: TOKENS, end_of_text: None, latent: LATENT, image: [2, 2] },
        programs: BTreeMap::from(programs),
        tokenizer: include_bytes!("tokenizer.json").to_vec(),
        tokenizer_2: None,
        card: "# Few numbers".into(),
        extra: Vec::new(),
    }
}

/// The weights of [`writer`]: the table, of which each element is given by its number.
fn weights(element: fn(u16) -> f32) -> Vec<u8> {
    let header = br#"{"text_encoder.table":{"dtype":"F32","shape":[9,4],"data_offsets":[0,144]}}"#;
    let table = (0..36u16).flat_map(|number| element(number).to_le_bytes());
    (header.len() as u64).to_le_bytes().into_iter().chain(*header).chain(table).collect()
}

/// A model with two text encoders, which share the table. The states of the first and of the second are side by side; the pooled state, that of the
/// second at the end of the text, is added to the latents.
fn two_encoders() -> BundleWriter {
    let mut writer = writer();
    writer.tokenizer_2 = Some(String::from_utf8(writer.tokenizer.clone()).unwrap().replace("\"pad_id\": 1", "\"pad_id\": 4").into_bytes());
    writer.generation.end_of_text = Some(1);
    let table = Value { shape: vec![9, 4], dtype: DType::F32, weight: Some("text_encoder.table".into()) };
    let ids = Value { shape: vec![1, TOKENS], dtype: DType::I32, weight: None };
    let values = vec![table, ids.clone(), ids, value(&[1, TOKENS]), value(&[1, TOKENS, 4]), value(&[1, TOKENS, 4])];
    writer.programs.insert(
        "text_encoder".into(),
        Program {
            version: VERSION,
            name: "text_encoder".into(),
            values: [values, vec![value(&[1, TOKENS, 8]), value(&[1, 1, TOKENS]), value(&[1, 1, 4]), value(&[1, 4])]].concat(),
            inputs: vec![port("input_ids", 1), port("input_ids_2", 2), port("end_of_text", 3)],
            outputs: vec![port("encoder_hidden_states", 6), port("text_embeds", 9)],
            nodes: vec![
                node(Op::Embedding, &[0, 1], 4),
                node(Op::Embedding, &[0, 2], 5),
                node(Op::Concat { axis: 2 }, &[4, 5], 6),
                node(Op::Reshape, &[3], 7),
                node(Op::MatMul, &[7, 5], 8),
                node(Op::Reshape, &[8], 9),
            ],
        },
    );
    let generator = edit(&mut writer, "generator");
    let noise = generator.values[0].clone();
    generator.values = vec![noise.clone(), value(&[1, TOKENS, 8]), value(&[1, 4])];
    generator.values.extend([value(&[1, 1, 8]), value(&[1, 1, 4]), value(&[1, 1, 2, 2]), value(&[1, 1, 2, 2]), noise.clone(), noise]);
    generator.inputs = vec![port("noise", 0), port("encoder_hidden_states", 1), port("text_embeds", 2)];
    generator.outputs = vec![port("latents", 8)];
    generator.nodes = vec![
        node(Op::Reduce { reduce: ReduceKind::Mean, axis: 1 }, &[1], 3),
        node(Op::Slice { start: vec![0, 0, 4] }, &[3], 4),
        node(Op::Reshape, &[4], 5),
        node(Op::Reshape, &[2], 6),
        node(Op::Binary { binary: BinaryKind::Add }, &[0, 5], 7),
        node(Op::Binary { binary: BinaryKind::Add }, &[7, 6], 8),
    ];
    writer
}

/// A model with finite weights and a text encoder that overflows.
fn overflowing() -> Bundle {
    let mut writer = writer();
    let encoder = writer.programs.get_mut("text_encoder").unwrap();
    encoder.values.push(value(&[1, TOKENS, 4]));
    encoder.nodes.push(node(Op::Affine { mul: 10.0, add: 0.0 }, &[2], 3));
    encoder.outputs = vec![port("last_hidden_state", 3)];
    with_weights(writer, weights(|_| f32::MAX))
}

fn bundle(writer: BundleWriter) -> Bundle {
    with_weights(writer, weights(|number| f32::from(number) / 10.0))
}

fn with_weights(writer: BundleWriter, weights: Vec<u8>) -> Bundle {
    let files: BTreeMap<String, Vec<u8>> = writer.files(weights).unwrap().into_iter().collect();
    Bundle::open::<BundleError>(&files["manifest.json"], |entry| Ok(files[&entry.name].clone())).unwrap()
}

/// Nothing in these tests waits for a device.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("waits"),
    }
}

fn refusal(mut writer: BundleWriter, edit: impl FnOnce(&mut BundleWriter)) -> Error {
    edit(&mut writer);
    // Whatever the backend: a bundle is looked at before a device is asked for.
    match now(Model::open(bundle(writer), Backend::WebGpu, &mut ())) {
        Err(error) => error,
        Ok(_) => panic!("was accepted"),
    }
}

fn edit<'a>(writer: &'a mut BundleWriter, component: &str) -> &'a mut Program {
    writer.programs.get_mut(component).unwrap()
}

#[test]
fn a_bundle_whose_parts_do_not_fit_is_refused_before_a_device_is_asked_for() {
    type Edit = fn(&mut BundleWriter);
    let cases: [(Edit, &str); 8] = [
        (|writer| drop(writer.programs.remove("decoder")), "no decoder"),
        (|writer| edit(writer, "generator").inputs[0].name = "sample".into(), "has the ports encoder_hidden_states, sample"),
        (|writer| edit(writer, "decoder").outputs.push(port("more", 0)), "ports"),
        (|writer| writer.generation.prompt_tokens = 9, "input_ids"),
        (|writer| writer.generation.latent = [4, 2, 2], "noise"),
        (|writer| writer.generation.image = [4, 2], "sample"),
        (|writer| writer.generation.image = [0, 2], "zero"),
        (|writer| writer.tokenizer = b"{}".to_vec(), "tokenizer.json"),
    ];
    for (edit, says) in cases {
        let error = refusal(writer(), edit);
        assert_eq!(error.kind(), ErrorKind::InvalidBundle, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_tokenizer_with_more_ids_than_the_text_encoder_knows_is_refused() {
    let error = refusal(writer(), |writer| {
        let smaller = String::from_utf8(writer.tokenizer.clone()).unwrap().replace("\"pad_id\": 1", "\"pad_id\": 9");
        writer.tokenizer = smaller.into_bytes();
    });
    assert!(error.to_string().contains("id 9"), "{error}");
}

#[test]
fn a_bundle_with_two_encoders_whose_parts_do_not_fit_is_refused() {
    type Edit = fn(&mut BundleWriter);
    let cases: [(Edit, &str); 10] = [
        (|writer| writer.tokenizer_2 = None, "has the ports end_of_text, input_ids, input_ids_2, expected input_ids"),
        (|writer| drop(edit(writer, "text_encoder").inputs.pop()), "text-encoder.json: operation 3 reads value 3 before it is computed"),
        (|writer| edit(writer, "text_encoder").values[2].shape = vec![1, 7], "operation 1: embedding of [[9, 4], [1, 7]]"),
        (|writer| edit(writer, "text_encoder").values[3].shape = vec![TOKENS, 1], "end_of_text"),
        (|writer| edit(writer, "text_encoder").values[3].dtype = DType::I32, "tensor 0 of reshape is I32"),
        (|writer| edit(writer, "text_encoder").outputs.swap_remove(1).name.clear(), "has the ports encoder_hidden_states, expected"),
        (|writer| edit(writer, "text_encoder").outputs[1].value = ValueId(8), "text_embeds is [1, 1, 4], expected [1, width]"),
        (|writer| drop(edit(writer, "generator").inputs.pop()), "generator.json: operation 3 reads value 2 before it is computed"),
        (|writer| writer.tokenizer_2 = Some(b"{}".to_vec()), "tokenizer-2.json"),
        (
            |writer| {
                let text = String::from_utf8(writer.tokenizer.clone()).unwrap();
                writer.tokenizer_2 = Some(text.replace("\"pad_id\": 1", "\"pad_id\": 9").into_bytes());
            },
            "tokenizer-2.json: the tokenizer says id 9",
        ),
    ];
    for (edit, says) in cases {
        let mut writer = two_encoders();
        edit(&mut writer);
        // Programs that cannot run are refused earlier, when the bundle is read.
        let error = match writer.clone().files(weights(f32::from)) {
            Ok(_) => refusal(two_encoders(), edit).to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(says), "{error}, expected {says}");
    }
}

/// Of a clock that began some time ago.
fn milliseconds() -> f64 {
    static BEGUN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    BEGUN.elapsed().as_secs_f64() * 1e3
}

#[cfg(feature = "cpu")]
mod on_the_cpu {
    use super::*;

    #[test]
    fn every_operation_is_measured_without_effect_on_the_next_image() {
        let mut model = model();
        let before = generate(&mut model, "red", 1).rgba;
        let options = GenerateOptions { prompt: "a a a".into(), ..GenerateOptions::default() };
        let costs = now(model.profile(&options, milliseconds)).unwrap();
        let found: Vec<_> = costs.iter().map(|cost| (cost.component, cost.kernel, cost.runs)).collect();
        let expected =
            [("text_encoder", "embedding"), ("generator", "reduce"), ("generator", "reshape"), ("generator", "binary"), ("decoder", "affine")];
        assert_eq!(found, expected.map(|(component, kernel)| (component, kernel, 1)));
        assert!(costs.iter().all(|cost| cost.milliseconds >= 0.0) && costs.iter().any(|cost| cost.milliseconds > 0.0), "{costs:?}");
        assert_eq!(generate(&mut model, "red", 1).rgba, before);
        assert!(model.memory() >= 144, "{}", model.memory());
    }

    use onestep::{Callbacks, GenerateOptions, Image, Stage, program::TensorRef};

    fn model() -> Model {
        now(Model::open(bundle(writer()), Backend::Cpu, &mut ())).unwrap()
    }
    fn generate(model: &mut Model, prompt: &str, seed: u64) -> Image {
        now(model.generate(&GenerateOptions { prompt: prompt.into(), noise: seed.into(), ..GenerateOptions::default() }, &mut ())).unwrap()
    }

    #[test]
    fn an_image_is_the_result_of_the_programs_on_the_noise_of_the_seed() {
        let image = generate(&mut model(), "A red", 7);
        // <|startoftext|> a red <|endoftext|> and four of padding: rows 0, 3, 8 and five times 1.
        let mean: Vec<f32> =
            (0..4).map(|axis| [0, 3, 8, 1, 1, 1, 1, 1].iter().map(|row| (row * 4 + axis) as f32 / 10.0).sum::<f32>() / 8.0).collect();
        let noise = onestep_noise::standard_normal(7, 12);
        for pixel in 0..4 {
            for channel in 0..3 {
                let sample = (noise[channel * 4 + pixel] + mean[pixel]) * 0.1;
                let expected = ((sample * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round();
                assert!((f32::from(image.rgba[pixel * 4 + channel]) - expected).abs() <= 1.0);
            }
            assert_eq!(image.rgba[pixel * 4 + 3], 255);
        }
        assert_eq!((image.width, image.height, &image.noise), (2, 2, &7.into()));
    }

    /// The image of `two_encoders` for a prompt of these two lists of ids; their first end of text is at `end`.
    pub(super) fn expected_of_two(ids: [usize; TOKENS], end: usize, seed: u64) -> Vec<f32> {
        let noise = onestep_noise::standard_normal(seed, 12);
        let row = |id: usize, axis: usize| (id * 4 + axis) as f32 / 10.0;
        let mean: Vec<f32> = (0..4).map(|axis| ids.iter().map(|&id| row(id, axis)).sum::<f32>() / 8.0).collect();
        (0..12).map(|at| (noise[at] + mean[at % 4] + row(ids[end], at % 4)) * 0.1).collect()
    }

    #[test]
    fn the_second_encoder_reads_its_own_tokenizer_and_pools_at_the_end_of_the_text() {
        let mut model = now(Model::open(bundle(two_encoders()), Backend::Cpu, &mut ())).unwrap();
        let image = generate(&mut model, "A red", 7);
        // Padded by 4, unlike the first one.
        assert_eq!((&image.prompt.ids[..], &image.prompt.ids_2[..]), (&[0, 3, 8, 1, 1, 1, 1, 1][..], &[0, 3, 8, 1, 4, 4, 4, 4][..]));
        for (at, sample) in expected_of_two([0, 3, 8, 1, 4, 4, 4, 4], 3, 7).into_iter().enumerate() {
            let expected = ((sample * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round();
            assert!((f32::from(image.rgba[at % 4 * 4 + at / 4]) - expected).abs() <= 1.0, "{at}");
        }
        // Without an id in the manifest: the first of the largest, here that of "red".
        let mut writer = two_encoders();
        writer.generation.end_of_text = None;
        let image = generate(&mut now(Model::open(bundle(writer), Backend::Cpu, &mut ())).unwrap(), "A red", 7);
        let sample = expected_of_two([0, 3, 8, 1, 4, 4, 4, 4], 2, 7)[0];
        assert!((f32::from(image.rgba[0]) - ((sample * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0)).abs() <= 1.0);
    }

    #[test]
    fn images_depend_on_prompt_and_seed_only() {
        let mut model = model();
        let first = generate(&mut model, "red", 1);
        assert_ne!(first.rgba, generate(&mut model, "red", 2).rgba);
        assert_ne!(first.rgba, generate(&mut model, "a a a", 1).rgba);
        assert_eq!(first.rgba, generate(&mut model, "red", 1).rgba);
        // Running a component on other inputs has no effect on the next image.
        let states = vec![9.0; TOKENS * 4];
        let inputs = [("noise", TensorRef::F32(&[0.0; 12])), ("encoder_hidden_states", TensorRef::F32(&states))];
        assert_eq!(now(model.run("generator", &inputs)).unwrap()[0].1, [9.0; 12]);
        assert_eq!(first.rgba, generate(&mut model, "red", 1).rgba);
        assert_eq!(now(model.run("teacher", &[])).unwrap_err().kind(), ErrorKind::InvalidOption);
    }

    /// Records the stages, and cancels before one of them.
    struct Stop(Vec<&'static str>, &'static str);

    impl Callbacks for Stop {
        fn now(&self) -> f64 {
            self.0.len() as f64
        }
        fn stage(&mut self, stage: Stage) -> bool {
            self.0.push(stage.name());
            stage.name() != self.1
        }
    }

    #[test]
    fn a_call_can_be_cancelled_before_every_stage() {
        let mut model = model();
        let options = GenerateOptions { prompt: "red".into(), noise: 1.into(), staged: true, ..GenerateOptions::default() };
        let whole = generate(&mut self::model(), "red", 1);
        for (index, stage) in ["tokenize", "text encoder", "generator", "decoder"].into_iter().enumerate() {
            let mut model = self::model();
            let mut stop = Stop(Vec::new(), stage);
            assert_eq!(now(model.generate(&options, &mut stop)).unwrap_err().kind(), ErrorKind::Cancelled);
            assert_eq!(stop.0.len(), index + 1);
            assert_eq!(generate(&mut model, "red", 1).rgba, whole.rgba);
        }
        let mut callbacks = Stop(Vec::new(), "");
        let image = now(model.generate(&options, &mut callbacks)).unwrap();
        assert_eq!(callbacks.0, ["tokenize", "text encoder", "generator", "decoder"]);
        assert_eq!(image.timings.total, 4.0);
        // The text embeddings of the same prompt are reused.
        let mut callbacks = Stop(Vec::new(), "");
        now(model.generate(&options, &mut callbacks)).unwrap();
        assert_eq!(callbacks.0, ["tokenize", "generator", "decoder"]);
        assert!(
            matches!(now(Model::open(bundle(writer()), Backend::Cpu, &mut Stop(Vec::new(), "compile"))), Err(error) if error.kind() == ErrorKind::Cancelled)
        );
    }

    #[test]
    fn weights_that_overflow_are_an_error() {
        let mut model = now(Model::open(overflowing(), Backend::Cpu, &mut ())).unwrap();
        let error =
            now(model.generate(&GenerateOptions { prompt: "red".into(), noise: 1.into(), ..GenerateOptions::default() }, &mut ())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        assert!(error.to_string().contains("text encoder"), "{error}");
    }

    #[test]
    fn a_png_names_its_bundle() {
        let mut model = model();
        let image = generate(&mut model, "red", 1);
        let file = model.png(&image, "red").unwrap();
        let text = String::from_utf8_lossy(&file);
        assert!(text.contains(&format!("Model: Few numbers, Model hash: {}", &model.id()[..10])));
        assert!(text.contains(&format!("\"bundle\":\"{}\"", model.id())));
    }
}

#[cfg(feature = "webgpu")]
mod on_a_gpu {
    use super::*;
    use onestep::{Callbacks, GenerateOptions, Image, Stage};
    use pollster::block_on;

    /// The model on this machine's adapter; `None`, with a message, if there is none.
    fn model(bundle: Bundle) -> Option<Model> {
        match block_on(Model::open(bundle, Backend::WebGpu, &mut ())) {
            Ok(model) => Some(model),
            Err(error) if std::env::var("ONESTEP_REQUIRE_GPU").is_ok_and(|value| value == "1") => panic!("ONESTEP_REQUIRE_GPU is set, and {error}"),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    fn generate(model: &mut Model, prompt: &str, staged: bool, skip_readback: bool) -> Image {
        block_on(model.generate(&GenerateOptions { prompt: prompt.into(), noise: 3.into(), staged, skip_readback }, &mut ())).unwrap()
    }

    #[test]
    fn one_submission_gives_what_the_stages_give() {
        let Some(mut model) = model(bundle(writer())) else { return };
        let staged = generate(&mut model, "red", true, false);
        assert_eq!(staged.rgba.len(), 16);
        assert!(staged.timings.stages.is_some());
        for (prompt, staged_before) in [("red", false), ("a a a", true), ("red", true)] {
            generate(&mut model, prompt, staged_before, true);
        }
        let at_once = generate(&mut model, "red", false, false);
        assert_eq!((&at_once.rgba, at_once.timings.stages), (&staged.rgba, None));
        assert_ne!(generate(&mut model, "a a a", false, false).rgba, staged.rgba);
        assert!(generate(&mut model, "red", false, true).rgba.is_empty());
        assert_eq!(generate(&mut model, "red", false, false).rgba, staged.rgba);
    }

    #[test]
    fn overflow_is_an_error_in_one_submission_and_in_stages() {
        let Some(mut model) = model(overflowing()) else { return };
        for (staged, skip_readback) in [(true, false), (false, false), (false, true)] {
            let error =
                block_on(model.generate(&GenerateOptions { prompt: "red".into(), noise: 1.into(), staged, skip_readback }, &mut ())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NonFinite);
            assert!(error.to_string().contains("text encoder"), "{error}");
        }
    }

    #[test]
    fn models_use_a_device_of_the_application() {
        use onestep::webgpu::{Gpu, wgpu};
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let Ok(adapter) = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())) else {
            assert!(std::env::var("ONESTEP_REQUIRE_GPU").is_err(), "ONESTEP_REQUIRE_GPU is set, and there is no adapter");
            return eprintln!("skipped: no adapter");
        };
        let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        device.on_uncaptured_error({
            let heard = heard.clone();
            std::sync::Arc::new(move |error| heard.lock().unwrap().push(error.to_string()))
        });
        let gpu = Gpu::shared(instance, adapter, device.clone(), queue.clone());
        let mut models = [(); 2].map(|()| block_on(Model::open_on(bundle(writer()), gpu.clone(), &mut ())).unwrap());
        let [first, second] = models.each_mut().map(|model| generate(model, "red", false, false).rgba);
        assert_eq!(first, second);
        // The owner reads the model's buffer on the shared device.
        let read = |buffer: &wgpu::Buffer, bytes: u64| {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let copy = device.create_buffer(&wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false });
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, bytes);
            queue.submit([encoder.finish()]);
            copy.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
            copy.get_mapped_range(..).unwrap().to_vec()
        };
        assert_eq!(read(models[0].pixels().unwrap(), 16), first);
        drop(models);
        // The owner can still use the device and receives its errors.
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
        queue.write_buffer(&buffer, 0, &[7; 16]);
        assert_eq!(read(&buffer, 16), [7; 16]);
        assert!(heard.lock().unwrap().is_empty());
        let _ =
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage: wgpu::BufferUsages::empty(), mapped_at_creation: false });
        assert_eq!(heard.lock().unwrap().len(), 1);
        gpu.lose("its owner says so");
        assert!(matches!(block_on(Model::open_on(bundle(writer()), gpu, &mut ())), Err(error) if error.kind() == ErrorKind::DeviceLost));
    }

    #[test]
    fn every_kernel_is_measured_without_effect_on_the_next_image() {
        let Some(mut model) = model(bundle(writer())) else { return };
        let before = generate(&mut model, "red", false, false).rgba;
        let costs = block_on(model.profile(&GenerateOptions { prompt: "a a a".into(), ..GenerateOptions::default() }, super::milliseconds)).unwrap();
        for component in ["text_encoder", "generator", "decoder"] {
            assert!(costs.iter().any(|cost| cost.component == component && cost.runs > 0), "{costs:?}");
        }
        assert!(costs.iter().all(|cost| cost.milliseconds.is_finite() && cost.milliseconds >= 0.0), "{costs:?}");
        assert!(costs.iter().any(|cost| cost.milliseconds > 0.0), "{costs:?}");
        assert_eq!(generate(&mut model, "red", false, false).rgba, before);
        assert!(model.memory() >= 144 + 16);
    }

    /// Stores the tuning and counts measurements.
    #[derive(Default)]
    struct Tuning {
        line: Option<String>,
        measured: usize,
        at: std::cell::Cell<f64>,
    }

    impl Callbacks for Tuning {
        fn now(&self) -> f64 {
            self.at.set(self.at.get() + 0.25);
            self.at.get()
        }
        fn stage(&mut self, stage: Stage) -> bool {
            self.measured += usize::from(stage == Stage::Measure);
            true
        }
        fn load_tuning(&mut self) -> Option<String> {
            self.line.clone()
        }
        fn save_tuning(&mut self, line: &str) {
            self.line = Some(line.to_owned());
        }
    }

    #[test]
    fn variants_are_measured_once_on_a_gpu_and_never_on_software_adapters() {
        let Some(model) = model(bundle(writer())) else { return };
        let software = model.device().software;
        let mut callbacks = Tuning::default();
        for _ in 0..2 {
            block_on(Model::open(bundle(writer()), Backend::WebGpu, &mut callbacks)).unwrap();
            assert_eq!(callbacks.measured, usize::from(!software), "{:?}", callbacks.line);
        }
        // The tuning of another machine is ignored.
        callbacks.line = Some("0123456789abcdef tile register together halves".into());
        block_on(Model::open(bundle(writer()), Backend::WebGpu, &mut callbacks)).unwrap();
        assert_eq!(callbacks.measured, 2 * usize::from(!software));
    }
}
