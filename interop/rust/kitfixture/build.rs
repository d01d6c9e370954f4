//! Compiles the conformance kit, and rawwaker.c, so that its tests need no Go.

fn main() {
    let sources = ["../../../wakertest/c/rawwaker_test.c", "../../../rawwaker.c"];
    let headers = ["../../../wakertest/c/rawwaker_test.h", "../../../rawwaker.h"];
    for file in sources.iter().chain(&headers) {
        println!("cargo:rerun-if-changed={file}");
    }
    cc::Build::new()
        .files(sources)
        .include("../../..")
        .include("../../../wakertest/c")
        .std("gnu11")
        .flag("-pthread")
        .compile("kitfixture");
}
