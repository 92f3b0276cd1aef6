#include "mount-tools/repair.h"

#include <fcntl.h>

#include <algorithm>

#include "keystore/cli/values.h"
#include "mount-tools/backing_place.h"
#include "mount-tools/quarantine.h"
#include "mount-tools/tree.h"

namespace coffer {
namespace {

class Repair {
 public:
  explicit Repair(OpenStore& store)
      : store_(store),
        who_(store.vfs().who(Caller::self())),
        quarantine_(store.vfs().backing_root()) {}

  Result<void> run(VerifyReport& report) {
    const bool has_sidecars =
        std::any_of(report.notes.begin(), report.notes.end(),
                    [](const Finding& note) { return note.kind == FindingKind::kSidecar; });
    // What was read may have been of the system's memory alone: on the disk there may be headers
    // yet that name them.
    if (has_sidecars) TRY(store_.vfs().make_durable());
    for (Finding& note : report.notes) {
      if (note.kind == FindingKind::kOrphan) TRY(attempt(note, &Repair::set_aside));
      if (note.has_tail) TRY(attempt(note, &Repair::cut_tail));
      if (note.kind == FindingKind::kJournal) TRY(attempt(note, &Repair::remove_journal));
      if (note.kind == FindingKind::kSidecar) TRY(attempt(note, &Repair::remove_sidecar));
    }
    for (Finding& finding : report.findings) {
      if (finding.beyond_use) TRY(attempt(finding, &Repair::set_aside));
      if (finding.has_tail) TRY(attempt(finding, &Repair::cut_tail));
      if (finding.kind != FindingKind::kMissingFile || !finding.backing.empty()) continue;
      if (report.all_files_known) {
        TRY(attempt(finding, &Repair::record_deletion));
      } else {
        finding.message +=
            "; it is not recorded as deleted: it may be one of the files of which it can't be told "
            "which they are";
      }
    }
    return {};
  }

 private:
  /// What fails for one finding is said there, and the others go on.
  Result<void> attempt(Finding& finding, Result<std::string> (Repair::*act)(const Finding&)) {
    const std::string place = finding.path.empty() ? finding.backing : finding.path;
    const auto done = [&]() -> Result<std::string> {
      TRY(store_.broker().check(
          {finding.scope, who_.identity(), Rights::of(Right::kWrite), place}));
      return (this->*act)(finding);
    }();
    if (done) {
      finding.repaired = *done;
      return {};
    }
    if (done.error().code == Code::kNoSpace || done.error().code == Code::kReadOnly)
      return done.error();
    finding.message += "; it could not be repaired: " + done.error().message();
    return {};
  }

  Result<void> record(const std::string& what) {
    return store_.broker().note("admin", who_.identity(), "/", "verify --repair: " + what);
  }

  Result<std::string> set_aside(const Finding& finding) {
    TRY(record("set aside " + finding.backing));
    return "moved to " + TRY(quarantine_.set_aside(finding));
  }

  Result<std::string> cut_tail(const Finding& finding) {
    TRY(record("cut off what was never committed of " + finding.path));
    Vfs& vfs = store_.vfs();
    const InodeRef inode = TRY(find_damaged(vfs, who_, finding.path));
    const OpenHandle handle(vfs, TRY(vfs.open(who_, inode.get(), O_RDWR)));
    EncryptedFile& content = handle.get().file->content();
    TRY(content.truncate(content.size()));  // takes the tail, and nothing else
    return std::string("cut off");
  }

  Result<std::string> remove_journal(const Finding& finding) {
    TRY(record("removed the journal of file " + finding.file->hex() + ", which is gone"));
    TRY(store_.vfs().remove_journal(*finding.file));
    return std::string("removed");
  }

  Result<std::string> remove_sidecar(const Finding& finding) {
    TRY(record("removed " + finding.backing + ", which no file and no directory names"));
    const auto [directory, stored] = split_backing(finding.backing);
    TRY(TRY(open_backing_dir(store_.vfs().backing_root(), directory))->remove_file(stored));
    return std::string("removed");
  }

  Result<std::string> record_deletion(const Finding& finding) {
    const auto policy = TRY(store_.broker().policy());
    const ScopeRow* const scope = policy->scope(finding.scope);
    if (scope == nullptr) return Error{Code::kNotFound, 0, "its scope is not in the keystore"};
    TRY(record("recorded file " + finding.file->hex() + " as deleted"));
    const FileRecord gone{.file = *finding.file,
                          .version = finding.version,
                          .state = KeyState::kDeactivated,
                          .generation = 0,
                          .root = {}};
    TRY(store_.session().keyring->record({&gone, 1}));
    return "recorded as deleted; its key is kept for " +
           format_duration(scope->settings.retention_s);
  }

  OpenStore& store_;
  const Who who_;
  Quarantine quarantine_;
};

}  // namespace

Result<void> repair(OpenStore& store, VerifyReport& report) { return Repair(store).run(report); }

}  // namespace coffer
