//! The preprocessor does what its first line says, and refuses the rest with the line.

#[path = "../src/compose.rs"]
mod compose;
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
        ("#for i 2000\n#for j 2000\nx\n#end\n#end", "too many turns"),
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

#[test]
fn narrow_kernels_come_twice() {
    let rows = table::variants("alone narrow\nmany narrow\n  one: A\nlast").unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["alone", "alone_narrow", "one", "one_narrow", "last"]);
    assert!(rows[3].defines.contains("UNIT_F16") && rows[3].defines.contains("A"));
    assert!(table::variants("alone wide").unwrap_err().contains("narrow"));
}

#[test]
fn native_kernels_are_marked_in_every_variant() {
    let rows = table::variants("many native\n  one: A\n  two:\nlast narrow").unwrap();
    let marks: Vec<(&str, bool)> = rows.iter().map(|row| (row.name.as_str(), row.native)).collect();
    assert_eq!(marks, [("one", true), ("two", true), ("last", false), ("last_narrow", false)]);
}

#[test]
fn a_kernel_without_variants_is_one_variant() {
    let rows = table::variants("# comment\nalone\nmany\n  one: A B\n  two:\nlast").unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["alone", "one", "two", "last"]);
    assert_eq!(rows[1].file, "many");
    assert_eq!(rows[1].defines.len(), 2);
    assert!(table::variants("  one: A").is_err());
    assert!(table::variants("one\none").is_err());
}
