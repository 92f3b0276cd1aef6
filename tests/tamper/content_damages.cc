// Damage to the bytes of files, the keystore among them.

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/tamper/damage_parts.h"

namespace coffer::tamper {
namespace {

namespace fs = std::filesystem;

std::string where(std::size_t at, std::size_t length) {
  return " at " + std::to_string(at) + "+" + std::to_string(length) + " of";
}

}  // namespace

ByteVector content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put_content(const std::string& path, const ByteVector& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(content.data()),
             static_cast<std::streamsize>(content.size()));
}

const Object& any(const std::vector<const Object*>& objects, Chooser& choose) {
  return *objects[choose.below(objects.size())];
}

std::string directory_of(const std::string& backing) {
  const std::size_t slash = backing.rfind('/');
  return slash == std::string::npos ? "" : backing.substr(0, slash);
}

std::string join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void touch(const AgedStore& store, const Object& object, Touched& touched) {
  for (const Object& other : store.objects()) {
    if (other.inode != object.inode) continue;
    touched.affected.insert(other.path.empty() ? "/" : other.path);
    touched.backing.insert(other.backing);
  }
}

Touched of(const AgedStore& store, const Object& object, const std::string& what) {
  Touched touched;
  touched.what = what + " " + (object.path.empty() ? "/" : object.path);
  touch(store, object, touched);
  return touched;
}

Touched alter_bytes(const AgedStore& store, Chooser& choose) {
  const Object& file = any(store.objects(S_IFREG), choose);
  ByteVector bytes = content_of(store.at(file.backing));
  // Often in the headers and the first leaf, where most of what is believed stands.
  const std::size_t limit =
      choose.one_in(3) ? std::min<std::size_t>(bytes.size(), 3 * kBlock) : bytes.size();
  const std::size_t at = choose.below(limit);
  const std::size_t length =
      std::min<std::size_t>(bytes.size() - at, choose.one_in(2) ? 1 : 1 + choose.below(2 * kBlock));
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  std::string how = "zeros";
  if (choose.one_in(3)) {
    std::fill_n(begin, length, std::uint8_t{0});
  } else if (choose.one_in(2)) {
    *begin ^= static_cast<std::uint8_t>(1U << choose.below(8));
    how = "a bit";
  } else {
    choose.fill(MutableBytes(bytes).subspan(at, length));
    how = "noise";
  }
  put_content(store.at(file.backing), bytes);
  return of(store, file, how + where(at, length));
}

Touched cut(const AgedStore& store, Chooser& choose) {
  const Object& file = any(store.objects(S_IFREG), choose);
  const std::string path = store.at(file.backing);
  const auto size = static_cast<std::size_t>(fs::file_size(path));
  const std::size_t kept =
      choose.one_in(2) ? choose.below(size) : choose.below(size / kBlock + 1) * kBlock;
  fs::resize_file(path, kept);
  return of(store, file, "cut to " + std::to_string(kept) + " bytes:");
}

