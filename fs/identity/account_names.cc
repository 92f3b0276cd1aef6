#include "fs/identity/account_names.h"

#include <grp.h>
#include <pwd.h>

#include <cerrno>
#include <vector>

namespace coffer {
namespace {

/// A group's members may take as much room as they like.
constexpr std::size_t kMaxEntry = std::size_t{1} << 24U;
constexpr std::size_t kMaxKept = 65'536;

/// Calls one of getpwuid_r(3) and getgrgid_r(3), with more room until it is enough.
template <typename Entry, typename Call>
AccountNames::Name ask_for(char* Entry::*name, Call&& call) {
  std::vector<char> room(1024);
  while (true) {
    Entry entry{};
    Entry* found = nullptr;
    const int failure = call(&entry, room, &found);
    if (failure == ERANGE && room.size() < kMaxEntry) {
      room.resize(room.size() * 4);
      continue;
    }
    if (failure == EINTR) continue;
    // Some databases say so of an id that they don't have.
    if (failure == ENOENT || failure == ESRCH || (failure == 0 && found == nullptr))
      return {.known = true, .name = {}};
    if (failure != 0) return {};
    return {.known = true, .name = found->*name};
  }
}

}  // namespace

template <typename Ask>
AccountNames::Name AccountNames::find(Table AccountNames::*table, unsigned id, Time now,
                                      Ask&& ask) {
  {
    MutexLock lock(mutex_);
    const Table& kept = this->*table;
    const auto found = kept.find(id);
    if (found != kept.end() && now < found->second.until) return found->second.name;
    ++questions_;
  }
  Name name = ask();
  if (!name.known) return name;
  MutexLock lock(mutex_);
  Table& kept = this->*table;
  if (kept.size() >= kMaxKept) kept.clear();
  kept[id] = Kept{.name = name, .until = now + kLifetime};
  return name;
}

AccountNames::Name AccountNames::user(uid_t uid, Time now) {
  return find(&AccountNames::users_, uid, now, [uid] {
    return ask_for(&passwd::pw_name, [uid](passwd* entry, std::vector<char>& room, passwd** found) {
      return ::getpwuid_r(uid, entry, room.data(), room.size(), found);
    });
  });
}

AccountNames::Name AccountNames::group(gid_t gid, Time now) {
  return find(&AccountNames::groups_, gid, now, [gid] {
    return ask_for(&group::gr_name,
                   [gid](struct group* entry, std::vector<char>& room, struct group** found) {
                     return ::getgrgid_r(gid, entry, room.data(), room.size(), found);
                   });
  });
}

std::size_t AccountNames::questions() {
  MutexLock lock(mutex_);
  return questions_;
}

}  // namespace coffer
