//! Tells the test harness where the SDK's protobuf descriptors are, to read recorded histories.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(path) = std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH") {
        println!("cargo:rustc-env=TEMPORAL_DESCRIPTORS={path}");
    }
}
