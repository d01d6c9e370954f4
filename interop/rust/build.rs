//! With the feature `bundled` the C half is compiled in; without, whoever links libffiwaker brings it.

fn main() {
    #[cfg(feature = "bundled")]
    {
        println!("cargo:rerun-if-changed=../../rawwaker.c");
        println!("cargo:rerun-if-changed=../../rawwaker.h");
        cc::Build::new().file("../../rawwaker.c").include("../..").std("c11").compile("rawwaker");
    }
}
