#include "keystore/broker/recorder.h"

#include <chrono>
#include <vector>

namespace coffer {
namespace {

constexpr auto kInterval = std::chrono::seconds(1);

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
  waiting_[record.file] = record;
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
    for (const auto& [file, record] : waiting_) batch.push_back(record);
    waiting_.clear();
  }
  if (batch.empty()) return {};
  const auto write = [&]() -> Result<void> {
    TRY(make_durable_());
    return keyring_.record(batch);
  };
  auto written = write();
  if (!written) {
    MutexLock lock(mutex_);
    // What was noted meanwhile is newer and stays.
    for (const FileRecord& record : batch) waiting_.emplace(record.file, record);
  }
  return written;
}

}  // namespace coffer
