#include "tests/support/keystore_fake_kms.h"

#include <new>

#include "keystore/crypto/box.h"
#include "keystore/crypto/random.h"

namespace coffer::testing {
namespace {

ByteVector random_master() {
  ByteVector key(32);
  random_bytes(key);
  return key;
}

}  // namespace

FakeKms::FakeKms() : master_(random_master()) {}

Result<void> FakeKms::admit() {
  MutexLock lock(mutex_);
  ++waiting_;
  changed_.notify_all();
  while (held_) changed_.wait(mutex_);
  --waiting_;
  if (out_of_memory_) throw std::bad_alloc();
  if (failure_.has_value()) return *failure_;
  if (calls_left_.has_value()) {
    if (*calls_left_ == 0) return Error{Code::kKeyUnavailable, 0, "the KMS is out of reach"};
    --*calls_left_;
  }
  return {};
}

Result<ByteVector> FakeKms::wrap(const SecretBytes& key, const KeyContext& context) {
  {
    MutexLock lock(mutex_);
    ++wraps_;
    seen_.emplace_back(key.expose().begin(), key.expose().end());
  }
  TRY(admit());
  return seal_box(master_, context.encode(), key.expose());
}

Result<SecretBytes> FakeKms::unwrap(Bytes wrapped, const KeyContext& context) {
  {
    MutexLock lock(mutex_);
    ++unwraps_[context.purpose];
  }
  TRY(admit());
  return open_box(master_, context.encode(), wrapped);
}

MasterKeyRecord FakeKms::describe() const { return {"fake:kms", version_, "none"}; }

std::size_t FakeKms::wraps() {
  MutexLock lock(mutex_);
  return wraps_;
}

std::size_t FakeKms::unwraps() {
  MutexLock lock(mutex_);
  std::size_t all = 0;
  for (const auto& [purpose, count] : unwraps_) all += count;
  return all;
}

std::size_t FakeKms::unwraps(KeyContext::Purpose purpose) {
  MutexLock lock(mutex_);
  return unwraps_[purpose];
}

void FakeKms::fail_with(std::optional<Error> error) {
  MutexLock lock(mutex_);
  failure_ = std::move(error);
  calls_left_.reset();
}

void FakeKms::fail_after(std::size_t calls) {
  MutexLock lock(mutex_);
  calls_left_ = calls;
}

void FakeKms::run_out_of_memory(bool out) {
  MutexLock lock(mutex_);
  out_of_memory_ = out;
}

void FakeKms::hold() {
  MutexLock lock(mutex_);
  held_ = true;
}

void FakeKms::let_go() {
  MutexLock lock(mutex_);
  held_ = false;
  changed_.notify_all();
}

std::size_t FakeKms::waiting() {
  MutexLock lock(mutex_);
  return waiting_;
}

std::vector<ByteVector> FakeKms::keys_seen() {
  MutexLock lock(mutex_);
  std::vector<ByteVector> keys = seen_;
  keys.push_back(master_);
  return keys;
}

}  // namespace coffer::testing
