//! The files in `vendor/`, which `cargo package` takes along, are copies of those in the root.
#![cfg(not(miri))] // Miri reads no files

use std::fs::read_to_string;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn equals_the_root(file: &str) {
    let (root, copy) = (read(&format!("../../{file}")), read(&format!("vendor/{file}")));
    assert!(root == copy, "interop/rust/vendor/{file} is not the root's {file}: run `make vendor`");
}

#[test]
fn vendored_rawwaker_h_equals_the_root() {
    equals_the_root("rawwaker.h");
}

#[test]
fn vendored_rawwaker_c_equals_the_root() {
    equals_the_root("rawwaker.c");
}

#[test]
fn vendored_license_equals_the_root() {
    equals_the_root("LICENSE");
}

#[test]
fn vendored_rawwaker_h_has_the_abi_version_of_the_crate() {
    let line = format!("#define RAWWAKER_ABI_VERSION {}", ffiwaker::ABI_VERSION);
    assert!(read("vendor/rawwaker.h").lines().any(|l| l == line), "no line {line:?}");
}
