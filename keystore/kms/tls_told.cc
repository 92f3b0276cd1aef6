#include "keystore/kms/tls_told.h"

#include "keystore/base/clock.h"

namespace coffer {
namespace {

/// Of names, which are in ASCII and without control characters (RFC 2253).
constexpr std::size_t kLongest = 200;

}  // namespace

void add_facts(std::vector<KmsFact>& facts, const TlsFacts& tls) {
  facts.push_back({"connection", tls.protocol});
  facts.push_back({"its certificate ends", format_time(tls.their_valid_until)});
  facts.push_back({"its certificate is from", tls.their_issuer.substr(0, kLongest)});
  facts.push_back({"its public key", tls.their_pin_sha256 + " (SHA-256)"});
  if (tls.own_subject.empty()) return;
  facts.push_back({"our certificate", tls.own_subject.substr(0, kLongest)});
  facts.push_back({"our certificate ends", format_time(tls.own_valid_until)});
}

}  // namespace coffer
