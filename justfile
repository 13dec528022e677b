# Every verb of the house. `./justw VERB` installs what is missing first.
set shell := ["bash", "-euo", "pipefail", "-c"]

export PATH := env("HOME") + "/.cargo/bin:" + env("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin"
fuzz_seconds := env("SLUICE_FUZZ_SECONDS", "15")

# List the verbs.
default:
    @just --list --unsorted

# Run the gateway: just run --config sluice.toml
run *ARGS:
    cargo run --release -p sluice -- run {{ARGS}}

# Show the main job on real media, and prove it: exit status 0 or 1.
demo *ARGS:
    cargo build --quiet --profile demo -p sluice
    "${CARGO_TARGET_DIR:-target}/demo/sluice" demo {{ARGS}}

# A page that calls through Sluice from a browser: http://127.0.0.1:8080/ until Ctrl-C.
demo-browser *ARGS:
    cargo build --quiet --profile demo -p sluice
    "${CARGO_TARGET_DIR:-target}/demo/sluice" demo-browser {{ARGS}}

# All checks and all tests, as continuous integration runs them.
test: fmt-check lint deny proto unit kernels instructions aarch64 pylibsrtp netns ebpf fuzz docs
    @echo "test: everything passed"

alias ci := test

# Format all Rust code.
fmt:
    cargo fmt --all

# Fail if formatting would change anything.
fmt-check:
    cargo fmt --all --check

# Clippy with every warning an error.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Advisories, licences, bans and sources of all dependencies.
deny:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo deny --workspace check bans licenses sources
    # The advisory database is a git repository on the internet: say so when it is out of reach.
    if cargo deny fetch db 2>/dev/null; then
        # Without the bench: its peers are measured, not shipped, and libsrtp's bindings are built by
        # crates that nobody maintains.
        cargo deny --workspace --exclude sluice-bench check advisories
    else
        echo "SKIP: the RustSec advisory database cannot be fetched from here" >&2
    fi

# The API's .proto files as buf wants them; the tests of sluice-proto hold them to most of it without buf.
proto:
    #!/usr/bin/env bash
    set -euo pipefail
    cd control/proto
    if ! command -v buf >/dev/null; then
        echo "SKIP: buf is not installed: pip install buf-bin, or npm install -g @bufbuild/buf" >&2
        exit 0
    fi
    buf lint
    buf format --diff --exit-code

# Write docs/api.md and control/proto/api.snapshot anew; what clients rely on goes by `just api-docs breaking` only.
api-docs MODE="additions":
    SLUICE_WRITE={{MODE}} cargo test --quiet -p sluice-proto --test schema

# Unit tests, suites and doc tests of every crate.
unit:
    #!/usr/bin/env bash
    set -euo pipefail
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace -E 'not package(sluice-tests) and not binary(netns_handshakes)'
        cargo test --workspace --doc --quiet
    else
        cargo test --workspace --exclude sluice-tests --no-fail-fast
    fi

# The SRTP library's suites on every kernel that this CPU has (`unit` runs them on the best one).
kernels:
    #!/usr/bin/env bash
    set -euo pipefail
    for kernel in aesni portable; do
        echo "kernel: $kernel"
        SLUICE_KERNEL=$kernel cargo test --quiet -p sluice-srtp --lib --tests || {
            grep -qw sha_ni /proc/cpuinfo || [[ $kernel == portable ]] && exit 1
            echo "SKIP: this CPU cannot run the kernel $kernel" >&2
        }
    done

# Instructions per packet, counted by valgrind: fails on 5 % more than the record; --record writes it anew.
instructions *ARGS:
    cargo run --quiet --release -p sluice-bench --no-default-features --bin instructions -- {{ARGS}}

# Kernels and SRTP library for AArch64, run under qemu-user.
aarch64:
    .ci/aarch64

# pylibsrtp, built from its source package, with its own tests on Sluice's C library.
pylibsrtp:
    .ci/pylibsrtp

# RFC test vectors only.
vectors:
    cargo test -p sluice-srtp -- vector

# The daemon between real peers in network namespaces (root).
netns *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    # The tests start the real binary; Cargo knows binaries of a test's own package only. The whole workspace is asked
    # for everywhere: a part of it has other features of its dependencies, which are built anew for that.
    cargo test --workspace --no-run
    # An example that has tests is built for these alone.
    cargo build --quiet -p sluice-mixer-client --example mixer
    # Cargo within a test has another environment than here, and would build it all anew.
    SLUICE_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/debug/sluice")
    SLUICE_MIXER=$(realpath "${CARGO_TARGET_DIR:-target}/debug/examples/mixer")
    export SLUICE_BIN SLUICE_MIXER
    if ((EUID != 0)); then
        echo "SKIP: tests in network namespaces need root; run: sudo -E ./justw netns" >&2
    fi
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace -E 'package(sluice-tests) or binary(netns_handshakes)' {{ARGS}}
    else
        cargo test --workspace --no-fail-fast --test 'netns_*' --test suite_mixer --test guest -- --test-threads=1 {{ARGS}}
    fi

# Calls of headless Chromium and Firefox through the daemon, in network namespaces (root); part of `netns`.
test-browser *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo test --workspace --no-run
    SLUICE_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/debug/sluice")
    export SLUICE_BIN
    if ((EUID != 0)); then
        echo "SKIP: tests in network namespaces need root; run: sudo -E ./justw test-browser" >&2
    fi
    cargo test --workspace --test netns_webrtc -- --test-threads=1 {{ if ARGS == "" { "chromium firefox" } else { ARGS } }}

# Floods, forgeries, garbage and storms of RTCP for SLUICE_SOAK_SECONDS (600), with an eye on memory and books (root).
soak:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo test --workspace --no-run
    SLUICE_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/debug/sluice")
    export SLUICE_BIN SLUICE_SOAK_SECONDS="${SLUICE_SOAK_SECONDS:-600}"
    cargo test --workspace --test netns_overload -- --nocapture memory_stays_flat

# Rebuild the XDP program with its own toolchain and compare it with the committed object.
ebpf:
    ebpf/program/build.sh --check

# Each fuzz target for SLUICE_FUZZ_SECONDS (15).
fuzz:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! rustup toolchain list | grep -q '^nightly'; then
        echo "SKIP: fuzzing needs a nightly compiler: rustup toolchain install nightly" >&2
        exit 0
    fi
    if ! command -v cargo-fuzz >/dev/null; then
        echo "SKIP: fuzzing needs cargo-fuzz: cargo install --locked cargo-fuzz" >&2
        exit 0
    fi
    for target in $(cargo +nightly fuzz list --fuzz-dir tests/fuzz); do
        echo "fuzz: $target for {{fuzz_seconds}} s"
        # Finds go to the first corpus, so that a run leaves the committed one as it is.
        found="tests/fuzz/target/corpus/$target"
        mkdir -p "$found" "tests/fuzz/corpus/$target"
        cargo +nightly fuzz run --fuzz-dir tests/fuzz "$target" "$found" "tests/fuzz/corpus/$target" -- \
            -max_total_time={{fuzz_seconds}} -verbosity=0 -print_final_stats=0
    done

# Benchmarks.
bench *ARGS:
    cargo bench -p sluice-bench {{ARGS}}

# SRTP engines side by side on one core: --quick, --json FILE, --record; builds OpenSSL (once).
bench-srtp *ARGS:
    cargo run --quiet --release -p sluice-bench --no-default-features --features peers --bin bench-srtp -- {{ARGS}}

# Gateways side by side on veth, one forwarding core each (root): --quick, --json FILE, --record; builds OpenSSL (once).
bench-wire *ARGS:
    cargo run --quiet --release -p sluice-bench --features peers --bin bench-wire -- {{ARGS}}

# Calls that one core sets up, and keys that it installs, beside rtpengine (root): --quick, --json FILE, --record.
bench-signalling *ARGS:
    cargo build --quiet --release -p sluice -p sluice-bench --bin sluice --bin bench-signalling
    "${CARGO_TARGET_DIR:-target}/release/bench-signalling" {{ARGS}}

# DTLS-SRTP handshakes of one core beside openssl s_server, and media beside them (root): --quick, --json FILE, --record.
bench-handshakes *ARGS:
    cargo build --quiet --release -p sluice -p sluice-bench --bin sluice --bin bench-handshakes
    "${CARGO_TARGET_DIR:-target}/release/bench-handshakes" {{ARGS}}

# Whether time tells of tags or payloads: dudect's t-test on every kernel. By hand, on a quiet machine.
constant-time *ARGS:
    cargo run --quiet --release -p sluice-bench --no-default-features --bin constant-time -- {{ARGS}}

# Build the API documentation; broken links are errors.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
