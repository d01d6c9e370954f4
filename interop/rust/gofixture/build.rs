//! Builds `go/` into an archive, which contains libffiwaker.

use std::path::Path;
use std::process::Command;

/// The packages in the archive, and the C files of the root.
const SOURCES: &[&str] = &[
    "audit",
    "blockon",
    "cgo.go",
    "executor",
    "ffiwaker.go",
    "future",
    "hosts/archive",
    "hosts/ffiwaker.h",
    "internal/capi",
    "internal/trace",
    "internal/wake",
    "rawwaker",
    "rawwaker.c",
    "rawwaker.h",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_MIRI").is_some() {
        return; // Miri calls no foreign function, so no test that it runs needs Go
    }
    println!("cargo::rerun-if-changed=go");
    for source in SOURCES {
        println!("cargo::rerun-if-changed=../../../{source}");
    }
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let status = Command::new("go")
        .args(["build", "-buildmode=c-archive", "-o"])
        .arg(Path::new(&out).join("libgofixture.a"))
        .arg(".")
        .current_dir("go")
        .status()
        .expect("go must be installed: it builds the futures that the tests await");
    assert!(status.success(), "go build failed");
    println!("cargo::rustc-link-search=native={out}");
    println!("cargo::rustc-link-lib=static=gofixture");
    println!("cargo::rustc-link-lib=dylib=pthread");
}
