//! The SQL files are read while compiling, which cargo does not see by itself: a new one would be left out of a build
//! that is already there.

fn main() {
    println!("cargo:rerun-if-changed=sql");
}
