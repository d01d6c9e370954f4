//! Compiles `fixture.c` together with `rawwaker.c` and the channel, so that its tests need no Go.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_MIRI").is_some() {
        return; // Miri calls no foreign function
    }
    let sources = ["fixture.c", "../../../rawwaker.c", "../../../channel/rawwaker_channel.c"];
    let headers = ["../../../rawwaker.h", "../../../channel/rawwaker_channel.h"];
    for file in sources.iter().chain(&headers) {
        println!("cargo::rerun-if-changed={file}");
    }
    cc::Build::new()
        .files(sources)
        .include("../../..")
        .include("../../../channel")
        .std("c11")
        .warnings_into_errors(true)
        .compile("cfixture");
    println!("cargo::rustc-link-lib=dylib=pthread");
}
