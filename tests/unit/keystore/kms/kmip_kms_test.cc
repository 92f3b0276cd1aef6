// The KMIP provider against PyKMIP's server.

#include "keystore/kms/kmip_kms.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/unit/keystore/kms/kmip_server.h"
#include "tests/unit/keystore/kms/master_kms_contract.h"
#include "tests/unit/keystore/kms/transit_server.h"

namespace coffer {
namespace {

using testing::KmipServer;
using testing::set_variable;

KmsProvider kmip_provider() {
  return {"Kmip",
          [] {
            const auto server = std::make_shared<KmipServer>();
            const auto make = [&] {
              auto master = create_master(server->new_key(), no_passphrase);
              if (!master) throw std::runtime_error(master.error().message());
              return (*master)->describe();
            };
            const MasterKeyRecord first = make();
            return KmsSetting{first, make(), no_passphrase, no_passphrase, server};
          },
          testing::have_kmip_server};
}

INSTANTIATE_TEST_SUITE_P(Kmip, MasterKmsContract, ::testing::Values(kmip_provider()),
                         kms_provider_name);

}  // namespace
}  // namespace coffer
