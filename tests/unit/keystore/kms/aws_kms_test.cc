// The AWS provider against the stand-in.

#include "keystore/kms/aws_kms.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/unit/keystore/kms/aws_server.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::AwsServer;
using testing::set_variable;

KmsProvider aws_provider() {
  return {"Aws",
          [] {
            const auto server = std::make_shared<AwsServer>();
            const auto make = [&](const std::string& key) {
              auto master = create_master("aws-kms://" + key, no_passphrase);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            return KmsSetting{make(server->key()), make(server->make_key()), no_passphrase,
                              no_passphrase, server};
          },
          testing::have_aws_server};
}

INSTANTIATE_TEST_SUITE_P(Aws, MasterKmsContract, ::testing::Values(aws_provider()),
                         kms_provider_name);

}  // namespace
}  // namespace coffer
