#!/bin/bash
# unpack-kernel and build-tiny on made-up input. usage: test_image_builder.sh IMAGE_BUILDER
set -uo pipefail
export LC_ALL=C
builder=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

check() { # check WHAT COMMAND…
    local what=$1
    shift
    if "$@"; then
        echo "ok   $what"
    else
        echo "FAIL $what"
        failures=$((failures + 1))
    fi
}

le() { # le VALUE BYTES
    local i value=$1
    for ((i = 0; i < $2; i++)); do
        # shellcheck disable=SC2059 # the format is the byte
        printf "$(printf '\\%03o' $((value & 255)))"
        value=$((value >> 8))
    done
}
zeros() { head -c "$1" /dev/zero; }

# An ELF file with one segment: 0x2000 bytes of which the last 0x1800 are zero, then more zeros.
make_elf() {
    {
        printf '\177ELF\2\1\1'
        zeros 9
        le 2 2; le 62 2; le 1 4; le 0 8; le 64 8; le 8192 8; le 0 4
        le 64 2; le 56 2; le 1 2; le 64 2; le 3 2; le 2 2
        le 1 4; le 5 4; le 4096 8; le 0 8; le 0 8; le 8192 8; le 8192 8; le 4096 8
        zeros $((4096 - 64 - 56))
        head -c 2048 /dev/zero | tr '\0' 'x'
        zeros $((8192 - 2048))
    } >elf
}

# make_bzimage PACKER…: a bzImage whose payload is elf
make_bzimage() {
    local size
    "$@" <elf >payload
    size=$(stat -c %s elf)
    # All but gzip, whose own last four bytes are the size, get it appended.
    [ "$1" = gzip ] || le "$size" 4 >>payload
    {
        zeros 497
        le 1 1
        zeros 16
        printf HdrS
        le 527 2
        zeros $((584 - 520))
        le 16 4
        le "$(stat -c %s payload)" 4
        zeros $((1024 - 592 + 16))
        cat payload
    } >bzimage
}

u64() { od -An -tu8 -j"$2" -N8 "$1" | tr -d ' '; }
same_start() { cmp -s -n 2048 -i 4096:4096 elf out; }

make_elf
for packer in "xz -c --check=crc32" "gzip -c" "zstd -qc" "lz4 -lqc" "bzip2 -c" "xz --format=lzma -c"; do
    name=${packer%% *}
    if ! command -v "$name" >/dev/null; then
        echo "skip $packer: not installed"
        continue
    fi
    # shellcheck disable=SC2086 # a command line
    make_bzimage $packer
    rm -f out
    check "$packer: unpacks" "$builder/unpack-kernel" bzimage out
    check "$packer: trims to the page after the last byte" [ "$(stat -c %s out)" -eq 8192 ]
    check "$packer: says so in the program header" [ "$(u64 out 96)" -eq 4096 ]
    check "$packer: memory size stays" [ "$(u64 out 104)" -eq 8192 ]
    check "$packer: section headers are gone" [ "$(u64 out 40)" -eq 0 ]
    check "$packer: content is the same" same_start
done

fails_with() { # fails_with TEXT COMMAND…
    local text=$1
    shift
    ! "$@" >/dev/null 2>err && grep -q -- "$text" err
}

make_bzimage xz -c --check=crc32
head -c 1100 bzimage >short
check "cut short" fails_with 'cut short' "$builder/unpack-kernel" short out
{ head -c $(($(stat -c %s bzimage) - 4)) bzimage; le 1234 4; } >wrong
check "wrong size" fails_with 'wrong size' "$builder/unpack-kernel" wrong out
zeros 2000 >blank
check "blank file" fails_with 'not a bzImage' "$builder/unpack-kernel" blank out
check "missing file" fails_with 'cannot be read' "$builder/unpack-kernel" nowhere out

check "build-tiny: a program that is not there" fails_with 'is not a program' \
    "$builder/build-tiny" --vmd nowhere --sandbox-helper nowhere image
