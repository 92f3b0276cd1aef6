// What is done next, to what, and what is printed of it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tests/model/tree_driver.h"

namespace coffer::testing {
namespace {

constexpr std::size_t kRemembered = 60;
constexpr std::size_t kShownOfName = 12;
constexpr unsigned kDeepest = 4;

unsigned depth_of(const ReferenceNode& directory) {
  return directory.parent == nullptr ? 0 : 1 + depth_of(*directory.parent);
}

/// Some few, so that operations meet; of each kind that is stored in its own way.
std::vector<std::string> make_names(bool reserved_too) {
  std::vector<std::string> names = {"a",        "b",  "c",  "d", "\xc3\xbc-na\xc3\xafve",
                                    "\xff\xfe", "\n", "..."};
  // Names of more than 175 bytes have a sidecar.
  for (const std::size_t length : {175U, 176U, 177U}) names.push_back(std::string(length, 'l'));
  names.push_back(std::string(255, 'n'));
  names.push_back("o" + std::string(254, 'n'));
  if (reserved_too) {
    for (const char* const name : {".coffer", ".coffer.dir", ".coffer.long.x"})
      names.emplace_back(name);
  }
  return names;
}

void append_quoted(std::string& text, std::string_view name) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (const char letter : name.substr(0, kShownOfName)) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte > ' ' && byte < 0x7f) {
      text += letter;
    } else {
      text.append("\\x").append(1, kDigits[byte >> 4U]).append(1, kDigits[byte & 15U]);
    }
  }
  if (name.size() > kShownOfName) text += "…" + std::to_string(name.size());
}

}  // namespace

std::string in_quotes(const std::string& path) {
  std::string text;
  for (std::size_t start = 0;;) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    append_quoted(text, std::string_view(path).substr(start, end - start));
    if (end == path.size()) return text;
    text += '/';
    start = end + 1;
  }
}

TreeDriver::TreeDriver(Vfs& vfs, DriverSetup setup)
    : vfs_(&vfs),
      setup_(std::move(setup)),
      choose_(setup_.seed),
      tree_(::geteuid()),
      names_(make_names(setup_.reserved_names)) {}

TreeDriver::~TreeDriver() { pause(); }

void TreeDriver::pause() {
  listing_.reset();
  handles_.clear();
  kept_.clear();
}

std::size_t TreeDriver::files() const {
  std::set<const ReferenceNode*> files;
  for (const ReferenceEntry& entry : tree_.entries()) {
    if (entry.node->is_file()) files.insert(entry.node.get());
  }
  return files.size();
}

std::string TreeDriver::last_operations() const {
  std::string text;
  for (const std::string& line : log_) text += "  " + line + "\n";
  return text;
}

void TreeDriver::begin(std::string operation) {
  log_.push_back(std::to_string(steps_) + ": " + std::move(operation));
  if (log_.size() > kRemembered) log_.pop_front();
}

bool TreeDriver::agree(const std::string& outcome, int expected, const std::string& message) {
  if (!log_.empty()) log_.back() += " = " + outcome;
  const std::string should_be = expected == 0 ? "ok" : ::strerrorname_np(expected);
  if (outcome != should_be) {
    fail("should be " + should_be + (message.empty() ? "" : ", but: " + message));
    return false;
  }
  return expected == 0;
}

void TreeDriver::fail(const std::string& difference) {
  if (failed_) return;
  failed_ = true;
  ADD_FAILURE() << "seed " << setup_.seed << ", operation " << steps_ << ": " << difference
                << "\nThe last operations:\n"
                << last_operations();
}

/// Not too deep down: few operations would meet in a long chain of directories.
NodePtr TreeDriver::some_directory() {
  std::vector<NodePtr> directories = tree_.directories();
  std::erase_if(directories,
                [](const NodePtr& directory) { return depth_of(*directory) > kDeepest; });
  return directories[choose_.below(directories.size())];
}

NodePtr TreeDriver::some_parent() {
  if (choose_.one_in(40)) {
    if (const auto entry = some_entry()) return entry->node;
  }
  return some_directory();
}

