//! A macro reads the migrations, and Cargo does not track its files. Without this script, an
//! incremental build could miss a new migration.

fn main() {
    println!("cargo::rerun-if-changed=sql");
}
