//! Every command that writes, against every destination that it must not take: nothing of a user's is lost, and nothing is half written.

#[path = "support/journey.rs"]
mod fixture;
mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use fixture::{copy_folder, journey, onestep, run};
use support::text;

/// A command without its destination, and how it writes.
struct Writer {
    name: &'static str,
    words: &'static [&'static str],
    option: &'static str,
    result: Result,
    /// What the result is made from; a path in the folder of the test.
    source: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Result {
    /// A folder that replaces another of its kind.
    Folder,
    /// A folder that grows, with `run.lock` inside.
    Run,
    /// One file; what it begins with.
    File(&'static [u8]),
}

const PNG: Result = Result::File(b"\x89PNG\r\n\x1a\n");
/// A header of two bytes: no tensors.
const SAFETENSORS: Result = Result::File(b"\x02\0\0\0\0\0\0\0{}");

const SHORT: [&str; 6] = ["--preset", "test", "--steps", "2", "--batch", "2"];

/// All commands that write; [`every_command_that_writes_is_here`] compares them with the program's help.
fn writers() -> Vec<Writer> {
    let folder = |name, words, source| Writer { name, words, option: "--out", result: Result::Folder, source };
    let grows = |name, words, source| Writer { name, words, option: "--out", result: Result::Run, source };
    let file = |name, words, result, source| Writer { name, words, option: "--out", result, source };
    vec![
        folder("data emoji", &["--size", "16"], ""),
        folder("export", &["--model", "in/student"], "in/student"),
        folder(
            "eval",
            &[
                "--teacher",
                "in/teacher",
                "--student",
                "in/student",
                "--data",
                "in/images",
                "--samples",
                "8",
                "--diversity-prompts",
                "2",
                "--device",
                "cpu",
            ],
            "in/teacher",
        ),
        folder(
            "debug overfit",
            &["--weights", "in/metric/metric", "--pairs", "in/even-pairs", "--steps", "2", "--device", "cpu"],
            "in/metric/metric",
        ),
        grows("train autoencoder", &["--size", "32", "--data", "in/images", "--device", "cpu"], "in/images"),
        grows("train teacher", &["--data", "in/images", "--autoencoder", "in/autoencoder", "--device", "cpu"], "in/autoencoder"),
        grows(
            "train latent-vgg",
            &["--autoencoder", "in/autoencoder", "--data", "in/images", "--widths", "4,4,8,8,8", "--device", "cpu"],
            "in/autoencoder",
        ),
        grows(
            "train latent-lpips",
            &["--metric", "in/features/metric", "--autoencoder", "in/autoencoder", "--data", "in/images", "--count", "12", "--device", "cpu"],
            "in/autoencoder",
        ),
        grows(
            "train image-classifier",
            &["--channels", "8,16", "--layers", "1", "--size", "32", "--data", "in/images", "--device", "cpu"],
            "in/images",
        ),
        grows(
            "pairs",
            &["--teacher", "in/teacher", "--data", "in/images", "--count", "4", "--shard", "2", "--batch", "2", "--steps", "2", "--device", "cpu"],
            "in/teacher",
        ),
        grows("sample", &["in/teacher", "red square", "--steps", "2", "--device", "cpu"], "in/teacher"),
        grows("distil", &["--teacher", "in/teacher", "--pairs", "in/pairs", "--distance", "mse", "--device", "cpu"], "in/teacher"),
        file("generate", &["red square", "--bundle", "in/bundle", "--device", "cpu"], PNG, "in/bundle"),
        file(
            "export gallery",
            &["--bundle", "in/bundle", "--teacher", "in/teacher", "--prompt", "red square", "--steps", "2"],
            GALLERY,
            "in/teacher",
        ),
        file("debug run-component", &["text_encoder", "--model", "in/bundle", "--inputs", "in/ids.safetensors"], SAFETENSORS, "in/ids.safetensors"),
        file("debug distance", &["--weights", "in/metric/metric", "--inputs", "in/latents.safetensors"], SAFETENSORS, "in/latents.safetensors"),
        Writer {
            option: "--tensors",
            ..file("bench", &["in/bundle", "--prompt", "red square", "--device", "cpu", "--repeats", "1"], SAFETENSORS, "in/bundle")
        },
        Writer { option: "--contact-sheet", ..file("data check", &["in/images"], PNG, "in/images") },
    ]
}

const GALLERY: Result = Result::File(b"{\"format\":2,\"images\":[]}");

impl Writer {
    fn command(&self, out: &Path) -> Vec<String> {
        let trains = self.name.starts_with("train") || self.name == "distil";
        let short: &[&str] = match self.name {
            "train autoencoder" | "train teacher" => &SHORT,
            _ if trains => &SHORT[2..],
            _ => &[],
        };
        let words = self.name.split(' ').chain(self.words.iter().copied()).chain(short.iter().copied());
        words.map(str::to_owned).chain([self.option.to_owned(), out.display().to_string()]).collect()
    }

    /// Runs the command in `folder`; gives its exit code and what it said.
    fn run(&self, folder: &Path, out: &Path) -> (i32, String) {
        let words = self.command(out);
        let output = run(folder, &words.iter().map(String::as_str).collect::<Vec<_>>());
        let said = text(&output.stderr);
        assert!(!said.contains("fault of onestep"), "{}: {said}", self.name);
        (output.status.code().unwrap_or(-1), said)
    }

    /// What stands at the destination when somebody else writes it, locked.
    fn locked(&self, out: &Path) -> File {
        let path = match self.result {
            Result::Run => {
                fs::create_dir_all(out).unwrap();
                out.join("run.lock")
            }
            _ => out.with_file_name(format!(".{}.onestep-lock", out.file_name().unwrap().to_string_lossy())),
        };
        let lock = File::create(path).unwrap();
        lock.lock().unwrap();
        lock
    }
}

/// Name, shape and elements of a tensor.
type Named<'a> = (&'a str, (Vec<usize>, Vec<f32>));

