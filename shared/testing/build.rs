//! Passes the path of the SDK's protobuf descriptors to the test harness, which reads histories with them.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(path) = std::env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH") {
        println!("cargo:rustc-env=TEMPORAL_DESCRIPTORS={path}");
    }
}
