#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "keystore/base/bytes.h"
#include "keystore/base/result.h"

namespace coffer {

/// Overwrites memory in a way the compiler keeps.
void wipe(MutableBytes memory);

/// True if both are of one length and equal; takes the same time wherever they differ.
bool constant_time_equal(Bytes a, Bytes b);

/// The heap that secrets live in: pages that are locked (never swapped), left out of core dumps and
/// of child processes, out of reach of the kernel's own mappings where it has such (memfd_secret),
/// and wiped when freed. Blocks are aligned to 64 bytes. Thread-safe. Throws std::bad_alloc when no
/// more memory can be locked.
void* locked_allocate(std::size_t size);
void locked_free(void* block, std::size_t size) noexcept;

/// Raises the soft limit on locked memory to the hard one and locks a first page. kExhausted, with
/// the way out, if that fails.
Result<void> prepare_locked_memory();

/// Bytes now handed out by the locked heap, and bytes of locked pages behind it.
struct LockedMemoryUse {
  std::size_t used = 0;
  std::size_t locked = 0;
  bool secret = true;  ///< out of reach of the kernel's own mappings, all of them
};
LockedMemoryUse locked_memory_use();

/// A key, a passphrase, anything that must not leave the process: on the locked heap, moved and
/// never copied by accident, wiped at the end, without comparison or output operators. `expose()`
/// is the one way to the bytes.
class SecretBytes {
 public:
  SecretBytes() = default;
  /// `size` zero bytes.
  explicit SecretBytes(std::size_t size);
  static SecretBytes copy_of(Bytes source);
  /// `size` random bytes from the generator meant for keys.
  static SecretBytes random(std::size_t size);

  SecretBytes(SecretBytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { reset(); }

  [[nodiscard]] Bytes expose() const { return {data_, size_}; }
  [[nodiscard]] MutableBytes expose() { return {data_, size_}; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] SecretBytes clone() const { return copy_of(expose()); }
  void reset() noexcept;

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Puts an object that holds key material (an expanded key) on the locked heap.
struct LockedDelete {
  template <typename T>
  void operator()(T* object) const noexcept {
    object->~T();
    locked_free(object, sizeof(T));
  }
};
template <typename T>
using LockedPtr = std::unique_ptr<T, LockedDelete>;

template <typename T>
LockedPtr<T> make_locked() {
  static_assert(alignof(T) <= 64);
  return LockedPtr<T>(::new (locked_allocate(sizeof(T))) T());
}

}  // namespace coffer