/// A folder with the inputs of all commands below `in`.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let inputs = home.path().join("in");
    fs::create_dir(&inputs).unwrap();
    for name in ["images", "autoencoder", "teacher", "features", "metric", "pairs", "student", "bundle"] {
        copy_folder(&journey().folder.join(name), &inputs.join(name));
    }
    let tensor = |shape: &[usize], values: Vec<f32>| (shape.to_vec(), values);
    let write = |name: &str, tensors: &[Named<'_>]| {
        let tensors: Vec<_> = tensors.iter().map(|(name, (shape, values))| ((*name).to_owned(), shape.clone(), values.clone())).collect();
        fs::write(inputs.join(name), onestep_train::store::tensor_bytes(&tensors)).unwrap();
    };
    write("ids.safetensors", &[("input_ids", tensor(&[1, 16], vec![0.0; 16]))]);
    let latents = || tensor(&[1, 4, 16, 16], (0..1024).map(|index| (index % 7) as f32 / 7.0).collect());
    write("latents.safetensors", &[("in0", latents()), ("in1", latents())]);
    even_pairs(&inputs);
    home
}

/// The pairs with latents like those of a teacher that has learned: `debug overfit` refuses those of one that has not.
fn even_pairs(inputs: &Path) {
    let pairs = inputs.join("even-pairs");
    copy_folder(&inputs.join("pairs"), &pairs);
    let path = pairs.join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for number in 0..index["shards"].as_array().unwrap().len() {
        let shard = pairs.join(format!("pairs-{number:05}-of-{:05}.safetensors", index["shards"].as_array().unwrap().len()));
        let mut bytes = fs::read(&shard).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let tensors: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
        let offset = |side: usize| header + tensors["latent"]["data_offsets"][side].as_u64().unwrap() as usize;
        for (number, value) in bytes[offset(0)..offset(1)].chunks_exact_mut(4).enumerate() {
            value.copy_from_slice(&((number % 5) as f32 - 2.0).to_le_bytes());
        }
        index["shards"][number] = onestep_train::store::sha256(&bytes).into();
        fs::write(shard, bytes).unwrap();
    }
    fs::write(path, index.to_string()).unwrap();
}

/// Every path below a folder with what is there: a file's bytes, or what else it is.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let (path, kind) = {
                let entry = entry.unwrap();
                (entry.path(), entry.file_type().unwrap())
            };
            let content = if kind.is_dir() {
                folders.push(path.clone());
                b"folder".to_vec()
            } else if kind.is_file() {
                fs::read(&path).unwrap()
            } else {
                format!("{kind:?} {:?}", fs::read_link(&path).ok()).into_bytes()
            };
            found.insert(path, content);
        }
    }
    found
}

/// Scratch files and folders, locks excepted that a growing folder keeps.
fn scratch(folder: &Path) -> Vec<PathBuf> {
    snapshot(folder).into_keys().filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".onestep-"))).collect()
}

