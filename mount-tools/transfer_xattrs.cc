#include "mount-tools/transfer_xattrs.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "fs/vfs/acl.h"

namespace coffer {
namespace {

/// What the kernel asks for with each access, and clears with a change of owner.
constexpr std::string_view kSecurity = "security.";
constexpr std::array kAcls = {kAccessAcl, kDefaultAcl};

bool is_acl(std::string_view name) { return name == kAccessAcl || name == kDefaultAcl; }

/// Another user's programs neither see `trusted.` nor may set `security.`.
bool is_for_root(std::string_view name) {
  return name.starts_with("trusted.") || name.starts_with(kSecurity);
}

std::string described(const std::string& name, int errno_value) {
  return name + " (" + std::strerror(errno_value) + ")";
}

/// Calls `ask` with buffers that grow until they hold the answer: a list or a value may grow
/// meanwhile.
template <typename Ask>
Result<ByteVector> whole_answer(Ask ask) {
  ByteVector answer(1024);
  while (true) {
    const ssize_t length = ask(answer);
    if (length >= 0) {
      answer.resize(static_cast<std::size_t>(length));
      return answer;
    }
    if (errno != ERANGE || answer.size() > kMaxXattrSet) return errno_error(errno);
    answer.resize(answer.size() * 2);
  }
}

Result<ByteVector> outer_value(const std::string& path, const std::string& name) {
  return whole_answer([&](ByteVector& value) {
    return ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  });
}

/// A filesystem without any says so by an error.
Result<std::vector<std::string>> outer_names(const std::string& path) {
  const auto list = whole_answer([&](ByteVector& names) {
    return ::llistxattr(path.c_str(), reinterpret_cast<char*>(names.data()), names.size());
  });
  std::vector<std::string> names;
  if (!list && list.error().errno_value == EOPNOTSUPP) return names;
  if (!list) return errno_error(list.error().errno_value, "listing the attributes of " + path);
  for (std::string_view rest = as_text(*list); !rest.empty();) {
    const std::size_t end = std::min(rest.find('\0'), rest.size() - 1);
    names.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return names;
}

void set_outer(const std::string& path, const std::string& name, const ByteVector& value,
               XattrsLeftOut& left_out) {
  // It may be there and not ours to write.
  if (const auto there = outer_value(path, name); there && *there == value) return;
  if (::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0)
    left_out.push_back(described(name, errno));
}

/// What ends all work on a file, and is not about one attribute.
bool is_about_all(const Error& error) {
  switch (error.errno_value) {
    case EOPNOTSUPP:
    case EINVAL:
    case E2BIG:
    case ERANGE:
      return false;
    case ENOSPC:
      return error.code == Code::kNoSpace;  // and not too many attributes for one object
    default:
      return true;
  }
}

}  // namespace

Result<XattrSet> read_outer_xattrs(const std::string& path, XattrsLeftOut& left_out) {
  XattrSet set;
  for (const std::string& name : TRY(outer_names(path))) {
    if (is_for_root(name) && ::geteuid() != 0) continue;
    if (!is_acl(name) && !is_for_root(name) && !name.starts_with("user.")) {
      left_out.push_back(described(name, EOPNOTSUPP));
      continue;
    }
    auto value = outer_value(path, name);
    // Removed since it was listed.
    if (!value && value.error().errno_value == ENODATA) continue;
    if (!value) return errno_error(value.error().errno_value, "reading attribute " + name);
    set.emplace(name, std::move(*value));
  }
  return set;
}

Result<XattrSet> read_stored_xattrs(Vfs& vfs, const Who& who, InodeId inode) {
  XattrSet set;
  for (const std::string& name : TRY(vfs.xattr_names(who, inode))) {
    if (is_for_root(name) && ::geteuid() != 0) continue;
    set.emplace(name, TRY(vfs.xattr(who, inode, name)));
  }
  return set;
}

Result<XattrsLeftOut> store_xattrs(Vfs& vfs, const Who& who, InodeId inode, const XattrSet& set) {
  const XattrSet there = TRY(read_stored_xattrs(vfs, who, inode));
  XattrsLeftOut left_out;
  for (const std::string_view acl : kAcls) {
    if (there.contains(acl) && !set.contains(acl)) TRY(vfs.remove_xattr(who, inode, acl));
  }
  for (const auto& [name, value] : set) {
    if (const auto same = there.find(name); same != there.end() && same->second == value) continue;
    auto stored = vfs.set_xattr(who, inode, name, value, 0);
    if (stored) continue;
    if (is_about_all(stored.error())) return std::move(stored).error();
    left_out.push_back(described(name, stored.error().errno_value));
  }
  return left_out;
}

XattrsLeftOut set_outer_xattrs(const std::string& path, const XattrSet& set) {
  XattrsLeftOut left_out;
  for (const auto& [name, value] : set) {
    if (!is_acl(name) && !name.starts_with(kSecurity)) set_outer(path, name, value, left_out);
  }
  return left_out;
}

XattrsLeftOut set_outer_privileges(const std::string& path, const XattrSet& set) {
  XattrsLeftOut left_out;
  for (const std::string_view acl : kAcls) {
    // One that a directory's default gave it would let others in.
    if (!set.contains(acl)) (void)::lremovexattr(path.c_str(), std::string(acl).c_str());
  }
  for (const auto& [name, value] : set) {
    if (is_acl(name) || name.starts_with(kSecurity)) set_outer(path, name, value, left_out);
  }
  return left_out;
}

}  // namespace coffer
