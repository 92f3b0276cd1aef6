#include "mount-tools/sound_bytes.h"

#include <algorithm>
#include <cerrno>

namespace coffer {
namespace {

constexpr std::size_t kRunSize = std::size_t{1} << 20U;  // whole chunks, whatever their size

/// Where to read on: the next data, if the tree is whole up to there.
std::uint64_t skip_hole(EncryptedFile& content, std::uint64_t offset) {
  const auto data = content.seek_data(offset);
  if (data) return std::max(offset, *data / kRunSize * kRunSize);
  return data.error().errno_value == ENXIO ? content.size() : offset;
}

}  // namespace

Result<Losses> read_sound(EncryptedFile& content, Progress& progress,
                          const std::function<Result<void>(std::uint64_t offset, Bytes)>& take,
                          EncryptedFile::Vouching vouching) {
  Losses losses;
  ByteVector buffer(kRunSize);
  std::uint64_t offset = 0;
  while (offset < content.size()) {
    const std::uint64_t next = skip_hole(content, offset);
    progress.add_bytes(next - offset);
    offset = next;
    Losses here;
    const std::size_t length = content.salvage(offset, buffer, here, vouching);
    for (const ByteRange& range : here.unvouched) losses.add_unvouched(range, *here.first);
    std::uint64_t at = offset;
    here.ranges.push_back({offset + length, offset + length});
    for (const ByteRange& lost : here.ranges) {
      if (lost.begin > at) {
        const Bytes sound = Bytes(buffer).subspan(at - offset, lost.begin - at);
        if (!all_zero(sound)) TRY(take(at, sound));
      }
      at = lost.end;
      if (lost.end > lost.begin) losses.add(lost, *here.first);
    }
    if (length == 0) break;
    offset += length;
    progress.add_bytes(length);
  }
  return losses;
}

}  // namespace coffer
