//! Compiles the conformance kit together with `rawwaker.c`, so its tests need no Go.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_MIRI").is_some() {
        return; // Miri calls no foreign function
    }
    let sources = ["../../../wakertest/c/rawwaker_test.c", "../../../rawwaker.c"];
    let headers = ["../../../wakertest/c/rawwaker_test.h", "../../../rawwaker.h"];
    for file in sources.iter().chain(&headers) {
        println!("cargo::rerun-if-changed={file}");
    }
    cc::Build::new()
        .files(sources)
        .include("../../..")
        .include("../../../wakertest/c")
        .std("gnu11")
        .flag("-pthread")
        .compile("kitfixture");
}
