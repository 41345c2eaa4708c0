//! Tests of the repository itself. Each test enforces one rule about its files, its dependencies or
//! its source code.

#[cfg(test)]
mod arrows;
pub mod code;
#[cfg(test)]
mod cycles;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod files;
pub mod lines;
#[cfg(test)]
mod source;

/// Returns the root of the repository.
pub fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
