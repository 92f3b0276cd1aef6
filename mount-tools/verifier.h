#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fs/format/header.h"
#include "mount-tools/finding.h"
#include "mount-tools/progress.h"
#include "mount-tools/tree.h"
#include "mount-tools/wiring.h"

namespace coffer {

/// What a run of the Verifier came to.
struct VerifyReport {
  std::vector<Finding> findings;
  std::vector<Finding> notes;  ///< harmless
  std::uint64_t files = 0;
  std::uint64_t directories = 0;
  std::uint64_t bytes = 0;
  std::uint64_t keys_without_file = 0;
  std::uint64_t spare_keys = 0;
  /// Of those that lay there at the beginning, how many are applied now; by this very run if the
  /// store is open for writing.
  std::uint64_t journals_applied = 0;
  /// True if it is known of every file in the backing which one it is: then a key without a file
  /// has none.
  bool all_files_known = true;
};

/// Reads every byte below a path, as whoever runs it, and notes what does not authenticate. In a
/// run over the whole store also what lies in the backing and is not the store's, and the keys
/// whose file is gone. For one run; `run` is not for two threads at once.
class Verifier {
 public:
  Verifier(OpenStore& store, Progress& progress);
  /// `path` is normalised. An error is one of the keystore.
  Result<VerifyReport> run(const std::string& path);

 private:
  /// What is needed of a directory after it was listed.
  struct Place {
    std::string path;
    std::string backing;
    DirId id;
    std::shared_ptr<const ScopeNames> names;
  };
  struct File {
    std::shared_ptr<const Place> place;
    std::string name;
    std::string damage;  ///< what the lookup said, if it failed
  };
  struct Listing {
    std::vector<std::string> names;
    std::vector<std::pair<std::string, mode_t>> foreign;  ///< stored names, types
    std::vector<std::string> own;                         ///< the format's own files
  };

  // verifier.cc: names
  void scan(const Who& who, const std::string& path);
  void scan_entry(const Who& who, const std::shared_ptr<const Place>& place, InodeId parent,
                  const std::string& name);
  void scan_directory(const Who& who, const Place& above, const std::string& path,
                      const std::string& backing, InodeId inode);
  static Result<Listing> list(Vfs& vfs, DirectoryHandle& handle);
  void look_into_symlink(const Who& who, const Place& place, InodeId parent,
                         const std::string& name, const Error& refused);
  void check_foreign(const Who& who, const DirectoryHandle& handle, const Place& place,
                     const std::string& stored, mode_t type);
  void check_own_files(const DirectoryHandle& handle, const Place& place, const Listing& listing);
  void note(Finding finding);

  // verify_files.cc: contents, and keys
  void verify_file(const File& file);
  /// False if it was refused as moved, while others were held.
  bool verify_file(const File& file, bool alone);
  Finding look_into(const Who& who, const File& file, InodeId inode, const Error& refused);
  Losses read_all(EncryptedFile& content);
  static void check_tail(EncryptedFile& content, Finding& finding);
  bool has_key(FileId file);
  Result<void> check_keys();
  void scan_private(const Who& who);
  [[nodiscard]] std::unordered_set<FileId> journals() const;
  void check_journals();
  // verify_sidecars.cc: extended attributes
  [[nodiscard]] std::unordered_set<std::string> sidecars() const;
  /// An object that is whole, and which sidecar it has.
  void vouches(Bytes id, const Hash& xattrs);
  void vouches(const DirectoryHandle& handle);
  void check_sidecars();
  /// Which files lie somewhere below, whatever the names say.
  void claim_below(const BackingDir& dir, const std::string& backing, FindingKind why);
  void claim(const BackingDir& dir, const std::string& stored, const std::string& backing,
             FindingKind why);
  void saw(FileId file);
  void saw_unknown();

  OpenStore& store_;
  Vfs& vfs_;
  Progress& progress_;
  const Caller caller_;
  bool refused_ = false;  ///< something was not shown to the caller
  std::vector<File> files_;
  std::uint64_t expected_bytes_ = 0;
  std::unordered_set<FileId> journals_;  ///< that lay there at the beginning
  /// The same, relative to their directory; none if somebody writes to the store, who makes and
  /// keeps some that no name leads to.
  std::unordered_set<std::string> sidecars_;
  bool all_directories_known_ = true;
  /// Files that lie where no name leads to them.
  struct Misplaced {
    std::string backing;
    FindingKind why;
  };
  std::unordered_map<FileId, Misplaced> misplaced_;
  SharedMutex alone_;  // shared by those who hold a file's inode; before mutex_
  Mutex mutex_;
  std::unordered_set<FileId> seen_;                       // these under mutex_ while files are read
  std::unordered_map<std::string, std::string> vouched_;  // sidecars by the object's id, in hex
  VerifyReport report_;
};

}  // namespace coffer
