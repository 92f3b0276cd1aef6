#pragma once

#include <vector>

#include "keystore/crypto/tls_facts.h"
#include "keystore/kms/master_kms.h"

namespace coffer {

/// What a connection to a KMS shows of both ends, in words for people.
void add_facts(std::vector<KmsFact>& facts, const TlsFacts& tls);

}  // namespace coffer
