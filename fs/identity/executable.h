#pragma once

#include <optional>
#include <string>

#include "fs/identity/executable_hashes.h"
#include "fs/identity/file_version.h"
#include "fs/identity/mounts.h"
#include "keystore/access/source.h"

namespace coffer {

/// What a process executes.
struct Executable {
  FoundFile found;
  /// What /proc/TID/exe points to, in words.
  std::string link;
  /// Where the file lies for this process: nothing if it can't be reached from here (another mount
  /// namespace's, or one that is mounted no more), whatever the words are.
  std::optional<std::string> path;
  /// In hexadecimal digits.
  std::optional<std::string> sha256;
  /// Which of kExecutable and kExecutableHash were found out.
  Sources known;
};

/// Finds out what one thread executes, and remembers it for as long as it stays the same. Not
/// thread-safe.
///
/// All that is said is said of one file, /proc/TID/exe, which is read through one descriptor: a
/// program that is executed meanwhile shows as another file there at the end, and then all is read
/// anew. (The same file again is the same program.) It is not enough to keep /proc/TID/environ or
/// mem open, which end with the memory of a program: a child by vfork has its parent's until it
/// executes another.
class ExecutableOfThread {
 public:
  /// `dir` is the thread's /proc entry. Null if what it executes can't be found out: no right to
  /// (ptrace(2), PTRACE_MODE_READ), no program, or another each time.
  const Executable* read(int dir, Sources asked, OwnMounts& mounts, ExecutableHashes& hashes);

 private:
  [[nodiscard]] bool is_still(int dir, Sources asked) const;

  std::optional<Executable> last_;
  bool lasting_ = false;  ///< `last_` is true for as long as what is executed stays the same
};

}  // namespace coffer
