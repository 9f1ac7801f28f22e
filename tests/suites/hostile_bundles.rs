//! Hostile bundles: each is refused with an error. None causes a panic, or an allocation of a size that a file states.

use std::collections::BTreeMap;

use onestep_noise::{Philox, Stream};
use onestep_program::{
    Activation, Bundle, BundleError, BundleErrorKind, BundleWriter, DType, Generation, Manifest, Node, Op, Port, Program, UnaryKind, Value, ValueId,
    WeightFile, limits, program,
};

/// A small valid bundle: one program that adds a weight to its input.
fn files() -> BTreeMap<String, Vec<u8>> {
    let value = |weight: Option<&str>| Value { shape: vec![2, 3], dtype: DType::F32, weight: weight.map(str::to_owned) };
    let program = Program {
        version: program::VERSION,
        name: "sum".into(),
        values: vec![value(None), value(Some("sum.bias")), value(None)],
        inputs: vec![Port { name: "x".into(), value: ValueId(0) }],
        outputs: vec![Port { name: "y".into(), value: ValueId(2) }],
        nodes: vec![Node { op: Op::Binary { binary: onestep_program::BinaryKind::Add }, inputs: vec![ValueId(0), ValueId(1)], output: ValueId(2) }],
    };
    let header = br#"{"sum.bias":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
    let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 24]].concat();
    let writer = BundleWriter {
        title: "Sum".into(),
        license: "CC0-1.0".into(),
        generation: Generation { prompt_tokens: 4, end_of_text: None, latent: [1, 2, 3], image: [8, 8] },
        programs: BTreeMap::from([("sum".into(), program)]),
        tokenizer: b"{}".to_vec(),
        tokenizer_2: None,
        card: "# Sum".into(),
        extra: Vec::new(),
    };
    writer.files(weights).expect("a valid bundle").into_iter().collect()
}

fn open(files: &BTreeMap<String, Vec<u8>>) -> Result<Bundle, BundleError> {
    Bundle::open(&files["manifest.json"], |entry| {
        files.get(&entry.name).cloned().ok_or_else(|| BundleError::new(BundleErrorKind::Missing, &entry.name, "not there"))
    })
}

/// Replaces a file and its hashes in the manifest, as a hostile author would.
fn with(mut files: BTreeMap<String, Vec<u8>>, name: &str, bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut manifest: Manifest = serde_json::from_slice(&files["manifest.json"]).expect("a manifest");
    for entry in &mut manifest.files {
        if entry.name == name {
            *entry = onestep_program::FileEntry::of(name, bytes);
        }
    }
    files.insert("manifest.json".into(), manifest.to_json());
    files.insert(name.into(), bytes.to_vec());
    files
}

#[test]
fn the_bundle_that_all_cases_start_from_is_valid() {
    let bundle = open(&files()).expect("valid");
    assert_eq!(bundle.program("sum").expect("there").flops(), 6);
    assert!(bundle.program("generator").expect_err("not there").to_string().contains("only sum"));
}

