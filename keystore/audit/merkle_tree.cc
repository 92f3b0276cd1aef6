#include "keystore/audit/merkle_tree.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace coffer {

Digest leaf_hash(Bytes leaf) {
  ByteVector prefixed;
  prefixed.reserve(leaf.size() + 1);
  prefixed.push_back(0);
  prefixed.insert(prefixed.end(), leaf.begin(), leaf.end());
  return sha256(prefixed);
}

Digest node_hash(const Digest& left, const Digest& right) {
  std::array<std::uint8_t, 1 + 2 * sizeof(Digest)> joined{};
  joined[0] = 1;
  std::copy(left.begin(), left.end(), joined.begin() + 1);
  std::copy(right.begin(), right.end(), joined.begin() + 1 + sizeof(Digest));
  return sha256(joined);
}

Result<MerkleTree> MerkleTree::from(std::uint64_t size, std::vector<Digest> roots) {
  if (roots.size() != static_cast<std::size_t>(std::popcount(size))) {
    return Error{Code::kInvalid, 0, "a tree of another size"};
  }
  MerkleTree tree;
  tree.size_ = size;
  tree.roots_ = std::move(roots);
  return tree;
}

void MerkleTree::append(const Digest& leaf) {
  // As a binary counter: each full pair becomes one subtree of twice the size.
  Digest root = leaf;
  for (std::uint64_t pairs = size_; (pairs & 1U) != 0; pairs >>= 1U) {
    root = node_hash(roots_.back(), root);
    roots_.pop_back();
  }
  roots_.push_back(root);
  ++size_;
}

Digest MerkleTree::root() const {
  if (roots_.empty()) return sha256({});
  Digest root = roots_.back();
  for (std::size_t i = roots_.size() - 1; i-- > 0;) root = node_hash(roots_[i], root);
  return root;
}

}  // namespace coffer
