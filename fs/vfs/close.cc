// How a file is closed: what its handle was used for is put on record, its last state is committed,
// noted for the record, and its journal applied, at once or when the recorder's thread comes by.
// The rest of what is done with open files is in files.cc.

#include <algorithm>

#include "fs/vfs/vfs.h"

namespace coffer {
namespace {

/// Closed files whose journals wait for the recorder's thread; each costs two descriptors.
constexpr std::size_t kMostLingering = 256;

}  // namespace

void Vfs::release(std::unique_ptr<FileHandle> handle) {
  const Admission::To to = handle->admission->to();
  note_close(*handle->admission);
  views_.closed(to.known_as);
  const auto pass = gate_.enter(Gate::Way::kOpened);
  if (handle->file->ended()) return;
  if (!pass) {
    leave(std::move(handle));
    return;
  }
  let_go(handle->file);
  handle.reset();
  if (to.flags.purge && !admissions_.someone_has(to.inode)) purge(to.inode);
}

void Vfs::note_close(Admission& admission) {
  const Admission::To& to = admission.to();
  if (!to.key.has_value() || !admission.close()) return;
  const std::string path = inodes_.path(to.inode);
  auto noted = broker_.note_close({to.scope, admission.who(), to.rights, path},
                                  {.key = *to.key,
                                   .grant = to.grant,
                                   .bytes_read = admission.bytes_read(),
                                   .bytes_written = admission.bytes_written()});
  if (noted) return;
  Error error = std::move(noted).error();
  error.context = "a close is not on record: " + error.context;
  options_.report(error);
}

void Vfs::let_go(const std::shared_ptr<OpenFile>& file) {
  report_of(*file, file->content().commit());
  if (file->deleted()) {
    if (stop_lingering(file)) drop_handle(file);
  } else {
    // Before it leaves the table: whoever opens it next has to know that this is its state.
    note_state(*file);
    if (file->content().unsettled()) {
      if (linger(file)) return;
      report_of(*file, settle(*file));
    }
  }
  drop_handle(file);
}

void Vfs::drop_handle(const std::shared_ptr<OpenFile>& file) {
  if (!files_.release(file->inode()) || !file->deleted()) return;
  file->content().abandon();
  retire_xattrs(file->content().keys().file.view(), file->content().xattrs());
  note_state(*file);
}

void Vfs::note_state(OpenFile& file) {
  if (recorder_ == nullptr) return;
  const CommittedState committed = file.content().committed();
  const FileRecord record = record_of(file, committed);
  if (record.state != KeyState::kActive || record.generation != file.recorded_generation()) {
    file.set_recorded_generation(record.generation);
    recorder_->add(record);
  }
  if (committed.on_disk) recorder_->note_on_disk(record.file, record.version, record.generation);
}

FileRecord Vfs::record_of(const OpenFile& file, const CommittedState& committed) {
  return {.file = file.content().keys().file,
          .version = file.content().keys().dek_version,
          .state = file.deleted() ? KeyState::kDeactivated : KeyState::kActive,
          .generation = committed.generation,
          .root = committed.root};
}

bool Vfs::linger(const std::shared_ptr<OpenFile>& file) {
  if (recorder_ == nullptr) return false;
  bool kept = false;
  {
    MutexLock lock(lingering_mutex_);
    if (std::find(lingering_.begin(), lingering_.end(), file) == lingering_.end()) {
      if (lingering_.size() >= kMostLingering) return false;
      lingering_.push_back(file);
      kept = true;
    }
  }
  if (!kept) drop_handle(file);                                   // another waits for it already
  recorder_->add(record_of(*file, file->content().committed()));  // so that its thread comes by
  return true;
}

bool Vfs::stop_lingering(const std::shared_ptr<OpenFile>& file) {
  MutexLock lock(lingering_mutex_);
  return std::erase(lingering_, file) > 0;
}

Result<void> Vfs::settle(OpenFile& file) {
  if (file.deleted()) return {};
  TRY(file.content().settle());
  note_state(file);  // it is on the disk now
  const std::vector<Binding> retired = file.content().retired();
  if (retired.empty()) return {};
  TRY(file.content().sync(false));
  TRY(file.content().drop_retired(retired));
  note_state(file);
  return {};
}

void Vfs::settle_closed() {
  MutexLock turn(settling_);
  for (const auto& file : take_lingering()) {
    report_of(*file, settle(*file));
    drop_handle(file);
  }
}

std::vector<std::shared_ptr<OpenFile>> Vfs::take_lingering() {
  MutexLock lock(lingering_mutex_);
  return std::exchange(lingering_, {});
}

void Vfs::report_of(const OpenFile& file, Result<void> outcome) {
  if (!outcome) options_.report(at_path(std::move(outcome).error(), inodes_.path(file.inode())));
}

Result<void> Vfs::make_durable() {
  MutexLock turn(settling_);
  const auto closed = take_lingering();
  for (const auto& file : closed) {
    // What can't be settled now is left to the next opening.
    if (!file->deleted()) report_of(*file, file->content().settle());
  }
  // What is on record must not be written over by what may be torn, nor a binding go before the
  // name that it was for.
  std::vector<std::pair<std::shared_ptr<OpenFile>, std::vector<Binding>>> open;
  for (auto& file : files_.all()) {
    if (file->deleted()) continue;
    file->content().hold_header();
    auto retired = file->content().retired();
    open.emplace_back(std::move(file), std::move(retired));
  }
  auto synced = sync_backing();
  for (const auto& [file, retired] : open) {
    if (!synced) break;
    file->content().held_is_on_disk();
    if (retired.empty()) continue;
    report_of(*file, file->content().drop_retired(retired));
    note_state(*file);
  }
  for (const auto& file : closed) drop_handle(file);
  return synced;
}

}  // namespace coffer
