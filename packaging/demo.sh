#!/usr/bin/env bash
# The main job, end to end, as root on a fresh Debian 12: an unmodified program reads its model from an encrypted store.
# Installs what it needs, builds coffer, works in a temporary directory and cleans up behind itself.
set -euo pipefail
source "$(dirname "$0")/common.sh"

sentence="Encrypted weights read like plain ones"

install_packages "${build_packages[@]}" tesseract-ocr tesseract-ocr-eng python3 python3-pil fonts-dejavu-core util-linux
build_dir=${COFFER_BUILD_ROOT:-$root_dir/build}/demo
say "Building coffer"
build "$build_dir" all -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCOFFER_TESTS=OFF
coffer=$build_dir/mount-tools/coffer

work=$(mktemp -d /tmp/coffer-demo-XXXXXX)
store=$work/store
mnt=$work/models
export COFFER_STATE_DIR=$work/state COFFER_RUNTIME_DIR=$work/run
mkdir "$mnt"
chmod 755 "$work"

cleanup() {
  "$coffer" umount "$mnt" >/dev/null 2>&1 || fusermount3 -u -z "$mnt" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  echo "demo: $*" >&2
  exit 1
}

say "1. A store: a directory for ciphertext, a keystore, a master key that lies elsewhere"
"$coffer" init "$store" --kms "local:$work/master.key"

say "2. Import the OCR weights of tesseract-ocr-eng"
model=$(dpkg -L tesseract-ocr-eng | grep '/eng\.traineddata$')
ls -l "$model"
"$coffer" import "$model" "$store:/ocr/"

say "3. Mount it"
"$coffer" mount "$store" "$mnt" --log "$work/daemon.log"
"$coffer" status
ls -l "$mnt/ocr"
cmp "$model" "$mnt/ocr/eng.traineddata" || fail "the mount shows other bytes than were imported"

say "4. The unmodified tesseract reads its model from the mount and a picture with a known sentence"
/usr/bin/python3 - "$work/picture.png" "$sentence" <<'PYTHON'
import sys
from PIL import Image, ImageDraw, ImageFont
font = ImageFont.truetype("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", 40)
picture = Image.new("L", (1000, 100), 255)
ImageDraw.Draw(picture).text((30, 25), sys.argv[2], font=font, fill=0)
picture.save(sys.argv[1])
PYTHON
recognised=$(tesseract --tessdata-dir "$mnt/ocr" "$work/picture.png" stdout -l eng 2>/dev/null | tr -s '\n\f' ' ' | sed 's/ *$//')
echo "the picture says:    $sentence"
echo "tesseract recognised: $recognised"
[ "$recognised" = "$sentence" ] || fail "tesseract did not recognise the sentence"

say "5. What the backing directory shows: neither names nor contents"
find "$store" -type f | sed "s|$work/||"
if find "$store" | grep -q traineddata; then fail "the backing directory shows a name"; fi
/usr/bin/python3 - "$model" "$store" <<'PYTHON'
import os, sys
model, store = sys.argv[1:]
plain = open(model, "rb").read()
# Every run of 16 bytes at a step of 16, but those that repeat a byte or two (they say nothing).
runs = {plain[i:i + 16] for i in range(0, len(plain) - 15, 16)}
runs = {run for run in runs if len(set(run)) > 4}
checked = 0
for directory, _, files in os.walk(store):
    for name in files:
        content = open(os.path.join(directory, name), "rb").read()
        checked += len(content)
        for i in range(len(content) - 15):
            if content[i:i + 16] in runs:
                sys.exit(f"{name} holds plaintext at {i}")
print(f"none of {len(runs)} runs of 16 bytes of the model is among the {checked} bytes of the store")
PYTHON

say "6. Another user's process is refused, and the audit log says so"
if setpriv --reuid 65534 --regid 65534 --clear-groups cat "$mnt/ocr/eng.traineddata" >/dev/null 2>"$work/refused"; then
  fail "another user could read the model"
fi
cat "$work/refused"
grep -q 'Permission denied' "$work/refused" || fail "the refusal was no EACCES"
grep '"decision":"deny"' "$COFFER_STATE_DIR"/*/audit.jsonl | grep '"uid":65534' | tail -n 1 ||
  fail "the audit log has no line of the refusal"

say "7. Unmount, and verify every byte in the backing directory"
"$coffer" umount "$mnt"
"$coffer" verify "$store"

say "Done: the model was used, and the disk never saw it"
