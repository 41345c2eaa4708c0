# Commands that contributors type, for https://just.systems. `just` lists them.

_list:
    @just --list

# Build haven, which runs the whole platform
build *OPTIONS:
    cargo build {{ OPTIONS }}

# Run all tests; those that need PostgreSQL, Redis or Docker are skipped where it is not installed
test *OPTIONS:
    cargo test --workspace {{ OPTIONS }}

# Run the tests of one crate whose names contain NAME, with their output: just test-one domain sold_out
test-one CRATE NAME:
    cargo test --package {{ CRATE }} {{ NAME }} -- --nocapture

# Report what clippy finds, as the gate does
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Format every crate
fmt:
    cargo fmt --all

# Run the gate, or parts of it: just gate format lints
gate *PARTS:
    .ci/run {{ PARTS }}

# Start the shop on this machine: just up --postgres --redis
up *OPTIONS:
    cargo run -- up {{ OPTIONS }}

# Run a proof: just prove simulate --seeds 10000
prove *PROOF:
    cargo run --release --package prove -- {{ PROOF }}

# Count the lines of code of each crate, and compare them with an older checkout: just lines --compare ../before
lines *OPTIONS:
    cargo run --quiet --package tidy --bin lines -- {{ OPTIONS }}
