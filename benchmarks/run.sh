#!/usr/bin/env bash
# Measures everything on this machine and writes benchmarks/RESULTS.md: kernels, an epoch of each config, scaling, the latency of a
# recommendation, and the same steps in TorchSharp. Nothing else should run meanwhile. About half an hour on two cores.
#
# Usage: benchmarks/run.sh [section...], of: kernels epoch scaling latency peer. With sections it prints those, and leaves RESULTS.md alone.
#   ML100K=DIR    folder that holds ml-100k/ml-100k.inter (its licence does not let us bundle it); left out without
#   DEBIAN13=DIR  where the Debian 13 root for TorchSharp is, or is to be made; a temporary folder without. Only where the system's
#                 C++ library is too old for libtorch, as Debian 12's is; needs root, debootstrap and 1 GB.
#   THREADS=N     2 without
set -euo pipefail
cd "$(dirname "$0")/.."
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
threads=${THREADS:-2}
sections=${*:-kernels epoch scaling latency peer}
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
report=$work/RESULTS.md
tables=$PWD/benchmarks/Bert4Rec.Benchmarks/bin/Release/net10.0/Bert4Rec.Benchmarks.dll
peer=$PWD/benchmarks/Bert4Rec.TorchPeer/bin/Release/net10.0/linux-x64
ml100k=(--config configs/ml-100k.yaml --set "data_path=${ML100K:-}" --set recbole_compatible=true --threads "$threads")
seed=(--config configs/ecommerce.yaml --set "data_path=$work/data" --set recbole_compatible=true --threads "$threads")

wants() { [[ " $sections " == *" $1 "* ]]; }
say() { printf '%s\n' "$@" >>"$report"; }

# A section of the report: what a command prints.
section() { # TITLE command...
    echo "== $1" >&2
    say "" "## $1" ""
    "${@:2}" >>"$report"
}

load() { cut -d ' ' -f 1 /proc/loadavg; }

# Purchases as many, by as many users, of as many items as configs/ecommerce.yaml is for, through the same commands.
make_seed_data() {
    local cli=(dotnet src/Bert4Rec.Cli/bin/Release/net10.0/Bert4Rec.Cli.dll)
    "${cli[@]}" synthesize --format csv --rows 2000000 --users 285000 --items 20000 --interactions 549446 --output "$work" --name log
    "${cli[@]}" clean "$work/log.csv" --output "$work/clean.csv"
    "${cli[@]}" convert "$work/clean.csv" --output "$work/data/ecommerce" --name ecommerce
}

newest() { grep -ao 'GLIBCXX_3\.4\.[0-9]*' "$1" | sort -uV | tail -1; }

# Whether libtorch runs on the system's own C++ library.
runs_here() {
    local system
    system=$(ldconfig -p | awk '/libstdc\+\+\.so\.6 .*x86-64/ { print $NF; exit }')
    [ -n "$system" ] && [ "$(printf '%s\n' "$(newest "$peer/libLibTorchSharp.so")" "$(newest "$system")" | sort -V | tail -1)" = "$(newest "$system")" ]
}

make_debian13() {
    [ -e "$DEBIAN13/usr/bin/env" ] && return
    local mirror
    mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -1 | tr -d ' ' || true)
    command -v debootstrap >/dev/null || { apt-get -qq update && apt-get -qq install -y debootstrap >/dev/null; }
    debootstrap --variant=minbase --include=ca-certificates,libgomp1,libicu76,libssl3t64,libstdc++6,zlib1g \
        trixie "$DEBIAN13" "${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 || { tail -5 "$work/debootstrap.log"; return 1; }
}

# glibc's allocator keeps what it got: without this, libtorch spends most of its time on fresh pages.
run_peer() { # options...
    local tuned=(MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456)
    local program=("${tuned[@]}" dotnet "$peer/Bert4Rec.TorchPeer.dll")
    if runs_here; then
        env "${program[@]}" "$@"
        return
    fi
    unshare --mount bash -euc '
        root=$1 checkout=$2 sdk=$3 data=$4 more=$5
        shift 5
        for folder in /proc /dev /sys "$checkout" "$sdk" "$data" "$more"; do
            [ -n "$folder" ] || continue
            mkdir -p "$root$folder"
            mount --bind "$folder" "$root$folder"
        done
        exec chroot "$root" /bin/bash -euc "cd \"\$0\"; export DOTNET_CLI_HOME=/tmp DOTNET_ROOT=$sdk PATH=$sdk:\$PATH; exec env \"\$@\"" "$checkout" "$@"
    ' bash "$DEBIAN13" "$PWD" "$(dirname "$(readlink -f "$(command -v dotnet)")")" "$work" "${ML100K:-}" "${program[@]}" "$@"
}

dotnet build -c Release >&2
if wants epoch || wants peer; then
    make_seed_data >&2
fi

say "# Results" "" \
    "Written by \`benchmarks/run.sh\` on $(date -u +%Y-%m-%d): $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(nproc) cores," \
    "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1e6 }' /proc/meminfo) GB, $(. /etc/os-release && echo "$PRETTY_NAME"), .NET $(dotnet --version | cut -d . -f 1,2)." \
    "Processes that wanted a core besides these measurements: $(load) at the start." "" \
    "Time of the processor is what threads spent on a core, which other work on the machine disturbs less than the clock."

if wants epoch; then
    section "An epoch of seed-scale data (recbole_compatible)" dotnet "$tables" epoch --device cpu "${seed[@]}"
    section "Where it goes" dotnet "$tables" profile "${seed[@]}" --steps 4 --rounds 3
    if [ -n "${ML100K:-}" ]; then
        section "An epoch of ml-100k (recbole_compatible)" dotnet "$tables" epoch --device cpu "${ml100k[@]}" --epochs 2
        section "Where that goes" dotnet "$tables" profile "${ml100k[@]}" --steps 2 --rounds 3
    fi
fi
if wants peer; then
    dotnet build -c Release benchmarks/Bert4Rec.TorchPeer >&2
    DEBIAN13=${DEBIAN13:-$work/debian13}
    runs_here || make_debian13
    section "TorchSharp, seed-scale data" run_peer "${seed[@]}" --steps 2 --rounds 5
    [ -z "${ML100K:-}" ] || section "TorchSharp, ml-100k" run_peer "${ml100k[@]}" --steps 2 --rounds 5
fi
wants latency && section "Recommending" dotnet "$tables" latency
wants scaling && section "Scaling" dotnet "$tables" scaling --threads "$threads"
wants kernels && section "Kernels" dotnet "$tables" kernels

say "" "Processes that wanted a core: $(load) at the end."
sed -i 's/[ \t]*$//' "$report"
if [ $# = 0 ]; then
    cp "$report" benchmarks/RESULTS.md
else
    cat "$report"
fi
