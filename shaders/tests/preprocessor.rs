//! The preprocessor and the table of variants: what they accept, and that mistakes are refused with their line.

#[path = "../src/compose.rs"]
mod compose;
#[path = "../src/flags.rs"]
#[allow(dead_code, reason = "the crate uses the rest")]
mod flags;
#[path = "../build/table.rs"]
#[allow(dead_code, reason = "the build alone strips")]
mod table;

fn composed(source: &str, defines: &[&str]) -> Result<String, String> {
    let shared = [("a", "A\n#import b"), ("b", "B\n#ifdef X\nBX\n#endif")];
    compose::compose(source, defines, &shared)
}

#[test]
fn imports_come_once_and_may_import() {
    assert_eq!(composed("#import a\n#import b\nend", &[]).unwrap(), "A\nB\nend\n");
    assert_eq!(composed("#import a", &["X"]).unwrap(), "A\nB\nBX\n");
}

#[test]
fn conditions_nest_and_have_an_other_branch() {
    let source = "#ifdef X\n x\n#ifndef Y\n not y\n#else\n y\n#endif\n#else\n not x\n#endif\n// comment\nend";
    assert_eq!(composed(source, &[]).unwrap(), "not x\nend\n");
    assert_eq!(composed(source, &["X"]).unwrap(), "x\nnot y\nend\n");
    assert_eq!(composed(source, &["X", "Y"]).unwrap(), "x\ny\nend\n");
}

#[test]
fn mistakes_are_refused_with_their_line() {
    for (source, says) in [
        ("#import nothing", "line 1: no shared/nothing.wgsl"),
        ("x\n#else", "line 2: #else without"),
        ("#endif", "line 1: #endif without"),
        ("#ifdef X\n#else\n#else\n#endif", "line 3: #else without"),
        ("#ifdef", "line 1: a condition without a name"),
        ("#ifdef X", "not closed"),
        ("#define X", "line 1: unknown directive #define"),
        ("#for i", "line 1: a loop is"),
        ("x\n#for i 2\nx", "line 2: a loop is not closed"),
        ("#end", "line 1: #end without"),
        ("#for i 2000\n#for j 2000\nx\n#end\n#end", "more than a MiB"),
    ] {
        let error = composed(source, &[]).unwrap_err();
        assert!(error.contains(says), "{source:?}: {error}");
    }
}

#[test]
fn loops_are_written_out_and_nest() {
    assert_eq!(composed("#for i 2\na{i}\n#for j 2\nb{i}{j}\n#end\n#end\nend", &[]).unwrap(), "a0\nb00\nb01\na1\nb10\nb11\nend\n");
    assert_eq!(composed("#for i 2\n#ifdef X\nx{i}\n#endif\n#end", &["X"]).unwrap(), "x0\nx1\n");
    assert_eq!(composed("#for i 2\n#for j 2\n{i+j} {i+1}\n#end\n#end", &[]).unwrap(), "0 1\n1 1\n1 2\n2 2\n");
    assert_eq!(composed("#for i {N}\n#ifdef N\n{i+N} {N} { i }\n#endif\n#end", &["N=2"]).unwrap(), "{0+N} 2 { i }\n{1+N} 2 { i }\n");
    assert_eq!(composed("#ifdef X\n#for i 2\nx\n#end\n#endif\nend", &[]).unwrap(), "end\n");
}

fn names(table: &str) -> Vec<String> {
    table::variants(table).unwrap().into_iter().map(|variant| variant.name).collect()
}

#[test]
fn groups_multiply_the_variants_of_a_family() {
    assert_eq!(names("alone [ACTIVATION_F16]"), ["alone", "alone_a16"]);
    assert_eq!(
        names("many [TAPS]\n  one (WEIGHT_F16|WEIGHT_F16+ACTIVATION_F16): SIZE=2\nlast"),
        ["one_w16", "one_taps_w16", "one_w16_a16", "one_taps_w16_a16", "last"]
    );
    let rows = table::variants("many\n  one [TAPS]: SIZE=2").unwrap();
    assert_eq!((rows[1].family.as_str(), rows[1].flags), ("one", flags::Flags::TAPS));
    assert!(rows[1].defines.contains("SIZE=2") && rows[1].defines.contains("TAPS"));
}

#[test]
fn mistakes_in_the_table_are_refused_with_their_line() {
    for (table, says) in [
        ("alone other", "line 1: \"other\" is neither"),
        ("  one: A", "line 1: no file"),
        ("file\n  one", "line 2: a family is"),
        ("file\n  one other: A", "line 2: \"other\""),
        ("one\none", "one is there twice"),
    ] {
        let error = table::variants(table).unwrap_err();
        assert!(error.contains(says), "{table:?}: {error}");
    }
}

#[test]
fn native_kernels_are_marked_in_every_variant() {
    let rows = table::variants("many native\n  one: A\n  two:\nlast [ACTIVATION_F16]").unwrap();
    let marks: Vec<(&str, bool)> = rows.iter().map(|row| (row.name.as_str(), row.native)).collect();
    assert_eq!(marks, [("one", true), ("two", true), ("last", false), ("last_a16", false)]);
}

#[test]
fn a_file_without_families_is_one_family() {
    let rows = table::variants("# comment\nalone\nmany\n  one: A B\n  two:\nlast").unwrap();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["alone", "one", "two", "last"]);
    assert_eq!((rows[1].file.as_str(), rows[1].defines.len()), ("many", 2));
}
