//! Compiles `vendor/rawwaker.c` if the feature `bundled` is on. Otherwise the program that links this
//! crate must contain that file's functions: README.md shows how.

use std::env::var;

fn main() {
    let vendor = var("CARGO_MANIFEST_DIR").expect("cargo sets it") + "/vendor";
    for file in ["build.rs", "vendor/rawwaker.c", "vendor/rawwaker.h"] {
        println!("cargo::rerun-if-changed={file}");
    }
    // DEP_RAWWAKER_INCLUDE, for the build scripts of packages that depend on this one.
    println!("cargo::metadata=include={vendor}");
    #[cfg(feature = "bundled")]
    cc::Build::new().file("vendor/rawwaker.c").std("c11").compile("rawwaker");
}
