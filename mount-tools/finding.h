#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "fs/content/encrypted_file.h"
#include "keystore/base/ids.h"
#include "keystore/base/result.h"

namespace coffer {

/// What was found. The words of `--json` are part of the interface: kinds are added, none renamed.
enum class FindingKind {
  kFile,         ///< a file that can't be read, or not whole
  kDirectory,    ///< a directory whose record is no good: what is below it is out of reach
  kSymlink,      ///< a symlink whose target is no good
  kForeign,      ///< a backing entry whose name is not the directory's
  kMissingFile,  ///< a live key without its file
  kMissingKey,   ///< a file whose key is not in the keystore
  kPutBack,      ///< a file that was deleted and is there again
  kAttributes,   ///< a file or directory whose extended attributes are no good
  // Harmless, and reported as notes:
  kOrphan,       ///< a sidecar without its entry, or a temporary file
  kLeftover,     ///< in .coffer/tmp, or a file whose creation had not reached the disk
  kTail,         ///< behind a file's end, of an append that was never committed
  kQuarantined,  ///< set aside by an earlier repair
  kJournal,      ///< of a file that is gone
  kSidecar,      ///< extended attributes that no file and no directory has
};
std::string_view to_string(FindingKind kind);

/// Something that is not as it should be, or (a note) not as it could be.
struct Finding {
  FindingKind kind = FindingKind::kFile;
  Code cause = Code::kCorrupt;
  std::string path = {};     ///< plain; empty if none is known
  std::string backing = {};  ///< relative to the store's directory; empty if there is none
  std::string message = {};
  std::optional<FileId> file = {};
  KeyVersion version = {};  ///< of the file's key
  ScopeId scope = {};
  std::vector<ByteRange> lost = {};  ///< of the plaintext
  /// Copied by a salvage, but the tree does not say that it is current.
  std::vector<ByteRange> unvouched = {};
  bool beyond_use = false;    ///< nothing in it authenticates: it can be set aside
  bool has_tail = false;      ///< uncommitted bytes behind its end, which can be cut off
  std::string repaired = {};  ///< what `--repair` did about it
};

/// What to do about it; empty if the message says it.
std::string next_step(const Finding& finding);

/// "8192-12287, 20480-24575 and 3 more ranges (16384 bytes)".
std::string describe(const std::vector<ByteRange>& ranges);
nlohmann::ordered_json to_json(const std::vector<ByteRange>& ranges);
nlohmann::ordered_json to_json(const Finding& finding);
/// One line: "cause: path: message; next step"; of a note its kind instead of the cause.
std::string to_line(const Finding& finding);

/// That of the gravest that is left: damage before what was moved, that before what is older or
/// gone, and refusals last. 0 if there are none.
int exit_code(const std::vector<Finding>& findings);

}  // namespace coffer
