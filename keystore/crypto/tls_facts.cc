#include "keystore/crypto/tls_facts.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ctime>

#include "keystore/crypto/digest.h"
#include "keystore/crypto/ossl.h"

namespace coffer {
namespace {

using Bio = OsslPtr<BIO, BIO_free>;
using Certificate = OsslPtr<X509, X509_free>;

std::string base64(Bytes bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

std::int64_t end_of(const X509* certificate) {
  std::tm time{};
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &time) != 1)
    return 0;
  return ::timegm(&time);
}

std::string text_of(const X509_NAME* name) {
  const Bio text(must_have(BIO_new(BIO_s_mem())));
  if (name == nullptr || X509_NAME_print_ex(text.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
  char* data = nullptr;
  const long length = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(length)};
}

}  // namespace

std::string pin_sha256(x509_st* certificate) {
  unsigned char* der = nullptr;
  const int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (length <= 0) return {};
  const Digest digest = sha256({der, static_cast<std::size_t>(length)});
  OPENSSL_free(der);
  return base64(digest);
}

TlsFacts TlsFacts::of(const ssl_st* connection) {
  const X509* const own = SSL_get_certificate(connection);
  const Certificate theirs(SSL_get1_peer_certificate(connection));
  TlsFacts facts;
  facts.protocol = SSL_get_version(connection);
  if (own != nullptr) facts.own_subject = text_of(X509_get_subject_name(own));
  facts.own_valid_until = end_of(own);
  if (theirs == nullptr) return facts;
  facts.their_issuer = text_of(X509_get_issuer_name(theirs.get()));
  facts.their_valid_until = end_of(theirs.get());
  facts.their_pin_sha256 = pin_sha256(theirs.get());
  return facts;
}

}  // namespace coffer
