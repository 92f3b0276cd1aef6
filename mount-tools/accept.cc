#include "mount-tools/accept.h"

#include <algorithm>

#include "mount-tools/finding.h"
#include "mount-tools/sound_bytes.h"
#include "mount-tools/tree.h"

namespace coffer {
namespace {

class Acceptor {
 public:
  Acceptor(OpenStore& store, bool dry_run, Progress& progress)
      : store_(store),
        vfs_(store.vfs()),
        who_(store.vfs().who(Caller::self())),
        dry_run_(dry_run),
        progress_(progress) {}

  AcceptReport run(const std::string& path) {
    scan(path);
    return std::move(report_);
  }

 private:
  void scan(const std::string& path) {
    const auto found = find_path(vfs_, who_, path);
    if (!found) {
      report_.failed.emplace_back(path, found.error());
      return;
    }
    if (S_ISREG(found->attributes.st_mode)) {
      progress_.expect(static_cast<std::uint64_t>(found->attributes.st_size), 1);
      if (auto done = accept_file(path, found->inode.get()); !done)
        report_.failed.emplace_back(path, done.error());
      progress_.add_file();
      return;
    }
    if (!S_ISDIR(found->attributes.st_mode)) return;
    const auto names = list_names(vfs_, who_, found->inode.get());
    if (!names) {
      report_.failed.emplace_back(path, names.error());
      return;
    }
    for (const std::string& name : *names) scan(join_path(path, name));
  }

  Result<void> accept_file(const std::string& path, InodeId inode) {
    // Who may not write it may not say what it is to be, and learns nothing here.
    const Vfs::Inspected found = TRY(dry_run_ ? vfs_.inspect(who_, inode, Right::kRead)
                                              : vfs_.inspect(who_, inode, Right::kWrite));
    if (!found.objection.has_value()) {
      ++report_.unchanged;
      return {};
    }
    const bool deleted = found.key_state == KeyState::kDeactivated;
    if (found.content == nullptr || (found.objection->code != Code::kRolledBack && !deleted))
      return *found.objection;
    if (!found.at_its_place) return Error{Code::kMoved, 0, "it belongs to another place than this"};
    EncryptedFile& content = *found.content;
    const FileKeys& keys = content.keys();
    TRY(store_.broker().check({keys.scope, who_.identity(), Rights::of(Right::kWrite), path}));
    TRY(check_whole(content));
    Acceptance acceptance{.path = path,
                          .file = keys.file,
                          .deleted = deleted,
                          .recorded_generation = found.recorded_generation,
                          .found_generation = content.committed().generation};
    if (!dry_run_) {
      TRY(note(acceptance));
      // A header above the record is good by itself, should this be killed here.
      TRY(content.supersede(found.recorded_generation));
      const CommittedState state = content.committed();
      TRY(store_.session().keyring->readmit({.file = keys.file,
                                             .version = keys.dek_version,
                                             .state = KeyState::kActive,
                                             .generation = state.generation,
                                             .root = state.root}));
      acceptance.new_generation = state.generation;
    }
    report_.accepted.push_back(std::move(acceptance));
    return {};
  }

  Result<void> check_whole(EncryptedFile& content) {
    const Losses losses =
        TRY(read_sound(content, progress_, [](std::uint64_t, Bytes) { return Result<void>(); }));
    if (losses.none()) return {};
    return Error{losses.first->code, 0,
                 "it is not whole: " + losses.first->message() +
                     ", lost: " + describe(losses.ranges) + "; restore it again from the backup"};
  }

  /// Before it is done: what is not on record is not accepted.
  Result<void> note(const Acceptance& acceptance) {
    return store_.broker().note("admin", who_.identity(), acceptance.path,
                                "accept: file " + acceptance.file.hex() + " from generation " +
                                    std::to_string(acceptance.recorded_generation) +
                                    (acceptance.deleted ? " (deleted)" : "") +
                                    " to what was put back, of generation " +
                                    std::to_string(acceptance.found_generation));
  }

  OpenStore& store_;
  Vfs& vfs_;
  const Who who_;
  const bool dry_run_;
  Progress& progress_;
  AcceptReport report_;
};

}  // namespace

Result<std::optional<KeystoreAcceptance>> accept_keystore(OpenStore& store, bool dry_run) {
  Keyring& keyring = *store.session().keyring;
  const auto older = TRY(keyring.older());
  if (!older.has_value()) return std::optional<KeystoreAcceptance>();
  KeystoreAcceptance acceptance{.seen_generation = older->seen.generation,
                                .found_generation = older->found.generation};
  if (!dry_run) {
    // Before it is done: what is not on record is not accepted.
    TRY(store.session().note("/", "accept: keystore from generation " +
                                      std::to_string(acceptance.seen_generation) +
                                      " to what was put back, of generation " +
                                      std::to_string(acceptance.found_generation)));
    acceptance.new_generation = TRY(keyring.supersede_seen());
    TRY(store.broker().reload());
  }
  return std::optional<KeystoreAcceptance>(acceptance);
}

AcceptReport accept(OpenStore& store, const std::string& path, bool dry_run, Progress& progress) {
  return Acceptor(store, dry_run, progress).run(path);
}

}  // namespace coffer