/// Runs every command on a destination that `make` prepares in a new folder (it gets the folder and the path of the destination). Each
/// must end with one of `codes`, say `said`, and leave everything as it was.
fn refused(situation: &str, which: impl Fn(&Writer) -> bool, make: impl Fn(&Writer, &Path, &Path) -> PathBuf, codes: &[i32], said: &str) {
    let home = home();
    let mut wrong = Vec::new();
    for (number, writer) in writers().iter().enumerate().filter(|(_, writer)| which(writer)) {
        let location = home.path().join(format!("location-{number}"));
        fs::create_dir(&location).unwrap();
        let out = make(writer, home.path(), &location.join("out"));
        let before = snapshot(home.path());
        let (code, message) = writer.run(home.path(), &out);
        if !codes.contains(&code) || !message.contains(said) {
            wrong.push(format!("{} exits {code}: {message}", writer.name));
        }
        let after = snapshot(home.path());
        if after != before {
            let differ: Vec<_> = after.keys().chain(before.keys()).filter(|path| after.get(*path) != before.get(*path)).collect();
            wrong.push(format!("{} changed {differ:?}", writer.name));
        }
    }
    assert!(wrong.is_empty(), "{situation}:\n{}", wrong.join("\n"));
}

fn is_file(writer: &Writer) -> bool {
    matches!(writer.result, Result::File(_))
}

#[test]
fn a_folder_of_someone_else_s() {
    let photos = |_: &Writer, _: &Path, out: &Path| {
        fs::create_dir(out).unwrap();
        fs::write(out.join("a"), "a photo").unwrap();
        out.to_owned()
    };
    refused("a folder with photos", |_| true, photos, &[3], "out");
    // A name that this command writes inside, with something else in it.
    let model = |_: &Writer, _: &Path, out: &Path| {
        fs::create_dir_all(out.join("model")).unwrap();
        fs::write(out.join("model/a"), "a photo").unwrap();
        out.to_owned()
    };
    refused("a folder called model inside", |_| true, model, &[3], "out");
    // A manifest or record is not enough.
    let bundle = |_: &Writer, home: &Path, out: &Path| {
        copy_folder(&home.join("in/bundle"), out);
        fs::write(out.join("notes.txt"), "mine").unwrap();
        out.to_owned()
    };
    refused("a bundle with notes", |_| true, bundle, &[3], "out");
}

#[test]
fn a_file_of_someone_else_s() {
    let thesis = |_: &Writer, _: &Path, out: &Path| {
        fs::write(out, "years of work").unwrap();
        out.to_owned()
    };
    refused("a text file", |_| true, thesis, &[3], "out");
    let below = |_: &Writer, _: &Path, out: &Path| {
        fs::write(out, "years of work").unwrap();
        out.join("below")
    };
    refused("a path below a text file", |_| true, below, &[3], "below");
}

#[test]
fn the_source_what_is_above_it_and_what_is_inside() {
    let has_source = |writer: &Writer| !writer.source.is_empty();
    refused("the source", has_source, |writer, home, _| home.join(writer.source), &[2, 3], "in");
    refused("the folder above the source", has_source, |writer, home, _| home.join(writer.source).parent().unwrap().to_owned(), &[3], "in");
    let is_folder = |writer: &Writer| has_source(writer) && !writer.source.ends_with(".safetensors");
    refused("a location inside the source", is_folder, |writer, home, _| home.join(writer.source).join("new"), &[3], "new");
}

#[test]
fn the_working_folder_and_paths_without_a_name() {
    let home = home();
    for writer in &writers() {
        for out in [".", "..", "/", "in/.."] {
            let before = snapshot(home.path());
            let (code, said) = writer.run(home.path(), Path::new(out));
            assert_eq!(code, 3, "{} --out {out}: {said}", writer.name);
            assert_eq!(snapshot(home.path()), before, "{} --out {out}", writer.name);
        }
    }
}

