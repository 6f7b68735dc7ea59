#!/bin/sh
# Publishes bert4rec as one self-contained file for each system: no .NET is needed where it runs.
#     tools/publish.sh [FOLDER [RID...]]      into FOLDER/RID/ (artifacts otherwise); all systems unless some are named
# Nothing is trimmed: ILGPU compiles kernels from the assemblies' own code, which a trimmer would take for unused.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-artifacts}
[ $# -gt 0 ] && shift
for rid in ${*:-linux-x64 linux-arm64 win-x64 osx-arm64}; do
    dotnet publish src/Bert4Rec.Cli -c Release -r "$rid" --self-contained -o "$folder/$rid" -v quiet \
        -p:PublishSingleFile=true -p:IncludeNativeLibrariesForSelfExtract=true -p:EnableCompressionInSingleFile=true \
        -p:DebugType=none -p:GenerateDocumentationFile=false
    case $rid in win*) extension=.exe ;; *) extension= ;; esac
    file=$folder/$rid/bert4rec$extension
    mv "$folder/$rid/Bert4Rec.Cli$extension" "$file"
    echo "$file $(($(wc -c < "$file") / 1000000)) MB"
done
