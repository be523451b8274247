//! Tests as text: one file in `tests/loops`, `tests/graph`, ... is one test, its first line names the command.
//! How files look is said in `filetests_engine/mod.rs`. `BLESS=1` rewrites expected text.

mod filetests_engine;

#[test]
fn loops() {
    filetests_engine::folder("loops");
}

#[test]
fn graph() {
    filetests_engine::folder("graph");
}

#[test]
fn passes() {
    filetests_engine::folder("passes");
}

#[test]
fn plan() {
    filetests_engine::folder("plan");
}

#[test]
fn codegen() {
    filetests_engine::folder("codegen");
}
