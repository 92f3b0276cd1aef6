#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "keystore/base/result.h"
#include "keystore/crypto/digest.h"

namespace coffer {

// The hash tree of RFC 6962, 2.1, over SHA-256.

Digest leaf_hash(Bytes leaf);
Digest node_hash(const Digest& left, const Digest& right);

/// A tree that grows, of which only the edge is kept (its compact range): the roots of the full
/// subtrees that its leaves fall into, the largest first. At most 64 hashes, whatever the size.
class MerkleTree {
 public:
  MerkleTree() = default;
  /// A tree of `size` leaves. kInvalid unless there are as many roots as `size` has bits set.
  static Result<MerkleTree> from(std::uint64_t size, std::vector<Digest> roots);

  void append(const Digest& leaf);
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::span<const Digest> roots() const { return roots_; }
  /// The Merkle Tree Hash; of no leaves, the hash of an empty string.
  [[nodiscard]] Digest root() const;

 private:
  std::uint64_t size_ = 0;
  std::vector<Digest> roots_;
};

}  // namespace coffer
