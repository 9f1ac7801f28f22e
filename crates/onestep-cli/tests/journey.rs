//! The whole path at a size that takes seconds: images, autoencoder, teacher, pairs, student, bundle, image — and what happens when
//! it is killed on the way, or given something broken.

#[path = "support/journey.rs"]
mod fixture;
mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fixture::{MADE, TRAINING, command, copy_folder, journey, onestep, run, succeed};
use support::text;

/// Everything that must not depend on when a run was interrupted: the result, and which steps the log has.
fn result(folder: &Path) -> (Vec<(String, Vec<u8>)>, Vec<u64>) {
    let mut files = Vec::new();
    // A pair set is a result itself. Which old checkpoints are still there may depend on the kills.
    let made = ["model", "metric"].map(|made| folder.join(made)).into_iter().find(|made| made.exists());
    let mut collect = vec![made.unwrap_or_else(|| folder.to_owned())];
    while let Some(path) = collect.pop() {
        if path.is_dir() {
            collect.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            let name = path.strip_prefix(folder).expect("inside").display().to_string();
            files.push((name, fs::read(&path).expect("a file")));
        }
    }
    files.sort();
    let log = fs::read_to_string(folder.join("log.jsonl")).unwrap_or_default();
    let steps =
        log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line")["step"].as_u64().expect("a step")).collect();
    (files, steps)
}

/// A moment that differs from run to run; it is printed, so that a failure can be understood.
fn random_milliseconds(most: u64) -> u64 {
    u64::from(SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_micros()) % most
}

fn kill_after(mut child: Child, milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
    child.kill().expect("SIGKILL is sent");
    child.wait().expect("the child is gone");
}

/// Whether a run has saved what a resume goes on from, and has not come to its end.
fn is_under_way(folder: &Path) -> bool {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let named = |path: &Path, start: &str| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    let shards = entries(folder).iter().filter(|path| named(path, "pairs-")).count();
    let saved = entries(&folder.join("checkpoints")).iter().any(|path| named(path, "step-") && path.join("complete.json").exists());
    let ended = shards == 5 || ["model", "metric"].iter().any(|result| folder.join(result).exists());
    (saved || shards > 0) && !ended
}

/// Begins a run and kills it soon after it has saved for the first time; once more where it was at its end by then.
fn kill_under_way(folder: &Path, name: &str, out: &str) {
    for _ in 0..20 {
        if folder.join(out).exists() {
            fs::remove_dir_all(folder.join(out)).expect("an attempt is taken away");
        }
        let mut child =
            onestep().current_dir(folder).args(command(name, out)).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        while !is_under_way(&folder.join(out)) && child.try_wait().expect("its state").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_after(child, random_milliseconds(10));
        if is_under_way(&folder.join(out)) {
            return;
        }
    }
    panic!("{name} was never killed between its first checkpoint and its end");
}

#[test]
fn killed_at_random_moments_and_resumed_gives_the_weights_of_an_unbroken_run() {
    let folder = &journey().folder;
    for name in MADE {
        let out = format!("{name}-killed");
        kill_under_way(folder, name, &out);
        let mut words = command(name, &out);
        words.push("--resume".into());
        let mut kills = Vec::new();
        for _ in 0..3 {
            let child = onestep().current_dir(folder).args(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program starts");
            let moment = 50 + random_milliseconds(900);
            kill_after(child, moment);
            kills.push(moment);
        }
        succeed(folder, &words.iter().map(String::as_str).collect::<Vec<_>>());
        let (expected, found) = (result(&folder.join(name)), result(&folder.join(&out)));
        assert_eq!(expected.1, found.1, "{name}: the log after kills at {kills:?} ms");
        assert!(!expected.0.is_empty(), "{name} left no weights");
        for ((name, expected), (_, found)) in expected.0.iter().zip(&found.0) {
            assert!(expected == found, "{name} differs after kills at {kills:?} ms");
        }
        assert_eq!(expected.0.len(), found.0.len());
    }
}

/// How far losses of mixed precision may be from those of full. The latents differ by 1.4 %; a distance is of differences much smaller than latents.
const MIXED_PRECISION: f64 = 0.1;

/// Products are computed in 16 bits, everything that is saved in 32.
#[test]
fn a_student_of_mixed_precision_is_trained_like_one_of_full() {
    let folder = &journey().folder;
    let log = |name: &str| -> Vec<serde_json::Value> {
        let log = fs::read_to_string(folder.join(name).join("log.jsonl")).expect("a log");
        log.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    };
    let (full, half) = (log("student"), log("student-bf16"));
    for name in ["distance", "discriminator", "adversarial"] {
        let series = |lines: &[serde_json::Value]| -> Vec<f64> { lines.iter().filter_map(|line| line[name].as_f64()).collect() };
        let (full, half) = (series(&full), series(&half));
        assert_eq!(full.len(), half.len(), "{name}");
        for (full, half) in full.iter().zip(&half) {
            assert!((full - half).abs() < MIXED_PRECISION * full.abs(), "{name}: {full} and {half}");
        }
        // One of them may be the same by chance: logits of a network that has just begun are near zero.
        assert_ne!(full, half, "{name}: nothing was computed in 16 bits");
    }
    for name in ["adversarial", "r1", "real_logits", "fake_logits"] {
        assert!(half.iter().any(|line| line[name].is_f64()), "no {name} in the log");
    }
    let weights = fs::read(folder.join("student-bf16/model/unet/diffusion_pytorch_model.safetensors")).expect("weights");
    let length = u64::from_le_bytes(weights[..8].try_into().expect("eight bytes")) as usize;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&weights[8..8 + length]).expect("a header");
    assert!(header.iter().all(|(name, tensor)| name == "__metadata__" || tensor["dtype"] == "F32"));
}

