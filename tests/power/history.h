#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/fs_power.h"

namespace coffer::testing {

/// A position of the log (PowerLog::position).
using Moment = std::size_t;
/// A file or directory of the plaintext tree, whatever its names. The root is 0.
using ObjectId = std::size_t;
inline constexpr ObjectId kRootObject = 0;

enum class ObjectKind { kFile, kDirectory, kSymlink };

/// Extended attributes by name.
using Attributes = std::map<std::string, std::string>;

/// An entry of a directory.
struct EntryName {
  ObjectId dir;
  std::string name;
  auto operator<=>(const EntryName&) const = default;
};

/// What a user of a filesystem did to it, when, and what was promised: the states that each file
/// and each name may be in after a power loss.
///
/// What is promised once a call has returned:
/// * fsync and fdatasync of a file: its content, each chunk as it was then or as it was written
///   since, and a size of then or since.
/// * fsync: that it is found under a name that it had then or since, and the directories above it.
/// * fdatasync: the same for the name that it was made under.
/// * fsync of a directory: its entries.
/// * fsync and fdatasync of a file: its extended attributes.
/// * a change of extended attributes: those that are there then, unless there were none before; of
/// a
///   directory, always.
/// What replaces or moves something shows all of it or nothing. Where a filesystem keeps no order
/// of names (Journaling::kAnyOrder), only fsync of a directory promises names, its entries alone.
class History {
 public:
  History();

  // What was done. `begun` is the moment before the first thing was.
  /// `content` is a symlink's target, which goes with its name; a file is empty.
  ObjectId make(const EntryName& entry, ObjectKind kind, std::string content, Moment begun);
  void link(ObjectId object, const EntryName& entry, Moment begun);
  void unlink(const EntryName& entry, Moment begun);
  void rename(const EntryName& from, const EntryName& to, Moment begun);
  void exchange(const EntryName& one, const EntryName& other, Moment begun);
  void change(ObjectId file, std::string content, Moment begun);
  /// All that a file or directory has from now on.
  void change_attributes(ObjectId object, Attributes attributes, Moment begun);
  // What has returned.
  void synced(ObjectId file, bool data_only, Moment returned);
  void synced_directory(ObjectId dir, Moment returned);
  void attributes_synced(ObjectId object, Moment returned);
  /// All of it is on the disk.
  void synced_all(Moment returned);

  // As it is now.
  [[nodiscard]] const std::string& content(ObjectId file) const;
  [[nodiscard]] const Attributes& attributes(ObjectId object) const;
  [[nodiscard]] ObjectKind kind(ObjectId object) const { return objects_[object].kind; }
  [[nodiscard]] std::set<EntryName> names(ObjectId object) const;
  [[nodiscard]] std::optional<ObjectId> at(const EntryName& entry) const;
  [[nodiscard]] std::vector<EntryName> entries() const;
  [[nodiscard]] std::string path(const EntryName& entry) const;

  // What may be after a loss.
  /// All names that a directory ever had.
  [[nodiscard]] std::vector<std::string> names_ever(ObjectId dir) const;
  /// What an entry may lead to; nothing among it if it may be missing.
  [[nodiscard]] std::set<std::optional<ObjectId>> candidates(const EntryName& entry,
                                                             const PowerLoss& loss) const;
  /// Empty, or why the content can't be this file's, the target this symlink's.
  [[nodiscard]] std::string why_not(ObjectId object, std::string_view content,
                                    const PowerLoss& loss) const;
  /// The same of extended attributes.
  [[nodiscard]] std::string why_not(ObjectId object, const Attributes& attributes,
                                    const PowerLoss& loss) const;
  /// Those that have to be found under some name.
  [[nodiscard]] std::vector<ObjectId> must_exist(const PowerLoss& loss) const;
  [[nodiscard]] std::string describe(ObjectId object) const;

 private:
  /// Something with versions, of which some were promised.
  template <typename T>
  struct Versions {
    struct Version {
      T value;
      Moment begun;
    };
    struct Promise {
      Moment returned;
      std::size_t version;
    };
    std::vector<Version> all;
    std::array<std::vector<Promise>, 2> promises;  ///< [1]: also without order

    void add(T value, Moment begun) { all.push_back({std::move(value), begun}); }
    void promise(std::size_t version, Moment returned, bool without_order) {
      promises[0].push_back({returned, version});
      if (without_order) promises[1].push_back({returned, version});
    }
    [[nodiscard]] std::size_t first_possible(const PowerLoss& loss) const;
    [[nodiscard]] std::size_t end_of_possible(const PowerLoss& loss) const;
  };
  struct Object {
    ObjectKind kind;
    Versions<std::string> contents;
    Versions<std::set<EntryName>> names;
    Versions<Attributes> attributes;
    EntryName made_at;
  };
  using Entry = Versions<std::optional<ObjectId>>;

  void set(const EntryName& entry, std::optional<ObjectId> object, Moment begun);
  void set_names(ObjectId object, std::set<EntryName> names, Moment begun);
  void promise_entry(const EntryName& entry, std::size_t version, Moment returned,
                     bool without_order);
  /// That an object and the directories above it exist, as they were at its change of names
  /// `version`.
  void promise_existence(ObjectId object, std::size_t version, Moment returned);

  std::vector<Object> objects_;
  std::map<EntryName, Entry> entries_;
};

}  // namespace coffer::testing