#[cfg(unix)]
#[test]
fn links_and_pipes() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let to_photos = |_: &Writer, _: &Path, out: &Path| {
        let photos = out.with_file_name("photos");
        fs::create_dir(&photos).unwrap();
        fs::write(photos.join("a"), "a photo").unwrap();
        symlink(photos, out).unwrap();
        out.to_owned()
    };
    refused("a link to a folder of someone else's", |_| true, to_photos, &[3], "out");
    let dangling = |_: &Writer, _: &Path, out: &Path| {
        symlink("nowhere", out).unwrap();
        out.to_owned()
    };
    refused("a link that leads nowhere", |writer| !is_file(writer), dangling, &[3], "out");
    let pipe = |_: &Writer, _: &Path, out: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(out).status().unwrap().success());
        out.to_owned()
    };
    refused("a pipe", |writer| !is_file(writer), pipe, &[3], "out");

    // Links and pipes that are good destinations.
    let home = home();
    for (number, writer) in writers().iter().enumerate() {
        let location = home.path().join(format!("location-{number}"));
        fs::create_dir(&location).unwrap();
        let (link, real) = (location.join("link"), location.join("real"));
        let Result::File(head) = writer.result else {
            fs::create_dir(&real).unwrap();
            symlink("real", &link).unwrap();
            let (code, said) = writer.run(home.path(), &link);
            assert_eq!(code, 0, "{}: {said}", writer.name);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{} replaced a link", writer.name);
            assert!(fs::read_dir(&real).unwrap().count() > 1, "{} did not follow a link", writer.name);
            assert_eq!(scratch(&location), Vec::<PathBuf>::new(), "{}", writer.name);
            continue;
        };
        fs::write(&real, head).unwrap();
        symlink("real", &link).unwrap();
        let (code, said) = writer.run(home.path(), &link);
        assert_eq!(code, 0, "{}: {said}", writer.name);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{} replaced a link", writer.name);
        let written = fs::read(&real).unwrap();
        assert!(written.len() > head.len(), "{} did not follow a link", writer.name);
        let out = pipe(writer, home.path(), &location.join("out"));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| fs::read(&out).unwrap());
            let (code, said) = writer.run(home.path(), &out);
            assert_eq!(code, 0, "{}: {said}", writer.name);
            assert_eq!(reader.join().unwrap().get(..8), written.get(..8), "{} wrote something else into a pipe", writer.name);
        });
        assert!(fs::symlink_metadata(&out).unwrap().file_type().is_fifo(), "{} replaced a pipe", writer.name);
        assert_eq!(scratch(&location), Vec::<PathBuf>::new(), "{}", writer.name);
    }
}

#[test]
fn another_process_at_work() {
    let home = home();
    for (number, writer) in writers().iter().enumerate() {
        let location = home.path().join(format!("location-{number}"));
        fs::create_dir(&location).unwrap();
        let out = location.join("out");
        let lock = writer.locked(&out);
        let before = snapshot(&location);
        let (code, said) = writer.run(home.path(), &out);
        assert_eq!(code, 2, "{}: {said}", writer.name);
        assert!(said.contains("another process") && said.contains("out"), "{}: {said}", writer.name);
        assert_eq!(snapshot(&location), before, "{}", writer.name);
        drop(lock);
        // A lock that nobody holds, as a killed process leaves it, is no obstacle. Commands that other threads are starting share the lock for
        // the moment until they have started.
        let again = || writer.run(home.path(), &out);
        let (code, said) = (0..20).map(|_| again()).find(|(code, _)| *code != 2).unwrap_or_else(again);
        assert_eq!(code, 0, "{}: {said}", writer.name);
        assert_eq!(scratch(&location), Vec::<PathBuf>::new(), "{}", writer.name);
    }
}

