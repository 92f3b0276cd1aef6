#include "tests/model/shared_directories.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdio.h>

#include <algorithm>
#include <set>

namespace coffer::testing {
namespace {

constexpr std::uint64_t kNames = 6;
constexpr std::size_t kLongestContent = 40000;
constexpr std::size_t kBlockLength = 10000;
constexpr const char* kBlockPath = "/shared0/block";
constexpr std::size_t kPrefix = 16;

/// Length and number, and the bytes that follow from the number.
std::string content_of(std::uint64_t number) {
  Chooser choose(number);
  ByteVector content(kPrefix + choose.below(kLongestContent));
  choose.fill(MutableBytes(content).subspan(kPrefix));
  store_le(content, 0, static_cast<std::uint64_t>(content.size()));
  store_le(content, 8, number);
  return std::string(as_text(content));
}

bool is_whole(const std::string& content) {
  if (content.size() < kPrefix) return false;
  return content == content_of(load_le<std::uint64_t>(as_bytes(content), 8));
}

}  // namespace

SharedDirectories::SharedDirectories(Vfs& vfs) : user_(vfs) {
  EXPECT_EQ(outcome_of(user_.make_directory("/shared0")), "ok");
  EXPECT_EQ(outcome_of(user_.make_directory("/shared1")), "ok");
  EXPECT_EQ(outcome_of(user_.put(kBlockPath, std::string(kBlockLength, 'a'))), "ok");
}

bool SharedDirectories::step(Chooser& choose, unsigned thread) {
  switch (choose.below(12)) {
    case 0:
    case 1:
      replace(choose, thread);
      break;
    case 2:
    case 3:
      rename(choose);
      break;
    case 4:
      unlink(choose);
      break;
    case 5:
      link(choose);
      break;
    case 6:
      list(choose);
      break;
    case 7:
      overwrite_block(choose);
      break;
    case 8:
      read_block();
      break;
    default:
      read(choose);
      break;
  }
  return !failed_;
}

SharedDirectories::Spot SharedDirectories::some_spot(Chooser& choose) {
  const std::uint64_t number = choose.below(kNames);
  // Some of the names are stored with sidecars.
  return {.directory = choose.below(2),
          .name = std::string(number % 2 == 0 ? 200 : 1, static_cast<char>('a' + number))};
}

std::string SharedDirectories::path(const Spot& spot) {
  return "/shared" + std::to_string(spot.directory) + (spot.name.empty() ? "" : "/" + spot.name);
}

SharedDirectories::Locks SharedDirectories::lock_directories(
    const std::vector<std::size_t>& directories) {
  Locks locks;
  for (const std::size_t each : std::set<std::size_t>(directories.begin(), directories.end())) {
    locks.emplace_back(directories_[each]);
  }
  return locks;
}

SharedDirectories::Locks SharedDirectories::lock_inodes(const std::vector<Spot>& spots) {
  std::set<std::size_t> wanted;
  for (const Spot& spot : spots) {
    if (const auto inode = user_.find(path(spot)))
      wanted.insert(inode->id().value % inodes_.size());
  }
  Locks locks;
  for (const std::size_t each : wanted) locks.emplace_back(inodes_[each]);
  return locks;
}

void SharedDirectories::allow(const char* operation, const std::string& outcome,
                              const std::vector<std::string>& allowed) {
  if (outcome == "ok" || std::find(allowed.begin(), allowed.end(), outcome) != allowed.end())
    return;
  failed_ = true;
  ADD_FAILURE() << operation << ": " << outcome;
}

void SharedDirectories::replace(Chooser& choose, unsigned thread) {
  const Spot fresh{.directory = choose.below(2), .name = "new" + std::to_string(thread)};
  const Spot spot = some_spot(choose);
  const std::string content = content_of(choose.next());
  {
    auto made = [&] {
      const Locks locks = lock_directories({fresh.directory});
      return user_.create(path(fresh));
    }();
    allow("create", outcome_of(made), {});
    if (!made) return;
    const std::size_t half = choose.below(content.size());
    allow("write", outcome_of(made->write(half, content.substr(half))), {});
    allow("write", outcome_of(made->write(0, content.substr(0, half))), {});
    if (choose.one_in(3)) allow("sync", outcome_of(user_.vfs().sync(made->handle(), false)), {});
    if (choose.one_in(2)) made->close();  // else it is renamed while it is open
    const Locks locks = lock_directories({fresh.directory, spot.directory});
    const Locks inodes = lock_inodes({fresh, spot});
    allow("rename over", outcome_of(user_.rename(path(fresh), path(spot))), {});
  }
}

void SharedDirectories::rename(Chooser& choose) {
  const Spot from = some_spot(choose);
  const Spot to = some_spot(choose);
  const unsigned flags =
      std::array<unsigned, 3>{0, RENAME_NOREPLACE, RENAME_EXCHANGE}[choose.below(3)];
  const Locks locks = lock_directories({from.directory, to.directory});
  const Locks inodes = lock_inodes({from, to});
  allow("rename", outcome_of(user_.rename(path(from), path(to), flags)), {"ENOENT", "EEXIST"});
}

void SharedDirectories::unlink(Chooser& choose) {
  const Spot spot = some_spot(choose);
  const Locks locks = lock_directories({spot.directory});
  const Locks inodes = lock_inodes({spot});
  allow("unlink", outcome_of(user_.unlink(path(spot))), {"ENOENT"});
}

void SharedDirectories::link(Chooser& choose) {
  const Spot from = some_spot(choose);
  const Spot to = some_spot(choose);
  const auto inode = look_up(from);
  if (!inode) return;
  const Locks locks = lock_directories({to.directory});
  const std::unique_lock inode_lock(mutex_of(*inode));
  const auto parent = user_.find(path({to.directory, ""}));
  allow("lookup", outcome_of(parent), {});
  if (!parent) return;
  // It may have been removed since, or moved in the other directory.
  const auto made = user_.vfs().link(user_.who(), inode->id(), parent->id(), to.name);
  allow("link", outcome_of(made), {"ENOENT", "EEXIST", "ESTALE"});
  if (made) user_.vfs().forget(made->inode, 1);
}

Result<HeldInode> SharedDirectories::look_up(const Spot& spot) {
  const std::shared_lock lock(directories_[spot.directory]);
  auto inode = user_.find(path(spot));
  allow("lookup", outcome_of(inode), {"ENOENT"});
  return inode;
}

void SharedDirectories::read(Chooser& choose) {
  const Spot spot = some_spot(choose);
  auto inode = look_up(spot);
  if (!inode) return;
  const auto status = user_.vfs().attributes(user_.who(), inode->id());
  allow("stat", outcome_of(status), {"ESTALE", "ENOENT"});
  auto handle = user_.vfs().open(user_.who(), inode->id(), O_RDONLY);
  allow("open", outcome_of(handle), {"ESTALE", "ENOENT"});
  if (handle)
    check_content(HeldFile(user_.vfs(), std::move(*inode), std::move(*handle)), spot.name);
}

void SharedDirectories::check_content(const HeldFile& file, const std::string& what) {
  const auto content = file.read();
  allow("read", outcome_of(content), {});
  if (!content || is_whole(*content)) return;
  failed_ = true;
  ADD_FAILURE() << "a torn content of " << content->size() << " bytes in " << what;
}

void SharedDirectories::list(Chooser& choose) {
  const std::size_t directory = choose.below(2);
  const std::shared_lock lock(directories_[directory]);
  const auto names = user_.list("/shared" + std::to_string(directory));
  allow("list", outcome_of(names), {});
  if (names && std::adjacent_find(names->begin(), names->end()) != names->end()) {
    failed_ = true;
    ADD_FAILURE() << "a name was listed twice";
  }
}

void SharedDirectories::overwrite_block(Chooser& choose) {
  const auto block = user_.open(kBlockPath);
  allow("open", outcome_of(block), {});
  if (!block) return;
  const std::string content(kBlockLength, static_cast<char>('a' + choose.below(26)));
  allow("write", outcome_of(block->write(0, content)), {});
}

void SharedDirectories::read_block() {
  const auto block = user_.open(kBlockPath, O_RDONLY);
  allow("open", outcome_of(block), {});
  if (!block) return;
  const auto content = block->read();
  allow("read", outcome_of(content), {});
  if (!content || *content == std::string(kBlockLength, content->empty() ? '\0' : content->front()))
    return;
  failed_ = true;
  ADD_FAILURE() << "two writes in one block, of " << content->size() << " bytes";
}

void SharedDirectories::check_all(Vfs& vfs) {
  user_ = PathUser(vfs);
  for (const std::string directory : {"/shared0", "/shared1"}) {
    const auto names = user_.list(directory);
    allow("list", outcome_of(names), {});
    if (!names) continue;
    for (const std::string& name : *names) {
      const auto file = user_.open(directory + "/" + name, O_RDONLY);
      allow("open", outcome_of(file), {});
      if (file && directory + "/" + name != kBlockPath) check_content(*file, name);
    }
  }
  read_block();
}

}  // namespace coffer::testing