#[test]
fn manifests_with_false_entries_are_refused_by_entry() {
    let text = String::from_utf8(files()["manifest.json"].clone()).expect("UTF-8");
    let cases: &[(&str, &str, BundleErrorKind, &str)] = &[
        ("\"version\": 2", "\"version\": 3", BundleErrorKind::Unsupported, "version 3"),
        ("onestep-bundle", "other-bundle", BundleErrorKind::Malformed, "other-bundle"),
        ("\"sum.json\",\n", "\"../sum.json\",\n", BundleErrorKind::Malformed, "../sum.json"),
        ("\"sum.json\",\n", "\"/etc/passwd\",\n", BundleErrorKind::Malformed, "/etc/passwd"),
        ("\"sum.json\",\n", "\"a\\\\b.json\",\n", BundleErrorKind::Malformed, "b.json"),
        ("\"sum.json\",\n", "\".hidden\",\n", BundleErrorKind::Malformed, ".hidden"),
        ("\"sum.json\",\n", "\"C:sum.json\",\n", BundleErrorKind::Malformed, "C:sum.json"),
        ("\"sum.json\",\n", "\"\",\n", BundleErrorKind::Malformed, "\"\""),
        ("\"sum.json\",\n", "\"README.md\",\n", BundleErrorKind::Malformed, "README.md"),
        ("\"sum.json\",\n", "\"readme.MD\",\n", BundleErrorKind::Malformed, "case alone"),
        ("\"tokenizer\": \"tokenizer.json\"", "\"tokenizer\": \"missing.json\"", BundleErrorKind::Missing, "missing.json"),
        ("\"files\"", "\"tokenizer_2\": \"missing.json\", \"files\"", BundleErrorKind::Missing, "missing.json"),
        ("\"files\"", "\"tokenizer_2\": 2, \"files\"", BundleErrorKind::Malformed, "manifest.json"),
        ("\"latent\"", "\"end_of_text\": -1, \"latent\"", BundleErrorKind::Malformed, "manifest.json"),
        ("\"latent\"", "\"end_of_text\": 4294967296, \"latent\"", BundleErrorKind::Malformed, "manifest.json"),
        ("\"image\": [", "\"image\": [9999999999, ", BundleErrorKind::Malformed, "manifest.json"),
        ("\"title\"", "\"surprise\": 1, \"title\"", BundleErrorKind::Malformed, "surprise"),
        ("\"size\": 2,", "\"size\": 18446744073709551615,", BundleErrorKind::Limit, "bytes of a bundle"),
        ("\"size\": 2,", "\"size\": 2000000000,", BundleErrorKind::Malformed, "hashes"),
    ];
    for (from, to, kind, word) in cases {
        assert!(text.contains(from), "the case {from:?} changes nothing");
        let error = Manifest::from_json(text.replacen(from, to, 1).as_bytes()).expect_err(to);
        assert_eq!((error.kind(), error.to_string().contains(word)), (*kind, true), "{to}: {error}");
    }
    let long = text.replacen("\"sum.json\",\n", &format!("\"{}\",\n", "a".repeat(101)), 1);
    assert_eq!(Manifest::from_json(long.as_bytes()).expect_err("too long").kind(), BundleErrorKind::Limit);
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    assert_eq!(Manifest::from_json(deep.as_bytes()).expect_err("too deep").kind(), BundleErrorKind::Limit);
    let large = vec![b' '; limits::MANIFEST_BYTES.max as usize + 1];
    assert_eq!(Manifest::from_json(&large).expect_err("too large").kind(), BundleErrorKind::Limit);
}

#[test]
fn programs_that_cannot_run_are_refused_before_anything_is_allocated() {
    let base = files();
    let text = String::from_utf8(base["sum.json"].clone()).expect("UTF-8");
    let cases: &[(&str, &str, BundleErrorKind, &str)] = &[
        ("\"version\":2", "\"version\":9", BundleErrorKind::Unsupported, "version 9"),
        ("\"version\":2", "\"version\":0", BundleErrorKind::Unsupported, "version 0"),
        ("\"inputs\":[0,1]", "\"inputs\":[0,7]", BundleErrorKind::Malformed, "value 7 does not exist"),
        ("\"inputs\":[0,1]", "\"inputs\":[2,1]", BundleErrorKind::Malformed, "before it is computed"),
        ("\"output\":2", "\"output\":0", BundleErrorKind::Malformed, "writes value 0"),
        ("\"output\":2", "\"output\":1", BundleErrorKind::Malformed, "writes value 1"),
        ("\"inputs\":[0,1]", "\"inputs\":[0]", BundleErrorKind::Malformed, "takes 2 tensors"),
        ("\"shape\":[2,3]", "\"shape\":[2,4]", BundleErrorKind::Malformed, "binary"),
        ("\"shape\":[2,3]", "\"shape\":[16777217]", BundleErrorKind::Limit, "length of an axis"),
        ("\"shape\":[2,3]", "\"shape\":[16777216,16777216,16777216]", BundleErrorKind::Limit, "elements"),
        ("\"shape\":[2,3]", "\"shape\":[1,1,1,1,1,1,1,1,6]", BundleErrorKind::Limit, "axes"),
        ("\"shape\":[2,3]", "\"shape\":[-1]", BundleErrorKind::Malformed, "sum.json"),
        ("\"kind\":\"binary\"", "\"kind\":\"shell\"", BundleErrorKind::Malformed, "shell"),
        ("sum.bias", "other.bias", BundleErrorKind::Missing, "other.bias"),
        ("\"dtype\":\"f32\"", "\"dtype\":\"i32\"", BundleErrorKind::Malformed, "I32"),
    ];
    for (from, to, kind, word) in cases {
        assert!(text.contains(from), "the case {from:?} changes nothing in {text}");
        let error = open(&with(base.clone(), "sum.json", text.replacen(from, to, 1).as_bytes())).expect_err(to);
        assert_eq!((error.kind(), error.to_string().contains(word)), (*kind, true), "{to}: {error}");
    }
}