/// A small file system; `None` where this process may not mount one.
#[cfg(target_os = "linux")]
struct SmallDisk(PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn new(folder: &Path, options: &str) -> Option<Self> {
        fs::create_dir(folder).unwrap();
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_a_read_only_one() {
    let home = home();
    for (number, writer) in writers().iter().enumerate() {
        let full = home.path().join(format!("full-{number}"));
        let Some(disk) = SmallDisk::new(&full, "size=16k") else {
            eprintln!("skipped: a file system of 16 KiB cannot be mounted here (it takes root)");
            return;
        };
        // Names can still be made, bytes cannot.
        let mut filler = File::create(full.join("filler")).unwrap();
        while filler.write_all(&[0; 512]).is_ok() {}
        let out = full.join("out");
        let (code, said) = writer.run(home.path(), &out);
        assert_eq!(code, 5, "{} on a full disk: {said}", writer.name);
        assert!(said.contains("out"), "{}: {said}", writer.name);
        assert_eq!(scratch(&full), Vec::<PathBuf>::new(), "{} on a full disk", writer.name);
        if writer.result != Result::Run {
            assert_eq!(snapshot(&full).len(), 1, "{} on a full disk left {:?}", writer.name, snapshot(&full).keys());
        }
        drop(disk);
        let read_only = home.path().join(format!("read-only-{number}"));
        let Some(disk) = SmallDisk::new(&read_only, "ro") else { panic!("a second disk cannot be mounted") };
        let (code, said) = writer.run(home.path(), &read_only.join("out"));
        assert_eq!(code, 5, "{} on a read-only disk: {said}", writer.name);
        drop(disk);
    }
}

#[test]
fn what_onestep_wrote_itself_is_replaced() {
    let home = home();
    for (number, writer) in writers().iter().enumerate().filter(|(_, writer)| writer.result != Result::Run) {
        let location = home.path().join(format!("location-{number}"));
        fs::create_dir(&location).unwrap();
        let out = location.join("out");
        // Names that earlier versions used for scratch, now those of somebody else's.
        for name in ["out.old", "out.partial", ".out.partial"] {
            fs::create_dir(location.join(name)).unwrap();
            fs::write(location.join(name).join("a"), "mine").unwrap();
        }
        for _ in 0..2 {
            let (code, said) = writer.run(home.path(), &out);
            assert_eq!(code, 0, "{}: {said}", writer.name);
        }
        let mut left: Vec<_> = fs::read_dir(&location).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".out.partial", "out", "out.old", "out.partial"], "{}", writer.name);
        assert_eq!(fs::read_to_string(location.join("out.old/a")).unwrap(), "mine");
    }
}

/// A new command or option that names a destination must join [`writers`].
#[test]
fn every_command_that_writes_is_here() {
    let help = |words: &[&str]| text(&onestep().args(words).arg("--help").output().unwrap().stdout);
    let commands = |help: &str| -> Vec<String> {
        let list = help.split("Commands:").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default().to_owned();
        list.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned)).filter(|name| name != "help").collect()
    };
    let mut found = Vec::new();
    for command in commands(&help(&[])) {
        let inner = commands(&help(&[&command]));
        let all = std::iter::once(vec![command.as_str()]).chain(inner.iter().map(|name| vec![command.as_str(), name]));
        for words in all {
            let help = help(&words);
            for option in ["--out", "--contact-sheet", "--tensors"] {
                let takes = help.lines().any(|line| line.trim_start().starts_with(&format!("{option} <")));
                // `inspect --tensors` lists tensors.
                if takes && words != ["inspect"] {
                    found.push(words.join(" "));
                }
            }
        }
    }
    found.sort();
    let mut here: Vec<String> = writers().iter().map(|writer| writer.name.to_owned()).collect();
    here.sort();
    assert_eq!(found, here);
}

#[test]
fn what_somebody_edited_in_a_bundle_is_kept() {
    let home = home();
    let bundle = home.path().join("in/bundle");
    for (file, content) in [("README.md", "# My own card"), ("gallery.json", "{\"my\":\"own\"}")] {
        let path = bundle.join(file);
        let old = fs::read(&path).ok();
        fs::write(&path, content).unwrap();
        let output = run(home.path(), &["export", "--model", "in/student", "--out", "in/bundle"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(file), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        old.map_or_else(|| fs::remove_file(&path), |old| fs::write(&path, old)).unwrap();
    }
    assert!(run(home.path(), &["export", "--model", "in/student", "--out", "in/bundle"]).status.success());
    let clash = run(home.path(), &["export", "--model", "in/student", "--out", "new", "--extra", "in/gallery.json"]);
    assert_eq!(clash.status.code(), Some(2), "{}", text(&clash.stderr));
}

#[cfg(target_os = "linux")]
#[test]
fn paths_that_are_not_utf_8() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let home = home();
    for (number, writer) in writers().iter().enumerate() {
        let name = OsString::from_vec([b"out-".to_vec(), number.to_string().into_bytes(), b"\xff".to_vec()].concat());
        let mut words: Vec<OsString> = writer.command(Path::new("")).into_iter().map(OsString::from).collect();
        *words.last_mut().unwrap() = name.clone();
        let output = onestep().current_dir(home.path()).arg("--json").args(words).output().unwrap();
        let said = text(&output.stderr);
        assert!([0, 2, 3].contains(&output.status.code().unwrap_or(-1)), "{}: {said}", writer.name);
        assert!(!said.contains("fault of onestep"), "{}: {said}", writer.name);
        let left = home.path().join(&name).exists();
        assert_eq!(left, output.status.success(), "{}: {said}", writer.name);
    }
}
