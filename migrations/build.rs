//! The migrations are read by a macro, which Cargo does not watch: without this a new file is
//! missing from an incremental build, and nobody is told.

fn main() {
    println!("cargo::rerun-if-changed=sql");
}