#[test]
fn a_number_that_is_infinite_in_f32_is_refused() {
    // JSON has no such number: the program would be written as one that cannot be read.
    for op in [
        r#"{"kind":"affine","mul":1e39,"add":0.0}"#,
        r#"{"kind":"clamp","min":-1e200,"max":0.0}"#,
        r#"{"kind":"pad","padding":[[0,0],[0,0]],"value":1e39}"#,
        r#"{"kind":"layer_norm","epsilon":1e39,"affine":false}"#,
    ] {
        let program = format!(
            r#"{{"version":2,"name":"p","values":[{{"shape":[2,3],"dtype":"f32"}},{{"shape":[2,3],"dtype":"f32"}}],"inputs":[{{"name":"x","value":0}}],
            "outputs":[{{"name":"y","value":1}}],"nodes":[{{"op":{op},"inputs":[0],"output":1}}]}}"#
        );
        let error = Program::from_json(program.as_bytes(), "p.json").expect_err(op);
        assert!(error.kind() == BundleErrorKind::Malformed && error.to_string().contains("inf, expected a finite one"), "{error}");
    }
}

#[test]
fn flops_saturate() {
    let large = 1usize << 22;
    let op = Op::Linear { bias: false, act: Activation::None, residual: false };
    assert_eq!(op.flops(&[&[1 << 10, large], &[large, large]], &[1 << 10, large]), 1 << 55);
    let op = Op::Conv2d { stride: [1; 2], padding: [0; 4], dilation: [1; 2], groups: 1, bias: false, act: Activation::None, residual: false };
    assert_eq!(op.flops(&[&[1, large, 1024, 1], &[1, large, 1024, 1]], &[1, 1, large, 1024]), u64::MAX);
}

