#include "keystore/kms/tls_told.h"

#include "keystore/base/clock.h"
#include "keystore/kms/secret_text.h"

namespace coffer {

void add_facts(std::vector<KmsFact>& facts, const TlsFacts& tls) {
  facts.push_back({"connection", tls.protocol});
  facts.push_back({"its certificate ends", format_time(tls.their_valid_until)});
  facts.push_back({"its certificate is from", without_secrets(tls.their_issuer)});
  facts.push_back({"its public key", tls.their_pin_sha256 + " (SHA-256)"});
  if (tls.own_subject.empty()) return;
  facts.push_back({"our certificate", without_secrets(tls.own_subject)});
  facts.push_back({"our certificate ends", format_time(tls.own_valid_until)});
}

}  // namespace coffer