check "build-tiny: a helper that is not static" fails_with 'not static' \
    "$builder/build-tiny" --vmd /bin/bash --sandbox-helper /bin/bash image
mkdir there
check "build-tiny: output is in the way" fails_with 'exists already' \
    "$builder/build-tiny" --vmd /bin/bash --sandbox-helper /bin/bash there
check "build-tiny: usage" fails_with 'usage:' "$builder/build-tiny"

check "build-tiny: a kernel it does not know" fails_with 'usage:' \
    "$builder/build-tiny" --vmd /bin/bash --sandbox-helper /bin/bash --kernel fat image

# ---- the lean kernel ----

config=$builder/lean.config
# allnoconfig passes over what it cannot read.
well_formed() {
    ! grep -nvE '^($|#$|# |CONFIG_[A-Z0-9_]+=(y|[0-9]+|"[^"]*")$)' "$config" &&
        ! grep -nE '^# CONFIG_' "$config" | grep -vE '^[0-9]+:# CONFIG_[A-Z0-9_]+ is not set$'
}
check "lean.config: well-formed" well_formed
check "lean.config: each option once" \
    [ -z "$(grep -oE '^(# )?CONFIG_[A-Z0-9_]+' "$config" | sed 's/^# //' | sort | uniq -d)" ]
# What vmd and sandbox-helper cannot do without.
for option in PVH FW_CFG_SYSFS VIRTIO_PCI VIRTIO_CONSOLE VIRTIO_NET VIRTIO_BLK DEVTMPFS TMPFS OVERLAY_FS 9P_FS NET_9P_VIRTIO \
    EXT4_FS SQUASHFS EROFS_FS UTS_NS IPC_NS USER_NS PID_NS NET_NS SECCOMP_FILTER MEMCG CGROUP_PIDS \
    CFS_BANDWIDTH UNIX98_PTYS SERIAL_8250_CONSOLE SECURITY_LANDLOCK; do
    check "lean.config: $option" grep -qx "CONFIG_$option=y" "$config"
done

check "build-kernel: usage" fails_with 'usage:' "$builder/build-kernel"
# A system on which there are only a few tools.
mkdir tools
for tool in bash cat dirname grep head mkdir mktemp rm sed sha256sum sort touch tr uname xz; do
    ln -s "$(command -v $tool)" tools/$tool
done
bare() { # bare PROGRAM…: with these tools only
    PATH=$work/tools "$@"
}
check "build-kernel: not Debian" fails_with 'not a Debian system' bare "$builder/build-kernel" lean
cat >tools/apt-cache <<'EOF'
#!/bin/bash
echo "  Candidate: ${CANDIDATE-6.1.99-1}"
EOF
chmod +x tools/apt-cache
if [ "$(uname -m)" = x86_64 ]; then
    CANDIDATE='(none)' check "build-kernel: no source" fails_with 'apt offers no linux-source' \
        bare "$builder/build-kernel" lean
    check "build-kernel: what to install" fails_with "'apt-get install .*bison .*flex .*libelf-dev" \
        bare "$builder/build-kernel" lean
    check "build-kernel: nothing is left" [ -z "$(ls -A lean)" ]
    recipe=$(cat "$builder/build-kernel" "$config" "$builder/unpack-kernel" | sha256sum | head -c 16)
    mkdir "lean/6.1.98-1-$recipe" && touch "lean/6.1.98-1-$recipe/packages"
    finds() { [ "$(bare "$builder/build-kernel" "$@" 2>/dev/null)" = "$work/lean/6.1.98-1-$recipe" ]; }
    check "build-kernel: one that is there" finds --any-version lean
    check "build-kernel: a newer source" fails_with 'apt-get install' bare "$builder/build-kernel" lean
    mv "lean/6.1.98-1-$recipe" lean/6.1.98-1-0123456789abcdef
    check "build-kernel: one of another recipe" fails_with 'apt-get install' \
        bare "$builder/build-kernel" --any-version lean
fi

[ $failures -eq 0 ] || echo "$failures failed"
[ $failures -eq 0 ]
