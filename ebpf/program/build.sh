#!/usr/bin/env bash
# Builds the XDP programs into sluice.bpf.o and traffic.bpf.o (the bench's), installing the toolchain first where it is missing.
#   build.sh           rebuild the committed objects
#   build.sh --check   rebuild aside, and fail if a committed object disassembles differently
# README.md says why the toolchain is what it is.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

llvm=/usr/lib/llvm-22
linker_version=0.13.0
packages=(rustc-web cargo-web libstd-rust-web-dev-bpf rust-web-llvm
    llvm-22 llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev)
programs=(sluice traffic)

main() {
    case "${1-}" in
        "")
            install_packages || fail "cannot install the toolchain: $unobtainable"
            install_linker
            build
            for program in "${programs[@]}"; do
                strip_object "$program" "$program.bpf.o"
                describe "$program.bpf.o"
            done
            ;;
        --check)
            if ! install_packages; then
                echo "SKIP: the XDP program is not rebuilt and compared: $unobtainable" >&2
                exit 0
            fi
            install_linker
            build
            for program in "${programs[@]}"; do check "$program"; done
            ;;
        *) fail "usage: $0 [--check]" ;;
    esac
}

fail() {
    echo "$*" >&2
    exit 1
}

# Debian has these packages; other distributions do not build `core` for BPF.
install_packages() {
    local missing as_root=()
    unobtainable="this is not Debian (no dpkg or apt-get)"
    command -v dpkg-query apt-get >/dev/null || return 1
    missing=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
        awk '$2 == "installed" { print $1 }' | sort | comm -13 - <(printf '%s\n' "${packages[@]}" | sort))
    [ -n "$missing" ] || return 0
    echo "Installing:" $missing
    unobtainable="needs root to install $(echo $missing)"
    if [ "$(id -u)" != 0 ]; then
        as_root=(sudo -n)
        sudo -n true 2>/dev/null || return 1
    fi
    unobtainable="apt-get could not install $(echo $missing)"
    "${as_root[@]}" apt-get update -qq || true
    # shellcheck disable=SC2086 # one word per package
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends $missing
}

install_linker() {
    PATH="$HOME/.cargo/bin:$PATH"
    if ! bpf-linker --version 2>/dev/null | grep -qF "$linker_version"; then
        # bpf-linker looks for libLLVM in LLVM_PREFIX, llvm-sys for the headers in the other.
        # `cd /`: not the toolchain that this repository pins.
        (cd / && LLVM_PREFIX=$llvm LLVM_SYS_221_PREFIX=$llvm cargo install --locked --force \
            bpf-linker --version "$linker_version" --no-default-features --features llvm-22)
    fi
}

build() {
    # Debian's compiler, not rustup's: it comes with `core` for the BPF target.
    # Paths of this machine are kept out of the object.
    local remap="--remap-path-prefix=$(readlink -f ../..)=/sluice"
    remap+=" --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/registry"
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc RUSTUP_TOOLCHAIN= CARGO_TARGET_DIR=$PWD/target \
        CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS="$remap" \
        /usr/bin/cargo build --release --locked --target bpfel-unknown-none
}

# Strips what was built of a program into an object.
strip_object() {
    "$llvm/bin/llvm-objcopy" --strip-debug "target/bpfel-unknown-none/release/$1" "$2"
}

describe() {
    "$llvm/bin/llvm-objdump" --disassemble --no-show-raw-insn "$1" |
        awk -v object="$1" '/^ +[0-9]+:/ { n++ } END { print object ":", n, "instructions" }'
    ls -l "$1"
}

check() {
    strip_object "$1" "target/$1.fresh.o"
    disassemble "$1.bpf.o" >"target/$1.committed.s"
    disassemble "target/$1.fresh.o" >"target/$1.fresh.s"
    diff -u "target/$1.committed.s" "target/$1.fresh.s" ||
        fail "$1.bpf.o is not what its source builds to: run ebpf/program/build.sh and commit it."
    echo "$1.bpf.o is what its source builds to."
}

# Instructions, relocations and map definitions, without the file's name, debug information and BTF.
disassemble() {
    "$llvm/bin/llvm-objdump" --disassemble --reloc --no-show-raw-insn "$1" | grep -v 'file format'
    "$llvm/bin/llvm-objdump" --full-contents --section=maps "$1" | grep -v 'file format'
}

main "$@"
