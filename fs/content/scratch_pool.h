#pragma once

#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "keystore/base/bytes.h"
#include "keystore/base/mutex.h"
#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// Buffers of 1 MiB, page-aligned, for chunks on their way; as many are kept as were ever in use at
/// once. Thread-safe.
class ScratchPool {
 public:
  static constexpr std::size_t kBufferSize = std::size_t{1} << 20U;

  /// A buffer out of the pool, back in it when it goes.
  class Buffer {
   public:
    Buffer(ScratchPool& pool, std::uint8_t* data) : pool_(pool), data_(data) {}
    ~Buffer() {
      if (data_ != nullptr) pool_.give_back(data_);
    }
    Buffer(Buffer&& other) noexcept
        : pool_(other.pool_), data_(std::exchange(other.data_, nullptr)) {}
    Buffer& operator=(Buffer&&) = delete;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    [[nodiscard]] MutableBytes bytes() const { return {data_, kBufferSize}; }

   private:
    ScratchPool& pool_;
    std::uint8_t* data_;
  };

  ScratchPool() = default;
  ScratchPool(const ScratchPool&) = delete;
  ScratchPool& operator=(const ScratchPool&) = delete;

  Buffer take() {
    {
      MutexLock lock(mutex_);
      if (!idle_.empty()) {
        std::uint8_t* const data = idle_.back().release();
        idle_.pop_back();
        return {*this, data};
      }
    }
    auto* const data = static_cast<std::uint8_t*>(std::aligned_alloc(4096, kBufferSize));
    if (data == nullptr) throw std::bad_alloc();
    return {*this, data};
  }

  /// Leaves nothing of what the buffers held that nobody uses now.
  void wipe_idle() {
    std::vector<std::unique_ptr<std::uint8_t, Free>> idle;
    {
      MutexLock lock(mutex_);
      idle = std::exchange(idle_, {});
    }
    for (const auto& data : idle) wipe({data.get(), kBufferSize});
  }

 private:
  struct Free {
    void operator()(std::uint8_t* data) const { std::free(data); }
  };

  void give_back(std::uint8_t* data) {
    MutexLock lock(mutex_);
    idle_.emplace_back(data);
  }

  Mutex mutex_;
  std::vector<std::unique_ptr<std::uint8_t, Free>> idle_ GUARDED_BY(mutex_);
};

}  // namespace coffer
