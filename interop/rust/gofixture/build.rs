//! Builds the Go half, which has libffiwaker in it.

use std::path::Path;
use std::process::Command;

fn main() {
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let lib = Path::new(&out).join("libgofixture.a");
    let status = Command::new("go")
        .args(["build", "-buildmode=c-archive", "-o"])
        .arg(&lib)
        .arg(".")
        .current_dir("go")
        .status()
        .expect("go is needed to build the futures that the tests await");
    assert!(status.success(), "go build failed");
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=static=gofixture");
    println!("cargo:rustc-link-lib=dylib=pthread");
    for source in ["rawwaker.c", "rawwaker.h", "cgo.go", "audit", "internal/capi", "rawwaker", "internal/wake", "future",
                   "blockon", "executor", "hosts/archive"] {
        println!("cargo:rerun-if-changed=../../../{source}");
    }
    println!("cargo:rerun-if-changed=go");
}
