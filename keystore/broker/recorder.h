#pragma once

#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "keystore/base/mutex.h"
#include "keystore/keyring/keyring.h"

namespace coffer {

/// Records generations and content roots of closed files, and deleted ones, in the keystore: in
/// batches, about once a second, and only after `make_durable` has put the files' own bytes on the
/// disk, so that a power cut never looks like a rollback. Thread-safe.
class Recorder {
 public:
  /// `make_durable` syncs the backing filesystem; it is called from the recorder's thread. `report`
  /// hears of failures (the batch is tried again).
  Recorder(Keyring& keyring, std::function<Result<void>()> make_durable,
           std::function<void(const Error&)> report);
  /// Records what is left.
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// Takes note. Of several records of a key, the newest generation is kept; and a deletion,
  /// whatever is noted after it.
  void add(const FileRecord& record);
  /// The state of that generation was synced by itself. Of no use unless it is what is noted.
  void note_on_disk(FileId file, KeyVersion version, std::uint64_t generation);
  struct Noted {
    std::uint64_t generation = 0;  ///< the newest; 0 if none is
    bool on_disk = false;
    bool being_recorded = false;  ///< this one, or one before it
  };
  /// What was noted of a key and is not recorded yet.
  Noted noted(FileId file, KeyVersion version);
  /// Records everything noted before the call.
  Result<void> flush();

 private:
  void loop();
  Result<void> write_batch();
  void note(const FileRecord& record, bool on_disk) REQUIRES(mutex_);

  Keyring& keyring_;
  std::function<Result<void>()> make_durable_;
  std::function<void(const Error&)> report_;

  Mutex writing_;  // one batch at a time; taken before mutex_
  Mutex mutex_;
  CondVar changed_;
  // In the order of the table: keys made together lie together, and so do their pages.
  struct Waiting {
    FileRecord record;
    bool on_disk = false;
  };
  std::map<std::pair<FileId, KeyVersion>, Waiting> waiting_ GUARDED_BY(mutex_);
  std::map<std::pair<FileId, KeyVersion>, Noted> being_written_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace coffer