#[test]
fn a_started_run_is_not_overwritten_and_the_way_on_is_said() {
    let folder = &journey().folder;
    for name in ["autoencoder", "pairs"] {
        let words = command(name, name);
        let output = run(folder, &words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("--resume"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_finished_run_is_not_resumed_with_other_options() {
    let folder = &journey().folder;
    let output = run(
        folder,
        &[
            "train",
            "autoencoder",
            "--preset",
            "test",
            "--size",
            "32",
            "--data",
            "images",
            "--steps",
            "7",
            "--batch",
            "5",
            "--out",
            "autoencoder",
            "--resume",
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("other options"), "{}", text(&output.stderr));
    let config = fs::read_to_string(folder.join("autoencoder/config.toml")).expect("options");
    assert!(config.contains("steps = 6"), "the options of the run are kept: {config}");
}

/// A resume must not change options of the task, nor the data behind its paths.
#[test]
fn a_run_is_not_resumed_as_another_task_or_with_another_metric() {
    let folder = &journey().folder;
    let resumed = |name: &str, from: &str, to: &str| {
        let copy = format!("{name}-resumed");
        if !folder.join(&copy).exists() {
            copy_folder(&folder.join(name), &folder.join(&copy));
        }
        let words: Vec<String> = command(name, &copy).into_iter().map(|word| if word == from { to.into() } else { word }).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--resume"]).collect();
        let output = run(folder, &words);
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = resumed("metric", "24", "23");
    assert!(code == Some(2) && said.contains("other options"), "{said}");
    let (code, said) = resumed("student", "metric/metric", "features/metric");
    assert!(code == Some(2) && said.contains("other data"), "{said}");
    let (code, said) = resumed("student", "0.3", "0.4");
    assert!(code == Some(2) && said.contains("other options"), "{said}");
    // --save-every influences no step.
    let (code, said) = resumed("autoencoder", "2", "4");
    assert_eq!(code, Some(0), "{said}");
}

/// Networks that the sampler cannot feed, and predictions that it cannot read, are refused before anything is sampled.
#[test]
fn teachers_that_cannot_be_sampled_are_refused() {
    let folder = &journey().folder;
    let changes = [
        ("unet/config.json", "addition_embed_type", serde_json::json!("text_time"), "addition_embed_type"),
        ("scheduler/scheduler_config.json", "prediction_type", serde_json::json!("flow_prediction"), "prediction_type"),
    ];
    for (number, (file, key, value, told)) in changes.into_iter().enumerate() {
        let (name, pairs) = (format!("unfit-{number}"), format!("unfit-pairs-{number}"));
        copy_folder(&folder.join("teacher/model"), &folder.join(&name));
        let path = folder.join(&name).join(file);
        let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).expect("a configuration")).expect("JSON");
        config[key] = value;
        if key == "addition_embed_type" {
            config["addition_time_embed_dim"] = 8.into();
            config["projection_class_embeddings_input_dim"] = 80.into();
        }
        fs::write(&path, config.to_string()).expect("a write");
        let output = run(folder, &["pairs", "--teacher", &name, "--data", "images", "--count", "2", "--device", "cpu", "--out", &pairs]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(file) && text(&output.stderr).contains(told), "{}", text(&output.stderr));
    }
}

/// A published metric has no hash of the teacher's autoencoder; its scaling tells which latents it is for.
#[test]
fn metrics_of_other_latents_and_a_resume_of_what_saves_nothing_are_refused() {
    let folder = &journey().folder;
    let other = folder.join("other-metric");
    copy_folder(&folder.join("metric/metric"), &other);
    let config = fs::read_to_string(other.join("config.json")).expect("a configuration");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["encoder"] = "sd15".into();
    config["scaling"]["factor"] = 0.18215.into();
    fs::write(other.join("config.json"), config.to_string()).expect("a write");
    let student = ["distil", "--teacher", "teacher", "--pairs", "pairs", "--metric", "other-metric", "--device", "cpu", "--out", "misled"];
    let output = run(folder, &student);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("for latents of sd15 (shift 0, factor 0.18215)"), "{}", text(&output.stderr));

    let output = run(folder, &[&EVALUATION[..], &["--out", "evaluation-again", "--resume"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("leave it out"), "{}", text(&output.stderr));

    let output =
        run(folder, &["pairs", "--teacher", "teacher", "--data", "images", "--count", "18446744073709551615", "--shard", "1", "--out", "many"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--shard"), "{}", text(&output.stderr));
}

/// A command, further options, the exit code and parts of the message.
type Case<'a> = (&'a [&'a str], &'a [&'a str], i32, &'a [&'a str]);

/// Options that cannot work are refused at once, by the name and value of the option at fault.
#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let folder = &journey().folder;
    let distil = ["distil", "--teacher", "teacher", "--pairs", "pairs"];
    let cases: [Case<'_>; 10] = [
        (&["train", "autoencoder", "--data", "images", "--size", "50"], &[], 2, &["--size 50", "multiple of 16"]),
        (&["train", "teacher", "--data", "images"], &[], 2, &["--autoencoder is missing"]),
        (&["eval", "--teacher", "teacher", "--student", "student"], &[], 2, &["--data is missing"]),
        (&distil, &["--metric", "metric", "--accumulate", "3", "--batch", "32"], 2, &["--accumulate 3 with --batch 32", "divides"]),
        (&distil, &["--distance", "mse", "--absolute", "1"], 2, &["--absolute 1", "latent-lpips"]),
        (&distil, &["--metric", "metric", "--learning-rate=-1"], 2, &["--learning-rate", "-1"]),
        (&distil, &["--metric", "metrc"], 3, &["no metric in metrc", "no such file or folder"]),
        (&distil, &["--metric", "images"], 3, &["no metric in images", "latent-vgg"]),
        (&["train", "latent-lpips", "--metric", "features", "--autoencoder", "autoencoder"], &["--ema-decay", "0.9"], 2, &["--ema-decay"]),
        (&EVALUATION, &["--pairs", "pairs", "--seed", "4294967000"], 2, &["--seed 4294967000", "choose a seed outside"]),
    ];
    for (words, more, code, told) in cases {
        let output = run(folder, &[words, more, &["--out", "impossible"]].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?} {more:?}: {}", text(&output.stderr));
        told.iter().for_each(|part| assert!(text(&output.stderr).contains(part), "{words:?} {more:?}: {}", text(&output.stderr)));
        assert!(!folder.join("impossible").exists(), "{words:?} {more:?}");
    }
}

#[test]
fn results_are_json_objects_where_that_is_asked_for() {
    let folder = &journey().folder;
    let printed = |words: &[&str]| -> serde_json::Value { serde_json::from_str(&succeed(folder, &[words, &["--json"]].concat())).expect("JSON") };
    assert_eq!(printed(&["export", "--model", "student", "--out", "bundle-json"]), serde_json::json!({ "schema": 2, "path": "bundle-json" }));
    let options = printed(&["distil", "--teacher", "teacher", "--pairs", "pairs", "--out", "never", "--dry-run"]);
    assert!(options["schema"] == 2 && options["distance"] == "e-latent-lpips", "{options}");
    let words = command("autoencoder", "autoencoder");
    let report = printed(&words.iter().map(String::as_str).chain(["--resume"]).collect::<Vec<_>>());
    assert!(report["schema"] == 2 && report["psnr_held_out"].is_f64(), "{report}");
    let output = run(folder, &words.iter().map(String::as_str).chain(["--resume", "--quiet", "--progress", "never"]).collect::<Vec<_>>());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// An evaluation that takes seconds: the teacher in 1, 2 and 4 steps, and the student.
const EVALUATION: [&str; 17] = [
    "eval",
    "--teacher",
    "teacher",
    "--student",
    "student",
    "--data",
    "images",
    "--device",
    "cpu",
    "--steps",
    "4",
    "--teacher-steps",
    "1,2",
    "--samples",
    "20",
    "--diversity-prompts",
    "2",
];

/// Whether every number is there and finite, but for those named.
fn assert_finite(value: &serde_json::Value, name: &str, may_be_missing: &[&str]) {
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(name, value)| assert_finite(value, name, may_be_missing)),
        serde_json::Value::Array(values) => values.iter().for_each(|value| assert_finite(value, name, may_be_missing)),
        serde_json::Value::Null => assert!(may_be_missing.contains(&name), "{name} is missing"),
        _ => {}
    }
}

#[test]
fn an_evaluation_measures_teacher_and_student_and_repeats_itself() {
    let folder = &journey().folder;
    let mut reports = Vec::new();
    for out in ["eval-a", "eval-b"] {
        let printed = succeed(folder, &[&EVALUATION[..], &["--features", "classifier", "--out", out]].concat());
        assert!(printed.contains("student") && printed.contains("report.html"), "{printed}");
        let mut report: serde_json::Value = serde_json::from_slice(&fs::read(folder.join(out).join("report.json")).expect("a report")).expect("JSON");
        assert_finite(
            &report,
            "report",
            &["psnr", "diversity_ratio", "name", "retrieval", "retrieval_held_out", "preservation_on_training_pairs", "training_pairs"],
        );
        for row in report["models"].as_array_mut().expect("rows") {
            assert!(row["seconds_per_image"].as_f64().is_some_and(|seconds| seconds > 0.0), "{row}");
            row["seconds_per_image"] = 0.into();
        }
        reports.push(report);
    }
    assert_eq!(reports[0], reports[1]);
    let report = &reports[0];
    let rows = report["models"].as_array().expect("rows");
    let names: Vec<String> = rows.iter().map(|row| format!("{} {}", row["model"].as_str().unwrap_or_default(), row["steps"])).collect();
    assert_eq!(names, ["teacher 1", "teacher 2", "teacher 4", "student 1"]);
    assert_eq!((report["samples"].as_u64(), report["feature_size"].as_u64()), (Some(20), Some(128)));
    // The teacher compared with itself.
    assert_eq!((rows[2]["preservation"]["distance"].as_f64(), rows[2]["diversity_ratio"].as_f64()), (Some(0.0), Some(1.0)));
    assert_eq!(rows[2]["evaluations"].as_u64(), Some(8));

    let page = fs::read_to_string(folder.join("eval-a/report.html")).expect("the page");
    let mut parts = page.split("data:image/png;base64,");
    let mut words = parts.next().unwrap_or_default().to_owned();
    let images = parts.map(|part| words.push_str(part.split_once('"').expect("the end of an image").1)).count();
    assert!(!words.contains("<script") && !words.contains("http") && !words.contains("url("), "the page needs nothing from elsewhere");
    assert!(images >= 9 && words.matches("<svg").count() == 3 && !words.contains("NaN"), "{words}");
    assert!(folder.join("eval-a/grid.png").exists());
}

#[test]
fn several_students_are_measured_beside_the_same_images() {
    let folder = &journey().folder;
    succeed(folder, &[&EVALUATION[..], &["--student", "teacher/model", "--out", "eval-two"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("eval-two/report.json")).expect("a report")).expect("JSON");
    let rows = report["models"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["", "", "", "student", "teacher"]);
    // The untrained student is the teacher's denoiser, and its one step is the teacher's.
    let distance = |row: usize| rows[row]["preservation"]["distance"].as_f64().expect("a distance");
    assert!((distance(4) - distance(0)).abs() < 0.5 * distance(0).max(1e-3), "{} {}", distance(4), distance(0));
    assert!(rows[3]["retrieval"]["top_1"].is_number() && rows[0]["retrieval"].is_null());
}

#[test]
fn a_student_is_measured_on_its_training_pairs() {
    let folder = &journey().folder;
    let printed = succeed(folder, &[&EVALUATION[..], &["--pairs", "pairs", "--out", "eval-training-pairs"]].concat());
    assert!(printed.contains("student, 20 training pairs (4 steps, guidance 2)"), "{printed}");
    for file in ["config.toml", "command.txt"] {
        assert!(fs::read_to_string(folder.join("eval-training-pairs").join(file)).expect(file).contains("pairs"), "{file}");
    }
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("eval-training-pairs/report.json")).expect("a report")).expect("JSON");
    let rows = report["models"].as_array().expect("rows");
    assert!(rows[0]["preservation_on_training_pairs"].is_null(), "the teacher sampled them");
    let known = &rows[rows.len() - 1]["preservation_on_training_pairs"];
    assert!(known["distance"].as_f64().is_some_and(|distance| distance > 0.0) && known["psnr"].is_f64(), "{known}");
    assert!(fs::read_to_string(folder.join("eval-training-pairs/report.html")).expect("a page").contains("Training pairs"));
}

/// Mistakes that can be known at once are reported before anything is sampled.
#[test]
fn students_of_another_teacher_and_impossible_steps_are_refused() {
    let folder = &journey().folder;
    let refused = |words: &[&str], code: i32, part: &str| {
        let output = run(folder, &[&EVALUATION[..], words, &["--out", "eval-refused"]].concat());
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    };
    refused(&["--teacher-steps", "2000"], 2, "1 to num_train_timesteps = 1000");
    copy_folder(&folder.join("student/model"), &folder.join("stranger"));
    let weights = folder.join("stranger/vae/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&weights, bytes).expect("a write");
    refused(&["--student", "stranger"], 3, "another vae");
    copy_folder(&folder.join("classifier"), &folder.join("classifier-run"));
    let output = run(folder, &[&EVALUATION[..], &["--out", "student"]].concat());
    assert!(output.status.code() == Some(3) && text(&output.stderr).contains("it is student"), "{}", text(&output.stderr));
    let output = run(folder, &[&EVALUATION[..], &["--out", "classifier-run"]].concat());
    assert!(output.status.code() == Some(3) && text(&output.stderr).contains("holds checkpoints/"), "{}", text(&output.stderr));
    copy_folder(&folder.join("student/model"), &folder.join("diverged"));
    let weights = folder.join("diverged/unet/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).expect("a write");
    refused(&["--student", "diverged"], 3, "where weights must be finite");
    assert!(!folder.join("eval-refused").exists());

    let output = run(folder, &["pairs", "--teacher", "teacher", "--data", "images", "--steps", "2000", "--out", "pairs-refused"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(!folder.join("pairs-refused").exists(), "the folder would stand in the way of the right command");
}

/// Judgements of people, in the folders of BAPPS: here each is sure that the image itself is nearer than another.
#[test]
fn heads_are_learned_from_judgements_of_people() {
    let folder = &journey().folder;
    let images = ["red.png", "blue.png", "green.png"].map(|name| folder.join("images").join(name));
    for (kind, count) in [("train", 12), ("val", 5)] {
        for part in ["ref", "p0", "p1", "judge"] {
            fs::create_dir_all(folder.join("bapps").join(kind).join(part)).expect("a folder");
        }
        for index in 0..count {
            let path = |part: &str, extension: &str| folder.join("bapps").join(kind).join(part).join(format!("{index:06}.{extension}"));
            let (own, other) = (&images[index % 3], &images[(index + 1) % 3]);
            let second = index % 2 == 1;
            for (part, from) in [("ref", own), ("p0", if second { other } else { own }), ("p1", if second { own } else { other })] {
                fs::copy(from, path(part, "png")).expect("a copy");
            }
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n";
            let bytes =
                [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &f32::from(second).to_le_bytes()].concat();
            fs::write(path("judge", "npy"), bytes).expect("a write");
        }
    }
    let learn = |out: &str, more: &[&str]| {
        let words = ["train", "latent-lpips", "--metric", "features/metric", "--autoencoder", "autoencoder", "--judgements", "bapps/train"];
        succeed(folder, &[&words[..], &TRAINING[..6], &["--device", "cpu", "--out", out], more].concat());
        let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.join(out).join("report.json")).expect("a report")).expect("JSON");
        (report["judgements"].clone(), report["after"].as_f64())
    };
    assert_eq!(learn("bapps-metric", &["--held-out", "bapps/val"]), (serde_json::json!([12, 5]), Some(1.0)));
    assert_eq!(learn("bapps-random-split", &[]), (serde_json::json!([9, 3]), Some(1.0)));
    let output = run(
        folder,
        &["train", "latent-lpips", "--metric", "features/metric", "--autoencoder", "autoencoder", "--held-out", "bapps/val", "--out", "bapps-never"],
    );
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("--judgements"), "{}", text(&output.stderr));
    assert!(!folder.join("bapps-never").exists());
}

#[test]
fn an_evaluation_without_a_classifier_says_what_it_compares() {
    let folder = &journey().folder;
    succeed(folder, &[&EVALUATION[..], &["--out", "eval-plain"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("eval-plain/report.json")).expect("a report")).expect("JSON");
    assert!(report["features"].as_str().is_some_and(|features| features.contains("16x16")), "{report}");
    assert_finite(
        &report,
        "report",
        &[
            "psnr",
            "diversity_ratio",
            "name",
            "retrieval",
            "retrieval_held_out",
            "preservation_on_training_pairs",
            "training_pairs",
            "alignment",
            "real_alignment",
        ],
    );
}

#[test]
fn classifiers_that_do_not_fit_and_folders_with_one_image_are_refused() {
    let folder = &journey().folder;
    let refused = |words: &[&str], parts: &[&str]| {
        let output = run(folder, words);
        assert_eq!(output.status.code(), Some(3), "{words:?}: {}", text(&output.stderr));
        parts.iter().for_each(|part| assert!(text(&output.stderr).contains(part), "{words:?}: {}", text(&output.stderr)));
    };
    let evaluation = |features: &'static str| [&EVALUATION[..], &["--features", features, "--out", "eval-never"]].concat();
    refused(&evaluation("images"), &["no image classifier in images", "onestep train image-classifier"]);
    refused(&evaluation("nowhere"), &["no image classifier in nowhere"]);

    let model = folder.join("classifier/model");
    for (name, from, to, part) in [
        ("classifier-large", "\"sample_size\": 32", "\"sample_size\": 64", "64x64"),
        ("classifier-wide", "\"feature_size\": 128", "\"feature_size\": 64", "model.safetensors"),
        ("classifier-other", "\"red square\"", "\"white square\"", "red square"),
    ] {
        let broken = folder.join(name);
        fs::create_dir(&broken).expect("a folder");
        let config = fs::read_to_string(model.join("config.json")).expect("a configuration");
        assert!(config.contains(from), "{config}");
        fs::write(broken.join("config.json"), config.replace(from, to)).expect("a write");
        refused(&evaluation(name), &["model.safetensors"]);
        fs::copy(model.join("model.safetensors"), broken.join("model.safetensors")).expect("a copy");
        refused(&evaluation(name), &[part]);
    }
    assert!(!folder.join("eval-never").exists());

    let lonely = folder.join("one-image");
    fs::create_dir(&lonely).expect("a folder");
    fs::copy(folder.join("images/red.png"), lonely.join("red.png")).expect("a copy");
    fs::write(lonely.join("red.txt"), "red square").expect("a write");
    refused(&["train", "image-classifier", "--size", "32", "--data", "one-image", "--out", "lonely"], &["at least 2", "one-image"]);
    assert!(!folder.join("lonely").exists());
}

#[test]
fn the_same_seed_gives_the_same_file_and_another_another() {
    let folder = &journey().folder;
    for device in ["cpu", "webgpu"] {
        let generate = |prompt: &str, seed: &str, out: &str| {
            succeed(folder, &["generate", prompt, "--seed", seed, "--out", out, "--bundle", "bundle", "--device", device]);
            fs::read(folder.join(out)).expect("the image")
        };
        let first = generate("red square", "7", &format!("{device}-a.png"));
        assert_eq!(first, generate("red square", "7", &format!("{device}-b.png")), "{device}");
        assert_ne!(first, generate("red square", "8", &format!("{device}-c.png")), "{device}");
        assert_ne!(first, generate("blue square", "7", &format!("{device}-d.png")), "{device}");
    }
}

#[test]
fn the_way_between_two_seeds_begins_and_ends_at_their_images() {
    let folder = &journey().folder;
    let generate = |more: &[&str]| {
        let words = ["generate", "red square", "--bundle", "bundle", "--device", "cpu", "--no-metadata", "--out", "way.png"];
        succeed(folder, &[&words, more].concat());
        fs::read(folder.join("way.png")).expect("the image")
    };
    let [three, nine] = ["3", "9"].map(|seed| generate(&["--seed", seed]));
    let at = |part: &str| generate(&["--seed", "3", "--to", "9", "--at", part]);
    assert_eq!([at("0"), at("1")], [three.clone(), nine.clone()]);
    assert!(![three, nine].contains(&at("0.5")));
    let beyond = run(folder, &["generate", "red square", "--bundle", "bundle", "--device", "cpu", "--seed", "3", "--to", "9", "--at", "1.5"]);
    assert_eq!(beyond.status.code(), Some(2), "{}", text(&beyond.stderr));
    assert!(text(&beyond.stderr).contains("from 0 to 1"), "{}", text(&beyond.stderr));
}

#[test]
fn a_gallery_has_the_bundle_s_images_and_the_teacher_s_of_the_same_noise() {
    let folder = &journey().folder;
    let words = [
        "export",
        "gallery",
        "--bundle",
        "bundle",
        "--prompt",
        "red square",
        "--prompt",
        "blue square",
        "--seed",
        "7",
        "--steps",
        "4",
        "--out",
        "gallery.json",
    ];
    assert_eq!(succeed(folder, &[&words[..], &["--teacher", "teacher"]].concat()).trim(), "gallery.json");
    let gallery: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("gallery.json")).expect("the gallery")).expect("JSON");
    let images = gallery["images"].as_array().expect("images");
    assert_eq!(images.iter().map(|image| image["seed"].as_str()).collect::<Vec<_>>(), [Some("7"), Some("8")]);
    succeed(folder, &["generate", "blue square", "--seed", "8", "--bundle", "bundle", "--device", "cpu", "--no-metadata", "--out", "eight.png"]);
    let student = images[1]["student"]["png"].as_str().and_then(|png| png.strip_prefix("data:image/png;base64,")).expect("an image");
    assert_eq!(BASE64_STANDARD.decode(student).expect("base64"), fs::read(folder.join("eight.png")).expect("the image"));
    let teacher = &images[1]["teacher"];
    assert_eq!(teacher["evaluations"], 8, "with and without the prompt");
    assert!(teacher["milliseconds"].as_f64().is_some_and(|took| took > 0.0) && teacher["png"] != images[0]["teacher"]["png"]);
    let refused = run(folder, &[&words[..], &["--teacher", "images"]].concat());
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
}

#[test]
fn unknown_characters_are_named_and_a_wholly_unknown_prompt_is_refused() {
    let folder = &journey().folder;
    let generate = |prompt: &str| run(folder, &["generate", prompt, "--seed", "1", "--out", "unknown.png", "--bundle", "bundle", "--device", "cpu"]);
    let some = generate("red ☃ square");
    assert!(some.status.success());
    assert!(text(&some.stderr).contains('☃'), "{}", text(&some.stderr));
    let none = generate("☃☃");
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
    assert!(text(&none.stderr).starts_with("error: "), "{}", text(&none.stderr));
}

#[test]
fn a_flipped_byte_anywhere_in_a_bundle_is_refused_with_the_file_s_name() {
    let folder = &journey().folder;
    for entry in fs::read_dir(folder.join("bundle")).expect("the bundle") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let broken = folder.join(format!("flipped-{name}"));
        copy_folder(&folder.join("bundle"), &broken);
        let mut bytes = fs::read(&path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x80;
        fs::write(broken.join(&name), bytes).expect("a write");
        for words in [vec!["generate", "red square", "--device", "cpu", "--bundle"], vec!["inspect"]] {
            let output = run(folder, &[words, vec![broken.to_str().expect("a path")]].concat());
            assert_eq!(output.status.code(), Some(3), "{name}: {}", text(&output.stderr));
            assert!(text(&output.stderr).contains(&name), "{name}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn a_truncated_shard_is_named_and_made_again() {
    let folder = &journey().folder;
    let pairs = folder.join("pairs-truncated");
    copy_folder(&folder.join("pairs"), &pairs);
    let shard = "pairs-00001-of-00005.safetensors";
    let whole = fs::read(pairs.join(shard)).expect("a shard");
    fs::write(pairs.join(shard), &whole[..whole.len() / 2]).expect("a write");
    let output = run(folder, &["distil", "--teacher", "teacher", "--pairs", "pairs-truncated", "--steps", "1", "--out", "student-truncated"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains(shard) && text(&output.stderr).contains("--resume"), "{}", text(&output.stderr));

    let mut words = command("pairs", "pairs-truncated");
    words.push("--resume".into());
    succeed(folder, &words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(fs::read(pairs.join(shard)).expect("a shard") == whole, "the shard was made again with other bytes");
}

#[test]
fn a_wrong_bundle_path_is_a_sentence() {
    let folder = &journey().folder;
    let output = run(folder, &["generate", "red square", "--bundle", "no-such-folder"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no-such-folder") && text(&output.stderr).contains("no such folder"), "{}", text(&output.stderr));
    let output = run(folder, &["generate", "red square", "--bundle", "images"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("manifest.json"), "{}", text(&output.stderr));
}

#[test]
fn without_a_gpu_adapter_webgpu_is_refused_and_auto_takes_the_cpu() {
    let folder = &journey().folder;
    let generate = |device: &str| {
        let words = ["generate", "red square", "--seed", "1", "--out", "no-gpu.png", "--bundle", "bundle", "--device", device];
        // The Vulkan loader finds no driver, and there is no display for another interface.
        onestep()
            .current_dir(folder)
            .env("VK_DRIVER_FILES", "/nowhere.json")
            .env("VK_ICD_FILENAMES", "/nowhere.json")
            .args(words)
            .output()
            .expect("the program starts")
    };
    let output = generate("webgpu");
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("error: "), "{}", text(&output.stderr));
    assert!(generate("auto").status.success());
}

#[test]
fn a_component_gives_the_same_on_burn_on_the_cpu_and_on_the_gpu() {
    let folder = &journey().folder;
    let value = |index: usize| ((index * 7919 % 1000) as f32 / 500.0) - 1.0;
    let tensor = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec(), (0..shape.iter().product()).map(value).collect::<Vec<f32>>());
    let ids = ("input_ids".to_owned(), vec![2, 16], (0..32).map(|index| (index % 20) as f32).collect::<Vec<f32>>());
    let times = ("timestep".to_owned(), vec![2], vec![3.0, 700.0]);
    let cases = [
        ("unet", vec![tensor("sample", &[2, 4, 8, 8]), times, tensor("encoder_hidden_states", &[2, 5, 32])], vec!["sample"]),
        ("vae_encoder", vec![tensor("sample", &[1, 3, 32, 32])], vec!["mean", "logvar"]),
        ("vae_decoder", vec![tensor("latents", &[2, 4, 8, 8])], vec!["sample"]),
        ("text_encoder", vec![ids], vec!["last_hidden_state", "pooler_output", "hidden_states.-2"]),
    ];
    for (component, inputs, outputs) in cases {
        fs::write(folder.join(format!("{component}-in.safetensors")), onestep_train::store::tensor_bytes(&inputs)).expect("a write");
        let results = ["burn", "cpu", "webgpu"].map(|device| {
            let out = format!("{component}-{device}.safetensors");
            let mut words = vec!["debug", "run-component", component, "--model", "teacher/model", "--inputs"];
            let input = format!("{component}-in.safetensors");
            words.extend([input.as_str(), "--out", out.as_str(), "--device", device]);
            if component == "text_encoder" {
                words.extend(["--hidden-state", "-2"]);
            }
            succeed(folder, &words);
            onestep_train::store::read_tensors(&fs::read(folder.join(&out)).expect("the result"), &out).expect("a safetensors file")
        });
        assert_eq!(results[0].keys().collect::<Vec<_>>().len(), outputs.len(), "{component}");
        for name in outputs {
            let (shape, expected) = &results[0][name];
            for (device, result) in ["cpu", "webgpu"].iter().zip(&results[1..]) {
                assert_eq!(shape, &result[name].0, "{component} {name} on {device}");
                let error = expected.iter().zip(&result[name].1).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt();
                let norm = expected.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                assert!(error <= 1e-5 * norm, "{component} {name} on {device}: relative error {:.2e}", error / norm);
            }
        }
    }
}

#[test]
fn inputs_that_do_not_fit_a_component_are_refused_by_name() {
    let folder = &journey().folder;
    let wrong = vec![("latents".to_owned(), vec![1, 3, 8, 8], vec![0.0; 192])];
    fs::write(folder.join("wrong.safetensors"), onestep_train::store::tensor_bytes(&wrong)).expect("a write");
    for (component, sentence) in [("vae_decoder", "expected [B,4,H,W], found [1, 3, 8, 8]"), ("unet", "no tensor"), ("vae", "no component")] {
        let output = run(
            folder,
            &["debug", "run-component", component, "--model", "teacher/model", "--inputs", "wrong.safetensors", "--out", "never.safetensors"],
        );
        assert!([Some(2), Some(3)].contains(&output.status.code()), "{component}");
        assert!(text(&output.stderr).contains(sentence), "{component}: {}", text(&output.stderr));
    }
    assert!(!folder.join("never.safetensors").exists());
}
