#include "keystore/audit/merkle_tree.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/vectors.h"

namespace coffer {
namespace {

using testing::unhex;

/// The leaves and roots that certificate-transparency's own tests use.
const std::vector<std::string> kLeaves = {"",
                                          "00",
                                          "10",
                                          "2021",
                                          "3031",
                                          "40414243",
                                          "5051525354555657",
                                          "606162636465666768696a6b6c6d6e6f"};
const std::vector<std::string> kRoots = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};

TEST(MerkleTree, HasTheRootsOfCertificateTransparency) {
  MerkleTree tree;
  EXPECT_EQ(to_hex(tree.root()), kRoots[0]);
  for (std::size_t i = 0; i < kLeaves.size(); ++i) {
    tree.append(leaf_hash(unhex(kLeaves[i])));
    EXPECT_EQ(tree.size(), i + 1);
    EXPECT_EQ(to_hex(tree.root()), kRoots[i + 1]) << i + 1 << " leaves";
  }
}

/// RFC 6962, 2.1, word for word.
Digest merkle_tree_hash(std::span<const Digest> leaves) {
  if (leaves.size() == 1) return leaves[0];
  std::size_t k = 1;
  while (k * 2 < leaves.size()) k *= 2;
  return node_hash(merkle_tree_hash(leaves.first(k)), merkle_tree_hash(leaves.subspan(k)));
}

TEST(MerkleTree, IsWhatTheRfcSaysWhereverItIsTakenUpAgain) {
  std::vector<Digest> leaves;
  MerkleTree tree;
  for (std::size_t i = 0; i < 300; ++i) {
    leaves.push_back(leaf_hash(as_bytes(std::to_string(i))));
    tree.append(leaves.back());
    ASSERT_EQ(tree.root(), merkle_tree_hash(leaves)) << i;
    const auto again = MerkleTree::from(tree.size(), {tree.roots().begin(), tree.roots().end()});
    ASSERT_TRUE(again.ok());
    tree = *again;
  }
}

TEST(MerkleTree, TakesNoRootsOfAnotherSize) {
  EXPECT_TRUE(MerkleTree::from(0, {}).ok());
  EXPECT_TRUE(MerkleTree::from(5, std::vector<Digest>(2)).ok());
  EXPECT_FALSE(MerkleTree::from(5, std::vector<Digest>(3)).ok());
  EXPECT_FALSE(MerkleTree::from(0, std::vector<Digest>(1)).ok());
}

}  // namespace
}  // namespace coffer
