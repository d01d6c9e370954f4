use std::path::Path;

fn main() {
    let root = Path::new("../../..");
    let sources = [root.join("rawwaker.c"), "fixture.c".into(), "other.c".into()];
    for file in sources.iter().chain([&root.join("rawwaker.h"), &"../rawwaker_asyncffi.h".into()]) {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    cc::Build::new()
        .std("c11")
        .flags(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-pthread"])
        .include(root)
        .include("..")
        .files(&sources)
        .compile("fixture");
    // Counts the allocations of both languages: Rust's Box calls malloc too.
    println!("cargo:rustc-link-arg=-Wl,--wrap=malloc,--wrap=free");
}