std::optional<ReferenceEntry> TreeDriver::some_entry(mode_t type) {
  std::vector<ReferenceEntry> entries = tree_.entries();
  if (type != 0) {
    std::erase_if(entries, [type](const ReferenceEntry& entry) {
      return (entry.node->mode & S_IFMT) != type;
    });
  }
  if (entries.empty()) return std::nullopt;
  return entries[choose_.below(entries.size())];
}

TreeDriver::Handle* TreeDriver::some_handle(int access_needed) {
  std::vector<Handle*> fit;
  for (Handle& handle : handles_) {
    if (access_needed == O_RDONLY || handle.access != O_RDONLY) fit.push_back(&handle);
  }
  return fit.empty() ? nullptr : fit[choose_.below(fit.size())];
}

std::string TreeDriver::some_name() {
  if (choose_.one_in(100)) return std::string(256, 'n');
  if (!choose_.one_in(30)) return names_[choose_.below(names_.size())];
  std::string name;
  for (std::uint64_t left = choose_.between(1, 255); left > 0; --left) {
    const auto letter = static_cast<char>(choose_.byte());
    name += letter == '/' || letter == '\0' || letter == '.' ? 'x' : letter;
  }
  return name;
}

std::string TreeDriver::some_name_in(const ReferenceNode& parent) {
  if (parent.entries.empty() || choose_.one_in(3)) return some_name();
  return std::next(parent.entries.begin(),
                   static_cast<std::ptrdiff_t>(choose_.below(parent.entries.size())))
      ->first;
}

std::uint64_t TreeDriver::some_offset(const ReferenceNode& file) {
  const std::uint64_t size = file.content.size();
  // Beyond the first leaf of the hash tree, which large chunks make expensive.
  if (choose_.one_in(setup_.chunk_size > 4096 ? 200 : 20))
    return choose_.below(140 * setup_.chunk_size);
  switch (choose_.below(6)) {
    case 0:
      return 0;
    case 1:
      return size;
    case 2:
      return size + choose_.below(3) - std::min<std::uint64_t>(size, 1);
    case 3:
      return choose_.below(5) * setup_.chunk_size;
    case 4:
      return choose_.between(1, 4) * setup_.chunk_size - 1;
    default:
      return choose_.below(6 * setup_.chunk_size);
  }
}

std::string TreeDriver::some_data() {
  const std::size_t chunk = setup_.chunk_size;
  const std::array lengths = {choose_.below(10), chunk - 1 + choose_.below(3), choose_.below(chunk),
                              choose_.below(3 * chunk)};
  const ByteVector data = choose_.bytes(lengths[choose_.below(lengths.size())]);
  return std::string(as_text(data));
}

struct timespec TreeDriver::some_time() {
  return {.tv_sec = static_cast<time_t>(choose_.below(2'000'000'000)),
          .tv_nsec = static_cast<long>(choose_.below(1'000'000'000))};
}

std::string TreeDriver::path_of(const ReferenceEntry& entry) const {
  return setup_.top + tree_.path(*entry.parent) + "/" + entry.name;
}

std::string TreeDriver::path_of(const NodePtr& node) const {
  if (node->is_directory()) return setup_.top + tree_.path(*node);
  for (const ReferenceEntry& entry : tree_.entries()) {
    if (entry.node == node) return path_of(entry);
  }
  std::abort();
}

TreeDriver::InodeReference TreeDriver::reach(const NodePtr& node, const std::string& path) {
  for (const Kept& kept : kept_) {
    if (kept.node == node && kept.links_lost == node->links_lost && !choose_.one_in(3)) {
      log_.back() += " (kept " + std::to_string(kept.inode->id().value) + ")";
      return kept.inode;
    }
  }
  return look_up(path);
}

TreeDriver::InodeReference TreeDriver::look_up(const std::string& path) {
  auto found = PathUser(*vfs_).find(path);
  if (found) return std::make_shared<HeldInode>(std::move(*found));
  fail("lookup of " + in_quotes(path) + ": " + found.error().message());
  return nullptr;
}

}  // namespace coffer::testing