#[test]
fn weight_files_with_false_headers_are_refused() {
    let base = files();
    let file = |header: &str, data: usize| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat();
    let cases: &[(Vec<u8>, &str)] = &[
        (vec![], "the file is empty"),
        (vec![1; 7], "no safetensors"),
        (u64::MAX.to_le_bytes().to_vec(), "safetensors header"),
        (b"version https://git-lfs.github.com/spec/v1".to_vec(), "git lfs pull"),
        (
            file(
                r#"{"sum.bias":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"sum.bias":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#,
                24,
            ),
            "twice",
        ),
        (
            file(
                r#"{"sum.bias":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"sum.bias":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#,
                24,
            ),
            "twice",
        ),
        (file(r#"{"sum.bias":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#, 23), "valid"),
        (file(r#"{"sum.bias":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#, 25), "valid"),
        (file(r#"{"sum.bias":{"dtype":"F32","shape":[2,4],"data_offsets":[0,24]}}"#, 24), "valid"),
        (file(r#"{"sum.bias":{"dtype":"F32","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,24]}}"#, 24), "valid"),
        (file(r#"{"sum.bias":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}"#, 24), "sum.bias"),
        (file(r#"{"sum.bias":{"dtype":"F64","shape":[3],"data_offsets":[0,24]}}"#, 24), "F64"),
        (file(r#"{"other":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#, 24), "sum.bias"),
        (
            file(r#"{"sum.bias":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"more":{"dtype":"F32","shape":[1],"data_offsets":[24,28]}}"#, 28),
            "more",
        ),
        (
            file(r#"{"sum.bias":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"more":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}"#, 24),
            "valid",
        ),
    ];
    let name = base.keys().find(|name| name.ends_with(".safetensors")).expect("weights").clone();
    for (bytes, word) in cases {
        let error = open(&with(base.clone(), &name, bytes)).expect_err("refused");
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

/// A model that computes NaN is refused, even with valid hashes.
#[test]
fn weights_that_are_not_finite_are_refused_by_tensor() {
    let base = files();
    let name = base.keys().find(|name| name.ends_with(".safetensors")).expect("weights").clone();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bytes = base[&name].clone();
        let at = bytes.len() - 8;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let error = open(&with(base.clone(), &name, &bytes)).expect_err("refused");
        let told = error.to_string();
        assert!(
            error.kind() == BundleErrorKind::Malformed && told.starts_with(&name) && told.contains("tensor sum.bias") && told.contains("[1, 1]"),
            "{told}"
        );
    }
}

#[test]
fn a_missing_truncated_or_altered_file_is_named() {
    let base = files();
    for name in base.keys().filter(|name| *name != "manifest.json") {
        let mut missing = base.clone();
        missing.remove(name);
        assert!(open(&missing).expect_err("missing").to_string().contains(name));
        for alter in [|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2), |bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| bytes[0] ^= 1]
        {
            let mut altered = base.clone();
            alter(altered.get_mut(name).expect("there"));
            let error = open(&altered).expect_err("altered");
            assert_eq!((error.kind(), error.to_string().contains(name.as_str())), (BundleErrorKind::Integrity, true), "{error}");
        }
    }
}

/// Random mutants of all three formats are accepted or refused. Accepted ones must be consistent.
#[test]
fn twenty_thousand_mutants_do_not_panic() {
    let base = files();
    let weights = base.iter().find(|(name, _)| name.ends_with(".safetensors")).expect("weights").1.clone();
    let mut accepted = 0;
    for mutant in 0..20_000u64 {
        let mut source = Philox::new(20_261_122, Stream::Order, mutant);
        let formats = [&base["manifest.json"], &base["sum.json"], &weights];
        let format = source.below(3) as usize;
        let mut bytes = formats[format].clone();
        for _ in 0..=source.below(4) {
            let position = source.below(bytes.len().max(1) as u32) as usize;
            match source.below(5) {
                0 => bytes.truncate(position),
                1 if position < bytes.len() => bytes[position] ^= 1 << source.below(8),
                2 => bytes.insert(position.min(bytes.len()), source.next_u32() as u8),
                3 if position < bytes.len() => {
                    let digits: &[u8] = [&b"9"[..], b"4294967296", b"-1", b"1e99", b"[[[["][source.below(5) as usize];
                    bytes.splice(position..position, digits.iter().copied());
                }
                _ if position < bytes.len() => {
                    let end = (position + source.below(40) as usize).min(bytes.len());
                    let part = bytes[position..end].to_vec();
                    bytes.splice(position..position, part);
                }
                _ => {}
            }
        }
        accepted += usize::from(match format {
            0 => Manifest::from_json(&bytes).is_ok(),
            1 => Program::from_json(&bytes, "mutant").is_ok_and(|program| program.check("again").is_ok()),
            _ => WeightFile::new(bytes, "mutant").is_ok_and(|file| file.names().all(|name| file.get(name).is_some())),
        });
    }
    // Some mutations are harmless (a letter of a title); most must be refused.
    assert!(accepted < 10_000, "{accepted} of 20,000 mutants were accepted");
}

#[test]
fn every_unary_function_survives_the_format() {
    for unary in [UnaryKind::Neg, UnaryKind::Silu, UnaryKind::Erf, UnaryKind::QuickGelu] {
        let text = serde_json::to_string(&Op::Unary { unary }).expect("JSON");
        assert_eq!(serde_json::from_str::<Op>(&text).expect("read back"), Op::Unary { unary });
    }
}

#[test]
fn up_conv2d_of_odd_shapes_is_refused() {
    let op = Op::UpConv2d { bias: true, act: Activation::Silu, residual: true };
    let (x, weight, bias, output) = ([2, 3, 5, 7], [4, 6, 3, 2, 2], [6], [2, 6, 10, 14]);
    op.check(&[&x, &weight, &bias, &output], &output, "here").expect("valid");
    assert_eq!(op.flops(&[&x, &weight, &bias, &output], &output), 2 * (2 * 6 * 10 * 14) * (3 * 4));
    let cases: &[&[&[usize]]] = &[
        &[],
        &[&x, &weight, &bias],
        &[&x, &weight, &bias, &output, &output],
        &[&x, &[3, 6, 3, 2, 2], &bias, &output],
        &[&x, &[4, 6, 4, 2, 2], &bias, &output],
        &[&x, &[4, 6, 3, 3, 3], &bias, &output],
        &[&x, &[6, 3, 3, 3], &bias, &output],
        &[&[3, 5, 7], &weight, &bias, &output],
        &[&x, &weight, &[5], &output],
        &[&x, &weight, &bias, &[2, 6, 10, 13]],
        &[&[2, 3, usize::MAX / 2 + 1, 7], &weight, &bias, &output],
    ];
    for inputs in cases {
        assert_eq!(op.check(inputs, &output, "here").expect_err("odd").kind(), BundleErrorKind::Malformed, "{inputs:?}");
    }
    assert!(op.check(&[&x, &weight, &bias, &output], &[2, 6, 5, 7], "here").is_err());
}

#[test]
fn upsampling_enlarges_an_image() {
    let op = Op::UpsampleNearest;
    for (x, output) in [([2, 3, 5, 7], [2, 3, 9, 7]), ([1, 1, 1, 1], [1, 1, 3, 1]), ([1, 1, 0, 2], [1, 1, 0, 3])] {
        op.check(&[&x], &output, "here").expect("valid");
    }
    let x: &[usize] = &[2, 3, 5, 7];
    let cases: &[(&[&[usize]], &[usize])] = &[
        (&[], x),
        (&[x, x], x),
        (&[x], &[2, 3, 4, 7]),
        (&[x], &[2, 3, 10, 6]),
        (&[x], &[2, 4, 10, 14]),
        (&[x], &[3, 10, 14]),
        (&[x], &[]),
        (&[&[3, 5, 7]], &[3, 10, 14]),
        (&[&[1, 1, 0, 2]], &[1, 1, 1, 2]),
    ];
    for (inputs, output) in cases {
        assert_eq!(op.check(inputs, output, "here").expect_err("odd").kind(), BundleErrorKind::Malformed, "{inputs:?} to {output:?}");
    }
}

#[test]
fn layer_norms_have_gamma_and_beta_exactly_if_affine() {
    let affine = Op::LayerNorm { epsilon: 1e-5, affine: true };
    let plain = Op::LayerNorm { epsilon: 1e-5, affine: false };
    affine.check(&[&[2, 3], &[3], &[3]], &[2, 3], "here").expect("valid");
    plain.check(&[&[2, 3]], &[2, 3], "here").expect("valid");
    assert!(plain.check(&[&[2, 3], &[3], &[3]], &[2, 3], "here").is_err() && affine.check(&[&[2, 3]], &[2, 3], "here").is_err());
}

#[test]
fn other_program_versions_are_refused_by_number() {
    let version = String::from_utf8(files()["sum.json"].clone()).expect("UTF-8").replacen("\"version\":2", "\"version\":1", 1);
    assert_eq!(Program::from_json(version.as_bytes(), "old").expect_err("version 1").kind(), BundleErrorKind::Unsupported);
}
