#include "mount-tools/caller_of.h"

#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace coffer {
namespace {

/// "Uid: real effective saved filesystem": the last, which the kernel decides files by.
std::optional<std::uint32_t> filesystem_id(const std::string& line, const std::string& label) {
  if (!line.starts_with(label)) return std::nullopt;
  std::istringstream numbers(line.substr(label.size()));
  std::uint32_t real = 0;
  std::uint32_t effective = 0;
  std::uint32_t saved = 0;
  std::uint32_t filesystem = 0;
  if (!(numbers >> real >> effective >> saved >> filesystem)) return std::nullopt;
  return filesystem;
}

}  // namespace

Result<Caller> caller_of(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  for (std::string line; std::getline(status, line);) {
    if (const auto id = filesystem_id(line, "Uid:")) uid = id;
    if (const auto id = filesystem_id(line, "Gid:")) gid = id;
  }
  if (!uid.has_value() || !gid.has_value()) {
    return Error{Code::kNotFound, 0,
                 "there is no process " + std::to_string(pid) +
                     " that can be looked at from here; give its selectors"};
  }
  return Caller{.uid = *uid, .gid = *gid, .tid = pid};
}

}  // namespace coffer
