#include "keystore/broker/recorder.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <vector>

namespace coffer {
namespace {

constexpr auto kInterval = std::chrono::seconds(1);
// After an outage of the keystore much may have gathered; no other writer waits for all of it.
constexpr std::size_t kLargestTransaction = 4096;

}  // namespace

Recorder::Recorder(Keyring& keyring, std::function<Result<void>()> make_durable,
                   std::function<void(const Error&)> report)
    : keyring_(keyring),
      make_durable_(std::move(make_durable)),
      report_(std::move(report)),
      thread_([this] { loop(); }) {}

Recorder::~Recorder() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (auto last = flush(); !last) report_(last.error());
}

void Recorder::add(const FileRecord& record) {
  MutexLock lock(mutex_);
  note(record, false);
}

void Recorder::note(const FileRecord& record, bool on_disk) {
  const auto [place, fresh] =
      waiting_.try_emplace({record.file, record.version}, Waiting{record, on_disk});
  if (fresh) return;
  FileRecord& known = place->second.record;
  // A file deleted while it was open is recorded by its unlink and by its last close.
  const bool gone = known.state != KeyState::kActive || record.state != KeyState::kActive;
  const KeyState last_state = record.state != KeyState::kActive ? record.state : known.state;
  if (record.generation > known.generation) place->second.on_disk = on_disk;
  if (record.generation >= known.generation) known = record;
  if (gone) known.state = last_state;
}

void Recorder::note_on_disk(FileId file, KeyVersion version, std::uint64_t generation) {
  MutexLock lock(mutex_);
  if (const auto found = waiting_.find({file, version});
      found != waiting_.end() && found->second.record.generation == generation) {
    found->second.on_disk = true;
  }
  if (const auto found = being_written_.find({file, version});
      found != being_written_.end() && found->second.generation == generation) {
    found->second.on_disk = true;
  }
}

Recorder::Noted Recorder::noted(FileId file, KeyVersion version) {
  MutexLock lock(mutex_);
  Noted noted;
  if (const auto found = being_written_.find({file, version}); found != being_written_.end()) {
    noted = found->second;
  }
  if (const auto found = waiting_.find({file, version}); found != waiting_.end()) {
    noted.generation = found->second.record.generation;
    noted.on_disk = found->second.on_disk;
  }
  return noted;
}

void Recorder::loop() {
  while (true) {
    {
      MutexLock lock(mutex_);
      if (!stopping_) changed_.wait_for(mutex_, kInterval);
      if (stopping_) return;
      if (waiting_.empty()) continue;
    }
    if (auto written = flush(); !written) report_(written.error());
  }
}

Result<void> Recorder::flush() {
  MutexLock lock(writing_);
  return write_batch();
}

Result<void> Recorder::write_batch() {
  std::vector<FileRecord> batch;
  {
    MutexLock lock(mutex_);
    batch.reserve(waiting_.size());
    for (const auto& [key, waiting] : waiting_) {
      batch.push_back(waiting.record);
      being_written_.emplace_hint(being_written_.end(), key,
                                  Noted{.generation = waiting.record.generation,
                                        .on_disk = waiting.on_disk,
                                        .being_recorded = true});
    }
    waiting_.clear();
  }
  if (batch.empty()) return {};
  const auto write = [&]() -> Result<void> {
    TRY(make_durable_());
    for (std::span<const FileRecord> left = batch; !left.empty();) {
      const std::size_t count = std::min(left.size(), kLargestTransaction);
      TRY(keyring_.record(left.first(count)));
      left = left.subspan(count);
    }
    return {};
  };
  auto written = write();
  MutexLock lock(mutex_);
  if (!written) {
    // What was noted meanwhile is the later.
    const auto meanwhile = std::exchange(waiting_, {});
    for (const FileRecord& record : batch) {
      note(record, being_written_[{record.file, record.version}].on_disk);
    }
    for (const auto& [key, waiting] : meanwhile) note(waiting.record, waiting.on_disk);
  }
  being_written_.clear();
  return written;
}

}  // namespace coffer