Touched extend(const AgedStore& store, Chooser& choose) {
  const Object& file = any(store.objects(S_IFREG), choose);
  ByteVector bytes = content_of(store.at(file.backing));
  const ByteVector more = choose.one_in(2) ? ByteVector(1 + choose.below(600'000))
                                           : choose.bytes(1 + choose.below(20'000));
  bytes.insert(bytes.end(), more.begin(), more.end());
  put_content(store.at(file.backing), bytes);
  return of(store, file, "longer by " + std::to_string(more.size()) + " bytes:");
}

/// Blocks within a file, or from one file to another: headers, nodes and chunks are all of 4096.
Touched move_blocks(const AgedStore& store, Chooser& choose) {
  const auto files = store.objects(S_IFREG);
  const Object& file = any(files, choose);
  const Object& source = choose.one_in(2) ? file : any(files, choose);
  ByteVector bytes = content_of(store.at(file.backing));
  ByteVector from = content_of(store.at(source.backing));
  const std::size_t here = choose.below(bytes.size() / kBlock);
  const std::size_t there = choose.one_in(2) ? std::min(here, from.size() / kBlock - 1)
                                             : choose.below(from.size() / kBlock);
  const auto at = [](ByteVector& in, std::size_t block) {
    return in.begin() + static_cast<std::ptrdiff_t>(block * kBlock);
  };
  if (&source == &file) {
    std::swap_ranges(at(bytes, here), at(bytes, here) + kBlock, at(from, there));
    std::copy_n(at(from, there), kBlock, at(bytes, there));
  } else {
    std::copy_n(at(from, there), kBlock, at(bytes, here));
  }
  put_content(store.at(file.backing), bytes);
  return of(store, file,
            "block " + std::to_string(there) + " of " + source.path + " in block " +
                std::to_string(here) + " of");
}

/// Blocks, headers, or all of a file as it was at the same place in an older state.
Touched put_back_bytes(const AgedStore& store, Chooser& choose) {
  const Object& file = any(store.objects(S_IFREG), choose);
  const std::size_t state = choose.below(store.old_states());
  const std::string older = store.old(state, file.backing);
  if (!fs::is_regular_file(fs::symlink_status(older))) return {};
  const ByteVector from = content_of(older);
  ByteVector bytes = content_of(store.at(file.backing));
  if (from == bytes) return {};
  const std::uint64_t how = choose.below(4);
  std::string what = "all";
  if (how == 0) {
    bytes = from;
  } else {
    const std::size_t blocks = std::min(from.size(), bytes.size()) / kBlock;
    const std::size_t first = how == 1 ? 0 : choose.below(blocks);
    const std::size_t count =
        how == 1 ? 2 : 1 + choose.below(std::min<std::size_t>(blocks - first, 4));
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(first * kBlock), count * kBlock,
                bytes.begin() + static_cast<std::ptrdiff_t>(first * kBlock));
    what = "blocks " + std::to_string(first) + "+" + std::to_string(count);
  }
  put_content(store.at(file.backing), bytes);
  return of(store, file, what + " of state " + std::to_string(state) + " put back into");
}

Touched damage_keystore(const AgedStore& store, Chooser& choose) {
  Touched touched;
  touched.keystore = true;
  touched.affected.insert("/");
  const std::string path = store.keystore();
  ByteVector bytes = content_of(path);
  const std::size_t pages = bytes.size() / kBlock;
  const auto page = [&bytes](std::size_t number) {
    return bytes.begin() + static_cast<std::ptrdiff_t>(number * kBlock);
  };
  const std::size_t one = choose.below(pages);
  const std::size_t other = choose.below(pages);
  const std::size_t state = choose.below(store.old_states());
  const ByteVector older = content_of(store.old_keystore(state));
  switch (choose.below(7)) {
    case 0:
      bytes[choose.below(bytes.size())] ^= static_cast<std::uint8_t>(1U << choose.below(8));
      touched.what = "a bit of the keystore";
      break;
    case 1:
      std::swap_ranges(page(one), page(one) + kBlock,
                       page(other == one ? (one + 1) % pages : other));
      touched.what = "pages of the keystore exchanged";
      break;
    case 2:
      std::fill_n(page(one), kBlock, std::uint8_t{0});
      touched.what = "a page of the keystore zeroed";
      break;
    case 3:
      bytes.resize(choose.below(bytes.size()));
      touched.what = "the keystore cut";
      break;
    case 4:
      bytes = older;
      touched.older_keystore = true;
      touched.what = "the keystore of state " + std::to_string(state);
      break;
    case 5:
      if (one * kBlock >= older.size()) return {};
      std::copy_n(older.begin() + static_cast<std::ptrdiff_t>(one * kBlock), kBlock, page(one));
      touched.what =
          "page " + std::to_string(one) + " of the keystore of state " + std::to_string(state);
      break;
    default:
      choose.fill(MutableBytes(bytes).subspan(one * kBlock + choose.below(kBlock / 2),
                                              1 + choose.below(kBlock / 2)));
      touched.what = "noise in page " + std::to_string(one) + " of the keystore";
  }
  put_content(path, bytes);
  return touched;
}

}  // namespace coffer::tamper
